"""Options of a pruning. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mtqscore.base.option import option
from mtqscore.config import MAX_THREADS
from mtqscore.errors import UsageError
from mtqscore.training.config import names_of

Budget = Literal["parameters", "time"]
Part = Literal["channels", "recurrent", "dense"]
PARTS: tuple[Part, ...] = ("channels", "recurrent", "dense")


@dataclass(frozen=True)
class PruneConfig:
    """Options of a pruning; see the help of each field.

    Raises:
        UsageError: a value is outside what is allowed.
    """

    keep: float = option(0.5, "Share that is left, between 0 and 1.", "--keep SHARE")
    of: Budget = option("parameters", "Of what: the size, or the time to score on this machine.", "--of")
    criterion: Literal["taylor", "magnitude"] = option(
        "taylor",
        "Importance of a unit: by the loss on recordings, or by the size of its weights, without recordings.",
        "--criterion",
    )
    parts: tuple[Part, ...] = option(PARTS, "What may be cut.", "--part NAMES", parse=names_of, shown=",".join(PARTS))
    rounds: int = option(3, "Cut in so many steps, and measure importance before each.", "--rounds N")
    recordings: int = option(
        256, "Recordings of train that importance is measured on, and of val that show the loss.", "--recordings N"
    )
    seed: int = option(0, "Chooses them.", "--seed N")
    threads: int = option(0, "Processor threads; 0 for all.", "--threads N")

    def __post_init__(self) -> None:
        if not 0 < self.keep < 1:
            raise UsageError(f"keep {self.keep:g} is not between 0 and 1")
        if not self.parts:
            raise UsageError(f"no part is named; choose of {', '.join(PARTS)}")
        if min(self.rounds, self.recordings) < 1 or self.seed < 0 or not 0 <= self.threads <= MAX_THREADS:
            raise UsageError(f"rounds and recordings are 1 or more, seed and threads 0 or more (at most {MAX_THREADS})")
