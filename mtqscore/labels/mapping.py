"""Reference-based labels: the open, 3QUEST-style counterpart of a listening test on the P.835 scales.

A recording is labelled by its parts. S looks at the speech part against the clean reference, heard through the noise
that is left, because noise hides distortion; strong noise then lowers S a little. N looks at the A-weighted distance
of speech and residual noise and at the noise's character. G follows from S and N, and the worse one weighs more.
docs/labels.md has the origin of the numbers and their agreement with listeners.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np
from scipy.fft import next_fast_len

from mtqscore.audio.levels import FRAME_S, Signal, active_frames, active_level_db, frame_powers, level_db, power_db
from mtqscore.labels.filters import a_weighted, a_weighting
from mtqscore.labels.measures import distortion_index, intelligibility, raw_pesq
from mtqscore.labels.spectral import forward, root_hann
from mtqscore.targets import NARROWBAND_HZ


@dataclass(frozen=True)
class Mapping:
    """The few numbers between measures and scales; see docs/labels.md for each.

    Args:
        s_slope, s_offset: line from the raw P.862 value of the speech part to S.
        s_softness: width of the bend where that line meets the ceiling; at the low end it is twice as wide.
        ceiling: S of undistorted speech, and N without noise.
        noise_on_s: how much of S is lost for each point of N below the ceiling.
        n_points: A-weighted speech-to-noise ratio in dB and the N that goes with it.
        distortion_on_n: share of a loss in S that listeners put down to the background, and its limit in points.
        musical_on_n: points of N lost to fully musical residual noise that is well heard.
        g_weights: offset, weight of S, of N and of the worse one.
    """

    s_slope: float
    s_offset: float
    s_softness: float
    ceiling: float
    noise_on_s: float
    n_points: tuple[tuple[float, float], ...]
    distortion_on_n: tuple[float, float]
    musical_on_n: float
    g_weights: tuple[float, float, float, float]


WIDEBAND = Mapping(
    s_slope=1.02,
    s_offset=0.95,
    s_softness=0.15,
    ceiling=4.85,
    noise_on_s=0.088,
    n_points=((-9.0, 1.0), (-1.0, 1.2), (19.0, 2.45), (39.0, 3.75), (59.0, 4.7)),
    distortion_on_n=(0.25, 0.42),
    musical_on_n=0.4,
    g_weights=(-0.09, 0.35, 0.21, 0.46),
)
NARROWBAND = replace(
    WIDEBAND,
    s_offset=0.60,
    ceiling=4.38,
    g_weights=(-0.19, 0.35, 0.21, 0.46),
    n_points=((-5.0, 1.0), (3.0, 1.35), (13.0, 2.3), (33.0, 3.9), (45.0, 4.38)),
)
MAPPINGS = {"wide": WIDEBAND, "narrow": NARROWBAND}

NARROWBAND_SHARE_DB = -50.0
"""A reference with less than this share of its power above 4 kHz is narrowband speech."""

UNDER_SPEECH_WEIGHT = 0.3
"""Weight of the audible noise under speech against that in the pauses."""

SHORTEST_PAUSE_S = 0.1
"""With fewer pauses than this, noise can only be measured under the speech."""


@dataclass(frozen=True)
class Response:
    """Linear response that a recording's speech has gone through.

    Args:
        reference: clean speech through it, shape (samples,): what its distortion is measured against.
        coloration: points of S that it costs by itself.
    """

    reference: Signal
    coloration: float


@dataclass(frozen=True)
class Labels:
    """Labels of one recording and the measures that they come from.

    Args:
        s_mos, n_mos, g_mos: 1 to 5.
        pesq: raw wideband P.862 of the whole recording, -0.5 to 4.5.
        stoi: 0 to 1.
        sdi: 0 to 1.5.
        bandwidth: ``wide`` or ``narrow``: the scale that listeners would use.
        speech_pesq: raw P.862 of the speech part, heard through the residual noise.
        noise_ratio_db: A-weighted active speech level minus A-weighted noise level.
        musical: 0 (noise as it was) to 1 (isolated tones).
    """

    s_mos: float
    n_mos: float
    g_mos: float
    pesq: float
    stoi: float
    sdi: float
    bandwidth: str
    speech_pesq: float
    noise_ratio_db: float
    musical: float

    def as_record(self) -> dict[str, object]:
        """Return the fields for a table, numbers rounded to four digits."""
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(self).items()}


def bandwidth_of(reference: Signal, rate_hz: int) -> str:
    """Return ``narrow`` when the reference holds nothing above 4 kHz, else ``wide``."""
    if rate_hz <= 2 * NARROWBAND_HZ:
        return "narrow"
    size = next_fast_len(len(reference), real=True)
    power = np.abs(np.fft.rfft(reference, size)) ** 2
    above = np.fft.rfftfreq(size, 1 / rate_hz) > NARROWBAND_HZ
    share_db = power_db(float(power[above].sum())) - power_db(float(power.sum()))
    return "narrow" if share_db < NARROWBAND_SHARE_DB else "wide"


def noise_ratio_db(speech: Signal, noise: Signal, rate_hz: int) -> float:
    """Return active speech level minus the level of the audible noise, both A-weighted, in dB; 140 at most.

    Noise is measured in the pauses, as 3QUEST does. What lies under speech counts with a weight of 0.3, and only as far
    as speech does not mask it: in each critical band a quarter of the speech power is taken off the noise power. Noise
    that comes and goes counts somewhat less than its mean energy. For steady noise both are nearly its level; a
    suppressor that leaves noise under the speech alone is not blamed for it.
    """
    active = active_frames(speech, rate_hz)
    size = 2 * int(FRAME_S * rate_hz)
    window = root_hann(size)
    bands = _band_powers(speech, window, rate_hz), _band_powers(noise, window, rate_hz)
    count = min(len(active), len(bands[0]))
    active = active[:count]
    under_speech = np.maximum(bands[1][:count] - 0.25 * bands[0][:count], 0.0).sum(axis=1)
    powers = frame_powers(a_weighted(noise, rate_hz), rate_hz)[:count]
    level = _typical_power(powers[~active])
    covered = _typical_power(np.minimum(under_speech, powers)[active])
    weight = UNDER_SPEECH_WEIGHT if (~active).sum() * FRAME_S >= SHORTEST_PAUSE_S else 1.0
    power = (1 - weight) * level + weight * covered
    return active_level_db(a_weighted(speech, rate_hz), rate_hz) - power_db(power)


def _typical_power(powers: Signal) -> float:
    """Mean of frame powers over time by the square of the mean root: between mean energy and mean loudness."""
    return float(np.mean(np.sqrt(powers))) ** 2 if len(powers) else 0.0


def _band_powers(signal: Signal, window: Signal, rate_hz: int) -> Signal:
    """A-weighted power of a signal in critical bands of 1 Bark, a row for each 16 ms frame, shape (frames, bands)."""
    hop = len(window) // 2
    # The first frame of the padded spectrum that is centred on a 16 ms frame starts half a hop before it.
    spectrum = np.abs(forward(np.pad(signal, (hop // 2, 0)), window, hop))[2:]
    frequency_hz = np.fft.rfftfreq(len(window), 1 / rate_hz)
    power = spectrum**2 * a_weighting(frequency_hz) ** 2
    scale = np.full(len(frequency_hz), 2.0)
    scale[[0, -1]] = 1.0
    bark = 13 * np.arctan(0.00076 * frequency_hz) + 3.5 * np.arctan((frequency_hz / 7500) ** 2)
    edges = np.unique(np.searchsorted(bark, np.arange(0, 25)))
    edges = edges[edges < len(bark)]
    return np.asarray(np.add.reduceat(power * scale, edges, axis=1) / (len(window) * float(np.sum(window**2))))


def floor_ratio_db(reference: Signal, rate_hz: int) -> float:
    """Return active speech level minus the level of a reference's own background, both A-weighted, in dB.

    The background is the mean of the quietest twentieth of the frames that are not digital silence, less 3 dB because
    these frames also hold the ends of words.
    """
    weighted = a_weighted(reference, rate_hz)
    powers = np.sort(frame_powers(weighted, rate_hz))
    powers = powers[powers > 1e-12]
    if len(powers) == 0:
        return 140.0
    floor = float(np.mean(powers[: max(1, len(powers) // 20)]))
    return active_level_db(weighted, rate_hz) - power_db(floor) + 3.0


def musicality(noise: Signal, raw_noise: Signal, rate_hz: int) -> float:
    """Return how much tonal speckle a processor has made of the noise, 0 to 1.

    After the log-kurtosis ratio of Uemura et al. (2008): kurtosis of the short-time power over time and frequency,
    processed against unprocessed noise.
    """
    if level_db(noise) < -100 or level_db(raw_noise) < -100:
        return 0.0
    window = root_hann(int(0.032 * rate_hz))

    def kurtosis(signal: Signal) -> float:
        power = np.abs(forward(signal, window, len(window) // 2))[3:-4] ** 2  # without the edges' splash
        typical = power.mean(axis=0)
        heard = typical > 0.01 * typical.max()  # what a filter took away has no texture of its own
        power = power[:, heard] / np.maximum(typical[heard], 1e-20)  # colour alone is not musical
        return float(np.mean(power**4) / max(float(np.mean(power**2)) ** 2, 1e-20))

    ratio = np.log(kurtosis(noise) / max(kurtosis(raw_noise), 1e-9))
    return float(np.clip((ratio - 0.5) / 2.5, 0.0, 1.0))


def _n_mos(ratio_db: float, mapping: Mapping) -> float:
    ratios, values = zip(*mapping.n_points, strict=True)
    return float(min(np.interp(ratio_db, ratios, values), mapping.ceiling))


def _s_of(raw: float, mapping: Mapping) -> float:
    line = mapping.s_offset + mapping.s_slope * raw
    soft = mapping.s_softness
    below_ceiling = mapping.ceiling - soft * np.logaddexp(0.0, (mapping.ceiling - line) / soft)
    # At the low end the line meets the end of the scale in a wider bend, so that bad and worse stay apart.
    return float(1 + 2 * soft * np.logaddexp(0.0, (below_ceiling - 1) / (2 * soft)))


def scores_from_measures(
    raw: float, ratio_db: float, musical: float, mapping: Mapping, coloration: float = 0.0
) -> tuple[float, float, float]:
    """Return S, N and G from the measures of one recording.

    Args:
        raw: raw P.862 value of the speech part, heard through the residual noise.
        ratio_db: A-weighted speech-to-residual-noise ratio.
        musical: 0 to 1.
        mapping: the constants for its bandwidth.
        coloration: points of S that the response costs.
    """
    undisturbed_s = max(_s_of(raw, mapping) - coloration, 1.0)
    bare_n = _n_mos(ratio_db, mapping)
    # Speckle is heard as far as noise is.
    bare_n -= mapping.musical_on_n * musical * min((mapping.ceiling - bare_n) / 1.5, 1.0) * min(bare_n - 1, 1.0)
    s_mos = 1 + (undisturbed_s - 1) * (1 - mapping.noise_on_s * (mapping.ceiling - bare_n))
    share, limit = mapping.distortion_on_n
    blamed = min(share * (mapping.ceiling - undisturbed_s), limit) * max(bare_n - 1, 0) / (mapping.ceiling - 1)
    n_mos = bare_n - blamed
    offset, by_s, by_n, by_worse = mapping.g_weights
    g_mos = offset + by_s * s_mos + by_n * n_mos + by_worse * min(s_mos, n_mos)
    return tuple(float(min(max(score, 1.0), 5.0)) for score in (s_mos, n_mos, g_mos))  # type: ignore[return-value]


def _masked_raw_pesq(clean: Signal, speech: Signal, noise: Signal, rate_hz: int) -> float | None:
    """Raw P.862 value of the speech part with the residual noise on both sides, at the same distance."""
    gain = 10 ** ((active_level_db(speech, rate_hz) - active_level_db(clean, rate_hz)) / 20)
    # P.862 finds no utterance in a reference that drowns in steady noise; then less of the noise masks.
    for masking in (1.0, 0.5, 0.25, 0.125, 0.0):
        value = raw_pesq(gain * clean + masking * noise, speech + masking * noise, rate_hz)
        if value is not None:
            return value
    return None


def label_parts(
    clean: Signal,
    speech: Signal,
    noise: Signal,
    rate_hz: int,
    *,
    raw_noise: Signal | None = None,
    floor_db: float = 140.0,
    response: Response | None = None,
    recording: Signal | None = None,
) -> Labels | None:
    """Label one recording from its parts.

    Args:
        clean: reference, shape (samples,).
        speech: speech part of the processed recording, aligned, shape (samples,).
        noise: noise part, shape (samples,); speech + noise is the recording.
        rate_hz: sample rate.
        raw_noise: the noise before processing, shape (samples,); without it no noise counts as musical.
        floor_db: speech-to-background ratio of the reference itself, see ``floor_ratio_db``.
        response: of the recording, when it was fitted; else distortion is measured against ``clean``.
        recording: the recording itself, where speech + noise is it in power alone.

    Returns:
        The labels, or None when a measure finds no speech.
    """
    bandwidth = bandwidth_of(clean, rate_hz)
    mapping = MAPPINGS[bandwidth]
    if not active_frames(speech, rate_hz).any() or not active_frames(clean, rate_hz).any():
        return None
    response = response or Response(clean, 0.0)
    whole = speech + noise if recording is None else recording
    masked_raw = _masked_raw_pesq(response.reference, speech, noise, rate_hz)
    plain_raw = raw_pesq(clean, whole, rate_hz)
    understood = intelligibility(clean, whole, rate_hz)
    if masked_raw is None or plain_raw is None or understood is None:
        return None
    ratio_db = noise_ratio_db(speech, noise, rate_hz)
    ratio_db = -power_db(10 ** (-ratio_db / 10) + 10 ** (-floor_db / 10))
    musical = musicality(noise, raw_noise, rate_hz) if raw_noise is not None else 0.0
    s_mos, n_mos, g_mos = scores_from_measures(masked_raw, ratio_db, musical, mapping, response.coloration)
    index = distortion_index(clean, whole)
    return Labels(s_mos, n_mos, g_mos, plain_raw, understood, index, bandwidth, masked_raw, float(ratio_db), musical)
