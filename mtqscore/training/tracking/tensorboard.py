"""The course of a run for TensorBoard."""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mtqscore.errors import MissingExtraError
from mtqscore.training.compute.resources import write_problem

FOLDER = "tensorboard"


class Board:
    """Writes an event file into a folder of the run, or nothing.

    Args:
        folder: the run folder.
        step: optimiser steps after which the run goes on; what an interrupted one wrote beyond them is not shown.
        wanted: whether to write at all.

    Raises:
        MissingExtraError: the writer is not installed.
        EnvironmentProblemError: the file cannot be written.
    """

    def __init__(self, folder: Path, step: int, *, wanted: bool) -> None:
        self._file: Any = None
        if not wanted:
            return
        try:
            # Not its writer: that one has a thread, whose errors nobody could catch.
            records = importlib.import_module("tensorboardX.record_writer")
            self._events: Any = importlib.import_module("tensorboardX.proto.event_pb2")
            self._summaries: Any = importlib.import_module("tensorboardX.proto.summary_pb2")
        except ImportError as error:
            raise MissingExtraError("tensorboard = true", "tensorboard", "tensorboardX") from error
        self._path = folder.absolute() / FOLDER / f"events.out.tfevents.{time.time():.6f}"
        with self._written():
            self._path.parent.mkdir(exist_ok=True)
            self._file = records.RecordWriter(str(self._path))
            self._add(file_version="brain.Event:2")
            self._add(step=step + 1, session_log=self._events.SessionLog(status=self._events.SessionLog.START))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write some numbers; NaN is left out.

        Args:
            step: optimiser steps so far.
            values: by name; a slash groups them.
        """
        if self._file is None:
            return
        found = [
            self._summaries.Summary.Value(tag=name, simple_value=value)
            for name, value in values.items()
            if not math.isnan(value)
        ]
        with self._written():
            self._add(step=step, summary=self._summaries.Summary(value=found))

    def epoch(self, step: int, record: Mapping[str, float]) -> None:
        """Write the record of an epoch, ``val_s_mos_lcc`` as ``val_lcc/s_mos``, and hand everything to the disk."""
        named = {}
        for name, value in record.items():
            first, _, rest = name.partition("_")
            middle, _, last = rest.rpartition("_")
            named[f"{first}_{last}/{middle}" if middle else f"epoch/{name}"] = value
        self.write(step, named)
        if self._file is not None:
            with self._written():
                self._file.flush()

    def close(self) -> None:
        """Write what is left."""
        if self._file is not None:
            with self._written():
                self._file.close()

    def _add(self, **facts: Any) -> None:
        self._file.write(self._events.Event(wall_time=time.time(), **facts).SerializeToString())

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise write_problem(self._path, error) from error
