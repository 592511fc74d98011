"""Reference-based measures on pairs of signals: raw P.862, STOI, SDI, and the composite measures for comparison."""

from __future__ import annotations

import warnings

import numpy as np
import soxr
from pesq import PesqError, pesq
from pystoi import stoi
from scipy.linalg import solve_toeplitz

from mtqscore.audio.levels import Signal

PESQ_RATE_HZ = 16_000
RAW_PESQ_HIGH = 4.5
SDI_LIMIT = 1.5

# Constants of the logistic map from raw P.862 to MOS-LQO in ITU-T P.862.2 (wideband).
_WB_SLOPE, _WB_OFFSET = 1.3669, 3.8224


def raw_from_lqo(lqo: float) -> float:
    """Undo the map of P.862.2: from MOS-LQO (1.04 to 4.64) to the raw value (-0.5 to 4.5)."""
    inside = min(max(lqo, 1.0), 4.998)
    raw = (_WB_OFFSET - float(np.log(4 / (inside - 0.999) - 1))) / _WB_SLOPE
    return float(min(max(raw, -0.5), RAW_PESQ_HIGH))


def raw_pesq(reference: Signal, degraded: Signal, rate_hz: int) -> float | None:
    """Return the raw P.862 value in wideband mode, -0.5 to 4.5; None when no utterance is found.

    Narrowband signals are measured in the same mode at 16 kHz: with an equally narrow reference the empty upper band
    adds nothing, and one scale serves both bandwidths.
    """
    if rate_hz != PESQ_RATE_HZ:
        reference = soxr.resample(reference, rate_hz, PESQ_RATE_HZ)
        degraded = soxr.resample(degraded, rate_hz, PESQ_RATE_HZ)
    peaks = [float(np.max(np.abs(part))) for part in (reference, degraded)]
    if min(peaks) < 1e-9:
        return None
    # The library reads 16-bit integers; an even level keeps quiet recordings from being rounded away.
    parts = [part * (0.5 / peak) for part, peak in zip((reference, degraded), peaks, strict=True)]
    try:
        lqo = float(pesq(PESQ_RATE_HZ, parts[0].astype(np.float32), parts[1].astype(np.float32), "wb"))
    except PesqError:
        return None
    return raw_from_lqo(lqo) if np.isfinite(lqo) else None


