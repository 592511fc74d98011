"""Label recordings that come as files: clean reference, unprocessed recording, processed recording."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from mtqscore.audio.levels import Signal
from mtqscore.audio.loading import load_mono
from mtqscore.errors import InputError, UsageError
from mtqscore.labels.mapping import Labels, bandwidth_of, floor_ratio_db, label_parts
from mtqscore.labels.measures import distortion_index, intelligibility, raw_pesq
from mtqscore.labels.separation import aligned, split_black_box
from mtqscore.labels.table import read_table
from mtqscore.targets import NARROWBAND_HZ, SAMPLE_RATE_HZ

NARROW_RATE_HZ = 2 * NARROWBAND_HZ
BANDWIDTHS = ("auto", "wide", "narrow")
MIN_S = 1.0


@dataclass(frozen=True)
class ReferenceTriple:
    """The files of one labelled.

    Args:
        processed: the recording to label.
        clean: the clean speech in it.
        unprocessed: the recording before processing; None when ``processed`` is itself unprocessed.
    """

    processed: Path
    clean: Path
    unprocessed: Path | None = None


@dataclass(frozen=True)
class RecordingLabels:
    """Labels of one file and how far its split can be trusted.

    Args:
        triple: the files.
        labels: scores and measures.
        rest_db: level of what the split does not explain, relative to the recording.
        limited_share: share of energy where the processing added more than a gain of one can explain.
        delay_s: delay of the processed recording against the unprocessed one, undone before judging.
    """

    triple: ReferenceTriple
    labels: Labels
    rest_db: float
    limited_share: float
    delay_s: float

    def as_record(self) -> dict[str, object]:
        """Return one row of the result table."""
        return {
            "path": str(self.triple.processed),
            **self.labels.as_record(),
            "rest_db": round(self.rest_db, 1),
            "limited_share": round(self.limited_share, 4),
            "delay_s": round(self.delay_s, 5),
        }


def find_triples(processed: Path, clean: Path | None, unprocessed: Path | None) -> list[ReferenceTriple]:
    """Pair files with files, folders with folders (by name, any suffix), or read a table.

    Args:
        processed: a file, a folder, or a CSV with columns ``path``, ``clean`` and, if wanted, ``unprocessed``.
        clean: the same kind as ``processed``; None for a table.
        unprocessed: the same kind, or None.

    Raises:
        UsageError: something is missing, or the kinds differ.
        InputError: a folder's file has no partner, or a table is faulty.
    """
    for place in (processed, clean, unprocessed):
        if place is not None and not os.path.exists(place):  # noqa: PTH110 - Path.exists raises for a long name
            raise UsageError(f"{place}: no such file or folder")
    if processed.suffix.lower() == ".csv":
        return _from_table(processed)
    if clean is None:
        raise UsageError("name the clean reference after the processed recording, or give a CSV table")
    if processed.is_dir() != clean.is_dir() or (unprocessed is not None and unprocessed.is_dir() != clean.is_dir()):
        raise UsageError("give either files or folders for processed, clean and unprocessed")
    if processed.is_file():
        return [ReferenceTriple(processed, clean, unprocessed)]
    files = sorted(path for path in processed.iterdir() if path.is_file() and not path.name.startswith("."))
    return [
        ReferenceTriple(path, _partner(path, clean), _partner(path, unprocessed) if unprocessed is not None else None)
        for path in files
    ]


def _partner(path: Path, folder: Path) -> Path:
    same = folder / path.name
    found = [same] if same.is_file() else sorted(folder.glob(f"{_escaped(path.stem)}.*"))
    if len(found) != 1:
        raise InputError(f"{path}: {'no' if not found else 'more than one'} file named {path.stem} in {folder}")
    return found[0]


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _from_table(table: Path) -> list[ReferenceTriple]:
    folder = table.parent
    return [
        ReferenceTriple(
            folder / record["path"],
            folder / record["clean"],
            folder / record["unprocessed"] if record.get("unprocessed") else None,
        )
        for record in read_table(table, ("path", "clean"))
    ]


def label_files(triple: ReferenceTriple, *, bandwidth: str = "auto") -> RecordingLabels:
    """Label one recording from its files.

    Delays are undone, the speech in the unprocessed recording is the clean speech at the gain that fits best, the
    remainder is its noise, and the processed recording is split by the black-box method. Reverberation in the
    recording is not known to the method and counts as noise.

    Args:
        triple: the files; any sample rate; several channels are averaged.
        bandwidth: ``wide`` or ``narrow`` chooses the listeners' yardstick; ``auto`` takes narrow when the clean or
            the unprocessed recording holds nothing above 4 kHz, and then narrows the reference too.

    Raises:
        InputError: a file cannot be read, is too short, or holds no measurable speech.
    """
    clean, raw, processed, rate_hz, delay = _loaded(triple, bandwidth)
    gain = float(np.dot(raw, clean)) / max(float(np.dot(clean, clean)), 1e-20)
    speech = gain * clean
    split = split_black_box(speech, raw - speech, processed, rate_hz)
    floor_db = floor_ratio_db(clean, rate_hz)
    labels = label_parts(clean, split.speech, split.noise, rate_hz, raw_noise=raw - speech, floor_db=floor_db)
    if labels is None:
        raise InputError(f"{triple.processed}: no measurable speech; check that {triple.clean} is its clean reference")
    return RecordingLabels(triple, labels, split.rest_db, split.limited_share, delay / rate_hz)


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
    raw, _ = aligned(raw, clean, rate_hz)
    processed, delay = aligned(processed, raw, rate_hz)
    return clean, raw, processed, rate_hz, delay


def _read(path: Path) -> tuple[Signal, int]:
    mono, rate_hz = load_mono(path)
    if len(mono) < MIN_S * rate_hz:
        raise InputError(f"{path}: {len(mono) / rate_hz:.2f} s is too short to label; {MIN_S:g} s at least")
    return mono.astype(np.float64), rate_hz


def _resampled(signal: Signal, rate_hz: int, wanted_hz: int) -> Signal:
    return signal if rate_hz == wanted_hz else np.asarray(soxr.resample(signal, rate_hz, wanted_hz))
