"""One list of recordings shared out among machines that do not communicate."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mtqscore.audio.inputs import Input
from mtqscore.errors import UsageError

AUTO = "auto"
MOST_SHARDS = 1_000_000


@dataclass(frozen=True)
class Shard:
    """The part of a list that one process scored; every row of its JSON Lines file names it.

    Args:
        number: of this part, from 1.
        count: parts that the list was cut into.
        recordings: different names in this part.
        all_recordings: different names in the whole list, by which missing parts are found.
    """

    number: int
    count: int
    recordings: int
    all_recordings: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def shard_number(path: str, count: int) -> int:
    """Number of the shard that a recording is in, from 1 to ``count``.

    The first 8 bytes of the SHA-256 of the name's bytes, as it was named, are a number, most significant byte first;
    its remainder by ``count`` is the shard. Neither the other recordings nor their order matter.

    Example:
        >>> shard_number("a.wav", 8), shard_number("./a.wav", 8)
        (5, 8)
    """
    digest = hashlib.sha256(os.fsencode(path)).digest()
    return int.from_bytes(digest[:8], "big") % count + 1


def parse_shard(text: str, environment: Mapping[str, str]) -> tuple[int, int]:
    """Read ``3/8``, or ``auto`` in a task of a SLURM job array: number of the shard, from 1, and count.

    Raises:
        UsageError: it is neither, or the environment does not hold it.
    """
    if text == AUTO:
        return _slurm_shard(environment)
    found = re.fullmatch(r"([0-9]{1,7})/([0-9]{1,7})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]) <= MOST_SHARDS:
        raise UsageError(f"--shard {text!r} is neither auto nor a part such as 3/8: from 1/8 to 8/8")
    return int(found[1]), int(found[2])


def _slurm_shard(environment: Mapping[str, str]) -> tuple[int, int]:
    found: dict[str, int] = {}
    for name, default in (("ID", ""), ("COUNT", ""), ("MIN", ""), ("STEP", "1")):
        variable = f"SLURM_ARRAY_TASK_{name}"
        text = environment.get(variable, default)
        if not re.fullmatch(r"[0-9]{1,9}", text):
            state = f"is {text!r}" if text else "is not set"
            raise UsageError(
                f"--shard auto needs a task of a SLURM job array, but {variable} {state}: give a part such as 3/8"
            )
        found[name] = int(text)
    place, rest = divmod(found["ID"] - found["MIN"], max(1, found["STEP"]))
    if rest or not 0 <= place < found["COUNT"] <= MOST_SHARDS:
        raise UsageError(
            f"--shard auto needs array tasks in even steps, but task {found['ID']} is one of {found['COUNT']} from "
            f"{found['MIN']}: give the part itself, such as --shard 3/8"
        )
    return place + 1, found["COUNT"]


def take_shard(inputs: Sequence[Input], number: int, count: int) -> tuple[list[Input], Shard]:
    """Choose the recordings of one shard of the whole list, in its order; there may be none."""
    chosen = [item for item in inputs if shard_number(item.path, count) == number]
    paths = {item.path for item in inputs}
    return chosen, Shard(number, count, len({item.path for item in chosen}), len(paths))
