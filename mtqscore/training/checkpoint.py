"""Checkpoints: one safetensors file each, with its own description in the header; nothing is ever unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import safetensors
import torch
from torch import Tensor, nn

from mtqscore.base.schema import from_plain, to_plain
from mtqscore.errors import InputError, UsageError
from mtqscore.training.compute.resources import run_file
from mtqscore.training.config import TrainConfig
from mtqscore.training.networks import Network, build
from mtqscore.training.weights import find_weights

FORMAT = "mtqscore-checkpoint-1"

_FLOATS = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
_INTEGERS = {torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8"}
_DTYPES = {**_FLOATS, **_INTEGERS, torch.uint8: "U8", torch.bool: "BOOL"}
"""Types of tensors by the names of safetensors."""


@dataclass(frozen=True)
class Checkpoint:
    """Content of a checkpoint file.

    Args:
        config: the configuration of the run that wrote it.
        tensors: name to tensor; the names start with ``model.``, ``average.`` or ``optimizer.``.
        state: epoch, history and other facts of the run.
    """

    path: Path
    config: TrainConfig
    tensors: dict[str, Tensor]
    state: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Give the tensors under one prefix, without it."""
        start = f"{prefix}."
        return {name[len(start) :]: tensor for name, tensor in self.tensors.items() if name.startswith(start)}


def write_checkpoint(
    path: Path, config: TrainConfig, parts: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
) -> None:
    """Write a checkpoint so that a crash leaves the old one or the new one, never half of one.

    Args:
        path: the file to make or replace.
        config: the run's configuration.
        parts: prefix to named tensors.
        state: anything that JSON can hold.
    """
    named = {f"{prefix}.{name}": tensor for prefix, part in parts.items() for name, tensor in part.items()}
    # Those with the longest numbers first, so that all of them are aligned.
    tensors = dict(sorted(named.items(), key=lambda item: (-item[1].element_size(), item[0])))
    header: dict[str, Any] = {
        "__metadata__": {"format": FORMAT, "config": json.dumps(to_plain(config)), "state": json.dumps(dict(state))}
    }
    stop = 0
    for name, tensor in tensors.items():
        start, stop = stop, stop + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": [*tensor.shape], "data_offsets": [start, stop]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    # One by one: the library would hold all of them several times at once.
    with run_file(path) as partial, partial.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            stream.write(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def read_checkpoint(choice: str | Path) -> Checkpoint:
    """Read the weights that a user names; see `find_weights` for the choices and further errors.

    Raises:
        InputError: it is no checkpoint of this program.
    """
    path = find_weights(choice)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{path}: not a checkpoint: {error}") from error
    if header.get("format") != FORMAT:
        raise InputError(f"{path}: not a checkpoint of mtqscore (format {header.get('format')!r}, not {FORMAT!r})")
    config = from_plain(TrainConfig, json.loads(header["config"]), str(path))
    return Checkpoint(path, config, tensors, json.loads(header["state"]))


def load_network(checkpoint: Checkpoint) -> Network:
    """Build the network of a checkpoint with its averaged weights, in evaluation mode.

    Raises:
        InputError: the tensors do not fit the configuration beside them, or it was trained on another front end.
    """
    network = build(checkpoint.config)
    if (front := network.front_end()) is not None and not front.kept:
        front.load_pretrained()
    load_weights(network, checkpoint)
    return network.eval()


def describe_front_end(network: Network) -> dict[str, str]:
    """Name the pretrained weights that a checkpoint leaves out, for its state; nothing where it holds all."""
    front = network.front_end()
    return {"front_end": front.fingerprint()} if front is not None and not front.kept else {}


def load_weights(network: Network, checkpoint: Checkpoint, part: str = "average") -> None:
    """Copy the part ``average`` or ``model`` of a checkpoint into a network.

    Raises:
        InputError: names or shapes differ, or they were trained on another front end.
    """
    here = describe_front_end(network).get("front_end")
    trained_on = checkpoint.state.get("front_end", here)
    if here is not None and trained_on != here:
        raise InputError(f"{checkpoint.path}: was trained on the front end {trained_on}, and this one is {here}")
    try:
        network.load_state_dict(checkpoint.part(part))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{checkpoint.path}: the weights do not fit the network: {reason}") from error


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: Mapping[nn.Parameter, str]) -> dict[str, Tensor]:
    """Give an optimiser's state as named tensors: ``<parameter>/<quantity>``."""
    return {
        f"{names[cast('nn.Parameter', parameter)]}/{quantity}": torch.as_tensor(value)
        for parameter, values in optimizer.state.items()
        for quantity, value in values.items()
        if value is not None
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, names: Mapping[nn.Parameter, str], tensors: Mapping[str, Tensor]
) -> None:
    """Put back what `optimizer_tensors` gave, in the parameters' own memory layout, so that sums round alike."""
    parameters = {name: parameter for parameter, name in names.items()}
    for key, tensor in tensors.items():
        name, quantity = key.split("/")
        parameter = parameters[name]
        like = quantity != "step" and tensor.shape == parameter.shape
        value = torch.empty_like(parameter).copy_(tensor) if like else tensor.clone()
        optimizer.state[parameter][quantity] = value.detach()


def check_same_config(stored: TrainConfig, asked: TrainConfig, where: Path, free: frozenset[str]) -> None:
    """Refuse to go on with a run under other settings than the stored ones; ``free`` ones change no result.

    Raises:
        UsageError: a setting differs.
    """
    old, new = to_plain(stored), to_plain(asked)
    for name in [name for name in old if isinstance(old[name], dict) and isinstance(new[name], dict)]:
        # Of a table only those of its settings that differ are named.
        inner = {**old[name], **new[name]}
        old |= {f"{name}.{key}": old[name].get(key) for key in inner}
        new |= {f"{name}.{key}": new[name].get(key) for key in inner}
        del old[name], new[name]
    changed = [f"{name} {old[name]} → {new[name]}" for name in old if name not in free and old[name] != new[name]]
    if changed:
        raise UsageError(
            f"{where}: holds a run with other settings ({'; '.join(changed)}); use them again or choose another --out"
        )
