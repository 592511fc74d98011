"""The protocol of everything that scores recordings: in this process, in several, or on a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

from mtqscore.audio.inputs import Input
from mtqscore.scores import Assessment, Status

if TYPE_CHECKING:
    from mtqscore.config import AssessConfig
    from mtqscore.scoring.session import Scorer

LOSSES = 2
"""Processes that a recording may end before it becomes a row without scores."""


class LoadedModel(NamedTuple):
    """A model that is ready to score, as results name it.

    Args:
        model: name@version.
        model_sha256: checksum of its file, hexadecimal.
        provider: the execution provider that really runs it.
        device_note: why ``auto`` left a GPU idle; empty when it did not.
        targets: names of the scores.
    """

    model: str
    model_sha256: str
    provider: str
    device_note: str
    targets: tuple[str, ...]


class Engine(Protocol):
    """Scores recordings with one model."""

    config: AssessConfig
    """The options that stand in every row."""

    @property
    def loaded(self) -> LoadedModel:
        """The model as results name it."""

    @property
    def scorer(self) -> Scorer:
        """The model in this process, for what reports score of their own."""

    def assess_files(
        self, paths: Iterable[str | os.PathLike[str] | Input], progress: Callable[[float], None] | None = None
    ) -> Iterator[Assessment]:
        """Score many files; rows come in the order of the paths.

        Args:
            paths: files, or what ``find_inputs`` returned for folders and patterns.
            progress: called from time to time with the seconds of audio that were scored since the last call.

        Yields:
            One assessment a file, or one a channel with channels ``each``.

        Raises:
            EnvironmentProblemError: the model failed while it ran, or what runs it is lost.
        """


def as_inputs(paths: Iterable[str | os.PathLike[str] | Input]) -> Iterator[Input]:
    """Yield paths as inputs."""
    return (item if isinstance(item, Input) else Input(os.fspath(item)) for item in paths)


def by_recording(rows: Iterator[Assessment]) -> Iterator[list[Assessment]]:
    """Yield the rows of each recording together."""
    together: list[Assessment] = []
    for row in rows:
        if together and row.begins_recording:
            yield together
            together = []
        together.append(row)
    if together:
        yield together


def lost_row(engine: Engine, item: Input) -> Assessment:
    """Return the row of a recording that ends every process that reads it."""
    return Assessment(
        path=item.path,
        channel="" if engine.config.channels == "each" else engine.config.channels,
        duration_s=None,
        sample_rate_hz=None,
        status=Status.UNREADABLE,
        reason=f"{LOSSES} processes ended while they read it",
        flags=(),
        scores=None,
        frames=None,
        model=engine.loaded.model,
        model_sha256=engine.loaded.model_sha256,
        provider=engine.loaded.provider,
        options=engine.config,
        precision=engine.config.precision,
    )
