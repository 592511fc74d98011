"""Weights of self-supervised front ends: their place, their download, and the forms of file that are read."""

from __future__ import annotations

import hashlib
import http.client
import importlib
import math
import pickle
import re
import sys
import types
import urllib.request
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtqscore.base.files import replacing
from mtqscore.errors import EnvironmentProblemError, InputError, MissingExtraError
from mtqscore.training.network_config import SSL_BUNDLES, SslConfig

WEIGHTS_URL = "https://download.pytorch.org/torchaudio/models/"
"""Address of the files of torchaudio's bundles."""

TIMEOUT_S = 30.0
CHUNK_BYTES = 1 << 20


def load_torchaudio(module: str) -> Any:
    """Import a part of torchaudio, if need be without its C++ part.

    The wheel on PyPI is built for CUDA and does not load beside a torch for the CPU. The models are plain Python.
    """
    try:
        try:
            return importlib.import_module(module)
        except (OSError, RuntimeError):
            plain = types.ModuleType("torchaudio._extension")
            vars(plain).update(
                _IS_TORCHAUDIO_EXT_AVAILABLE=False, _IS_ALIGN_AVAILABLE=False, fail_if_no_align=_as_it_is
            )
            sys.modules[plain.__name__] = plain
            return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError("a self-supervised front end", "train", "torchaudio") from error


def _as_it_is(function: Any) -> Any:
    return function


def bundle_of(config: SslConfig) -> Any:
    """Give torchaudio's bundle of a model; that whose form it has for a ``custom`` one."""
    name = config.custom_like if config.model == "custom" else config.model
    return getattr(load_torchaudio("torchaudio.pipelines"), SSL_BUNDLES[name])


def model_sizes(config: SslConfig) -> dict[str, Any]:
    """Give the arguments of torchaudio's factory for a model."""
    # The bundle's own description: torchaudio 2.11 is the last release, so these names stay.
    sizes = dict(bundle_of(config)._params)
    if config.model == "custom":
        sizes["extractor_conv_layer_config"] = [
            (config.custom_conv_units, kernel, stride) for _, kernel, stride in sizes["extractor_conv_layer_config"]
        ]
        sizes |= {
            "encoder_embed_dim": config.custom_units,
            "encoder_num_layers": config.custom_layers,
            "encoder_num_heads": config.custom_heads,
            "encoder_ff_interm_features": 4 * config.custom_units,
            "encoder_pos_conv_groups": math.gcd(sizes["encoder_pos_conv_groups"], config.custom_units),
        }
    return sizes


def build_model(config: SslConfig, sizes: dict[str, Any]) -> Any:
    """Build torchaudio's ``Wav2Vec2Model`` with random weights."""
    models = load_torchaudio("torchaudio.models")
    factory = models.wavlm_model if bundle_of(config)._model_type == "WavLM" else models.wav2vec2_model
    return factory(**sizes)


def find_weights(config: SslConfig) -> Path:
    """Give the file with the weights of a front end, fetched first if it must be.

    Raises:
        EnvironmentProblemError: the download failed.
    """
    if config.checkpoint is not None:
        return config.checkpoint
    name: str = bundle_of(config)._path
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.is_file():
        fetch(WEIGHTS_URL + name, path)
    return path


