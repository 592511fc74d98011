"""Findings of the doctor, and their layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from mtqscore.base.schema_versions import DOCTOR, document
from mtqscore.base.text import printable

COLOURS = {"ok": "32", "note": "33", "FAIL": "31;1"}
"""Of marks, as codes of the terminal."""


class Mark(StrEnum):
    """Weight of a fact for scoring."""

    OK = "ok"
    NOTE = "note"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Fact:
    """One thing that was found, in one line.

    FAIL is only for what stops scoring or makes it unreliable; every failure has a line to paste that repairs it.
    """

    name: str
    value: str
    mark: Mark = Mark.OK
    fix: str = ""


@dataclass(frozen=True)
class Section:
    """Facts that belong together, in order."""

    title: str
    facts: tuple[Fact, ...]


def failures(sections: Sequence[Section]) -> int:
    """Count what stops scoring."""
    return sum(fact.mark is Mark.FAIL for section in sections for fact in section.facts)


def to_json(version: str, sections: Sequence[Section]) -> dict[str, Any]:
    """Turn an examination into the document of ``--json``."""
    content = {"ok": not failures(sections), "sections": [asdict(section) for section in sections]}
    return document(DOCTOR, content, version=version)


def as_text(version: str, sections: Sequence[Section], *, colour: bool = False) -> str:
    """Lay out an examination for people: sections, a fact a line, and one sentence."""
    width = max((len(fact.name) for section in sections for fact in section.facts), default=0)
    lines = [f"mtqscore {version}"]
    for section in sections:
        lines += ["", section.title]
        for fact in section.facts:
            mark = f"\x1b[{COLOURS[fact.mark]}m{fact.mark:<4}\x1b[0m" if colour else f"{fact.mark:<4}"
            lines.append(f"  {mark}  {printable(fact.name):<{width}}  {printable(fact.value)}".rstrip())
            if fact.fix:
                lines.append(f"        {'':<{width}}  fix: {printable(fact.fix)}")
    count = failures(sections)
    verdict = "Recordings can be scored here."
    if count:
        what = "one failure stands" if count == 1 else f"{count} failures stand"
        verdict = f"Recordings cannot be scored reliably here: {what} above, with a line to paste."
    return "\n".join([*lines, "", verdict])
