"""Options of the HTML report."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from mtqscore.errors import UsageError


@dataclass(frozen=True)
class HtmlConfig:
    """Size of an HTML report.

    Args:
        files: recordings with sound, spectrogram and curves; 0 for none.
        excerpt_s: longest stretch of one recording, in seconds.
        max_bytes: no sound or picture is added that would make the file larger than this.
        made: date that the report bears.

    Raises:
        UsageError: a value is outside what is allowed.
    """

    files: int = 30
    excerpt_s: float = 30.0
    max_bytes: int = 50_000_000
    made: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        if self.files < 0:
            raise UsageError(f"{self.files} recordings in the HTML report is less than none; 0 leaves all out")
        if not 2 <= self.excerpt_s <= 3600:
            raise UsageError(f"an excerpt of {self.excerpt_s:g} s is outside 2 to 3600")
