"""Search for the unpacked data of a named corpus on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mtqscore.errors import EnvironmentProblemError
from mtqscore.models.registry import own_folder

DATA_VARIABLE = "MTQSCORE_DATA"


def candidates(root: Path | None, names: Sequence[str]) -> Iterator[Path]:
    """Yield the folders in which a corpus may lie, the likeliest first.

    Args:
        root: what the user named, the folder itself or one above it; then nothing else counts. If None,
            ``MTQSCORE_DATA``; without it the working folder, ``data`` in it, and ``corpora`` in the user's own
            folder of mtqscore.
        names: what the folder may be called.
    """
    if root is not None:
        roots = [root]
    elif os.environ.get(DATA_VARIABLE):
        roots = [Path(os.environ[DATA_VARIABLE])]
    else:
        roots = [Path(), Path("data"), own_folder() / "corpora"]
    for place in roots:
        # A zip unpacked into a folder of the same name is in one of these two.
        inner = [place / name for name in names]
        yield from (place, *inner, *(folder / name for folder in inner for name in names))


def find_data(root: Path | None, names: Sequence[str], fits: Callable[[Path], bool], where_to_get: str) -> Path:
    """Find the folder of a corpus.

    Args:
        root: what the user named; see `candidates`.
        names: what the folder may be called, its usual name first.
        fits: whether a folder holds the corpus.
        where_to_get: the end of the message when it is nowhere.

    Raises:
        EnvironmentProblemError: it is nowhere; the message says where it can be got and what to put where.
    """
    for folder in candidates(root, names):
        if fits(folder):
            return folder
    place = root or os.environ.get(DATA_VARIABLE) or f"this folder, ./data or {own_folder() / 'corpora'}"
    raise EnvironmentProblemError(
        f"{names[0]} is not in {place}: {where_to_get}, and name the folder with --data-root DIR or {DATA_VARIABLE}"
    )
