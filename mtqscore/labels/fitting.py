"""Fit of clean speech to a recording: the speech part that it explains, the distortion that follows it, and the noise.

The response from clean to recorded speech is a complex gain for every bin of a short-time spectrum, constant over the
recording but for changes that are too strong for chance: so a device's filter, the phase of a coder and a delay by part
of a sample are speech. The power of the rest is explained band by band by the speech's own power, which distortion
follows (modulated noise, coding, reverberation), and by the noise of the pauses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import nnls
from scipy.signal import lfilter

from mtqscore.audio.levels import Signal
from mtqscore.labels.spectral import Spectrum, forward, inverse, root_hann

WINDOW_S = 0.032
OVERLAP = 4
BINS = 1.5
"""Smoothing of a response over frequency, in bins."""

CHANGE_S = 0.25
"""Time over which a response may change."""

CORRELATED_CELLS = 4.4
"""Neighbouring cells of the short-time spectrum that count as one in the variance of a response."""

PAUSE_SHARE = 0.003
"""Share of the power of active speech below which a frame belongs to a pause."""

NOISE_S = 0.35
"""Time over which the noise of the pauses is averaged."""

EXCESS = 2.0
"""Rest that exceeds its explanation by this factor while somebody speaks is distortion, such as a lost packet."""

FAINT = 0.3
"""Ratio of distortion to noise in a band below which it is put down to chance."""

TAILS_S = (0.12, 0.3)
"""Decay times of what follows speech in a room."""

LOST_DB, LOST_RANGE_DB = 10.0, 20.0
"""A band is lost from this attenuation on, and wholly lost after the range."""

LOST_POINTS = 1.25
"""Points of S for losing every band; listeners mind the band of a wideband telephone by a tenth."""


@dataclass(frozen=True)
class Fit:
    """Parts of a recording; speech + noise is as strong as the recording in every band, not sample by sample.

    Args:
        reference: clean speech through the fitted response, shape (samples,).
        speech: speech part with its distortion, shape (samples,).
        noise: noise part, shape (samples,).
        coloration: points of S that the bands cost which the response takes away.
        match: coherence of recording and clean speech in the best quarter of the speech band, 0 to 1.
        likeness: median correlation of their level along time over bands, -1 to 1.
    """

    reference: Signal
    speech: Signal
    noise: Signal
    coloration: float
    match: float
    likeness: float


def fit_speech(clean: Signal, recording: Signal, rate_hz: int) -> Fit:
    """Divide a recording by the clean speech in it.

    Args:
        clean: the clean speech, float64 (samples,).
        recording: aligned with it, float64 (samples,), at any level and of either polarity.
        rate_hz: of both.
    """
    size = int(WINDOW_S * rate_hz)
    window, hop = root_hann(size), size // OVERLAP
    source, target = forward(clean, window, hop), forward(recording, window, hop)
    overall, response = _responses(source, target, rate_hz / hop)
    speech = response * source
    rest = target - speech
    bands = _bands(size, rate_hz)
    noise_share = _noise_share(np.abs(source) ** 2, np.abs(rest) ** 2, bands, rate_hz / hop)

    def part(spectrum: Spectrum) -> Signal:
        return inverse(spectrum, window, hop, len(recording))

    match, likeness = _match(source, target, bands, rate_hz)
    return Fit(
        reference=part(overall * source),
        speech=part(speech + np.sqrt(1 - noise_share) * rest),
        noise=part(np.sqrt(noise_share) * rest),
        coloration=_coloration(np.abs(source) ** 2, np.abs(overall[0]), bands),
        match=match,
        likeness=likeness,
    )


def fit_processed(clean: Signal, recording: Signal, unprocessed: Signal, rate_hz: int) -> Fit:
    """Divide a processed recording whose unprocessed form is known: its noise is the unprocessed one at the same gain.

    Args:
        clean: the clean speech, float64 (samples,).
        recording: the processed recording, aligned.
        unprocessed: the recording before processing, aligned.
        rate_hz: of all.
    """
    noise = fit_speech(clean, unprocessed, rate_hz).noise
    size = int(WINDOW_S * rate_hz)
    window, hop = np.blackman(size + 1)[:size], size // 8
    before, after = forward(unprocessed, window, hop), forward(recording, window, hop)
    strength = np.abs(before)
    quiet = 1e-6 * float(strength.mean()) + 1e-12
    gain = np.minimum(np.abs(after) / np.maximum(strength, quiet), 1.0)
    turn = after * before.conj() / np.maximum(np.abs(after) * strength, 1e-20)
    left = inverse(forward(noise, window, hop) * gain * turn, window, hop, len(recording))
    fit = fit_speech(clean, recording - left, rate_hz)
    return Fit(fit.reference, fit.speech, fit.noise + left, fit.coloration, fit.match, fit.likeness)


def _responses(source: Spectrum, target: Spectrum, frames_per_s: float) -> tuple[Spectrum, Spectrum]:
    """Response over the whole recording, shape (1, bins), and along time, shape (frames, bins)."""
    power = np.abs(source) ** 2
    cross = target * source.conj()
    least = 1e-8 * float(power.mean()) + 1e-20
    overall = _smooth_complex(cross.sum(0, keepdims=True), 0, BINS) / (
        _smooth(power.sum(0, keepdims=True), 0, BINS) + least
    )
    frames = CHANGE_S * frames_per_s
    local_power = _smooth(power, frames, BINS) + least
    change = _smooth_complex(cross, frames, BINS) / local_power - overall
    cells = 4 * np.pi * frames * BINS
    rest = _smooth(power * np.abs(target - overall * source) ** 2, frames, BINS)
    chance = rest / local_power**2 / cells * CORRELATED_CELLS
    square = np.abs(change) ** 2
    certain = _smooth(np.maximum(square - chance, 0) / (square + 1e-20), 0.7 * frames, 2 * BINS)
    return overall, overall + certain * change


def _noise_share(speech_power: Signal, rest_power: Signal, bands: Signal, frames_per_s: float) -> Signal:
    """Share of noise in the power of the rest, 0 to 1, shape (frames, bins)."""
    speech, rest = speech_power @ bands, rest_power @ bands
    whole = gaussian_filter1d(speech_power.sum(1), 0.7)
    typical = whole[whole > 0.05 * whole.mean()].mean() if whole.any() else 1.0
    pause = 1 / (1 + (_decaying(whole / max(float(typical), 1e-20), 0.05 * frames_per_s) / PAUSE_SHARE) ** 1.5)
    tiny = 1e-12 * float(rest.mean()) + 1e-20
    weight = pause + 1e-4
    steady = NOISE_S * frames_per_s
    noise = gaussian_filter1d(rest * weight[:, None], steady, axis=0, mode="nearest")
    noise = noise / gaussian_filter1d(weight, steady, mode="nearest")[:, None] + tiny
    level = gaussian_filter1d(speech, 1.0, axis=0)
    followers = [
        level,
        np.stack([_decaying(band, 0.12 * frames_per_s) for band in level.T], 1),
        whole[:, None] * (speech.mean(0) / max(float(whole.mean()), 1e-20)),
        *(_tail(speech, tail_s * frames_per_s) for tail_s in TAILS_S),
    ]
    around = gaussian_filter1d(rest, 0.04 * frames_per_s, axis=0)
    shares = np.empty_like(rest)
    for band in range(rest.shape[1]):
        columns = np.stack([*(one[:, band] for one in followers), noise[:, band]], 1)
        explained = np.maximum(gaussian_filter1d(rest[:, band], 3.0), tiny)
        weights = np.zeros(columns.shape[1])
        for _ in range(3):  # the spread of a power grows with it, so each pass weighs by the last one's explanation
            weights, _error = nnls(columns / explained[:, None], rest[:, band] / explained)
            explained = np.maximum(columns @ weights, 10 * tiny + 1e-3 * rest[:, band].mean())
        distortion = columns[:, :-1] @ weights[:-1]
        background = max(float(weights[-1]), 0.05) * columns[:, -1]
        distortion += np.maximum(around[:, band] - EXCESS * (distortion + background), 0) * (1 - pause)
        talking = pause < 0.5
        ratio = distortion[talking].mean() / (background[talking].mean() + 1e-30) if talking.any() else 0.0
        distortion *= ratio**2 / (ratio**2 + FAINT**2)
        shares[:, band] = background / (background + distortion + 1e-30)
    return shares @ (bands.T > 0)


def _coloration(power: Signal, gain: Signal, bands: Signal) -> float:
    """Points of S for the bands of the speech that a response takes away."""
    level = 10 * np.log10(power.mean(0) @ bands + 1e-20)
    gain_db = 10 * np.log10(gain**2 @ bands + 1e-20)
    audible = level > level.max() - 45
    usual = np.median(gain_db[level > level.max() - 20])
    lost = np.clip((usual - gain_db - LOST_DB) / LOST_RANGE_DB, 0, 1)
    return float(LOST_POINTS * np.mean(lost[audible]))


def _match(source: Spectrum, target: Spectrum, bands: Signal, rate_hz: int) -> tuple[float, float]:
    power, other = np.abs(source) ** 2, np.abs(target) ** 2
    frequency_hz = np.linspace(0, rate_hz / 2, power.shape[1])
    within = (frequency_hz > 200) & (frequency_hz < 3400)
    coherence = np.abs((target * source.conj()).sum(0)) ** 2 / (power.sum(0) * other.sum(0) + 1e-30)
    best = np.sort(coherence[within])[-max(1, int(within.sum()) // 4) :]
    levels = [np.log(one @ bands + 1e-4 * (one @ bands).mean(0) + 1e-30) for one in (power, other)]
    levels = [(one - one.mean(0)) / (one.std(0) + 1e-12) for one in levels]
    likeness = np.median((levels[0] * levels[1]).mean(0)[2:15])
    return float(best.mean()), float(likeness)


def _bands(size: int, rate_hz: int) -> Signal:
    """Matrix that averages bins over critical bands of 1 Bark, shape (bins, bands)."""
    frequency_hz = np.fft.rfftfreq(size, 1 / rate_hz)
    bark = 13 * np.arctan(0.00076 * frequency_hz) + 3.5 * np.arctan((frequency_hz / 7500) ** 2)
    member = (bark.astype(int)[:, None] == np.unique(bark.astype(int))).astype(float)
    return np.asarray(member / member.sum(0))


def _smooth(values: Signal, frames: float, bins: float) -> Signal:
    """Smooth by Gaussians over frames and bins, which have these standard deviations, shape (frames, bins)."""
    if frames:
        values = gaussian_filter1d(values, frames, axis=0, mode="constant")
    return np.asarray(gaussian_filter1d(values, bins, axis=1, mode="nearest"))


def _smooth_complex(values: Spectrum, frames: float, bins: float) -> Spectrum:
    return _smooth(values.real, frames, bins) + 1j * _smooth(values.imag, frames, bins)


def _decaying(powers: Signal, frames: float) -> Signal:
    """Follow peaks at once and let them decay, shape (frames,)."""
    keep, state = float(np.exp(-1 / frames)), 0.0
    out = np.empty_like(powers)
    for index, power in enumerate(powers):
        state = max(float(power), keep * state)
        out[index] = state
    return out


def _tail(powers: Signal, frames: float) -> Signal:
    keep = float(np.exp(-1 / frames))
    return np.asarray(lfilter([1 - keep], [1, -keep], powers, axis=0))
