"""Gates from flags or settings, places for results, and the exit code, for the commands that need them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtqscore.base.files import STDOUT
from mtqscore.base.text import printable
from mtqscore.cli.console import say
from mtqscore.cli.settings import GateEntry, Settings, find_settings, read_settings
from mtqscore.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mtqscore.analysis.compare import Comparison
    from mtqscore.analysis.gates import GateReport
    from mtqscore.cli.settings import GateEntry, Settings
    from mtqscore.report.summary import RunSummary


def project_settings(project: Mapping[str, Any]) -> Settings:
    """Settings of ``--config``, else of the project around the current folder; none with ``--no-config``.

    Raises:
        UsageError: both flags were given, or the file is not what it should be.
    """

    config = project.get("config")
    if project.get("no_config"):
        if config is not None:
            raise UsageError("give --config or --no-config, not both")
        return Settings()
    return find_settings() if config is None else read_settings(Path(config))


def gate_entries(limits: Mapping[str, Any], settings: Settings, *, quiet: bool = False) -> tuple[GateEntry, ...]:
    """Gates of the command line; if it has none, those of the settings."""
    fail_under, warn_under = limits.get("fail_under", ()), limits.get("warn_under", ())
    if not fail_under and not warn_under:
        return settings.gates
    from mtqscore.analysis.gates import Level

    given = [GateEntry(text, Level.ERROR, source="--fail-under") for text in fail_under]
    given += [GateEntry(text, Level.WARN, source="--warn-under") for text in warn_under]
    if settings.gates and not quiet:
        say(f"the gates of {printable(str(settings.source))} are not used: the command line names its own")
    return tuple(given)


def exit_code(summary: RunSummary) -> int:
    """Exit code of what was found: 3 if some rows have no scores, else 1 if a gate or a comparison failed, else 0."""
    if summary.scored < summary.rows:
        return ExitCode.INPUT
    judged = [part.passed for part in (summary.gates, summary.comparison) if part is not None]
    return ExitCode.OK if all(judged) else ExitCode.GATE_FAILED


def say_verdicts(gates: GateReport | None, comparison: Comparison | None, *, quiet: bool) -> None:
    """Report on stderr how gates and limits came out; if ``quiet``, only what fails the run."""

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
    """Choose the places of results, by format: path, or ``-`` for stdout.

    Raises:
        UsageError: an option names nothing, two name the same place, or one would replace what is read or a recording.
    """

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
    """Find a file that is there and named like a recording, as where ``--csv *.wav`` has lost its file."""

    if not os.path.isfile(place):  # noqa: PTH113 - any name, a bad one too
        return False
    from mtqscore.audio.inputs import audio_extensions

    return os.path.splitext(place)[1][1:].lower() in audio_extensions()  # noqa: PTH122
