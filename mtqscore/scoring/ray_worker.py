"""What runs on the machines of a Ray cluster: workers that score tasks, and the ledger of who began which."""

from __future__ import annotations

import os
import pickle
import socket
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mtqscore.errors import EnvironmentProblemError, MtqscoreError
from mtqscore.scoring.assessor import Assessor
from mtqscore.scoring.engine import by_recording

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mtqscore.audio.inputs import Input
    from mtqscore.config import AssessConfig
    from mtqscore.scores import Assessment

MOST_BEGINNINGS = 2
"""Workers that may begin a task; if none has come to its end, its recordings are left to be scored one by one."""


@dataclass(frozen=True)
class Job:
    """What every worker is told.

    Args:
        config: how it scores.
        model_sha256: checksum that the model must have on its machine too.
        folder: where names without a folder begin.
    """

    config: AssessConfig
    model_sha256: str
    folder: str

    def load(self) -> Assessor:
        """Load the model in a worker.

        Raises:
            EnvironmentProblemError: the model is not there or another one, or the device does not work.
        """
        with suppress(OSError):  # a machine without it can still read absolute names
            os.chdir(self.folder)
        with told_from_here():
            assessor = Assessor(self.config)
        if assessor.model_sha256 != self.model_sha256:
            raise EnvironmentProblemError(
                f"{socket.gethostname()}: model {assessor.model} is another file (its sha256 is "
                f"{assessor.model_sha256}, not {self.model_sha256}): put the same there"
            )
        return assessor


def try_worker(job: Job) -> tuple[str, str]:
    """Load the model on some machine of the cluster.

    Returns:
        The version of mtqscore there, and the execution provider that runs the model.

    Raises:
        EnvironmentProblemError: it cannot score.
    """
    from mtqscore.base.version import VERSION

    return VERSION, job.load().provider


class Ledger:
    """Who began which task, so that one that ends its workers does not go round for ever."""

    def __init__(self) -> None:
        self._begun: Counter[int] = Counter()

    def begin(self, task: int) -> int:
        """Note that a worker begins a task; how many have."""
        self._begun[task] += 1
        return self._begun[task]


class Worker:
    """One process of the pool; Ray Data makes it and hands it tasks.

    Args:
        job: how it scores.
        ledger: handle of the cluster's ledger.
    """

    def __init__(self, job: Job, ledger: Any) -> None:
        self._assessor = job.load()
        self._ledger = ledger

    def __call__(self, batch: Any) -> Iterator[Any]:
        """Score tasks: a row a recording, with its position in the run and its rows; none of a task that is given up.

        Args:
            batch: Arrow table of tasks, pickled tuples of the position of the first recording and the recordings.
        """
        import pyarrow
        import ray

        for task in batch.column("task").to_pylist():
            first, inputs = pickle.loads(task)
            if ray.get(self._ledger.begin.remote(first)) > MOST_BEGINNINGS:
                continue
            for position, rows in enumerate(score(self._assessor, inputs), first):
                yield pyarrow.table({"position": [position], "rows": [pickle.dumps(rows)]})


class Rescuer:
    """A worker that may end: it scores what the pool has given up, one recording at a time.

    Args:
        job: how it scores.
    """

    def __init__(self, job: Job) -> None:
        self._assessor = job.load()

    def score(self, item: Input) -> list[Assessment]:
        """The rows of one recording."""
        return next(score(self._assessor, [item]))


def score(assessor: Assessor, inputs: Sequence[Input]) -> Iterator[list[Assessment]]:
    """Score recordings; the rows of each are together."""
    with told_from_here():
        yield from by_recording(assessor.assess_files(inputs))


@contextmanager
def told_from_here() -> Iterator[None]:
    """Say on which machine something went wrong, in an exception that any process can read."""
    try:
        yield
    except MtqscoreError as error:
        raise EnvironmentProblemError(f"{socket.gethostname()}: {error}") from None
