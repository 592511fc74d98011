"""The course of a run for TensorBoard."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtqscore.errors import MissingExtraError

FOLDER = "tensorboard"


class Board:
    """Writes event files into a folder of the run, or nothing.

    Args:
        folder: the run folder.
        step: where the run goes on; what an interrupted one wrote beyond it is not shown.
        wanted: whether to write at all.

    Raises:
        MissingExtraError: the writer is not installed.
    """

    def __init__(self, folder: Path, step: int, *, wanted: bool) -> None:
        self._writer: Any = None
        if not wanted:
            return
        try:
            library = importlib.import_module("tensorboardX")
        except ImportError as error:
            raise MissingExtraError("tensorboard = true", "tensorboard", "tensorboardX") from error
        self._writer = library.SummaryWriter(str(folder / FOLDER), purge_step=step)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write some numbers; NaN is left out.

        Args:
            step: optimiser steps so far.
            values: by name; a slash groups them.
        """
        if self._writer is not None:
            for name, value in values.items():
                if not math.isnan(value):
                    self._writer.add_scalar(name, value, step)

    def epoch(self, step: int, record: Mapping[str, float]) -> None:
        """Write the record of an epoch, ``val_s_mos_lcc`` as ``val_lcc/s_mos``, and hand everything to the disk."""
        named = {}
        for name, value in record.items():
            first, _, rest = name.partition("_")
            middle, _, last = rest.rpartition("_")
            named[f"{first}_{last}/{middle}" if middle else f"epoch/{name}"] = value
        self.write(step, named)
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()
