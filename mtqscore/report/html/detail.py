"""One recording to hear and see: its sound read again, lossless, its spectrogram drawn, its curves beside them."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtqscore.audio.decoding import open_recording
from mtqscore.audio.sources import FileSource, Resampler, path_stamp
from mtqscore.report.html.choice import Candidate
from mtqscore.report.html.curves import WORST_S, Excerpt, score_seconds
from mtqscore.report.html.rows import safe_json
from mtqscore.report.html.spectrogram import spectrogram_png, top_hz
from mtqscore.scores import Status, UnscorableError
from mtqscore.scoring.session import Scorer

CURVES = ("s_mos", "n_mos", "g_mos")
"""Scores that are drawn along time, where the model gives them."""

HIGHEST_RATE_HZ = 48_000
"""Highest rate that browsers play everywhere; recordings above it are resampled."""

SAME_LENGTH_S = 0.1
"""A file whose length differs by more than this from when it was scored is not the same any more."""

_LOSSLESS = ("PCM", "FLOAT", "DOUBLE", "ALAC")


@dataclass(frozen=True, eq=False)
class Detail:
    """A recording to hear and see.

    Args:
        chosen: the recording.
        excerpt: the stretch that is shown, with the curves that are drawn.
        content: sound, picture and curves as JSON, safe inside a script element.
        note: remarks on the sound, in words; empty without any.
    """

    chosen: Candidate
    excerpt: Excerpt
    content: str
    note: str

    @property
    def element(self) -> str:
        """Id of its element on the page."""
        return f"listen-{self.chosen.index + 1}"


def make_detail(chosen: Candidate, scorer: Scorer | None = None) -> Detail:
    """Read the sound of a recording again and draw it; what cannot be read any more is left out and noted.

    With a scorer, every second is scored alone; else the frame scores are drawn.
    """
    excerpt = chosen.excerpt
    try:
        sound = read_sound(chosen)
    except UnscorableError as error:
        note = f"Sound and spectrogram are missing: {error.reason}."
        return Detail(chosen, excerpt, safe_json(_curves(excerpt)), note)
    if scorer is not None:
        excerpt = score_seconds(excerpt, sound.samples, sound.sample_rate_hz, scorer)
    content = {
        **_curves(excerpt),
        "audio": base64.b64encode(as_flac(sound)).decode(),
        "rate": sound.sample_rate_hz,
        "image": base64.b64encode(spectrogram_png(sound.samples, sound.sample_rate_hz)).decode(),
        "top": top_hz(sound.sample_rate_hz),
    }
    note = f"{sound.note[0].upper()}{sound.note[1:]}." if sound.note else ""
    return Detail(chosen, excerpt, safe_json(content), note)


def _curves(excerpt: Excerpt) -> dict[str, object]:
    worst_s = excerpt.worst_s
    return {
        "start": round(excerpt.start_s, 4),
        "length": round(excerpt.length_s, 4),
        "worst": None if worst_s is None else [round(worst_s, 4), round(worst_s + WORST_S, 4)],
        "first": round(excerpt.first_s, 4),
        "hop": excerpt.hop_s,
        "curves": {target: _hundredths(excerpt, target) for target in CURVES if target in excerpt.targets},
    }


def _hundredths(excerpt: Excerpt, target: str) -> list[int | None]:
    values = excerpt.values[:, excerpt.targets.index(target)].astype(np.float64)
    return [round(value * 100) if np.isfinite(value) else None for value in values.tolist()]


@dataclass(frozen=True, eq=False)
class Sound:
    """Samples to hear and see.

    Args:
        samples: float32 (samples,), within ±1.
        sample_rate_hz: their rate.
        deep: 16 bits would lose something.
        note: their changes in words; empty without any.
    """

    samples: NDArray[np.float32]
    sample_rate_hz: int
    deep: bool
    note: str


def read_sound(candidate: Candidate) -> Sound:
    """Read the stretch of a recording that is to be shown: the channel that was scored, or the mixdown.

    Raises:
        UnscorableError: its file cannot be read any more, or is not what was scored.
    """
    assessment = candidate.assessment
    if assessment.path is None:
        raise UnscorableError(Status.NOT_A_FILE, "it was scored from memory, not from a file")
    if not candidate.excerpt.length_s:
        raise UnscorableError(Status.EMPTY, "its length is not known")
    with open_recording(assessment.path) as source:
        if path_stamp(assessment.path) != candidate.stamp or source.sample_rate_hz != assessment.sample_rate_hz:
            raise _changed()
        rate_hz = source.sample_rate_hz
        samples = _read(source, candidate)
        lossless = source.subtype.startswith(_LOSSLESS)
    peak = float(np.abs(samples).max(initial=0.0))
    note = ""
    if peak > 1.0:
        note = f"played {20 * np.log10(peak):.1f} dB quieter, because its samples exceed full scale"
        samples /= peak
    if rate_hz > HIGHEST_RATE_HZ:
        note = "; ".join(filter(None, [note, f"resampled from {rate_hz / 1000:g} to {HIGHEST_RATE_HZ / 1000:g} kHz"]))
        samples = Resampler(rate_hz, HIGHEST_RATE_HZ).push(samples, last=True).clip(-1.0, 1.0)
        rate_hz = HIGHEST_RATE_HZ
    scaled = samples * np.float32(2**15)
    return Sound(samples, rate_hz, lossless and not np.array_equal(scaled, np.rint(scaled)), note)


def _read(source: FileSource, candidate: Candidate) -> NDArray[np.float32]:
    """Decode from the start: seeking is not exact to the sample in every format."""
    excerpt, channel = candidate.excerpt, candidate.assessment.channel
    first = round(excerpt.start_s * source.sample_rate_hz)
    end = first + round(excerpt.length_s * source.sample_rate_hz)
    if channel.isdigit() and int(channel) > source.channels:
        raise _changed()
    parts, position = [], 0
    for block in source.blocks():
        piece = block[max(0, first - position) : max(0, end - position)]
        if len(piece):
            parts.append(piece[:, int(channel) - 1].copy() if channel.isdigit() else piece.mean(axis=1))
        position += len(block)
        if position >= end:
            break
    samples = np.nan_to_num(np.concatenate(parts) if parts else np.empty(0, np.float32))
    if abs(len(samples) / source.sample_rate_hz - excerpt.length_s) > SAME_LENGTH_S:
        raise _changed()
    return np.ascontiguousarray(samples, dtype=np.float32)


def _changed() -> UnscorableError:
    return UnscorableError(Status.CHANGED, "the file is not the same any more as when it was scored")


def as_flac(sound: Sound) -> bytes:
    """Encode for a browser; 16 bits, or 24 where those would lose something."""
    import soundfile

    # Whole numbers, because libsndfile scales floats by one less than full scale: samples would not stay the same.
    bits = 24 if sound.deep else 16
    whole = np.rint(sound.samples.astype(np.float64) * 2 ** (bits - 1)).clip(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    samples = whole.astype(np.int32) << 8 if sound.deep else whole.astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, samples, sound.sample_rate_hz, format="FLAC", subtype=f"PCM_{bits}")
    return file.getvalue()
