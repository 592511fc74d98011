"""One session for several processes: they read and judge recordings, and send their batches to who has the GPU."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mtqscore.errors import EnvironmentProblemError, MtqscoreError
from mtqscore.scoring.session import Scorer

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from numpy.typing import NDArray

    from mtqscore.models import ModelInfo


@dataclass(frozen=True)
class ScorerFacts:
    """What one process must know of a scorer in another.

    Args:
        label: name@version of the model.
        sha256: checksum of its file.
        info: its metadata.
        provider: the execution provider that runs it.
        on_cpu: whether that is the processor.
        padded_samples: lengths to which windows should be padded.
    """

    label: str
    sha256: str
    info: ModelInfo
    provider: str
    on_cpu: bool
    padded_samples: tuple[int, ...]

    @classmethod
    def of(cls, scorer: Scorer) -> ScorerFacts:
        """What there is to know of a scorer here."""
        return cls(
            scorer.label, scorer.sha256, scorer.info, scorer.provider, scorer.on_cpu, tuple(scorer.padded_samples)
        )


class FarScorer(Scorer):
    """A scorer whose session another process holds; one batch of this process is on its way at a time.

    Args:
        connection: to `answer_batches` in that process.
        facts: of the scorer there.
    """

    def __init__(self, connection: Connection, facts: ScorerFacts) -> None:
        # Of the scorer here nothing is wanted but its face: no session is opened, onnxruntime is not loaded.
        self.label = facts.label
        self.sha256 = facts.sha256
        self.info = facts.info
        self.device_note = ""
        self._facts = facts
        self._connection = connection
        self._turn = threading.Lock()

    @property
    def provider(self) -> str:
        """The execution provider that runs it there."""
        return self._facts.provider

    @property
    def on_cpu(self) -> bool:
        """Whether it runs on the processor there."""
        return self._facts.on_cpu

    @property
    def padded_samples(self) -> tuple[int, ...]:
        """Lengths to which windows should be padded, rising; none where every length is as good."""
        return self._facts.padded_samples

    def score(
        self, waveform: NDArray[np.float32], lengths: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Have a batch scored; arguments, result and errors are those of `Scorer.score`."""
        try:
            with self._turn:
                self._connection.send(lengths)
                self._connection.send_bytes(np.ascontiguousarray(waveform).data.cast("B"))
                answer: tuple[NDArray[np.float32], NDArray[np.float32]] | Exception = self._connection.recv()
        except (EOFError, OSError) as error:
            raise EnvironmentProblemError("the process that holds the model has ended") from error
        if isinstance(answer, Exception):
            raise answer
        return answer


def answer_batches(connection: Connection, scorer: Scorer, turn: AbstractContextManager[object]) -> None:
    """Score the batches of a `FarScorer` until its process ends; runs in a thread.

    Args:
        connection: to that process.
        scorer: the one that all such threads share.
        turn: lets one of them score at a time, while the others take in their next batch.
    """
    try:
        with suppress(EOFError, OSError):
            while True:
                lengths: NDArray[np.int64] = connection.recv()
                waveform = np.frombuffer(connection.recv_bytes(), np.float32).reshape(len(lengths), -1)
                try:
                    with turn:
                        connection.send(scorer.score(waveform, lengths))
                except MtqscoreError as error:
                    connection.send(error)
    finally:
        connection.close()  # whatever ends this, nobody waits for an answer any more
