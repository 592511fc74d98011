"""A run of ``assess`` and its results: made here or read back, they are the same to gates, comparisons and writers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mtqscore.config import AssessConfig
from mtqscore.results.shards import Shard
from mtqscore.scores import Assessment


@dataclass(frozen=True)
class Run:
    """Common facts of all rows of a result.

    Args:
        version: of mtqscore.
        model: name@version.
        model_sha256: checksum of its file.
        provider: the execution provider that really runs it.
        targets: names of the scores, the columns of a table.
        options: the options of the run; None when a result file does not hold them.
        frames: whether rows carry their curves along time into the files that can hold them.
        shard: the part of a list that this is; None where a whole list was scored.
    """

    version: str
    model: str
    model_sha256: str
    provider: str
    targets: tuple[str, ...]
    options: AssessConfig | None
    frames: bool = False
    shard: Shard | None = None


@dataclass(frozen=True)
class Results:
    """A result at hand.

    Args:
        source: the file or folder that it came from, for messages.
        run: what its rows have in common; what the file does not hold is empty, options are None.
        rows: in their order.
        shards: the parts of a list that its rows come from; none where a whole list was scored.
    """

    source: str
    run: Run
    rows: tuple[Assessment, ...]
    shards: tuple[Shard, ...] = ()


class Summary(Protocol):
    """Counts and means of a run, known at its end, with whatever else was found."""

    def as_dict(self) -> dict[str, object]:
        """Give the summary as it stands in files."""
