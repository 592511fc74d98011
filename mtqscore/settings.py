"""What a project settles once for all its runs: ``mtqscore.toml``, or ``[tool.mtqscore]`` in pyproject.toml."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mtqscore.gate import Gate, Level


@dataclass(frozen=True)
class GateEntry:
    """A gate as it was written, before the targets of the model are known.

    Args:
        text: the gate.
        level: whether it fails the run or only warns.
        paths: pattern of the recordings it is limited to; None is all.
    """

    text: str
    level: Level
    paths: str | None = None


@dataclass(frozen=True)
class Settings:
    """The settings of a project.

    Args:
        source: the file they come from; None when there is none.
        model: as ``--model``; None if not set.
        device: as ``--device``.
        channels: as ``--channels``.
        gates: what scores must reach.
        max_drop: largest mean drop against a base, by metric as written.
    """

    source: Path | None = None
    model: str | None = None
    device: str | None = None
    channels: str | None = None
    gates: tuple[GateEntry, ...] = ()
    max_drop: Mapping[str, float] = field(default_factory=dict)


def find_settings(start: Path | None = None) -> Settings:
    """Settings of the nearest folder that has any, from ``start`` (the current folder) upwards.

    Raises:
        UsageError: a file cannot be read, or holds an unknown name or a wrong value.
    """
    raise NotImplementedError


def read_settings(file: Path) -> Settings:
    """Read one file; in a pyproject.toml the table ``[tool.mtqscore]``.

    Raises:
        UsageError: as `find_settings`.
    """
    raise NotImplementedError


def parse_gates(entries: Sequence[GateEntry], targets: Sequence[str]) -> list[Gate]:
    """Turn entries into gates, now that the model's targets are known.

    Raises:
        UsageError: an entry is no gate; the message names where it was written.
    """
    raise NotImplementedError
