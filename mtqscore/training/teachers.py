"""Teachers: whatever estimates targets of a recording that a network can learn from."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from mtqscore.errors import UsageError
from mtqscore.manifest import Row
from mtqscore.model_store import is_path, load_model
from mtqscore.runtime import Scorer
from mtqscore.spec import SAMPLE_RATE_HZ, TARGETS
from mtqscore.training.checkpoint import BEST_FILE, load_network, read_checkpoint
from mtqscore.training.dataset import FULL_SCALE, decode
from mtqscore.training.references import REFERENCES, ReferenceTeacher
from mtqscore.windows import Windower, level_weights

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

    def estimate(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """Estimate all its targets.

        Args:
            rows: recordings.

        Returns:
            float32 (recordings, targets), each in its target's own unit; NaN where it has nothing to say.
        """
        ...


@dataclass(frozen=True)
class _Window:
    """A stretch of a recording that a network hears at once."""

    row: int
    samples: Clip


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
    """

    def __init__(
        self, name: str, targets: tuple[str, ...], fingerprint: str, window_samples: int, min_samples: int = 1
    ) -> None:
        self.name, self.targets, self.fingerprint = name, targets, fingerprint
        self.window_samples, self.min_samples = window_samples, min_samples

    @abstractmethod
    def score(self, waveform: Clip, lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score a padded batch.

        Args:
            waveform: float32 (batch, samples) at 16 kHz, zero beyond each length.
            lengths: valid samples an item, int64 (batch,).

        Returns:
            float32 (batch, targets).
        """

    def estimate(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """Estimate all targets of some recordings; see `Teacher`."""
        windows = [window for number, row in enumerate(rows) for window in self._windows(number, row.path)]
        windows.sort(key=lambda window: len(window.samples))
        scores = np.full((len(windows), len(self.targets)), np.nan)
        for start, stop in _batches([len(window.samples) for window in windows]):
            lengths = np.array([len(window.samples) for window in windows[start:stop]], dtype=np.int64)
            waveform = np.zeros((stop - start, int(lengths.max())), dtype=np.float32)
            for item, window in zip(waveform, windows[start:stop], strict=True):
                item[: len(window.samples)] = window.samples
            scores[start:stop] = self.score(waveform, lengths)
        found = np.full((len(rows), len(self.targets)), np.nan, dtype=np.float32)
        for number in range(len(rows)):
            own = [place for place, window in enumerate(windows) if window.row == number]
            if own:
                found[number] = _mean([windows[place].samples for place in own], scores[own])
        limits = np.array([SCALES.get(name, (-np.inf, np.inf)) for name in self.targets], dtype=np.float32)
        return np.where(np.isfinite(found), np.clip(found, limits[:, 0], limits[:, 1]), np.nan).astype(np.float32)

    def _windows(self, number: int, path: Path) -> Iterator[_Window]:
        samples = decode(path).astype(np.float32) / np.float32(FULL_SCALE + 1)
        if len(samples) < self.min_samples:
            return
        windower = Windower(self.window_samples, hop_samples=1)
        for stretch in (*windower.push(samples), *windower.finish()):
            yield _Window(number, stretch)


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

    def score(self, waveform: Clip, lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score a padded batch in float32."""
        with torch.inference_mode():
            found = self.network(torch.from_numpy(waveform).to(self.device), torch.from_numpy(lengths).to(self.device))
        scores: NDArray[np.float32] = found.scores.float().cpu().numpy()
        return scores


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
        super().__init__(model, info.targets, file.sha256, info.window_samples, info.min_samples)

    def score(self, waveform: Clip, lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score a padded batch."""
        return self.scorer.score(waveform, lengths)[0]


@contextmanager
def open_teacher(
    choice: str, rows: Sequence[Row], base: Path, device: torch.device, references: Path | None = None
) -> Iterator[Teacher]:
    """Open the teacher that a user names, and let go of what it holds in the end.

    Args:
        choice: ``references``, a run folder, a checkpoint, an ONNX file, or a model by name.
        rows: the recordings that it will be asked about.
        base: folder that the table's column ``clean`` is relative to.
        device: where networks compute.
        references: folder of clean references; None for those of the table.

    Raises:
        UsageError: it is nothing of these.
        InputError: a checkpoint is damaged.
        FaultyTableError: references are missing or do not fit.
    """
    if choice == REFERENCES:
        with ReferenceTeacher(rows, base, references) as exact:
            yield exact
    elif choice.lower().endswith(".onnx") or not (is_path(choice) or Path(choice).exists()):
        yield OnnxTeacher(choice)
    else:
        yield CheckpointTeacher(check_run(choice), device)


def check_run(choice: str) -> Path:
    """Return the path of a checkpoint or run folder, as far as it looks like one.

    Raises:
        UsageError: it does not.
    """
    path = Path(choice)
    if path.is_dir() and not (path / BEST_FILE).is_file():
        raise UsageError(f"--teacher {choice}: no run folder, since it has no {BEST_FILE}; clean recordings go with "
                         "--references")  # fmt: skip
    return path


def _batches(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Divide windows of rising length into batches of bounded size, padding included."""
    start = 0
    for stop, length in enumerate(lengths):
        if stop > start and (stop + 1 - start) * length > BATCH_SAMPLES:
            yield start, stop
            start = stop
    if start < len(lengths):
        yield start, len(lengths)


def _mean(windows: Sequence[Clip], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        levels_db = [float(10 * np.log10(np.mean(np.square(window, dtype=np.float64)))) for window in windows]
    weights = level_weights(levels_db) * [len(window) for window in windows]
    mean: NDArray[np.float64] = np.average(scores, axis=0, weights=weights)
    return mean
