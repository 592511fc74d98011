"""Many recordings on their way to the model: read ahead by the threads of a crew, handed out in order."""

from __future__ import annotations

import queue
import threading
from collections import deque
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from mtqscore.audio.decoding import Heard, Plan, Window, decode
from mtqscore.audio.inputs import Input, is_remote
from mtqscore.audio.sources import ArraySource, FileSource
from mtqscore.errors import EnvironmentProblemError
from mtqscore.scores import Status, UnscorableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mtqscore.audio.download import Download, FetchAhead
    from mtqscore.scoring.worker_threads import Crew

TOGETHER = 16
"""Recordings that are handed out at a time: to take each one as it comes would interrupt those who read the next."""

GATHER_S = 0.2
"""So long they are waited for at most, lest rows come late where files come slowly."""

WINDOWS_AHEAD = 3
"""Windows of one recording that may wait for the model; 2 MB at 10 s a window."""


class Recording:
    """One recording on its way: its windows can be taken while it is still being read.

    Args:
        item: the file, or the array with its rate.
        plan: how to cut it.
        stop: set when nobody wants the rest.
        crew: whose threads read it.
        stir: called when it is read, if it is ``awaited``, and when too many of its windows wait to be taken.
        download: of a file that is not on this machine.
    """

    def __init__(
        self,
        item: Input | ArraySource,
        plan: Plan,
        stop: threading.Event,
        crew: Crew,
        stir: Callable[[], None],
        download: Download | None = None,
    ) -> None:
        self.path = item.path if isinstance(item, Input) else None
        self.size_bytes: int | None = None
        self.modified_ns: int | None = None
        self.channel_count: int | None = None
        self._item = item
        self._plan = plan
        self._stop = stop
        self._crew = crew
        self._stir = stir
        self._download = download
        self.awaited = self.is_read = False
        # Windows and verdicts of short recordings, by the thousand: one hand-over each, and no lock of Python's own.
        self._ready: queue.SimpleQueue[tuple[Window | list[Heard], ...]] = queue.SimpleQueue()
        self._held: tuple[Window, ...] = ()
        self._given = self._taken = 0
        self._fault: EnvironmentProblemError | None = None

    def read(self) -> None:
        """Read it to its end, unless nobody wants it any more; runs in a thread and never raises."""
        if self._stop.is_set():
            return
        heard = [Heard(self._channel(), status=Status.UNREADABLE, reason="cannot be read")]
        try:
            heard = self._read()
        except UnscorableError as error:
            heard = [Heard(self._channel(), status=error.status, reason=error.reason)]
        except EnvironmentProblemError as error:
            heard, self._fault = [], error
        except Exception as error:  # one bad recording must not cost the others their rows
            reason = f"cannot be read ({type(error).__name__}: {error})"
            heard = [Heard(self._channel(), status=Status.UNREADABLE, reason=reason)]
        finally:  # whatever happens, for who takes the windows waits for their end
            held, self._held = self._held, ()  # nothing of it stays in memory here
            self._ready.put((*held, heard))
            self.is_read = True
            if self.awaited:
                self._stir()

    def take(self) -> Iterator[Window | list[Heard]]:
        """Yield its windows as they come, and at the end the verdicts.

        Raises:
            EnvironmentProblemError: no recording could be read on this machine.
        """
        while True:
            items = self._ready.get()
            self._taken += 1
            self._crew.nudge()
            if self._fault is not None:
                raise self._fault
            yield from items
            if isinstance(items[-1], list):
                return

    def _read(self) -> list[Heard]:
        if isinstance(self._item, ArraySource):
            self.channel_count = self._item.channels
            return decode(self._item, self._plan, self._emit, self._stop.is_set)
        if self._item.status is not Status.OK:
            raise UnscorableError(self._item.status, self._item.reason)
        with self._open(self._item.path) as source:
            self.size_bytes, self.modified_ns = source.stamp
            self.channel_count = source.channels
            heard = decode(source, self._plan, self._emit, self._stop.is_set)
            if source.changed:
                raise UnscorableError(Status.CHANGED, "the file was written to while it was read; score it again")
            return heard

    def _open(self, path: str) -> FileSource:
        if self._download is None:
            return FileSource(path)
        from mtqscore.audio.download import RemoteSource

        return RemoteSource(path, self._download)

    def _channel(self) -> str:
        return "" if self._plan.channels == "each" else self._plan.channels

    def _emit(self, window: Window) -> None:
        """Hand on the window before this one, and wait where too many are not taken yet."""
        if self._held:
            if not self.has_room():
                self._stir()
                self._crew.wait_until(self.has_room)
            self._ready.put(self._held)
            self._given += 1
        self._held = (window,)

    def has_room(self) -> bool:
        """Whether it can be read on before some of it is taken."""
        return self._given - self._taken < WINDOWS_AHEAD or self._stop.is_set()


class ReadAhead(AbstractContextManager["ReadAhead"]):
    """Has recordings read, a bounded number ahead, and hands them out in order.

    Args:
        plan: how to cut them.
        crew: whose threads read.
        ahead: recordings that may be started or finished before they are wanted.
    """

    def __init__(self, plan: Plan, crew: Crew, ahead: int) -> None:
        self._plan = plan
        self._crew = crew
        self._ahead = ahead
        self._stop = threading.Event()
        self._stirred = threading.Event()
        self._fetch_ahead: FetchAhead | None = None

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._crew.nudge()
        if self._fetch_ahead is not None:
            self._fetch_ahead.close()

    def recordings(self, items: Iterable[Input | ArraySource]) -> Iterator[Recording]:
        """Yield the recordings in order; the first are being read already."""
        waiting: deque[Recording] = deque()
        for item in items:
            recording = Recording(item, self._plan, self._stop, self._crew, self._stirred.set, self._fetch(item))
            # Threads take them in this order, so the one that is wanted is never stuck behind a full queue.
            self._crew.read(recording.read)
            waiting.append(recording)
            if len(waiting) >= self._ahead + TOGETHER:
                self._gather([waiting[index] for index in range(TOGETHER)])
                for _ in range(TOGETHER):
                    yield waiting.popleft()
        yield from waiting

    def _gather(self, recordings: list[Recording]) -> None:
        """Wait until the last of some is read, or one of them waits to be taken."""
        self._stirred.clear()
        recordings[-1].awaited = True
        if not recordings[-1].is_read and all(one.has_room() for one in recordings):
            self._stirred.wait(GATHER_S)

    def _fetch(self, item: Input | ArraySource) -> Download | None:
        """Begin to fetch what is not on this machine."""
        if not isinstance(item, Input) or item.status is not Status.OK or not is_remote(item.path):
            return None
        if self._fetch_ahead is None:
            from mtqscore.audio.download import FetchAhead

            self._fetch_ahead = FetchAhead(self._stop)
        return self._fetch_ahead.fetch(item.path)
