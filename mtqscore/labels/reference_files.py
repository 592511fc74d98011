"""Label recordings that come as files: clean reference, unprocessed recording, processed recording."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from mtqscore.audio.levels import Signal, active_level_db
from mtqscore.audio.loading import load_mono
from mtqscore.errors import InputError
from mtqscore.labels.alignment import aligned
from mtqscore.labels.fitting import fit_processed, fit_speech
from mtqscore.labels.mapping import Labels, Response, bandwidth_of, floor_ratio_db, label_parts
from mtqscore.labels.measures import distortion_index, intelligibility, raw_pesq
from mtqscore.labels.pairs import ReferenceTriple
from mtqscore.targets import NARROWBAND_HZ, SAMPLE_RATE_HZ

NARROW_RATE_HZ = 2 * NARROWBAND_HZ
MIN_S = 1.0

LEAST_MATCH, LEAST_LIKENESS = 0.2, 0.7
"""A recording below both does not hold the speech of its reference: other sentences reach 0.1 and 0.5, speech under
noise at -5 dB 0.45; vocoders keep the levels, not the waveform."""


@dataclass(frozen=True)
class RecordingLabels:
    """Labels of one file, and how well it matches its reference.

    Args:
        triple: the files.
        labels: scores and measures.
        delay_s: delay of the recording against the clean reference, undone before labelling.
        level_db: active level of the recording in dBFS.
        match: coherence of recording and reference, 0 to 1; see `fitting.Fit`.
    """

    triple: ReferenceTriple
    labels: Labels
    delay_s: float
    level_db: float
    match: float

    def as_record(self) -> dict[str, object]:
        """Return one row of the result table."""
        return {
            "path": str(self.triple.processed),
            **self.labels.as_record(),
            "delay_s": round(self.delay_s, 5),
            "level_db": round(self.level_db, 1),
            "match": round(self.match, 3),
        }


def label_files(triple: ReferenceTriple, *, bandwidth: str = "auto") -> RecordingLabels:
    """Label one recording from its files.

    Delay, drift of the clock, polarity, level and mean are undone. The clean speech is fitted to the recording, so that
    the response of a device is speech; what follows the speech is its distortion, and the rest is noise. With the
    unprocessed recording, its noise at the gain of the processing is noise too.

    Args:
        triple: the files; any sample rate; several channels are averaged.
        bandwidth: ``wide`` or ``narrow`` chooses the scale that listeners would use; ``auto`` takes narrow when the
            clean or the unprocessed recording holds nothing above 4 kHz, and then narrows the reference too.

    Raises:
        InputError: a file cannot be read, is too short, holds no measurable speech, or other speech than its reference.
    """
    if triple.problem:
        raise InputError(f"{triple.processed}: {triple.problem}")
    clean, raw, processed, rate_hz, delay = _loaded(triple, bandwidth)
    if triple.unprocessed is None:
        fit, raw_noise = fit_speech(clean, processed, rate_hz), None
    else:
        fit = fit_processed(clean, processed, raw, rate_hz)
        raw_noise = fit_speech(clean, raw, rate_hz).noise
    if fit.match < LEAST_MATCH and fit.likeness < LEAST_LIKENESS:
        raise InputError(
            f"{triple.processed}: does not hold the speech of {triple.clean} (match {fit.match:.2f}); check the pair"
        )
    labels = label_parts(
        clean,
        fit.speech,
        fit.noise,
        rate_hz,
        raw_noise=raw_noise,
        floor_db=floor_ratio_db(clean, rate_hz),
        response=Response(fit.reference, fit.coloration),
        recording=processed,
    )
    if labels is None:
        raise InputError(f"{triple.processed}: no measurable speech; check that {triple.clean} is its clean reference")
    return RecordingLabels(triple, labels, delay / rate_hz, active_level_db(processed, rate_hz), fit.match)


def measure_files(recording: Path, clean: Path) -> tuple[float, float, float]:
    """Compute PESQ, STOI and SDI of a recording against its clean reference; see `label_files` for how files are read.

    Args:
        recording: the file to measure.
        clean: the clean speech in it.

    Returns:
        Raw P.862, STOI and SDI, in the units of ``spec.TARGETS``.

    Raises:
        InputError: a file cannot be read, is too short, or holds no measurable speech.
    """
    reference, _, degraded, rate_hz, _ = _loaded(ReferenceTriple(recording, clean), "auto")
    quality, understood = raw_pesq(reference, degraded, rate_hz), intelligibility(reference, degraded, rate_hz)
    if quality is None or understood is None:
        raise InputError(f"{recording}: no measurable speech; check that {clean} is its clean reference")
    return quality, understood, distortion_index(reference, degraded)


def _loaded(triple: ReferenceTriple, bandwidth: str) -> tuple[Signal, Signal, Signal, int, int]:
    """Read clean, unprocessed and processed signal at one rate, aligned; with that rate and the processing's delay."""
    unprocessed_path = triple.unprocessed or triple.processed
    (clean, clean_hz), (raw, raw_hz), (processed, processed_hz) = (
        _read(path) for path in (triple.clean, unprocessed_path, triple.processed)
    )
    narrow = bandwidth == "narrow" or (
        bandwidth == "auto" and "narrow" in (bandwidth_of(clean, clean_hz), bandwidth_of(raw, raw_hz))
    )
    rate_hz = NARROW_RATE_HZ if narrow else SAMPLE_RATE_HZ
    clean, raw, processed = (
        _resampled(*item, rate_hz) for item in ((clean, clean_hz), (raw, raw_hz), (processed, processed_hz))
    )
    processed, delay = aligned(processed, clean, rate_hz)
    if triple.unprocessed is None:
        return clean, processed, processed, rate_hz, delay
    return clean, aligned(raw, clean, rate_hz)[0], processed, rate_hz, delay


def _read(path: Path) -> tuple[Signal, int]:
    mono, rate_hz = load_mono(path)
    if len(mono) < MIN_S * rate_hz:
        raise InputError(f"{path}: {len(mono) / rate_hz:.2f} s is too short to label; {MIN_S:g} s at least")
    samples = mono.astype(np.float64)
    return samples - samples.mean(), rate_hz


def _resampled(signal: Signal, rate_hz: int, wanted_hz: int) -> Signal:
    return signal if rate_hz == wanted_hz else np.asarray(soxr.resample(signal, rate_hz, wanted_hz))
