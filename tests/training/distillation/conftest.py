"""A folder of speech and a teacher."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from mtqscore.training.checkpoint import write_checkpoint
from tests.training_kit import paused_tone, small_config, small_network


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Speech under names that nobody should use, and a teacher of six targets."""
    (tmp_path / "speech" / "-deep er").mkdir(parents=True)
    names = ["a.wav", "q'uo\"te\n.flac", "\udcff.wav", "-deep er/b.ogg", "l" * 240 + ".wav"]
    for number, name in enumerate(names):
        rate_hz = (16_000, 48_000, 8_000)[number % 3]
        clip = paused_tone(3 * rate_hz, 0.01, number)
        form = name.rpartition(".")[2].upper()
        with (tmp_path / "speech" / name).open("wb") as stream:
            soundfile.write(stream, clip if number % 2 else np.stack([clip, clip], axis=1), rate_hz, format=form)
    (tmp_path / "speech" / "no audio.wav").write_text("hello")
    soundfile.write(tmp_path / "speech" / "short.wav", np.ones(1000), 16_000)
    network = small_network(3)
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if name.startswith("heads") and tensor.ndim == 2:
                tensor.mul_(3 if "score" in name else 3000)  # so that frames differ
    write_checkpoint(tmp_path / "teacher.safetensors", small_config(), {"average": network.state_dict()}, {})
    monkeypatch.chdir(tmp_path)
    return tmp_path
