"""From what a user names (files, folders, patterns) to recordings in a fixed order."""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING

from mtqscore.audio.inputs import Input, is_audio_name, is_remote
from mtqscore.errors import UsageError
from mtqscore.scores import Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_SHOWN_NAMES = 5


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
        >>> from mtqscore.diagnostics.conformance.known import CLIPS_FOLDER
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
        from mtqscore.audio.remote import find_remote

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
