"""Recordings by name: what an input is, what ends as a recording does, lists of names."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from mtqscore.base.libraries import load_library
from mtqscore.scores import Status

_ALIASES = {
    *("8svx", "aif", "aifc", "aiffc", "bwf", "fap", "iff", "ima", "ircam", "mat", "mp1", "mp2", "mpga", "nist"),
    *("oga", "opus", "sf", "snd", "sph", "spx", "svx", "wave", "wavex"),
}
_WITHOUT_HEADER = {"raw"}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class Stamp(NamedTuple):
    """State of a file, to compare its content with an earlier or a later one.

    Args:
        size_bytes: its size; None where it is not known.
        modified_ns: time of its last change, in nanoseconds since 1970; of a file with a tag in whole seconds, since
            stores round it in different ways.
        etag: tag of its content, where it is in a store that has one.
    """

    size_bytes: int | None = None
    modified_ns: int | None = None
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """One recording that is to be scored.

    Args:
        path: the file; bytes that are no text are surrogates, as ``os.fsdecode`` makes them.
        status: ``ok`` for a file that is to be read, else why there is none.
        reason: the fault in words.
        stamp: its state, where the search of a store gave it already.
    """

    path: str
    status: Status = Status.OK
    reason: str = ""
    stamp: Stamp | None = None


def is_remote(name: str) -> bool:
    """Check for a scheme, such as ``s3://``; a folder of this machine of that name is ``./s3:``."""
    return _SCHEME.match(name) is not None


@cache
def audio_extensions() -> frozenset[str]:
    """Extensions, lower case without dot, that a search of folders takes for recordings."""
    soundfile = load_library("soundfile")

    known = {name.lower() for name in soundfile.available_formats()}
    return frozenset((known | _ALIASES) - _WITHOUT_HEADER)


def is_audio_name(path: str) -> bool:
    """Check for a name that ends as recordings do."""
    return os.path.splitext(path)[1][1:].lower() in audio_extensions()


def read_list(content: bytes) -> list[str]:
    """Split a list of names: by zero bytes if there are any, else by lines.

    Args:
        content: what the list holds; names may be any bytes.

    Returns:
        The names in their order; empty ones are left out.

    Example:
        >>> read_list(b"a.wav\\nb c.wav\\n")
        ['a.wav', 'b c.wav']
    """
    content = content.removeprefix(b"\xef\xbb\xbf")
    parts = content.split(b"\0") if b"\0" in content else [line.removesuffix(b"\r") for line in content.split(b"\n")]
    return [os.fsdecode(part) for part in parts if part]
