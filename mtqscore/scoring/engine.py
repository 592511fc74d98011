"""What every engine says of itself: what the assessor in this process does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

    from mtqscore.audio.inputs import Input
    from mtqscore.config import AssessConfig
    from mtqscore.scores import Assessment
    from mtqscore.scoring.assessor import Assessor
    from mtqscore.scoring.session import Scorer

LOSSES = 2
"""Processes that a recording, alone, may end before it becomes a row without scores."""


class Engine(ABC):
    """Scores as an `Assessor` does, with more than this process; a context that ends the others.

    Args:
        config: the options that stand in every row.
        local: the model in this process.
    """

    def __init__(self, config: AssessConfig, local: Assessor) -> None:
        self.config = config
        self._local = local

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(self, *_: object) -> None: ...

    @abstractmethod
    def assess_files(
        self, paths: Iterable[str | os.PathLike[str] | Input], progress: Callable[[float], None] | None = None
    ) -> Iterator[Assessment]:
        """Score many files; rows come in the order of the paths, as those of `Assessor.assess_files`.

        Args:
            paths: files, or what ``find_inputs`` returned for folders and patterns.
            progress: called from time to time with the seconds of audio that were scored since the last call.

        Yields:
            One assessment a file, or one a channel with channels ``each``.

        Raises:
            EnvironmentProblemError: the model failed while it ran, or what runs it is lost.
        """

    @property
    def model(self) -> str:
        """name@version of the model."""
        return self._local.model

    @property
    def model_sha256(self) -> str:
        """Checksum of the model's file, hexadecimal, the same in every process."""
        return self._local.model_sha256

    @property
    def provider(self) -> str:
        """The execution provider that runs the model."""
        return self._local.provider

    @property
    def device_note(self) -> str:
        """Why a GPU lies idle; empty when none does."""
        return self._local.device_note

    @property
    def scorer(self) -> Scorer:
        """The model in this process, for what reports score of their own."""
        return self._local.scorer

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the scores."""
        return self._local.targets

    def _lost(self, item: Input) -> Assessment:
        """The row of a recording that ends every process that reads it."""
        from mtqscore.scores import Assessment, Status

        return Assessment(
            path=item.path,
            channel="" if self.config.channels == "each" else self.config.channels,
            duration_s=None,
            sample_rate_hz=None,
            status=Status.UNREADABLE,
            reason=f"{LOSSES} processes ended while they read it",
            flags=(),
            scores=None,
            frames=None,
            model=self.model,
            model_sha256=self.model_sha256,
            provider=self.provider,
            options=self.config,
            precision=self.config.precision,
        )


def by_recording(rows: Iterator[Assessment]) -> Iterator[list[Assessment]]:
    """Put the rows of each recording together."""
    together: list[Assessment] = []
    for row in rows:
        if together and row.begins_recording:
            yield together
            together = []
        together.append(row)
    if together:
        yield together
