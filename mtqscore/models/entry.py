"""One released model as lists and repositories describe it, read without trust.

An entry of ``registry.json`` and the ``mtqscore.json`` of a Hub repository have the same fields::

    {"name": "mtqnet-s", "version": "6", "file": "mtqnet-s-6.onnx", "sha256": "…", "size": 941317, "licence": "MIT",
     "conformance": "1", "accuracy": [{"data": "…", "recordings": 96, "lcc": {"s_mos": 0.97, …}, "rmse": {…}}]}

Of the checkpoint beside the ONNX file, to train on from, ``weights`` is the name and ``weights_sha256`` the checksum.
An entry of a list may also have ``source``: ``{"repository": "owner/name", "revision": "<40 digits>"}``.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtqscore.models.metadata import LARGEST_MODEL_BYTES
from mtqscore.models.reference import REPOSITORY, REVISION, HubReference

if TYPE_CHECKING:
    from collections.abc import Mapping

DESCRIPTION_NAME = "mtqscore.json"
LARGEST_DESCRIPTION_BYTES = 64 * 1024
_LONGEST_TEXT = 300
_MOST_ACCURACIES = 50
_LARGEST_MEASURE = 100.0

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
VERSION = re.compile(r"(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){0,3}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,120}\.onnx")
_WEIGHTS = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,120}\.safetensors")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_WANTED = {
    NAME: "up to 64 letters, digits, - _ and ., a letter or digit first",
    VERSION: "one to four numbers with dots between them, as 2 or 1.0.3",
    _FILE: "letters, digits, - _ and ., a letter or digit first, and .onnx at the end",
    _WEIGHTS: "letters, digits, - _ and ., a letter or digit first, and .safetensors at the end",
    _SHA256: "64 digits 0 to 9 and a to f",
    REPOSITORY: "owner/name",
    REVISION: "40 digits 0 to 9 and a to f",
}
"""What a text must be; tools, shells and stores take these names as they are."""


@dataclass(frozen=True)
class Accuracy:
    """How well a model agrees with the labels of one set of recordings.

    Args:
        data: what was scored, and whose labels.
        recordings: how many.
        lcc: Pearson's correlation by target.
        rmse: root mean squared error by target, in points of the scale.
    """

    data: str
    recordings: int
    lcc: Mapping[str, float]
    rmse: Mapping[str, float]


@dataclass(frozen=True)
class ModelEntry:
    """One released model.

    Args:
        name: what the user types.
        version: release of this name, numbers divided by dots; scores may differ between versions.
        file: name of the ONNX file.
        sha256: its checksum, hexadecimal.
        size: its length in bytes.
        licence: SPDX expression of the weights.
        conformance: number that is raised whenever scores move.
        accuracy: what is known of it.
        weights: name of the checkpoint beside the ONNX file, from which training goes on; empty without one.
        weights_sha256: its checksum, hexadecimal.
        folder: where the file lies, if it is not the Hub's.
        hub: repository and revision that it is fetched from; None for a file on this machine.
        bundled: whether its file is a part of the package.
        listed: whether a list of models names it; else a repository describes itself.
    """

    name: str
    version: str
    file: str
    sha256: str
    size: int
    licence: str
    conformance: str
    accuracy: tuple[Accuracy, ...] = ()
    weights: str = ""
    weights_sha256: str = ""
    folder: Path = field(default_factory=Path)
    hub: HubReference | None = None
    bundled: bool = False
    listed: bool = False

    @property
    def label(self) -> str:
        """name@version."""
        return f"{self.name}@{self.version}"

    @property
    def source(self) -> str:
        """``bundled``, ``own`` (a file of the user's own list), or the reference to the Hub."""
        if self.hub is not None:
            return str(self.hub)
        return "bundled" if self.bundled else "own"

    @property
    def title(self) -> str:
        """What a user types to mean exactly this one."""
        return self.label if self.hub is None or self.listed else str(self.hub)

    @property
    def path(self) -> Path:
        """Where the ONNX file lies; for one of the Hub, where it lies once it is fetched."""
        return self.folder / self.file if self.hub is None else self.hub.cached(self.file)

    @property
    def weights_path(self) -> Path | None:
        """Where the checkpoint to train on from lies; None without one."""
        return self.path.with_name(self.weights) if self.weights else None

    @property
    def is_here(self) -> bool:
        """Whether the file is on this machine."""
        return os.path.isfile(self.path)  # noqa: PTH113 - Path.is_file raises where a folder may not be entered

    @property
    def order(self) -> tuple[int, ...]:
        """Key that sorts versions of one name from the oldest to the newest."""
        return tuple(int(part) for part in self.version.split("."))

    def description(self) -> dict[str, Any]:
        """The fields of ``mtqscore.json``."""
        accuracy = [
            {"data": item.data, "recordings": item.recordings, "lcc": dict(item.lcc), "rmse": dict(item.rmse)}
            for item in self.accuracy
        ]
        weights = {"weights": self.weights, "weights_sha256": self.weights_sha256} if self.weights else {}
        return {
            "name": self.name,
            "version": self.version,
            "file": self.file,
            "sha256": self.sha256,
            "size": self.size,
            "licence": self.licence,
            "conformance": self.conformance,
            **weights,
            "accuracy": accuracy,
        }


def parse_description(content: bytes, folder: Path | None = None, hub: HubReference | None = None) -> ModelEntry:
    """Read the ``mtqscore.json`` of a repository or of an exported model.

    Args:
        content: the file.
        folder: where the ONNX file lies, if it is on this machine.
        hub: the repository, if it is one.

    Raises:
        ValueError: it is not what it should be; the text says what is wrong.
    """
    if len(content) > LARGEST_DESCRIPTION_BYTES:
        raise ValueError(f"larger than {LARGEST_DESCRIPTION_BYTES} bytes")
    try:
        item = json.loads(content.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return parse_entry(item, folder or Path(), hub=hub)


def parse_entry(item: object, folder: Path, *, hub: HubReference | None = None, bundled: bool = False) -> ModelEntry:
    """Read one model from its JSON object; fields that are not known are passed over.

    Args:
        item: what ``json`` made of it.
        folder: where the ONNX file lies, if it has no ``source``.
        hub: the repository that the object comes from; None if it stands in a list.
        bundled: whether it is a part of the package.

    Raises:
        ValueError: a field is missing or holds what it must not; the text says which.
    """
    fields = _object(item, "the description")
    size = fields.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 < size <= LARGEST_MODEL_BYTES:
        raise ValueError(f"size is not a number of bytes up to {LARGEST_MODEL_BYTES}")
    accuracy = fields.get("accuracy", [])
    if not isinstance(accuracy, list) or len(accuracy) > _MOST_ACCURACIES:
        raise ValueError(f"accuracy is not a list of at most {_MOST_ACCURACIES}")
    listed = hub is None
    if listed and "source" in fields:
        hub = _source(fields["source"])
    return ModelEntry(
        name=_text(fields, "name", NAME),
        version=_text(fields, "version", VERSION),
        file=_text(fields, "file", _FILE),
        sha256=_text(fields, "sha256", _SHA256),
        size=size,
        licence=_text(fields, "licence"),
        conformance=_text(fields, "conformance", VERSION),
        accuracy=tuple(_accuracy(entry) for entry in accuracy),
        weights=_text(fields, "weights", _WEIGHTS) if "weights" in fields else "",
        weights_sha256=_text(fields, "weights_sha256", _SHA256) if "weights" in fields else "",
        folder=folder,
        hub=hub,
        bundled=bundled and hub is None,
        listed=listed,
    )


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


def _object(item: object, what: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise ValueError(f"{what} is not an object")
    return item


def _text(fields: Mapping[str, Any], key: str, pattern: re.Pattern[str] | None = None) -> str:
    value = fields.get(key)
    if not isinstance(value, str) or not value or len(value) > _LONGEST_TEXT or not value.isprintable():
        raise ValueError(f"{key} is missing or no plain text")
    if pattern is not None and not pattern.fullmatch(value):
        raise ValueError(f"{key} {value!r} must be {_WANTED[pattern]}")
    return value


def _source(item: object) -> HubReference:
    fields = _object(item, "source")
    return HubReference(_text(fields, "repository", REPOSITORY), _text(fields, "revision", REVISION))


def _accuracy(item: object) -> Accuracy:
    fields = _object(item, "an entry of accuracy")
    recordings = fields.get("recordings")
    if not isinstance(recordings, int) or isinstance(recordings, bool) or recordings < 1:
        raise ValueError("recordings of accuracy is not a count")
    return Accuracy(_text(fields, "data"), recordings, _measures(fields, "lcc", -1.0), _measures(fields, "rmse", 0.0))


def _measures(fields: Mapping[str, Any], key: str, low: float) -> dict[str, float]:
    found = {}
    for target, value in _object(fields.get(key, {}), key).items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not NAME.fullmatch(target) or not number or not low <= value <= _LARGEST_MEASURE:
            raise ValueError(f"{key} of {target!r} is not a measure")
        found[target] = float(value)
    return found
