"""Recordings that are not on this machine are fetched into files without a name, some ahead of their turn."""

from __future__ import annotations

import os
import queue
import tempfile
import threading
from typing import IO

from mtqscore.audio.remote import ASKED_AT_ONCE, fault_of, is_web, locate, stamp_of_info
from mtqscore.audio.sources import FileSource
from mtqscore.errors import EnvironmentProblemError, InputError
from mtqscore.scores import Status, UnscorableError

AHEAD_BYTES = 32 * 2**20
"""Files up to this size are fetched before their turn; larger ones would fill the disk for nothing."""

BLOCK_BYTES = 8 * 2**20
"""Bytes that are asked of a store at once."""

COPIED_BYTES = 2**20
"""Bytes that are in memory on their way to the disk."""

WAIT_S = 0.2
"""How soon a thread that waits sees that nobody wants its work any more."""


class Download:
    """One file on its way to this machine; its copy has no name, so that nothing is left whatever ends the run.

    Args:
        name: the file, with its scheme.
        stop: set when nobody wants it any more.
    """

    def __init__(self, name: str, stop: threading.Event) -> None:
        self.name = name
        self.stamp: tuple[int, int] | None = None
        self.changed = False
        self._stop = stop
        self._wanted, self._done = threading.Event(), threading.Event()
        self._copy: IO[bytes] | None = None
        self._fault: InputError | EnvironmentProblemError | None = None

    def __del__(self) -> None:
        if self._copy is not None:
            self._copy.close()

    def run(self) -> None:
        """Fetch it; never raises."""
        try:
            self._copy = self._fetch()
        except (UnscorableError, EnvironmentProblemError) as error:
            self._fault = error
        except Exception as error:  # stores raise whatever their libraries do
            try:
                self._fault = fault_of(error, self.name)
            except EnvironmentProblemError as problem:
                self._fault = problem
        finally:
            self._done.set()

    def take(self) -> int:
        """Wait for the copy.

        Returns:
            A descriptor of it at its start, which the caller closes.

        Raises:
            UnscorableError: it cannot be fetched.
            EnvironmentProblemError: the store does not answer, or there is no room for the copy.
        """
        self._wanted.set()
        while not self._done.wait(WAIT_S):
            self._go_on()
        if self._fault is not None:
            raise self._fault
        copy, self._copy = self._copy, None
        if copy is None:
            raise ValueError("a copy is taken once")
        with copy:
            return os.dup(copy.fileno())

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise UnscorableError(Status.UNREADABLE, "the run was ended")

    def _fetch(self) -> IO[bytes]:
        store, path = locate(self.name)
        web = is_web(self.name)  # many servers know no parts of files, and their streams tell nothing
        with store.open(path, "rb", block_size=0 if web else BLOCK_BYTES, cache_type="readahead") as stream:
            info = (not web and getattr(stream, "details", None)) or store.info(path)
            if info.get("type") == "directory":
                raise UnscorableError(Status.NOT_A_FILE, "a folder, not a recording")
            size_bytes = info.get("size")
            self.stamp = stamp_of_info(info)
            while (size_bytes or 0) > AHEAD_BYTES and not self._wanted.wait(WAIT_S):
                self._go_on()
            copy = self._copy_of(stream)
        copied_bytes = os.fstat(copy.fileno()).st_size
        # What came in one answer is of one moment; of several, the parts may belong to two files.
        whole = copied_bytes < BLOCK_BYTES or stamp_of_info(store.info(path)) == self.stamp
        self.changed = not whole or size_bytes not in (None, copied_bytes)
        return copy

    def _copy_of(self, stream: IO[bytes]) -> IO[bytes]:
        copy: IO[bytes] = _make_copy()
        try:
            while content := stream.read(COPIED_BYTES):
                self._go_on()
                _write(copy, content)
            copy.seek(0)
        except BaseException:
            copy.close()
            raise
        return copy


class FetchAhead:
    """Fetches files in threads, in the order in which they are asked for.

    Args:
        stop: set when nobody wants the rest.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._queue: queue.SimpleQueue[Download | None] = queue.SimpleQueue()
        # Not a pool: the interpreter waits at its end for a pool's threads, and a store may let one wait for minutes.
        for number in range(ASKED_AT_ONCE):
            threading.Thread(target=self._work, name=f"fetch-{number}", daemon=True).start()

    def close(self) -> None:
        """Let the threads end, each after what it is at."""
        for _number in range(ASKED_AT_ONCE):
            self._queue.put(None)

    def fetch(self, name: str) -> Download:
        """Begin to fetch a file as soon as a thread is free."""
        download = Download(name, self._stop)
        self._queue.put(download)
        return download

    def _work(self) -> None:
        while (download := self._queue.get()) is not None:
            if not self._stop.is_set():
                download.run()


class RemoteSource(FileSource):
    """A recording that is fetched before it is read.

    Args:
        name: the file, with its scheme.
        download: if it is under way already.

    Raises:
        UnscorableError: the file cannot be fetched, or not be opened as audio.
        EnvironmentProblemError: the store does not answer, its library is missing, or there is no room for the copy.
    """

    _has_name = False

    def __init__(self, name: str, download: Download | None = None) -> None:
        if download is None:
            download = Download(name, threading.Event())
            download.run()
        self._download = download
        super().__init__(name)

    def _open(self, path: str) -> tuple[int, os.stat_result]:
        del path
        handle = self._download.take()
        return handle, os.fstat(handle)

    @property
    def stamp(self) -> tuple[int | None, int | None]:
        """Size, and time of the last change with the content's tag in the part below a second."""
        return self._download.stamp or (None, None)

    @property
    def changed(self) -> bool:
        """Whether the file was replaced while it was fetched."""
        return self._download.changed


def _make_copy() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(prefix="mtqscore-", buffering=0)
    except OSError as error:
        raise _no_room(error) from error


def _write(copy: IO[bytes], content: bytes) -> None:
    try:
        while content:
            content = content[copy.write(content) :]
    except OSError as error:
        raise _no_room(error) from error


def _no_room(error: OSError) -> EnvironmentProblemError:
    return EnvironmentProblemError(
        f"cannot keep a copy of a remote recording in {tempfile.gettempdir()!r}: {error.strerror or error}; "
        "set TMPDIR to a folder with room"
    )
