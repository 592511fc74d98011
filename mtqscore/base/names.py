r"""Names of files as text that any reader takes, and back without loss.

A file's name may hold bytes that are no UTF-8; Python keeps them as lone surrogates, which no text file and no Parquet
column can hold. They stand as ``\udcNN``, a zero byte as ``\u0000``. Where a name itself holds such six characters, its
backslash stands as ``\u005c``. No other name changes.
"""

from __future__ import annotations

import re

_HOLDS = re.compile(r"[\ud800-\udfff\0]|\\(?=u(?:d[89a-f][0-9a-f]{2}|0000|005c))")
_STANDS = re.compile(r"\\u(d[89a-f][0-9a-f]{2}|0000|005c)")


def as_text(name: str) -> str:
    r"""Write a name as text without lone surrogates and zero bytes.

    Example:
        >>> as_text("a\udcff.wav")
        'a\\udcff.wav'
    """
    return _HOLDS.sub(lambda found: f"\\u{ord(found[0]):04x}", name)


def from_text(text: str) -> str:
    r"""Undo `as_text`.

    Example:
        >>> from_text("a\\udcff.wav") == "a\udcff.wav"
        True
    """
    return _STANDS.sub(lambda found: chr(int(found[1], 16)), text)
