"""Noise that is added to speech: recorded, made, or babble from the speech itself."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol

import numpy as np
from scipy import signal as dsp

from mtqscore.audio.levels import Signal, active_level_db, level_db
from mtqscore.labels.filters import shaped
from mtqscore.simulation.scene import Scene

KINDS = ("recorded", "white", "coloured", "babble", "hum", "impulses")


class NoiseSampler(Protocol):
    """Random stretches of noise and of other talkers; ``sampler.SoundSampler`` is one."""

    def noise(self, rng: np.random.Generator, samples: int, rate_hz: int, speed: float) -> tuple[Signal, str]:
        """Return a stretch of recorded noise played at a speed, shape (samples,), and its name."""

    def babble(self, rng: np.random.Generator, samples: int, rate_hz: int, talkers: int) -> Signal:
        """Return several talkers at once, shape (samples,)."""


def white(rng: np.random.Generator, samples: int, rate_hz: int) -> Signal:
    """White Gaussian noise, shape (samples,)."""
    return rng.standard_normal(samples)


def coloured(rng: np.random.Generator, samples: int, rate_hz: int) -> Signal:
    """Noise with a random slope (brown to blue), a random band, and now and then a slow change of level."""
    slope = float(rng.uniform(-7, 3))
    noise = shaped(rng.standard_normal(samples), rate_hz, [60, rate_hz / 2], [0, slope * np.log2(rate_hz / 120)])
    if rng.random() < 0.3:
        low = float(rng.uniform(60, 1500))
        high = float(min(low * rng.uniform(2, 8), 0.48 * rate_hz))
        noise = dsp.sosfilt(dsp.butter(2, [low, high], "bandpass", fs=rate_hz, output="sos"), noise)
    if rng.random() < 0.4:
        count = max(3, int(samples / rate_hz / rng.uniform(0.15, 1.0)))
        swing_db = rng.normal(0, rng.uniform(2, 8), size=count)
        noise = noise * 10 ** (np.interp(np.linspace(0, count - 1, samples), np.arange(count), swing_db) / 20)
    return np.asarray(noise)


def hum(rng: np.random.Generator, samples: int, rate_hz: int) -> Signal:
    """Mains hum with harmonics, a switching supply's whine, and a little hiss."""
    mains_hz = float(rng.choice([50.0, 60.0])) * float(rng.uniform(0.998, 1.002))
    time_s = np.arange(samples) / rate_hz
    decay_db = float(rng.uniform(0.3, 3))
    count = min(int(rng.integers(2, 40)), int(0.45 * rate_hz / mains_hz))
    out = 10 ** (-rng.uniform(15, 45) / 20) * rng.standard_normal(samples)
    for harmonic in range(1, count + 1):
        amplitude = 10 ** ((-decay_db * harmonic + rng.normal(0, 5)) / 20)
        out += amplitude * np.sin(2 * np.pi * (mains_hz * harmonic * time_s + rng.random()))
    if rng.random() < 0.25:
        out += 10 ** (-rng.uniform(5, 25) / 20) * np.sin(2 * np.pi * rng.uniform(600, 0.45 * rate_hz) * time_s)
    return np.asarray(out)


def impulses(rng: np.random.Generator, samples: int, rate_hz: int) -> Signal:
    """Clicks, knocks and key strokes: short bursts of decaying noise or resonance at random times."""
    out = 10 ** (-rng.uniform(35, 60) / 20) * rng.standard_normal(samples)
    for _ in range(max(1, int(rng.poisson(samples / rate_hz * rng.uniform(0.5, 8))))):
        size = int(rate_hz * 10 ** rng.uniform(-3, -0.9))
        envelope = np.exp(-np.arange(size) / (size / 5))
        if rng.random() < 0.5:
            burst = rng.standard_normal(size) * envelope
        else:
            burst = np.sin(2 * np.pi * rng.uniform(150, 0.4 * rate_hz) * np.arange(size) / rate_hz) * envelope
        start = int(rng.integers(0, samples))
        stop = min(samples, start + size)
        out[start:stop] += burst[: stop - start] * 10 ** (rng.normal(0, 6) / 20)
    return np.asarray(out)


