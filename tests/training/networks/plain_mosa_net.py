"""MOSA-Net written down as it is described (arXiv 2111.02363, 2308.09262): one recording at a time, nothing tuned.

A test holds `mtqscore.training.networks.mosa_net` against this reading.
Bins run from low to high, the strided convolutions are padded as Keras pads them, the attention averages vectors.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtqscore.training.networks.mosa_net import MosaNet

RATE_HZ, STEP, BINS, TAPS = 16_000, 256, 257, 251


class PlainMosaNet(nn.Module):
    """The published network without a self-supervised branch.

    Args:
        targets: names of the tasks.
        dropout: share of units dropped before the heads.
    """

    def __init__(self, targets: list[str], dropout: float = 0.3) -> None:
        super().__init__()
        self.targets = targets
        mel = torch.linspace(80, 2595 * math.log10(1 + RATE_HZ / 2 / 700), BINS, dtype=torch.float64)
        hz = 700 * (10 ** (mel / 2595) - 1)
        low, high = torch.roll(hz, 1), torch.roll(hz, -1)
        low[0], high[-1] = 30, RATE_HZ / 2 - 100
        self.low = nn.Parameter((low / RATE_HZ).float())
        self.band = nn.Parameter(((high - low) / RATE_HZ).float())
        layers, inputs = [], 1
        for outputs in (16, 32, 64, 128):
            for stride in (1, 1, 3):
                layers.append(nn.Conv2d(inputs, outputs, 3, (1, stride)))
                inputs = outputs
        self.convolutions = nn.ModuleList(layers)
        self.blstm = nn.LSTM(512, 128, batch_first=True, bidirectional=True)
        self.dense = nn.Linear(256, 128)
        self.dropout = nn.Dropout(dropout)
        self.attention = nn.ParameterDict({name: nn.init.xavier_normal_(torch.empty(128, 128)) for name in targets})
        self.attention_bias = nn.ParameterDict({name: torch.zeros(1) for name in targets})
        self.score = nn.ModuleDict({name: nn.Linear(128, 1) for name in targets})

    def filters(self) -> Tensor:
        """The filter bank, float32 (filters, taps)."""
        sample = torch.arange(1, TAPS // 2 + 1)
        window = 0.54 - 0.46 * torch.cos(2 * torch.pi * torch.arange(TAPS) / (TAPS - 1))
        made = []
        for low, band in zip(self.low, self.band, strict=True):
            start = low.abs() + 50 / RATE_HZ
            end = start + band.abs() + 50 / RATE_HZ
            pass_start, pass_end = 2 * start * low_pass(start * sample), 2 * end * low_pass(end * sample)
            kernel = pass_end - pass_start
            made.append(kernel / kernel.max() * window)
        return torch.stack(made)

    def streams(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """The spectrum and the filtered recording of float32 (samples,): float32 (frames, bins) each."""
        clip = clip / clip.abs().max()
        window = torch.hamming_window(512, periodic=False)
        spectrum = torch.stft(clip, 512, STEP, 512, window, center=True, pad_mode="reflect", return_complex=True)
        frames = math.ceil(len(clip) / STEP)
        padding = max(0, (frames - 1) * STEP + TAPS - len(clip))
        padded = functional.pad(clip[None, None], (padding // 2, padding - padding // 2))
        return spectrum.abs().T, functional.conv1d(padded, self.filters()[:, None], stride=STEP)[0].T

    def forward(self, clip: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Score float32 (samples,).

        Returns:
            Scores (targets,), frame scores (frames, targets), and the regularisation.
        """
        x = torch.cat(self.streams(clip))[None, None]
        for layer in self.convolutions:
            padding = max(0, (math.ceil(x.shape[3] / layer.stride[1]) - 1) * layer.stride[1] + 3 - x.shape[3])
            x = torch.relu(layer(functional.pad(x, (padding // 2, padding - padding // 2, 1, 1))))
        x = x[0].permute(1, 2, 0).flatten(1)
        x = self.dropout(torch.relu(self.dense(self.blstm(x[None])[0])))[0]
        frame_scores, penalty = [], torch.zeros(())
        for name in self.targets:
            matrix, bias = self.attention[name], self.attention_bias[name]
            weights = torch.softmax(x @ matrix @ x.T + bias, dim=1)
            frame_score = self.score[name](weights @ x)[:, 0]
            frame_scores.append(torch.sigmoid(frame_score) if name == "stoi" else frame_score)
            redundancy = (weights @ weights.T - torch.eye(len(x))).square().sum()
            penalty = penalty + 1e-4 * (matrix.square().sum() + bias.abs().sum() + redundancy)
        stacked = torch.stack(frame_scores, dim=1)
        return stacked.mean(dim=0), stacked, penalty


def low_pass(cycles: Tensor) -> Tensor:
    """Put a one between half a sinc and its mirror image."""
    half = torch.sin(2 * torch.pi * cycles) / (2 * torch.pi * cycles)
    return torch.cat((half.flip(0), torch.ones(1), half))


def plain_copy(network: MosaNet) -> PlainMosaNet:
    """Make the plain network with the weights of a network of the published sizes, whose bins run the other way."""
    plain = PlainMosaNet([target.name for target in network.targets], network.config.dropout)
    given = network.state_dict()
    taken = {"low": given["sinc.low"].flip(0), "band": given["sinc.band"].flip(0)}
    for number in range(12):
        source = f"blocks.{number // 3}.convolutions.{number % 3}"
        taken[f"convolutions.{number}.weight"] = given[f"{source}.weight"].flip(3)
        taken[f"convolutions.{number}.bias"] = given[f"{source}.bias"]
    for suffix, direction in (("", "forwards"), ("_reverse", "backwards")):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            values = given[f"recurrent.{direction}.{name}_l0"]
            if name == "weight_ih":
                values = values.unflatten(1, (4, 128)).flip(1).flatten(1)
            taken[f"blstm.{name}_l0{suffix}"] = values
    for name in ("dense.weight", "dense.bias"):
        taken[name] = given[name]
    for name in plain.targets:
        taken[f"attention.{name}"] = given[f"heads.{name}.attention.weight"].T
        taken[f"attention_bias.{name}"] = given[f"heads.{name}.attention_bias"].reshape(1)
        taken |= {f"score.{name}.{part}": given[f"heads.{name}.score.{part}"] for part in ("weight", "bias")}
    plain.load_state_dict(taken)
    return plain
