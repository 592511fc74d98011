"""Patterns of recordings' names, as shells have them: ``*``, ``?`` and ``[…]`` within a folder, ``**`` across."""

from __future__ import annotations

import re
from functools import lru_cache

from wcmatch import glob

from mtqscore.errors import UsageError


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
    compiled = _compile(pattern)
    return path is not None and compiled.fullmatch(_normalised(path)) is not None


def _normalised(text: str) -> str:
    text = re.sub("/+", "/", text.replace("\\", "/"))
    # For wcmatch, * and ** pass over folders named . and .. but not over others with dots.
    return re.sub(r"(?<![^/])\.\.?(?![^/])", "...", text)


@lru_cache(maxsize=256)
def _compile(pattern: str) -> re.Pattern[str]:
    text = _normalised(re.sub(r"^\.[/\\]+", "", pattern))
    if not text.strip("/"):
        raise UsageError(f"pattern {pattern!r} matches nothing; write one such as 'street/**' or '*.flac'")
    text = ("" if text.startswith("/") else "**/") + text + ("**" if text.endswith("/") else "")
    ((regex,), _) = glob.translate(text, flags=glob.GLOBSTAR | glob.DOTGLOB | glob.FORCEUNIX | glob.CASE)
    if "(?!)" in regex:  # stands for no character at all
        raise UsageError(f"pattern {pattern!r}: a range in brackets runs backwards")
    return re.compile(regex)
