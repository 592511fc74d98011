"""Stored scores of the released model on the known clips; ``benchmarks/release/conformance.py`` writes them."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mtqscore.errors import EnvironmentProblemError

CLIPS_FOLDER = Path(__file__).parent / "clips"
SCORES_FILE = Path(__file__).parent / "scores.json"

TOLERANCE = 0.005
"""Largest deviation that rounding on another processor or device may make, in points of the scale."""

DECIMALS = 4
"""Of stored scores: finer than the tolerance, coarser than what differs between processors."""


class ClipScores(msgspec.Struct, frozen=True):
    """Scores of one clip, one a target, and frame scores averaged over each second; None where that has no sound."""

    scores: tuple[float, ...]
    seconds: tuple[tuple[float | None, ...], ...]

    def deviation(self, other: ClipScores) -> float:
        """Largest difference of any score; infinite where only one of the two has a value, or either is NaN."""
        mine, theirs = (self.scores, *self.seconds), (other.scores, *other.seconds)
        if [len(row) for row in mine] != [len(row) for row in theirs]:
            return float("inf")
        return max(_gap(*pair) for rows in zip(mine, theirs, strict=True) for pair in zip(*rows, strict=True))


class KnownModel(msgspec.Struct, frozen=True):
    """A released model and the scores that it must give.

    Args:
        label: name@version.
        sha256: checksum of its file, hexadecimal.
        targets: names of its scores, in order.
        conformance: the number, raised by one whenever a score moves by more than the tolerance.
        release: version of mtqscore that gave these scores.
        clips: scores by name of the clip.
    """

    label: str
    sha256: str
    targets: tuple[str, ...]
    conformance: int
    release: str
    clips: dict[str, ClipScores]


class _Stored(msgspec.Struct):
    models: list[KnownModel]


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
        stored = msgspec.json.decode(SCORES_FILE.read_bytes(), type=_Stored)
    except (OSError, ValueError) as error:
        damaged = f"{SCORES_FILE}: the stored scores are damaged ({error}); reinstall mtqscore"
        raise EnvironmentProblemError(damaged) from error
    return {model.label: model for model in stored.models}


def find_known(sha256: str) -> KnownModel | None:
    """Find the released model that a file is, by its checksum; None for any other."""
    return next((model for model in read_known().values() if model.sha256 == sha256), None)


def _gap(mine: float | None, theirs: float | None) -> float:
    if mine is None or theirs is None:
        return 0.0 if mine is theirs else float("inf")
    gap = abs(mine - theirs)
    return gap if gap == gap else float("inf")  # noqa: PLR0124 - NaN is not equal to itself
