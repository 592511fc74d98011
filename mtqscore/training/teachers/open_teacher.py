"""The teacher that a user names: a word, a run, a file, or a model by name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from mtqscore.errors import UsageError
from mtqscore.labels.table import LabelledRecording
from mtqscore.training.settings import REFERENCES
from mtqscore.training.teachers.external_onnx import DescribedTeacher
from mtqscore.training.teachers.references import ReferenceTeacher
from mtqscore.training.teachers.teacher import CheckpointTeacher, OnnxTeacher, Teacher
from mtqscore.training.weights import BEST_FILE, is_on_disk


@contextmanager
def open_teacher(
    choice: str, rows: Sequence[LabelledRecording], base: Path, device: torch.device, references: Path | None = None
) -> Iterator[Teacher]:
    """Open the teacher that a user names, and let go of what it holds in the end.

    Args:
        choice: ``references``, a run folder, a checkpoint, an ONNX file, a TOML file that describes any other ONNX
            file, or a model by name.
        rows: the recordings that it will be asked about.
        base: folder that the table's column ``clean`` is relative to.
        device: where networks compute.
        references: folder of clean references; None for those of the table.

    Raises:
        UsageError: it is nothing of these.
        InputError: a checkpoint is damaged.
        FaultyTableError: references are missing or do not fit.
    """
    if choice == REFERENCES:
        with ReferenceTeacher(rows, base, references) as exact:
            yield exact
    elif choice.lower().endswith(".toml"):
        yield DescribedTeacher(Path(choice))
    elif choice.lower().endswith(".onnx") or not is_on_disk(choice):
        yield OnnxTeacher(choice)
    else:
        yield CheckpointTeacher(check_run(choice), device)


def check_run(choice: str) -> Path:
    """Return the path of a checkpoint or run folder, as far as it looks like one.

    Raises:
        UsageError: it does not.
    """
    path = Path(choice)
    if os.path.isdir(path) and not (path / BEST_FILE).is_file():  # noqa: PTH112 - Path.is_dir raises where a name is too long
        raise UsageError(f"--teacher {choice}: no run folder, since it has no {BEST_FILE}; clean recordings go with "
                         "--references")  # fmt: skip
    return path
