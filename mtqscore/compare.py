"""Two results side by side: is the new one better, by how much, and how sure is that."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mtqscore.results import Results
    from mtqscore.stats import Interval


class Change(StrEnum):
    """What an interval of a mean difference says."""

    BETTER = "better"
    WORSE = "worse"
    NOT_SIGNIFICANT = "not significant"
    UNKNOWN = "too few recordings to tell"


@dataclass(frozen=True)
class Difference:
    """How one score changed.

    Args:
        target: the score.
        base: mean of the base; over the pairs, when paired.
        new: mean of the new.
        mean: new minus base.
        interval: 95 % confidence interval of ``mean``; NaN at both ends when there are too few recordings.
        better: pairs whose score rose (by more than ``EVEN``); None when unpaired.
        worse: pairs whose score fell; None when unpaired.
        change: what the interval says.
        max_drop: the largest mean drop that is allowed; None without such a limit.
        failed: whether the drop is beyond ``max_drop`` with confidence.
    """

    target: str
    base: float
    new: float
    mean: float
    interval: Interval
    better: int | None
    worse: int | None
    change: Change
    max_drop: float | None = None
    failed: bool = False


@dataclass(frozen=True)
class Pair:
    """One recording in both results.

    Args:
        base_path: its name in the base.
        new_path: its name in the new.
        channel: as in both rows.
        base: scores in the base by target.
        new: scores in the new by target.
    """

    base_path: str
    new_path: str
    channel: str
    base: Mapping[str, float]
    new: Mapping[str, float]


@dataclass(frozen=True)
class Comparison:
    """Two results side by side.

    Args:
        base_source: where the base came from.
        new_source: where the new came from.
        base_model: its model, name@version.
        new_model: its model.
        paired: whether the same recordings were compared with each other.
        matched_by: how pairs were found, in words: ``path``, ``path below the common folder``, …; empty if unpaired.
        base_rows: scored rows of the base.
        new_rows: scored rows of the new.
        only_base: rows of the base without a partner, or whose partner has no score.
        only_new: rows of the new without a partner, or whose partner has no score.
        differences: one a target.
        pairs: every pair; empty when unpaired.
        losses: the pairs with the largest loss in any target, largest first, at most ten.
    """

    base_source: str
    new_source: str
    base_model: str
    new_model: str
    paired: bool
    matched_by: str
    base_rows: int
    new_rows: int
    only_base: int
    only_new: int
    differences: tuple[Difference, ...]
    pairs: tuple[Pair, ...]
    losses: tuple[Pair, ...]

    @property
    def passed(self) -> bool:
        """Whether no score dropped beyond its limit with confidence."""
        return not any(difference.failed for difference in self.differences)


@dataclass(frozen=True)
class CompareConfig:
    """How two results are compared.

    Args:
        max_drop: the largest mean drop allowed, by target.
        allow_other_model: compare results of different models all the same.
        unpaired: compare means only, even if the recordings have the same names.
        resamples: bootstrap resamples.
        seed: of the bootstrap.
    """

    max_drop: Mapping[str, float] | None = None
    allow_other_model: bool = False
    unpaired: bool = False
    resamples: int = 10_000
    seed: int = 0


def compare_results(base: Results, new: Results, config: CompareConfig | None = None) -> Comparison:
    """Compare two results.

    Raises:
        UsageError: the models differ and that is not allowed, a limit names an unknown score, or a side has no scores.
    """
    raise NotImplementedError
