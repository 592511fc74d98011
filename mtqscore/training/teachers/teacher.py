"""Teachers: whatever estimates targets of a recording that a network can learn from."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from mtqscore.audio.windows import Windower, level_weights, valid_frames
from mtqscore.base.machine import usable_cores
from mtqscore.labels.table import LabelledRecording
from mtqscore.models import load_model
from mtqscore.scoring.session import Scorer
from mtqscore.targets import SAMPLE_RATE_HZ, TARGETS
from mtqscore.training.checkpoint import load_network, read_checkpoint
from mtqscore.training.data.dataset import FULL_SCALE, decode
from mtqscore.training.data.frame_labels import Curve, on_grid

BATCH_SAMPLES = 80 * SAMPLE_RATE_HZ
"""What a network hears at once, padding included: bounds the memory."""

SCALES = {target.name: (target.low, target.high) for target in TARGETS}

Clip = NDArray[np.float32]


class Teacher(Protocol):
    """What gives pseudo-labels."""

    name: str
    """How messages and files call it."""

    targets: tuple[str, ...]
    """What it estimates, in the order of its columns."""

    fingerprint: str
    """Digest of everything that decides its estimates besides the recordings, hexadecimal."""

    def estimate(self, rows: Sequence[LabelledRecording]) -> NDArray[np.float32]:
        """Estimate all its targets.

        Args:
            rows: recordings.

        Returns:
            float32 (recordings, targets), each in its target's own unit; NaN where it has nothing to say.
        """
        ...


@dataclass(frozen=True)
class Judgement:
    """What is said of one recording.

    Args:
        scores: float32 (targets,), each in its target's own unit; NaN where there is nothing to say.
        curve: the same along time, see `Curve`; None where a teacher scores whole recordings only.
    """

    scores: NDArray[np.float32]
    curve: Curve | None


@dataclass(frozen=True)
class Window:
    """A stretch of a recording that a network hears at once.

    Args:
        start: its first sample in the recording, at 16 kHz.
        samples: as the network hears it.
    """

    start: int
    samples: Clip


@dataclass(frozen=True)
class Along:
    """Scores along one window.

    Args:
        positions: the sample at 16 kHz at the middle of each frame, from the start of the window, int64 (frames,).
        values: float32 (frames, targets).
    """

    positions: NDArray[np.int64]
    values: NDArray[np.float32]


class ListeningTeacher(ABC):
    """A teacher that hears the recording alone, in windows no longer than those that it was trained on.

    A recording's estimate is the mean of its windows by length; quiet ones count less, as in ``mtqscore assess``.
    Estimates beyond the scale of a target are set to its end.

    Args:
        name: how messages and files call it.
        targets: what it estimates.
        fingerprint: digest of its file.
        window_samples: longest window.
        min_samples: shortest recording that it judges.
        threads: batches that it may judge at the same time.
    """

    def __init__(
        self,
        name: str,
        targets: tuple[str, ...],
        fingerprint: str,
        window_samples: int,
        min_samples: int = 1,
        threads: int = 1,
    ) -> None:
        self.name, self.targets, self.fingerprint = name, targets, fingerprint
        self.window_samples, self.min_samples, self.threads = window_samples, min_samples, threads

    @abstractmethod
    def score(self, waveform: Clip, lengths: NDArray[np.int64]) -> tuple[NDArray[np.float32], Sequence[Along | None]]:
        """Score a padded batch of windows.

        Args:
            waveform: float32 (batch, samples), zero beyond each length.
            lengths: valid samples an item, int64 (batch,).

        Returns:
            Scores float32 (batch, targets), and for each window those along it, or None.
        """

    def windows(self, clip: Clip) -> list[Window]:
        """Cut a recording at 16 kHz, float32 (samples,), into what the network hears at once."""
        windower = Windower(self.window_samples, hop_samples=1)
        made, start = [], 0
        for stretch in (*windower.push(clip), *windower.finish()):
            made.append(Window(start, stretch))
            start += len(stretch)
        return made

    def weights(self, windows: Sequence[Window]) -> NDArray[np.float64]:
        """Say how much each window of one recording counts, float64 (windows,)."""
        with np.errstate(divide="ignore"):
            levels_db = [float(10 * np.log10(np.mean(np.square(one.samples, dtype=np.float64)))) for one in windows]
        return level_weights(levels_db) * [len(one.samples) for one in windows]

    def estimate(self, rows: Sequence[LabelledRecording]) -> NDArray[np.float32]:
        """Estimate all targets of some recordings; see `Teacher`."""
        clips = [decode(row.path).astype(np.float32) / np.float32(FULL_SCALE + 1) for row in rows]
        found = [judgement.scores for judgement in self.judge(clips)]
        return np.array(found, dtype=np.float32).reshape(-1, len(self.targets))

    def judge(self, clips: Sequence[Clip]) -> list[Judgement]:
        """Judge recordings as wholes and along time.

        Args:
            clips: at 16 kHz, float32 (samples,) each.
        """
        windows = [(number, one) for number, clip in enumerate(clips) for one in self._heard(clip)]
        windows.sort(key=lambda pair: len(pair[1].samples))
        batches = [windows[first:stop] for first, stop in _batches([len(one.samples) for _, one in windows])]
        with ThreadPoolExecutor(self.threads) as pool:
            said = [each for found in pool.map(self._scored, batches) for each in found]
        by_clip: list[list[_Said]] = [[] for _ in clips]
        for (number, window), (scores, along) in zip(windows, said, strict=True):
            by_clip[number].append(_Said(window, scores, along))
        return [self._joined(found, len(clip)) for found, clip in zip(by_clip, clips, strict=True)]

    def _heard(self, clip: Clip) -> list[Window]:
        return self.windows(clip) if len(clip) >= self.min_samples else []

    def _scored(self, batch: Sequence[tuple[int, Window]]) -> list[tuple[NDArray[np.float32], Along | None]]:
        lengths = np.array([len(window.samples) for _, window in batch], dtype=np.int64)
        waveform = np.zeros((len(batch), int(lengths.max())), dtype=np.float32)
        for item, (_, window) in zip(waveform, batch, strict=True):
            item[: len(window.samples)] = window.samples
        return list(zip(*self.score(waveform, lengths), strict=True))

    def _joined(self, said: Sequence[_Said], samples: int) -> Judgement:
        """Make one of what is said of the windows of a recording."""
        if not said:
            return Judgement(np.full(len(self.targets), np.nan, np.float32), None)
        weights = self.weights([one.window for one in said])
        scores = np.average([one.scores for one in said], axis=0, weights=weights)
        along = [(one.window.start + one.along.positions, one.along.values) for one in said if one.along is not None]
        curve = None
        if along:
            positions, values = (np.concatenate(parts) for parts in zip(*along, strict=True))
            curve = _within_scales(on_grid(positions, values, samples), self.targets)
        return Judgement(_within_scales(scores, self.targets), curve)


@dataclass(frozen=True)
class _Said:
    window: Window
    scores: NDArray[np.float32]
    along: Along | None


class CheckpointTeacher(ListeningTeacher):
    """A network that was trained here.

    Args:
        path: checkpoint, or run folder, of which the best epoch is taken.
        device: where it computes.

    Raises:
        InputError: there is no such checkpoint, or it is damaged.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        checkpoint = read_checkpoint(path)
        digest = hashlib.sha256(checkpoint.path.read_bytes()).hexdigest()
        self.network, self.device = load_network(checkpoint).to(device), device
        targets = tuple(target.name for target in self.network.targets)
        super().__init__(str(path), targets, digest, int(checkpoint.config.max_clip_s * SAMPLE_RATE_HZ))

    def score(self, waveform: Clip, lengths: NDArray[np.int64]) -> tuple[NDArray[np.float32], list[Along | None]]:
        """Score a padded batch in float32."""
        with torch.inference_mode():
            found = self.network(torch.from_numpy(waveform).to(self.device), torch.from_numpy(lengths).to(self.device))
        scores, frames = (part.float().cpu().numpy() for part in found[:2])
        positions = self.network.frame_positions(waveform.shape[1]).numpy()
        own = found.mask.cpu().numpy()
        return scores, [Along(positions[mask], values[mask]) for values, mask in zip(frames, own, strict=True)]


