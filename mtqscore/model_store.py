"""From a model's name or path to checked bytes, and what an ONNX file says about itself."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtqscore.errors import EnvironmentProblemError, UsageError
from mtqscore.spec import SAMPLE_RATE_HZ, SUPERVISED

if TYPE_CHECKING:
    from collections.abc import Mapping

MODEL_FOLDERS = (Path(__file__).parent / "models", Path(__file__).parent.parent / "models")
"""Where released models lie: inside an installed wheel, or at the top of a checkout."""

REGISTRY_NAME = "registry.json"
LARGEST_MODEL_BYTES = 2 << 30
"""onnxruntime takes no more than this from memory."""


@dataclass(frozen=True)
class ModelEntry:
    """One released model.

    Args:
        name: what the user types.
        version: release of this name; scores may differ between versions.
        path: the ONNX file.
        sha256: its checksum, hexadecimal.
    """

    name: str
    version: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class ModelFile:
    """A model file in memory, its checksum verified.

    Args:
        label: how the user knows it, for messages.
        content: the ONNX file.
        sha256: its checksum, hexadecimal.
    """

    label: str
    content: bytes
    sha256: str


@dataclass(frozen=True)
class ModelInfo:
    """What the metadata of a scorer says: how to feed it and how to read its answer.

    Args:
        name: the model's name.
        version: its version.
        conformance: number that is raised whenever scores move.
        targets: names of the scores, in the order of the output.
        frame_hop_samples: step between its frames.
        window_samples: longest input that it should hear at once.
        min_samples: shortest input that it can judge.
    """

    name: str
    version: str
    conformance: str
    targets: tuple[str, ...]
    frame_hop_samples: int
    window_samples: int
    min_samples: int

    @property
    def label(self) -> str:
        """name@version."""
        return f"{self.name}@{self.version}"


def read_registry(folders: tuple[Path, ...] | None = None) -> tuple[str, dict[str, ModelEntry]]:
    """Read the list of bundled models.

    Args:
        folders: where to look, the first that has a list wins; None is where released models lie.

    Returns:
        The default name, and the entries by name.

    Raises:
        EnvironmentProblemError: there is no list, or it is damaged.
    """
    folders = MODEL_FOLDERS if folders is None else folders
    folder = next((folder for folder in folders if (folder / REGISTRY_NAME).is_file()), None)
    if folder is None:
        raise EnvironmentProblemError(f"no bundled models: {folders[0] / REGISTRY_NAME} is missing; reinstall mtqscore")
    try:
        content: dict[str, Any] = json.loads((folder / REGISTRY_NAME).read_text(encoding="utf-8"))
        entries = [
            ModelEntry(
                str(item["name"]),
                str(item["version"]),
                folder / str(item["file"]),
                str(item["sha256"]).lower(),
            )
            for item in content["models"]
        ]
        return str(content["default"]), {entry.name: entry for entry in entries}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EnvironmentProblemError(f"{folder / REGISTRY_NAME}: the list of models is damaged ({error})") from error


def is_path(model: str) -> bool:
    """Tell whether the user means a file, not a bundled name."""
    return model.lower().endswith(".onnx") or "/" in model or "\\" in model


def load_model(model: str | None) -> ModelFile:
    """Find a model and read it whole, so that what is checked is what runs.

    Args:
        model: a bundled name, ``name@version``, the path of an ONNX file, or None for the default.

    Returns:
        The file, its checksum compared with the registry's if it is a bundled one.

    Raises:
        UsageError: no bundled model has this name, or no file this path.
        EnvironmentProblemError: a bundled file is missing or damaged.
    """
    if model is not None and is_path(model):
        return _read_file(Path(model))
    default, entries = read_registry()
    name, _, version = (default if model is None else model).partition("@")
    entry = entries.get(name)
    if entry is None or version not in ("", entry.version):
        known = ", ".join(f"{item.name}@{item.version}" for item in entries.values())
        raise UsageError(
            f"no model {model or default!r}; there are {known or 'none'}, or give the path of an .onnx file"
        )
    return _read_bundled(entry)


def parse_metadata(label: str, metadata: Mapping[str, str]) -> ModelInfo:
    """Read the contract of a scorer from the metadata of its ONNX file.

    Args:
        label: the model, for messages.
        metadata: ``metadata_props`` of the file.

    Raises:
        UsageError: a key is missing or holds nonsense: the file is not a scorer made by ``mtqscore export``.
    """

    def number(key: str, low: int) -> int:
        value = int(metadata[key])
        if value < low:
            raise ValueError(f"{key} is {value}")
        return value

    try:
        targets = tuple(part.strip() for part in metadata["targets"].split(","))
        if number("sample_rate_hz", 1) != SAMPLE_RATE_HZ:
            raise ValueError(f"sample_rate_hz is not {SAMPLE_RATE_HZ}")
        missing = [target.name for target in SUPERVISED if target.name not in targets]
        if missing or len(set(targets)) != len(targets):
            raise ValueError(f"targets are {metadata['targets']}")
        hop_samples = number("frame_hop_samples", 1)
        info = ModelInfo(
            name=metadata["name"],
            version=metadata["version"],
            conformance=metadata["conformance"],
            targets=targets,
            frame_hop_samples=hop_samples,
            window_samples=number("window_samples", hop_samples),
            min_samples=number("min_samples", 1),
        )
        if info.min_samples * 2 > info.window_samples:
            raise ValueError(
                f"min_samples {info.min_samples} is more than half of window_samples {info.window_samples}"
            )
    except KeyError as error:
        raise UsageError(f"{label}: not a model of mtqscore: its metadata has no {error.args[0]!r}") from error
    except ValueError as error:
        raise UsageError(f"{label}: not a model of mtqscore: in its metadata, {error}") from error
    return info


def _read_file(path: Path) -> ModelFile:
    try:
        if not path.is_file():
            raise UsageError(f"no model file {path}")
        if path.stat().st_size > LARGEST_MODEL_BYTES:
            raise UsageError(f"{path}: larger than any model can be")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot read the model: {error}") from error
    return ModelFile(str(path), content, hashlib.sha256(content).hexdigest())


def _read_bundled(entry: ModelEntry) -> ModelFile:
    label = f"{entry.name}@{entry.version}"
    try:
        content = entry.path.read_bytes()
    except OSError as error:
        raise EnvironmentProblemError(f"model {label}: cannot read {entry.path}; reinstall mtqscore") from error
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != entry.sha256:
        raise EnvironmentProblemError(
            f"model {label}: {entry.path} is damaged (its sha256 is {sha256}); reinstall mtqscore"
        )
    return ModelFile(label, content, sha256)
