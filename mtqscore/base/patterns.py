"""Patterns of recordings' names, as shells have them: ``*``, ``?`` and ``[…]`` within a folder, ``**`` across."""

from __future__ import annotations

import re
from fnmatch import translate
from functools import lru_cache

from mtqscore.errors import UsageError

_Part = re.Pattern[str] | None
"""The pattern of one folder or file; None for ``**``, any number of folders."""


def matches(pattern: str, path: str | None) -> bool:
    r"""Check whether a pattern matches a name, or the end of one from where a folder or the file begins.

    A pattern that begins with ``/`` matches whole names only; one that ends with it, all that the folder holds.
    A backslash is a slash, in names and in patterns, so that results of any system are treated alike.

    Args:
        pattern: the pattern.
        path: the name; an array has none, and no pattern matches it.

    Raises:
        UsageError: the pattern is empty, or holds a range that runs backwards.

    Example:
        >>> matches("clean/**", "/data/clean/a/b.wav"), matches("*.flac", "x/y.flac"), matches("clean/*", "unclean/a")
        (True, True, False)
    """
    parts = _parts(pattern)
    if path is None:
        return False
    names = _folders(path)
    # Every number of names that the parts so far may take: the time is that of parts times names, whatever the pattern.
    taken = {0}
    for part in parts:
        if part is None:
            taken = set(range(min(taken), len(names) + 1))
        else:
            taken = {count + 1 for count in taken if count < len(names) and part.match(names[count])}
        if not taken:
            return False
    return len(names) in taken


def _folders(text: str) -> list[str]:
    return re.sub("/+", "/", text.replace("\\", "/")).split("/")


@lru_cache(maxsize=256)
def _parts(pattern: str) -> tuple[_Part, ...]:
    folders = _folders(re.sub(r"^\.[/\\]+", "", pattern))
    if not any(folders):
        raise UsageError(f"pattern {pattern!r} matches nothing; write one such as 'street/**' or '*.flac'")
    if folders[0]:
        folders.insert(0, "**")
    if folders[-1] in ("", "**"):
        folders[-1:] = ["**", "*"]
    # Shells negate brackets with ^ as with !.
    regexes = [None if folder == "**" else translate(re.sub(r"(?<!\[)\[\^", "[!", folder)) for folder in folders]
    if any(regex is not None and "(?!)" in regex for regex in regexes):  # stands for no character at all
        raise UsageError(f"pattern {pattern!r}: a range in brackets runs backwards")
    return tuple(None if regex is None else re.compile(regex) for regex in regexes)
