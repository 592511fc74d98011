"""Pseudo-labels: what a teacher says of every recording, asked once and kept beside the label table."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtqscore.base.files import replacing
from mtqscore.base.machine import usable_cores
from mtqscore.errors import EnvironmentProblemError, InputError
from mtqscore.labels.table import LabelledRecording, write_table
from mtqscore.models.registry import own_folder
from mtqscore.targets import DECIMALS
from mtqscore.training.data.dataset import check_recordings
from mtqscore.training.teachers.teacher import Teacher

FORMAT = "mtqscore-pseudo-labels-2"

ROWS_AT_ONCE = 32
"""Recordings that a teacher gets at once; so many are lost at most when it is interrupted."""

POLL_S = 1.0
LONGEST_WAIT_S = 24 * 3600.0

Advance = Callable[[int, int], None]
"""Takes how many of how many are done."""

Values = list[float | None]
"""What a teacher says of one recording, by target; None where it has nothing to say."""

Record = dict[str, str]
"""A line of the CSV."""


@dataclass(frozen=True)
class PseudoLabels:
    """What a teacher says of every recording of a corpus.

    Args:
        teacher: its name.
        fingerprint: digest of all that decides what it says, hexadecimal.
        targets: what it estimates.
        values: float32 (recordings, targets), rounded as files hold it; NaN where it has nothing to say.
        table: the CSV that keeps it.
        kept: whether it was there already.
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
        """Put the pseudo-labels of some targets in the place of the labels of the table.

        Args:
            rows: the recordings that the teacher was asked about.
            targets: those to replace; where the teacher has nothing to say, there is no label then.
            splits: those whose labels are replaced; the others keep theirs.

        Returns:
            All recordings, in their order.
        """
        made = []
        for row, said in zip(rows, self.estimates(), strict=True):
            others = {name: value for name, value in row.labels.items() if name not in targets}
            new = others | {name: said[name] for name in targets if name in said}
            made.append(replace(row, labels=new) if row.split in splits else row)
        return made


def ask(
    teacher: Teacher, rows: Sequence[LabelledRecording], base: Path, advance: Advance, *, wait: bool = False
) -> PseudoLabels:
    """Ask a teacher about every recording, or take what it said of the same recordings before.

    An interrupted call goes on where it stopped. What was kept is used if teacher and targets are the same, for every
    recording whose name, size and time are; only the others are asked about.

    Args:
        teacher: gives the estimates.
        rows: the recordings.
        base: folder of the label table; where it cannot be written to, a folder of the user keeps the labels.
        advance: told of the progress.
        wait: another process asks: wait until it is done.

    Raises:
        InputError: a recording cannot be decoded.
        EnvironmentProblemError: there is no room for the labels.
    """
    store = _Store(teacher, rows, base)
    deadline_s = time.monotonic() + LONGEST_WAIT_S
    while True:
        for folder in store.folders:
            labels = store.read(folder)
            if labels is not None:
                return labels
        if not wait:
            break
        if time.monotonic() > deadline_s:
            raise EnvironmentProblemError(f"{base}: the first process of the run has written no pseudo-labels")
        time.sleep(POLL_S)
    return store.make(advance)


