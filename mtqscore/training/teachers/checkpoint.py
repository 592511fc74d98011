"""Runs and checkpoints as teachers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from mtqscore.audio.checks import sound_level_db
from mtqscore.audio.windows import Windower, level_weights
from mtqscore.targets import SAMPLE_RATE_HZ
from mtqscore.training.checkpoint import load_network, read_checkpoint
from mtqscore.training.teachers.teacher import Clip, ClipTeacher, TeacherEstimate, WindowScores, join_windows

BATCH_SAMPLES = 80 * SAMPLE_RATE_HZ
"""Samples of a batch, padding included: bounds the memory."""


class TeacherWindow(NamedTuple):
    """A stretch of one of several recordings: its first sample there, and its samples."""

    clip: int
    start: int
    samples: Clip


class CheckpointTeacher(ClipTeacher):
    """A network that was trained here, on windows no longer than those of its training.

    A recording's estimate is the mean of its windows by length; quiet ones count less, as in ``mtqscore assess``.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        checkpoint = read_checkpoint(path)
        self.network, self.device = load_network(checkpoint).to(device), device
        self._window_samples = int(checkpoint.config.max_clip_s * SAMPLE_RATE_HZ)
        targets = tuple(target.name for target in self.network.targets)
        super().__init__(str(path), targets, hashlib.sha256(checkpoint.path.read_bytes()).hexdigest())

    def estimate_clips(self, clips: Sequence[Clip]) -> list[TeacherEstimate]:
        """Estimate all targets of some recordings, in batches of windows of similar lengths."""
        windows = [window for number, clip in enumerate(clips) for window in self._windows(number, clip)]
        windows.sort(key=lambda window: len(window.samples))
        scored: list[list[tuple[WindowScores, float]]] = [[] for _ in clips]
        for batch in _batches(windows):
            for window, scores in zip(batch, self._score(batch), strict=True):
                scored[window.clip].append((scores, sound_level_db(window.samples)))
        estimates = []
        for found, clip in zip(scored, clips, strict=True):
            parts, levels_db = zip(*found, strict=True)
            weights = level_weights(levels_db) * [part.samples for part in parts]
            estimates.append(join_windows(parts, weights, len(clip), self.targets))
        return estimates

    def _windows(self, number: int, clip: Clip) -> Iterator[TeacherWindow]:
        windower = Windower(self._window_samples, hop_samples=1)
        start = 0
        for samples in (*windower.push(clip), *windower.finish()):
            yield TeacherWindow(number, start, samples)
            start += len(samples)

    def _score(self, batch: Sequence[TeacherWindow]) -> Iterator[WindowScores]:
        lengths = [len(window.samples) for window in batch]
        waveform = torch.zeros(len(batch), max(lengths))
        for item, window in zip(waveform, batch, strict=True):
            item[: len(window.samples)] = torch.from_numpy(window.samples)
        with torch.inference_mode():
            found = self.network(waveform.to(self.device), torch.tensor(lengths, device=self.device))
        scores, frames = found.scores.float().cpu().numpy(), found.frame_scores.float().cpu().numpy()
        own, positions = found.mask.cpu().numpy(), self.network.frame_positions(waveform.shape[1]).numpy()
        for item, window in enumerate(batch):
            mask = own[item]
            yield WindowScores(
                scores[item], len(window.samples), window.start + positions[mask], frames[item][mask].astype(np.float32)
            )


def _batches(windows: Sequence[TeacherWindow]) -> Iterator[Sequence[TeacherWindow]]:
    """Divide windows of rising length into batches of bounded size, padding included."""
    start = 0
    for stop, window in enumerate(windows):
        if stop > start and (stop + 1 - start) * len(window.samples) > BATCH_SAMPLES:
            yield windows[start:stop]
            start = stop
    if windows:
        yield windows[start:]
