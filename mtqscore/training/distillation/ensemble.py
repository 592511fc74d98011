"""Several teachers as one: what each says of a recording, weighted target by target."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from mtqscore.errors import InputError, UsageError
from mtqscore.labels.table import read_label_table, read_table
from mtqscore.results.reading import read_results
from mtqscore.scores import Assessment
from mtqscore.targets import SAMPLE_RATE_HZ, TARGETS, Target
from mtqscore.training.config import TeacherChoice
from mtqscore.training.data.frame_labels import on_grid
from mtqscore.training.settings import NO_TEACHER, REFERENCES, TABLE
from mtqscore.training.teachers.open_teacher import open_teacher
from mtqscore.training.teachers.teacher import Clip, Judgement, ListeningTeacher

SCORE_FILES = (".csv", ".jsonl", ".json", ".parquet")


class ScoreTable:
    """Scores that are there already: a label table, or what ``mtqscore assess`` wrote, with its scores along time.

    Args:
        path: the file.
        base: folder in which recordings are looked for that are not beside the file.

    Raises:
        InputError: the file is faulty, or none of its recordings is there.
        UsageError: it is no result of ``mtqscore assess``.
    """

    def __init__(self, path: Path, base: Path) -> None:
        self.name = str(path)
        self.fingerprint = hashlib.sha256(_content(path)).hexdigest()
        self.said: dict[Path, tuple[dict[str, float], Assessment | None]] = {}
        self.missing = 0
        for name, scores, row in _read_scores(path):
            places = [path.parent / name, base / name, Path(name)]
            found = next((place for place in places if os.path.isfile(place)), None)  # noqa: PTH113 - raises on no name
            if found is None:
                self.missing += 1
            elif scores:
                self.said[found.resolve()] = (scores, row)
        if not self.said:
            raise InputError(f"{path}: none of its recordings with scores is in {base} or beside it")
        names = {name for scores, _ in self.said.values() for name in scores}
        self.targets = tuple(target.name for target in TARGETS if target.name in names)

    def judge(self, path: Path, samples: int) -> Judgement | None:
        """Say what the file holds of a recording, None for nothing.

        Args:
            path: the recording, resolved.
            samples: its length at 16 kHz.
        """
        if path not in self.said:
            return None
        scores, row = self.said[path]
        values = np.array([scores.get(name, np.nan) for name in self.targets], dtype=np.float32)
        frames = None if row is None else row.frames
        if frames is None or not len(frames.values):
            return Judgement(values, None)
        along = np.tile(values, (len(frames.values), 1))
        for place, name in enumerate(self.targets):
            if name in frames.targets:
                along[:, place] = frames.values[:, frames.targets.index(name)]
        positions = np.rint(np.arange(len(along)) * frames.hop_s * SAMPLE_RATE_HZ).astype(np.int64)
        return Judgement(values, on_grid(positions, along, samples))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot read the scores: {error.strerror or error}") from error


def _read_scores(path: Path) -> Iterator[tuple[str, dict[str, float], Assessment | None]]:
    """Names, scores by target, and rows of ``mtqscore assess`` where it wrote the file."""
    if path.suffix.lower() == ".csv" and not {"status", "model"} <= read_table(path, ("path",))[0].keys():
        for labelled in read_label_table(path, check_files=False):
            yield os.path.relpath(labelled.path, path.parent), labelled.labels, None
        return
    names = {target.name for target in TARGETS}
    for row in read_results(path).rows:
        if row.path is not None and row.scores is not None:
            said = {"s_mos": row.scores.s_mos, "n_mos": row.scores.n_mos, "g_mos": row.scores.g_mos}
            said |= {name: value for name, value in row.scores.extra.items() if name in names}
            yield row.path, said, row


@dataclass(frozen=True)
class Panel:
    """Teachers and how much each counts.

    Args:
        listening: those that hear a recording.
        tables: those that hold scores.
        choices: what the user said of each, the listening ones first.
        targets: what is asked of them.
    """

    listening: tuple[ListeningTeacher, ...]
    tables: tuple[ScoreTable, ...]
    choices: tuple[TeacherChoice, ...]
    targets: tuple[Target, ...]

    @property
    def fingerprint(self) -> str:
        """Digest of all that decides what they say."""
        members: list[ListeningTeacher | ScoreTable] = [*self.listening, *self.tables]
        said = [
            (one.fingerprint, _weights(choice, self.targets)) for one, choice in zip(members, self.choices, strict=True)
        ]
        return hashlib.sha256(repr((said, [target.name for target in self.targets])).encode()).hexdigest()

    def judge(self, clips: Sequence[Clip], paths: Sequence[Path] = ()) -> list[Judgement]:
        """Judge recordings.

        Args:
            clips: float32 (samples,) each at 16 kHz.
            paths: the files that they are, resolved, for tables of scores.

        Returns:
            One judgement a recording, in the order of ``targets``. Along a recording, a teacher without scores along
            time counts with its score of the whole.
        """
        heard = [teacher.judge(clips) for teacher in self.listening]
        joined = []
        for number, clip in enumerate(clips):
            said: list[tuple[TeacherChoice, Sequence[str], Judgement]] = [
                (choice, teacher.targets, judgements[number])
                for choice, teacher, judgements in zip(self.choices, self.listening, heard, strict=False)
            ]
            for choice, table in zip(self.choices[len(self.listening) :], self.tables, strict=True):
                if (judgement := table.judge(paths[number], len(clip))) is not None:
                    said.append((choice, table.targets, judgement))
            joined.append(combine(said, self.targets))
        return joined


def _weights(choice: TeacherChoice, targets: Sequence[Target]) -> list[float]:
    """Weights of one teacher by target."""
    return [choice.weight_of(target.name) for target in targets]


def combine(said: Sequence[tuple[TeacherChoice, Sequence[str], Judgement]], targets: Sequence[Target]) -> Judgement:
    """Make one judgement of several: the weighted mean of those that say anything of a target.

    Args:
        said: who, of which targets, and what.
        targets: those that are wanted.
    """
    lengths = [len(judgement.curve) for _, _, judgement in said if judgement.curve is not None]
    scores = np.full(len(targets), np.nan, dtype=np.float32)
    curve = np.full((min(lengths), len(targets)), np.nan, dtype=np.float32) if lengths else None
    for place, target in enumerate(targets):
        total, mean, along = 0.0, 0.0, np.zeros(min(lengths, default=0))
        for choice, names, judgement in said:
            weight = choice.weight_of(target.name)
            column = names.index(target.name) if target.name in names else None
            if column is None or weight == 0 or not np.isfinite(judgement.scores[column]):
                continue
            score = float(judgement.scores[column])
            total, mean = total + weight, mean + weight * score
            if curve is not None:
                own = np.full(len(curve), score) if judgement.curve is None else judgement.curve[: len(curve), column]
                along = along + weight * np.where(np.isfinite(own), own, score)
        if total:
            scores[place] = mean / total
            if curve is not None:
                curve[:, place] = along / total
    return Judgement(scores, curve)


@contextmanager
def open_panel(choices: Sequence[TeacherChoice], base: Path, device: torch.device) -> Iterator[Panel]:
    """Open the teachers that a user names; their targets are all that any of them counts for.

    Args:
        choices: one or more.
        base: folder of the recordings.
        device: where networks compute.

    Raises:
        UsageError: one is no teacher, or none counts for any target.
        InputError: one cannot be read.
    """
    check_teachers(choices)
    with ExitStack() as stack:
        listening: list[tuple[TeacherChoice, ListeningTeacher]] = []
        tables: list[tuple[TeacherChoice, ScoreTable]] = []
        for choice in choices:
            if choice.source.lower().endswith(SCORE_FILES):
                tables.append((choice, ScoreTable(Path(choice.source), base)))
                continue
            teacher = stack.enter_context(open_teacher(choice.source, [], base, device))
            if isinstance(teacher, ListeningTeacher):
                listening.append((choice, teacher))
        members: list[tuple[TeacherChoice, ListeningTeacher | ScoreTable]] = [*listening, *tables]
        counted = {name for choice, one in members for name in one.targets if choice.weight_of(name) > 0}
        targets = tuple(target for target in TARGETS if target.name in counted)
        if not targets:
            raise UsageError("the teachers judge none of the targets that they have a weight for")
        yield Panel(
            tuple(teacher for _, teacher in listening),
            tuple(table for _, table in tables),
            tuple(choice for choice, _ in members),
            targets,
        )


def check_teachers(choices: Sequence[TeacherChoice]) -> None:
    """Refuse what is no teacher of a student, before anything is read for it.

    Raises:
        UsageError: there is none, or one is a word of ``mtqscore train``.
        InputError: there is no such file.
    """
    from mtqscore.models import is_path

    if not choices:
        raise UsageError("no teacher: name one or more with --teacher, or in a table [[distillation.teachers]]")
    for choice in choices:
        source = choice.source
        if source in (TABLE, NO_TEACHER, REFERENCES):
            raise UsageError(f"--teacher {source}: unlabelled speech has neither labels nor references")
        file = is_path(source) or source.lower().endswith((*SCORE_FILES, ".toml"))
        if file and not os.path.exists(source):  # noqa: PTH110 - Path.exists raises where a name is too long
            raise InputError(f"--teacher {source}: no such run folder, checkpoint, ONNX file, TOML file or table")


def restricted(panel: Panel, names: Sequence[str]) -> Panel:
    """Ask a panel for some of its targets only.

    Raises:
        UsageError: no teacher judges one of them.
    """
    strangers = set(names) - {target.name for target in panel.targets}
    if strangers:
        has = ", ".join(target.name for target in panel.targets)
        raise UsageError(f"targets {', '.join(sorted(strangers))}: the teachers judge {has}")
    return replace(panel, targets=tuple(target for target in panel.targets if target.name in names))
