"""What every writer is given and what it does; the one place of column names."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol, TextIO

from mtqscore.scores import named_scores
from mtqscore.targets import DECIMALS

if TYPE_CHECKING:
    from mtqscore.analysis.compare import Comparison
    from mtqscore.analysis.gates import GateReport, Verdict
    from mtqscore.results.run import Run
    from mtqscore.scores import Assessment


@dataclass
class Summary:
    """What is known at the end: counts and means, gathered row by row; gates and a comparison, when there are any."""

    rows: int = 0
    scored: int = 0
    audio_s: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    sums: dict[str, float] = field(default_factory=dict)
    gates: GateReport | None = None
    comparison: Comparison | None = None

    def add(self, assessment: Assessment) -> None:
        """Count one row."""
        self.rows += 1
        self.statuses[str(assessment.status)] += 1
        self.flags.update(str(flag) for flag in assessment.flags)
        if assessment.scores is None:
            return
        self.scored += 1
        self.audio_s += assessment.duration_s or 0.0
        for name, value in named_scores(assessment).items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    @property
    def means(self) -> dict[str, float]:
        """Mean of each score over the rows that have one; empty when none has."""
        return {name: value / self.scored for name, value in self.sums.items()}

    def as_dict(self) -> dict[str, object]:
        """The summary as it stands in files; ``gates`` and ``comparison`` are there when there were any."""
        values: dict[str, object] = {
            "rows": self.rows,
            "scored": self.scored,
            "audio_s": round(self.audio_s, DECIMALS),
            "statuses": dict(self.statuses),
            "mean": {name: round(value, DECIMALS) for name, value in self.means.items()},
        }
        if self.gates is not None:
            values["gates"] = {
                "passed": self.gates.passed,
                "verdicts": [verdict_as_dict(verdict) for verdict in self.gates.verdicts],
            }
        if self.comparison is not None:
            from mtqscore.report.comparison import comparison_as_dict

            values["comparison"] = comparison_as_dict(self.comparison)
        return values


class Writer(Protocol):
    """Writes one format to one stream, row by row."""

    line_by_line: ClassVar[bool]
    """Whether what is written so far is useful at any moment; else a file appears when it is complete."""

    def __init__(self, stream: TextIO, run: Run) -> None: ...

    def begin(self) -> None:
        """Write what comes before the first row."""

    def write(self, assessment: Assessment) -> None:
        """Write one row."""

    def finish(self, summary: Summary) -> None:
        """Write what comes after the last row."""


def verdict_as_dict(verdict: Verdict) -> dict[str, object]:
    """What one gate says as it stands in files."""
    gate = verdict.gate
    return {
        "gate": gate.text,
        "level": str(gate.level),
        "paths": gate.paths,
        "target": gate.target,
        "statistic": gate.statistic,
        "observed": verdict.observed,
        "limit": gate.bound.limit,
        "margin": verdict.margin,
        "passed": verdict.passed,
        "rows": verdict.rows,
        "failing": verdict.failing,
        "worst": [asdict(worst) for worst in verdict.worst],
    }


def columns(run: Run) -> list[str]:
    """Column names of a table, stable: new ones are only ever added at the end."""
    named = ["s_mos", "n_mos", "g_mos"]
    extra = [target for target in run.targets if target not in named]
    before = ["path", "channel", "duration_s", "sample_rate_hz"]
    return [*before, *named, *extra, "status", "flags", "model", "reason"]


def record(assessment: Assessment, run: Run) -> dict[str, object]:
    """One row by column name; None is a missing value, flags are a list."""
    scores = named_scores(assessment)
    duration_s = assessment.duration_s
    values: dict[str, object] = {
        "path": assessment.path,
        "channel": assessment.channel,
        "duration_s": None if duration_s is None else round(duration_s, DECIMALS),
        "sample_rate_hz": assessment.sample_rate_hz,
        "status": str(assessment.status),
        "flags": [str(flag) for flag in assessment.flags],
        "model": assessment.model,
        "reason": assessment.reason,
    }
    for target in run.targets:
        values[target] = round(scores[target], DECIMALS) if target in scores else None
    return {name: values[name] for name in columns(run)}
