"""The exact teacher: PESQ, STOI and SDI of recordings whose clean reference is at hand. Loads no torch."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Self

import numpy as np
import soundfile
from numpy.typing import NDArray

from mtqscore.base.machine import usable_cores
from mtqscore.base.names import from_text
from mtqscore.base.processes import WorkerPool
from mtqscore.base.text import printable
from mtqscore.errors import EnvironmentProblemError, InputError, MtqscoreError, UsageError
from mtqscore.labels.measures import SDI_LIMIT
from mtqscore.labels.reference_files import measure_files
from mtqscore.labels.table import Fault, FaultyTableError, LabelledRecording
from mtqscore.targets import PSEUDO
from mtqscore.training.settings import REFERENCES

CLEAN_COLUMN = "clean"
SIMULATED_COLUMN = "chain"
"""A table of ``mtqscore simulate`` has it; there, ``clean`` names the source before it was cut and placed."""

LENGTH_TOLERANCE_S = 0.5
"""A recording and its reference may differ so much: processing delays, and cuts off the end."""

STRANGER_STOI = 0.45
"""With the largest SDI, a STOI below this is what unrelated recordings have; of 32,000 simulated ones, 0.4 %."""

THREADS = 8
"""Files that are opened at once to read their headers."""

FEW_RECORDINGS = 8
"""Starting processes would take longer than measuring so many."""


_Pair = tuple[Path, Path | None]
"""A recording and its reference."""


class ReferenceTeacher:
    """Measures recordings against their clean references; delays and gain are undone first, see `measure_files`.

    Use it in a ``with`` statement: it holds processes.

    Args:
        rows: the recordings that it will be asked about.
        base: folder that the column ``clean`` is relative to.
        folder: clean references of the recordings' names; None takes the column.

    Raises:
        UsageError: there is no such folder or column, or the table is one of ``mtqscore simulate``.
        FaultyTableError: references are missing, cannot be read, or are not as long as their recordings.
    """

    name = REFERENCES
    targets = tuple(target.name for target in PSEUDO)

    def __init__(self, rows: Sequence[LabelledRecording], base: Path, folder: Path | None = None) -> None:
        self.references = find_references(rows, base, folder)
        self.fingerprint = _fingerprint(rows, self.references)
        self._pool: WorkerPool | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def estimate(self, rows: Sequence[LabelledRecording]) -> NDArray[np.float32]:
        """Measure PESQ, STOI and SDI: float32 (recordings, 3); NaN without a reference or measurable speech.

        Raises:
            EnvironmentProblemError: a process was killed.
        """
        pairs = [(row.path, self.references.get(row.path)) for row in rows]
        try:
            found = [*self._spread(pairs)]
        except BrokenProcessPool as error:
            raise EnvironmentProblemError(
                "a process that measured recordings has ended without a word (killed, perhaps for its memory); the "
                "same command goes on from what is kept"
            ) from error
        return np.array(found, dtype=np.float32).reshape(-1, len(self.targets))

    def _spread(self, pairs: Sequence[_Pair]) -> Iterable[tuple[float, float, float]]:
        """Measure in as many processes as there are cores."""
        workers = usable_cores()
        if workers == 1 or len(pairs) <= FEW_RECORDINGS:
            return map(_measured, pairs)
        if self._pool is None:
            self._pool = WorkerPool(workers)
        return self._pool.map(_measured, pairs)


def find_references(rows: Sequence[LabelledRecording], base: Path, folder: Path | None) -> dict[Path, Path]:
    """Find the clean reference of each recording, and check that both are of one length.

    Args:
        rows: the recordings.
        base: folder that the column ``clean`` is relative to; an empty cell there means that there is none.
        folder: searched through for files of the recordings' names, of any format; None takes the column.

    Returns:
        References by recording.

    Raises:
        UsageError: there is no such folder or column, or the table is one of ``mtqscore simulate``.
        FaultyTableError: references are missing, cannot be read, or are not as long as their recordings.
    """
    faults: list[Fault] = []
    found: dict[Path, Path] = {}
    index = _index(folder) if folder is not None else None
    if index is None:
        _check_column(rows)
    for row in rows:
        if index is not None:
            candidates = index.get(row.path.name) or index.get(row.path.stem, [])
        else:
            candidates = _named(base, row.extra.get(CLEAN_COLUMN, ""))
            if not candidates:
                continue
        if len(candidates) != 1:
            count = "more than one reference" if candidates else "no reference"
            faults.append(Fault(row.line, f"{row.path}: {count} of its name in {folder}"))
        elif not candidates[0].is_file():
            faults.append(Fault(row.line, f"no such reference: {candidates[0]}"))
        else:
            found[row.path] = candidates[0]
    paired = [row for row in rows if row.path in found]
    with ThreadPoolExecutor(THREADS) as pool:
        problems = pool.map(lambda row: _misfit(row.path, found[row.path]), paired)
        faults += [Fault(row.line, problem) for row, problem in zip(paired, problems, strict=True) if problem]
    if faults:
        raise FaultyTableError(folder or base, faults)
    return found


def check_twins(rows: Sequence[LabelledRecording], exact: Mapping[str, NDArray[np.float32]]) -> str:
    """Tell which recordings have nothing in common with their references.

    Args:
        rows: the recordings.
        exact: STOI and SDI by target name, float32 (recordings,) each; NaN where there are none.

    Returns:
        A warning, empty if there is nothing to warn of.

    Raises:
        InputError: that is so for most of them: the references are not theirs.
    """
    strange = (exact["stoi"] < STRANGER_STOI) & (exact["sdi"] >= SDI_LIMIT)
    measured = int(np.isfinite(exact["stoi"]).sum())
    count = int(strange.sum())
    if not count:
        return ""
    example = printable(str(rows[int(np.flatnonzero(strange)[0])].path))
    text = (
        f"{count:,} of {measured:,} recordings have next to nothing in common with their references, such as {example}"
    )
    if 2 * count > measured:
        raise InputError(f"{text}; check that the references belong to them")
    return f"{text}: lost in noise, or not theirs"


def _check_column(rows: Sequence[LabelledRecording]) -> None:
    columns = {name for row in rows[:1] for name in row.extra}
    if CLEAN_COLUMN not in columns:
        raise UsageError(
            f"--teacher {REFERENCES}: the table has no column {CLEAN_COLUMN}; add it, or name the folder of clean "
            "recordings with --references"
        )
    if SIMULATED_COLUMN in columns:
        raise UsageError(
            f"--teacher {REFERENCES}: a table of mtqscore simulate holds the exact values already, and its column "
            f"{CLEAN_COLUMN} names sources, not references; leave --teacher out"
        )


def _index(folder: Path) -> dict[str, list[Path]]:
    """Files below a folder by their name and by their name without its ending."""
    if not folder.is_dir():
        raise UsageError(f"--references {folder}: no such folder")
    index: dict[str, list[Path]] = defaultdict(list)
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in names:
            path = Path(place, name)
            for key in {name, path.stem}:
                index[key].append(path)
    return index


def _named(base: Path, text: str) -> list[Path]:
    if not text.strip():
        return []
    path = base / text
    return [path if path.exists() else base / from_text(text.strip())]


def _duration_s(path: Path) -> float:
    # As a stream, since the library takes no names with bytes that are no text.
    with path.open("rb") as stream:
        return float(soundfile.info(stream).duration)


def _misfit(recording: Path, reference: Path) -> str:
    """Why a file cannot be the reference of a recording; empty if it may be."""
    try:
        reference_s = _duration_s(reference)
    except (OSError, RuntimeError) as error:
        return f"the reference cannot be decoded: {error}"
    recording_s = _duration_s(recording)
    if abs(recording_s - reference_s) <= LENGTH_TOLERANCE_S:
        return ""
    return (
        f"{recording} has {recording_s:.2f} s, its reference {reference} {reference_s:.2f} s; a reference is the same "
        "recording before noise and processing"
    )


def _fingerprint(rows: Sequence[LabelledRecording], references: Mapping[Path, Path]) -> str:
    from importlib.metadata import version

    digest = hashlib.sha256(f"measures-1 pesq {version('pesq')} pystoi {version('pystoi')}\n".encode())
    for row in rows:
        path = references.get(row.path)
        mark = (path.name, path.stat().st_size, path.stat().st_mtime_ns) if path is not None else None
        digest.update(repr(mark).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def _measured(pair: _Pair) -> tuple[float, float, float]:
    recording, reference = pair
    if reference is None:
        return np.nan, np.nan, np.nan
    try:
        return measure_files(recording, reference)
    except MtqscoreError:
        return np.nan, np.nan, np.nan
