"""Imperfect time-frequency masks, as neural enhancers make them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter1d

from mtqscore.audio.levels import Signal
from mtqscore.labels.spectral import forward, root_hann
from mtqscore.simulation.degradations.suppression import with_gain
from mtqscore.simulation.scene import Scene


@dataclass(frozen=True)
class Mask:
    """An ideal ratio mask, spoiled.

    Args:
        blur_frames: smearing in time.
        blur_bins: smearing in frequency.
        error: spread of a random, smooth error on the logit of the mask.
        grain: spread of an unsmoothed error, heard as musical noise.
        bias: constant added to the logit; negative takes speech away.
        sharpness: factor on the logit; above 1 towards a binary mask.
        floor_db: lowest gain.
        holes: share of patches of time and frequency that are lost.
        top_hz: above this frequency the network passes nothing.
        phase_error: spread of a random phase in radians.
    """

    name: ClassVar[str] = "mask"
    blur_frames: float
    blur_bins: float
    error: float
    grain: float
    bias: float
    sharpness: float
    floor_db: float
    holes: float
    top_hz: float
    phase_error: float

    @classmethod
    def draw(cls, rng: np.random.Generator, rate_hz: int) -> Mask:
        """Draw from a nearly perfect mask to one that ruins speech."""
        badness = float(rng.beta(1.2, 1.6))
        return cls(
            blur_frames=float(rng.uniform(0, 3 * badness)),
            blur_bins=float(rng.uniform(0, 4 * badness)),
            error=float(rng.uniform(0, 4 * badness)),
            grain=float(rng.uniform(0, 3 * badness)) if rng.random() < 0.6 else 0.0,
            bias=float(rng.normal(0, 1.5 * badness)),
            sharpness=float(rng.uniform(0.6, 2.0)),
            floor_db=float(rng.uniform(-60, -8)),
            holes=float(rng.uniform(0, 0.3 * badness)) if rng.random() < 0.4 else 0.0,
            top_hz=float(rng.uniform(4500, 7500)) if rate_hz > 8000 and rng.random() < 0.12 else rate_hz / 2,
            phase_error=float(rng.uniform(0, 1.2 * badness)) if rng.random() < 0.35 else 0.0,
        )

    def apply(self, scene: Scene, rng: np.random.Generator) -> Scene:
        """Spoil the mask and apply it to speech and noise alike."""
        size = int(0.032 * scene.rate_hz)
        window, hop = root_hann(size), size // 4
        speech = np.abs(forward(scene.speech, window, hop)) ** 2
        noise = np.abs(forward(scene.noise, window, hop)) ** 2
        # Without noise a network still believes in a little, or its mask would be one everywhere.
        noise = noise + 1e-5 * float(np.mean(speech)) + 1e-14
        blur = (self.blur_frames, self.blur_bins)
        logit = 0.5 * np.log(gaussian_filter(speech + 1e-14, blur) / gaussian_filter(noise, blur))
        shape = logit.shape
        if self.error:
            smooth = gaussian_filter(rng.standard_normal(shape), (3, 4))
            logit = logit + self.error * smooth / max(float(smooth.std()), 1e-9)
        if self.grain:
            logit = logit + self.grain * rng.standard_normal(shape)
        gain = 1 / (1 + np.exp(-np.clip(self.sharpness * (logit + self.bias), -30, 30)))
        if self.holes:
            gain = gain * self._patches(rng, shape)
        gain = np.maximum(gain, 10 ** (self.floor_db / 20))
        top = int(self.top_hz / scene.rate_hz * size)
        gain[:, top + 1 :] = 0
        turned = gain.astype(np.complex128)
        if self.phase_error:
            turned = gain * np.exp(1j * self.phase_error * rng.standard_normal(shape))
        return with_gain(scene, turned, window, hop)

    def _patches(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Signal:
        field = uniform_filter1d(uniform_filter1d(rng.standard_normal(shape), 12, axis=0), 16, axis=1)
        lost = field < np.quantile(field, self.holes)
        return np.where(lost, 10 ** (-rng.uniform(6, 30) / 20), 1.0)
