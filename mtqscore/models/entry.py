"""One released model as lists and repositories describe it, read without trust.

An entry of ``registry.json`` and the ``mtqscore.json`` of a Hub repository have the same fields::

    {"name": "mtqnet-s", "version": "6", "file": "mtqnet-s-6.onnx", "sha256": "…", "size": 941317, "licence": "MIT",
     "conformance": "1", "accuracy": [{"data": "…", "recordings": 96, "lcc": {"s_mos": 0.97, …}, "rmse": {…}}]}

Of the checkpoint beside the ONNX file, to train on from, ``weights`` is the name and ``weights_sha256`` the checksum.
An entry of a list may also have ``source``: ``{"repository": "owner/name", "revision": "<40 digits>"}``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from mtqscore.models.metadata import LARGEST_MODEL_BYTES
from mtqscore.models.reference import REPOSITORY, REVISION, HubReference

Plain = TypeVar("Plain")

DESCRIPTION_NAME = "mtqscore.json"
LARGEST_DESCRIPTION_BYTES = 64 * 1024

# Tools, shells and stores take these names as they are. \Z, since $ lets a line end pass.
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z"
_VERSION = r"^(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){0,3}\Z"
_ONNX = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,120}\.onnx\Z"
_WEIGHTS = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,120}\.safetensors\Z"
_SHA256 = r"^[0-9a-f]{64}\Z"
_REPOSITORY = rf"^{REPOSITORY.pattern}\Z"
_REVISION = rf"^{REVISION.pattern}\Z"
_WANTED = {
    _NAME: "up to 64 letters, digits, - _ and ., a letter or digit first",
    _VERSION: "one to four numbers with dots between them, as 2 or 1.0.3",
    _ONNX: "letters, digits, - _ and ., a letter or digit first, and .onnx at the end",
    _WEIGHTS: "letters, digits, - _ and ., a letter or digit first, and .safetensors at the end",
    _SHA256: "64 digits 0 to 9 and a to f",
    _REPOSITORY: "owner/name",
    _REVISION: "40 digits 0 to 9 and a to f",
}

Name = Annotated[str, Meta(pattern=_NAME)]
Version = Annotated[str, Meta(pattern=_VERSION)]
Sha256 = Annotated[str, Meta(pattern=_SHA256)]
Text = Annotated[str, Meta(min_length=1, max_length=300)]


class Accuracy(Struct, frozen=True):
    """Agreement of a model with the labels of one set of recordings.

    Args:
        data: what was scored, and whose labels.
        recordings: how many.
        lcc: Pearson's correlation by target.
        rmse: root mean squared error by target, in points of the scale.
    """

    data: Text
    recordings: Annotated[int, Meta(ge=1)]
    lcc: dict[Name, Annotated[float, Meta(ge=-1, le=100)]] = {}
    rmse: dict[Name, Annotated[float, Meta(ge=0, le=100)]] = {}


class Description(Struct, frozen=True, kw_only=True):
    """The fields of ``mtqscore.json``.

    Args:
        name: what the user types.
        version: release of this name, numbers divided by dots; scores may differ between versions.
        file: name of the ONNX file.
        sha256: its checksum, hexadecimal.
        size: its length in bytes.
        licence: SPDX expression of the weights.
        conformance: number that is raised whenever scores move.
        weights: name of the checkpoint beside the ONNX file, from which training goes on; empty without one.
        weights_sha256: its checksum, hexadecimal.
        accuracy: what is known of it.
    """

    name: Name
    version: Version
    file: Annotated[str, Meta(pattern=_ONNX)]
    sha256: Sha256
    size: Annotated[int, Meta(ge=1, le=LARGEST_MODEL_BYTES)]
    licence: Text
    conformance: Version
    weights: Annotated[str, Meta(pattern=_WEIGHTS)] = ""
    weights_sha256: Sha256 = ""
    accuracy: Annotated[tuple[Accuracy, ...], Meta(max_length=50)] = ()

    def __post_init__(self) -> None:
        for text in (self.licence, *(item.data for item in self.accuracy)):
            if not text.isprintable():
                raise ValueError(f"{text[:80]!a} is no plain text")
        if bool(self.weights) != bool(self.weights_sha256):
            raise ValueError("weights and weights_sha256 belong together")


class ModelEntry(Description, frozen=True, kw_only=True):
    """One released model, and where it lies.

    Args:
        folder: where the file lies, if it is not the Hub's.
        hub: repository and revision that it is fetched from; None for a file on this machine.
        bundled: whether its file is a part of the package.
        listed: whether a list of models names it; else a repository describes itself.
    """

    folder: Path = Path()
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
        """Name or reference that means exactly this one."""
        return self.label if self.hub is None or self.listed else str(self.hub)

    @property
    def path(self) -> Path:
        """Path of the ONNX file; for one of the Hub, where it lies once it is fetched."""
        return self.folder / self.file if self.hub is None else self.hub.cached(self.file)

    @property
    def weights_path(self) -> Path | None:
        """Path of the checkpoint to train on from; None without one."""
        return self.path.with_name(self.weights) if self.weights else None

    @property
    def is_here(self) -> bool:
        """True if the file is on this machine."""
        return os.path.isfile(self.path)  # noqa: PTH113 - Path.is_file raises where a folder may not be entered

    @property
    def order(self) -> tuple[int, ...]:
        """Key that sorts versions of one name from the oldest to the newest."""
        return tuple(int(part) for part in self.version.split("."))

    def description(self) -> dict[str, Any]:
        """The fields of ``mtqscore.json``, as plain values."""
        fields = {name: msgspec.to_builtins(getattr(self, name)) for name in Description.__struct_fields__}
        return {name: value for name, value in fields.items() if value != ""}


class _HubSource(Struct, frozen=True):
    repository: Annotated[str, Meta(pattern=_REPOSITORY)]
    revision: Annotated[str, Meta(pattern=_REVISION)]


class ListedModel(Description, frozen=True, kw_only=True):
    """One entry of ``registry.json``.

    Args:
        source: repository and revision that it is fetched from; without them its file lies beside the list.
    """

    source: _HubSource | None = None

    def entry(self, folder: Path, *, bundled: bool) -> ModelEntry:
        """Place the model: in the list's folder, or on the Hub."""
        hub = None if self.source is None else HubReference(self.source.repository, self.source.revision)
        return _placed(self, folder=folder, hub=hub, bundled=bundled and hub is None, listed=True)


def parse_description(content: bytes, folder: Path | None = None, hub: HubReference | None = None) -> ModelEntry:
    """Read the ``mtqscore.json`` of a repository, or of an exported model in a folder; unknown fields are passed over.

    Raises:
        ValueError: it is not what it should be.
    """
    if len(content) > LARGEST_DESCRIPTION_BYTES:
        raise ValueError(f"larger than {LARGEST_DESCRIPTION_BYTES} bytes")
    return _placed(decode(content, Description), folder=folder or Path(), hub=hub, listed=hub is None)


def decode(content: bytes, kind: type[Plain]) -> Plain:
    """Read JSON as a struct.

    Raises:
        ValueError: it is no JSON, or a field is missing or holds what it must not.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except msgspec.ValidationError as error:
        text = str(error)
        for pattern, wanted in _WANTED.items():
            text = text.replace(f"`str` matching regex {pattern!r}", wanted)
        raise ValueError(text) from error


def _placed(description: Description, **place: Any) -> ModelEntry:
    return ModelEntry(**{name: getattr(description, name) for name in Description.__struct_fields__}, **place)
