"""Clean references as a teacher of exact values: PESQ, STOI and SDI. Loads no torch."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import version
from pathlib import Path
from typing import Self

import numpy as np
import soundfile
from numpy.typing import NDArray

from mtqscore.base.machine import usable_cores
from mtqscore.base.processes import WorkerPool
from mtqscore.base.text import printable
from mtqscore.errors import EnvironmentProblemError, InputError, MtqscoreError, UsageError
from mtqscore.labels.measures import SDI_LIMIT
from mtqscore.labels.reference_files import measure_files
from mtqscore.labels.table import Fault, FaultyTableError, LabelledRecording, found_under
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

_Measures = tuple[float, float, float]
_NOT_MEASURED = (np.nan, np.nan, np.nan)


class ReferenceTeacher:
    """Measures recordings against their clean references; delays and gain are undone first, see `measure_files`.

    Use it in a ``with`` statement: it holds processes. References are files of the recordings' names in ``folder``, or
    those that the column ``clean`` names, relative to ``base``; where a cell is empty there is none.

    Raises:
        UsageError: there is no such folder or column, or the table is one of ``mtqscore simulate``.
        FaultyTableError: references are missing, cannot be read, or are not as long as their recordings.
    """

    name = REFERENCES
    targets = tuple(target.name for target in PSEUDO)

    def __init__(self, rows: Sequence[LabelledRecording], base: Path, folder: Path | None = None) -> None:
        self.references = find_references(rows, base, folder)
        self.fingerprint = _fingerprint([self.references.get(row.path) for row in rows])
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
        paths = [row.path for row in rows]
        workers = usable_cores()
        measure: Callable[..., Iterable[_Measures]] = map
        try:
            if workers > 1 and len(paths) > FEW_RECORDINGS:
                self._pool = self._pool or WorkerPool(workers)
                measure = self._pool.map
            found = list(measure(_measured, paths, map(self.references.get, paths)))
        except BrokenProcessPool as error:
            raise EnvironmentProblemError(
                "a process that measured recordings was killed, perhaps for its memory; the same command goes on from "
                "what is kept"
            ) from error
        return np.array(found, dtype=np.float32).reshape(-1, len(self.targets))


def find_references(rows: Sequence[LabelledRecording], base: Path, folder: Path | None) -> dict[Path, Path]:
    """Find the clean reference of each recording, by recording, and check that both are of one length."""
    index = _index(folder) if folder is not None else None
    if index is None:
        _check_column(rows)

    def check(row: LabelledRecording) -> tuple[Path | None, str]:
        if index is not None:
            candidates = index.get(row.path.name) or index.get(row.path.stem, [])
            if len(candidates) != 1:
                count = "more than one reference" if candidates else "no reference"
                return None, f"{row.path}: {count} of its name in {folder}"
            (reference,) = candidates
        else:
            name = row.extra.get(CLEAN_COLUMN, "")
            if not name.strip():
                return None, ""
            reference = found_under(base, name)
        if not reference.is_file():
            return None, f"no such reference: {reference}"
        return reference, _misfit(row.path, reference)

    with ThreadPoolExecutor(THREADS) as pool:
        checked = list(zip(rows, pool.map(check, rows), strict=True))
    faults = [Fault(row.line, fault) for row, (_, fault) in checked if fault]
    if faults:
        raise FaultyTableError(folder or base, faults)
    return {row.path: reference for row, (reference, _) in checked if reference is not None}


def check_references(rows: Sequence[LabelledRecording], exact: Mapping[str, NDArray[np.float32]]) -> str:
    """Look for recordings that have nothing in common with their references.

    Args:
        rows: the recordings.
        exact: STOI and SDI by target name, float32 (recordings,) each; NaN where there are none.

    Returns:
        A warning, empty if there is nothing to warn of.

    Raises:
        InputError: most of them have not.
    """
    strange = np.flatnonzero((exact["stoi"] < STRANGER_STOI) & (exact["sdi"] >= SDI_LIMIT))
    if not len(strange):
        return ""
    measured = int(np.isfinite(exact["stoi"]).sum())
    text = (
        f"{len(strange):,} of {measured:,} recordings have next to nothing in common with their references, such as "
        f"{printable(str(rows[strange[0]].path))}"
    )
    if 2 * len(strange) > measured:
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


def _misfit(recording: Path, reference: Path) -> str:
    """Fault of a file as the reference of a recording; empty without one."""
    try:
        reference_s, recording_s = _duration_s(reference), _duration_s(recording)
    except (OSError, RuntimeError) as error:
        return f"{recording} or its reference {reference} cannot be decoded: {error}"
    if abs(recording_s - reference_s) <= LENGTH_TOLERANCE_S:
        return ""
    return (
        f"{recording} has {recording_s:.2f} s, its reference {reference} {reference_s:.2f} s; a reference is the same "
        "recording before noise and processing"
    )


def _duration_s(path: Path) -> float:
    # As a stream, since the library takes no names with bytes that are no text.
    with path.open("rb") as stream:
        return float(soundfile.info(stream).duration)


def _fingerprint(references: Sequence[Path | None]) -> str:
    digest = hashlib.sha256(f"measures-1 pesq {version('pesq')} pystoi {version('pystoi')}\n".encode())
    for path in references:
        mark = (path.name, path.stat().st_size, path.stat().st_mtime_ns) if path is not None else None
        digest.update(repr(mark).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def _measured(recording: Path, reference: Path | None) -> _Measures:
    try:
        return measure_files(recording, reference) if reference is not None else _NOT_MEASURED
    except MtqscoreError:
        return _NOT_MEASURED
