"""Result files read back: the rows that ``assess`` wrote, as the assessments that they were."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from mtqscore.report.writer import Run
    from mtqscore.scores import Assessment


@dataclass(frozen=True)
class Results:
    """A result at hand.

    Args:
        source: the file or folder that it came from, for messages.
        run: what its rows have in common; what the file does not say is empty, options are None.
        rows: in their order.
    """

    source: str
    run: Run
    rows: tuple[Assessment, ...]


def read_results(path: str | os.PathLike[str]) -> Results:
    """Read what ``assess`` wrote as JSON Lines, JSON, CSV or Parquet; the content decides, not the name.

    Args:
        path: the file, or ``-`` for stdin.

    Raises:
        UsageError: there is no such file, it is no result of ``assess``, or its rows stem from different models.
    """
    raise NotImplementedError
