"""From what a user names (files, folders, patterns, lists) to recordings in a fixed order."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from mtqscore.errors import UsageError
from mtqscore.libraries import load_library
from mtqscore.scores import Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_ALIASES = [
    "8svx",
    "aif",
    "aifc",
    "aiffc",
    "bwf",
    "fap",
    "iff",
    "ima",
    "ircam",
    "mat",
    "mp1",
    "mp2",
    "mpga",
    "nist",
    "oga",
    "opus",
    "sf",
    "snd",
    "sph",
    "spx",
    "svx",
    "wave",
    "wavex",
]
_WITHOUT_HEADER = {"raw"}
MAX_SHOWN_NAMES = 5
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(frozen=True)
class Input:
    """One row to come.

    Args:
        path: the file; bytes that are no text are surrogates, as ``os.fsdecode`` makes them.
        status: ``ok`` for a file that is to be read, else why there is none.
        reason: the fault in words.
        stamp: size in bytes and time of change in nanoseconds, where the search of a store told them already.
    """

    path: str
    status: Status = Status.OK
    reason: str = ""
    stamp: tuple[int, int] | None = None


def is_remote(name: str) -> bool:
    """Tell whether a name has a scheme, such as ``s3://``; a folder of this machine of that name is ``./s3:``."""
    return _SCHEME.match(name) is not None


@cache
def audio_extensions() -> frozenset[str]:
    """Extensions, lower case without dot, that a search of folders takes for recordings."""
    soundfile = load_library("soundfile")

    known = {name.lower() for name in soundfile.available_formats()}
    return frozenset((known | set(_ALIASES)) - _WITHOUT_HEADER)


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


def find_inputs(names: Sequence[str]) -> list[Input]:
    """Expand what was named, in the order in which it was named.

    A name that exists is taken as it stands, even if it looks like a pattern. Folders are searched to any
    depth, each real folder once, hidden entries left out, in the order of names. Matches are sorted.

    Args:
        names: files, folders and patterns (``*``, ``?``, ``[...]``, ``**`` for any depth), here or in a store.

    Returns:
        One input for every row of the result; also for what holds nothing or cannot be searched.

    Raises:
        UsageError: nothing at all was named or matched.
        EnvironmentProblemError: a store does not answer, or its library is missing.

    Example:
        >>> from mtqscore.conformance.known import CLIPS_FOLDER
        >>> [os.path.basename(item.path) for item in find_inputs([f"{CLIPS_FOLDER}/clean-[12].*"])]
        ['clean-1.flac', 'clean-2.flac']
    """
    inputs: list[Input] = []
    matched = False
    for name in names:
        found = list(_expand(name))
        matched |= any(item.status is not Status.NO_AUDIO for item in found)
        inputs += found or [Input(name, Status.NOT_FOUND, "no such file, and as a pattern it matches nothing")]
    if not matched:
        shown = ", ".join(repr(name) for name in names[:MAX_SHOWN_NAMES])
        more = f" and {len(names) - MAX_SHOWN_NAMES} more" if len(names) > MAX_SHOWN_NAMES else ""
        raise UsageError(f"no recordings in {shown}{more}" if names else "nothing to score was named")
    return inputs


def _expand(name: str) -> Iterator[Input]:
    if is_remote(name):
        from mtqscore.remote import find_remote

        yield from find_remote(name)
    elif os.path.isdir(name):
        found = list(_search(name))
        yield from found or [Input(name, Status.NO_AUDIO, "no recording in this folder")]
    elif os.path.lexists(name) or not glob.has_magic(name):
        yield Input(name)
    else:
        yield from dict.fromkeys(_match(name))


def _match(pattern: str) -> Iterator[Input]:
    last = os.path.basename(pattern)
    # A pattern that spells an extension means it; `*` alone in a folder of sound and text means the sound.
    asked_for = not glob.has_magic(os.path.splitext(last)[1] or "*")
    for path in sorted(glob.glob(pattern, recursive=True)):
        if os.path.isdir(path):
            if last != "**":
                yield from _search(path)
        elif asked_for or is_audio_name(path):
            yield Input(path)


def _search(folder: str) -> Iterator[Input]:
    """Yield the recordings below a folder; a link back to a folder already searched is not followed again."""
    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        if path != folder and not os.path.isdir(path):
            yield Input(path)
            continue
        try:
            status = os.stat(path)
            identity = (status.st_dev, status.st_ino)
            if identity in seen and identity != (0, 0):
                continue
            seen.add(identity)
            with os.scandir(path) as entries:
                names = sorted((entry.name, _is_folder(entry)) for entry in entries if entry.name[0] != ".")
        except PermissionError:
            yield Input(path, Status.NO_PERMISSION, "no permission to search this folder")
            continue
        except OSError as error:
            yield Input(path, Status.UNREADABLE, f"cannot search this folder: {error.strerror or error}")
            continue
        wanted = [entry for entry, is_folder in names if is_folder or is_audio_name(entry)]
        waiting += [os.path.join(path, entry) for entry in reversed(wanted)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def is_audio_name(path: str) -> bool:
    """Tell whether a name ends as recordings do."""
    return os.path.splitext(path)[1][1:].lower() in audio_extensions()
