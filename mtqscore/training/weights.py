"""Weights that a user names by a run folder, a checkpoint or a released model. Loads no torch."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from mtqscore.errors import EnvironmentProblemError, InputError, UsageError
from mtqscore.models import LARGEST_MODEL_BYTES, ModelEntry, fetch_model, hub, is_path

LAST_FILE = "last.safetensors"
"""Everything that is needed to go on: weights, averaged weights, optimiser, history; within an epoch also the place."""

BEST_FILE = "best.safetensors"
"""The averaged weights of the best epoch: what is exported."""


def best_file(target: str) -> str:
    """Name the file of the best epoch of one target."""
    return f"best_{target}.safetensors"


def has_begun(folder: Path) -> bool:
    """Check for a run that has begun in a folder: the same command goes on there."""
    return os.path.isfile(folder / LAST_FILE)  # noqa: PTH113 - the methods of Path raise where a name is too long


def is_on_disk(choice: str) -> bool:
    """Distinguish a folder or file from the name of a model."""
    return is_path(choice) or os.path.exists(choice)  # noqa: PTH110 - as above


def find_weights(choice: str | Path) -> Path:
    """Find the checkpoint that a user names: a file on this machine.

    Args:
        choice: run folder, of which the best epoch is taken; a checkpoint; an ONNX file with a checkpoint of its name
            beside it; or a model by name, ``NAME@VERSION`` or ``hf:owner/name@revision``.

    Raises:
        InputError: there is no such thing.
        UsageError: it is a model without weights to train on.
        EnvironmentProblemError: the weights of a model are damaged, or cannot be fetched.
    """
    name = str(choice)
    if not is_on_disk(name):
        try:
            entry = fetch_model(name)
        except UsageError as error:
            raise InputError(f"{name}: no such run folder or checkpoint, and {error}") from error
        return _of_model(entry)
    path = Path(name)
    if os.path.isdir(path):  # noqa: PTH112 - as above
        path /= BEST_FILE
    elif name.lower().endswith(".onnx"):
        path = path.with_suffix(".safetensors")
        if not path.is_file():
            raise UsageError(f"{name}: no {path.name} beside it to train on; name the run that the model came from")
    if not os.path.isfile(path):  # noqa: PTH113 - as above
        raise InputError(f"{path}: no such checkpoint")
    return path


def _of_model(entry: ModelEntry) -> Path:
    path = entry.weights_path
    if path is None:
        raise UsageError(f"{entry.title}: has no weights to train on; name the run that the model came from")
    if entry.hub is not None and not path.is_file():
        path = hub.fetch(entry.hub, entry.weights, most_bytes=LARGEST_MODEL_BYTES)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EnvironmentProblemError(f"{entry.title}: cannot read {path}: {error.strerror or error}") from error
    if hashlib.sha256(content).hexdigest() != entry.weights_sha256:
        raise EnvironmentProblemError(f"{entry.title}: {path} is damaged; its sha256 is not {entry.weights_sha256}")
    return path
