"""Score the known clips on every device, and compare with the stored scores, or between devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mtqscore.audio.loading import load_mono
from mtqscore.config import AssessConfig
from mtqscore.diagnostics.conformance.known import DECIMALS, TOLERANCE, ClipScores, clip_paths, find_known
from mtqscore.errors import EnvironmentProblemError, InputError, MtqscoreError
from mtqscore.scores import FrameScores, named_scores
from mtqscore.scoring import session
from mtqscore.scoring.assessor import Assessor
from mtqscore.targets import SAMPLE_RATE_HZ

JOINED = "joined"
"""Name of all clips one after another: several windows of unlike levels, which one short clip does not make."""

GAP_S = 1.0
"""Silence between the clips that are joined."""


@dataclass(frozen=True)
class DeviceCheck:
    """The known clips on one device.

    Args:
        device: as for ``--device``.
        provider: the execution provider that ran; empty when none did.
        problem: why there are no scores; empty when there are.
        counts: whether the problem is a failure; a device that is not there is none.
        deviations: largest deviation of each clip from the reference; empty where there is none.
    """

    device: str
    provider: str = ""
    problem: str = ""
    counts: bool = True
    deviations: Mapping[str, float] = field(default_factory=dict)

    @property
    def largest(self) -> float | None:
        """The largest deviation of all clips; None when nothing was compared."""
        return max(self.deviations.values(), default=None)

    @property
    def passed(self) -> bool:
        """True if nothing failed, and no score deviates by more than the tolerance."""
        if self.problem:
            return not self.counts
        return self.largest is None or self.largest <= TOLERANCE


@dataclass(frozen=True)
class Conformance:
    """One model on the known clips, by device; without stored scores its number is None and the first the reference."""

    model: str
    sha256: str
    conformance: int | None
    devices: tuple[DeviceCheck, ...]

    @property
    def passed(self) -> bool:
        """True if every device that is there gives the scores that it should."""
        return all(device.passed for device in self.devices)

    @property
    def compared(self) -> bool:
        """True if there was anything to compare with."""
        return any(device.deviations for device in self.devices)


def check_model(model: str | None) -> Conformance:
    """Score the known clips with a model on every device of this machine.

    Args:
        model: as for ``--model``.

    Raises:
        UsageError: there is no such model.
        EnvironmentProblemError: the model or a clip is damaged, or no device works.
    """
    devices = sorted(session.available_devices(), key=lambda device: device.name != "cpu")
    usable = [device.name for device in devices if device.works]
    if not usable:
        raise EnvironmentProblemError("no device can run a model; mtqscore doctor names the fix")
    assessor = Assessor(AssessConfig(model=model, device=usable[0], frames=True))
    known = find_known(assessor.model_sha256)
    found = score_clips(assessor)
    reference = known.clips if known else found
    checks = [DeviceCheck(usable[0], assessor.provider, deviations=deviations(found, reference) if known else {})]
    for name in usable[1:]:
        try:
            other = Assessor(AssessConfig(model=model, device=name, frames=True))
            checks.append(DeviceCheck(name, other.provider, deviations=deviations(score_clips(other), reference)))
        except MtqscoreError as error:
            checks.append(DeviceCheck(name, problem=str(error)))
    checks += [DeviceCheck(item.name, problem=item.reason, counts=False) for item in devices if not item.works]
    number = known.conformance if known else None
    return Conformance(assessor.model, assessor.model_sha256, number, tuple(checks))


def deviations(found: Mapping[str, ClipScores], reference: Mapping[str, ClipScores]) -> dict[str, float]:
    """Largest deviation of each clip; infinite for a clip that only one side has."""
    return {
        name: found[name].deviation(reference[name]) if name in found and name in reference else float("inf")
        for name in [*found, *(name for name in reference if name not in found)]
    }


def score_clips(assessor: Assessor) -> dict[str, ClipScores]:
    """Score every known clip, and all of them joined, with an assessor that keeps frame scores."""
    return {name: _score(assessor, name, samples) for name, samples in read_clips().items()}


def read_clips() -> dict[str, NDArray[np.float32]]:
    """Read the known clips, and all of them joined; float32 (samples,) at 16 kHz each.

    Raises:
        EnvironmentProblemError: one is missing or damaged, or nothing can be read.
    """
    clips: dict[str, NDArray[np.float32]] = {}
    for path in clip_paths():
        try:
            clips[path.stem], _ = load_mono(path)
        except InputError as error:
            raise EnvironmentProblemError(f"the clip is damaged ({error}); reinstall mtqscore") from error
    gap = np.zeros(round(GAP_S * SAMPLE_RATE_HZ), np.float32)
    clips[JOINED] = np.concatenate([part for clip in clips.values() for part in (clip, gap)])
    return clips


def _score(assessor: Assessor, name: str, samples: NDArray[np.float32]) -> ClipScores:
    result = assessor.assess_array(samples, SAMPLE_RATE_HZ)
    if result.scores is None or result.frames is None:
        raise EnvironmentProblemError(f"model {assessor.model}: clip {name} has no score: {result.reason}")
    named = named_scores(result)
    rounded = tuple(round(named[target], DECIMALS) for target in assessor.targets)
    return ClipScores(rounded, _mean_by_second(result.frames))


def _mean_by_second(frames: FrameScores) -> tuple[tuple[float | None, ...], ...]:
    """Average frame scores over each second that has frames with sound."""
    second = np.floor(np.arange(len(frames.values)) * frames.hop_s).astype(int)
    sounding = ~np.isnan(frames.values).any(axis=1)
    parts = (frames.values[sounding & (second == index)] for index in range(int(second[-1]) + 1))
    return tuple(
        tuple(round(float(value), DECIMALS) for value in part.mean(axis=0, dtype=np.float64))
        if len(part)
        else (None,) * len(frames.targets)
        for part in parts
    )
