"""Comparison of two results: mean differences with intervals, and limits of a drop."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from mtqscore.analysis.gate_grammar import find_target
from mtqscore.analysis.means import Interval, mean_intervals
from mtqscore.analysis.pairing import pair_rows
from mtqscore.errors import UsageError
from mtqscore.results.run import Results, Run
from mtqscore.scores import named_scores
from mtqscore.targets import DECIMALS, MOS_HIGH, MOS_LOW

EVEN = 0.05
"""A recording whose score moved by no more than this is neither better nor worse: such a move does not show when
scores are given to one decimal, as listening tests give them."""

SHOWN = 10
"""So many losses, and so many recordings without a partner, are named."""


class Change(StrEnum):
    """Reading of the interval of a mean difference."""

    BETTER = "better"
    WORSE = "worse"
    NOT_SIGNIFICANT = "not significant"
    UNKNOWN = "too few recordings to tell"


@dataclass(frozen=True)
class Difference:
    """Change of one score.

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
        failed: whether the drop is beyond ``max_drop`` with confidence; never when it cannot be told.
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
    """One recording in both results: its name in each, its channel, and its scores by target."""

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
        only_base: scored rows of the base without a partner, or whose partner has no score; 0 when unpaired.
        only_new: the same of the new.
        differences: one a target.
        pairs: every pair; empty when unpaired.
        losses: the pairs that fell most in any target, by more than ``EVEN``, largest loss first, at most ten.
        base_unscored: rows of the base without scores.
        new_unscored: rows of the new without scores.
        missing: names of rows that ``only_base`` counts, at most ten.
        notes: what else a reader should know, in sentences.
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
    base_unscored: int = 0
    new_unscored: int = 0
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """True if every score keeps to its limit."""
        return not any(difference.failed for difference in self.differences)


@dataclass(frozen=True)
class CompareConfig:
    """Options of a comparison.

    Args:
        max_drop: the largest mean drop allowed, by score, named as users do (``g``, ``g_mos``).
        allow_other_model: compare results of different models all the same.
        unpaired: compare means only, even if the recordings have the same names.
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Example:
        >>> CompareConfig(max_drop={"g": 0.1}).unpaired
        False
    """

    max_drop: Mapping[str, float] | None = None
    allow_other_model: bool = False
    unpaired: bool = False
    resamples: int = 10_000
    seed: int = 0


def compare_results(base: Results, new: Results, config: CompareConfig | None = None) -> Comparison:
    """Compare two results on the recordings that have scores in both, as their values stand in files.

    Args:
        base: what is compared with.
        new: what is compared.
        config: the options; None is all defaults.

    Returns:
        How each score changed, with bootstrap intervals (see `mean_intervals`). Where no recording of one side is in
        the other, the means of both sides are compared, and the comparison says so.

    Raises:
        UsageError: the models differ and that is not allowed, a limit names an unknown score, a name does not tell
            which rows belong together, or a side has no scores.
    """
    config = config or CompareConfig()
    limits = check_comparable(base.run, new.run, config)
    targets = _shared_targets(base.run, new.run)
    base_scores, new_scores = _scores(base, targets), _scores(new, targets)
    matched_by, found = ("", []) if config.unpaired else pair_rows(base, new)
    both = [(i, j) for i, j in found if i in base_scores and j in new_scores]
    # Only rows with a name are paired.
    pairs = tuple(
        Pair(base.rows[i].path or "", new.rows[j].path or "", base.rows[i].channel, base_scores[i], new_scores[j])
        for i, j in both
    )
    base_values = _matrix((pair.base for pair in pairs) if pairs else base_scores.values())
    new_values = _matrix((pair.new for pair in pairs) if pairs else new_scores.values())
    partnered = {i for i, _ in both}
    missing = [i for i in base_scores if i not in partnered] if pairs else []
    return Comparison(
        base_source=base.source,
        new_source=new.source,
        base_model=base.run.model,
        new_model=new.run.model,
        paired=bool(pairs),
        matched_by=matched_by if pairs else "",
        base_rows=len(base_scores),
        new_rows=len(new_scores),
        only_base=len(missing),
        only_new=len(new_scores) - len(pairs) if pairs else 0,
        differences=_differences(targets, base_values, new_values, limits, config, paired=bool(pairs)),
        pairs=pairs,
        losses=_losses(pairs, new_values - base_values) if pairs else (),
        base_unscored=len(base.rows) - len(base_scores),
        new_unscored=len(new.rows) - len(new_scores),
        missing=tuple(base.rows[i].path or "(array)" for i in missing[:SHOWN]),
        notes=tuple(_notes(base, new, sought=not config.unpaired, paired=bool(pairs))),
    )


def check_comparable(base: Run, new: Run, config: CompareConfig) -> dict[str, float]:
    """Check what can be checked before anything is scored.

    Returns:
        The limits of ``config`` by target.

    Raises:
        UsageError: the models differ and that is not allowed, or a limit names an unknown score or makes no sense.
    """
    if not config.allow_other_model and not _same_model(base, new):
        raise UsageError(
            f"the scores stem from different models, {_named(base)} and {_named(new)}: score both with one model, "
            f"or let mtqscore compare --allow-other-model compare them all the same"
        )
    limits: dict[str, float] = {}
    for metric, drop in (config.max_drop or {}).items():
        try:
            target = find_target(metric, _shared_targets(base, new))
        except UsageError as error:
            raise UsageError(f"{_shown(metric, drop)}: {error}") from error
        if target in limits:
            raise UsageError(f"{_shown(metric, drop)}: {target} has another limit already, {limits[target]:g}")
        _check_drop(metric, drop)
        limits[target] = drop
    return limits


