"""Reverberation: the recording is far from the microphone, its reference is not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy.signal import fftconvolve

from mtqscore.audio.levels import Signal
from mtqscore.labels.filters import shaped
from mtqscore.simulation.scene import Scene


@dataclass(frozen=True)
class Reverb:
    """A room response made of a direct sound, early reflections and a decaying, darkening tail.

    Args:
        t60_s: reverberation time.
        direct_db: direct sound over reverberation.
        predelay_s: time between direct sound and tail.
    """

    name: ClassVar[str] = "reverb"
    t60_s: float
    direct_db: float
    predelay_s: float

    @classmethod
    def draw(cls, rng: np.random.Generator, rate_hz: int) -> Reverb:
        """Draw from a dry office to a stairwell."""
        return cls(float(rng.uniform(0.15, 1.3)), float(rng.uniform(-4, 18)), float(rng.uniform(0.001, 0.015)))

    def response(self, rng: np.random.Generator, rate_hz: int) -> Signal:
        """Room response with the direct sound at sample 0, shape (samples,)."""
        size = int(min(self.t60_s, 1.2) * rate_hz)
        time_s = np.arange(size) / rate_hz
        tail = rng.standard_normal(size) * 10 ** (-3 * time_s / self.t60_s)
        # Sparse before it is dense: the number of reflections grows with the square of time.
        tail = tail * (rng.random(size) < np.clip((time_s / 0.03) ** 2, 0.02, 1))
        tail[: int(self.predelay_s * rate_hz)] = 0
        tail = shaped(tail, rate_hz, [100, 1000, rate_hz / 2], [-2, 0, -float(rng.uniform(2, 12))])
        tail *= 10 ** (-self.direct_db / 20) / max(float(np.sqrt(np.sum(tail**2))), 1e-9)
        tail[0] = 1.0
        return np.asarray(tail)

    def apply(self, scene: Scene, rng: np.random.Generator) -> Scene:
        """The room acts on the speech; noise keeps the sound of its own recording."""
        response = self.response(rng, scene.rate_hz)
        return replace(scene, speech=fftconvolve(scene.speech, response)[: len(scene.speech)])
