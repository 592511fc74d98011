"""Recordings and labels in batches: decoded once or ahead of their use, sorted by length."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtqscore.audio.loading import load_mono
from mtqscore.errors import InputError
from mtqscore.labels.table import Fault, FaultyTableError, LabelledRecording
from mtqscore.targets import SAMPLE_RATE_HZ, TARGETS, Target
from mtqscore.training.compute.distributed import ALONE, BatchShare, ProcessGroup
from mtqscore.training.config import TrainConfig
from mtqscore.training.data.augmentation import MIN_SAMPLES, BatchDraft, Cut, Samples, draft_epoch
from mtqscore.training.data.frame_labels import Curve, labels_along

FULL_SCALE = 32767.0

BATCHES_AHEAD = 3
"""Batches whose audio is read ahead of their use."""


@dataclass(frozen=True)
class Batch:
    """One padded batch, or the share of it that a process takes.

    Args:
        waveform: float32 (batch, samples) at 16 kHz, zero beyond each length.
        lengths: valid samples an item, int64 (batch,).
        labels: float32 (batch, targets) in the order of the split's targets, by time where parts are of another
            recording; NaN where missing.
        unspliced: labels before splicing of the whole batch, float32 (whole, targets).
        recolour: power gain a bin for augmentation, float32 (batch, bins), or None.
        rows: index of each item in the data set, int64 (batch,).
        share: which items of the whole batch these are.
        present: labelled items of the whole batch a target, (targets,).
        draft: how the whole batch was made.
        curves: labels of the whole batch along time; None for a recording without.
    """

    waveform: Tensor
    lengths: Tensor
    labels: Tensor
    unspliced: Tensor
    recolour: Tensor | None
    rows: NDArray[np.int64]
    share: BatchShare
    present: Tensor
    draft: BatchDraft
    curves: Sequence[Curve | None]

    def frame_labels(self, positions: Tensor) -> Tensor | None:
        """Label every frame by the part of the recording that it lies in, and by its place where there are curves.

        Args:
            positions: the sample at the middle of each frame, int64 (frames,).

        Returns:
            float32 (batch, frames, targets); None where every frame has the label of its recording.
        """
        items = range(self.share.first, self.share.stop)
        spliced = any(splice.item in items for splice in self.draft.splices)
        if not spliced and all(curve is None for curve in self.curves):
            return None
        own = self.unspliced.numpy()
        return torch.from_numpy(labels_along(self.draft, items, own, self.curves, positions.numpy()))

    def on(self, device: torch.device) -> Batch:
        """Move what the network reads to a device."""
        recolour = None if self.recolour is None else self.recolour.to(device, non_blocking=True)
        waveform, lengths = (tensor.to(device, non_blocking=True) for tensor in (self.waveform, self.lengths))
        return replace(self, waveform=waveform, lengths=lengths, labels=self.labels.to(device), recolour=recolour)


def decode(path: Path) -> Samples:
    """Decode one recording to 16-bit mono at 16 kHz and full scale.

    Raises:
        InputError: the file cannot be decoded, is shorter than one analysis window, or holds samples that are not
            numbers.
    """
    mono, _ = load_mono(path, SAMPLE_RATE_HZ)
    if len(mono) < MIN_SAMPLES:
        raise InputError(f"{path}: {len(mono)} samples at 16 kHz are too few to train on; {MIN_SAMPLES} are needed")
    # Scores do not depend on the level, and at full scale rounding to 16 bits is inaudible.
    peak = max(float(np.max(np.abs(mono))), 1e-9)
    samples: Samples = np.rint(mono * (FULL_SCALE / peak)).astype(np.int16)
    return samples


class TrainingSet(Protocol):
    """Training data of a run, epoch by epoch."""

    def __len__(self) -> int:
        """Recordings an epoch."""
        ...

    def batches(self, config: TrainConfig, epoch: int, group: ProcessGroup, skip: int) -> Generator[Batch, None, None]:
        """Yield the batches of one epoch, shuffled and augmented by nothing but (seed, epoch).

        The processes share each batch; ``skip`` batches are left out at the front, the others stay the same.
        """
        ...


class Dataset:
    """Recordings of one split with their labels.

    Audio is decoded once into memory as int16 when that needs no more than the limit, else at every use.

    Args:
        rows: the recordings.
        memory_limit_bytes: largest size of this split in memory.
        workers: decoding threads.
        targets: targets of the labels, in the order of the network's output.
        curves: labels of each recording along time; None where every frame has the label of its recording.

    Raises:
        FaultyTableError: recordings cannot be decoded; it names all of them.
    """

    def __init__(
        self,
        rows: Sequence[LabelledRecording],
        memory_limit_bytes: float,
        workers: int,
        targets: Sequence[Target] = TARGETS,
        curves: Sequence[Curve | None] | None = None,
    ) -> None:
        self.curves = curves if curves is not None else [None] * len(rows)
        self.rows, self.workers, self.targets = list(rows), max(1, workers), tuple(targets)
        table = [[row.labels.get(target.name, np.nan) for target in self.targets] for row in self.rows]
        self.labels = np.array(table, dtype=np.float32).reshape(-1, len(self.targets))
        lengths, self.held = decode_all(self.rows, self.workers, memory_limit_bytes)
        self.lengths = np.array(lengths, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def memory_bytes(self) -> int:
        """Size of all samples."""
        return 2 * int(self.lengths.sum())

    def audio(self, index: int) -> Samples:
        """Samples of one recording, int16 (samples,)."""
        return self.held[index] if self.held is not None else decode(self.rows[index].path)

    def batches(
        self, config: TrainConfig, epoch: int, group: ProcessGroup = ALONE, skip: int = 0
    ) -> Generator[Batch, None, None]:
        """Yield the batches of one epoch; see `TrainingSet`."""
        return _batches(self, islice(draft_epoch(self.lengths, config, epoch), skip, None), group.share)


def decode_all(
    rows: Sequence[LabelledRecording], workers: int, most_bytes: float = 0.0
) -> tuple[list[int], list[Samples] | None]:
    """Decode every recording once, so that what cannot be used is named before long work.

    Returns:
        The lengths in samples, and the samples unless they need more than ``most_bytes``.

    Raises:
        FaultyTableError: recordings cannot be decoded; it names all of them.
    """
    lengths: list[int] = []
    faults: list[Fault] = []
    held: list[Samples] | None = []

    def attempt(row: LabelledRecording) -> Samples | Fault:
        try:
            return decode(row.path)
        except InputError as error:
            return Fault(row.line, str(error))

    with ThreadPoolExecutor(max(1, workers)) as pool:
        for found in pool.map(attempt, rows):
            if isinstance(found, Fault):
                faults.append(found)
                continue
            lengths.append(len(found))
            if held is not None:
                held.append(found)
                held = held if 2 * sum(lengths) <= most_bytes else None
    if faults:
        splits = dict.fromkeys(row.split for row in rows)
        raise FaultyTableError(Path(f"split {', '.join(splits)}"), faults)
    return lengths, held


def plain_batches(data: Dataset, batch_size: int, longest_samples: int, group: ProcessGroup = ALONE) -> Iterator[Batch]:
    """Yield every recording once, unaltered but for a cut at the longest length, similar lengths together.

    Processes take whole batches in turn.
    """
    order = np.argsort(data.lengths, kind="stable")
    longest = np.minimum(data.lengths, longest_samples)
    starts = range(group.rank * batch_size, len(order), batch_size * group.count)
    batches = (order[start : start + batch_size] for start in starts)
    drafts = (BatchDraft(rows, [Cut(0, int(longest[row])) for row in rows]) for rows in batches)
    return _batches(data, drafts, lambda items: BatchShare(0, items, items))


def _batches(
    data: Dataset, drafts: Iterable[BatchDraft], share_of: Callable[[int], BatchShare]
) -> Generator[Batch, None, None]:
    """Make batches of drafts; their audio is read in threads ahead of its use."""
    pool = ThreadPoolExecutor(data.workers)

    def submit(draft: BatchDraft) -> tuple[BatchDraft, BatchShare, dict[int, Future[Samples]]]:
        share = share_of(len(draft.rows))
        rows = [int(draft.rows[item]) for item in draft.needed_items(share.first, share.stop)]
        return draft, share, {row: pool.submit(data.audio, row) for row in rows}

    submitted = map(submit, drafts)
    try:
        waiting = deque(islice(submitted, BATCHES_AHEAD))
        while waiting:
            waiting.extend(islice(submitted, 1))
            draft, share, futures = waiting.popleft()
            audio = {row: future.result() for row, future in futures.items()}
            yield collate(draft, audio, data.labels[draft.rows], share, [data.curves[row] for row in draft.rows])
    finally:
        pool.shutdown(cancel_futures=True)


def collate(
    draft: BatchDraft,
    audio: Mapping[int, Samples],
    own: NDArray[np.float32],
    share: BatchShare,
    curves: Sequence[Curve | None],
) -> Batch:
    """Pad a share of a batch with zeros to the longest of all and scale it to ±1; parts label a spliced item.

    ``audio`` holds what it needs, by row; ``own`` the labels of the whole batch, float32 (whole, targets).
    """
    lengths = draft.lengths
    items = range(share.first, share.stop)
    waveform = np.zeros((len(items), max(lengths)), dtype=np.float32)
    for place, item in zip(waveform, items, strict=True):
        clip = draft.clip(item, audio)
        np.multiply(clip, 1.0 / 32768.0, out=place[: len(clip)], casting="unsafe")
    labels = own.copy()
    for splice in draft.splices:
        other = (splice.stop - splice.start) / lengths[splice.item]
        labels[splice.item] = (1 - other) * own[splice.item] + other * own[splice.other]
    mine = slice(share.first, share.stop)
    return Batch(
        waveform=torch.from_numpy(waveform),
        lengths=torch.tensor(lengths[mine]),
        labels=torch.from_numpy(np.full_like(labels[mine], np.nan) if share.is_idle else labels[mine]),
        unspliced=torch.from_numpy(own),
        recolour=None if draft.recolour is None else draft.recolour[mine],
        rows=draft.rows[mine],
        share=share,
        present=torch.from_numpy(np.isfinite(labels).sum(axis=0)),
        draft=draft,
        curves=curves,
    )
