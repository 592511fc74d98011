"""Labels of recordings from their clean and noisy references: computed in parallel, and kept from run to run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtqscore.audio.loading import load_mono
from mtqscore.base.journal import Journal
from mtqscore.base.machine import usable_cores
from mtqscore.base.processes import WorkerPool
from mtqscore.base.text import printable
from mtqscore.base.version import VERSION
from mtqscore.corpora.corpus import Advance
from mtqscore.errors import EnvironmentProblemError, InputError, MissingExtraError
from mtqscore.models.registry import own_folder
from mtqscore.targets import SAMPLE_RATE_HZ, TARGETS

LARGEST_SNR_ERROR_DB = 3.0
"""A clean and a noisy recording belong together if the SNR between them is that of the name within this.

Wide enough for SNRs that were set by active speech level; the wrong sentence is off by tens of dB."""

LOWEST_ENHANCED_SNR_DB = -10.0
"""Without the noisy recording: an enhanced one that holds less of its clean reference is no rendering of it."""

FEW_PAIRS = 8
"""Starting processes would take longer than labelling so many."""


@dataclass(frozen=True)
class ReferencePair:
    """A recording with its references.

    Args:
        stem: key of its labels.
        processed: the recording to label.
        clean: its clean reference; the recording itself where that is clean.
        noisy: the recording before enhancement, which may be ``processed``; None where it is not at hand.
        snr_db: SNR by its name; None for clean ones.
    """

    stem: str
    processed: Path
    clean: Path
    noisy: Path | None
    snr_db: int | None

    def fingerprint(self) -> str:
        """Key of the labels, which hold as long as name, size and time of the files are the same."""
        files = [file for file in (self.processed, self.clean, self.noisy) if file is not None]
        marks = [(file.name, file.stat().st_size, int(file.stat().st_mtime)) for file in files]
        return f"{self.stem} {hashlib.sha256(f'{marks} {self.snr_db}'.encode()).hexdigest()[:32]}"


def label_from_references(
    pairs: Sequence[ReferencePair], workers: int, advance: Advance
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Label recordings against their references with the labeller of `mtqscore label`.

    A reference counts only if it fits: the SNR between clean and noisy, after delay and gain are undone, must be that
    of the name. Results are kept in the user's folder for data, so that the same recordings are labelled once.

    Args:
        pairs: recordings with their references.
        workers: processes; 0 for one a core.
        advance: notified of the progress.

    Returns:
        Targets by recording (without the noisy reference, PESQ, STOI and SDI alone), and notes: how many, and which
        references were not used.

    Raises:
        MissingExtraError: the [train] extra is not installed.
    """
    if not pairs:
        return {}, ["no recording has its clean twin here, so none is labelled against a reference"]
    try:
        from mtqscore.labels.mapping import MAPPINGS
        from mtqscore.labels.reference_files import label_files  # noqa: F401 - refused here once, not in every process
    except ModuleNotFoundError as error:
        raise MissingExtraError("labels from references", "train", error.name or "?") from error
    unkept = ""
    with Journal(own_folder() / "corpora" / "reference-labels.jsonl", f"{VERSION} {MAPPINGS}") as journal:
        keys = {pair.stem: pair.fingerprint() for pair in pairs}
        records = {stem: journal[key] for stem, key in keys.items() if key in journal}
        todo = [pair for pair in pairs if pair.stem not in records]
        for done, (pair, record) in enumerate(_labelled(todo, workers), start=len(records) + 1):
            records[pair.stem] = record
            try:
                if not unkept:
                    journal.add(keys[pair.stem], record)
            except OSError as error:
                unkept = f"{journal.path}: cannot keep the labels for the next run: {error.strerror or error}"
            advance(done, len(pairs))
    return _summary(records, [unkept] if unkept else [])


