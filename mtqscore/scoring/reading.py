"""Recordings on their way to the model: decoded ahead by a pool of threads, handed out in order."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mtqscore.audio.decoding import ChannelResult, DecodingConfig, decode, open_recording
from mtqscore.audio.inputs import Input, Stamp, is_remote
from mtqscore.audio.sources import ArraySource
from mtqscore.audio.windows import Window
from mtqscore.errors import EnvironmentProblemError
from mtqscore.scores import Status, UnscorableError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from concurrent.futures import Executor, Future

    from mtqscore.audio.download import Download, FetchAhead

RECORDINGS_AHEAD = 32
"""Recordings whose first windows are decoded before they are wanted; with short ones, that many wait in memory."""


@dataclass(eq=False)
class Recording:
    """One input, and what is known of it.

    Args:
        path: its name; None for an array.
        results: one a channel stream; empty until it was read to its end.
        stamp: state of the file when it was opened.
        channel_count: channels that it has.
    """

    path: str | None
    results: list[ChannelResult] = field(default_factory=list)
    stamp: Stamp = field(default_factory=Stamp)
    channel_count: int | None = None


def read_ahead(
    items: Iterable[Input | ArraySource], config: DecodingConfig, pool: Executor
) -> Generator[tuple[Recording, Iterator[list[Window]]]]:
    """Decode recordings in a pool, a bounded number ahead of what is taken.

    Args:
        items: files, or arrays with their rates.
        config: the channels, and the cut.
        pool: its threads decode.

    Yields:
        Each recording in order with its windows, a few at a time, which must be taken before the next recording.
    """
    waiting: deque[tuple[Recording, Iterator[list[Window]], Future[list[Window]]]] = deque()
    with ExitStack() as stack:
        fetching: FetchAhead | None = None
        for item in items:
            download = None
            if isinstance(item, Input) and item.status is Status.OK and is_remote(item.path):
                if fetching is None:
                    from mtqscore.audio.download import FetchAhead  # fsspec only where it is needed

                    fetching = stack.enter_context(FetchAhead())
                download = fetching.fetch(item.path)
            recording = Recording(item.path if isinstance(item, Input) else None)
            steps = _read(recording, item, config, download)
            waiting.append((recording, steps, pool.submit(next, steps)))
            if len(waiting) > RECORDINGS_AHEAD:
                recording, steps, first = waiting.popleft()
                yield recording, _take(recording, steps, first, pool)
        while waiting:
            recording, steps, first = waiting.popleft()
            yield recording, _take(recording, steps, first, pool)


def _take(
    recording: Recording, steps: Iterator[list[Window]], future: Future[list[Window]], pool: Executor
) -> Iterator[list[Window]]:
    """Yield the windows of each step while the next one is decoded."""
    while True:
        windows = future.result()
        if recording.results:
            yield windows
            return
        future = pool.submit(next, steps)
        yield windows


def _read(
    recording: Recording, item: Input | ArraySource, config: DecodingConfig, download: Download | None
) -> Iterator[list[Window]]:
    """Yield the windows of a recording; its results are there with the last of them, whatever is wrong with it."""
    rest: list[Window] = []
    status, reason = Status.UNREADABLE, ""
    try:
        if isinstance(item, ArraySource):
            recording.channel_count = item.channels
            rest, recording.results = yield from decode(item, config)
        else:
            rest, recording.results = yield from _read_file(recording, item, config, download)
    except UnscorableError as error:
        status, reason = error.status, error.reason
    except EnvironmentProblemError:
        raise
    except Exception as error:  # one bad recording must not cost the others their rows
        reason = f"cannot be read ({type(error).__name__}: {error})"
    if not recording.results:
        channel = "" if config.channels == "each" else config.channels
        recording.results = [ChannelResult(channel, status=status, reason=reason)]
    yield rest


def _read_file(
    recording: Recording, item: Input, config: DecodingConfig, download: Download | None
) -> Generator[list[Window], None, tuple[list[Window], list[ChannelResult]]]:
    if item.status is not Status.OK:
        raise UnscorableError(item.status, item.reason)
    with open_recording(item.path, download) as source:
        recording.stamp = source.stamp
        recording.channel_count = source.channels
        found = yield from decode(source, config)
        if source.changed:
            raise UnscorableError(Status.CHANGED, "the file was written to while it was read; score it again")
        return found
