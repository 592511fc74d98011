"""Labels of recordings from their clean and noisy twins: judged in parallel, and kept from run to run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtqscore.audio.loading import load_mono
from mtqscore.base.machine import usable_cores
from mtqscore.base.processes import WorkerPool
from mtqscore.base.text import printable
from mtqscore.corpora.corpus import Advance
from mtqscore.errors import EnvironmentProblemError, InputError, MissingExtraError
from mtqscore.targets import SAMPLE_RATE_HZ, TARGETS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Signal = NDArray[np.float64]

LARGEST_SNR_ERROR_DB = 3.0
"""A clean and a noisy recording are twins if the SNR between them is that of the name within this.

Wide enough for SNRs that were set by active speech level; the wrong sentence is off by tens of dB."""

LOWEST_ENHANCED_SNR_DB = -10.0
"""Without the noisy twin: an enhanced recording that holds less of its clean twin is no rendering of it."""

FEW_JOBS = 8
"""Starting processes would take longer than judging so many."""


@dataclass(frozen=True)
class Twins:
    """A recording with what it was made from.

    Args:
        stem: what labels are kept under.
        processed: the recording to label.
        clean: its clean twin; the recording itself where that is clean.
        noisy: the recording before enhancement, which may be ``processed``; None where it is not at hand.
        snr_db: what its name says; None for clean ones.
    """

    stem: str
    processed: Path
    clean: Path
    noisy: Path | None
    snr_db: int | None


@dataclass(frozen=True)
class LabelledReferences:
    """What references gave.

    Args:
        labels: targets by recording; without the noisy twin, PESQ, STOI and SDI alone.
        notes: how many, and which twins were not used.
    """

    labels: dict[str, dict[str, float]]
    notes: list[str]


def label_from_references(jobs: Sequence[Twins], workers: int, advance: Advance) -> LabelledReferences:
    """Judge recordings against their twins with the labeller of `mtqscore label`.

    A twin counts only if it fits: the SNR between clean and noisy, after delay and gain are undone, must be that of
    the name. Results are kept in the user's folder for data, so that the same recordings are judged once.

    Args:
        jobs: recordings with their twins.
        workers: processes; 0 for one a core.
        advance: told of the progress.

    Raises:
        MissingExtraError: the [train] extra is not installed.
    """
    if not jobs:
        return LabelledReferences({}, ["no recording has its clean twin here, so none is judged against a reference"])
    try:
        from mtqscore.labels import reference_files  # noqa: F401 - refused here once, not in every process
    except ModuleNotFoundError as error:
        raise MissingExtraError("labels from references", "train", error.name or "?") from error
    kept = _Kept()
    records = {job.stem: record for job in jobs if (record := kept.get(job)) is not None}
    todo = [job for job in jobs if job.stem not in records]
    for done, (job, record) in enumerate(_judged(todo, workers), start=len(records) + 1):
        records[job.stem] = record
        kept.add(job, record)
        advance(done, len(jobs))
    labels = {stem: record["labels"] for stem, record in records.items() if record["labels"]}
    full = sum("s_mos" in values for values in labels.values())
    notes = [f"judged against references: {full:,} recordings"]
    if len(labels) > full:
        notes[0] += f", and {len(labels) - full:,} for PESQ, STOI and SDI alone, as their noisy twins are missing"
    problems = {stem: record["problem"] for stem, record in records.items() if record["problem"]}
    if problems:
        stem = min(problems)
        notes.append(f"{len(problems):,} twins are not used, such as {stem}: {printable(problems[stem])}")
    return LabelledReferences(labels, [*notes, *kept.notes])


def _judged(jobs: Sequence[Twins], workers: int) -> Iterator[tuple[Twins, dict[str, Any]]]:
    count = min(workers or usable_cores(), len(jobs))
    if count <= 1 or len(jobs) <= FEW_JOBS:
        yield from zip(jobs, map(judge_twins, jobs), strict=True)
        return
    pool = WorkerPool(count)
    try:
        yield from zip(jobs, pool.map(judge_twins, jobs, chunksize=4), strict=True)
    except BrokenExecutor as error:
        raise EnvironmentProblemError(
            f"a process that judges recordings ended by itself ({error}); what is done is kept, and fewer workers need "
            "less memory"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def judge_twins(job: Twins) -> dict[str, Any]:
    """Label one recording.

    Args:
        job: the recording and its twins.

    Returns:
        ``labels`` by target, and ``problem``: why there are none, else empty.
    """
    from mtqscore.labels.reference_files import ReferenceTriple, label_files

    try:
        problem = _misfit(job)
        if problem:
            return {"labels": {}, "problem": problem}
        if job.noisy is None:
            return {"labels": _measures(job), "problem": ""}
        unprocessed = None if job.noisy == job.processed else job.noisy
        record = label_files(ReferenceTriple(job.processed, job.clean, unprocessed)).as_record()
    except InputError as error:
        return {"labels": {}, "problem": str(error)}
    return {"labels": {target.name: record[target.name] for target in TARGETS}, "problem": ""}


def _misfit(job: Twins) -> str:
    """Why a recording and its clean twin do not belong together; empty if they do, or if it is clean itself."""
    if job.snr_db is None:
        return ""
    found_db = _snr_db(job.noisy or job.processed, job.clean)
    if job.noisy is None:
        return "" if found_db >= LOWEST_ENHANCED_SNR_DB else f"does not hold the speech of {job.clean}"
    if abs(found_db - job.snr_db) <= LARGEST_SNR_ERROR_DB:
        return ""
    return f"{job.noisy} and {job.clean} are {found_db:.1f} dB apart, not {job.snr_db} dB as the name says"


def _snr_db(noisy_path: Path, clean_path: Path) -> float:
    import numpy as np

    from mtqscore.labels.separation import aligned

    clean = _mono(clean_path)
    noisy, _ = aligned(_mono(noisy_path), clean, SAMPLE_RATE_HZ)
    speech = float(np.dot(noisy, clean)) / max(float(np.dot(clean, clean)), 1e-20) * clean
    noise = noisy - speech
    return float(10 * np.log10((np.dot(speech, speech) + 1e-20) / (np.dot(noise, noise) + 1e-20)))


def _measures(job: Twins) -> dict[str, float]:
    """PESQ, STOI and SDI, which need the clean twin alone."""
    from mtqscore.labels.measures import distortion_index, intelligibility, raw_pesq
    from mtqscore.labels.separation import aligned

    clean = _mono(job.clean)
    processed, _ = aligned(_mono(job.processed), clean, SAMPLE_RATE_HZ)
    found = {
        "pesq": raw_pesq(clean, processed, SAMPLE_RATE_HZ),
        "stoi": intelligibility(clean, processed, SAMPLE_RATE_HZ),
        "sdi": distortion_index(clean, processed),
    }
    return {name: round(value, 4) for name, value in found.items() if value is not None}


def _mono(path: Path) -> Signal:
    mono, _ = load_mono(path, SAMPLE_RATE_HZ)
    if not mono.any():
        raise InputError(f"{path}: is silent")
    return mono.astype("float64")


class _Kept:
    """Labels of earlier runs, one JSON line a recording; they hold as long as files and labeller are the same."""

    def __init__(self) -> None:
        from mtqscore.base.version import VERSION
        from mtqscore.labels.mapping import MAPPINGS
        from mtqscore.models.registry import own_folder

        self.notes: list[str] = []
        self._path = own_folder() / "corpora" / "reference-labels.jsonl"
        self._labeller = f"{VERSION} {MAPPINGS}"
        self._records: dict[str, dict[str, Any]] = {}
        self._writable = True
        with suppress(OSError):
            for line in self._path.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError, KeyError, TypeError):  # a line that an interrupted run left half written
                    record = json.loads(line)
                    self._records[record["key"]] = {"labels": dict(record["labels"]), "problem": record["problem"]}

    def get(self, job: Twins) -> dict[str, Any] | None:
        return self._records.get(self._key(job))

    def add(self, job: Twins, record: dict[str, Any]) -> None:
        if not self._writable:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"key": self._key(job), **record}) + "\n")
        except OSError as error:
            self._writable = False
            self.notes.append(f"{self._path}: cannot keep the labels for the next run: {error.strerror or error}")

    def _key(self, job: Twins) -> str:
        import hashlib

        files = [job.processed, job.clean, job.noisy]
        marks = [(file.name, file.stat().st_size, int(file.stat().st_mtime)) for file in files if file is not None]
        return f"{job.stem} {hashlib.sha256(f'{self._labeller} {marks} {job.snr_db}'.encode()).hexdigest()[:32]}"
