"""Modulated noise reference unit (ITU-T P.810): noise that follows the speech, a pure distortion of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import soxr

from mtqscore.audio.levels import Signal
from mtqscore.simulation.scene import Scene


@dataclass(frozen=True)
class Mnru:
    """Multiply every sample by 1 + 10^(-Q/20) w with white Gaussian w: a gain, so it splits exactly.

    Args:
        q_db: ratio of signal to modulated noise.
        rate_hz: rate at which the noise is drawn; at 48 kHz part of it falls outside the band.
    """

    name: ClassVar[str] = "mnru"
    q_db: float
    rate_hz: int

    @classmethod
    def draw(cls, rng: np.random.Generator, rate_hz: int) -> Mnru:
        """Draw Q from very bad to inaudible."""
        wide = 48_000 if rng.random() < 0.5 else rate_hz
        return cls(q_db=float(rng.uniform(0, 42)), rate_hz=rate_hz if rate_hz <= 8000 else wide)

    def apply(self, scene: Scene, rng: np.random.Generator) -> Scene:
        """Modulate speech and noise with the same random gain."""
        factor = self.rate_hz // scene.rate_hz
        gain = 1 + 10 ** (-self.q_db / 20) * rng.standard_normal(len(scene.speech) * factor)

        def modulated(part: Signal) -> Signal:
            if factor == 1:
                return part * gain
            fast = soxr.resample(part, scene.rate_hz, self.rate_hz)
            fast = np.pad(fast, (0, max(0, len(gain) - len(fast))))[: len(gain)] * gain
            slow = soxr.resample(fast, self.rate_hz, scene.rate_hz)
            return np.asarray(np.pad(slow, (0, max(0, len(part) - len(slow))))[: len(part)])

        return scene.through(modulated)
