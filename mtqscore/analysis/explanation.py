"""What can be said about one recording, as values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mtqscore.base.schema_versions import EXPLAIN, document
from mtqscore.scores import named_scores
from mtqscore.targets import DECIMALS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mtqscore.analysis.segments import Seconds
    from mtqscore.audio.measurements import SignalMeasurements
    from mtqscore.scores import Assessment


@dataclass(frozen=True)
class Second:
    """One second of a recording, heard alone.

    Args:
        start_s: where it begins.
        end_s: where it ends.
        scores: its scores by target.
    """

    start_s: float
    end_s: float
    scores: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Explanation:
    """What can be said about one recording.

    Args:
        assessment: its scores, or why there are none.
        container: its format and encoding, ``WAV PCM_16``; empty when it could not be opened.
        signal: what was measured; up to a fault if there is one; None when it could not be opened.
        seconds: scores along time; None without scores.
        worst: the second with the lowest G; None when there are fewer than three seconds to compare.
        best: the second with the highest G; None likewise.
        median: median of every score over the seconds; None likewise.
        even: whether no second falls clearly below the median; None likewise.
        bands: what each score says, in the words of its scale; None without scores.
        weaker: ``s_mos`` or ``n_mos``, whichever is clearly lower than the other; None when they are alike.
        advice: what a person should check, most important first.
    """

    assessment: Assessment
    container: str = ""
    signal: SignalMeasurements | None = None
    seconds: Seconds | None = None
    worst: Second | None = None
    best: Second | None = None
    median: Mapping[str, float] | None = None
    even: bool | None = None
    bands: Mapping[str, str] | None = None
    weaker: str | None = None
    advice: tuple[str, ...] = ()


def as_record(explanation: Explanation) -> dict[str, Any]:
    """All of an explanation as plain values for JSON; what is not known is null."""
    assessment, seconds = explanation.assessment, explanation.seconds
    record: dict[str, Any] = {
        "path": assessment.path,
        "channel": assessment.channel,
        "status": str(assessment.status),
        "reason": assessment.reason,
        "flags": [str(flag) for flag in assessment.flags],
        "scores": _rounded(named_scores(assessment)) or None,
        "bands": explanation.bands,
        "weaker": explanation.weaker,
        "even": explanation.even,
        "container": explanation.container or None,
        "signal": _rounded(asdict(explanation.signal)) if explanation.signal else None,
    }
    for name in ("worst", "best"):
        second: Second | None = getattr(explanation, name)
        record[name] = _rounded(asdict(second)) if second else None
    record["median"] = explanation.median
    record["seconds"] = None
    if seconds is not None:
        record["seconds"] = {
            "starts_s": [round(float(start), DECIMALS) for start in seconds.starts_s],
            "length_s": seconds.length_s,
            **{name: [_known(value) for value in seconds.of(name)] for name in seconds.targets},
        }
    record["advice"] = list(explanation.advice)
    record |= {"model": assessment.model, "model_sha256": assessment.model_sha256, "provider": assessment.provider}
    return document(EXPLAIN, record, version=None)


def _known(value: np.float32) -> float | None:
    return None if np.isnan(value) else round(float(value), DECIMALS)


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, DECIMALS) if isinstance(value, float) else value for name, value in values.items()}
