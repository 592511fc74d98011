"""Results of an assessment: statuses, flags, scores and frame scores of one recording."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from mtqscore.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from mtqscore.config import AssessConfig


class Status(StrEnum):
    """Outcome of an assessment: scored, or the kind of fault that stands in the way."""

    OK = "ok"
    NOT_FOUND = "not_found"
    NO_PERMISSION = "no_permission"
    NOT_A_FILE = "not_a_file"
    NO_AUDIO = "no_audio"
    UNREADABLE = "unreadable"
    EMPTY = "empty"
    NO_CHANNEL = "no_channel"
    TOO_SHORT = "too_short"
    SILENT = "silent"
    NON_FINITE = "non_finite"
    CHANGED = "changed"


class UnscorableError(InputError):
    """A recording has no score.

    Args:
        status: the kind of fault.
        reason: the fault in words, without the path.
    """

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Flag(StrEnum):
    """Something that a reader of a score should know about its recording."""

    UPSAMPLED = "upsampled"
    NARROWBAND = "narrowband"
    CLIPPED = "clipped"
    TRUNCATED = "truncated"
    SILENT_PARTS = "silent_parts"


FLAG_MEANING: Mapping[Flag, str] = MappingProxyType(
    {
        Flag.UPSAMPLED: "recorded below 16 kHz",
        Flag.NARROWBAND: "no content above 4 kHz: the scores are on the scale of telephone-band speech",
        Flag.CLIPPED: "samples stand at full scale",
        Flag.TRUNCATED: "the file ends early: what is there was scored",
        Flag.SILENT_PARTS: "a second or more that is silent or far quieter than the rest was left out of the scores",
    }
)


@dataclass(frozen=True)
class Scores:
    """Estimates on the ITU-T P.835 scales, 1 to 5, higher is better.

    Args:
        s_mos: quality of the speech itself.
        n_mos: (un)intrusiveness of the background noise.
        g_mos: overall quality.
        extra: further targets of the model by name.
    """

    s_mos: float
    n_mos: float
    g_mos: float
    extra: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class FrameScores:
    """Scores along time.

    Args:
        hop_s: seconds from one frame to the next; frame i stands at i × hop_s.
        targets: names of the columns.
        values: float32 (frames, targets); NaN where a long stretch had no sound.
    """

    hop_s: float
    targets: tuple[str, ...]
    values: NDArray[np.float32]


@dataclass(frozen=True)
class Assessment:
    """One recording, or one channel of it: its scores, or why there are none.

    Args:
        path: the file as it was named, None for an array.
        channel: ``mean`` for a mixdown, else its number from 1; empty where the file could not be opened.
        duration_s: length of the audio that was read, in seconds; None when none could be read.
        sample_rate_hz: rate of the recording; None when it could not be opened.
        status: ``ok``, or the kind of fault.
        reason: the fault in words; empty when scored.
        flags: what a reader of the scores should know.
        scores: None unless the status is ``ok``.
        frames: scores along time, when asked for.
        model: name@version of the model.
        model_sha256: its checksum, hexadecimal.
        provider: the execution provider that really ran it.
        options: the options of this assessment; None when a result file does not tell.
        precision: as in the options; here for rows of files that do not tell the others.
        size_bytes: size of the file when it was opened; None where it could not be opened, and for an array.
        modified_ns: when the file was last modified, at that moment, in nanoseconds since 1970.
        channel_count: channels of the recording.
        etag: tag of the content, where the file is in a store that has one.
    """

    path: str | None
    channel: str
    duration_s: float | None
    sample_rate_hz: int | None
    status: Status
    reason: str
    flags: tuple[Flag, ...]
    scores: Scores | None
    frames: FrameScores | None
    model: str
    model_sha256: str
    provider: str
    options: AssessConfig | None
    precision: str | None = None
    size_bytes: int | None = None
    modified_ns: int | None = None
    channel_count: int | None = None
    etag: str | None = None

    @property
    def ok(self) -> bool:
        """True when there are scores."""
        return self.status is Status.OK

    @property
    def begins_recording(self) -> bool:
        """True for the first row of its recording; with channels ``each`` every channel has a row."""
        return self.options is None or self.options.channels != "each" or self.channel in ("", "1")


def named_scores(assessment: Assessment) -> dict[str, float]:
    """Scores by name, in the order of the columns; empty when there are none."""
    scores = assessment.scores
    if scores is None:
        return {}
    return {"s_mos": scores.s_mos, "n_mos": scores.n_mos, "g_mos": scores.g_mos, **scores.extra}
