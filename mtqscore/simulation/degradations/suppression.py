"""Classical noise suppression by spectral gains, with its usual faults.

Spectral subtraction after Berouti et al. (1979), Wiener filter with decision-directed a-priori SNR after Scalart
and Vieira (1996), MMSE log-spectral amplitude after Ephraim and Malah (1985). The noise estimate lags, is biased
and floored as trackers' estimates are. A spectral gain is linear for a given recording, so that speech and noise
part each pass through the very same gain: the split stays exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import exp1

from mtqscore.audio.levels import Signal
from mtqscore.labels.spectral import Spectrum, forward, inverse, root_hann
from mtqscore.simulation.scene import Scene

RULES = ("spectral_subtraction", "wiener", "mmse_lsa")


def with_gain(scene: Scene, gain: Signal | Spectrum, window: Signal, hop: int) -> Scene:
    """Multiply short-time spectra of speech and noise with one gain, shape (frames, bins), real or complex."""

    def filtered(part: Signal) -> Signal:
        return inverse(forward(part, window, hop) * gain, window, hop, len(part))

    return scene.through(filtered)


def tracked_noise_power(noise_power: Signal, lag_frames: float, bias_db: float) -> Signal:
    """Noise power as a tracker would see it: smoothed in time, late and biased; shape (frames, bins)."""
    keep = float(np.exp(-1 / lag_frames))
    smooth = np.empty_like(noise_power)
    state = noise_power[: max(4, int(lag_frames))].mean(axis=0)
    for frame, power in enumerate(noise_power):
        state = keep * state + (1 - keep) * power
        smooth[frame] = state
    return np.asarray(smooth * 10 ** (bias_db / 10) + 1e-12)


@dataclass(frozen=True)
class Suppress:
    """A classical suppressor.

    Args:
        rule: one of ``RULES``.
        lag_s: time constant of the noise estimate.
        bias_db: error of the noise estimate; positive takes speech away, negative leaves noise.
        floor_db: lowest gain.
        smoothing: weight of the last frame in the a-priori SNR; low values give musical noise.
        over: over-subtraction factor of spectral subtraction.
        window_s: length of the analysis window.
    """

    name: ClassVar[str] = "suppress"
    rule: str
    lag_s: float
    bias_db: float
    floor_db: float
    smoothing: float
    over: float
    window_s: float

    @classmethod
    def draw(cls, rng: np.random.Generator, rate_hz: int) -> Suppress:
        """Draw a rule and how badly it is tuned."""
        return cls(
            rule=str(rng.choice(RULES)),
            lag_s=float(10 ** rng.uniform(-1, 0.7)),
            bias_db=float(rng.normal(1, 3)),
            floor_db=float(rng.uniform(-40, -6)),
            smoothing=float(rng.choice([0.0, 0.5, 0.9, 0.96, 0.98, 0.99])),
            over=float(rng.uniform(0.8, 5)),
            window_s=float(rng.choice([0.016, 0.032, 0.032, 0.064])),
        )

    def apply(self, scene: Scene, rng: np.random.Generator) -> Scene:
        """Estimate the noise, compute the gain on the recording, apply it to both parts."""
        size = int(self.window_s * scene.rate_hz)
        window, hop = root_hann(size), size // 2
        power = np.abs(forward(scene.mix, window, hop)) ** 2 + 1e-12
        noise_power = np.abs(forward(scene.noise, window, hop)) ** 2
        lag_frames = max(self.lag_s * scene.rate_hz / hop, 1.0)
        estimate = tracked_noise_power(noise_power, lag_frames, self.bias_db)
        floor = 10 ** (self.floor_db / 20)
        if self.rule == "spectral_subtraction":
            gain = np.sqrt(np.maximum(1 - self.over * estimate / power, floor**2))
        else:
            gain = self._decision_directed(power, estimate, floor)
        return with_gain(scene, gain, window, hop)

    def _decision_directed(self, power: Signal, noise: Signal, floor: float) -> Signal:
        gains = np.empty_like(power)
        before = np.zeros(power.shape[1])
        for frame in range(len(power)):
            posterior = np.minimum(power[frame] / noise[frame], 1e4)
            prior = self.smoothing * before + (1 - self.smoothing) * np.maximum(posterior - 1, 0)
            prior = np.maximum(prior, 1e-3)
            gain = prior / (1 + prior)
            if self.rule == "mmse_lsa":
                gain = np.minimum(gain * np.exp(0.5 * exp1(np.maximum(gain * posterior, 1e-6))), 1.0)
            gains[frame] = np.maximum(gain, floor)
            before = gain**2 * posterior
        return gains
