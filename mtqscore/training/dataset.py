"""Recordings and labels in batches: decoded once, sorted by length, drawn the same way for the same seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtqscore.config import TrainConfig
from mtqscore.errors import InputError
from mtqscore.manifest import Row
from mtqscore.spec import SAMPLE_RATE_HZ, STFT_SAMPLES, TARGETS
from mtqscore.training.features import random_recolour

MIN_SAMPLES = STFT_SAMPLES
LENGTH_JITTER = 0.1
"""Lengths are blurred by this share before sorting, so that batches differ from epoch to epoch."""

MIN_SPLICE_SAMPLES = SAMPLE_RATE_HZ // 2
"""Shorter stretches of another recording hold too little to be judged by."""

FADE_SAMPLES = SAMPLE_RATE_HZ // 125

FULL_SCALE = 32767.0


@dataclass(frozen=True)
class Batch:
    """One padded batch.

    Args:
        waveform: float32 (batch, samples) at 16 kHz, zero beyond each length.
        lengths: valid samples an item, int64 (batch,).
        labels: float32 (batch, targets) in the order of ``spec.TARGETS``; NaN where missing.
        splices: stretches with labels of their own; ``labels`` are those of whole recordings by time.
        unspliced: labels before splicing, float32 (batch, targets).
        recolour: power gain a bin for augmentation, float32 (batch, bins), or None.
        rows: index of each item in the data set, int64 (batch,).
    """

    waveform: Tensor
    lengths: Tensor
    labels: Tensor
    splices: Sequence[Splice]
    unspliced: Tensor
    recolour: Tensor | None
    rows: NDArray[np.int64]

    def frame_labels(self, positions: Tensor) -> Tensor | None:
        """Label every frame by the part of the recording that it lies in.

        Args:
            positions: the sample at the middle of each frame, int64 (frames,).

        Returns:
            float32 (batch, frames, targets); None where every frame has the label of its recording.
        """
        if not self.splices:
            return None
        by_frame = self.unspliced[:, None].repeat(1, len(positions), 1)
        for splice in self.splices:
            inside = (positions >= splice.start) & (positions < splice.stop)
            by_frame[splice.item, inside] = self.unspliced[splice.other]
        return by_frame


@dataclass(frozen=True)
class Splice:
    """A stretch of one recording in another, so that frames must tell what is bad from what is not.

    Args:
        item: position in the batch of the recording that gets it.
        other: position of the one that it comes from.
        start: first sample, in both.
        stop: sample after the last.
    """

    item: int
    other: int
    start: int
    stop: int


def decode(path: Path) -> NDArray[np.int16]:
    """Decode one recording to 16-bit mono at 16 kHz and full scale; a channel mean and a resampler where needed.

    Raises:
        InputError: the file cannot be decoded or is shorter than one analysis window.
    """
    try:
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: cannot decode: {error}") from error
    mono = audio.mean(axis=1) if audio.shape[1] > 1 else audio[:, 0]
    if rate != SAMPLE_RATE_HZ:
        mono = soxr.resample(mono, rate, SAMPLE_RATE_HZ)
    if len(mono) < MIN_SAMPLES:
        raise InputError(f"{path}: {len(mono)} samples at 16 kHz are too few to train on; {MIN_SAMPLES} are needed")
    # The network does not hear level, and at full scale rounding to 16 bits is not heard either.
    peak = max(float(np.max(np.abs(mono))), 1e-9)
    samples: NDArray[np.int16] = np.rint(mono * (FULL_SCALE / peak)).astype(np.int16)
    return samples


def duration_samples(path: Path) -> int:
    """Length of a recording at 16 kHz from its header alone.

    Raises:
        InputError: the header cannot be read.
    """
    try:
        info = soundfile.info(str(path))
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: cannot decode: {error}") from error
    return int(np.ceil(info.frames * SAMPLE_RATE_HZ / info.samplerate))


class Recordings:
    """The recordings of one split with their labels.

    Audio is decoded once into memory as int16 when that needs no more than the limit, else at every use.

    Args:
        rows: the recordings.
        memory_limit_bytes: what this split may take.
        workers: decoding threads.

    Raises:
        InputError: a recording cannot be decoded.
    """

    def __init__(self, rows: Sequence[Row], memory_limit_bytes: float, workers: int) -> None:
        self.rows = list(rows)
        table = [[row.labels.get(target.name, np.nan) for target in TARGETS] for row in self.rows]
        self.labels = np.array(table, dtype=np.float32).reshape(-1, len(TARGETS))
        with ThreadPoolExecutor(max(1, workers)) as pool:
            lengths = list(pool.map(lambda row: duration_samples(row.path), self.rows))
            self.memory_bytes = 2 * sum(lengths)
            self.held = None
            if self.memory_bytes <= memory_limit_bytes:
                self.held = list(pool.map(lambda row: decode(row.path), self.rows))
                lengths = [len(samples) for samples in self.held]
        self.lengths = np.array(lengths, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    def audio(self, index: int) -> NDArray[np.int16]:
        """Samples of one recording, int16 (samples,)."""
        return self.held[index] if self.held is not None else decode(self.rows[index].path)


def training_batches(data: Recordings, config: TrainConfig, epoch: int) -> Iterator[Batch]:
    """Yield the batches of one epoch, shuffled and augmented by nothing but (seed, epoch).

    Args:
        data: the training split.
        config: batch size, seed and augmentation.
        epoch: number of the epoch.
    """
    rng = np.random.default_rng((config.seed, epoch))
    longest = int(config.max_clip_s * SAMPLE_RATE_HZ)
    blurred = np.minimum(data.lengths, longest) * rng.uniform(1 - LENGTH_JITTER, 1 + LENGTH_JITTER, len(data))
    order = np.argsort(blurred, kind="stable")
    starts = rng.permutation(np.arange(0, len(data), config.batch_size))
    for start in starts:
        rows = order[start : start + config.batch_size]
        clips = [_augmented(data.audio(int(row)), config, longest, rng) for row in rows]
        splices: list[Splice] = []
        # All of a batch get silence or none do, so that little is spent on padding.
        if rng.random() < config.silence_share:
            silence_samples = int(rng.uniform(0, config.max_silence_s) * SAMPLE_RATE_HZ)
            clips = [_with_silence(clip, silence_samples, rng) for clip in clips]
        else:
            splices = draw_splices([len(clip) for clip in clips], config.splice_share, rng)
            clips = _spliced(clips, splices)
        recolour = None
        if config.recolour_db > 0:
            generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
            recolour = random_recolour(generator, len(rows), config.recolour_db)
        yield collate(clips, data.labels[rows], rows, recolour, splices)


def plain_batches(data: Recordings, batch_size: int, longest_samples: int) -> Iterator[Batch]:
    """Yield every recording once, unaltered but for a cut at the longest length, similar lengths together.

    Args:
        data: the recordings.
        batch_size: recordings a batch.
        longest_samples: what is longer is cut at its end.
    """
    order = np.argsort(data.lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        yield collate([data.audio(int(row))[:longest_samples] for row in rows], data.labels[rows], rows)


def collate(
    clips: Sequence[NDArray[np.int16]],
    labels: NDArray[np.float32],
    rows: NDArray[np.int64],
    recolour: Tensor | None = None,
    splices: Sequence[Splice] = (),
) -> Batch:
    """Pad int16 clips with zeros to the longest and scale them to ±1; a spliced one is labelled by its parts."""
    lengths = torch.tensor([len(clip) for clip in clips])
    waveform = np.zeros((len(clips), int(lengths.max())), dtype=np.float32)
    for item, clip in zip(waveform, clips, strict=True):
        np.multiply(clip, 1.0 / 32768.0, out=item[: len(clip)], casting="unsafe")
    own, labels = labels, labels.copy()
    for splice in splices:
        share = (splice.stop - splice.start) / len(clips[splice.item])
        labels[splice.item] = (1 - share) * own[splice.item] + share * own[splice.other]
    whole, parts = torch.from_numpy(labels), torch.from_numpy(own)
    return Batch(torch.from_numpy(waveform), lengths, whole, splices, parts, recolour, rows)


def draw_splices(lengths: Sequence[int], share: float, rng: np.random.Generator) -> list[Splice]:
    """Choose which recordings of a batch get a stretch of another one, and where.

    Args:
        lengths: samples an item.
        share: of the items that get one.
        rng: source of the choice.
    """
    splices = []
    for item, length in enumerate(lengths):
        other = int(rng.integers(len(lengths)))
        longest = min(length, lengths[other])
        if rng.random() < share and other != item and longest >= 2 * MIN_SPLICE_SAMPLES:
            size = int(rng.integers(MIN_SPLICE_SAMPLES, longest // 2 + 1))
            start = int(rng.integers(longest - size + 1))
            splices.append(Splice(item, other, start, start + size))
    return splices


def _augmented(
    samples: NDArray[np.int16], config: TrainConfig, longest: int, rng: np.random.Generator
) -> NDArray[np.int16]:
    """Cut a random bit off the front, cut what is too long, and turn the sign of every other clip; labels hold."""
    offset = int(rng.integers(config.max_offset_samples + 1))
    offset = min(offset, max(0, len(samples) - MIN_SAMPLES))
    spare = len(samples) - offset - longest
    start = offset + (int(rng.integers(spare + 1)) if spare > 0 else 0)
    clip = samples[start : start + longest]
    # The sign bit of -32768 has no positive partner, hence the limit.
    return -np.maximum(clip, -32767) if config.random_polarity and rng.integers(2) else clip


def _spliced(clips: Sequence[NDArray[np.int16]], splices: Sequence[Splice]) -> list[NDArray[np.int16]]:
    """Put stretches into place, faded over 8 ms, since a click at the seam would be heard as distortion."""
    made = list(clips)
    for splice in splices:
        fade = np.minimum(np.arange(splice.stop - splice.start), np.arange(splice.stop - splice.start)[::-1])
        gain = np.minimum(fade / FADE_SAMPLES, 1.0).astype(np.float32)
        clip = made[splice.item].copy()
        stretch = clip[splice.start : splice.stop]
        mixed = stretch + gain * (clips[splice.other][splice.start : splice.stop].astype(np.float32) - stretch)
        clip[splice.start : splice.stop] = np.rint(mixed).astype(np.int16)
        made[splice.item] = clip
    return made


def _with_silence(clip: NDArray[np.int16], silence_samples: int, rng: np.random.Generator) -> NDArray[np.int16]:
    """Put silence, digital or nearly so, before, after or around a recording: what is not there must not be scored."""
    before = int(silence_samples * rng.choice([0.0, 1.0, rng.random()]))
    # Half of the time a trace of noise, between rounding noise and what listeners might just hear.
    spread = float(rng.integers(2)) * 10 ** float(rng.uniform(-0.3, 1.3))
    made = np.rint(spread * rng.standard_normal(silence_samples + len(clip))).astype(np.int16)
    made[before : before + len(clip)] = clip
    return made
