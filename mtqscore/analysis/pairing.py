"""Pairs of the same recording in two results: by name, first as it stands, then in looser ways."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence

from mtqscore.errors import UsageError
from mtqscore.results.run import Results
from mtqscore.scores import Assessment

LONGEST_NAME = 120
"""Characters of a name that a message shows."""


Pairs = list[tuple[int, int]]
"""Positions in the rows of the base and of the new, in the order of the base."""


def pair_rows(base: Results, new: Results) -> tuple[str, Pairs]:
    """Pair the rows of two results by the name of the recording and the channel; return the way in words, and pairs.

    Names are compared as they stand, below the common folder of each side, and so without extension. The way that pairs
    most is taken, the first of equals. A name that stands several times on a side is paired in order, if the other side
    has it as often. Arrays have no name and no partner.

    Raises:
        UsageError: a name leaves open which rows belong together.
    """
    ways: dict[str, Callable[[Sequence[Assessment]], list[str | None]]] = {
        "path": lambda rows: [row.path for row in rows],
        "path below the common folder": _names_below,
        "path below the common folder, without extension": _names_without_extension,
    }
    smaller = min(sum(row.path is not None for row in side.rows) for side in (base, new))
    way, pairs, unclear = "", Pairs(), ""
    for words, names in ways.items():
        found, problem = _pair_by(_grouped(base.rows, names), _grouped(new.rows, names), base, new)
        if len(found) > len(pairs) or (problem and not pairs and not unclear):
            way, pairs, unclear = words, found, problem
        if len(pairs) == smaller:
            break
    if unclear:
        raise UsageError(
            f"it cannot be told which recordings belong together: {unclear} by its {way} in {base.source!r} and "
            f"{new.source!r}; give each name once on each side, or use mtqscore compare --unpaired"
        )
    return way, pairs


_Groups = dict[tuple[str, str], list[int]]
"""Positions of the rows of each name and channel."""


def _grouped(rows: Sequence[Assessment], names: Callable[[Sequence[Assessment]], list[str | None]]) -> _Groups:
    groups: _Groups = {}
    for position, (row, name) in enumerate(zip(rows, names(rows), strict=True)):
        if name is not None:
            groups.setdefault((name, row.channel), []).append(position)
    return groups


def _pair_by(ours: _Groups, theirs: _Groups, base: Results, new: Results) -> tuple[Pairs, str]:
    """Pair rows of one key; also name the first that leaves open which rows belong together."""
    pairs, unclear = Pairs(), ""
    for key, here in ours.items():
        if (there := theirs.get(key)) is None:
            continue
        # Several rows of one key pair in order where they are one recording that was named again.
        names = [{side.rows[place].path for place in places} for side, places in ((base, here), (new, there))]
        if len(here) == len(there) and all(len(of_side) == 1 for of_side in names):
            pairs += zip(here, there, strict=True)
        elif not unclear:
            name = key[0] if len(key[0]) <= LONGEST_NAME else f"{key[0][:LONGEST_NAME]}…"
            unclear = f"{name!r} stands {len(here)} and {len(there)} times"
    return sorted(pairs), unclear


def _names_below(rows: Sequence[Assessment]) -> list[str | None]:
    """Give names below the deepest folder that all rows have in common; a result of Windows is one of any system."""
    parts = [None if row.path is None else posixpath.normpath(row.path.replace("\\", "/")).split("/") for row in rows]
    folders = [item[:-1] for item in parts if item is not None]
    if not folders:
        return [None] * len(rows)
    # Parts that the first and the last of an order have in common, all between them have too.
    first, last = min(folders), max(folders)
    shared = 0
    while shared < min(len(first), len(last)) and first[shared] == last[shared]:
        shared += 1
    return [None if item is None else "/".join(item[shared:]) for item in parts]


def _names_without_extension(rows: Sequence[Assessment]) -> list[str | None]:
    return [None if name is None else posixpath.splitext(name)[0] for name in _names_below(rows)]
