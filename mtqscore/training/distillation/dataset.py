"""Dataset of a distillation: clips made ahead in other processes, scored by the teachers, and learned from at once."""

from __future__ import annotations

import zipfile
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtqscore.base.files import replacing
from mtqscore.base.processes import WorkerPool
from mtqscore.errors import EnvironmentProblemError, UsageError
from mtqscore.training.compute.distributed import BatchShare, ProcessGroup
from mtqscore.training.config import DistillConfig, TrainConfig
from mtqscore.training.data.augmentation import BatchDraft, Samples, draft_epoch
from mtqscore.training.data.dataset import BATCHES_AHEAD, Batch, Dataset, collate
from mtqscore.training.data.frame_labels import Curve
from mtqscore.training.distillation.ensemble import TeacherEnsemble
from mtqscore.training.distillation.unlabelled import CLIPS_NOTE, ClipDraft, StretchSampler, make_clip
from mtqscore.training.teachers.teacher import TeacherEstimate, full_scale

LEARNED, HELD_OUT, LABELLED = 0, 1, 2
"""Purposes of randomness: second number of every key. The first two are indices of samplers too."""

_Kept = tuple[Samples, TeacherEstimate]

FOLDER_SIZE = 1000
"""Clips in one folder of a cache."""

_worker: dict[str, Any] = {}


def _start_process(samplers: Sequence[StretchSampler], config: DistillConfig) -> None:
    _worker["made_from"] = samplers, config


def _make(draft: ClipDraft) -> Samples:
    samplers, config = _worker["made_from"]
    return make_clip(draft, samplers[draft.key[1]], config)


class ClipMaker:
    """Makes clips in other processes; the same ones for any number of these."""

    def __init__(
        self, learned: StretchSampler, held_out: StretchSampler, config: DistillConfig, seed: int, workers: int
    ) -> None:
        self.samplers, self.config, self.seed = (learned, held_out), config, seed
        self._pool = WorkerPool(workers, _start_process, self.samplers, config)

    def drafts(self, purpose: int, turn: int) -> list[ClipDraft]:
        """Draw all clips of one pass."""
        count = self.config.clips if purpose == LEARNED else self.config.val_clips
        keys = ((self.seed, purpose, turn, index) for index in range(count))
        return [self.samplers[purpose].draft(key, self.config) for key in keys]

    def submit(self, draft: ClipDraft) -> Future[Samples]:
        """Begin to make a clip."""
        try:
            return self._pool.submit(_make, draft)
        except BrokenProcessPool as error:
            raise _lost() from error

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(cancel_futures=True)


def made(future: Future[Samples]) -> Samples:
    """Wait for a clip.

    Raises:
        InputError: no recording gives one.
        EnvironmentProblemError: the process that made it was killed.
    """
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise _lost() from error


def _lost() -> EnvironmentProblemError:
    return EnvironmentProblemError("a process that makes clips was killed, perhaps for its memory; try fewer --workers")


