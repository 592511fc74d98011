"""Level, clipping and automatic gain control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mtqscore.simulation.scene import Scene


@dataclass(frozen=True)
class Clip:
    """Hard or soft clipping of the recording at a level set by its own peaks.

    Args:
        share: share of samples that exceed the threshold.
        soft: a smooth saturation instead of a hard limit.
    """

    name: ClassVar[str] = "clip"
    share: float
    soft: bool

    @classmethod
    def draw(cls, rng: np.random.Generator, rate_hz: int) -> Clip:
        """Draw from a few clipped peaks to a fifth of all samples."""
        return cls(share=float(10 ** rng.uniform(-3.3, -0.7)), soft=bool(rng.random() < 0.3))

    def apply(self, scene: Scene, rng: np.random.Generator) -> Scene:
        """Clipping is a gain in time: the same gain is applied to speech and noise."""
        mix = scene.mix
        threshold = max(float(np.quantile(np.abs(mix), 1 - self.share)), 1e-9)
        limited = threshold * np.tanh(mix / threshold) if self.soft else np.clip(mix, -threshold, threshold)
        gain = np.where(np.abs(mix) > 1e-12, limited / np.where(np.abs(mix) > 1e-12, mix, 1.0), 1.0)
        return scene.through(lambda part: part * gain)


@dataclass(frozen=True)
class GainControl:
    """Slow automatic gain control that pumps: the level follows the recording with a lag.

    Args:
        attack_s: time constant when the level rises.
        release_s: time constant when it falls.
        strength: 0 leaves the level alone, 1 makes it constant.
    """

    name: ClassVar[str] = "gain_control"
    attack_s: float
    release_s: float
    strength: float

    @classmethod
    def draw(cls, rng: np.random.Generator, rate_hz: int) -> GainControl:
        """Draw from gentle levelling to audible pumping."""
        return cls(float(rng.uniform(0.01, 0.1)), float(rng.uniform(0.1, 1.0)), float(rng.uniform(0.2, 0.8)))

    def apply(self, scene: Scene, rng: np.random.Generator) -> Scene:
        """Apply the same slow gain to speech and noise."""
        size = int(0.004 * scene.rate_hz)
        mix = scene.mix
        blocks = np.pad(mix, (0, -len(mix) % size)).reshape(-1, size)
        powers = np.mean(blocks**2, axis=1)
        typical = float(np.mean(powers)) + 1e-12
        up, down = (float(np.exp(-0.004 / value)) for value in (self.attack_s, self.release_s))
        envelope, state = np.empty_like(powers), typical
        for index, value in enumerate(powers):
            keep = up if value > state else down
            state = keep * state + (1 - keep) * value
            envelope[index] = state
        gain_db = np.clip(-5 * self.strength * np.log10(envelope / typical + 1e-4) * 2, -20, 20)
        centres = (np.arange(len(powers)) + 0.5) * size
        gain = 10 ** (np.interp(np.arange(len(mix)), centres, gain_db) / 20)
        return scene.through(lambda part: part * gain)
