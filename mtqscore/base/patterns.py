"""Patterns of recordings' names, as shells have them: ``*``, ``?`` and ``[…]`` within a folder, ``**`` across."""

from __future__ import annotations

import re
from functools import lru_cache

from mtqscore.errors import UsageError

_ANY_FOLDERS = "(?:[^/]*/)*"


def matches(pattern: str, path: str | None) -> bool:
    r"""Tell whether a pattern matches a name, or the end of one from where a folder or the file begins.

    A pattern that begins with ``/`` matches whole names only; one that ends with it, all that the folder holds.
    A backslash is a slash, in names and in patterns, so that results of any system are judged alike.

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
    return path is not None and compiled.fullmatch(_with_single_slashes(path)) is not None


def _with_single_slashes(text: str) -> str:
    text = text.replace("\\", "/")
    return re.sub("/+", "/", text) if "//" in text else text


@lru_cache(maxsize=256)
def _compile(pattern: str) -> re.Pattern[str]:
    text = _with_single_slashes(pattern).removeprefix("./")
    segments = [segment for segment in text.split("/") if segment]
    if not segments:
        raise UsageError(f"pattern {pattern!r} matches nothing; write one such as 'street/**' or '*.flac'")
    whole = text.startswith("/")
    segments = [*([] if whole else ["**"]), *segments, *(["**"] if text.endswith("/") else [])]
    runs: list[list[str]] = [[]]
    for segment in segments:
        if segment == "**":
            runs.append([])
        else:
            runs[-1].append(_segment(segment))
    first, *others = ["".join(f"{part}/" for part in run) for run in runs]
    # The first place where a run fits is as good as any, and to look for no other keeps long names quick to judge.
    middle = [f"(?>{_ANY_FOLDERS}?{run})" for run in others[:-1] if run]
    last = "/".join(runs[-1])
    if others:
        last = f"{_ANY_FOLDERS}{last}" if last else ".+"
    else:
        first = ""
    try:
        return re.compile(("/" if whole else "") + first + "".join(middle) + last, re.DOTALL)
    except re.error as error:
        raise UsageError(f"pattern {pattern!r}: a range in brackets runs backwards") from error


def _segment(text: str) -> str:
    """What stands between two slashes, as a regular expression; a bracket that nothing closes is itself."""
    tokens = re.findall(r"\[[!^]?\]?[^\]]+\]|\[[!^]?\]\]|\*+|.", text, re.DOTALL)
    chunks = [""]
    for token in tokens:
        if token[0] == "*":
            chunks.append("")
        elif token == "?":
            chunks[-1] += "[^/]"
        else:
            chunks[-1] += re.escape(token) if len(token) == 1 else _choice(token[1:-1])
    if len(chunks) == 1:
        return chunks[0]
    first, *middle, last = chunks
    return first + "".join(f"(?>[^/]*?{chunk})" for chunk in middle) + f"[^/]*{last}"


def _choice(body: str) -> str:
    """What stands in brackets, as a regular expression for one character that is no slash."""
    negated = len(body) > 1 and body[0] in "!^"
    parts = re.findall("(.)-(.)|(.)", body[negated:], re.DOTALL)
    inner = "".join(f"{re.escape(low)}-{re.escape(high)}" if low else re.escape(one) for low, high, one in parts)
    return f"(?!/)[{'^' if negated else ''}{inner}]"
