"""Augmentation of an epoch, drawn from nothing but the lengths of recordings, the seed and the epoch.

A draft needs no audio, so that processes which share a batch draw the same one, and so that an epoch can go on in its
middle without decoding what came before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtqscore.targets import SAMPLE_RATE_HZ, STFT_SAMPLES
from mtqscore.training.config import TrainConfig
from mtqscore.training.networks.spectrum import random_recolour

MIN_SAMPLES = STFT_SAMPLES
LENGTH_JITTER = 0.1
"""Lengths are blurred by this share before sorting, so that batches differ from epoch to epoch."""

MIN_SPLICE_SAMPLES = SAMPLE_RATE_HZ // 2
"""Shorter stretches of another recording hold too little to be scored by."""

FADE_SAMPLES = SAMPLE_RATE_HZ // 125

Samples = NDArray[np.int16]


@dataclass(frozen=True)
class Cut:
    """The part of a recording that is used, from its first sample to before ``stop``, perhaps with its sign turned."""

    start: int
    stop: int
    turned: bool = False

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Silence:
    """Silence, digital or nearly so, around a recording: samples before it, and noise as long as both together."""

    before: int
    noise: Samples


@dataclass(frozen=True)
class Splice:
    """A stretch of one recording of a batch in another, so that frame scores must follow the quality along time.

    It goes from the position ``other`` to ``item``, from the sample ``start`` to before ``stop`` in both.
    """

    item: int
    other: int
    start: int
    stop: int


@dataclass(frozen=True)
class BatchDraft:
    """One batch before its audio is read.

    Args:
        rows: index of each item in the data set, int64 (batch,).
        cuts: the part of each.
        silences: one an item, or none at all.
        splices: stretches of other items; a batch has silences or splices.
        recolour: power gain a bin, float32 (batch, bins), or None.
    """

    rows: NDArray[np.int64]
    cuts: Sequence[Cut]
    silences: Sequence[Silence] = ()
    splices: Sequence[Splice] = ()
    recolour: Tensor | None = None

    @property
    def lengths(self) -> list[int]:
        """Samples of each item."""
        return [len(silence.noise) for silence in self.silences] or [len(cut) for cut in self.cuts]

    def needed_items(self, first: int, stop: int) -> list[int]:
        """Positions of the items whose audio is needed to make those from first to before stop."""
        others = {splice.other for splice in self.splices if first <= splice.item < stop}
        return sorted(others.union(range(first, stop)))

    def clip(self, item: int, audio: Mapping[int, Samples]) -> Samples:
        """Make one item from whole recordings by row."""
        clip = self._part(item, audio)
        if self.silences:
            silence = self.silences[item]
            made = silence.noise.copy()
            made[silence.before : silence.before + len(clip)] = clip
            return made
        for splice in self.splices:
            if splice.item == item:
                clip = _spliced(clip, self._part(splice.other, audio), splice)
        return clip

    def _part(self, item: int, audio: Mapping[int, Samples]) -> Samples:
        cut = self.cuts[item]
        clip = audio[int(self.rows[item])][cut.start : cut.stop]
        # The sign bit of -32768 has no positive partner, hence the limit.
        return -np.maximum(clip, -32767) if cut.turned else clip


def draft_epoch(lengths: NDArray[np.int64], config: TrainConfig, epoch: int) -> Iterator[BatchDraft]:
    """Draw the batches of one epoch, shuffled and augmented by nothing but (seed, epoch).

    Args:
        lengths: samples of every recording of the split, int64 (recordings,).
        config: batch size, seed and augmentation.
        epoch: its number, from 0.
    """
    rng = np.random.default_rng((config.seed, epoch))
    longest = int(config.max_clip_s * SAMPLE_RATE_HZ)
    blurred = np.minimum(lengths, longest) * rng.uniform(1 - LENGTH_JITTER, 1 + LENGTH_JITTER, len(lengths))
    order = np.argsort(blurred, kind="stable")
    starts = rng.permutation(np.arange(0, len(lengths), config.batch_size))
    for start in starts:
        rows = order[start : start + config.batch_size]
        cuts = [_draw_cut(int(lengths[row]), config, longest, rng) for row in rows]
        silences: list[Silence] = []
        splices: list[Splice] = []
        # All of a batch get silence or none do, so that little is spent on padding.
        if rng.random() < config.silence_share:
            silence_samples = int(rng.uniform(0, config.max_silence_s) * SAMPLE_RATE_HZ)
            silences = [_draw_silence(len(cut), silence_samples, rng) for cut in cuts]
        else:
            splices = draw_splices([len(cut) for cut in cuts], config.splice_share, rng)
        recolour = None
        if config.recolour_db > 0:
            generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
            recolour = random_recolour(generator, len(rows), config.recolour_db)
        yield BatchDraft(rows, cuts, silences, splices, recolour)


def draw_splices(lengths: Sequence[int], share: float, rng: np.random.Generator) -> list[Splice]:
    """Choose which recordings of a batch get a stretch of another one, and where."""
    splices = []
    for item, length in enumerate(lengths):
        other = int(rng.integers(len(lengths)))
        longest = min(length, lengths[other])
        if rng.random() < share and other != item and longest >= 2 * MIN_SPLICE_SAMPLES:
            size = int(rng.integers(MIN_SPLICE_SAMPLES, longest // 2 + 1))
            start = int(rng.integers(longest - size + 1))
            splices.append(Splice(item, other, start, start + size))
    return splices


def _draw_cut(samples: int, config: TrainConfig, longest: int, rng: np.random.Generator) -> Cut:
    """Leave a random bit of the front out, cut what is too long, and turn the sign of every other clip; labels hold."""
    offset = int(rng.integers(config.max_offset_samples + 1))
    offset = min(offset, max(0, samples - MIN_SAMPLES))
    spare = samples - offset - longest
    start = offset + (int(rng.integers(spare + 1)) if spare > 0 else 0)
    return Cut(start, min(samples, start + longest), bool(config.random_polarity and rng.integers(2)))


def _draw_silence(samples: int, silence_samples: int, rng: np.random.Generator) -> Silence:
    """Put silence before, after or around a recording: what is not there must not be scored."""
    before = int(silence_samples * rng.choice([0.0, 1.0, rng.random()]))
    # Half of the time a trace of noise, between rounding noise and what listeners might just hear.
    spread = float(rng.integers(2)) * 10 ** float(rng.uniform(-0.3, 1.3))
    return Silence(before, np.rint(spread * rng.standard_normal(silence_samples + samples)).astype(np.int16))


def _spliced(clip: Samples, other: Samples, splice: Splice) -> Samples:
    """Put a stretch into place, faded over 8 ms, since a click at the seam would count as distortion."""
    steps = np.arange(splice.stop - splice.start)
    gain = np.minimum(np.minimum(steps, steps[::-1]) / FADE_SAMPLES, 1.0).astype(np.float32)
    made = clip.copy()
    stretch = clip[splice.start : splice.stop]
    mixed = stretch + gain * (other[splice.start : splice.stop].astype(np.float32) - stretch)
    made[splice.start : splice.stop] = np.rint(mixed).astype(np.int16)
    return made
