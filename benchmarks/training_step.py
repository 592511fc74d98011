"""How long one training step takes for each second of audio, of every network that trains from scratch.

    python benchmarks/training_step.py [--clips 8] [--seconds 4] [--rounds 5] [--threads 1] [--profile]

"As described" is MTQ-Net without a self-supervised branch written down plainly, one recording at a time as published
(`plain_mosa_net.py`); the others are what `mtqscore train` trains. All do the same work on the same clips in turn:
forward, loss, regularisation, backward, one step of the optimiser. Times are processor time, of all threads, and
medians over the rounds; ratios are medians of the ratios round by round. Quote ratios: single times on a shared machine
say little. bfloat16 is left out where the processor has none.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable

import torch
from plain_mosa_net import plain_copy
from processes import bundled_speech, rolled
from torch import Tensor

from mtqscore.targets import SAMPLE_RATE_HZ, TARGETS
from mtqscore.training.config import TrainConfig
from mtqscore.training.losses import MplLoss
from mtqscore.training.network_config import CompactConfig, MosaNetConfig, NetworkConfig
from mtqscore.training.networks import Estimates, build
from mtqscore.training.networks.mosa_net import MosaNet

PUBLISHED = MosaNetConfig()
FREE = dataclasses.replace(PUBLISHED, attention_penalty=0.0)
SMALL = MosaNetConfig(
    spectrum="log", channels=(8, 12, 16, 24), convolutions=1, time_stride=2, lstm_units=32, dense_units=32,
    attention_penalty=0.0,
)  # fmt: skip
NETWORKS: dict[str, NetworkConfig] = {
    "MTQ-Net": PUBLISHED,
    "MTQ-Net, attention not regularised": FREE,
    "MTQ-Net, small": SMALL,
    "MTQ-Net, small, at every frame": dataclasses.replace(SMALL, time_stride=1),
    "MTQ-Net, small, without filter bank": dataclasses.replace(SMALL, sinc=False),
    "compact": CompactConfig(),
}
Step = Callable[[], None]


def plain_step(waveform: Tensor, loss: MplLoss, labels: Tensor) -> Step:
    """A step of the network as it is described, clip by clip."""
    network = plain_copy(MosaNet(PUBLISHED)).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        for clip, label in zip(waveform, labels, strict=True):
            scores, frame_scores, penalty = network(clip)
            estimates = Estimates(scores[None], frame_scores[None], torch.ones(1, len(frame_scores), dtype=torch.bool))
            ((loss(estimates, label[None]).total + penalty) / len(waveform)).backward()
        optimizer.step()

    return step


def batch_step(settings: NetworkConfig, waveform: Tensor, loss: MplLoss, labels: Tensor, *, short: bool) -> Step:
    """A step of a network that can be trained, in float32 or in bfloat16 (short)."""
    network = build(TrainConfig(network=settings)).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    lengths = torch.full((len(waveform),), waveform.shape[1])

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=short):
            estimates = network(waveform, lengths)
        total = loss(estimates, labels).total
        penalty = network.penalty()
        (total if penalty is None else total + penalty).backward()
        optimizer.step()

    return step


def parameters(settings: NetworkConfig) -> int:
    """Count what is learnt."""
    return sum(parameter.numel() for parameter in build(TrainConfig(network=settings)).parameters())


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--profile", action="store_true", help="show instead where the time of MTQ-Net goes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    speech = bundled_speech()
    waveform = torch.stack(
        [torch.from_numpy(rolled(speech, options.seconds, number)).float() for number in range(options.clips)]
    )
    labels = torch.rand(options.clips, len(TARGETS)) + 1.0
    loss = MplLoss(TrainConfig())
    kinds = [False, True] if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else [False]
    steps: dict[tuple[str, str], Step] = {("MTQ-Net as described", "float32"): plain_step(waveform, loss, labels)}
    for name, settings in NETWORKS.items():
        for short in kinds:
            made = batch_step(settings, waveform, loss, labels, short=short)
            steps[name, "bfloat16" if short else "float32"] = made
    if options.profile:
        profile(steps, kinds)
        return
    times: dict[tuple[str, str], list[float]] = {name: [] for name in steps}
    for number in range(options.rounds + 1):
        for name, step in steps.items():
            start = time.process_time()
            step()
            if number:
                times[name].append(time.process_time() - start)
    base = times["MTQ-Net as described", "float32"]
    audio_s = waveform.numel() / SAMPLE_RATE_HZ
    print(f"{options.clips} clips of {options.seconds:g} s, {options.threads} threads, torch {torch.__version__}\n")
    print("| network | numbers | parameters | ms a second of audio | ratio |\n|---|---|---|---|---|")
    for (name, kind), found in times.items():
        ratio = statistics.median(one / other for one, other in zip(found, base, strict=True))
        size = parameters(NETWORKS.get(name, PUBLISHED))
        print(f"| {name} | {kind} | {size:,} | {statistics.median(found) / audio_s * 1e3:.1f} | {ratio:.3f} |")


def profile(steps: dict[tuple[str, str], Step], kinds: list[bool]) -> None:
    """Print what takes the time of a step of MTQ-Net."""
    for short in kinds:
        step = steps["MTQ-Net", "bfloat16" if short else "float32"]
        step()
        with torch.profiler.profile(record_shapes=True) as found:
            step()
        print(found.key_averages(group_by_input_shape=True).table(sort_by="self_cpu_time_total", row_limit=24))


if __name__ == "__main__":
    main()