class _Store:
    """The files of one teacher and one folder of recordings.

    ``pseudo_labels-<teacher>.csv`` holds the values, the ``.json`` beside it what they are of, recording by recording,
    and the CSV's checksum. While the teacher is asked, ``.partial.jsonl`` holds what it has said: its first line is
    what it is of.
    """

    def __init__(self, teacher: Teacher, rows: Sequence[LabelledRecording], base: Path) -> None:
        self.teacher, self.base = teacher, base
        self.marks = [self._mark(row) for row in rows]
        self.rows = dict(zip(self.marks, rows, strict=True))
        self.name = f"pseudo_labels-{teacher.fingerprint[:12]}"
        own = hashlib.sha256(str(base.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:12]
        self.folders = (base, own_folder() / "pseudo-labels" / own)
        self.identity = {
            "format": FORMAT,
            "teacher": teacher.name,
            "teacher_sha256": teacher.fingerprint,
            "targets": list(teacher.targets),
        }

    def read(self, folder: Path) -> PseudoLabels | None:
        """What is kept in a folder; None where a recording is missing."""
        records = self._kept(folder)
        if not records.keys() >= self.rows.keys():
            return None
        return self._result(folder, {mark: self._values(records[mark]) for mark in self.rows}, kept=True)

    def make(self, advance: Advance) -> PseudoLabels:
        """Ask for what is not yet known, write it down as it comes, and put it into its place when all is there."""
        folder, log, said, records = self._open()
        missing = [mark for mark in self.rows if mark not in said]
        try:
            with log.open("a", encoding="utf-8") as stream:
                for start in range(0, len(missing), ROWS_AT_ONCE):
                    advance(len(said), len(self.rows))
                    marks = missing[start : start + ROWS_AT_ONCE]
                    estimates = self.teacher.estimate([self.rows[mark] for mark in marks])
                    rounded = [[None if np.isnan(x) else round(float(x), DECIMALS) for x in line] for line in estimates]
                    new = dict(zip(marks, rounded, strict=True))
                    stream.write(json.dumps(new) + "\n")
                    stream.flush()
                    said |= new
            self._keep(folder, said, records)
            log.unlink(missing_ok=True)
        except InputError:
            check_recordings([*self.rows.values()], usable_cores())  # names all that cannot be decoded
            raise
        except OSError as error:
            table = self._table(folder)
            raise EnvironmentProblemError(
                f"{table}: cannot keep the pseudo-labels: {error.strerror or error}"
            ) from error
        return self._result(folder, said, kept=False)

    def _table(self, folder: Path) -> Path:
        return folder / f"{self.name}.csv"

    def _result(self, folder: Path, said: Mapping[str, Values], *, kept: bool) -> PseudoLabels:
        teacher = self.teacher
        numbers = np.array([said[mark] for mark in self.marks], dtype=np.float64).astype(np.float32)
        values = numbers.reshape(-1, len(teacher.targets))
        return PseudoLabels(teacher.name, teacher.fingerprint, teacher.targets, values, self._table(folder), kept)

    def _kept(self, folder: Path) -> dict[str, Record]:
        """Lines of the CSV of a folder by mark; none if there is none, or one of something else, or not whole."""
        table = self._table(folder)
        try:
            note = json.loads(table.with_suffix(".json").read_text(encoding="utf-8"))
            content = table.read_bytes()
            if not self._same(note) or note["table_sha256"] != hashlib.sha256(content).hexdigest():
                return {}
            records = csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""))
            return dict(zip(note["recordings"], records, strict=True))
        except (OSError, ValueError, LookupError):  # none there, or a damaged one
            return {}

    def _values(self, record: Record) -> Values:
        return [float(record[name]) if record[name] else None for name in self.teacher.targets]

    def _open(self) -> tuple[Path, Path, dict[str, Values], dict[str, Record]]:
        """Begin or go on with the log in the first folder that takes it.

        Returns:
            Folder, log, what is known of these recordings, and the lines of the CSV that was kept before.
        """
        problem = ""
        for folder in self.folders:
            path = folder / f"{self.name}.partial.jsonl"
            records, logged = self._kept(folder), self._logged(path)
            try:
                folder.mkdir(parents=True, exist_ok=True)
                # What is whole is written anew, so that nothing follows half a line.
                with replacing(path) as new:
                    new.write_text(f"{json.dumps(self.identity)}\n{json.dumps(logged)}\n", encoding="utf-8")
            except OSError as error:
                problem = problem or f"{path}: {error.strerror or error}"
                continue
            known = {mark: self._values(record) for mark, record in records.items()} | logged
            return folder, path, {mark: known[mark] for mark in self.rows if mark in known}, records
        raise EnvironmentProblemError(f"the pseudo-labels can be kept nowhere ({problem}); set MTQSCORE_HOME")

    def _logged(self, path: Path) -> dict[str, Values]:
        said: dict[str, Values] = {}
        with suppress(OSError, ValueError):  # no log, or a line that an interrupted call left half written
            first, *lines = path.read_text(encoding="utf-8").splitlines()
            if self._same(json.loads(first)):
                for line in lines:
                    said |= self._checked(json.loads(line))
        return said

    def _checked(self, said: object) -> dict[str, Values]:
        """Values of some recordings as they were written; anything else was not written here."""
        if not isinstance(said, dict):
            raise ValueError("no estimates")
        for line in said.values():
            if not isinstance(line, list) or len(line) != len(self.teacher.targets):
                raise ValueError("no estimates")
            if not all(value is None or isinstance(value, float) for value in line):
                raise ValueError("no estimates")
        return said

    def _keep(self, folder: Path, said: Mapping[str, Values], before: Mapping[str, Record]) -> None:
        """Write the CSV and its note; what was kept of recordings that this run does not hear stays, below."""
        names, table = self.teacher.targets, self._table(folder)
        records: dict[str, Record] = {}
        for mark, row in self.rows.items():
            cells = ["" if value is None else f"{value:.{DECIMALS}f}" for value in said[mark]]
            place = {"path": os.path.relpath(row.path, self.base), "split": row.split}
            records[mark] = place | dict(zip(names, cells, strict=True))
        heard = {record["path"] for record in records.values()}
        others = {mark: record for mark, record in before.items() if record["path"] not in heard}
        records |= {mark: record for mark, record in others.items() if (self.base / record["path"]).exists()}
        write_table(table, ["path", "split", *names], records.values())
        checksum = hashlib.sha256(table.read_bytes()).hexdigest()
        note: dict[str, Any] = {**self.identity, "table_sha256": checksum, "recordings": [*records]}
        with replacing(table.with_suffix(".json")) as partial:
            partial.write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")

    def _same(self, note: object) -> bool:
        return isinstance(note, dict) and all(
            note.get(key) == value for key, value in self.identity.items() if key != "teacher"
        )

    def _mark(self, row: LabelledRecording) -> str:
        """Digest of the name, size and time of a recording."""
        found = row.path.stat()
        mark = repr((os.path.relpath(row.path, self.base), found.st_size, found.st_mtime_ns))
        return hashlib.sha256(mark.encode("utf-8", "surrogateescape")).hexdigest()[:16]
