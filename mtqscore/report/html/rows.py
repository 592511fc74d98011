"""All rows of a report, held and written compactly: 100,000 of them must stay usable."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mtqscore.analysis.gates import GateReport
from mtqscore.base.text import display_name, printable
from mtqscore.scores import Assessment, Flag, Status, named_scores
from mtqscore.targets import DECIMALS

STEPS = 10**DECIMALS
"""Scores are whole numbers of these steps, so that they are compared as they stand in other result files."""

NO_SCORE = -(2**31)

FLAGS = tuple(Flag)
STATUSES = tuple(Status)


class GateFilter(NamedTuple):
    """A gate that looks at every row by itself, and the positions of the rows on its wrong side."""

    text: str
    rows: list[int]


class ReportRow(NamedTuple):
    """One row as the page needs it: -1 is an unknown length or rate, `NO_SCORE` a missing score."""

    position: int
    path: str | None
    channel: str
    duration_ms: int
    rate_hz: int
    status: Status
    flags: tuple[Flag, ...]
    reason: str
    steps: tuple[int, ...]

    @property
    def name(self) -> str:
        """Name of the recording, safe to show."""
        return display_name(self.path)

    @property
    def scores(self) -> list[float | None]:
        """One score a target, None without."""
        return [None if value == NO_SCORE else value / STEPS for value in self.steps]

    @property
    def note(self) -> str:
        """Flags, or status and reason."""
        flags = ", ".join(flag for flag in FLAGS if flag in self.flags)
        if self.status is Status.OK:
            return flags
        return f"{self.status}: {self.reason}" + (f" ({flags})" if flags else "")


class Rows:
    """All rows of a report, with scores of these targets."""

    def __init__(self, targets: Sequence[str]) -> None:
        self.targets = tuple(targets)
        self._rows: list[ReportRow] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, assessment: Assessment) -> None:
        """Take one row."""
        scores = named_scores(assessment)
        duration_s, rate_hz = assessment.duration_s, assessment.sample_rate_hz
        row = ReportRow(
            position=len(self._rows),
            path=assessment.path,
            channel=assessment.channel,
            duration_ms=-1 if duration_s is None else round(duration_s * 1000),
            rate_hz=-1 if rate_hz is None else rate_hz,
            status=assessment.status,
            flags=assessment.flags,
            reason=printable(assessment.reason),
            steps=tuple(round(scores[target] * STEPS) if target in scores else NO_SCORE for target in self.targets),
        )
        self._rows.append(row)

    def first(self, count: int) -> list[ReportRow]:
        """Give the first rows."""
        return self._rows[:count]

    def known(self, target: str) -> list[float]:
        """Values of one score, of the rows that have it."""
        if target not in self.targets:
            return []
        place = self.targets.index(target)
        return [row.steps[place] / STEPS for row in self._rows if row.steps[place] != NO_SCORE]

    def failing(self, report: GateReport | None) -> list[GateFilter]:
        """Find the rows on the wrong side of each gate that looks at rows one by one."""
        found = []
        for gate in (verdict.gate for verdict in report.verdicts) if report is not None else ():
            if gate.each and gate.target in self.targets:
                place = self.targets.index(gate.target)
                rows = [
                    row.position
                    for row in self._rows
                    if row.steps[place] != NO_SCORE
                    and gate.offends(row.steps[place] / STEPS)
                    and gate.concerns(row.path)
                ]
                found.append(GateFilter(gate.name, rows))
        return found

    def as_json(self, details: Mapping[int, str], gates: Sequence[GateFilter]) -> str:
        """Write all rows by column, safe to stand inside a script element.

        Args:
            details: id of the element with the details, by position of the row.
            gates: rows that fail gates.
        """
        rows = self._rows
        return safe_json(
            {
                "names": [row.name for row in rows],
                "channels": _coded([row.channel for row in rows]),
                "durations": [row.duration_ms for row in rows],
                "rates": [row.rate_hz for row in rows],
                "statuses": [STATUSES.index(row.status) for row in rows],
                "statusNames": STATUSES,
                "flags": [sum(1 << FLAGS.index(flag) for flag in set(row.flags)) for row in rows],
                "flagNames": FLAGS,
                "reasons": _coded([row.reason for row in rows]),
                "scores": [[row.steps[place] for row in rows] for place in range(len(self.targets))],
                "steps": STEPS,
                "missing": NO_SCORE,
                "details": details,
                "gates": [gate.rows for gate in gates],
            }
        )


def _coded(column: Sequence[str]) -> dict[str, object]:
    """Write a column of text of which much is the same: each text once, and its number in every row."""
    codes: dict[str, int] = {}
    numbers = [codes.setdefault(text, len(codes)) for text in column]
    return {"names": list(codes), "codes": numbers}


def safe_json(value: object) -> str:
    """Write JSON that no HTML parser can take for markup, in ASCII alone."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
