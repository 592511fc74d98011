"""A worker on a machine of a Ray cluster."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from mtqscore.base.version import VERSION
from mtqscore.config import AssessConfig
from mtqscore.errors import EnvironmentProblemError, MtqscoreError
from mtqscore.scoring.assessor import Assessor
from mtqscore.scoring.engine import LoadedModel, as_inputs, by_recording

if TYPE_CHECKING:
    from mtqscore.audio.inputs import Input
    from mtqscore.scores import Assessment


class Job(NamedTuple):
    """Order to all workers.

    Args:
        config: how they score.
        model_sha256: checksum that the model must have on their machines too.
        folder: where names without a folder begin.
    """

    config: AssessConfig
    model_sha256: str
    folder: str


class RayWorker:
    """An actor that holds the model."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def load(self) -> tuple[LoadedModel, str]:
        """Load the model; returns it as results name it, and the version of mtqscore here.

        Raises:
            EnvironmentProblemError: the model is not there or another one, or the device does not work.
        """
        with suppress(OSError):  # a machine without it can still read absolute names
            os.chdir(self._job.folder)
        with _named_machine():
            self._assessor = Assessor(self._job.config)
            if self._assessor.model_sha256 != self._job.model_sha256:
                raise EnvironmentProblemError(
                    f"model {self._assessor.model} is another file (its sha256 is {self._assessor.model_sha256}, not "
                    f"{self._job.model_sha256}): put the same there"
                )
        return self._assessor.loaded, VERSION

    def score(self, inputs: list[Input]) -> list[list[Assessment]]:
        """Return the rows of each recording."""
        with _named_machine():
            return list(by_recording(self._assessor.assess_files(as_inputs(inputs))))


@contextmanager
def _named_machine() -> Iterator[None]:
    """Name the machine on which something went wrong, in an exception that any process can read."""
    try:
        yield
    except MtqscoreError as error:
        raise EnvironmentProblemError(f"{socket.gethostname()}: {error}") from None
