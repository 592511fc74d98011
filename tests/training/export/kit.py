"""Recordings to compare on, and the scores of an exported file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from mtqscore.training.checkpoint import write_checkpoint
from mtqscore.training.export.calibration import from_points
from mtqscore.training.export.config import ModelIdentity
from mtqscore.training.networks import Network
from tests.training_kit import paused_tone, small_config

IDENTITY = ModelIdentity("mtqnet-test", "3", "7", "what it means", "its corpora", "MIT", "mtqscore export")
NONE = from_points({})


def clips() -> list[NDArray[np.float32]]:
    """Recordings with pauses, of awkward lengths and of levels 100 dB apart, and some that are not speech at all."""
    sounds = [paused_tone(length, 0.03 * index, index) for index, length in enumerate((48_000, 8_000, 24_576, 24_575))]
    sounds += [sounds[0][:20_000] * np.float32(1e-5), np.zeros(9_000, np.float32), np.ones(9_001, np.float32)]
    noise = np.random.default_rng(0).standard_normal(16_384).astype(np.float32)
    return [*sounds, noise, np.sign(noise) * np.linspace(1, 1e-6, 16_384, dtype=np.float32)]


@lru_cache(maxsize=2)
def _session(content: str | bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


def score(content: str | bytes, waveform: NDArray[np.float32], lengths: NDArray[np.int64]) -> tuple[Any, Any]:
    scores, frames = _session(content).run(None, {"waveform": waveform, "lengths": lengths})
    return scores, frames


def check_batch_and_padding(content: str | bytes, hop_samples: int) -> None:
    """Hold the scores of recordings alone against those in a batch, behind whose ends there are no numbers."""
    waveform = np.full((len(clips()), 55_777), np.nan, np.float32)
    lengths = np.array([len(clip) for clip in clips()])
    for row, clip in enumerate(clips()):
        waveform[row, : len(clip)] = clip
    together, frames = score(content, waveform, lengths)
    for row, clip in enumerate(clips()):
        alone, alone_frames = score(content, clip[None], lengths[row : row + 1])
        own = len(clip) // hop_samples + 1
        assert alone_frames.shape == (1, own, together.shape[1])
        np.testing.assert_allclose(alone[0], together[row], atol=1e-4)
        np.testing.assert_allclose(alone_frames[0], frames[row, :own], atol=1e-4)
        assert not frames[row, own:].any()


def write_run(path: Path, network: Network, **changes: Any) -> Path:
    config = small_config(network=network.config, targets=tuple(item.name for item in network.targets), **changes)
    path.mkdir(exist_ok=True)
    write_checkpoint(path / "best.safetensors", config, {"average": network.state_dict()}, {"epoch": 1})
    return path
