"""What the doctor found, and how it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from mtqscore.base.schema_versions import DOCTOR, document

COLOURS = {"ok": "32", "note": "33", "FAIL": "31;1"}
"""Of marks, as codes of the terminal."""


class Mark(StrEnum):
    """How a fact bears on scoring."""

    OK = "ok"
    NOTE = "note"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Fact:
    """One thing that was found.

    Args:
        name: what was looked at.
        value: what was found, in one line.
        mark: FAIL only for what stops scoring or makes it unreliable.
        fix: one line to paste that repairs it; every failure has one.
    """

    name: str
    value: str
    mark: Mark = Mark.OK
    fix: str = ""


@dataclass(frozen=True)
class Section:
    """Facts that belong together.

    Args:
        title: of what.
        facts: in order.
    """

    title: str
    facts: tuple[Fact, ...]


def failures(sections: Sequence[Section]) -> int:
    """Count what stops scoring."""
    return sum(fact.mark is Mark.FAIL for section in sections for fact in section.facts)


def to_json(version: str, sections: Sequence[Section]) -> dict[str, Any]:
    """Turn an examination into what ``--json`` prints."""
    content = {"ok": not failures(sections), "sections": [asdict(section) for section in sections]}
    return document(DOCTOR, content, version=version)


def as_text(version: str, sections: Sequence[Section], *, colour: bool = False) -> str:
    """Lay out an examination for people: sections, a fact a line, and one sentence.

    Args:
        version: of mtqscore.
        sections: what was found.
        colour: whether a terminal shall colour the marks.
    """
    width = max((len(fact.name) for section in sections for fact in section.facts), default=0)
    lines = [f"mtqscore {version}"]
    for section in sections:
        lines += ["", section.title]
        for fact in section.facts:
            mark = f"{fact.mark:<4}"
            if colour:
                mark = f"\x1b[{COLOURS[fact.mark]}m{mark}\x1b[0m"
            lines.append(f"  {mark}  {_plain(fact.name):<{width}}  {_plain(fact.value)}".rstrip())
            if fact.fix:
                lines.append(f"        {'':<{width}}  fix: {_plain(fact.fix)}")
    return "\n".join([*lines, "", verdict(sections)])


def verdict(sections: Sequence[Section]) -> str:
    """Say in one sentence whether recordings can be scored here."""
    count = failures(sections)
    if not count:
        return "Recordings can be scored here."
    what = "one failure stands" if count == 1 else f"{count} failures stand"
    return f"Recordings cannot be scored reliably here: {what} above, with a line to paste."


def _plain(text: str) -> str:
    """Text on one line that no terminal acts upon."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
