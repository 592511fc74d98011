"""Gates: what scores must reach, written as one line, judged over the rows of a result.

A bare metric means every recording (``g>=3.2``); else a statistic of it (``p05(n)>=2.8``, ``share(g>=3)>=0.95``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mtqscore.scores import Assessment

WORST_SHOWN = 10
"""So many of the worst recordings are named."""


class Level(StrEnum):
    """What a gate that does not hold means for the exit code: ``error`` is 1, ``warn`` is none."""

    ERROR = "error"
    WARN = "warn"


@dataclass(frozen=True)
class Bound:
    """A comparison with a limit.

    Args:
        sign: ``>=``, ``>``, ``<=`` or ``<``.
        limit: what is compared with.
    """

    sign: str
    limit: float

    def holds(self, value: float) -> bool:
        """Tell whether a value keeps to the bound; values are compared as they stand in result files."""
        raise NotImplementedError

    def margin(self, value: float) -> float:
        """Distance to the limit, positive on the good side."""
        raise NotImplementedError


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
    """

    text: str
    target: str
    statistic: str
    bound: Bound
    condition: Bound | None = None
    level: Level = Level.ERROR
    paths: str | None = None

    def concerns(self, path: str | None) -> bool:
        """Tell whether a recording of this name is judged."""
        raise NotImplementedError


@dataclass(frozen=True)
class Worst:
    """A recording that stands out.

    Args:
        path: its name, None for an array.
        channel: as in its row.
        target: the score that stands out.
        value: that score.
    """

    path: str | None
    channel: str
    target: str
    value: float


@dataclass(frozen=True)
class Verdict:
    """What one gate says.

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
    """What all gates say.

    Args:
        verdicts: one a gate, in the order of the gates.
    """

    verdicts: tuple[Verdict, ...]

    @property
    def passed(self) -> bool:
        """Whether no gate of level ``error`` failed."""
        return all(verdict.passed for verdict in self.verdicts if verdict.gate.level is Level.ERROR)


class GateJudge:
    """Judges gates over rows as they come; memory grows by a name and one number a gate for each row.

    Args:
        gates: what must hold.
    """

    def __init__(self, gates: Sequence[Gate]) -> None:
        raise NotImplementedError

    def add(self, assessment: Assessment) -> None:
        """Take one row; rows without scores count for nothing but the pattern."""
        raise NotImplementedError

    def report(self) -> GateReport:
        """Judge.

        Raises:
            UsageError: a gate's pattern matched no row at all.
        """
        raise NotImplementedError


def parse_gate(text: str, targets: Sequence[str], level: Level = Level.ERROR, paths: str | None = None) -> Gate:
    """Read a gate; ``g>=3.2 in enhanced/**`` limits it to a pattern.

    Args:
        text: the gate as a user wrote it.
        targets: names of the scores that the model gives.
        level: whether it fails the run or only warns.
        paths: pattern of the recordings it is limited to, unless the text names one.

    Raises:
        UsageError: the text is no gate, or its metric or statistic is unknown.
    """
    raise NotImplementedError


def judge(gates: Sequence[Gate], rows: Iterable[Assessment]) -> GateReport:
    """Judge gates over rows that are at hand; see `GateJudge`."""
    judge = GateJudge(gates)
    for row in rows:
        judge.add(row)
    return judge.report()
