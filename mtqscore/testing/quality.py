"""Speech quality in tests: one assertion on a file or on samples in memory."""

from __future__ import annotations

import numbers
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mtqscore.base.text import TITLES, moment, printable
from mtqscore.config import AssessConfig
from mtqscore.errors import MtqscoreError, UsageError
from mtqscore.targets import DECIMALS, MOS_HIGH, MOS_LOW

if TYPE_CHECKING:
    from mtqscore.analysis.explanation import Segment
    from mtqscore.scores import Assessment
    from mtqscore.scoring.assessor import Assessor


def assert_quality(
    audio: Any,
    sample_rate_hz: int | None = None,
    *,
    s: float | None = None,
    n: float | None = None,
    g: float | None = None,
    config: AssessConfig | None = None,
    assessor: Assessor | None = None,
) -> Assessment:
    """Assert that a recording reaches every given score; the model stays loaded between calls.

    Args:
        audio: a path; or samples, (samples,) or (samples, channels), in anything that numpy takes: floats at full
            scale 1 or signed integers with their type. Tensors of torch must be on the CPU.
        sample_rate_hz: the rate of samples; None for a file.
        s: least S-MOS, from 1 to 5. Scores are rounded as in result files, to four decimals.
        n: least N-MOS.
        g: least G-MOS.
        config: the options; None is all defaults.
        assessor: scores with this one, in place of ``config``.

    Returns:
        The assessment.

    Raises:
        AssertionError: a score is too low, or the recording cannot be scored.
        UsageError: no limit is given, a limit is outside 1 to 5, or the samples are no audio or have no rate.
        EnvironmentProblemError: the device or the model does not work.

    Example:
        >>> import numpy as np
        >>> assert_quality(np.zeros(16_000, np.float32), 16_000, g=3.2)
        Traceback (most recent call last):
        AssertionError: the samples cannot be scored: no sound above -80 dBFS (silent)
    """
    __tracebackhide__ = True
    limits = read_limits(s=s, n=n, g=g)
    assessed = assess(audio, sample_rate_hz, _choose_assessor(config, assessor))
    demand(assessed, limits)
    return assessed.assessment


@dataclass(frozen=True)
class AssessedRecording:
    """A recording (path or array), its name in messages, its scores, and the assessor that found them."""

    audio: Any
    name: str
    assessment: Assessment
    assessor: Assessor


def read_limits(**limits: float | None) -> dict[str, float]:
    """Keep the limits that are given, by target; refuse none at all, and one outside 1 to 5."""
    __tracebackhide__ = True
    given = {f"{name}_mos": limit for name, limit in limits.items() if limit is not None}
    if not given:
        raise UsageError("assert_quality needs a limit: s, n or g, for example g=3.2")
    for name, limit in given.items():
        number = isinstance(limit, numbers.Real) and not isinstance(limit, bool)
        if not number or not MOS_LOW <= limit <= MOS_HIGH:
            raise UsageError(f"{name[0]}={limit!r}: a limit is a number from {MOS_LOW:g} to {MOS_HIGH:g}")
    return given


def assess(audio: Any, sample_rate_hz: int | None, assessor: Assessor) -> AssessedRecording:
    """Assess a path or samples; refuse samples that are no audio or have no rate, and a path that has one."""
    __tracebackhide__ = True
    if isinstance(audio, str | os.PathLike):
        if sample_rate_hz is not None:
            raise UsageError("a file has a sample rate of its own: leave sample_rate_hz away")
        path = os.fsdecode(audio)
        return AssessedRecording(path, printable(path), assessor.assess_file(path), assessor)
    samples = _as_array(audio)
    if sample_rate_hz is None:
        raise UsageError("samples need their rate: assert_quality(samples, sample_rate_hz, ...)")
    # Some readers give whole numbers as floats.
    if not isinstance(sample_rate_hz, numbers.Real) or int(sample_rate_hz) != sample_rate_hz:
        raise UsageError(f"sample_rate_hz={sample_rate_hz!r} is no whole number")
    return AssessedRecording(samples, "the samples", assessor.assess_array(samples, int(sample_rate_hz)), assessor)


def demand(assessed: AssessedRecording, limits: dict[str, float]) -> None:
    """Raise an assertion if a score is too low, or there is none."""
    __tracebackhide__ = True
    assessment = assessed.assessment
    if assessment.scores is None:
        raise AssertionError(f"{assessed.name} cannot be scored: {assessment.reason} ({assessment.status})")
    names = ("s_mos", "n_mos", "g_mos")
    values = {name: round(getattr(assessment.scores, name), DECIMALS) for name in names}
    low = [
        f"{TITLES[name]} {values[name]:.4f} is below {limit:g}"
        for name, limit in limits.items()
        if values[name] < limit
    ]
    if not low:
        return
    lines = [f"{assessed.name}: {', '.join(low)}"]
    lines.append("scores: " + ", ".join(f"{TITLES[name]} {value:.4f}" for name, value in values.items()))
    worst = _worst_second(assessed)
    if worst is not None:
        shown = ", ".join(f"{name[0].upper()} {worst.scores[name]:.2f}" for name in names)
        lines.append(f"worst second: {moment(worst.start_s)} to {moment(worst.end_s)}, alone {shown}")
    if assessment.flags:
        lines.append("flags: " + ", ".join(map(str, assessment.flags)))
    raise AssertionError("\n".join(lines))


def _choose_assessor(config: AssessConfig | None, assessor: Assessor | None) -> Assessor:
    from mtqscore.scoring.assessor import loaded_assessor

    if assessor is None:
        return loaded_assessor(config or AssessConfig())
    if config is not None:
        raise UsageError("give config or assessor, not both: an assessor has its options already")
    return assessor


def _as_array(audio: Any) -> Any:
    import numpy as np

    __tracebackhide__ = True
    try:
        samples = np.asarray(audio)
    except (TypeError, ValueError, RuntimeError) as error:
        # Tensors on a GPU, with a gradient or of a type that numpy lacks; lists of unequal length.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"the samples are nothing that numpy takes: {reason}") from error
    if samples.dtype.kind not in "biuf":
        raise UsageError(f"{type(audio).__name__} is neither a path nor samples: give text, a Path or numbers")
    if samples.dtype.kind == "i" and not hasattr(audio, "dtype"):
        raise UsageError("a list of integers has no full scale: make it an array of its type, for example numpy.int16")
    if samples.ndim == 2 and samples.shape[0] < samples.shape[1]:
        raise UsageError(f"samples of shape {samples.shape} have their channels first; give (samples, channels)")
    return samples


def _worst_second(assessed: AssessedRecording) -> Segment | None:
    """Look where it is worst; nothing that goes wrong here may hide the assertion itself."""
    from mtqscore.analysis.explain import explain_assessment
    from mtqscore.audio.decoding import open_recording
    from mtqscore.audio.sources import ArraySource

    audio, assessment, scorer = assessed.audio, assessed.assessment, assessed.assessor.scorer
    with suppress(MtqscoreError):
        if isinstance(audio, str):
            with open_recording(audio) as source:
                return explain_assessment(assessment, source, scorer).worst
        if assessment.sample_rate_hz is not None:
            return explain_assessment(assessment, ArraySource(audio, assessment.sample_rate_hz), scorer).worst
    return None
