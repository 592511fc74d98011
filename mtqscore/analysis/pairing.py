"""Pairs of the same recording in two results: by name, first as it stands, then in looser ways."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mtqscore.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mtqscore.results.run import Results
    from mtqscore.scores import Assessment

LONGEST_NAME = 120
"""Characters of a name that a message shows."""


@dataclass(frozen=True)
class Pairing:
    """Rows that belong together.

    Args:
        matched_by: how they were found, in words; empty if none were.
        pairs: positions in the rows of the base and of the new, in the order of the base.
    """

    matched_by: str
    pairs: tuple[tuple[int, int], ...]


def pair_rows(base: Results, new: Results) -> Pairing:
    """Pair the rows of two results by the name of the recording and the channel.

    Names are compared as they stand, below the common folder of each side, and so without extension. The way that pairs
    most is taken, the first of equals. A name that stands several times on a side is paired in order, if the other side
    has it as often. Arrays have no name and no partner.

    Args:
        base: one result.
        new: the other.

    Raises:
        UsageError: a name does not tell which rows belong together.
    """
    ways = (
        ("path", _names),
        ("path below the common folder", _names_below),
        ("path below the common folder, without extension", _names_without_extension),
    )
    smaller = min(sum(row.path is not None for row in side.rows) for side in (base, new))
    best = _Match("", (), None)
    for words, names in ways:
        match = _match(words, base, new, names)
        if len(match.pairs) > len(best.pairs) or (match.unclear and not best.pairs and not best.unclear):
            best = match
        if len(best.pairs) == smaller:
            break
    if best.unclear is not None:
        raise UsageError(
            f"it cannot be told which recordings belong together: {best.unclear} in {base.source!r} and "
            f"{new.source!r}; give each name once on each side, or use mtqscore compare --unpaired"
        )
    return Pairing(best.matched_by if best.pairs else "", tuple(sorted(best.pairs)))


_Key = tuple[str, str]
"""A name and a channel."""


@dataclass(frozen=True)
class _Match:
    """Pairs that one way finds, and the first name that it leaves unclear."""

    matched_by: str
    pairs: Sequence[tuple[int, int]]
    unclear: str | None


_Groups = dict[_Key, list[int]]
"""Positions of the rows of each key."""


def _grouped(rows: Sequence[Assessment], names: Iterable[str | None]) -> _Groups:
    groups: _Groups = {}
    for position, (row, name) in enumerate(zip(rows, names, strict=True)):
        if name is not None:
            groups.setdefault((name, row.channel), []).append(position)
    return groups


def _match(
    words: str, base: Results, new: Results, names: Callable[[Sequence[Assessment]], list[str | None]]
) -> _Match:
    pairs: list[tuple[int, int]] = []
    unclear = None
    others = _grouped(new.rows, names(new.rows))
    for key, here in _grouped(base.rows, names(base.rows)).items():
        there = others.get(key)
        if there is None:
            continue
        if len(here) == len(there) == 1 or (
            len(here) == len(there) and _are_one(base.rows, here) and _are_one(new.rows, there)
        ):
            pairs += zip(here, there, strict=True)
        elif unclear is None:
            name = key[0] if len(key[0]) <= LONGEST_NAME else f"{key[0][:LONGEST_NAME]}…"
            unclear = f"{name!r} stands {len(here)} and {len(there)} times by its {words}"
    return _Match(words, pairs, unclear)


def _are_one(rows: Sequence[Assessment], positions: Iterable[int]) -> bool:
    """Check that rows of one key are one recording that was named again, not several that look alike."""
    return len({rows[position].path for position in positions}) == 1


# --- names, as one way or another compares them ---------------------------------------------------------------


def _names(rows: Sequence[Assessment]) -> list[str | None]:
    return [row.path for row in rows]


def _names_below(rows: Sequence[Assessment]) -> list[str | None]:
    """Names below the deepest folder that all rows have in common; a result of Windows is one of any system."""
    parts = [None if row.path is None else posixpath.normpath(row.path.replace("\\", "/")).split("/") for row in rows]
    folders = [item[:-1] for item in parts if item is not None]
    if not folders:
        return [None] * len(rows)
    # What the first and the last of an order have in common, all between them have too.
    first, last = min(folders), max(folders)
    shared = 0
    while shared < min(len(first), len(last)) and first[shared] == last[shared]:
        shared += 1
    return [None if item is None else "/".join(item[shared:]) for item in parts]


def _names_without_extension(rows: Sequence[Assessment]) -> list[str | None]:
    return [None if name is None else posixpath.splitext(name)[0] for name in _names_below(rows)]
