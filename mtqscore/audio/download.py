"""Copies of recordings that are not on this machine, in files without a name; some are fetched ahead of their turn."""

from __future__ import annotations

import os
import queue
import tempfile
import threading
from concurrent.futures import Future, InvalidStateError
from contextlib import AbstractContextManager, suppress
from typing import IO
from weakref import WeakSet

from mtqscore.audio.inputs import Stamp
from mtqscore.audio.remote import ASKED_AT_ONCE, fault_of, is_web, locate, stamp_of_info
from mtqscore.audio.sources import FileSource
from mtqscore.errors import EnvironmentProblemError
from mtqscore.scores import Status, UnscorableError

AHEAD_BYTES = 32 * 2**20
"""Files up to this size are fetched before their turn; larger ones would fill the disk for nothing."""

BLOCK_BYTES = 8 * 2**20
"""Bytes that are asked of a store at once."""

COPIED_BYTES = 2**20
"""Bytes that are in memory on their way to the disk."""


class Download:
    """One file on its way to this machine; its copy has no name, so that nothing is left whatever ends the run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stamp: Stamp | None = None
        self.changed = False
        self._wanted = threading.Event()
        self._copy: Future[IO[bytes]] = Future()

    def __del__(self) -> None:
        if self._copy.done() and self._copy.exception() is None:
            self._copy.result().close()

    def run(self) -> None:
        """Fetch it; never raises."""
        if self._copy.done():
            return
        try:
            copy = self._fetch()
        except Exception as error:  # stores raise whatever their libraries do
            try:
                self._fail(fault_of(error, self.name))
            except EnvironmentProblemError as problem:
                self._fail(problem)
            return
        try:
            self._copy.set_result(copy)
        except InvalidStateError:  # nobody wants it any more
            copy.close()

    def stop(self) -> None:
        """Let nobody wait for it any more."""
        self._fail(UnscorableError(Status.UNREADABLE, "the run was ended"))
        self._wanted.set()

    def take(self) -> int:
        """Wait for the copy.

        Returns:
            A descriptor of it at its start, which the caller closes.

        Raises:
            UnscorableError: it cannot be fetched.
            EnvironmentProblemError: the store does not answer, or there is no room for the copy.
        """
        self._wanted.set()
        with self._copy.result() as copy:
            return os.dup(copy.fileno())

    def _fail(self, error: Exception) -> None:
        with suppress(InvalidStateError):
            self._copy.set_exception(error)

    def _fetch(self) -> IO[bytes]:
        store, path = locate(self.name)
        web = is_web(self.name)  # many servers know no parts of files, and their streams have no details
        with store.open(path, "rb", block_size=0 if web else BLOCK_BYTES, cache_type="readahead") as stream:
            info = (not web and getattr(stream, "details", None)) or store.info(path)
            if info.get("type") == "directory":
                raise UnscorableError(Status.NOT_A_FILE, "a folder, not a recording")
            size_bytes = info.get("size")
            self.stamp = stamp_of_info(info)
            if (size_bytes or 0) > AHEAD_BYTES:
                self._wanted.wait()
            copy = self._copy_of(stream)
        copied_bytes = os.fstat(copy.fileno()).st_size
        # What came in one answer is of one moment; of several, the parts may belong to two files.
        whole = copied_bytes < BLOCK_BYTES or stamp_of_info(store.info(path)) == self.stamp
        self.changed = not whole or size_bytes not in (None, copied_bytes)
        return copy

    def _copy_of(self, stream: IO[bytes]) -> IO[bytes]:
        copy: IO[bytes] = _make_copy()
        try:
            while not self._copy.done() and (content := stream.read(COPIED_BYTES)):
                _write(copy, content)
            copy.seek(0)
        except BaseException:
            copy.close()
            raise
        return copy


class FetchAhead(AbstractContextManager["FetchAhead"]):
    """Threads that fetch files in the order in which they are asked for, until the context ends."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Download | None] = queue.SimpleQueue()
        self._downloads: WeakSet[Download] = WeakSet()
        # No pool: the interpreter would wait at its end for its threads, and a store may let one wait for minutes.
        for number in range(ASKED_AT_ONCE):
            threading.Thread(target=self._work, name=f"fetch-{number}", daemon=True).start()

    def __exit__(self, *_: object) -> None:
        for download in list(self._downloads):
            download.stop()
        for _number in range(ASKED_AT_ONCE):
            self._queue.put(None)

    def fetch(self, name: str) -> Download:
        """Begin to fetch a file as soon as a thread is free."""
        download = Download(name)
        self._downloads.add(download)
        self._queue.put(download)
        return download

    def _work(self) -> None:
        while (download := self._queue.get()) is not None:
            download.run()
            del download  # or its copy would stay open until the next one comes


class RemoteSource(FileSource):
    """A recording that is fetched before it is read."""

    _has_name = False

    def __init__(self, name: str, download: Download | None = None) -> None:
        if download is None:
            download = Download(name)
            download.run()
        self._download = download
        super().__init__(name)

    def _open(self, path: str) -> tuple[int, os.stat_result]:
        del path
        handle = self._download.take()
        return handle, os.fstat(handle)

    @property
    def stamp(self) -> Stamp:
        """State of the file when it was fetched; empty where its store has none."""
        return self._download.stamp or Stamp()

    @property
    def changed(self) -> bool:
        """True if the file was replaced while it was fetched."""
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
