"""Verdicts of gates as text for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mtqscore.analysis.gates import WORST_SHOWN, Gate, GateReport, Level, Verdict, Worst
from mtqscore.base.text import display_name, printable, score_title, text_table
from mtqscore.targets import DECIMALS

GATE_TITLES = ["gate", "where", "observed", "limit", "margin", "recordings", "result"]

NAMED_IN_LINE = 5
"""A sentence names so many gates."""


def gate_lines(report: GateReport) -> list[str]:
    """Lay out the gates, and below them the worst recordings of those that failed, safe for a terminal."""
    table = [GATE_TITLES, *(gate_cells(verdict) for verdict in report.verdicts)]
    if all(verdict.gate.paths is None for verdict in report.verdicts):
        table = [[cell for title, cell in zip(GATE_TITLES, row, strict=True) if title != "where"] for row in table]
    lines = text_table(table, left={"gate", "where", "result"})
    worst = _worst_recordings([verdict for verdict in report.verdicts if _failed(verdict)])
    return [*lines, "", *worst] if worst else lines


def verdict_line(report: GateReport) -> str:
    """One sentence: how many gates failed or warn, and which; or that all passed."""
    count = len(report.verdicts)
    gates = "1 gate" if count == 1 else f"{count} gates"
    parts = []
    for level, verb in ((Level.ERROR, "failed"), (Level.WARN, "only warned")):
        found = [verdict for verdict in report.verdicts if not verdict.passed and verdict.gate.level is level]
        if found:
            named = [f"{printable(verdict.gate.name)} ({observed_text(verdict)})" for verdict in found[:NAMED_IN_LINE]]
            more = [f"{len(found) - NAMED_IN_LINE} more"] if len(found) > NAMED_IN_LINE else []
            parts.append(f"{len(found)} of {gates} {verb}: {', '.join(named + more)}")
    return "; ".join(parts) or f"{gates} passed"


def _failed(verdict: Verdict) -> bool:
    return not verdict.passed and verdict.gate.level is Level.ERROR


def gate_cells(verdict: Verdict) -> list[str]:
    """One gate below `GATE_TITLES`."""
    gate = verdict.gate
    result = "ok" if verdict.passed else "FAILED" if gate.level is Level.ERROR else "warning"
    margin = "–" if verdict.margin is None else f"{verdict.margin:+.{_decimals(verdict)}f}"
    counted = f"{verdict.failing} of {verdict.rows} fail" if verdict.failing else str(verdict.rows)
    where = "all" if gate.paths is None else printable(gate.paths)
    return [gate.text, where, observed_text(verdict), f"{gate.bound.limit:.12g}", margin, counted, result]


def observed_text(verdict: Verdict) -> str:
    """Observed value of a gate, with enough decimals to differ from the limit."""
    return "no scores" if verdict.observed is None else f"{verdict.observed:.{_decimals(verdict)}f}"


def _decimals(verdict: Verdict) -> int:
    """As in files; more only for a share of many recordings that would look like its limit."""
    looks_even = verdict.observed is not None and round(verdict.observed, DECIMALS) == verdict.gate.bound.limit
    return DECIMALS + 3 if looks_even and verdict.margin else DECIMALS


def _worst_recordings(failed: Sequence[Verdict]) -> list[str]:
    """The recordings furthest on the wrong side of any gate, with the scores that put them there."""
    found: dict[int, dict[str, Worst]] = {}
    distances: dict[int, float] = {}
    for verdict in failed:
        for worst in verdict.worst:
            found.setdefault(worst.row, {})[worst.target] = worst
            distances[worst.row] = min(distances.get(worst.row, math.inf), _distance(verdict.gate, worst.value))
    if not found:
        return []
    targets = dict.fromkeys(verdict.gate.target for verdict in failed)
    table = [[*(score_title(target) for target in targets), "worst recordings"]]
    for row in sorted(found, key=lambda row: (distances[row], row))[:WORST_SHOWN]:
        cells = [f"{found[row][target].value:.{DECIMALS}f}" if target in found[row] else "" for target in targets]
        table.append([*cells, _named(next(iter(found[row].values())))])
    return text_table(table, left={"worst recordings"})


def _distance(gate: Gate, value: float) -> float:
    """From the limit that recordings are held to, negative on the wrong side."""
    limit = (gate.condition or gate.bound).limit
    return value - limit if gate.low_is_bad else limit - value


def _named(worst: Worst) -> str:
    name = display_name(worst.path)
    return name if worst.channel in ("", "mean") else f"{name}, channel {printable(worst.channel)}"
