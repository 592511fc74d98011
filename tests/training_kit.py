"""A shrunken network and a small labelled corpus for tests of training and export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from mtqscore.labels.table import write_table
from mtqscore.targets import SAMPLE_RATE_HZ, TARGETS
from mtqscore.training.checkpoint import read_checkpoint
from mtqscore.training.config import TrainConfig
from mtqscore.training.loop import Watch
from mtqscore.training.network_config import CompactConfig
from mtqscore.training.networks.compact import CompactNet

SMALL = CompactConfig(conv_channels=(7, 8), conv_strides=(2, 6), conv_widths=(5, 7), squeeze_units=16, lstm_units=8,
                      dense_units=12)  # fmt: skip
QUIET = Watch(lambda *_: None, lambda _: None)


class StopError(Exception):
    """Stands in for a crash."""


def stopping(after_steps: int) -> Watch:
    """Watch that ends a run after some of its steps."""

    def step(done: int, _total: int, _note: str) -> None:
        if done == after_steps:
            raise StopError

    return Watch(step, QUIET.message)


def same_tensors(first: Path, second: Path) -> bool:
    """Compare two checkpoints bit for bit."""
    one, two = read_checkpoint(first).tensors, read_checkpoint(second).tensors
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


COLUMNS = ["path", "split", *(target.name for target in TARGETS)]


def small_config(**changes: object) -> TrainConfig:
    settings: dict[str, object] = {"epochs": 3, "batch_size": 6, "lr": 5e-3, "threads": 1, "precision": "float32"}
    settings |= {"silence_share": 0.0, "network": SMALL}
    return TrainConfig(**{**settings, **changes})  # type: ignore[arg-type]


def careful_config(**changes: object) -> TrainConfig:
    """Settings that also save after every step, and the best epoch of every target."""
    return small_config(**{"checkpoint_minutes": 1e-9, "best_per_target": True, **changes})


def small_network(seed: int = 0, config: CompactConfig = SMALL) -> CompactNet:
    """A network in evaluation mode with statistics and weights that leave no output constant."""
    torch.manual_seed(seed)
    network = CompactNet(config)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if "norm.running_var" in name or "norm.weight" in name:
                tensor.uniform_(0.5, 2.0)
            elif "norm" in name and tensor.is_floating_point():
                tensor.normal_(0.0, 0.3)
            elif "score.weight" in name or "dense.weight" in name or "squeeze.weight" in name:
                tensor.mul_(3.0)
    return network.eval()


def paused_tone(samples: int, noise: float, seed: int) -> NDArray[np.float32]:
    """Harmonics with pauses in noise, float32 (samples,)."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(samples) / SAMPLE_RATE_HZ
    tone = sum(np.sin(2 * np.pi * 150 * order * time_s) / order for order in range(1, 20))
    gated = tone * (np.sin(2 * np.pi * 2 * time_s) > 0)
    return np.asarray(0.1 * (gated + noise * rng.standard_normal(samples)), dtype=np.float32)


def write_corpus(folder: Path, count: int, *, kind: str = "flac") -> Path:
    """Write recordings whose noise level is their label; some labels are missing. Every fourth is for validation."""
    rng = np.random.default_rng(3)
    folder.mkdir(parents=True, exist_ok=True)
    records: list[dict[str, object]] = []
    for index in range(count):
        snr_db = rng.uniform(-5, 35)
        clip = paused_tone(int(rng.integers(12_000, 24_000)), 10 ** (-snr_db / 20), index)
        soundfile.write(folder / f"{index}.{kind}", clip / 4, SAMPLE_RATE_HZ)
        score = round(1 + 4 * (snr_db + 5) / 40, 3)
        record = {"path": f"{index}.{kind}", "split": "val" if index % 4 == 3 else "train"}
        labels = {"s_mos": score, "n_mos": score, "g_mos": score}
        if index % 2:
            labels |= {"pesq": score - 0.5, "stoi": (score - 1) / 4}
        records.append(record | labels)
    write_table(folder / "manifest.csv", COLUMNS, records)
    return folder
