"""Shortage of room for files or of memory: it ends a run in one line, and leaves the last checkpoint usable."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from mtqscore.base.files import replacing
from mtqscore.errors import EnvironmentProblemError
from mtqscore.training.config import TrainConfig

_MEMORY_WORDS = re.compile(
    r"out of memory|can't allocate memory|not enough memory|Cannot allocate memory|ALLOC_FAILED"
    r"|could not create a (primitive|memory)(?! descriptor)"
)
"""Words in the errors of torch and its libraries (cuBLAS, cuDNN, oneDNN)."""


@contextmanager
def run_file(path: Path) -> Iterator[Path]:
    """Replace a file of the run folder whole; an EnvironmentProblemError where it cannot be written."""
    try:
        with replacing(path) as partial:
            yield partial
    except OSError as error:
        raise write_problem(path, error) from error


def write_problem(path: Path, error: OSError) -> EnvironmentProblemError:
    """Make the error of a file of the run folder that cannot be written."""
    return EnvironmentProblemError(
        f"{path}: cannot be written: {error.strerror or error}; finished checkpoints are intact, and the same command "
        "goes on from the last one"
    )


def write_json(path: Path, value: object) -> None:
    """Write a JSON file; NaN becomes null."""
    text = json.dumps(_without_nan(value), indent=2, allow_nan=False) + "\n"
    with run_file(path) as partial:
        partial.write_text(text, encoding="ascii")


def _without_nan(value: object) -> object:
    """Turn NaN into None, since JSON has none."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


@contextmanager
def enough_memory(config: TrainConfig, device: torch.device, folder: Path) -> Iterator[None]:
    """Turn a lack of memory into an EnvironmentProblemError: one line with the settings to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not _MEMORY_WORDS.search(str(error)):
            raise
        raise EnvironmentProblemError(
            f"not enough memory on {device}; set a lower memory_limit_gb (now {config.memory_limit_gb:g}) and the same "
            f"command goes on from the last checkpoint in {folder}, or start anew with a smaller batch_size "
            f"(now {config.batch_size}) or max_clip_s (now {config.max_clip_s:g})"
        ) from error
