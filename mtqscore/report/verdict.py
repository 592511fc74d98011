"""What a run came to, in a few words, as it stands at the head of a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mtqscore.analysis.gates import Level
from mtqscore.base.text import TITLES

if TYPE_CHECKING:
    from mtqscore.results.writer import Summary


def verdict(summary: Summary) -> tuple[str, str]:
    """Say what the exit code says.

    Returns:
        ``fail``, ``warn`` or ``pass``, or ``none`` where nothing was demanded; and the words.
    """
    verdicts = summary.gates.verdicts if summary.gates else ()
    broken = [item.gate.level for item in verdicts if not item.passed]
    failed, warned = broken.count(Level.ERROR), broken.count(Level.WARN)
    differences = summary.comparison.differences if summary.comparison else ()
    dropped = [TITLES.get(item.target, item.target) for item in differences if item.failed]
    faults = []
    if failed:
        faults.append(f"{failed} of {_counted(len(verdicts), 'gate')} failed")
    if dropped:
        faults.append(f"{', '.join(dropped)} fell by more than is allowed")
    if summary.scored < summary.rows:
        faults.append(f"{summary.rows - summary.scored:,} of {summary.rows:,} not scored")
    demanded = bool(verdicts) or any(item.max_drop is not None for item in differences)
    words = faults or ["passed" if demanded else f"{summary.scored:,} scored"]
    if warned:
        words.append(f"{_counted(warned, 'gate')} {'warns' if warned == 1 else 'warn'}")
    kind = "fail" if faults else "warn" if warned else "pass" if demanded else "none"
    text = "; ".join(words)
    return kind, text[0].upper() + text[1:]


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
