"""Pseudo-labels: a teacher's estimates of every recording, made once and kept beside the label table."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtqscore.base.files import replacing
from mtqscore.base.journal import Journal
from mtqscore.base.machine import usable_cores
from mtqscore.errors import EnvironmentProblemError, InputError
from mtqscore.labels.table import LabelledRecording, write_table
from mtqscore.models.registry import own_folder
from mtqscore.targets import DECIMALS
from mtqscore.training.data.dataset import decode_all
from mtqscore.training.teachers.teacher import Teacher

FORMAT = "mtqscore-pseudo-labels-2"

ROWS_AT_ONCE = 32
"""Recordings that a teacher gets at once; so many are lost at most when it is interrupted."""

POLL_S = 1.0

Advance = Callable[[int, int], None]
Values = list[float | None]
"""Estimates of one recording, by target; None for none."""


@dataclass(frozen=True)
class PseudoLabels:
    """A teacher's estimates of every recording of a corpus, in the CSV ``table``, which may have been kept from before.

    Args:
        values: float32 (recordings, targets), rounded as files hold it; NaN where there is no estimate.
    """

    teacher: str
    fingerprint: str
    targets: tuple[str, ...]
    values: NDArray[np.float32]
    table: Path
    kept: bool

    def estimates(self) -> list[dict[str, float]]:
        """Give them by target name, one mapping a recording; NaN is left out."""
        return [
            {name: float(value) for name, value in zip(self.targets, values, strict=True) if np.isfinite(value)}
            for values in self.values
        ]

    def applied(
        self, rows: Sequence[LabelledRecording], targets: Sequence[str], splits: Sequence[str]
    ) -> list[LabelledRecording]:
        """Put the pseudo-labels of some targets in the place of the labels of the table, in some splits.

        Where the teacher has no estimate, there is no label then.
        """
        made = []
        for row, estimated in zip(rows, self.estimates(), strict=True):
            others = {name: value for name, value in row.labels.items() if name not in targets}
            new = others | {name: estimated[name] for name in targets if name in estimated}
            made.append(replace(row, labels=new) if row.split in splits else row)
        return made


def pseudo_label(
    teacher: Teacher, rows: Sequence[LabelledRecording], base: Path, advance: Advance, *, wait: bool = False
) -> PseudoLabels:
    """Estimate every recording with a teacher, or take its estimates of the same recordings from before.

    An interrupted call goes on where it stopped. Kept estimates are used if teacher and targets are the same, for every
    recording whose name, size and time are; only the others are estimated. Where the folder of the label table cannot
    be written to, a folder of the user keeps the labels. With ``wait`` another process estimates.

    Raises:
        InputError: a recording cannot be decoded.
        EnvironmentProblemError: there is no room for the labels.
    """
    own = hashlib.sha256(str(base.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    stores = [_Store(teacher, rows, base, folder) for folder in (base, own_folder() / "pseudo-labels" / own)]
    while True:
        for store in stores:
            records = store.read()
            if records.keys() >= store.rows.keys():
                return store.labels({mark: store.values(records[mark]) for mark in store.rows}, kept=True)
        if not wait:
            break
        time.sleep(POLL_S)  # torchrun ends this process if the first one fails
    problem = ""
    for store in stores:
        try:
            store.journal.open()
        except OSError as error:
            problem = problem or f"{store.journal.path}: {error.strerror or error}"
        else:
            return store.make(advance)
    raise EnvironmentProblemError(f"the pseudo-labels can be kept nowhere ({problem}); set MTQSCORE_HOME")


class _Store:
    """Files of one teacher and one corpus in one folder.

    ``pseudo_labels-<teacher>.csv`` holds the values, the ``.json`` beside it the marks of their recordings and the
    CSV's checksum. While the teacher is at work, a journal holds its estimates.
    """

    def __init__(self, teacher: Teacher, rows: Sequence[LabelledRecording], base: Path, folder: Path) -> None:
        self.teacher, self.base = teacher, base
        self.marks = [_mark(row, base) for row in rows]
        self.rows = dict(zip(self.marks, rows, strict=True))
        name = f"pseudo_labels-{teacher.fingerprint[:12]}"
        self.table, self.note = folder / f"{name}.csv", folder / f"{name}.json"
        targets = list(teacher.targets)
        self.identity = {"format": FORMAT, "teacher_sha256": teacher.fingerprint, "targets": targets}
        self.journal = Journal(folder / f"{name}.partial.jsonl", json.dumps(self.identity))

    def read(self) -> dict[str, dict[str, str]]:
        """Read the lines of the CSV by mark; none if there is no CSV, or one of something else, or a damaged one."""
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
            content = self.table.read_bytes()
            if note != note | self.identity or note["table_sha256"] != hashlib.sha256(content).hexdigest():
                return {}
            records = csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""))
            return dict(zip(note["recordings"], records, strict=True))
        except (OSError, ValueError, LookupError, TypeError):
            return {}

    def values(self, record: Mapping[str, str]) -> Values:
        """Parse the values of a line of the CSV."""
        return [float(record[name]) if record[name] else None for name in self.teacher.targets]

    def make(self, advance: Advance) -> PseudoLabels:
        """Estimate what is not yet known, keep it as it comes, and write the CSV when all is there."""
        records = self.read()
        known = {mark: self.values(record) for mark, record in records.items()} | dict(self.journal)
        missing = [mark for mark in self.rows if mark not in known]
        try:
            with self.journal as journal:
                for start in range(0, len(missing), ROWS_AT_ONCE):
                    advance(len(self.rows) - len(missing) + start, len(self.rows))
                    marks = missing[start : start + ROWS_AT_ONCE]
                    for mark, line in zip(marks, self.teacher.estimate([self.rows[one] for one in marks]), strict=True):
                        known[mark] = [None if np.isnan(x) else round(float(x), DECIMALS) for x in line]
                        journal.add(mark, known[mark])
            self._write(known, records)
            self.journal.delete()
        except InputError:
            decode_all([*self.rows.values()], usable_cores())  # names all that cannot be decoded
            raise
        except OSError as error:
            problem = f"{self.table}: cannot keep the pseudo-labels: {error.strerror or error}"
            raise EnvironmentProblemError(problem) from error
        return self.labels(known, kept=False)

    def labels(self, known: Mapping[str, Values], *, kept: bool) -> PseudoLabels:
        """Collect the values of the recordings in their order."""
        teacher = self.teacher
        numbers = np.array([known[mark] for mark in self.marks], dtype=np.float64).astype(np.float32)
        values = numbers.reshape(-1, len(teacher.targets))
        return PseudoLabels(teacher.name, teacher.fingerprint, teacher.targets, values, self.table, kept)

    def _write(self, known: Mapping[str, Values], before: Mapping[str, dict[str, str]]) -> None:
        """Write the CSV and its note; lines of other recordings that are still there stay, below."""
        names = self.teacher.targets
        records: dict[str, dict[str, str]] = {}
        for mark, row in self.rows.items():
            cells = ["" if value is None else f"{value:.{DECIMALS}f}" for value in known[mark]]
            place = {"path": os.path.relpath(row.path, self.base), "split": row.split}
            records[mark] = place | dict(zip(names, cells, strict=True))
        paths = {record["path"] for record in records.values()}
        records |= {
            mark: record
            for mark, record in before.items()
            if record["path"] not in paths and (self.base / record["path"]).exists()
        }
        write_table(self.table, ["path", "split", *names], records.values())
        checksum = hashlib.sha256(self.table.read_bytes()).hexdigest()
        note = {"teacher": self.teacher.name, **self.identity, "table_sha256": checksum, "recordings": [*records]}
        with replacing(self.note) as partial:
            partial.write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")


def _mark(row: LabelledRecording, base: Path) -> str:
    """Digest of the name, size and time of a recording."""
    found = row.path.stat()
    mark = repr((os.path.relpath(row.path, base), found.st_size, found.st_mtime_ns))
    return hashlib.sha256(mark.encode("utf-8", "surrogateescape")).hexdigest()[:16]
