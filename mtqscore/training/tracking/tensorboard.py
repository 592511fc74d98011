"""Course of a run for TensorBoard."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtqscore.errors import MissingExtraError
from mtqscore.training.compute.resources import write_problem

FOLDER = "tensorboard"


class Board:
    """Writer of an event file in the run folder, if one is wanted.

    Events of an interrupted run beyond the optimiser steps after which it goes on are hidden.

    Raises:
        MissingExtraError: the writer is not installed.
        EnvironmentProblemError: the file cannot be written.
    """

    def __init__(self, folder: Path, step: int, *, wanted: bool) -> None:
        self.folder = folder / FOLDER
        self._writer: Any = None
        if not wanted:
            return
        try:
            library = importlib.import_module("tensorboardX")
        except ImportError as error:
            raise MissingExtraError("tensorboard = true", "tensorboard", "tensorboardX") from error
        try:
            # A queue without limit: a full one would wait forever for a thread that a full disk has ended.
            options = {"purge_step": step + 1, "filename_suffix": f".{step}", "max_queue": 0}
            self._writer = library.SummaryWriter(str(self.folder), **options)
        except OSError as error:
            raise write_problem(self.folder, error) from error

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write some numbers by name after so many optimiser steps; NaN is left out, a slash groups names."""
        for name, value in values.items():
            if self._writer is not None and not math.isnan(value):
                self._writer.add_scalar(name, value, step)

    def epoch(self, step: int, record: Mapping[str, float]) -> None:
        """Write the record of an epoch, ``val_s_mos_lcc`` as ``val_lcc/s_mos``."""
        named = {}
        for name, value in record.items():
            first, _, rest = name.partition("_")
            middle, _, last = rest.rpartition("_")
            named[f"{first}_{last}/{middle}" if middle else f"epoch/{name}"] = value
        self.write(step, named)

    def close(self) -> None:
        """Write what is left; an EnvironmentProblemError where that fails."""
        if self._writer is not None:
            try:
                self._writer.close()
            except OSError as error:
                raise write_problem(self.folder, error) from error
