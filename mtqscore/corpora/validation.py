"""Draw of validation recordings, where a corpus leaves that open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import TypeVar

from mtqscore.labels.table import LabelledRecording

Member = TypeVar("Member")

FEWEST_SPEAKERS = 10
"""With fewer, a tenth of a corpus cannot be whole speakers."""


def draw(units: Mapping[str, Sequence[Member]], share: float, seed: int) -> set[Member]:
    """Take whole units, one at least, until they hold about a share of all members; names and seed alone decide."""
    wanted = share * sum(map(len, units.values()))
    taken: set[Member] = set()
    for unit in sorted(units, key=lambda unit: sha256(f"{seed}:{unit}".encode("utf-8", "surrogateescape")).digest()):
        if taken and len(taken) + len(units[unit]) / 2 > wanted:
            break
        taken.update(units[unit])
    return taken


def divided(recordings: Sequence[LabelledRecording], share: float, seed: int) -> tuple[list[LabelledRecording], str]:
    """Draw validation recordings for a table without splits: whole speakers where it names enough, else recordings.

    Returns:
        All recordings, a share (0 to 1) of them in the split val; and a note for the user.
    """
    speakers = {recording.extra.get("speaker", "") for recording in recordings}
    by_speaker = "" not in speakers and len(speakers) >= FEWEST_SPEAKERS
    units: dict[str, list[int]] = {}
    for number, recording in enumerate(recordings):
        units.setdefault(recording.extra["speaker"] if by_speaker else recording.path.name, []).append(number)
    if len(units) < 2:
        return [*recordings], ""
    drawn = draw(units, share, seed)
    made = [
        replace(recording, split="val") if number in drawn else recording for number, recording in enumerate(recordings)
    ]
    unit = "whole speakers" if by_speaker else "by recording"
    return made, f"no column split: {len(drawn):,} recordings are drawn for val, {unit}, and none for test"
