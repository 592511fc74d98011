"""The options of a simulated corpus; needs nothing but the standard library."""

from __future__ import annotations

from dataclasses import dataclass

from mtqscore.base.option import check_limits, option
from mtqscore.errors import UsageError


@dataclass(frozen=True)
class SimulationConfig:
    """Settings of a simulated corpus; together with the sources they determine every sample.

    Raises:
        UsageError: a value is outside what is allowed.
    """

    clips: int = option(8000, "Number of recordings.", "--clips N", within=(1, 100_000_000))
    val_share: float = option(0.08, "Of the recordings, for validation.", "--val-share SHARE", within=(0, 1))
    test_share: float = option(0.12, "Of the recordings, for the test.", "--test-share SHARE", within=(0, 1))
    seed: int = option(1, "The same seed gives the same corpus.", "--seed N", within=(0, 2**63 - 1))
    min_s: float = option(3.0, "Shortest recording.", "--min-s SECONDS", within=(1, 3600))
    max_s: float = option(7.0, "Longest recording.", "--max-s SECONDS", within=(1, 3600))
    narrow_share: float = option(0.4, "Of the recordings, narrowband.", "--narrow-share SHARE", within=(0, 1))
    enhancers: tuple[str, ...] = option(
        (), "External enhancer, such as 'cmd {in} {out}'.", "--enhancer COMMAND", repeated=True
    )
    enhancer_share: float = option(
        0.5,
        "Of the enhanced recordings, through an external enhancer, if any.",
        "--enhancer-share SHARE",
        within=(0, 1),
    )
    voice_share: float = option(
        0.5,
        "Of the recordings for training and validation, made other talkers.",
        "--voice-share SHARE",
        within=(0, 1),
    )
    hold_out: tuple[str, ...] = option(
        (),
        "Enhancer, distortion or codec, such as klt or vorbis, that only the test has.",
        "--hold-out NAME",
        repeated=True,
    )

    def __post_init__(self) -> None:
        check_limits(self)
        if self.val_share + self.test_share > 1:
            raise UsageError("val_share and test_share add up to more than 1")
        if self.max_s < self.min_s:
            raise UsageError(f"max_s {self.max_s:g} is below min_s {self.min_s:g}")

    def split_of(self, index: int) -> str:
        """Return the split of clip number ``index``, spread evenly so that a partial corpus has all three."""
        point = (index * 0.6180339887498949) % 1.0
        if point < self.test_share:
            return "test"
        return "val" if point < self.test_share + self.val_share else "train"