class ClipCache:
    """Folder of the clips of the first pass with their estimates by the teachers; several runs may share it.

    Args:
        folder: made if needed.
        identity: digest of all that decides clips and estimates.

    Raises:
        UsageError: the folder holds other clips.
        EnvironmentProblemError: it cannot be written to.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = folder
        note = folder / CLIPS_NOTE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not note.exists():
                with replacing(note) as partial:
                    partial.write_text(identity, encoding="ascii")
            found = note.read_text(encoding="ascii", errors="replace")
        except OSError as error:
            raise EnvironmentProblemError(f"{folder}: cannot keep clips there: {error.strerror or error}") from error
        if found != identity:
            raise UsageError(f"{folder}: holds clips of other recordings, teachers or settings; choose another --cache")

    def read(self, index: int) -> tuple[Samples, TeacherEstimate] | None:
        """Give a clip and its estimate; None where it is not kept, or not whole."""
        damaged = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
        with suppress(*damaged), np.load(self._path(index), allow_pickle=False) as kept:
            curve = kept["curve"]
            return kept["audio"], TeacherEstimate(kept["scores"], curve if len(curve) else None)
        return None

    def write(self, index: int, audio: Samples, estimate: TeacherEstimate) -> None:
        """Keep a clip.

        Raises:
            EnvironmentProblemError: there is no room for it.
        """
        path = self._path(index)
        path.parent.mkdir(exist_ok=True)
        curve = np.empty((0, 0), np.float32) if estimate.curve is None else estimate.curve
        try:
            with replacing(path, synced=False) as partial, partial.open("wb") as stream:
                np.savez(stream, audio=audio, scores=estimate.scores, curve=curve)
        except OSError as error:
            raise EnvironmentProblemError(f"{path}: cannot keep the clip: {error.strerror or error}") from error

    def _path(self, index: int) -> Path:
        return self.folder / f"{index // FOLDER_SIZE:04d}" / f"{index:07d}.npz"


class DistillationDataset:
    """Data of a student: clips with the estimates of the teachers, and recordings with labels among them.

    Args:
        maker: makes the clips.
        ensemble: scores them.
        cache: keeps those of the first pass for all others; None for new ones in every epoch.
        labelled: recordings with labels of the ensemble's targets, or None.
    """

    def __init__(
        self,
        maker: ClipMaker,
        ensemble: TeacherEnsemble,
        cache: ClipCache | None = None,
        labelled: Dataset | None = None,
    ) -> None:
        self.maker, self.ensemble, self.cache, self.labelled = maker, ensemble, cache, labelled
        self.clips = maker.config.clips
        share = maker.config.label_share if labelled is not None else 0.0
        self.labelled_clips = round(self.clips * share / (1 - share))

    def __len__(self) -> int:
        return self.clips + self.labelled_clips

    def batches(self, config: TrainConfig, epoch: int, group: ProcessGroup, skip: int) -> Generator[Batch, None, None]:
        """Yield the batches of one epoch, augmented as those of any training; see `TrainingSet`."""
        drafts = self.maker.drafts(LEARNED, 0 if self.cache is not None else epoch)
        chosen = self._labelled_rows(epoch)
        lengths = [draft.length for draft in drafts]
        if self.labelled is not None:
            lengths += self.labelled.lengths[chosen].tolist()
        batch_drafts = islice(draft_epoch(np.array(lengths, dtype=np.int64), config, epoch), skip, None)
        for batch_draft, begun in self._ahead(batch_drafts, drafts, group):
            yield self._batch(batch_draft, begun, chosen, group.share(len(batch_draft.rows)))

    def _ahead(
        self, batch_drafts: Iterator[BatchDraft], drafts: Sequence[ClipDraft], group: ProcessGroup
    ) -> Iterator[tuple[BatchDraft, dict[int, Future[Samples] | _Kept]]]:
        """Begin the clips of a few batches ahead: those that this process needs, by item."""
        waiting: deque[tuple[BatchDraft, dict[int, Future[Samples] | _Kept]]] = deque()
        try:
            while True:
                for batch_draft in islice(batch_drafts, BATCHES_AHEAD + 1 - len(waiting)):
                    share = group.share(len(batch_draft.rows))
                    items = batch_draft.needed_items(share.first, share.stop)
                    rows = {item: int(batch_draft.rows[item]) for item in items if batch_draft.rows[item] < self.clips}
                    waiting.append((batch_draft, {item: self._begun(drafts[row], row) for item, row in rows.items()}))
                if not waiting:
                    return
                yield waiting.popleft()
        finally:
            for _, begun in waiting:
                for one in begun.values():
                    if isinstance(one, Future):
                        one.cancel()

    def _begun(self, draft: ClipDraft, row: int) -> Future[Samples] | _Kept:
        kept = self.cache.read(row) if self.cache is not None else None
        return self.maker.submit(draft) if kept is None else kept

    def _batch(
        self,
        batch_draft: BatchDraft,
        begun: Mapping[int, Future[Samples] | _Kept],
        chosen: NDArray[np.int64],
        share: BatchShare,
    ) -> Batch:
        """Score the new clips of a batch with the teachers, and put all together."""
        # Zero stands for estimates in another process: labels are counted over the whole batch.
        own = np.zeros((len(batch_draft.rows), len(self.ensemble.targets)), dtype=np.float32)
        curves: list[Curve | None] = [None] * len(batch_draft.rows)
        audio: dict[int, Samples] = {}
        if self.labelled is not None:
            needed = batch_draft.needed_items(share.first, share.stop)
            for item, row in enumerate(batch_draft.rows):
                if row >= self.clips:
                    index = int(chosen[row - self.clips])
                    own[item] = self.labelled.labels[index]
                    if item in needed:
                        audio[int(row)] = self.labelled.audio(index)
        ready = {item: one for item, one in begun.items() if isinstance(one, tuple)}
        fresh = {item: made(one) for item, one in begun.items() if isinstance(one, Future)}
        estimates = self.ensemble.estimate([full_scale(clip) for clip in fresh.values()])
        for (item, clip), estimate in zip(fresh.items(), estimates, strict=True):
            ready[item] = clip, estimate
            if self.cache is not None:
                self.cache.write(int(batch_draft.rows[item]), clip, estimate)
        for item, (clip, estimate) in ready.items():
            audio[int(batch_draft.rows[item])], own[item], curves[item] = clip, estimate.scores, estimate.curve
        return collate(batch_draft, audio, own, share, curves)

    def _labelled_rows(self, epoch: int) -> NDArray[np.int64]:
        """Draw the recordings with labels of an epoch: all of them before any comes again."""
        rng = np.random.default_rng((self.maker.seed, LABELLED, epoch))
        count = len(self.labelled) if self.labelled is not None else 1
        turns = [rng.permutation(count) for _ in range(-(-self.labelled_clips // count))]
        return np.concatenate([*turns, np.empty(0, dtype=np.int64)])[: self.labelled_clips].astype(np.int64)
