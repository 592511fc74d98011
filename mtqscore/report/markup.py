"""Markdown that names cannot break, nor turn into HTML, links or mentions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mtqscore.base.text import TITLES, printable


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already; empty without rows."""
    body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(titles)} |", "|---" * len(titles) + "|", *body]) if body else ""


def name(path: str | None, channel: str) -> str:
    """A recording, or a channel of it."""
    shown = "(array)" if path is None else code(path)
    return shown if channel in ("", "mean") else f"{shown}, channel {plain(channel)}"


def title(target: str) -> str:
    """A score as readers know it."""
    return TITLES.get(target, plain(target))


def code(text: str) -> str:
    """Text as code, in which no mark is one and nobody is called; one line, and no end of a cell.

    Example:
        >>> code("rec/a_b.wav"), code("a|b.wav")
        ('`rec/a_b.wav`', '<code>a&#124;b.wav</code>')
    """
    text = printable(text)
    if text and text == text.strip() and not set(text) & set("`|\\"):
        return f"`{text}`"
    return f"<code>{plain(text)}</code>"


_MARKS = re.compile(r"[^\w\s,;.%/()=+'−–·-]|_|(?<=www)\.", re.IGNORECASE)


def plain(text: str) -> str:
    """Text that shows as it is: whatever could be a mark is a character reference, and no @ or # stands by itself.

    Example:
        >>> plain("**@all** <b>")
        '&#42;&#42;&#64;<!-- -->all&#42;&#42; &#60;b&#62;'
    """
    marked = _MARKS.sub(lambda found: f"&#{ord(found[0])};", printable(text))
    # GitHub looks for people and issues after it has read the references, but not across a comment.
    return re.sub("&#(64|35);", r"&#\1;<!-- -->", marked)
