"""Real codecs, through libsndfile: encoded and decoded in memory."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import soundfile

from mtqscore.audio.levels import Signal
from mtqscore.labels.alignment import shifted
from mtqscore.simulation.scene import Scene


@dataclass(frozen=True)
class Format:
    """Container, subtype and rates of one codec in libsndfile; ``graded`` codecs have a choice of bit rate."""

    container: str
    subtype: str
    rates_hz: tuple[int, ...]
    graded: bool = False


FORMATS = {
    "gsm": Format("WAV", "GSM610", (8000,)),
    "a_law": Format("WAV", "ALAW", (8000, 16000)),
    "mu_law": Format("WAV", "ULAW", (8000, 16000)),
    "ima_adpcm": Format("WAV", "IMA_ADPCM", (8000, 16000)),
    "opus": Format("OGG", "OPUS", (8000, 16000), graded=True),
    "vorbis": Format("OGG", "VORBIS", (8000, 16000), graded=True),
    "mp3": Format("MP3", "MPEG_LAYER_III", (8000, 16000), graded=True),
}
WEIGHTS = {"gsm": 3.0, "a_law": 1.0, "mu_law": 1.0, "ima_adpcm": 2.0, "opus": 3.0, "vorbis": 1.5, "mp3": 2.0}


@dataclass(frozen=True)
class Codec:
    """Encode and decode the recording.

    Args:
        codec: a name of ``FORMATS``.
        compression: 0 (best) to 1 (smallest); only for codecs with a choice of bit rate.
        passes: how often the recording goes through the codec.
        level_db: level before the codec; coarse quantisers distort quiet speech more.
    """

    name: ClassVar[str] = "codec"
    codec: str
    compression: float
    passes: int
    level_db: float

    @classmethod
    def draw(cls, rng: np.random.Generator, rate_hz: int) -> Codec:
        """Draw a codec that exists at this rate."""
        names = [name for name, item in FORMATS.items() if rate_hz in item.rates_hz]
        chances = np.array([WEIGHTS[name] for name in names])
        name = str(rng.choice(names, p=chances / chances.sum()))
        return cls(
            codec=name,
            compression=float(rng.uniform(0.3, 1.0)) if FORMATS[name].graded else 0.0,
            passes=int(rng.choice([1, 1, 1, 2, 3])),
            level_db=float(rng.uniform(-36, -18)),
        )

    def apply(self, scene: Scene, rng: np.random.Generator) -> Scene:
        """Code the recording, then split what comes out by the black-box method."""
        mix = scene.mix
        gain = 10 ** (self.level_db / 20) / max(float(np.sqrt(np.mean(mix**2))), 1e-9)
        gain = min(gain, 0.99 / max(float(np.max(np.abs(mix))), 1e-9))
        coded = mix * gain
        for _ in range(self.passes):
            coded = coded_once(coded, scene.rate_hz, FORMATS[self.codec], self.compression)
        return scene.divided(coded / gain)


def coded_once(signal: Signal, rate_hz: int, form: Format, compression: float) -> Signal:
    """Encode and decode once, with the codec's delay undone; shape (samples,) in and out."""
    stream = io.BytesIO()
    options = {"compression_level": compression} if form.graded else {}
    soundfile.write(stream, signal, rate_hz, format=form.container, subtype=form.subtype, **options)
    stream.seek(0)
    decoded, decoded_rate_hz = soundfile.read(stream, dtype="float64")
    if decoded_rate_hz != rate_hz:
        import soxr  # Opus files decode at the rate their header names, which may be 48 kHz

        decoded = np.asarray(soxr.resample(decoded, decoded_rate_hz, rate_hz))
    return shifted(decoded, signal, rate_hz, limit_s=0.15)[0]
