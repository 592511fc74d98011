"""Device and arithmetic precision of a run; weights, losses and gradients are float32 in each."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace

import torch

from mtqscore.errors import EnvironmentProblemError, UsageError
from mtqscore.training.compute.distributed import local_rank
from mtqscore.training.config import TrainConfig

_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def training_device(name: str) -> torch.device:
    """Find the device that a setting names; of several processes on a machine each gets a GPU of its own.

    Raises:
        EnvironmentProblemError: there is no such GPU, or torch cannot use it.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    _, colon, digits = name.partition(":")
    number = int(digits) if colon else local_rank()
    if torch.version.cuda is None:
        raise EnvironmentProblemError(f"device {name}: this torch is built for the CPU alone; install one with CUDA")
    found = torch.cuda.device_count()
    if number >= found:
        raise EnvironmentProblemError(f"device {name}: torch sees {found} GPU(s); check nvidia-smi, or use device cpu")
    return torch.device("cuda", number)


def resolved(config: TrainConfig, device: torch.device | None = None) -> TrainConfig:
    """Settle what depends on the machine: bfloat16 where the device computes in it.

    Raises:
        UsageError: the device cannot train in this precision.
    """
    device = training_device(config.device) if device is None else device
    if config.precision == "float16" and device.type == "cpu":
        raise UsageError("precision float16 needs a GPU; use bfloat16 or float32 on the CPU")
    if config.precision != "auto":
        return config
    if device.type == "cuda":
        capable = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        capable = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return replace(config, precision="bfloat16" if capable else "float32")


def autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    """Give the context of a forward pass."""
    kind = _TYPES.get(config.precision)
    return torch.autocast(device.type, kind or torch.bfloat16, enabled=kind is not None)


def gradient_scaler(config: TrainConfig, device: torch.device) -> torch.amp.GradScaler:
    """Make what scales the loss up and gradients down: the smallest ones would vanish in float16."""
    return torch.amp.GradScaler(device.type, enabled=config.precision == "float16")
