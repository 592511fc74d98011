"""Work that is done, kept line by line, so that an interrupted run goes on where it ended."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TextIO

from mtqscore.base.files import replacing


class Journal(Mapping[str, Any]):
    """A JSON Lines file of values by key, which only grows.

    The first line is ``{"fingerprint": …}``, every other ``{"key": …, "value": …}``; of several with one key the last
    counts. A line that is damaged or half written counts as not there. Several processes may append at once.

    Use it in a ``with`` statement if you add to it: it holds the file open.

    Args:
        path: the file; it need not exist, nor its folder, and one that cannot be read is empty.
        fingerprint: of all that the values depend on; the content of a file with another one is dropped at the first
            `add`.

    Example:
        >>> with Journal(folder / "done.jsonl", "model 1") as journal:
        ...     journal.add("a.wav", [3.5, 4.0])
        >>> dict(Journal(folder / "done.jsonl", "model 1"))
        {'a.wav': [3.5, 4.0]}
        >>> dict(Journal(folder / "done.jsonl", "model 2"))
        {}
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path = path
        self.fingerprint = fingerprint
        self._values: dict[str, Any] = {}
        self._stream: TextIO | None = None
        try:
            lines = path.read_bytes().splitlines(keepends=True)
        except OSError:
            lines = []
        first, *others = [_parsed(line) for line in lines] or [{}]
        self._is_ours = first.get("fingerprint") == fingerprint
        self._ends_whole = not lines or lines[-1].endswith(b"\n")
        if self._is_ours:
            self._values = {str(line["key"]): line["value"] for line in others if {"key", "value"} <= line.keys()}

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def open(self) -> TextIO:
        """Make the file and its folder and open it for `add`, which does so by itself at its first call.

        Raises:
            OSError: nothing can be written there.
        """
        if self._stream is not None:
            return self._stream
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not (self._is_ours and self.path.exists()):
            with replacing(self.path) as partial:
                partial.write_text(json.dumps({"fingerprint": self.fingerprint}) + "\n", encoding="ascii")
            self._is_ours = self._ends_whole = True
        self._stream = self.path.open("a", encoding="ascii", newline="\n")
        if not self._ends_whole:
            self._stream.write("\n")
            self._ends_whole = True
        return self._stream

    def add(self, key: str, value: Any) -> None:
        """Keep a value, safe from the end of this process when the call returns.

        Raises:
            OSError: it cannot be written.
        """
        stream = self.open()
        stream.write(json.dumps({"key": key, "value": value}) + "\n")
        stream.flush()
        self._values[key] = value

    def delete(self) -> None:
        """Remove the file, when the work that it kept has come to its end."""
        self.__exit__()
        self.path.unlink(missing_ok=True)
        self._values, self._is_ours = {}, False


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
