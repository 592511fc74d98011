"""Files that appear whole, files that grow line by line, and stdout."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TextIO

from mtqscore.errors import EnvironmentProblemError, MtqscoreError, UsageError

STDOUT = "-"
BLOCK_BYTES = 65_536
MACHINE_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


@contextmanager
def replacing(path: Path, *, synced: bool = True) -> Iterator[Path]:
    """Give a name to write to, whose file takes the place of ``path`` at the end: nobody ever sees half of one.

    After a failure, the half-written file is gone and what was at ``path`` stays.

    Args:
        path: the file to make or replace.
        synced: wait until the content is safe on the disk; costs milliseconds, too much for many small files.

    Yields:
        A name in the same folder, no longer than the file system takes.

    Raises:
        OSError: the file cannot be written.
    """
    partial = _partial_name(path)
    try:
        yield partial
        _take_place(partial, path, synced=synced)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _partial_name(path: Path) -> Path:
    return path.with_name(f"{path.name[:100]}.{os.getpid()}.partial")


def _take_place(partial: Path, path: Path, *, synced: bool) -> None:
    if synced:
        # A full disk or quota may speak up only here, and a crash of the machine must not leave an empty file.
        with partial.open("rb+") as stream:
            os.fsync(stream.fileno())
    partial.replace(path)


class Output(AbstractContextManager["Output"]):
    r"""One place for results. Text is UTF-8; bytes of names that are no text are written as ``\udcNN``.

    A file that grows line by line belongs to one process at a time, and if its writing fails, a half last line is
    cut off.

    Args:
        target: a path, or ``-`` for stdout.
        line_by_line: write straight into the file; else into a neighbour that takes its place on ``commit``.
        keep: write line by line behind what the file holds.

    Raises:
        UsageError: the file cannot be made there, or another process writes it.
        EnvironmentProblemError: no space is left.
    """

    def __init__(self, target: str, *, line_by_line: bool, keep: bool = False) -> None:
        self.target = target
        self.path = Path(os.path.realpath(target))
        self._partial: Path | None = None
        self._handle: int | None = None
        self._is_ours = not keep  # whether the file is known to be a result
        try:
            self.stream = self._open(line_by_line=line_by_line, keep=keep)
        except (OSError, ValueError) as error:
            raise write_problem(self.target, error) from error

    def _open(self, *, line_by_line: bool, keep: bool) -> TextIO:
        if self.target == STDOUT:
            # A descriptor of its own, so that text that was printed before keeps its encoding and its place.
            sys.stdout.flush()
            handle = os.dup(sys.stdout.fileno())
            return open(handle, "w", encoding="utf-8", errors="backslashreplace", newline="")  # noqa: PTH123
        place = self.path
        # A device or a pipe that the user names is written to, never replaced.
        if place.is_file() or not place.exists():
            if line_by_line:
                self._handle = _open_locked(place)
                if not keep:
                    os.ftruncate(self._handle, 0)
                return open(self._handle, "w", encoding="utf-8", errors="backslashreplace", newline="", closefd=False)
            place = self._partial = _partial_name(place)
        elif keep:
            raise UsageError(f"{self.target!r} is no file that could be continued")
        return place.open("w", encoding="utf-8", errors="backslashreplace", newline="")

    def cut_half_line(self) -> None:
        """Take a file that is kept for a result, and cut off what stands behind its last line end.

        Raises:
            EnvironmentProblemError: the file cannot be changed.
        """
        self._is_ours = True
        try:
            if self._handle is not None:
                _cut_half_line(self._handle)
        except OSError as error:
            raise write_problem(self.target, error) from error

    def commit(self) -> None:
        """Make what was written final.

        Raises:
            EnvironmentProblemError: it could not be written to its end.
        """
        try:
            self.stream.close()
            if self._partial is not None:
                _take_place(self._partial, self.path, synced=True)
                self._partial = None
        except BrokenPipeError:
            raise
        except OSError as error:
            raise write_problem(self.target, error) from error

    def __exit__(self, failure: object, *_: object) -> None:
        with suppress(OSError):  # the failure that led here is the one to report
            self.stream.close()
        if self._handle is not None:
            if failure is not None and self._is_ours:
                with suppress(OSError):
                    _cut_half_line(self._handle)
            os.close(self._handle)  # and with it goes the lock
            self._handle = None
        if self._partial is not None:
            self._partial.unlink(missing_ok=True)


def write_problem(target: str, error: OSError | ValueError) -> MtqscoreError:
    """Say in one line why something cannot be written; a full or broken disk is the machine's fault."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    message = f"cannot write {'stdout' if target == STDOUT else repr(target)}: {text}"
    if isinstance(error, OSError) and error.errno in MACHINE_FAULTS:
        return EnvironmentProblemError(message)
    return UsageError(message)


def _open_locked(place: Path) -> int:
    """Open a file for this process alone, to write at its end; what it holds stays."""
    while True:
        handle = os.open(place, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
        try:
            _lock(handle, place)
            # Whoever had it may have put a new file in its place while we were opening it.
            if _same_file(handle, place):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _lock(handle: int, place: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: nothing holds two runs apart there
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(
            f"another run is writing {str(place)!r}: wait until it has ended, or name another file"
        ) from error
    except OSError:  # a file system without locks
        return


def _same_file(handle: int, place: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), place.stat())
    except FileNotFoundError:
        return False


def _cut_half_line(handle: int) -> None:
    """Cut a file behind its last line end."""
    end = size = os.fstat(handle).st_size
    while end > 0:
        start = max(0, end - BLOCK_BYTES)
        os.lseek(handle, start, os.SEEK_SET)
        at = os.read(handle, end - start).rfind(b"\n")
        if at >= 0:
            end = start + at + 1
            break
        end = start
    if end < size:
        os.ftruncate(handle, end)
