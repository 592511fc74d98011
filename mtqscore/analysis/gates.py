"""Gates: demands on scores, written as one line, judged over the rows of a result.

A bare metric means every recording (``g>=3.2``); else a statistic of it (``p05(n)>=2.8``, ``share(g>=3)>=0.95``).
Scores and their statistics are judged with the decimals of result files, so that a file judged again says the same.
"""

from __future__ import annotations

import math
import operator
from array import array
from bisect import insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mtqscore.base.patterns import matches
from mtqscore.errors import UsageError
from mtqscore.scores import Assessment, named_scores
from mtqscore.targets import DECIMALS

WORST_SHOWN = 10
"""So many of the worst recordings are named."""

SIGNS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}


class Level(StrEnum):
    """Weight of a gate that does not hold: exit code 1 for ``error``, none for ``warn``."""

    ERROR = "error"
    WARN = "warn"


@dataclass(frozen=True)
class Bound:
    """A comparison of scores with a limit, by ``>=``, ``>``, ``<=`` or ``<``."""

    sign: str
    limit: float

    def holds(self, value: float) -> bool:
        """Check whether a value keeps to the bound; values are compared as they stand in result files."""
        return SIGNS[self.sign](round(value, DECIMALS), self.limit)

    def margin(self, value: float) -> float:
        """Distance to the limit, positive on the good side."""
        distance = value - self.limit if self.lower else self.limit - value
        return round(distance, 12)  # without the dust of binary fractions

    @property
    def lower(self) -> bool:
        """True for a lower bound."""
        return self.sign.startswith(">")


@dataclass(frozen=True)
class Gate:
    """One demand on the scores of a result.

    Args:
        text: the gate as people read it, normalised: ``p05(n)>=2.8``.
        target: column that is judged: ``s_mos``, ``n_mos``, ``g_mos`` or a further target of the model.
        statistic: ``every``, ``mean``, ``median``, ``min``, ``max``, a percentile ``p00`` to ``p100``, or ``share``.
        bound: what the statistic must keep to.
        condition: for ``share``, the bound that a recording counts by; else None.
        level: whether it fails the run or only warns.
        paths: pattern of the recordings it is limited to; None is all.
        source: where it was written, for messages; empty if that is not known.
    """

    text: str
    target: str
    statistic: str
    bound: Bound
    condition: Bound | None = None
    level: Level = Level.ERROR
    paths: str | None = None
    source: str = ""

    def concerns(self, path: str | None) -> bool:
        """Check whether a recording of this name is judged."""
        return self.paths is None or matches(self.paths, path)

    @property
    def name(self) -> str:
        """The gate with its pattern, as it may be written again."""
        return self.text if self.paths is None else f"{self.text} in {self.paths}"

    @property
    def each(self) -> bool:
        """True if every recording is right or wrong by itself."""
        return self.statistic in ("every", "share")

    @property
    def low_is_bad(self) -> bool:
        """True if the lowest scores stand in its way; else the highest do."""
        return self.bound.lower == (self.condition is None or self.condition.lower)

    def offends(self, value: float) -> bool:
        """Check whether the score of a recording is on the wrong side by itself; never for other statistics."""
        if self.condition is not None:
            return self.condition.holds(value) is not self.bound.lower
        return self.statistic == "every" and not self.bound.holds(value)


@dataclass(frozen=True)
class Worst:
    """A recording that stands out by the value of a target.

    The row is its place in the result, from 0; names, None for an array, need not set recordings apart.
    """

    path: str | None
    channel: str
    target: str
    value: float
    row: int = 0


@dataclass(frozen=True)
class Verdict:
    """Outcome of one gate.

    Args:
        gate: the gate.
        observed: the statistic; for ``every`` the value nearest to failing or furthest beyond; None without a score.
        margin: distance to the limit, positive when it holds; None without a score.
        passed: whether it holds; never without a score.
        rows: scored rows that it looked at.
        failing: for ``every`` and ``share``, how many rows are on the wrong side; else 0.
        worst: the rows furthest on the wrong side, at most ten, worst first; for other statistics the lowest (or
            highest, for an upper bound) of all.
    """

    gate: Gate
    observed: float | None
    margin: float | None
    passed: bool
    rows: int
    failing: int
    worst: tuple[Worst, ...]


@dataclass(frozen=True)
class GateReport:
    """Outcomes of all gates, in their order."""

    verdicts: tuple[Verdict, ...]

    @property
    def passed(self) -> bool:
        """True if no gate of level ``error`` failed."""
        return all(verdict.passed for verdict in self.verdicts if verdict.gate.level is Level.ERROR)


