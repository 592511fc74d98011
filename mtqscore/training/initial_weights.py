"""What a network begins with: a run, a checkpoint, or a released model."""

from __future__ import annotations

import os
from pathlib import Path

import onnx

from mtqscore.audio.loading import load_mono
from mtqscore.diagnostics.conformance.known import clip_paths
from mtqscore.errors import InputError, UsageError
from mtqscore.models import ModelFile, find_model, is_path, load_model
from mtqscore.models.onnx_check import read_onnx
from mtqscore.training.checkpoint import Checkpoint, read_checkpoint
from mtqscore.training.config import TrainConfig
from mtqscore.training.export.graph.restore import NotCompactError, restore_compact


def read_weights(source: Path) -> Checkpoint:
    """Read the weights of a trained network.

    Args:
        source: a run folder, of which the best epoch is taken; a checkpoint; an ONNX file of a compact network, or the
            name of such a model.

    Returns:
        The checkpoint; of a model, one in memory whose averaged weights give its scores before calibration.

    Raises:
        InputError: there is no such thing, or it holds no weights to train on.
        UsageError: the file is nothing that may be opened, or the model no compact network.
        EnvironmentProblemError: the model is damaged, or cannot be fetched.
    """
    name = str(source)
    if name.lower().endswith(".onnx") and os.path.isfile(source):  # noqa: PTH113 - Path.is_file raises for a long name
        return _from_model(load_model(name))
    if os.path.exists(source) or is_path(name):  # noqa: PTH110 - as above
        return read_checkpoint(source)
    try:
        find_model(name)
    except UsageError as error:
        raise InputError(f"{name}: no such run folder or checkpoint, and {error}") from error
    return _from_model(load_model(name))


def _from_model(model: ModelFile) -> Checkpoint:
    read_onnx(model.content, model.label)  # refuses what may do harm
    clips = [load_mono(path)[0] for path in clip_paths()]
    try:
        network = restore_compact(onnx.load_from_string(model.content), clips)
    except NotCompactError as error:
        raise UsageError(
            f"{model.label}: holds no compact network in the form that mtqscore export writes today, and cannot be "
            f"trained on; name the run that it came from ({error})"
        ) from error
    config = TrainConfig(
        recipe="scratch", teacher="none", targets=tuple(one.name for one in network.targets), network=network.config
    )
    tensors = {f"average.{name}": tensor for name, tensor in network.state_dict().items()}
    return Checkpoint(Path(model.label), config, tensors, {})
