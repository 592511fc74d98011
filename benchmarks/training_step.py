"""Processor time of one training step for each second of audio, of every network that trains from scratch.

    python benchmarks/training_step.py [--clips 8] [--seconds 4] [--rounds 5]

All networks do the same work on the same clips in turn: forward, loss, regularisation, backward, one step of the
optimiser. Times are processor time, medians over the rounds; ratios are medians of the ratios round by round. Quote
ratios: single times on a shared machine say little.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable

import torch
from processes import bundled_speech, rolled
from torch import Tensor

from mtqscore.targets import SAMPLE_RATE_HZ, TARGETS
from mtqscore.training.config import TrainConfig
from mtqscore.training.losses import MplLoss
from mtqscore.training.network_config import CompactConfig, MosaNetConfig, NetworkConfig
from mtqscore.training.networks import build

SMALL = MosaNetConfig(
    spectrum="log", channels=(8, 12, 16, 24), convolutions=1, time_stride=2, lstm_units=32, dense_units=32,
    attention_penalty=0.0,
)  # fmt: skip
NETWORKS: dict[str, NetworkConfig] = {
    "MTQ-Net": MosaNetConfig(),
    "MTQ-Net, attention not regularised": MosaNetConfig(attention_penalty=0.0),
    "MTQ-Net, small": SMALL,
    "MTQ-Net, small, at every frame": dataclasses.replace(SMALL, time_stride=1),
    "MTQ-Net, small, without filter bank": dataclasses.replace(SMALL, sinc=False),
    "compact": CompactConfig(),
}


def training_step(settings: NetworkConfig, waveform: Tensor, loss: MplLoss, labels: Tensor) -> Callable[[], None]:
    """Make a step of a network that can be trained, in float32."""
    network = build(TrainConfig(network=settings)).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    lengths = torch.full((len(waveform),), waveform.shape[1])

    def step() -> None:
        optimizer.zero_grad()
        total = loss(network(waveform, lengths), labels).total
        penalty = network.penalty()
        (total if penalty is None else total + penalty).backward()
        optimizer.step()

    return step


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    speech = bundled_speech()
    waveform = torch.stack(
        [torch.from_numpy(rolled(speech, options.seconds, number)).float() for number in range(options.clips)]
    )
    labels = torch.rand(options.clips, len(TARGETS)) + 1.0
    loss = MplLoss(TrainConfig())
    steps = {name: training_step(settings, waveform, loss, labels) for name, settings in NETWORKS.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(options.rounds + 1):
        for name, step in steps.items():
            start = time.process_time()
            step()
            if number:
                times[name].append(time.process_time() - start)
    audio_s = waveform.numel() / SAMPLE_RATE_HZ
    print(f"{options.clips} clips of {options.seconds:g} s, one thread, torch {torch.__version__}\n")
    print("| network | parameters | ms a second of audio | ratio |\n|---|---|---|---|")
    for name, found in times.items():
        ratio = statistics.median(one / other for one, other in zip(found, times["MTQ-Net"], strict=True))
        size = sum(parameter.numel() for parameter in build(TrainConfig(network=NETWORKS[name])).parameters())
        print(f"| {name} | {size:,} | {statistics.median(found) / audio_s * 1e3:.1f} | {ratio:.3f} |")


if __name__ == "__main__":
    main()