class GateJudge:
    """Judges gates over rows as they come; memory grows by one number a gate for each row.

    Args:
        gates: what must hold.
    """

    def __init__(self, gates: Sequence[Gate]) -> None:
        self._watches = [_Watch(gate) for gate in gates]
        self._rows = 0

    def add(self, assessment: Assessment) -> None:
        """Take one row; rows without scores count for nothing but the pattern."""
        scores = named_scores(assessment)
        for watch in self._watches:
            if watch.gate.concerns(assessment.path):
                watch.idle = False
                if (target := watch.gate.target) in scores:
                    value = round(scores[target], DECIMALS)
                    watch.add(Worst(assessment.path, assessment.channel, target, value, self._rows))
        self._rows += 1

    def report(self) -> GateReport:
        """Judge.

        Raises:
            UsageError: a gate's pattern matched no row at all.
        """
        for watch in self._watches:
            if watch.idle and watch.gate.paths is not None:
                raise _idle(watch.gate)
        return GateReport(tuple(watch.verdict() for watch in self._watches))


class _Watch:
    """Values that one gate has seen so far."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.idle = True
        self._values = array("d")
        self._failing = 0
        self._worst: list[tuple[float, int, Worst]] = []

    def add(self, row: Worst) -> None:
        offends = self.gate.offends(row.value)
        self._failing += offends
        self._values.append(row.value)
        if offends or not self.gate.each:
            rank = row.value if self.gate.low_is_bad else -row.value
            if len(self._worst) < WORST_SHOWN or rank < self._worst[-1][0]:
                insort(self._worst, (rank, row.row, row))  # the earlier row first where values are equal
                del self._worst[WORST_SHOWN:]

    def verdict(self) -> Verdict:
        gate, rows = self.gate, len(self._values)
        worst = tuple(worst for _, _, worst in self._worst)
        if not rows:
            return Verdict(gate, None, None, False, rows, self._failing, worst)
        observed = self._observe()
        margin = gate.bound.margin(observed)
        # A share is a quotient of whole numbers: rounded, it would let recordings of large results slip through.
        holds = SIGNS[gate.bound.sign](observed, gate.bound.limit)
        return Verdict(gate, observed, margin, holds, rows, self._failing, worst)

    def _observe(self) -> float:
        gate, values = self.gate, self._values
        if gate.statistic == "share":
            fulfilled = len(values) - self._failing if gate.bound.lower else self._failing
            return fulfilled / len(values)
        if gate.statistic == "mean":
            return round(math.fsum(values) / len(values), DECIMALS)
        if gate.statistic in ("every", "min", "max"):
            lowest = gate.bound.lower if gate.statistic == "every" else gate.statistic == "min"
            return min(values) if lowest else max(values)
        import numpy as np

        percent = 50.0 if gate.statistic == "median" else float(gate.statistic[1:])
        return round(float(np.percentile(np.frombuffer(values), percent)), DECIMALS)


def check_patterns(gates: Iterable[Gate], paths: Iterable[str | None]) -> None:
    """Refuse gates whose pattern matches none of the names of the rows to come, before anything is scored.

    Raises:
        UsageError: a gate's pattern matches none of them.
    """
    limited = [gate for gate in gates if gate.paths is not None]
    for path in paths if limited else ():
        limited = [gate for gate in limited if not gate.concerns(path)]
        if not limited:
            break
    if limited:
        raise _idle(limited[0])


def _idle(gate: Gate) -> UsageError:
    where = f"{gate.source}: " if gate.source else ""
    hint = "write one such as 'street/**' or '*.flac'"
    return UsageError(f"{where}gate {gate.text!r}: its pattern {gate.paths!r} matches no recording; {hint}")


def judge(gates: Sequence[Gate], rows: Iterable[Assessment]) -> GateReport:
    """Judge gates over rows that are at hand; see `GateJudge`.

    Example:
        >>> from mtqscore import assess_file, parse_gate
        >>> from mtqscore.diagnostics.conformance.known import CLIPS_FOLDER
        >>> rows = [assess_file(CLIPS_FOLDER / "clean-1.flac")]
        >>> judge([parse_gate("g>=1.1", ("s_mos", "n_mos", "g_mos"))], rows).passed
        True
    """
    judge = GateJudge(gates)
    for row in rows:
        judge.add(row)
    return judge.report()