def fetch(url: str, path: Path) -> None:
    """Download a file so that it is there whole or not at all.

    Raises:
        EnvironmentProblemError: the network or the disk failed, or the file came short.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            urllib.request.urlopen(url, timeout=TIMEOUT_S) as reply,
            replacing(path) as partial,
            partial.open("wb") as file,
        ):
            print(f"fetching {url} ({(reply.length or 0) / 1e9:.2f} GB) to {str(path)!r}", file=sys.stderr)
            size = reply.length or 0
            while chunk := reply.read(CHUNK_BYTES):
                file.write(chunk)
                if size and sys.stderr.isatty():
                    print(f"\r{100 * file.tell() // size} %", end="" if reply.length else "\n", file=sys.stderr)
            if reply.length:
                raise OSError(f"the last {reply.length} bytes did not come")
    except (OSError, http.client.HTTPException) as error:
        raise EnvironmentProblemError(
            f"{url}: cannot be fetched ({getattr(error, 'reason', error)}); get it by other means and put it at"
            f" {str(path)!r}, or name its place as checkpoint in the table network.ssl of the settings"
        ) from error


def file_sha256(path: Path) -> str:
    """Compute the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_weights(model: Any, path: Path, name: str, total: int) -> None:
    """Copy weights from a file into a model that may have fewer transformer blocks than the file.

    Raises:
        InputError: the file is no such thing, or its names or shapes are those of another model.
    """
    state = as_torchaudio(read_state(path))
    blocks = len(model.encoder.transformer.layers)
    own = model.state_dict()
    for key in list(state):
        block = re.match(r"encoder\.transformer\.layers\.(\d+)\.", key)
        beyond = block is not None and blocks <= int(block[1]) < total
        # Transformers gives HuBERT Large biases that the original has not; they do nothing.
        idle = key.endswith(".conv.bias") and key not in own and not state[key].any()
        if beyond or idle or key.startswith("aux."):
            del state[key]
    faults = [
        f"{len(keys)} tensors {fault}, such as {min(keys)!r}"
        for keys, fault in ((own.keys() - state.keys(), "are missing"), (state.keys() - own.keys(), "do not belong"))
        if keys
    ] or [
        f"size mismatch for {key}: {list(state[key].shape)}, not {list(tensor.shape)}"
        for key, tensor in own.items()
        if state[key].shape != tensor.shape
    ]
    if faults:
        raise InputError(f"{str(path)!r}: not the weights of {name}: {'; '.join(faults[:2])}")
    model.load_state_dict(state)


def read_state(path: Path) -> dict[str, Tensor]:
    """Read named tensors; nothing is ever unpickled but tensors."""
    try:
        if path.suffix == ".safetensors":
            import safetensors.torch

            return dict(safetensors.torch.load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{str(path)!r}: damaged, or holds more than tensors, as fairseq's checkpoints do; these are not unpickled:"
            " use the file of torchaudio or of Hugging Face transformers"
        ) from error
    except OSError as error:
        raise InputError(f"{str(path)!r}: cannot read weights: {error.strerror or error}") from error
    except Exception as error:  # a damaged file can fail in any way
        raise InputError(f"{str(path)!r}: not a file of weights: {' '.join(str(error).split())}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(
            f"{str(path)!r}: not a plain table of tensors; use the file of torchaudio or of Hugging Face transformers"
        )
    return state


def as_torchaudio(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors of Hugging Face transformers (HuBERT, WavLM, wav2vec 2.0) as torchaudio does."""
    if any(key.startswith("encoder.transformer.") for key in state):
        return dict(state)
    # Models with a task on top hold the front end under its name, and the rest beside it.
    prefix = next((p for p in ("wavlm.", "hubert.", "wav2vec2.") if any(key.startswith(p) for key in state)), "")
    renamed = {}
    for key, tensor in state.items():
        name = key.removeprefix(prefix)
        if not key.startswith(prefix) or name == "masked_spec_embed":
            continue
        name = re.sub(r"^feature_projection\.", "encoder.feature_projection.", name)
        renamed[re.sub(r"^encoder\.(?!feature_projection)", "encoder.transformer.", name)] = tensor
    if any(".rel_attn_embed." in name for name in renamed):
        _join_projections(renamed)
    return renamed


def _join_projections(state: dict[str, Tensor]) -> None:
    """Join query, key and value of WavLM's attention, which torchaudio holds in one matrix."""
    for key in [key for key in state if ".attention.q_proj." in key]:
        start, kind = key.split(".q_proj.")
        parts = [state.pop(f"{start}.{part}_proj.{kind}", None) for part in "qkv"]
        # A block that is not whole stays incomplete, which is then found.
        state[f"{start}.attention.in_proj_{kind}"] = torch.cat([part for part in parts if part is not None])
    for key in [key for key in state if ".attention.out_proj." in key and ".attention.attention." not in key]:
        state[key.replace(".attention.out_proj.", ".attention.attention.out_proj.")] = state.pop(key)