MADE = {"white": white, "coloured": coloured, "hum": hum, "impulses": impulses}


@dataclass(frozen=True)
class AddNoise:
    """Add noise at a ratio of active speech level to noise level.

    Args:
        kind: one of ``KINDS``.
        snr_db: active speech level (P.56) minus long-term noise level.
        speed: playing speed of recorded noise, which makes another noise of it.
        slope_db_per_octave: tilt of recorded noise about 1 kHz.
        burst_s: mean length of bursts and gaps of recorded noise that comes and goes; 0 for none.
        sampler: where recorded noise and babble come from.
    """

    name: ClassVar[str] = "noise"
    kind: str
    snr_db: float
    speed: float = 1.0
    slope_db_per_octave: float = 0.0
    burst_s: float = 0.0
    sampler: NoiseSampler | None = field(default=None, repr=False, compare=False, metadata={"record": False})

    @classmethod
    def draw(
        cls, rng: np.random.Generator, sampler: NoiseSampler, *, snr_db: tuple[float, float] = (-5, 45)
    ) -> AddNoise:
        """Draw kind and ratio; recorded noise is the most frequent."""
        kind = str(rng.choice(KINDS, p=[0.5, 0.14, 0.12, 0.12, 0.06, 0.06]))
        recorded = kind == "recorded"
        return cls(
            kind,
            float(rng.uniform(*snr_db)),
            speed=float(2 ** rng.uniform(-0.8, 0.8)) if recorded and rng.random() < 0.6 else 1.0,
            slope_db_per_octave=float(rng.uniform(-5, 5)) if recorded and rng.random() < 0.4 else 0.0,
            burst_s=float(rng.uniform(0.1, 1.2)) if recorded and rng.random() < 0.2 else 0.0,
            sampler=sampler,
        )

    def apply(self, scene: Scene, rng: np.random.Generator) -> Scene:
        """Add the noise; whatever was added before stays."""
        size, origin = len(scene.speech), self.kind
        if self.kind in MADE:
            noise = MADE[self.kind](rng, size, scene.rate_hz)
        elif self.sampler is None:
            raise ValueError(f"noise of kind {self.kind} needs a sampler")
        elif self.kind == "babble":
            noise = self.sampler.babble(rng, size, scene.rate_hz, int(rng.integers(3, 12)))
        else:
            noise, origin = self.sampler.noise(rng, size, scene.rate_hz, self.speed)
            noise = self._varied(noise, rng, scene.rate_hz)
        speech_db = active_level_db(scene.speech, scene.rate_hz)
        noise = noise * 10 ** ((speech_db - self.snr_db - level_db(noise)) / 20)
        return replace(
            scene,
            noise=scene.noise + noise,
            raw_noise=scene.raw_noise + noise,
            noise_names=(*scene.noise_names, origin),
        )

    def _varied(self, noise: Signal, rng: np.random.Generator, rate_hz: int) -> Signal:
        if self.slope_db_per_octave:
            span = self.slope_db_per_octave * np.log2(rate_hz / 2000)
            noise = shaped(noise, rate_hz, [62.5, 1000, rate_hz / 2], [-4 * self.slope_db_per_octave, 0, float(span)])
        if self.burst_s:
            count = max(4, int(2 * len(noise) / rate_hz / self.burst_s))
            gate = np.repeat(rng.random(count) < 0.5, -(-len(noise) // count))[: len(noise)].astype(np.float64)
            if gate.any():
                ramp = max(1, int(0.02 * rate_hz))
                floor = 10 ** (-rng.uniform(10, 50) / 20)
                noise = noise * (floor + (1 - floor) * np.convolve(gate, np.ones(ramp) / ramp, "same"))
        return noise
