"""What commands that judge results share: gates from flags or settings, places for results, the exit code."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from mtqscore.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from mtqscore.analysis.compare import Comparison
    from mtqscore.analysis.gates import GateReport
    from mtqscore.base.files import Output
    from mtqscore.cli.settings import GateEntry, Settings
    from mtqscore.report.formats import Writer
    from mtqscore.report.summary import RunSummary
    from mtqscore.results.run import Run
    from mtqscore.scores import Assessment


def project_settings(project: Mapping[str, Any]) -> Settings:
    """Settings of ``--config``, else of the project around the current folder; none with ``--no-config``.

    Raises:
        UsageError: both flags were given, or the file is not what it should be.
    """
    from pathlib import Path

    from mtqscore.cli.settings import Settings, find_settings, read_settings

    config = project.get("config")
    if project.get("no_config"):
        if config is not None:
            raise UsageError("give --config or --no-config, not both")
        return Settings()
    return find_settings() if config is None else read_settings(Path(config))


def gate_entries(limits: Mapping[str, Any], settings: Settings, *, quiet: bool = False) -> tuple[GateEntry, ...]:
    """Gates of the command line; if it has none, those of the settings.

    Args:
        limits: gates as they were given, by the options ``fail_under`` and ``warn_under``.
        settings: of the project.
        quiet: do not report that gates of the settings are not used.
    """
    fail_under, warn_under = limits.get("fail_under", ()), limits.get("warn_under", ())
    if not fail_under and not warn_under:
        return settings.gates
    from mtqscore.analysis.gates import Level
    from mtqscore.cli.console import say
    from mtqscore.cli.settings import GateEntry

    given = [GateEntry(text, Level.ERROR, source="--fail-under") for text in fail_under]
    given += [GateEntry(text, Level.WARN, source="--warn-under") for text in warn_under]
    if settings.gates and not quiet:
        from mtqscore.base.text import printable

        say(f"the gates of {printable(str(settings.source))} are not used: the command line names its own")
    return tuple(given)


def exit_code(summary: RunSummary) -> int:
    """Exit code of what was found: 3 if some rows have no scores, else 1 if a gate or a comparison failed, else 0."""
    if summary.scored < summary.rows:
        return ExitCode.INPUT
    judged = [part.passed for part in (summary.gates, summary.comparison) if part is not None]
    return ExitCode.OK if all(judged) else ExitCode.GATE_FAILED


def say_verdicts(gates: GateReport | None, comparison: Comparison | None, *, quiet: bool) -> None:
    """Say on stderr how gates and limits came out.

    Args:
        gates: what gates say, None without any.
        comparison: what a comparison says, None without one.
        quiet: say only what fails the run.
    """
    from mtqscore.cli.console import say

    lines: list[tuple[bool, str]] = []
    if gates is not None:
        from mtqscore.report.gates import verdict_line

        lines.append((gates.passed, verdict_line(gates)))
    if comparison is not None:
        from mtqscore.report.comparison import limits_line

        lines.append((comparison.passed, limits_line(comparison)))
    for passed, line in lines:
        if not passed:
            say(f"mtqscore: {line}")
        elif line and not quiet:
            say(line)


def choose_targets(named: Mapping[str, str | None], read: Iterable[str | None] = ()) -> dict[str, str]:
    """Where results go, by format.

    Args:
        named: path, or ``-`` for stdout, by format; None where the option was not given.
        read: files that the command reads.

    Raises:
        UsageError: an option names nothing, two name the same place, or one would replace what is read or a recording.
    """
    import os

    from mtqscore.base.files import STDOUT

    targets = {kind: target for kind, target in named.items() if target is not None}
    taken = {os.path.realpath(name) for name in read if name not in (None, STDOUT)}
    places: dict[str, str] = {}
    for kind, target in targets.items():
        if not target:
            raise UsageError(f"--{kind} names no file; leave it away, or give - for stdout")
        place = STDOUT if target == STDOUT else os.path.realpath(target)
        if place in places:
            raise UsageError(f"two results cannot go to the same place: {places[place]}, {target}")
        if place in taken or _is_recording(place):
            what = "what is read" if place in taken else "a recording"
            raise UsageError(f"--{kind} {target!r} would replace {what}: name another file")
        places[place] = target
    return targets


def _is_recording(place: str) -> bool:
    """Whether a file is there and named like a recording, as where ``--csv *.wav`` has lost its file."""
    import os

    if not os.path.isfile(place):  # noqa: PTH113 - any name, a bad one too
        return False
    from mtqscore.audio.inputs import audio_extensions

    return os.path.splitext(place)[1][1:].lower() in audio_extensions()  # noqa: PTH122


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

    In a job of GitHub Actions, what is found is told there too.

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
    import os
    import sys

    from mtqscore.base.files import STDOUT, Output

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
        from mtqscore.base.files import STDOUT, write_problem

        raise write_problem(STDOUT if place is None else place.target, error) from error