def intelligibility(reference: Signal, degraded: Signal, rate_hz: int) -> float | None:
    """Return STOI (Taal et al. 2011), 0 to 1; None when too little speech is found."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = float(stoi(reference, degraded, rate_hz))
    if any("Not enough STFT frames" in str(item.message) for item in caught) or not np.isfinite(value):
        return None
    return min(max(value, 0.0), 1.0)


def distortion_index(reference: Signal, degraded: Signal) -> float:
    """Return SDI = sum (g s - x)^2 / sum (g s)^2, at most 1.5; g is the gain that fits the reference s best.

    The variant that takes the whole processed signal x: a noisy recording has 10^(-SNR/10).
    """
    energy = float(np.dot(reference, reference))
    gain = float(np.dot(reference, degraded)) / max(energy, 1e-20)
    error = degraded - gain * reference
    return float(min(np.dot(error, error) / max(gain * gain * energy, 1e-20), SDI_LIMIT))


def composite(reference: Signal, degraded: Signal, rate_hz: int) -> dict[str, float]:
    """Return CSIG, CBAK and COVL (Hu and Loizou 2008), each 1 to 5, with raw wideband P.862 as their PESQ.

    Offered for comparison: their constants were fitted at 8 kHz, and they hardly separate speech from noise.
    """
    value = raw_pesq(reference, degraded, rate_hz)
    if value is None:
        return {}
    clean, processed = _frames(reference, rate_hz), _frames(degraded, rate_hz)
    llr = _lowest_mean(_log_likelihood_ratio(clean, processed, 16 if rate_hz >= 10_000 else 10))
    wss = _lowest_mean(_weighted_slopes(clean, processed, rate_hz))
    ratio = np.sum(clean**2, axis=1) / np.maximum(np.sum((clean - processed) ** 2, axis=1), 1e-12)
    seg_snr = float(np.mean(np.clip(10 * np.log10(np.maximum(ratio, 1e-12)), -10, 35)))
    scores = {
        "csig": 3.093 - 1.029 * llr + 0.603 * value - 0.009 * wss,
        "cbak": 1.634 + 0.478 * value - 0.007 * wss + 0.063 * seg_snr,
        "covl": 1.594 + 0.805 * value - 0.512 * llr - 0.007 * wss,
    }
    return {name: float(min(max(score, 1.0), 5.0)) for name, score in scores.items()}


def _frames(signal: Signal, rate_hz: int) -> Signal:
    """30 ms frames every 7.5 ms under the window of the composite measures, shape (frames, samples)."""
    size, hop = round(0.03 * rate_hz), round(0.0075 * rate_hz)
    window = 0.5 * (1 - np.cos(2 * np.pi * np.arange(1, size + 1) / (size + 1)))
    frames = np.lib.stride_tricks.sliding_window_view(signal, size)[::hop][:-1]
    return np.asarray(frames * window + 1e-10)


def _lowest_mean(values: Signal) -> float:
    ordered = np.sort(values)
    return float(np.mean(ordered[: max(1, round(0.95 * len(ordered)))]))


def _log_likelihood_ratio(clean: Signal, processed: Signal, order: int) -> Signal:
    def correlations(frames: Signal) -> Signal:
        size = frames.shape[1]
        power = np.abs(np.fft.rfft(frames, 2 * size, axis=1)) ** 2
        return np.asarray(np.fft.irfft(power, axis=1)[:, : order + 1])

    values = []
    index = np.abs(np.subtract.outer(np.arange(order + 1), np.arange(order + 1)))
    for lags_clean, lags_processed in zip(correlations(clean), correlations(processed), strict=True):
        matrix = lags_clean[index]
        energies = []
        for lags in (lags_processed, lags_clean):
            damped = lags.copy()
            damped[0] = damped[0] * (1 + 1e-9) + 1e-12
            polynomial = np.concatenate([[1.0], -solve_toeplitz(damped[:-1], damped[1:])])
            energies.append(float(polynomial @ matrix @ polynomial))
        ratio = energies[0] / max(energies[1], 1e-20)
        values.append(np.log(ratio) if ratio > 0 else np.log(1000.0))
    return np.asarray(values)


_CENTRES_HZ = [50, 120, 190, 260, 330, 400, 470, 540, 617.372, 703.378, 798.717, 904.128, 1020.38, 1148.3, 1288.72,
               1442.54, 1610.7, 1794.16, 1993.93, 2211.08, 2446.71, 2701.97, 2978.04, 3276.17, 3597.63]  # fmt: skip
_WIDTHS_HZ = [70, 70, 70, 70, 70, 70, 70, 77.3724, 86.0056, 95.3398, 105.411, 116.256, 127.914, 140.423, 153.823,
              168.154, 183.457, 199.776, 217.153, 235.631, 255.255, 276.072, 298.126, 321.465, 346.136]  # fmt: skip


def _weighted_slopes(clean: Signal, processed: Signal, rate_hz: int) -> Signal:
    size = int(2 ** np.ceil(np.log2(2 * clean.shape[1])))
    bins = np.arange(size // 2)
    centres = np.floor(np.asarray(_CENTRES_HZ) / (rate_hz / 2) * (size // 2))[:, None]
    widths = np.asarray(_WIDTHS_HZ)[:, None] / (rate_hz / 2) * (size // 2)
    filters = np.exp(-11 * ((bins - centres) / widths) ** 2 + np.log(_WIDTHS_HZ[0] / np.asarray(_WIDTHS_HZ))[:, None])
    filters[filters < np.exp(-30 / (2 * 2.303))] = 0
    slopes, weights = [], []
    for frames in (clean, processed):
        power = np.abs(np.fft.rfft(frames, size, axis=1)[:, : size // 2]) ** 2
        level = 10 * np.log10(np.maximum(power @ filters.T, 1e-10))
        slope = np.diff(level, axis=1)
        peak = _nearest_peaks(level, slope)
        highest = level.max(axis=1, keepdims=True)
        weights.append(20 / (20 + highest - level[:, :-1]) / (1 + peak - level[:, :-1]))
        slopes.append(slope)
    weight = (weights[0] + weights[1]) / 2
    return np.asarray(np.sum(weight * (slopes[0] - slopes[1]) ** 2, axis=1) / np.sum(weight, axis=1))


def _nearest_peaks(level: Signal, slope: Signal) -> Signal:
    """Level of the spectral peak that each band's slope climbs towards, shape (frames, bands - 1)."""
    bands = slope.shape[1]
    up, down = np.empty_like(slope), np.empty_like(slope)
    for band in range(bands - 1, -1, -1):  # rising: walk right until the slope stops rising
        beyond = up[:, band + 1] if band + 1 < bands else level[:, bands]
        rises_on = slope[:, band + 1] > 0 if band + 1 < bands else np.zeros(len(slope), dtype=bool)
        up[:, band] = np.where(rises_on, beyond, level[:, band + 1])
    for band in range(bands):  # falling: walk left until it stops falling
        before = down[:, band - 1] if band else level[:, 0]
        falls_on = slope[:, band - 1] <= 0 if band else np.zeros(len(slope), dtype=bool)
        down[:, band] = np.where(falls_on, before, level[:, band])
    return np.where(slope > 0, up, down)
