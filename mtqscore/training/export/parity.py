"""Comparison of an exported file with torch, and the recordings that it is made on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from mtqscore.errors import InputError
from mtqscore.targets import SAMPLE_RATE_HZ
from mtqscore.training.data.dataset import decode
from mtqscore.training.export.calibration import Calibration
from mtqscore.training.export.graph import MIN_SAMPLES
from mtqscore.training.networks import Network

PARITY_BATCH = 8

Clip = NDArray[np.float32]


@dataclass(frozen=True)
class Parity:
    """Largest differences between onnxruntime and torch.

    Args:
        clips: number of recordings compared.
        scores: of an utterance score.
        frame_scores: of a frame score.
        batching: between an utterance scored alone and in a padded batch, in onnxruntime.
    """

    clips: int
    scores: float
    frame_scores: float
    batching: float

    @property
    def worst(self) -> float:
        """The largest of all differences."""
        return max(self.scores, self.frame_scores, self.batching)


def compare(network: Network, calibration: Calibration, content: bytes, clips: Sequence[Clip]) -> Parity:
    """Score recordings with the ONNX file and with torch, alone and in padded batches.

    Args:
        network: the network in evaluation mode.
        calibration: the one that is in the file.
        content: the ONNX file.
        clips: one or more, float32 (samples,) each at 16 kHz.
    """
    if not clips:
        raise ValueError("nothing to compare on")
    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    calibration = calibration.ordered(network.targets)
    scores = frame_scores = batching = 0.0
    for start in range(0, len(clips), PARITY_BATCH):
        group = list(clips[start : start + PARITY_BATCH])
        waveform, lengths = pad(group)
        found, found_frames = session.run(None, {"waveform": waveform, "lengths": lengths})
        with torch.inference_mode():
            raw, raw_frames, _ = network(torch.from_numpy(waveform), torch.from_numpy(lengths))
        scores = max(scores, _gap(found, calibration(raw.numpy())))
        frames = calibration(raw_frames.numpy())
        for item, length in enumerate(lengths):
            places = nearest_frames(network, int(length))
            frame_scores = max(frame_scores, _gap(found_frames[item, : len(places)], frames[item, places]))
            alone, _ = session.run(None, {"waveform": group[item][None], "lengths": lengths[item : item + 1]})
            batching = max(batching, _gap(alone[0], found[item]))
    return Parity(len(clips), scores, frame_scores, batching)


def nearest_frames(network: Network, samples: int) -> NDArray[np.int64]:
    """Find the network's frame nearest to each frame of the contract, int64 (frames,).

    Of frames at the same place the first one counts: that of the spectrum, where streams are joined.
    """
    hop = network.grid_hop_samples
    places = hop * np.arange(samples // hop + 1)
    nearest: NDArray[np.int64] = np.abs(network.frame_positions(samples).numpy() - places[:, None]).argmin(axis=1)
    return nearest


def pad(clips: Sequence[Clip]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Put recordings into one batch, with zeros behind the shorter ones: waveform and lengths."""
    lengths = np.array([len(clip) for clip in clips], dtype=np.int64)
    waveform = np.zeros((len(clips), int(lengths.max())), dtype=np.float32)
    for row, clip in zip(waveform, clips, strict=True):
        row[: len(clip)] = clip
    return waveform, lengths


def read_clips(paths: Sequence[Path], window_samples: int) -> list[Clip]:
    """Decode recordings for the comparison, cut to the model's window; those too short for a model are left out.

    Raises:
        InputError: one cannot be decoded, or none is long enough.
    """
    clips = (decode(path)[:window_samples].astype(np.float32) / 32768.0 for path in paths)
    found = [clip for clip in clips if len(clip) >= MIN_SAMPLES]
    if not found:
        raise InputError(f"none of {len(paths)} recordings is {MIN_SAMPLES / SAMPLE_RATE_HZ:g} s or longer")
    return found


def recordings_in(folder: Path, limit: int) -> list[Path]:
    """List recordings under a folder, sorted by name.

    Raises:
        InputError: there are none.
    """
    kinds = {".wav", ".flac", ".ogg", ".mp3"}
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in kinds)
    if not found:
        raise InputError(f"{folder}: no recordings to compare on")
    return found[:limit]


def synthetic_clips(count: int) -> list[Clip]:
    """Make tones in noise of many lengths and levels, with stretches of silence, for want of recordings."""
    rng = np.random.default_rng(0)
    clips = []
    for index in range(count):
        time_s = np.arange(int(rng.integers(MIN_SAMPLES, 5 * SAMPLE_RATE_HZ))) / SAMPLE_RATE_HZ
        tone = sum(np.sin(2.0 * np.pi * 140.0 * order * time_s) / order for order in range(1, 20))
        signal = tone * (np.sin(2.0 * np.pi * 2.5 * time_s) > 0)
        signal = signal + rng.standard_normal(len(time_s)) * 10.0 ** (-index / 4.0)
        clips.append((signal * 10.0 ** rng.uniform(-3.0, -1.0)).astype(np.float32))
    return clips


def _gap(found: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    """Largest difference; infinite where either holds a NaN, so that no comparison lets it pass."""
    gap = float(np.abs(np.asarray(found, dtype=np.float64) - expected).max())
    return gap if np.isfinite(gap) else float("inf")
