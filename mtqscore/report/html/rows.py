"""All rows of a report, held and written compactly, by column: 100,000 of them must stay usable."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class ShownRow:
    """A row as the page shows it without JavaScript; its note is its flags, or its status and reason."""

    index: int
    name: str
    channel: str
    duration_s: float | None
    sample_rate_hz: int | None
    scores: list[float | None]
    note: str
    ok: bool


class RowColumns:
    """Rows by column.

    Args:
        targets: names of the scores.
    """

    def __init__(self, targets: Sequence[str]) -> None:
        self.paths: list[str | None] = []
        self.scores = {target: array("i") for target in targets}
        self._channels = _Names()
        self._reasons = _Names()
        self._durations_ms = array("q")
        self._rates_hz = array("i")
        self._statuses = array("b")
        self._flags = array("h")

    def __len__(self) -> int:
        return len(self.paths)

    def add(self, assessment: Assessment) -> None:
        """Take one row."""
        self.paths.append(assessment.path)
        self._channels.add(assessment.channel)
        self._reasons.add(printable(assessment.reason))
        duration_s, rate_hz = assessment.duration_s, assessment.sample_rate_hz
        self._durations_ms.append(-1 if duration_s is None else round(duration_s * 1000))
        self._rates_hz.append(-1 if rate_hz is None else rate_hz)
        self._statuses.append(STATUSES.index(assessment.status))
        self._flags.append(sum(1 << FLAGS.index(flag) for flag in set(assessment.flags)))
        scores = named_scores(assessment)
        for target, column in self.scores.items():
            column.append(round(scores[target] * STEPS) if target in scores else NO_SCORE)

    def known(self, target: str) -> list[float]:
        """The values of one score, of the rows that have it."""
        return [value / STEPS for value in self.scores.get(target, ()) if value != NO_SCORE]

    def shown(self, count: int) -> Iterator[ShownRow]:
        """Yield the first rows."""
        for index in range(min(count, len(self))):
            status, bits = STATUSES[self._statuses[index]], self._flags[index]
            note = ", ".join(flag for bit, flag in enumerate(FLAGS) if bits >> bit & 1)
            if status is not Status.OK:
                note = f"{status}: {self._reasons[index]}" + (f" ({note})" if note else "")
            duration_ms, rate_hz = self._durations_ms[index], self._rates_hz[index]
            scores = [column[index] for column in self.scores.values()]
            yield ShownRow(
                index=index,
                name=display_name(self.paths[index]),
                channel=self._channels[index],
                duration_s=None if duration_ms < 0 else duration_ms / 1000,
                sample_rate_hz=None if rate_hz < 0 else rate_hz,
                scores=[None if value == NO_SCORE else value / STEPS for value in scores],
                note=note,
                ok=status is Status.OK,
            )

    def failing(self, report: GateReport | None) -> list[GateFilter]:
        """Find the rows on the wrong side of each gate that looks at rows one by one."""
        found = []
        for gate in (verdict.gate for verdict in report.verdicts) if report is not None else ():
            if gate.each and gate.target in self.scores:
                rows = [
                    index
                    for index, value in enumerate(self.scores[gate.target])
                    if value != NO_SCORE and gate.offends(value / STEPS) and gate.concerns(self.paths[index])
                ]
                found.append(GateFilter(gate.name, rows))
        return found

    def as_json(self, details: Mapping[int, str], gates: Sequence[GateFilter]) -> str:
        """Write all rows, safe to stand inside a script element.

        Args:
            details: id of the element with the details, by position of the row.
            gates: rows that fail gates.
        """
        return safe_json(
            {
                "names": [display_name(path) for path in self.paths],
                "channels": self._channels.as_dict(),
                "durations": self._durations_ms.tolist(),
                "rates": self._rates_hz.tolist(),
                "statuses": self._statuses.tolist(),
                "statusNames": STATUSES,
                "flags": self._flags.tolist(),
                "flagNames": FLAGS,
                "reasons": self._reasons.as_dict(),
                "scores": [column.tolist() for column in self.scores.values()],
                "steps": STEPS,
                "missing": NO_SCORE,
                "details": details,
                "gates": [gate.rows for gate in gates],
            }
        )


class _Names:
    """A column of text of which much is the same."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._names: list[str] = []
        self._column = array("i")

    def add(self, text: str) -> None:
        if text not in self._codes:
            self._codes[text] = len(self._names)
            self._names.append(text)
        self._column.append(self._codes[text])

    def __getitem__(self, index: int) -> str:
        return self._names[self._column[index]]

    def as_dict(self) -> dict[str, object]:
        return {"names": self._names, "codes": self._column.tolist()}


def safe_json(value: object) -> str:
    """JSON that no HTML parser can take for markup, in ASCII alone."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
