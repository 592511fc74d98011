"""Speech and noise parts of a simulated recording, which its labels are computed from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any, ClassVar, Protocol

import numpy as np
import soxr

from mtqscore.audio.levels import Signal
from mtqscore.labels.separation import split_black_box


@dataclass(frozen=True)
class Scene:
    """One recording in the making; all arrays are float64, shape (samples,), sample-aligned.

    Args:
        rate_hz: sample rate of the arrays.
        clean: the reference that listeners would call undistorted.
        speech: the speech part of the recording after all that was done to it.
        noise: the noise part after all that was done to it; speech + noise is the recording.
        raw_noise: the noise as it was added, before any processing; all zeros without noise.
        rest_db: energy that no split explains, relative to the recording, in dB; -140 for an exact split.
        noise_names: the recordings, or the kinds of made noise, that were added.
    """

    rate_hz: int
    clean: Signal
    speech: Signal
    noise: Signal
    raw_noise: Signal
    rest_db: float = -140.0
    noise_names: tuple[str, ...] = ()

    @property
    def mix(self) -> Signal:
        """The recording itself, shape (samples,)."""
        return self.speech + self.noise

    def scaled(self, gain: float) -> Scene:
        """The same scene at another level; ratios and labels stay as they are."""
        return replace(self, speech=self.speech * gain, noise=self.noise * gain)

    def through(self, linear: Callable[[Signal], Signal]) -> Scene:
        """The scene after a linear operation on the recording: the same on speech and on noise."""
        return replace(self, speech=linear(self.speech), noise=linear(self.noise))

    def at_rate(self, rate_hz: int) -> Scene:
        """The scene resampled, reference included."""
        if rate_hz == self.rate_hz:
            return self

        parts: dict[str, Any] = {
            name: np.asarray(soxr.resample(getattr(self, name), self.rate_hz, rate_hz), dtype=np.float64)
            for name in ("clean", "speech", "noise", "raw_noise")
        }
        return replace(self, rate_hz=rate_hz, **parts)

    def divided(self, recording: Signal) -> Scene:
        """The scene after a black box made a recording of it, whose parts are found by `split_black_box`."""
        split = split_black_box(self.speech, self.noise, recording, self.rate_hz)
        return replace(self, speech=split.speech, noise=split.noise, rest_db=max(self.rest_db, split.rest_db))


def start_scene(clean: Signal, rate_hz: int) -> Scene:
    """A recording to which nothing has been done yet."""
    silence = np.zeros_like(clean)
    return Scene(rate_hz, clean, clean.copy(), silence, silence)


class Degradation(Protocol):
    """One thing that is done to a recording: a small frozen dataclass whose fields are its drawn parameters."""

    name: ClassVar[str]

    def apply(self, scene: Scene, rng: np.random.Generator) -> Scene:
        """Return the scene after the degradation; everything random comes from ``rng``."""


def describe(degradation: Degradation) -> dict[str, Any]:
    """Return name and parameters for the manifest; fields with ``metadata={'record': False}`` are left out."""
    parameters: dict[str, Any] = {"name": degradation.name}
    for item in fields(degradation):  # type: ignore[arg-type]  # every degradation is a dataclass
        if item.metadata.get("record", True):
            value = getattr(degradation, item.name)
            if item.default is not MISSING and value is None:
                continue
            parameters[item.name] = round(value, 4) if isinstance(value, float) else value
    return parameters
