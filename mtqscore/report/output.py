"""Where a writer writes to: a file that appears whole, a file that grows, or stdout."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TextIO

from mtqscore.errors import EnvironmentProblemError, MtqscoreError, UsageError

STDOUT = "-"


class Output(AbstractContextManager["Output"]):
    r"""One place for results. Text is UTF-8; bytes of names that are no text are written as ``\udcNN``.

    Args:
        target: a path, or ``-`` for stdout.
        line_by_line: write straight into the file; else into a neighbour that takes its place on ``commit``.

    Raises:
        UsageError: the file cannot be made there.
        EnvironmentProblemError: no space is left.
    """

    def __init__(self, target: str, *, line_by_line: bool) -> None:
        self.target = target
        self._partial: Path | None = None
        self._final = Path(os.path.realpath(target))
        try:
            self.stream = self._open(line_by_line=line_by_line)
        except (OSError, ValueError) as error:
            raise write_problem(self.target, error) from error

    def _open(self, *, line_by_line: bool) -> TextIO:
        if self.target == STDOUT:
            # A descriptor of its own, so that text that was printed before keeps its encoding and its place.
            sys.stdout.flush()
            handle = os.dup(sys.stdout.fileno())
            return open(handle, "w", encoding="utf-8", errors="backslashreplace", newline="")  # noqa: PTH123
        place = self._final
        # A device or a pipe that the user names is written to, never replaced.
        if not line_by_line and (place.is_file() or not place.exists()):
            self._partial = place.with_name(f"{place.name[:100]}.{os.getpid()}.partial")
            place = self._partial
        return place.open("w", encoding="utf-8", errors="backslashreplace", newline="")

    def commit(self) -> None:
        """Make what was written final.

        Raises:
            EnvironmentProblemError: it could not be written to its end.
        """
        try:
            self.stream.close()
            if self._partial is not None:
                self._partial.replace(self._final)
                self._partial = None
        except BrokenPipeError:
            raise
        except OSError as error:
            raise write_problem(self.target, error) from error

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # the failure that led here is the one to report
            self.stream.close()
        if self._partial is not None:
            self._partial.unlink(missing_ok=True)


def write_problem(target: str, error: OSError | ValueError) -> MtqscoreError:
    """Say in one line why something cannot be written; a full or broken disk is the machine's fault."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    message = f"cannot write {target!r}: {text}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS):
        return EnvironmentProblemError(message)
    return UsageError(message)
