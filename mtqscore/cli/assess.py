"""``mtqscore assess``: score recordings and show or write the results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import typer

from mtqscore.cli.options import (
    BatchSeconds,
    Channels,
    Csv,
    Device,
    FromList,
    Json,
    Jsonl,
    Model,
    Paths,
    Quiet,
    Threads,
)
from mtqscore.cli.plain import PlainCommand

if TYPE_CHECKING:
    from mtqscore.assess import Assessor
    from mtqscore.inputs import Input
    from mtqscore.report.output import Output
    from mtqscore.report.writer import Run, Summary, Writer
    from mtqscore.scores import Assessment

SOME_FAILED_EXIT = 3


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("assess", cls=PlainCommand)(assess)


def assess(
    paths: Paths = None,
    from_list: FromList = None,
    model: Model = None,
    device: Device = "auto",
    channels: Channels = "mean",
    threads: Threads = None,
    batch_seconds: BatchSeconds = 40.0,
    csv: Csv = None,
    json: Json = None,
    jsonl: Jsonl = None,
    quiet: Quiet = False,
) -> None:
    """Score recordings: S-MOS (speech), N-MOS (background noise) and G-MOS (overall), each from 1 to 5.

    Exit code 0: all were scored. 2: wrong use, or nothing matched. 3: some could not be scored.
    4: the device or the model does not work. 130: interrupted.
    """
    from mtqscore.cli.console import clean_endings, without_native_noise

    with clean_endings(), without_native_noise():
        from mtqscore.assess import Assessor
        from mtqscore.config import AssessConfig
        from mtqscore.inputs import find_inputs

        targets = {kind: target for kind, target in (("csv", csv), ("json", json), ("jsonl", jsonl)) if target}
        _check_targets(targets)
        config = AssessConfig(model, device, channels, threads, batch_seconds)
        inputs = find_inputs(_named(paths or [], from_list))
        summary = _score(Assessor(config), inputs, targets, quiet=quiet)
    if summary.scored < summary.rows:
        raise typer.Exit(SOME_FAILED_EXIT)


def _check_targets(targets: dict[str, str]) -> None:
    import os

    from mtqscore.errors import UsageError

    places = ["-" if target == "-" else os.path.realpath(target) for target in targets.values()]
    if len(set(places)) < len(places):
        raise UsageError(f"two results cannot go to the same place: {', '.join(targets.values())}")


def _named(paths: Sequence[str], from_list: str | None) -> list[str]:
    """Names in their order: those of the list where ``-`` stands, those of ``--from-list`` last."""
    import sys
    from pathlib import Path

    from mtqscore.errors import UsageError
    from mtqscore.inputs import read_list

    names: list[str] = []
    for path in paths:
        names += read_list(sys.stdin.buffer.read()) if path == "-" else [path]
    if from_list is not None:
        try:
            content = sys.stdin.buffer.read() if from_list == "-" else Path(from_list).read_bytes()
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot read the list {from_list!r}: {error}") from error
        names += read_list(content)
    return names


def _score(assessor: Assessor, inputs: list[Input], targets: dict[str, str], *, quiet: bool) -> Summary:
    import time

    import mtqscore
    from mtqscore.cli.console import say
    from mtqscore.report.writer import Run, Summary

    run = Run(
        version=mtqscore.__version__,
        model=assessor.model,
        model_sha256=assessor.model_sha256,
        provider=assessor.provider,
        targets=assessor.targets,
        options=assessor.config,
    )
    summary = Summary()
    if assessor.device_note and not quiet:
        say(f"running on the CPU: {assessor.device_note}")
    started_s = time.monotonic()
    with ExitStack() as stack:
        places = _open_places(stack, run, targets, quiet=quiet)
        for place, writer in places:
            _guarded(place, writer.begin)
        for assessment in _watched(assessor, inputs, started_s, quiet=quiet):
            summary.add(assessment)
            for place, writer in places:
                _guarded(place, writer.write, assessment)
        wall_s = time.monotonic() - started_s
        for place, writer in places:
            _guarded(place, writer.finish, summary)
            if place is not None:
                place.commit()
    if not quiet:
        speed = f"{summary.audio_s / max(wall_s, 1e-9):,.0f} × real time"
        where = "GPU" if "CUDA" in run.provider else "CPU"
        say(f"{summary.audio_s:,.1f} s of audio in {wall_s:.2f} s, {speed}; {run.model} on the {where}")
    return summary


def _watched(assessor: Assessor, inputs: list[Input], started_s: float, *, quiet: bool) -> Iterator[Assessment]:
    """Pass assessments on and show how far the work is."""
    import time

    from mtqscore.cli.console import progress_bar

    done, audio_s = 0, 0.0

    def hear(more_s: float) -> None:
        nonlocal audio_s
        audio_s += more_s
        note = f"{audio_s / (time.monotonic() - started_s):,.0f} × real time"
        advance(done, len(inputs), note)

    with progress_bar("scoring", "recordings", quiet=quiet) as advance:
        for assessment in assessor.assess_files(inputs, hear):
            yield assessment
            # With a row for each channel, a recording is done once: with its first.
            done += assessor.config.channels != "each" or assessment.channel in ("", "1")


def _open_places(
    stack: ExitStack, run: Run, targets: dict[str, str], *, quiet: bool
) -> list[tuple[Output | None, Writer]]:
    """Open every result before the first recording is read, and the table unless stdout is taken."""
    import sys

    from mtqscore.report import WRITERS
    from mtqscore.report.output import STDOUT, Output
    from mtqscore.report.table import TableWriter

    places: list[tuple[Output | None, Writer]] = []
    for kind, target in targets.items():
        place = stack.enter_context(Output(target, line_by_line=WRITERS[kind].line_by_line))
        places.append((place, WRITERS[kind](place.stream, run)))
    if STDOUT not in targets.values():
        places.append((None, TableWriter(sys.stdout, run, legend=not quiet)))
    return places


def _guarded(place: Output | None, call: Callable[..., None], *arguments: object) -> None:
    """Call a writer; a disk that is full becomes one line, a reader that has gone stays what it is."""
    try:
        call(*arguments)
    except BrokenPipeError:
        raise
    except OSError as error:
        from mtqscore.report.output import write_problem

        raise write_problem(place.target if place is not None else "stdout", error) from error
