"""Output to stderr: messages, one-line refusals, progress on a terminal; and clean endings."""

from __future__ import annotations

import codecs
import io
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mtqscore.errors import ExitCode, MtqscoreError

if TYPE_CHECKING:
    from rich.progress import Progress

    from mtqscore.base.files import Output

LEGIBLE = "mtqscore.legible"
"""How the streams of the terminal treat characters that their encoding lacks; see `_legible`."""

PLAIN_SIGNS = {"·": "|", "–": "-", "−": "-", "×": "x", "…": "...", "≥": ">=", "≤": "<="}

PROGRESS_AFTER_S = 1.0
"""Shorter work shows no progress, and does not wait for its library either."""

PROGRESS_STEP_S = 0.1
"""More often than this nobody sees it, and with many short recordings it would cost time."""


def _legible(error: UnicodeError) -> tuple[str, int]:
    """A sign that every terminal has in place of ours, and the code of what stands in names."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN_SIGNS.get(char) or ascii(char)[1:-1] for char in lacking), error.end


def prepare_streams() -> None:
    """Let stdout and stderr take any text, and open what the caller has closed."""
    codecs.register_error(LEGIBLE, _legible)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # Else a result's file would get the number of the stream, and what is printed there.
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115 - lives as long as the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=LEGIBLE)


def say(text: str) -> None:
    """Write one message to stderr; stdout carries data only."""
    with suppress(OSError):  # nobody listens or there is no room, and that is no failure of the work
        print(text, file=sys.stderr, flush=True)


def print_result(text: str) -> None:
    """Write the whole result of a command to stdout.

    Raises:
        MtqscoreError: stdout cannot be written to.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise stdout_problem(error) from error


def stdout_problem(error: OSError) -> MtqscoreError:
    """Explain a failure to write to stdout, and write nothing more to it."""
    from mtqscore.base.files import STDOUT, write_problem

    _abandon_stdout()
    return write_problem(STDOUT, error)


def fail(error: MtqscoreError) -> None:
    """Write the one line that a refused command ends with, with any names in it made printable."""
    from mtqscore.base.text import printable

    say(f"mtqscore: {printable(str(error))}")


def write_text(place: Output, text: str) -> None:
    """Write a whole result to a place that is open, which then appears.

    Raises:
        MtqscoreError: it cannot be written.
    """
    from mtqscore.base.files import write_problem

    try:
        place.stream.write(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise write_problem(place.target, error) from error
    place.commit()


@contextmanager
def open_places(targets: Mapping[str, str]) -> Iterator[dict[str, Output]]:
    """Open the places of whole results, by format, before any work is done for them."""
    from mtqscore.base.files import Output

    with ExitStack() as stack:
        yield {kind: stack.enter_context(Output(target, line_by_line=False)) for kind, target in targets.items()}


def as_line(document: object) -> str:
    """Lay out a JSON document on one line."""
    from json import dumps

    return dumps(document, ensure_ascii=False, allow_nan=False) + "\n"


def write_document(target: str, content: object) -> None:
    """Write one JSON document to a file, or to stdout for ``-``; as ASCII, so that any path can be read back.

    Raises:
        MtqscoreError: it cannot be written.
    """
    from json import dumps

    from mtqscore.base.files import Output

    with Output(target, line_by_line=False) as place:
        write_text(place, dumps(content, allow_nan=False, indent=2) + "\n")


@contextmanager
def clean_endings() -> Iterator[None]:
    """End quietly when the reader of stdout has gone, and in one line on Ctrl-C."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _abandon_stdout()
        sys.exit(ExitCode.CLOSED_PIPE)
    except KeyboardInterrupt:
        say("mtqscore: interrupted")
        sys.exit(ExitCode.INTERRUPTED)


def _abandon_stdout() -> None:
    # What is still buffered would fail once more when the interpreter ends.
    with Path(os.devnull).open("wb") as null:
        os.dup2(null.fileno(), sys.stdout.fileno())


@contextmanager
def without_native_noise() -> Iterator[None]:
    """Keep what C libraries print away from the terminal and from results; Python's own streams go on as before."""
    with _python_only("stdout", 1), _python_only("stderr", 2):
        yield


@contextmanager
def _python_only(name: str, number: int) -> Iterator[None]:
    """Leave one of the standard streams to Python."""
    own = getattr(sys, name)
    try:
        own.flush()
        kept = os.dup(number if own.fileno() == number else -1)
    except (OSError, ValueError, AttributeError):  # no such stream, or a program around this one has its own
        yield
        return
    stream = os.fdopen(kept, "w", encoding=own.encoding, errors=own.errors, buffering=1 if number == 2 else -1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)
    setattr(sys, name, stream)
    try:
        yield
        if number == 1:
            stream.flush()
    finally:
        setattr(sys, name, own)
        if number == 1:
            _flush_native()
        os.dup2(kept, number)
        with suppress(OSError):  # what found no room while it was written finds none now
            stream.close()


def _flush_native() -> None:
    """Let C libraries print what they hold back, before their stream is that of Python again."""
    import ctypes

    with suppress(OSError, TypeError, AttributeError):  # Windows, where each library has buffers of its own
        ctypes.CDLL(None).fflush(None)


class Advance(Protocol):
    """Takes the state of the work, and a word on it; may be called as often as one likes."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Show that so many of so many are done."""


@contextmanager
def progress_bar(title: str, unit: str, *, quiet: bool = False) -> Iterator[Advance]:
    """Show progress on stderr, if that is a terminal, once the work takes longer than a moment."""
    next_s = time.monotonic() + PROGRESS_AFTER_S
    shown = not quiet and sys.stderr.isatty()
    with ExitStack() as stack:
        bar: Progress | None = None

        def advance(done: int, total: int, note: str = "") -> None:
            nonlocal bar, next_s
            if not shown or (now_s := time.monotonic()) < next_s:
                return
            next_s = now_s + PROGRESS_STEP_S
            if bar is None:
                bar = stack.enter_context(_make_bar())
                bar.add_task(title, total=total, unit=unit, note=note)
            bar.update(bar.task_ids[0], completed=done, total=total, note=note)

        yield advance


def _make_bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}  {task.fields[note]}"),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        transient=True,
    )
