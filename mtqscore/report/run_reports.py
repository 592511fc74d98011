"""All reports of a run, written row by row as one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TextIO

from mtqscore.base.files import STDOUT, Output, write_problem

if TYPE_CHECKING:  # the table alone needs none of the formats, and they take time to load
    from mtqscore.report.formats import Writer
    from mtqscore.report.summary import RunSummary
    from mtqscore.results.run import Run
    from mtqscore.scores import Assessment


class Reports:
    """Every report of a run, open from before its first row until `finish`; see `open_reports`."""

    def __init__(self, places: list[tuple[Output | None, Writer]]) -> None:
        self._places = places

    def add(self, place: Output, writer: Writer) -> None:
        """Take in one more, before the first row."""
        self._places.append((place, writer))

    def begin(self) -> None:
        """Write what comes before the first row."""
        for place, writer in self._places:
            _guarded(place, writer.begin)

    def write(self, assessment: Assessment) -> None:
        """Write one row everywhere."""
        for place, writer in self._places:
            _guarded(place, writer.write, assessment)

    def finish(self, summary: RunSummary) -> None:
        """Write what comes after the last row; files that appear whole appear now."""
        for place, writer in self._places:
            _guarded(place, writer.finish, summary)
            if place is not None:
                place.commit()


@contextmanager
def open_reports(
    run: Run,
    targets: Mapping[str, str],
    table: Writer | None = None,
    writers: Mapping[str, Callable[[TextIO, Run], Writer]] | None = None,
    *,
    whole: bool = False,
) -> Iterator[Reports]:
    """Open every result before there is a row to write; what is not finished leaves no file behind.

    In a job of GitHub Actions, findings are annotations too.

    Args:
        run: what all rows have in common.
        targets: path, or ``-`` for stdout, by name of the format in ``WRITERS``.
        table: what stdout shows, unless a result goes there.
        writers: makers of writers that stand in for those of ``WRITERS``.
        whole: no file grows line by line; each appears when it is complete.

    Yields:
        All of them as one.

    Raises:
        UsageError: a file cannot be made there.
        EnvironmentProblemError: no space is left.
    """
    with ExitStack() as stack:
        places: list[tuple[Output | None, Writer]] = []
        # What grows line by line empties a file that is there, so only when all others could be made.
        for kind in sorted(targets, key=lambda kind: kind == "jsonl"):
            from mtqscore.report.formats import WRITERS  # the table alone needs none of them

            line_by_line = WRITERS[kind].line_by_line and not whole
            place = stack.enter_context(Output(targets[kind], line_by_line=line_by_line))
            make = (writers or {}).get(kind, WRITERS[kind])
            places.append((place, make(place.stream, run)))
        if table is not None and STDOUT not in targets.values():
            places.append((None, table))
        if os.environ.get("GITHUB_ACTIONS") == "true":
            from mtqscore.report.github import GithubWriter

            places.append((None, GithubWriter(sys.stderr, run)))
        yield Reports(places)


def _guarded(place: Output | None, call: Callable[..., None], *arguments: object) -> None:
    """Call a writer; a disk that is full becomes one line, a reader that has gone stays what it is."""
    try:
        call(*arguments)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise write_problem(STDOUT if place is None else place.target, error) from error
