"""The summary of a run: counts, means, gates, comparison, and the verdict on all of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal

from mtqscore.analysis.gates import GateReport, Level, Verdict
from mtqscore.base.text import score_title
from mtqscore.scores import Assessment, named_scores
from mtqscore.targets import DECIMALS

if TYPE_CHECKING:  # most runs compare nothing, and start without it
    from mtqscore.analysis.compare import Comparison


@dataclass
class RunSummary:
    """Counts and means, gathered row by row; gates and a comparison, when there are any."""

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

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Verdicts of the gates; none without gates."""
        return () if self.gates is None else tuple(self.gates.verdicts)

    def as_dict(self) -> dict[str, object]:
        """Give the summary as it stands in files; ``gates`` and ``comparison`` are there when there were any."""
        values: dict[str, object] = {
            "rows": self.rows,
            "scored": self.scored,
            "audio_s": round(self.audio_s, DECIMALS),
            "statuses": dict(self.statuses),
            "mean": {name: round(value, DECIMALS) for name, value in self.means.items()},
        }
        if self.gates is not None:
            values["gates"] = {"passed": self.gates.passed, "verdicts": [*map(_verdict_as_dict, self.verdicts)]}
        if self.comparison is not None:
            from mtqscore.report.comparison import comparison_as_dict

            values["comparison"] = comparison_as_dict(self.comparison)
        return values

    def unscored(self) -> list[str]:
        """Counts of the rows without scores, by status."""
        return [f"{count} {status}" for status, count in sorted(self.statuses.items()) if status != "ok"]

    def verdict(self) -> tuple[Literal["fail", "warn", "pass", "none"], str]:
        """Put the run into a few words, in accord with the exit code; the kind is ``none`` if nothing was demanded."""
        broken = [verdict.gate.level for verdict in self.verdicts if not verdict.passed]
        failed, warned = broken.count(Level.ERROR), broken.count(Level.WARN)
        differences = self.comparison.differences if self.comparison else ()
        dropped = [score_title(item.target) for item in differences if item.failed]
        faults = []
        if failed:
            faults.append(f"{failed} of {_counted(len(self.verdicts), 'gate')} failed")
        if dropped:
            faults.append(f"{', '.join(dropped)} fell by more than is allowed")
        if self.scored < self.rows:
            faults.append(f"{self.rows - self.scored:,} of {self.rows:,} not scored")
        demanded = bool(self.verdicts) or any(item.max_drop is not None for item in differences)
        words = faults or ["passed" if demanded else f"{self.scored:,} scored"]
        if warned:
            words.append(f"{_counted(warned, 'gate')} {'warns' if warned == 1 else 'warn'}")
        text = "; ".join(words)
        return "fail" if faults else "warn" if warned else "pass" if demanded else "none", text[0].upper() + text[1:]


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _verdict_as_dict(verdict: Verdict) -> dict[str, object]:
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