def _summary(records: dict[str, dict[str, Any]], notes: list[str]) -> tuple[dict[str, dict[str, float]], list[str]]:
    labels = {stem: record["labels"] for stem, record in records.items() if record["labels"]}
    full = sum("s_mos" in values for values in labels.values())
    counts = f"labelled against references: {full:,} recordings"
    if len(labels) > full:
        counts += f", and {len(labels) - full:,} for PESQ, STOI and SDI alone, as their noisy twins are missing"
    problems = {stem: record["problem"] for stem, record in records.items() if record["problem"]}
    if problems:
        stem = min(problems)
        notes = [f"{len(problems):,} twins are not used, such as {stem}: {printable(problems[stem])}", *notes]
    return labels, [counts, *notes]


def _labelled(pairs: Sequence[ReferencePair], workers: int) -> Iterator[tuple[ReferencePair, dict[str, Any]]]:
    count = min(workers or usable_cores(), len(pairs))
    if count <= 1 or len(pairs) <= FEW_PAIRS:
        yield from zip(pairs, map(label_pair, pairs), strict=True)
        return
    pool = WorkerPool(count)
    try:
        yield from zip(pairs, pool.map(label_pair, pairs, chunksize=4), strict=True)
    except BrokenExecutor as error:
        raise EnvironmentProblemError(
            f"a process that labels recordings ended by itself ({error}); what is done is kept, and fewer workers need "
            "less memory"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def label_pair(pair: ReferencePair) -> dict[str, Any]:
    """Label one recording: ``labels`` by target, and ``problem``, why there are none."""
    from mtqscore.labels.pairs import ReferenceTriple
    from mtqscore.labels.reference_files import label_files

    try:
        if problem := _misfit(pair):
            return {"labels": {}, "problem": problem}
        if pair.noisy is None:
            return {"labels": _measures(pair), "problem": ""}
        unprocessed = None if pair.noisy == pair.processed else pair.noisy
        record = label_files(ReferenceTriple(pair.processed, pair.clean, unprocessed)).as_record()
    except InputError as error:
        return {"labels": {}, "problem": str(error)}
    return {"labels": {target.name: record[target.name] for target in TARGETS}, "problem": ""}


def _misfit(pair: ReferencePair) -> str:
    """Explain why a recording and its references do not belong together; empty if they do, or if it is clean itself."""
    if pair.snr_db is None:
        return ""
    found_db = _snr_db(pair.noisy or pair.processed, pair.clean)
    if pair.noisy is None:
        return "" if found_db >= LOWEST_ENHANCED_SNR_DB else f"does not hold the speech of {pair.clean}"
    if abs(found_db - pair.snr_db) <= LARGEST_SNR_ERROR_DB:
        return ""
    return f"{pair.noisy} and {pair.clean} are {found_db:.1f} dB apart, not {pair.snr_db} dB as the name says"


def _snr_db(noisy_path: Path, clean_path: Path) -> float:

    from mtqscore.labels.alignment import shifted

    clean = _mono(clean_path)
    noisy, _ = shifted(_mono(noisy_path), clean, SAMPLE_RATE_HZ)
    speech = float(np.dot(noisy, clean)) / max(float(np.dot(clean, clean)), 1e-20) * clean
    noise = noisy - speech
    return float(10 * np.log10((np.dot(speech, speech) + 1e-20) / (np.dot(noise, noise) + 1e-20)))


def _measures(pair: ReferencePair) -> dict[str, float]:
    """Compute PESQ, STOI and SDI, which need the clean reference alone."""
    from mtqscore.labels.alignment import shifted
    from mtqscore.labels.measures import distortion_index, intelligibility, raw_pesq

    clean = _mono(pair.clean)
    processed, _ = shifted(_mono(pair.processed), clean, SAMPLE_RATE_HZ)
    found = {
        "pesq": raw_pesq(clean, processed, SAMPLE_RATE_HZ),
        "stoi": intelligibility(clean, processed, SAMPLE_RATE_HZ),
        "sdi": distortion_index(clean, processed),
    }
    return {name: round(value, 4) for name, value in found.items() if value is not None}


def _mono(path: Path) -> NDArray[np.float64]:
    mono, _ = load_mono(path, SAMPLE_RATE_HZ)
    if not mono.any():
        raise InputError(f"{path}: is silent")
    return mono.astype("float64")
