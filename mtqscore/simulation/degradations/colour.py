"""Recolouring of clean speech: microphones, rooms and networks filter speech, and listeners do not mind much.

The recoloured speech is the reference of its recording: a model trained on studio spectra alone takes
filtered recordings for distorted ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy import signal as dsp

from mtqscore.audio.levels import Signal
from mtqscore.labels.filters import shaped
from mtqscore.simulation.scene import Scene

SEND_FILTERS: dict[str, tuple[list[float], list[float]]] = {
    # Nominal send responses, drawn through the middle of their tolerance masks: (frequency in Hz, gain in dB).
    "p341": ([40, 50, 100, 200, 5000, 7000, 7600, 8000], [-30, -14, -2, 0, 0, -1, -20, -40]),
    "irs": ([80, 120, 200, 300, 800, 2000, 3000, 3400, 4000], [-40, -28, -12, -5, 0, 3, 4, 2, -40]),
    "modified_irs": (
        [80, 120, 200, 300, 1000, 2000, 3000, 3500, 4000, 5000, 8000],
        [-30, -20, -9, -4, 0, 3, 5, 5, 5, 4, 0],
    ),
    "flat_telephone": ([50, 120, 200, 300, 3300, 3500, 3700, 4000], [-40, -24, -6, 0, 0, -3, -18, -45]),
}


def sloped(clean: Signal, rate_hz: int, slope_db_per_octave: float, ripple_db: list[float]) -> Signal:
    """Tilt the spectrum about 1 kHz and add a smooth ripple given at equal steps of log frequency."""
    octaves = np.linspace(np.log2(60), np.log2(rate_hz / 2), len(ripple_db))
    gain = slope_db_per_octave * (octaves - np.log2(1000)) + np.asarray(ripple_db)
    # Below 125 Hz there is no speech to tilt; holding the gain keeps rumble from being lifted out of nothing.
    gain = np.where(octaves < np.log2(125), np.minimum(gain, 0.0), gain)
    return shaped(clean, rate_hz, list(2**octaves), list(np.clip(gain, -30, 24)))


@dataclass(frozen=True)
class Recolour:
    """Random smooth equalisation, high-pass and send filter of the clean speech, before anything else.

    Args:
        slope_db_per_octave: tilt about 1 kHz.
        ripple_db: equalisation at equal steps of log frequency.
        highpass_hz: corner of a second-order high-pass; 0 for none.
        send_filter: a name of ``SEND_FILTERS``, or empty.
    """

    name: ClassVar[str] = "recolour"
    slope_db_per_octave: float
    ripple_db: tuple[float, ...]
    highpass_hz: float
    send_filter: str

    @classmethod
    def draw(cls, rng: np.random.Generator, rate_hz: int) -> Recolour:
        """Draw the parameters; narrowband speech meets telephone send filters more often."""
        names = ["", "irs", "flat_telephone"] if rate_hz <= 8000 else ["", "p341", "modified_irs"]
        chances = [0.4, 0.3, 0.3] if rate_hz <= 8000 else [0.65, 0.2, 0.15]
        ripple = rng.normal(0, rng.uniform(0, 3), size=9)
        return cls(
            slope_db_per_octave=float(rng.uniform(-4, 7) if rng.random() < 0.75 else 0.0),
            ripple_db=tuple(round(float(value), 2) for value in ripple),
            highpass_hz=float(rng.uniform(60, 280)) if rng.random() < 0.5 else 0.0,
            send_filter=str(rng.choice(names, p=chances)),
        )

    def apply(self, scene: Scene, rng: np.random.Generator) -> Scene:
        """Recolour the reference and the speech alike."""

        def filtered(part: Signal) -> Signal:
            if self.slope_db_per_octave or any(self.ripple_db):
                part = sloped(part, scene.rate_hz, self.slope_db_per_octave, list(self.ripple_db))
            if self.highpass_hz:
                corner = dsp.butter(2, self.highpass_hz, "highpass", fs=scene.rate_hz, output="sos")
                part = dsp.sosfilt(corner, part)
            if self.send_filter:
                part = shaped(part, scene.rate_hz, *SEND_FILTERS[self.send_filter])
            return np.asarray(part)

        return replace(scene, clean=filtered(scene.clean), speech=filtered(scene.speech))


@dataclass(frozen=True)
class BandLimit:
    """Low-pass and high-pass of the whole recording, as a channel or a codec leaves it.

    Args:
        low_hz: lower edge; 0 for none.
        high_hz: upper edge.
        order: order of the low-pass; half of it runs forward and half backward, so that nothing is delayed against the
            reference and counts as distortion.
        reference_too: the reference is limited too, because listeners take this bandwidth for granted.
    """

    name: ClassVar[str] = "band_limit"
    low_hz: float
    high_hz: float
    order: int
    reference_too: bool

    @classmethod
    def draw(cls, rng: np.random.Generator, rate_hz: int) -> BandLimit:
        """Draw the edges: a telephone channel at 8 kHz, a muffled recording at 16 kHz."""
        if rate_hz <= 8000:
            low = float(rng.choice([0, 100, 200, 300]))
            return cls(low, float(rng.uniform(3200, 3800)), int(rng.integers(6, 14)), reference_too=True)
        return cls(0.0, float(rng.uniform(4300, 7500)), int(rng.integers(4, 12)), reference_too=False)

    def apply(self, scene: Scene, rng: np.random.Generator) -> Scene:
        """Filter speech, noise and, where it is the listeners' yardstick, the reference."""
        nyquist = scene.rate_hz / 2
        filters = [dsp.butter(self.order // 2, min(self.high_hz, 0.98 * nyquist), fs=scene.rate_hz, output="sos")]
        if self.low_hz:
            filters.append(dsp.butter(1, self.low_hz, "highpass", fs=scene.rate_hz, output="sos"))

        def filtered(part: Signal) -> Signal:
            for sections in filters:
                part = dsp.sosfiltfilt(sections, part)
            return part

        limited = scene.through(filtered)
        return replace(limited, clean=filtered(scene.clean)) if self.reference_too else limited
