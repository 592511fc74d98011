"""Stored scores of the released model on the known clips; ``benchmarks/release/conformance.py`` writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtqscore.errors import EnvironmentProblemError

CLIPS_FOLDER = Path(__file__).parent / "clips"
SCORES_FILE = Path(__file__).parent / "scores.json"

TOLERANCE = 0.005
"""Largest deviation that rounding on another processor or device may make, in points of the scale."""

DECIMALS = 4
"""Of stored scores: finer than the tolerance, coarser than what differs between processors."""


@dataclass(frozen=True)
class ClipScores:
    """What a model says of one clip.

    Args:
        scores: one value a target, in the order of the model's targets.
        seconds: frame scores averaged over each second, one tuple a second; None where a second has no sound.
    """

    scores: tuple[float, ...]
    seconds: tuple[tuple[float | None, ...], ...]

    def deviation(self, other: ClipScores) -> float:
        """Largest difference of any score; infinite where only one of the two has a value, or either is NaN."""
        mine, theirs = (self.scores, *self.seconds), (other.scores, *other.seconds)
        if [len(row) for row in mine] != [len(row) for row in theirs]:
            return float("inf")
        return max(_gap(*pair) for rows in zip(mine, theirs, strict=True) for pair in zip(*rows, strict=True))


@dataclass(frozen=True)
class Entry:
    """The scores of one model under one conformance number.

    Args:
        conformance: the number, raised by one whenever a score moves by more than the tolerance.
        release: version of mtqscore that gave these scores.
        clips: by name of the clip.
    """

    conformance: int
    release: str
    clips: Mapping[str, ClipScores]


@dataclass(frozen=True)
class KnownModel:
    """A released model and all conformance numbers that it ever had, oldest first.

    Args:
        label: name@version.
        sha256: checksum of its file, hexadecimal.
        targets: names of its scores, in order.
        history: the last entry is what the model must give now.
    """

    label: str
    sha256: str
    targets: tuple[str, ...]
    history: tuple[Entry, ...]

    @property
    def current(self) -> Entry:
        """What the model must give now."""
        return self.history[-1]


def clip_paths() -> list[Path]:
    """List the known clips: lossless, mono, 16 kHz, in order of name.

    Raises:
        EnvironmentProblemError: there are none.
    """
    paths = sorted(CLIPS_FOLDER.glob("*.flac"))
    if not paths:
        raise EnvironmentProblemError(f"the known clips are missing from {CLIPS_FOLDER}; reinstall mtqscore")
    return paths


def read_known() -> dict[str, KnownModel]:
    """Read the stored scores, by name@version.

    Raises:
        EnvironmentProblemError: the file is missing or damaged.
    """
    try:
        document = json.loads(SCORES_FILE.read_text(encoding="utf-8"))
        return {label: _model_from_json(label, item) for label, item in document["models"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise EnvironmentProblemError(
            f"{SCORES_FILE}: the stored scores are damaged ({error!r}); reinstall mtqscore"
        ) from error


def find_known(sha256: str) -> KnownModel | None:
    """Find the released model that a file is, by its checksum; None for any other."""
    return next((model for model in read_known().values() if model.sha256 == sha256), None)


def _model_from_json(label: str, item: Mapping[str, Any]) -> KnownModel:
    history = tuple(
        Entry(
            int(entry["conformance"]),
            str(entry["release"]),
            {
                name: ClipScores(tuple(clip["scores"]), tuple(tuple(second) for second in clip["seconds"]))
                for name, clip in entry["clips"].items()
            },
        )
        for entry in item["history"]
    )
    if not history:
        raise ValueError(f"{label} has no scores")
    return KnownModel(label, str(item["sha256"]), tuple(item["targets"]), history)


def _gap(mine: float | None, theirs: float | None) -> float:
    if mine is None or theirs is None:
        return 0.0 if mine is theirs else float("inf")
    gap = abs(mine - theirs)
    return gap if gap == gap else float("inf")  # noqa: PLR0124 - NaN is not equal to itself
