"""Packet loss, with and without concealment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mtqscore.audio.levels import Signal
from mtqscore.simulation.scene import Scene


@dataclass(frozen=True)
class PacketLoss:
    """Lose frames in bursts (Gilbert model) and fill the gaps.

    Args:
        loss: share of frames lost.
        burst: mean length of a burst in frames.
        frame_s: length of a packet.
        concealment: ``none`` (silence), ``repeat`` (last frame again and again), ``fade`` (the same, dying away).
    """

    name: ClassVar[str] = "packet_loss"
    loss: float
    burst: float
    frame_s: float
    concealment: str

    @classmethod
    def draw(cls, rng: np.random.Generator, rate_hz: int) -> PacketLoss:
        """Draw from a rare click to every third packet."""
        return cls(
            loss=float(10 ** rng.uniform(-2, -0.5)),
            burst=float(rng.uniform(1, 4)),
            frame_s=float(rng.choice([0.01, 0.02, 0.02, 0.03, 0.06])),
            concealment=str(rng.choice(["none", "repeat", "fade"])),
        )

    def apply(self, scene: Scene, rng: np.random.Generator) -> Scene:
        """Loss and repetition are linear: the same frames are lost and copied in speech and noise."""
        size = int(self.frame_s * scene.rate_hz)
        samples = len(scene.speech)
        count = -(-samples // size)
        leave = min(1.0, 1 / self.burst)
        enter = min(1.0, leave * self.loss / max(1 - self.loss, 1e-3))
        chances = rng.random(count)
        source, gain = np.arange(count), np.ones(count)
        lost = False
        for frame in range(count):
            lost = chances[frame] < ((1 - leave) if lost else enter)
            if lost and self.concealment == "none":
                gain[frame] = 0.0
            elif lost:
                source[frame] = source[frame - 1] if frame else 0
                gain[frame] = gain[frame - 1] * (0.6 if self.concealment == "fade" and frame else 1.0)

        ramp = max(1, int(0.002 * scene.rate_hz))  # a decoder crossfades; without concealment the gap is a hard cut
        steps = np.repeat(gain, size)
        if self.concealment != "none":
            steps = np.convolve(np.pad(steps, ramp // 2, mode="edge"), np.ones(ramp) / ramp, "same")
            steps = steps[ramp // 2 : ramp // 2 + count * size]

        def received(part: Signal) -> Signal:
            frames = np.pad(part, (0, count * size - samples)).reshape(count, size)
            return np.asarray((frames[source].reshape(-1) * steps)[:samples])

        return scene.through(received)
