"""Results of many machines as one: nothing twice, nothing missing without a word."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from mtqscore.errors import UsageError
from mtqscore.results.run import Results
from mtqscore.results.shards import shard_number
from mtqscore.scores import Assessment

MOST_SHOWN = 3
"""Names that a message shows before it counts the rest."""


@dataclass(frozen=True)
class Merged:
    """Several results as one.

    Args:
        results: every row once, in order.
        repeated: rows that stood in more than one place, all the same, and were dropped.
        gaps: what is missing, a line each; none if everything is there.
    """

    results: Results
    repeated: int
    gaps: tuple[str, ...]


def merge_results(parts: Sequence[Results], paths: Sequence[str] | None = None) -> Merged:
    """Join results of one model and one way of mixing channels.

    Args:
        parts: results, some of which may have no rows.
        paths: the recordings that all parts together should hold, in the order of the result. None: no more is
            known of the whole list than shards hold, and rows are put in the order in which a folder is searched:
            by the names of its folders and files, as text.

    Raises:
        UsageError: the parts do not belong together, or differ on one recording.
    """
    filled = [part for part in parts if part.rows]
    if not filled:
        raise UsageError("there are no rows to merge")
    _check_alike(filled)
    rows, repeated = _gather(filled)
    gaps = [*_missing_channels(rows), *_missing_shards(parts, rows)]
    if paths is None:
        order: Iterable[str] = sorted(rows, key=lambda path: path.replace(os.sep, "/").split("/"))
    else:
        order = [path for path in paths if path in rows]
        gaps += _named("not scored in any part", [path for path in dict.fromkeys(paths) if path not in rows])
        named = set(paths)
        if strange := [path for path in rows if path not in named]:
            raise UsageError(_named("rows of recordings that are not named", strange)[0])
    first = filled[0].run
    options = {part.run.options for part in filled}
    run = replace(
        first,
        model_sha256=max(part.run.model_sha256 for part in filled),
        options=options.pop() if len(options) == 1 else None,
        frames=any(part.run.frames for part in filled),
        shard=None,
    )
    ordered = tuple(row for path in order for row in rows[path].values())
    return Merged(Results("the parts", run, ordered), repeated, tuple(gaps))


def _check_alike(parts: Sequence[Results]) -> None:
    """Refuse parts that were made in different ways; what a format does not hold is not held against it."""
    facts: dict[str, Callable[[Assessment], str]] = {
        "by different models": lambda row: row.model,
        "by different files of one model": lambda row: row.model_sha256[:8],
        "with different precision": lambda row: row.precision or "",
        "with channels mixed here, and each on its own there": lambda row: (
            "" if not row.ok else "mean" if row.channel == "mean" else "channels"
        ),
    }
    for fault, fact in facts.items():
        seen: dict[str, str] = {}
        for part in parts:
            for value in {fact(row) for row in part.rows} - {""}:
                seen.setdefault(value, part.source)
        if len(seen) > 1:
            (one, here), (other, there) = list(seen.items())[:2]
            raise UsageError(f"{here!r} and {there!r} were scored {fault}: {one} and {other}")
    if len({part.run.targets for part in parts}) > 1:
        raise UsageError("the parts hold different scores")
    counts = {shard.count: part.source for part in parts for shard in part.shards}
    if len(counts) > 1:
        (few, here), *_, (many, there) = sorted(counts.items())
        raise UsageError(f"{here!r} is one of {few} shards, {there!r} one of {many}: shards of one list have one N")


def _gather(parts: Iterable[Results]) -> tuple[dict[str, dict[str, Assessment]], int]:
    """Rows by path and channel, and how many stood there more than once."""
    rows: dict[str, dict[str, Assessment]] = {}
    sources: dict[str, str] = {}
    repeated = 0
    for part in parts:
        for row in part.rows:
            if row.path is None:
                raise UsageError(
                    f"{part.source!r} has a row without a path, of an array: there is nothing to merge it by"
                )
            known = rows.setdefault(row.path, {})
            if row.channel not in known:
                known[row.channel] = row
                sources.setdefault(row.path, part.source)
                continue
            if _content(row) != _content(known[row.channel]):
                raise UsageError(
                    f"{sources[row.path]!r} and {part.source!r} hold different rows of {row.path!r}: leave one out, "
                    "or finish what was interrupted with --resume"
                )
            repeated += 1
    return rows, repeated


def _content(row: Assessment) -> Assessment:
    """Common part of two rows of one recording; the same scores may come from different processors."""
    return replace(row, provider="", options=None, frames=None)


def _missing_channels(rows: dict[str, dict[str, Assessment]]) -> Iterator[str]:
    """Recordings some of whose channels were scored and others not, unless one channel is all that was asked for."""
    scored = {path: channels for path, channels in rows.items() if any(row.ok for row in channels.values())}
    asked_for = Counter(channel for channels in scored.values() for channel in channels)
    if len(asked_for) == 1:
        return
    short = [
        path
        for path, channels in scored.items()
        if len(channels) < max(row.channel_count or 0 for row in channels.values())
    ]
    yield from _named("without some of its channels", short)


def _missing_shards(parts: Sequence[Results], rows: Iterable[str]) -> Iterator[str]:
    """Gaps that the shards at hand show in the whole list."""
    shards = [shard for part in parts for shard in part.shards]
    if not shards:
        return
    count = shards[0].count
    if len({shard.all_recordings for shard in shards}) > 1:
        sizes = sorted({shard.all_recordings for shard in shards})
        yield f"the shards were cut from different lists, of {sizes[0]:,} and of {sizes[-1]:,} recordings"
    found = Counter(shard_number(path, count) for path in rows)
    known = {shard.number: shard for shard in shards}
    for number, shard in sorted(known.items()):
        if found[number] < shard.recordings:
            yield f"shard {shard} has {found[number]:,} of its {shard.recordings:,} recordings: finish it with --resume"
    lacking = [number for number in range(1, count + 1) if number not in known]
    missing = shards[0].all_recordings - sum(shard.recordings for shard in known.values())
    missing -= sum(found[number] for number in lacking)
    # A shard without recordings leaves a file without lines, which cannot hold its number.
    empty = sum(not part.rows and not part.shards for part in parts)
    if missing > 0:
        names = ", ".join(f"{number}/{count}" for number in lacking[:MOST_SHOWN])
        more = f" and {len(lacking) - MOST_SHOWN} more" if len(lacking) > MOST_SHOWN else ""
        more += f" ({empty} of these are empty parts)" if empty else ""
        yield f"no rows of shard {names}{more}: {missing:,} of {shards[0].all_recordings:,} recordings are missing"


def _named(what: str, paths: Sequence[str]) -> list[str]:
    if not paths:
        return []
    more = f" and {len(paths) - MOST_SHOWN:,} more" if len(paths) > MOST_SHOWN else ""
    return [f"{what}: {', '.join(map(repr, paths[:MOST_SHOWN]))}{more}"]
