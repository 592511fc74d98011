"""The clean speech and the noise that a simulation draws from, with their splits."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import soundfile
import soxr

from mtqscore.audio.levels import Signal, active_level_db, level_db
from mtqscore.audio.loading import load_mono
from mtqscore.errors import InputError, UsageError
from mtqscore.labels.table import SPLITS, read_table

SPEECH_RATE_HZ = 16_000
_SUFFIXES = {f".{name.lower()}" for name in soundfile.available_formats()} | {".aif", ".opus", ".oga", ".mp3"}


@dataclass(frozen=True)
class SourceFile:
    """One source file.

    Args:
        path: where it is.
        split: train, val or test; nothing crosses from one split to another.
        group: talker of speech, or the noise itself.
    """

    path: Path
    split: str
    group: str


def list_files(source: Path, shares: dict[str, float], seed: int) -> list[SourceFile]:
    """List a folder or a table of recordings.

    Args:
        source: a folder, searched through, or a CSV with a column ``path`` (relative to the table) and any of
            ``speaker`` or ``family``, and ``split``.
        shares: share of each split, for sources that do not name one; whole talkers and whole noise files go to
            one split. In a folder, files in the same subfolder are one talker, or one kind of noise.
        seed: of that division.

    Raises:
        InputError: nothing usable is found.
        UsageError: the source does not exist.
    """
    if not os.path.exists(source):  # noqa: PTH110 - Path.exists raises for a long name
        raise UsageError(f"{source}: no such folder or table")
    found = _from_folder(source) if source.is_dir() else _from_table(source)
    if not found:
        raise InputError(f"{source}: no audio files found; give a folder of recordings or a CSV with a column 'path'")
    drawn = _drawn_splits({group for _, split, group in found if not split}, shares, seed)
    return [SourceFile(path, split or drawn[group], group) for path, split, group in found]


def _from_folder(folder: Path) -> list[tuple[Path, str, str]]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
    places = [path.relative_to(folder) for path in files]
    # Names inside the folder alone, so that the division does not depend on where the folder lies.
    return [
        (path, "", str(place if place.parent == Path() else place.parent))
        for path, place in zip(files, places, strict=True)
    ]


def _from_table(table: Path) -> list[tuple[Path, str, str]]:
    found = []
    for line, record in enumerate(read_table(table, ("path",)), start=2):
        path, split = table.parent / record["path"], record.get("split") or ""
        if not path.is_file():
            raise InputError(f"{table}: line {line}: no such file: {path}")
        if split and split not in SPLITS:
            raise InputError(f"{table}: line {line}: split {split!r} is none of {', '.join(SPLITS)}")
        # A noise family may cross splits, file by file; a talker may not.
        found.append((path, split, record.get("speaker") or record["path"]))
    return found


def _drawn_splits(groups: set[str], shares: dict[str, float], seed: int) -> dict[str, str]:
    """Divide talkers or noises by their shares, in an order set by the seed; a split with a share gets at least one."""
    order = sorted(groups, key=lambda group: sha256(f"{seed}:{group}".encode("utf-8", "surrogateescape")).digest())
    splits = dict.fromkeys(order, "train")
    taken = 0
    for split in ("test", "val"):
        share = shares.get(split, 0.0)
        count = max(1, round(share * len(order))) if share > 0 else 0
        for group in order[taken : taken + count]:
            splits[group] = split
        taken += count
    return splits


@lru_cache(maxsize=64)
def _decoded(path: Path) -> Signal:
    """Read a recording as mono at 16 kHz, shape (samples,)."""
    return load_mono(path, SPEECH_RATE_HZ)[0].astype(np.float64)


class SoundSampler:
    """Speech and noise of one split, drawn at random.

    Args:
        speech: recordings of speech.
        noise: recordings of noise.
        split: which split to draw from.

    Raises:
        InputError: the split has no speech or no noise.
    """

    def __init__(self, speech: list[SourceFile], noise: list[SourceFile], split: str) -> None:
        self._talkers: dict[str, list[SourceFile]] = defaultdict(list)
        for item in speech:
            if item.split == split:
                self._talkers[item.group].append(item)
        self._names = sorted(self._talkers)
        self._noise = [item for item in noise if item.split == split]
        if not self._names or not self._noise:
            what = "speech" if not self._names else "noise"
            raise InputError(
                f"the {split} split has no {what}: give more files, a table with a column 'split', "
                "or a share of 0 for that split"
            )
        # A talker with many recordings is heard more often, but not in proportion.
        weights = np.array([len(self._talkers[name]) ** 0.5 for name in self._names])
        self._chances = weights / weights.sum()

    def speech(self, rng: np.random.Generator, samples: int) -> tuple[Signal, str, Path]:
        """Draw clean speech of one talker at 16 kHz.

        Returns:
            The speech, shape (about ``samples``,); the talker; the first file.
        """
        talker = str(rng.choice(self._names, p=self._chances))
        files = self._talkers[talker]
        first = files[int(rng.integers(len(files)))]
        pieces, size, item = [], 0, first
        for _ in range(6):
            piece = trimmed(_decoded(item.path))
            if len(piece):
                # Utterances of one talker are joined at an even level with a breath between them.
                level = 10 ** ((-26 - active_level_db(piece, SPEECH_RATE_HZ)) / 20)
                pieces += [piece * level, np.zeros(int(rng.uniform(0.1, 0.5) * SPEECH_RATE_HZ))]
                size += len(piece)
            if size >= samples:
                break
            item = files[int(rng.integers(len(files)))]
        joined = np.concatenate(pieces[:-1]) if pieces else np.zeros(0)
        start = int(rng.integers(0, max(1, len(joined) - samples)))
        return joined[start : start + samples], talker, first.path

    def noise(self, rng: np.random.Generator, samples: int, rate_hz: int, speed: float) -> tuple[Signal, str]:
        """Draw a stretch of recorded noise that is not silent; see ``noises.NoiseSampler``."""
        played_hz = SPEECH_RATE_HZ * speed
        wanted = int(samples * played_hz / rate_hz) + 64
        best, best_db, name = np.zeros(wanted), -200.0, ""
        for _ in range(4):
            item = self._noise[int(rng.integers(len(self._noise)))]
            whole = _decoded(item.path)
            if len(whole) < wanted:
                whole = np.tile(whole, -(-wanted // max(len(whole), 1)))
            start = int(rng.integers(0, len(whole) - wanted + 1))
            piece = whole[start : start + wanted]
            if level_db(piece) > best_db:
                best, best_db, name = piece, level_db(piece), item.path.name
            if best_db > level_db(whole) - 15:
                break
        return played(best, played_hz, rate_hz, samples), name

    def babble(self, rng: np.random.Generator, samples: int, rate_hz: int, talkers: int) -> Signal:
        """Mix several talkers at uneven levels; see ``noises.NoiseSampler``."""

        def draw(_wanted: int) -> Signal:
            talker = self._talkers[str(rng.choice(self._names))]
            return _decoded(talker[int(rng.integers(len(talker)))].path)

        return mixed_babble(draw, rng, samples, rate_hz, talkers)


def played(piece: Signal, played_hz: float, rate_hz: int, samples: int) -> Signal:
    """Bring a stretch that is played at one rate to another one and to a length, shape (samples,)."""
    if played_hz != rate_hz:
        piece = np.asarray(soxr.resample(piece, played_hz, rate_hz))
    return np.pad(piece, (0, max(0, samples - len(piece))), mode="wrap")[:samples]


def mixed_babble(
    draw: Callable[[int], Signal], rng: np.random.Generator, samples: int, rate_hz: int, talkers: int
) -> Signal:
    """Mix talkers at uneven levels; ``draw`` gives speech at 16 kHz of one of them, about as many samples as wanted."""
    wanted = -(-samples * SPEECH_RATE_HZ // rate_hz) + 16
    total = np.zeros(wanted)
    for _ in range(talkers):
        piece = draw(wanted)
        piece = np.roll(np.resize(piece, wanted), int(rng.integers(wanted)))
        level = active_level_db(piece, SPEECH_RATE_HZ)
        total += piece * 10 ** ((-26 - level + rng.normal(0, 3)) / 20)
    if rate_hz != SPEECH_RATE_HZ:
        total = np.asarray(soxr.resample(total, SPEECH_RATE_HZ, rate_hz))
    return total[:samples]


def trimmed(signal: Signal, margin_s: float = 0.15) -> Signal:
    """Cut leading and trailing pauses down to ``margin_s``."""
    size = int(0.016 * SPEECH_RATE_HZ)
    count = len(signal) // size
    if count < 4:
        return signal[:0]
    powers = np.mean(signal[: count * size].reshape(count, size) ** 2, axis=1)
    loud = np.flatnonzero(powers > np.max(powers) * 1e-3)
    margin = int(margin_s * SPEECH_RATE_HZ)
    return signal[max(0, loud[0] * size - margin) : (loud[-1] + 1) * size + margin]
