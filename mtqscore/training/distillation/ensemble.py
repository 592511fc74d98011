"""Several teachers as one: a weighted mean of their estimates, target by target."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mtqscore.errors import InputError, UsageError
from mtqscore.labels.table import read_label_table, read_table
from mtqscore.models import is_path
from mtqscore.results.reading import read_results
from mtqscore.scores import FrameScores, named_scores
from mtqscore.targets import TARGETS, Target
from mtqscore.training.config import TeacherChoice
from mtqscore.training.data.frame_labels import Curve
from mtqscore.training.settings import NO_TEACHER, REFERENCES, TABLE
from mtqscore.training.teachers.open_teacher import open_clip_teacher
from mtqscore.training.teachers.teacher import Clip, ClipTeacher, TeacherEstimate

SCORE_FILES = (".csv", ".jsonl", ".json", ".parquet")


class ScoreTable:
    """Scores that are there already: a label table, or a result of ``mtqscore assess``, with its frame scores."""

    def __init__(self, path: Path, base: Path) -> None:
        try:
            self.fingerprint = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise InputError(f"{path}: cannot read the scores: {error.strerror or error}") from error
        self.scores: dict[Path, tuple[dict[str, float], FrameScores | None]] = {}
        self.missing = 0
        for name, scores, frames in _read_scores(path):
            places = [path.parent / name, base / name, Path(name)]
            found = next((place for place in places if os.path.isfile(place)), None)  # noqa: PTH113 - raises on no name
            if found is None:
                self.missing += 1
            elif scores:
                self.scores[found.resolve()] = scores, frames
        if not self.scores:
            raise InputError(f"{path}: none of its recordings with scores is in {base} or beside it")
        names = {name for scores, _ in self.scores.values() for name in scores}
        self.targets = tuple(target.name for target in TARGETS if target.name in names)

    def estimate(self, path: Path, samples: int) -> TeacherEstimate | None:
        """Give the scores of a recording, None if the file has none.

        Args:
            path: the recording, resolved.
            samples: its length at 16 kHz.
        """
        if path not in self.scores:
            return None
        scores, frames = self.scores[path]
        return TeacherEstimate.from_scores(scores, frames, self.targets, samples)


def _read_scores(path: Path) -> Iterator[tuple[str, dict[str, float], FrameScores | None]]:
    """Yield names, scores by target, and frame scores where there are any."""
    if path.suffix.lower() == ".csv" and not {"status", "model"} <= read_table(path, ("path",))[0].keys():
        for labelled in read_label_table(path, check_files=False):
            yield os.path.relpath(labelled.path, path.parent), labelled.labels, None
        return
    names = {target.name for target in TARGETS}
    for assessment in read_results(path).rows:
        if assessment.path is not None and assessment.scores is not None:
            scores = {name: value for name, value in named_scores(assessment).items() if name in names}
            yield assessment.path, scores, assessment.frames


@dataclass(frozen=True)
class TeacherEnsemble:
    """Teachers and their weights.

    Args:
        teachers: those that score any recording.
        tables: those that hold scores of some.
        targets: wanted of them.
    """

    teachers: tuple[tuple[TeacherChoice, ClipTeacher], ...]
    tables: tuple[tuple[TeacherChoice, ScoreTable], ...]
    targets: tuple[Target, ...]

    @property
    def fingerprint(self) -> str:
        """Digest of all that decides its estimates."""
        names = [target.name for target in self.targets]
        members = [(choice, one.fingerprint) for choice, one in self.teachers]
        members += [(choice, one.fingerprint) for choice, one in self.tables]
        weighted = [(fingerprint, [choice.weight_of(name) for name in names]) for choice, fingerprint in members]
        return hashlib.sha256(repr((weighted, names)).encode()).hexdigest()

    def estimate(self, clips: Sequence[Clip], paths: Sequence[Path] = ()) -> list[TeacherEstimate]:
        """Estimate the targets of recordings.

        Args:
            clips: float32 (samples,) each at 16 kHz.
            paths: their files, resolved; needed for tables of scores.

        Returns:
            One estimate a recording, in the order of ``targets``. Along a recording, a teacher without frame scores
            counts with its score of the whole.
        """
        found: list[tuple[TeacherChoice, Sequence[str], Sequence[TeacherEstimate | None]]] = [
            (choice, teacher.targets, teacher.estimate_clips(clips)) for choice, teacher in self.teachers
        ]
        for choice, table in self.tables:
            of_clips = [table.estimate(path, len(clip)) for path, clip in zip(paths, clips, strict=True)]
            found.append((choice, table.targets, of_clips))
        joined = []
        for number in range(len(clips)):
            given = [(choice, names, of_clips[number]) for choice, names, of_clips in found]
            joined.append(
                combine([(choice, names, one) for choice, names, one in given if one is not None], self.targets)
            )
        return joined

    def restricted(self, names: Sequence[str]) -> TeacherEnsemble:
        """Return an ensemble for some of the targets only.

        Raises:
            UsageError: no teacher estimates one of them.
        """
        strangers = set(names) - {target.name for target in self.targets}
        if strangers:
            has = ", ".join(target.name for target in self.targets)
            raise UsageError(f"targets {', '.join(sorted(strangers))}: the teachers estimate {has}")
        return replace(self, targets=tuple(target for target in self.targets if target.name in names))


def combine(
    estimates: Sequence[tuple[TeacherChoice, Sequence[str], TeacherEstimate]], targets: Sequence[Target]
) -> TeacherEstimate:
    """Average estimates of one recording by the weights of their teachers; of each target, those that have one."""
    if not estimates:
        return TeacherEstimate(np.full(len(targets), np.nan, dtype=np.float32), None)
    wanted = [target.name for target in targets]
    scores = np.stack([_columns(one.scores, names, wanted) for _, names, one in estimates])
    weights = np.array([[choice.weight_of(name) for name in wanted] for choice, _, _ in estimates])
    weights = np.where(np.isfinite(scores), weights, 0)
    with np.errstate(invalid="ignore"):  # nobody's estimate is 0 / 0, NaN
        shares = weights / weights.sum(axis=0)
    counted = np.where(weights > 0, scores, 0)
    curve: Curve | None = None
    steps = min((len(one.curve) for _, _, one in estimates if one.curve is not None), default=0)
    if steps:
        total = np.zeros((steps, len(wanted)))
        for (_, names, one), share, own in zip(estimates, shares, counted, strict=True):
            along = np.nan if one.curve is None else _columns(one.curve[:steps], names, wanted)
            total += share * np.where(np.isfinite(along), along, own)
        curve = total.astype(np.float32)
    return TeacherEstimate((shares * counted).sum(axis=0).astype(np.float32), curve)


def _columns(values: NDArray[np.float32], names: Sequence[str], wanted: Sequence[str]) -> NDArray[np.float64]:
    """Bring the last axis into the order of the wanted names; NaN for others."""
    found = np.full((*values.shape[:-1], len(wanted)), np.nan)
    for column, name in enumerate(wanted):
        if name in names:
            found[..., column] = values[..., names.index(name)]
    return found


def open_ensemble(choices: Sequence[TeacherChoice], base: Path, device: torch.device) -> TeacherEnsemble:
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
    teachers: list[tuple[TeacherChoice, ClipTeacher]] = []
    tables: list[tuple[TeacherChoice, ScoreTable]] = []
    for choice in choices:
        if choice.source.lower().endswith(SCORE_FILES):
            tables.append((choice, ScoreTable(Path(choice.source), base)))
        else:
            teachers.append((choice, open_clip_teacher(choice.source, device)))
    offered = [(choice, one.targets) for choice, one in teachers] + [(choice, one.targets) for choice, one in tables]
    counted = {name for choice, names in offered for name in names if choice.weight_of(name) > 0}
    targets = tuple(target for target in TARGETS if target.name in counted)
    if not targets:
        raise UsageError("the teachers estimate none of the targets that they have a weight for")
    return TeacherEnsemble(tuple(teachers), tuple(tables), targets)


def check_teachers(choices: Sequence[TeacherChoice]) -> None:
    """Refuse what is no teacher of a student, before anything is read for it."""
    if not choices:
        raise UsageError("no teacher: name one or more with --teacher, or in a table [[distillation.teachers]]")
    for choice in choices:
        source = choice.source
        if source in (TABLE, NO_TEACHER, REFERENCES):
            raise UsageError(f"--teacher {source}: unlabelled speech has neither labels nor references")
        file = is_path(source) or source.lower().endswith((*SCORE_FILES, ".toml"))
        if file and not os.path.exists(source):  # noqa: PTH110 - Path.exists raises where a name is too long
            raise InputError(f"--teacher {source}: no such run folder, checkpoint, ONNX file, TOML file or table")
