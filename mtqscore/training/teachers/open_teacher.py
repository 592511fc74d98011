"""Opening of the teacher that a user names: a word, a run, a file, or a model by name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from mtqscore.errors import UsageError
from mtqscore.labels.table import LabelledRecording
from mtqscore.training.settings import REFERENCES
from mtqscore.training.teachers.checkpoint import CheckpointTeacher
from mtqscore.training.teachers.external_onnx import ExternalOnnxTeacher
from mtqscore.training.teachers.onnx_scorer import OnnxTeacher
from mtqscore.training.teachers.references import ReferenceTeacher
from mtqscore.training.teachers.teacher import ClipTeacher, Teacher
from mtqscore.training.weights import BEST_FILE, is_on_disk


@contextmanager
def open_teacher(
    choice: str, rows: Sequence[LabelledRecording], base: Path, device: torch.device, references: Path | None = None
) -> Iterator[Teacher]:
    """Open the teacher that a user names, and free its resources in the end.

    Args:
        choice: ``references``, or as for `open_clip_teacher`.
        rows: the recordings that it is opened for.
        base: folder that the table's column ``clean`` is relative to.
        device: of networks.
        references: folder of clean references; None for those of the table.
    """
    if choice == REFERENCES:
        with ReferenceTeacher(rows, base, references) as exact:
            yield exact
    else:
        yield open_clip_teacher(choice, device)


def open_clip_teacher(choice: str, device: torch.device) -> ClipTeacher:
    """Open a teacher that needs no reference, with networks on a device.

    Args:
        choice: a run folder, a checkpoint, an ONNX file, a TOML file that describes any other ONNX file, or a model by
            name.
        device: of networks.

    Raises:
        UsageError: it is nothing of these.
        InputError: a checkpoint is damaged.
    """
    if choice.lower().endswith(".toml"):
        return ExternalOnnxTeacher(Path(choice))
    if choice.lower().endswith(".onnx") or not is_on_disk(choice):
        return OnnxTeacher(choice)
    return CheckpointTeacher(check_run(choice), device)


def check_run(choice: str) -> Path:
    """Return the path of a checkpoint or run folder; a UsageError for a folder that is no run."""
    path = Path(choice)
    # Not Path.is_dir, which raises where a name is too long.
    if os.path.isdir(path) and not (path / BEST_FILE).is_file():  # noqa: PTH112
        raise UsageError(
            f"--teacher {choice}: no run folder, since it has no {BEST_FILE}; clean recordings go with --references"
        )
    return path