def parse_max_drop(texts: Iterable[str]) -> dict[str, float]:
    """Read the largest mean drop allowed by score, as users write it: ``g=0.1``.

    Raises:
        UsageError: a text is no limit, or names what another has named.
    """
    limits: dict[str, float] = {}
    for text in texts:
        metric, _, number = (part.strip() for part in text.partition("="))
        try:
            drop = float(number)
        except ValueError:
            drop = math.nan
        if not metric or math.isnan(drop):
            raise UsageError(f"--max-drop {text!r}: write it as SCORE=DROP, for example g=0.1")
        if metric in limits:
            raise UsageError(f"--max-drop {text!r}: this score has another limit already, {limits[metric]:g}")
        _check_drop(metric, drop)
        limits[metric] = drop
    return limits


def _check_drop(metric: str, drop: float) -> None:
    if not 0 <= drop < MOS_HIGH - MOS_LOW:
        scale = MOS_HIGH - MOS_LOW
        raise UsageError(f"{_shown(metric, drop)}: a limit is at least 0, and below {scale:g}, or it cannot fail")


def _shown(metric: str, drop: float) -> str:
    return f"max-drop {f'{metric}={drop:g}'!r}"


def _same_model(base: Run, new: Run) -> bool:
    checksums_agree = not base.model_sha256 or not new.model_sha256 or base.model_sha256 == new.model_sha256
    return base.model == new.model and checksums_agree


def _named(run: Run) -> str:
    return f"{run.model!r}" + (f" (sha256 {run.model_sha256[:8]}…)" if run.model_sha256 else "")


def _shared_targets(base: Run, new: Run) -> tuple[str, ...]:
    return tuple(target for target in base.targets if target in new.targets)


def _scores(side: Results, targets: Sequence[str]) -> dict[int, dict[str, float]]:
    """Scores of the scored rows, as they stand in files, by position."""
    scores: dict[int, dict[str, float]] = {}
    for position, row in enumerate(side.rows):
        if row.ok:
            named = named_scores(row)
            scores[position] = {target: round(named[target], DECIMALS) for target in targets}
    if not scores:
        first = f", the first is {side.rows[0].status}: {side.rows[0].reason}" if side.rows else ""
        raise UsageError(f"{side.source!r}: no row has scores{first}")
    return scores


def _matrix(scores: Iterable[Mapping[str, float]]) -> NDArray[np.float64]:
    """Values, (rows, targets)."""
    return np.array([list(row.values()) for row in scores], dtype=np.float64)


def _differences(
    targets: Sequence[str],
    base: NDArray[np.float64],
    new: NDArray[np.float64],
    limits: Mapping[str, float],
    config: CompareConfig,
    *,
    paired: bool,
) -> tuple[Difference, ...]:
    # Rounded, since a difference of two values of four decimals has no more.
    change = np.round(new - base, DECIMALS) if paired else new
    intervals = mean_intervals(change, None if paired else base, resamples=config.resamples, seed=config.seed)
    differences = []
    for column, target in enumerate(targets):
        # As it stands in files, so that who reads it there comes to the same result.
        interval = Interval(round(intervals[column].low, DECIMALS), round(intervals[column].high, DECIMALS))
        old_mean, new_mean = (float(side[:, column].mean()) for side in (base, new))
        limit = limits.get(target)
        differences.append(
            Difference(
                target=target,
                base=round(old_mean, DECIMALS),
                new=round(new_mean, DECIMALS),
                mean=round(new_mean - old_mean, DECIMALS),
                interval=interval,
                better=int(np.count_nonzero(change[:, column] > EVEN)) if paired else None,
                worse=int(np.count_nonzero(change[:, column] < -EVEN)) if paired else None,
                change=_change(interval),
                max_drop=limit,
                failed=limit is not None and interval.high < -limit,
            )
        )
    return tuple(differences)


def _change(interval: Interval) -> Change:
    if math.isnan(interval.low):
        return Change.UNKNOWN
    if interval.low > 0:
        return Change.BETTER
    return Change.WORSE if interval.high < 0 else Change.NOT_SIGNIFICANT


def _losses(pairs: Sequence[Pair], change: NDArray[np.float64]) -> tuple[Pair, ...]:
    worst = np.round(change.min(axis=1), DECIMALS)
    order = np.argsort(worst, kind="stable")[:SHOWN]
    return tuple(pairs[index] for index in order if worst[index] < -EVEN)


def _notes(base: Results, new: Results, *, sought: bool, paired: bool) -> Iterator[str]:
    """Explain what makes the two sides less alike than they should be."""
    if not _same_model(base.run, new.run):
        yield f"the models differ, {_named(base.run)} and {_named(new.run)}: a change may be theirs alone"
    mixed = [{row.channel == "mean" for row in side.rows if row.ok} for side in (base, new)]
    if mixed[0] != mixed[1]:
        yield "one side has scores of mixdowns, the other of single channels: score both with the same --channels"
    precisions = [
        sorted({row.precision or (row.options.precision if row.options else "") for row in side.rows if row.ok} - {""})
        for side in (base, new)
    ]
    if all(precisions) and precisions[0] != precisions[1]:
        named = " and ".join("/".join(names) for names in precisions)
        yield f"the sides were computed in {named}: that alone moves scores by about 0.02; use one --precision for both"
    for target in base.run.targets + new.run.targets:
        if target not in _shared_targets(base.run, new.run):
            yield f"only one side has the score {target}"
    if sought and not paired:
        yield "no recording of one side is in the other: these are means of different recordings"
