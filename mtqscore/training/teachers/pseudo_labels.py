"""Pseudo-labels: what a teacher says of every recording, asked once and kept beside the label table."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtqscore.cores import usable_cores
from mtqscore.errors import EnvironmentProblemError, InputError
from mtqscore.manifest import Row, write_table
from mtqscore.model_store.registry import own_folder
from mtqscore.spec import DECIMALS
from mtqscore.training.dataset import check_recordings
from mtqscore.training.teachers.teacher import Teacher

FORMAT = "mtqscore-pseudo-labels-1"

ROWS_AT_ONCE = 32
"""Recordings that a teacher gets at once; so many are lost at most when it is interrupted."""

POLL_S = 1.0
LONGEST_WAIT_S = 24 * 3600.0

Advance = Callable[[int, int], None]
"""Takes how many of how many are done."""


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

    def applied(self, rows: Sequence[Row], targets: Sequence[str], splits: Sequence[str]) -> list[Row]:
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


def ask(teacher: Teacher, rows: Sequence[Row], base: Path, advance: Advance, *, wait: bool = False) -> PseudoLabels:
    """Ask a teacher about every recording, or take what it said of the same recordings before.

    An interrupted call goes on where it stopped. What was kept is used only if teacher, recordings (names, sizes and
    times) and targets are the same.

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
            values = store.read(folder)
            if values is not None:
                return store.result(values, folder, kept=True)
        if not wait:
            break
        if time.monotonic() > deadline_s:
            raise EnvironmentProblemError(f"{base}: the first process of the run has written no pseudo-labels")
        time.sleep(POLL_S)
    return store.make(advance)


class _Store:
    """The files of one teacher and one set of recordings.

    ``pseudo_labels-<teacher>.csv`` holds the values, the ``.json`` beside it what they are of and the CSV's checksum.
    While the teacher is asked, ``.partial.jsonl`` holds what it has said: its first line is what it is of.
    """

    def __init__(self, teacher: Teacher, rows: Sequence[Row], base: Path) -> None:
        self.teacher, self.rows, self.base = teacher, rows, base
        self.name = f"pseudo_labels-{teacher.fingerprint[:12]}"
        own = hashlib.sha256(str(base.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:12]
        self.folders = (base, own_folder() / "pseudo-labels" / own)
        self.identity = {
            "format": FORMAT,
            "teacher": teacher.name,
            "teacher_sha256": teacher.fingerprint,
            "data_sha256": self._fingerprint(),
            "targets": list(teacher.targets),
            "recordings": len(rows),
        }

    def result(self, values: NDArray[np.float32], folder: Path, *, kept: bool) -> PseudoLabels:
        teacher = self.teacher
        table = folder / f"{self.name}.csv"
        return PseudoLabels(teacher.name, teacher.fingerprint, teacher.targets, values, table, kept)

    def read(self, folder: Path) -> NDArray[np.float32] | None:
        """Values that are kept in a folder; None if there are none, or of something else, or not whole."""
        try:
            note = json.loads((folder / f"{self.name}.json").read_text(encoding="utf-8"))
            content = (folder / f"{self.name}.csv").read_bytes()
        except (OSError, ValueError):
            return None
        if not self._same(note) or note.get("table_sha256") != hashlib.sha256(content).hexdigest():
            return None
        records = csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""))
        cells = [[float(record[name] or "nan") for name in self.teacher.targets] for record in records]
        return np.array(cells, dtype=np.float32)

    def make(self, advance: Advance) -> PseudoLabels:
        """Ask for what is not yet known, write it down as it comes, and put it into its place when all is there."""
        folder, log, values = self._open()
        table = folder / f"{self.name}.csv"
        try:
            with log.open("a", encoding="utf-8") as stream:
                for start in range(len(values), len(self.rows), ROWS_AT_ONCE):
                    advance(start, len(self.rows))
                    said = self.teacher.estimate(self.rows[start : start + ROWS_AT_ONCE])
                    rounded = [[None if np.isnan(x) else round(float(x), DECIMALS) for x in line] for line in said]
                    stream.write(json.dumps(rounded) + "\n")
                    stream.flush()
                    values += rounded
            self._keep(table, values)
            log.unlink(missing_ok=True)
        except InputError:
            check_recordings(self.rows, usable_cores())  # names all that cannot be decoded, not the first alone
            raise
        except OSError as error:
            raise EnvironmentProblemError(
                f"{table}: cannot keep the pseudo-labels: {error.strerror or error}"
            ) from error
        numbers = np.array(values, dtype=np.float64).astype(np.float32)
        return self.result(numbers.reshape(-1, len(self.teacher.targets)), folder, kept=False)

    def _open(self) -> tuple[Path, Path, list[list[float | None]]]:
        """Begin or go on with the log in the first folder that takes it; give folder, log and what it holds."""
        problem = ""
        for folder in self.folders:
            path = folder / f"{self.name}.partial.jsonl"
            values = self._logged(path)
            try:
                folder.mkdir(parents=True, exist_ok=True)
                # What is whole is written anew, so that nothing follows half a line.
                lines = [json.dumps(self.identity)]
                for start in range(0, len(values), ROWS_AT_ONCE):
                    lines.append(json.dumps(values[start : start + ROWS_AT_ONCE]))
                new = path.with_name(path.name + ".new")
                new.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
                new.replace(path)
            except OSError as error:
                problem = problem or f"{path}: {error.strerror or error}"
                continue
            return folder, path, values
        raise EnvironmentProblemError(f"the pseudo-labels can be kept nowhere ({problem}); set MTQSCORE_HOME")

    def _logged(self, path: Path) -> list[list[float | None]]:
        values: list[list[float | None]] = []
        with suppress(OSError, ValueError):  # no log, or a line that an interrupted call left half written
            first, *lines = path.read_text(encoding="utf-8").splitlines()
            if self._same(json.loads(first)):
                for line in lines:
                    values += self._checked(json.loads(line))
        return values

    def _checked(self, said: list[list[float | None]]) -> list[list[float | None]]:
        """Values of some recordings as they were written; anything else was not written here."""
        count = len(self.teacher.targets)
        fits = isinstance(said, list) and all(isinstance(line, list) and len(line) == count for line in said)
        if not fits or not all(value is None or isinstance(value, float) for line in said for value in line):
            raise ValueError("no estimates")
        return said

    def _keep(self, table: Path, values: Sequence[Sequence[float | None]]) -> None:
        names = self.teacher.targets
        records = [
            {"path": os.path.relpath(row.path, self.base), "split": row.split}
            | {name: "" if value is None else f"{value:.{DECIMALS}f}" for name, value in zip(names, line, strict=True)}
            for row, line in zip(self.rows, values, strict=True)
        ]
        write_table(table, ["path", "split", *names], records)
        note: dict[str, Any] = {**self.identity, "table_sha256": hashlib.sha256(table.read_bytes()).hexdigest()}
        partial = table.with_suffix(".json.partial")
        partial.write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
        partial.replace(table.with_suffix(".json"))

    def _same(self, note: object) -> bool:
        return isinstance(note, dict) and all(
            note.get(key) == value for key, value in self.identity.items() if key != "teacher"
        )

    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for row in self.rows:
            found = row.path.stat()
            mark = (os.path.relpath(row.path, self.base), found.st_size, found.st_mtime_ns)
            digest.update(repr(mark).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()
