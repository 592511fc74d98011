"""Networks as ONNX graphs that torch traces: any network but the compact one."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import torch
from torch import Tensor, nn

from mtqscore.training.export.calibration import Calibration
from mtqscore.training.export.graph.builder import MIN_SAMPLES, OPSET
from mtqscore.training.networks import Network
from mtqscore.training.networks.masking import frame_mask


class ScoringModule(nn.Module):
    """A network with its calibration behind the interface of an exported file."""

    knots: Tensor
    slopes: Tensor
    base: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, network: Network, calibration: Calibration) -> None:
        super().__init__()
        self.network = network
        front = network.front_end()
        # A frozen front end is no submodule of its network, and only those may have weights in a trace.
        self.front_end = None if front is None else front.model
        for name in ("knots", "slopes", "base", "low", "high"):
            self.register_buffer(name, torch.from_numpy(getattr(calibration, name)).float())

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Score a padded batch, with calibrated frame scores on the grid, zero beyond an item's end."""
        hop = self.network.grid_hop_samples
        frames = waveform.shape[1] // hop + 1
        waveform = torch.where(frame_mask(lengths, waveform.shape[1]), waveform, 0.0)
        estimates = self.network(waveform, lengths)
        frame_scores = self._calibrated(self.network.on_grid(estimates, frames))
        return self._calibrated(estimates.scores), frame_scores * frame_mask(lengths // hop + 1, frames)[:, :, None]

    def _calibrated(self, raw: Tensor) -> Tensor:
        rises = torch.relu(raw[..., None] - self.knots) * self.slopes
        return torch.minimum(torch.maximum(self.base + rises.sum(dim=-1), self.low), self.high)


def traced_model(network: Network, calibration: Calibration) -> onnx.ModelProto:
    """Trace a network for any batch and any number of samples."""
    module = ScoringModule(network, calibration.ordered(network.targets)).eval()
    batch, samples = torch.export.Dim("batch", min=1), torch.export.Dim("samples", min=MIN_SAMPLES)
    example = torch.zeros(2, 2 * MIN_SAMPLES), torch.tensor([2 * MIN_SAMPLES, MIN_SAMPLES + 1])
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            example,
            dynamo=True,
            dynamic_shapes={"waveform": {0: batch, 1: samples}, "lengths": {0: batch}},
            input_names=["waveform", "lengths"],
            output_names=["scores", "frame_scores"],
            opset_version=OPSET,
            # The optimiser takes constants below 1e-8 for zero, and with them the floors that keep silence finite.
            optimize=False,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    # Where each node comes from, with the paths of this machine, is half of a small file.
    del model.graph.value_info[:], model.graph.metadata_props[:], model.metadata_props[:]
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what torch reports of its own parts while it traces."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
