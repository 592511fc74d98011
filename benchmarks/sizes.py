"""Cost of the compact network in every named size: parameters, bytes, and processor time, side by side.

    python benchmarks/sizes.py [--rounds 9] [--clips 8] [--seconds 4]

Times are processor time in milliseconds a second of audio, on one thread, medians over rounds in which every size has
its turn. Training is a step in float32: forward, loss, backward, optimiser. Inference is the exported file in
onnxruntime on batches of 40 s, with the heads of S, N and G. `× real time` is of inference. Quote ratios: single times
on a shared machine say little.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time

import torch
from processes import bundled_speech, rolled
from training_step import training_step

from mtqscore.targets import TARGETS
from mtqscore.training.config import TrainConfig
from mtqscore.training.export.inference_cost import measure
from mtqscore.training.losses import MplLoss
from mtqscore.training.network_config import SIZES
from mtqscore.training.networks.compact import CompactNet

NETWORKS = {
    **{f"`{name}`": config for name, config in SIZES.items()},
    "`base`, `second_time_stride = 2`": dataclasses.replace(SIZES["base"], second_time_stride=2),
    "the same, `conv_widths = [5, 3, 3, 3]`": dataclasses.replace(
        SIZES["base"], second_time_stride=2, conv_widths=(5, 3, 3, 3)
    ),
}


def training_ms(clips: int, seconds: float, rounds: int) -> dict[str, float]:
    """Time training steps of all sizes in turn: ms of processor time a second of audio."""
    speech = bundled_speech()
    waveform = torch.stack([torch.from_numpy(rolled(speech, seconds, number)).float() for number in range(clips)])
    labels = torch.rand(clips, len(TARGETS)) + 1.0
    loss = MplLoss(TrainConfig())
    steps = {name: training_step(config, waveform, loss, labels) for name, config in NETWORKS.items()}
    times_s: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            start_s = time.process_time()
            step()
            if number:
                times_s[name].append(time.process_time() - start_s)
    return {name: 1e3 * statistics.median(found) / (clips * seconds) for name, found in times_s.items()}


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    training = training_ms(options.clips, options.seconds, options.rounds)
    costs = measure({name: CompactNet(config).eval() for name, config in NETWORKS.items()}, options.rounds)
    base = costs["`base`"].cpu_ms
    print("| size | parameters | ONNX MB | training ms/s | inference ms/s | ratio to base | × real time |")
    print("|---|---|---|---|---|---|---|")
    for name, cost in costs.items():
        print(
            f"| {name} | {cost.parameters:,} | {cost.onnx_bytes / 1e6:.2f} | {training[name]:.1f} | "
            f"{cost.cpu_ms:.2f} | {cost.cpu_ms / base:.2f} | {1e3 / cost.cpu_ms:,.0f} |"
        )


if __name__ == "__main__":
    main()