class OnnxTeacher(ListeningTeacher):
    """A model that was exported, whatever its targets are.

    Args:
        model: path of an ONNX file, name of a listed model, or a reference to the Hub; see ``load_model``.

    Raises:
        UsageError: there is no such model, or it is none of mtqscore.
        EnvironmentProblemError: it cannot be fetched or does not run.
    """

    def __init__(self, model: str) -> None:
        file = load_model(model)
        self.scorer = Scorer(file, "cpu", any_targets=True)
        info = self.scorer.info
        cores = usable_cores()
        super().__init__(model, info.targets, file.sha256, info.window_samples, info.min_samples, threads=cores)

    def score(self, waveform: Clip, lengths: NDArray[np.int64]) -> tuple[NDArray[np.float32], list[Along | None]]:
        """Score a padded batch."""
        scores, frames = self.scorer.score(waveform, lengths)
        hop = self.scorer.info.frame_hop_samples
        counts = [valid_frames(int(length), hop) for length in lengths]
        return scores, [Along(hop * np.arange(count), item[:count]) for item, count in zip(frames, counts, strict=True)]


def _batches(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Divide windows of rising length into batches of bounded size, padding included."""
    start = 0
    for stop, length in enumerate(lengths):
        if stop > start and (stop + 1 - start) * length > BATCH_SAMPLES:
            yield start, stop
            start = stop
    if start < len(lengths):
        yield start, len(lengths)


def _within_scales(values: NDArray[np.floating], targets: Sequence[str]) -> NDArray[np.float32]:
    """Set what lies beyond the scale of its target, on the last axis, to its end; what is no number becomes NaN."""
    limits = np.array([SCALES.get(name, (-np.inf, np.inf)) for name in targets], dtype=np.float32)
    return np.where(np.isfinite(values), np.clip(values, limits[:, 0], limits[:, 1]), np.nan).astype(np.float32)
