"""Clips of unlabelled speech: stretches of recordings, as they are or degraded. Loads no torch.

A clip depends on nothing but its recording, the settings and a few numbers (seed, purpose, pass, index), so that it is
the same whichever process makes it, and whenever. It is int16 at 16 kHz and full scale, as `dataset.decode` gives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from mtqscore.audio.levels import Signal, active_level_db, level_db
from mtqscore.errors import InputError
from mtqscore.simulation.corpus import degrade
from mtqscore.simulation.degradations.noises import MADE
from mtqscore.simulation.sampler import SourceFile, list_files, mixed_babble, played
from mtqscore.simulation.voices import vary
from mtqscore.targets import SAMPLE_RATE_HZ
from mtqscore.training.config import DistillConfig

SHORTEST_SAMPLES = SAMPLE_RATE_HZ // 2
"""Shorter recordings hold too little to be scored by."""

LONGEST_PAUSE_S = 1.2
FEW_GROUPS = 5
"""With fewer subfolders than this, single recordings are held out."""

CLIPS_NOTE = "clips.sha256"
"""File in every folder of clips that were made here: the digest of all that they are made of."""

ATTEMPTS = 6
"""A stretch without sound is drawn again, this often."""

SILENCE_DB = -80.0
SPEECH_DB = -26.0
"""Active level before degradation, in dBFS: where codecs and quantisers expect speech."""

FULL_SCALE = 32767

Samples = NDArray[np.int16]


@dataclass(frozen=True)
class SpeechFile:
    """One recording to draw from, or one of noise.

    Args:
        path: the file.
        samples: its length at 16 kHz.
        group: talker, or the recording itself.
        split: that of its table; empty without one.
    """

    path: Path
    samples: int
    group: str
    split: str = ""


@dataclass(frozen=True)
class ClipDraft:
    """A clip before it is made.

    Args:
        key: seed of everything random in it.
        file: number of its recording.
        start: first sample of the stretch, at 16 kHz.
        samples: its length.
        pauses: samples of silence before and after it, which are filled with noise alone.
        rate_hz: 8000 for narrowband, else 16000.
        plain: whether it is used as it is.
    """

    key: tuple[int, ...]
    file: int
    start: int
    samples: int
    pauses: tuple[int, int] = (0, 0)
    rate_hz: int = SAMPLE_RATE_HZ
    plain: bool = True

    @property
    def length(self) -> int:
        """Samples of the clip."""
        return self.samples + sum(self.pauses)


def list_speech(
    where: Path, own: Sequence[Path], advance: Callable[[int, int], None]
) -> tuple[list[SpeechFile], list[str]]:
    """List the recordings of a folder or of a table that can be used, and which are left out and why.

    Those of the split test, in the folders ``own``, and among clips that earlier runs have made are no speech.

    Raises:
        UsageError: there is no such folder or table.
        InputError: nothing can be used.
    """
    folders = {folder.resolve() for folder in own}
    listed = [
        one
        for one in list_files(where, {}, 0)
        if one.split != "test"
        and folders.isdisjoint(one.path.resolve().parents)
        and not (one.path.parent / CLIPS_NOTE).exists()
    ]
    found: list[SpeechFile] = []
    left_out: list[str] = []
    with ThreadPoolExecutor(8) as pool:
        for number, file in enumerate(pool.map(_opened, listed), start=1):
            if isinstance(file, str):
                left_out.append(file)
            else:
                found.append(file)
            advance(number, len(listed))
    if not found:
        raise InputError(f"{where}: no recording can be used; {left_out[0]}" if left_out else f"{where}: no recordings")
    return found, left_out


def _opened(one: SourceFile) -> SpeechFile | str:
    """Read the header of a recording; the reason why it cannot be used, if it cannot."""
    try:
        with one.path.open("rb") as stream:
            info = soundfile.info(stream)
    except (OSError, RuntimeError) as error:
        return f"{one.path}: cannot be decoded: {_reason(error)}"
    samples = int(info.frames * SAMPLE_RATE_HZ / info.samplerate)
    if samples < SHORTEST_SAMPLES:
        return f"{one.path}: is shorter than {SHORTEST_SAMPLES / SAMPLE_RATE_HZ:g} s"
    return SpeechFile(one.path, samples, one.group, one.split)


def _reason(error: OSError | RuntimeError) -> str:
    return getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)


def divide(files: Sequence[SpeechFile], share: float, seed: int) -> tuple[list[SpeechFile], list[SpeechFile]]:
    """Hold out the split val of a table; else whole talkers, or single recordings where there are few talkers.

    Of more than three, at least two are held out.

    Returns:
        Those to learn from, and those held out.
    """
    held = [one.split == "val" for one in files]
    if not any(held) or all(held):
        groups = [one.group for one in files]
        if len(set(groups)) < FEW_GROUPS:
            groups = [f"{one.group}/{one.path.name}" for one in files]
        names = sorted(set(groups), key=lambda name: _digest(f"{seed}:{name}"))
        if len(names) < 2:
            raise InputError(f"{files[0].path}: one recording is too few; the validation needs another one")
        least = 2 if len(names) > 3 else 1  # agreement within one recording shows little
        chosen = set(names[: min(len(names) - 1, max(least, round(share * len(names))))])
        held = [group in chosen for group in groups]
    both = list(zip(files, held, strict=True))
    return [one for one, out in both if not out], [one for one, out in both if out]


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


class StretchSampler:
    """Random stretches of speech and noise, read one by one, so that recordings of any length take little memory.

    Every second of the speech is as likely to be drawn as every other one.

    Without recordings of noise, noise is made.
    """

    def __init__(self, speech: Sequence[SpeechFile], noise: Sequence[SpeechFile] = ()) -> None:
        self.speech, self.noise_files = tuple(speech), tuple(noise)
        self._ends = np.cumsum([one.samples for one in speech])

    def draw(self, rng: np.random.Generator) -> int:
        """Draw the number of a recording of speech."""
        return int(np.searchsorted(self._ends, rng.integers(self._ends[-1]), side="right"))

    def draft(self, key: tuple[int, ...], config: DistillConfig) -> ClipDraft:
        """Draw a clip; its key is the seed of everything random in it."""
        rng = np.random.default_rng(key)
        number = self.draw(rng)
        available = self.speech[number].samples
        samples = min(available, int(rng.uniform(config.min_s, config.max_s) * SAMPLE_RATE_HZ))
        start = int(rng.integers(available - samples + 1))
        if rng.random() < config.plain_share:
            return ClipDraft(key, number, start, samples)
        rate_hz = SAMPLE_RATE_HZ // 2 if rng.random() < config.narrow_share else SAMPLE_RATE_HZ
        pauses_s = rng.uniform(0, LONGEST_PAUSE_S, size=2) * (rng.random() < 0.5)
        before, after = (int(one * SAMPLE_RATE_HZ) for one in pauses_s)
        return ClipDraft(key, number, start, samples, (before, after), rate_hz, plain=False)

    def noise(self, rng: np.random.Generator, samples: int, rate_hz: int, speed: float) -> tuple[Signal, str]:
        """Draw a stretch of recorded noise that is not silent, or make noise; see ``noises.Recordings``."""
        if not self.noise_files:
            kind = str(rng.choice([*MADE]))
            return MADE[kind](rng, samples, rate_hz), kind
        played_hz = SAMPLE_RATE_HZ * speed
        wanted = int(samples * played_hz / rate_hz) + 64
        for _ in range(ATTEMPTS):
            one = self.noise_files[int(rng.integers(len(self.noise_files)))]
            piece = _drawn(one, wanted, rng)
            if level_db(piece) > SILENCE_DB:
                break
        return played(np.resize(piece, wanted), played_hz, rate_hz, samples), one.path.name

    def babble(self, rng: np.random.Generator, samples: int, rate_hz: int, talkers: int) -> Signal:
        """Mix several talkers at uneven levels; see ``noises.NoiseSampler``."""
        return mixed_babble(
            lambda wanted: _drawn(self.speech[self.draw(rng)], wanted, rng), rng, samples, rate_hz, talkers
        )


def _drawn(file: SpeechFile, samples: int, rng: np.random.Generator) -> Signal:
    """Read a random stretch, as long as wanted or as the recording."""
    return read_stretch(file, int(rng.integers(max(file.samples - samples, 0) + 1)), min(samples, file.samples))


def read_stretch(file: SpeechFile, start: int, samples: int) -> Signal:
    """Read a stretch as mono at 16 kHz, float64 (samples,); zeros where it is shorter than by its header."""
    try:
        with file.path.open("rb") as stream, soundfile.SoundFile(stream) as sound:
            rate_hz = sound.samplerate
            sound.seek(start * rate_hz // SAMPLE_RATE_HZ)
            audio = sound.read(-(-samples * rate_hz // SAMPLE_RATE_HZ) + 1, dtype="float64", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{file.path}: cannot be decoded: {_reason(error)}") from error
    if not np.isfinite(audio).all():
        raise InputError(f"{file.path}: holds samples that are not numbers")
    mono = audio.mean(axis=1)
    if rate_hz != SAMPLE_RATE_HZ:
        mono = np.asarray(soxr.resample(mono, rate_hz, SAMPLE_RATE_HZ))
    return _fitted(mono, samples)


def make_clip(draft: ClipDraft, sampler: StretchSampler, config: DistillConfig) -> Samples:
    """Read a stretch and degrade it; where there is no sound, or it cannot be read, another one takes its place.

    Returns:
        int16 (samples,), as long as the draft.

    Raises:
        InputError: several draws found no sound.
        EnvironmentProblemError: an external enhancer fails.
    """
    problem = ""
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng((*draft.key, attempt))
        if attempt:
            number = sampler.draw(rng)
            start = int(rng.integers(max(sampler.speech[number].samples - draft.samples, 0) + 1))
            draft = replace(draft, file=number, start=start)
        file = sampler.speech[draft.file]
        try:
            clean = read_stretch(file, draft.start, draft.samples)
            if level_db(clean) < SILENCE_DB:
                problem = f"{file.path}: there is no sound from {draft.start / SAMPLE_RATE_HZ:.1f} s on"
                continue
            mix = clean if draft.plain else _degraded(clean, draft, sampler, rng, config)
        except InputError as error:
            problem = str(error)
            continue
        peak = float(np.max(np.abs(mix)))
        if np.isfinite(peak) and peak > 0:
            clip: Samples = np.rint(mix * (FULL_SCALE / peak)).astype(np.int16)
            return clip
    raise InputError(f"{ATTEMPTS} recordings in turn gave no clip; the last: {problem}")


def _degraded(
    clean: Signal, draft: ClipDraft, sampler: StretchSampler, rng: np.random.Generator, config: DistillConfig
) -> Signal:
    if rng.random() < config.voice_share:
        clean = _fitted(vary(clean, SAMPLE_RATE_HZ, rng), draft.samples)  # so that noise fills the whole clip
    level = active_level_db(clean, SAMPLE_RATE_HZ)
    speech = np.pad(clean * 10 ** ((SPEECH_DB - level) / 20), draft.pauses)
    scene, _, _ = degrade(speech, rng, sampler, draft.rate_hz, enhancers=config.enhancers, hold_out=config.hold_out)
    return _fitted(scene.at_rate(SAMPLE_RATE_HZ).mix, draft.length)


def _fitted(signal: Signal, samples: int) -> Signal:
    return np.pad(signal, (0, samples - len(signal))) if len(signal) < samples else signal[:samples]
