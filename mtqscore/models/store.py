"""Models by name, path or reference, as checked bytes."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mtqscore.errors import EnvironmentProblemError, UsageError
from mtqscore.models import hub
from mtqscore.models.entry import DESCRIPTION_NAME, LARGEST_DESCRIPTION_BYTES, ModelEntry, parse_description
from mtqscore.models.metadata import LARGEST_MODEL_BYTES
from mtqscore.models.reference import (
    PREFIX,
    REPOSITORY,
    REVISION,
    HubReference,
    UnpinnedError,
    cache_folder,
    parse_reference,
)
from mtqscore.models.registry import find_registered, read_own_registry, read_registry

_OTHER_WEIGHTS = (".safetensors", ".pt", ".pth", ".ckpt")
"""Endings of files that people take for a model; none is opened."""


@dataclass(frozen=True)
class ModelFile:
    """A model file in memory, its checksum verified.

    Args:
        label: how the user knows it, for messages.
        content: the ONNX file.
        sha256: its checksum, hexadecimal.
        bundled: whether it is a part of the package, as its checksum there says: then it was inspected at its release.
    """

    label: str
    content: bytes
    sha256: str
    bundled: bool = False


def is_path(model: str) -> bool:
    """True if the user means a file, not a name or a reference to the Hub."""
    if model.startswith(PREFIX):
        return False
    return model.lower().endswith((".onnx", *_OTHER_WEIGHTS)) or "/" in model or "\\" in model


def load_model(model: str | None, notify: hub.Notify | None = None) -> ModelFile:
    """Find a model and read it whole, so that what is checked is what runs.

    Args:
        model: a name, ``name@version``, ``hf:owner/name@revision``, the path of an ONNX file, or None for the default.
        notify: takes messages while a model is fetched.

    Returns:
        The file, its checksum compared with that of its description, if it has one.

    Raises:
        UsageError: no model has this name, or no file this path, or the reference is not pinned.
        EnvironmentProblemError: the file is missing, damaged or cannot be fetched.
    """
    if model is not None and is_path(model):
        return _read_file(Path(model))
    entry = fetch_model(model, notify)
    try:
        content = entry.path.read_bytes()
    except OSError as error:
        raise EnvironmentProblemError(f"model {entry.title}: cannot read {entry.path}; {_repair(entry)}") from error
    return ModelFile(entry.title, content, _checked(entry, hashlib.sha256(content).hexdigest()), entry.bundled)


def find_model(model: str | None) -> ModelEntry:
    """Find a model's description without fetching anything; names and errors are those of `fetch_model`.

    Raises:
        EnvironmentProblemError: a list is damaged; or a model of the Hub has no description here, or a damaged one.
    """
    if model is None or not model.startswith(PREFIX):
        return _find_named(model)
    reference = pinned(model)
    entry = _read_cached(reference)
    if entry is None:
        raise EnvironmentProblemError(f"{reference} is not on this machine: mtqscore models fetch {reference}")
    return entry


def fetch_model(model: str | None, notify: hub.Notify | None = None) -> ModelEntry:
    """Make sure that a model is on this machine; the Hub is asked only for what is not.

    Args:
        model: a name, ``name@version``, ``hf:owner/name@revision``, or None for the default.
        notify: takes messages while something is fetched; None fetches in silence.

    Returns:
        The model; bytes that were fetched just now are verified.

    Raises:
        UsageError: no model has this name, the reference is not pinned, or its repository holds no model of mtqscore.
        EnvironmentProblemError: it cannot be fetched, or what came is not what was promised.
    """
    if model is None or not model.startswith(PREFIX):
        entry = _find_named(model)
    else:
        reference = pinned(model)
        entry = _read_cached(reference) or _fetch_description(reference, notify)
    if entry.hub is not None and not entry.is_here:
        hub.fetch(entry.hub, entry.file, size=entry.size, notify=notify)
        _checked(entry, _sha256(entry.path))
    return entry


def installed_models() -> list[ModelEntry]:
    """List the models that can be used without a network: bundled ones, then the user's own and the Hub's.

    Raises:
        EnvironmentProblemError: a list is damaged.
    """
    listed = [*read_registry()[1].values(), *read_own_registry().values()]
    return [entry for entry in listed if entry.bundled or entry.is_here] + cached_models(listed)


def cached_models(listed: Sequence[ModelEntry] = ()) -> list[ModelEntry]:
    """List the whole models in the Hub's cache, by reference, but for those that are listed already."""
    known = {entry.source for entry in listed}
    found = []
    # Not Path.glob, which raises where a folder may not be entered: what is there cannot be used anyway.
    for place in glob.iglob(f"models--*--*/snapshots/*/{DESCRIPTION_NAME}", root_dir=cache_folder()):  # noqa: PTH207
        folder, _, revision, _ = Path(place).parts
        repository = folder.removeprefix("models--").replace("--", "/")
        if not REPOSITORY.fullmatch(repository) or not REVISION.fullmatch(revision):
            continue
        with suppress(EnvironmentProblemError):  # what is damaged cannot be used; `verify` and `show` say why
            entry = _read_cached(HubReference(repository, revision))
            if entry is not None and entry.is_here and entry.source not in known:
                found.append(entry)
    return sorted(found, key=lambda entry: entry.source)


def verify_model(entry: ModelEntry) -> str | None:
    """Compare a model's bytes with its checksum; return the fault and its remedy in one line, None without one."""
    try:
        sha256 = _sha256(entry.path)
    except OSError as error:
        return f"cannot read {entry.path} ({error.strerror or error}); {_repair(entry)}"
    return None if sha256 == entry.sha256 else f"{entry.path} is damaged (its sha256 is {sha256}); {_repair(entry)}"


def remove_model(model: str) -> int:
    """Remove a model that was fetched from the Hub, or what there is of it; return the bytes that are free again.

    Raises:
        UsageError: it was not fetched, or is not the Hub's.
        EnvironmentProblemError: the cache cannot be changed.
    """
    if model.startswith(PREFIX):
        reference = pinned(model)
    else:
        entry = _find_named(model)
        if entry.hub is None:
            why = "bundled with mtqscore" if entry.bundled else f"a file of your own, {entry.path}"
            raise UsageError(f"model {entry.label} is {why}: only what was fetched from the Hub can be removed")
        reference = entry.hub
    if not os.path.isdir(reference.snapshot):  # noqa: PTH112 - Path.is_dir raises where a folder may not be entered
        raise UsageError(f"model {model} is not on this machine: there is nothing to remove")
    return hub.remove(reference)


def pinned(model: str) -> HubReference:
    """Read a reference to the Hub; a refusal of one without a revision names the one to type, if it can be found.

    Raises:
        UsageError: it is no reference, or not pinned.
    """
    try:
        return parse_reference(model)
    except UnpinnedError as error:
        try:
            advice = f"it is now {hub.current_revision(error.repository, error.branch)}"
        except EnvironmentProblemError as problem:
            advice = f"give the 40 digits of a commit ({problem})"
        raise UnpinnedError(error.repository, error.branch, advice) from error


def _find_named(model: str | None) -> ModelEntry:
    if model is not None and is_path(model):
        raise UsageError(f"{model!r} is a file: only --model takes files; here stands a name or hf:owner/name@revision")
    return find_registered(model)


def _read_cached(reference: HubReference) -> ModelEntry | None:
    place = reference.cached(DESCRIPTION_NAME)
    if not os.path.isfile(place):  # noqa: PTH113 - Path.is_file raises where a folder may not be entered
        return None
    try:
        with place.open("rb") as stream:
            content = stream.read(LARGEST_DESCRIPTION_BYTES + 1)
        return parse_description(content, hub=reference)
    except (OSError, ValueError) as error:
        fix = f"mtqscore models remove {reference}, and fetch it again"
        raise EnvironmentProblemError(f"{reference}: {place} cannot be used ({error}); {fix}") from error


def _fetch_description(reference: HubReference, notify: hub.Notify | None) -> ModelEntry:
    place = hub.fetch(reference, DESCRIPTION_NAME, most_bytes=LARGEST_DESCRIPTION_BYTES, notify=notify)
    try:
        return parse_description(place.read_bytes(), hub=reference)
    except ValueError as error:
        with suppress(EnvironmentProblemError):
            hub.remove(reference)
        raise UsageError(f"{reference}: not a model of mtqscore: in its {DESCRIPTION_NAME}, {error}") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _repair(entry: ModelEntry) -> str:
    if entry.hub is not None:
        return f"mtqscore models remove {entry.title}, and fetch it again"
    return "reinstall mtqscore" if entry.bundled else f"put the right file there, or correct {entry.folder}"


def _checked(entry: ModelEntry, sha256: str) -> str:
    """Refuse a file with another checksum; one that was fetched is removed, so that the next try starts anew."""
    if sha256 == entry.sha256:
        return sha256
    text = f"model {entry.title}: {entry.path} is damaged (its sha256 is {sha256}, not {entry.sha256})"
    if entry.hub is None:
        raise EnvironmentProblemError(f"{text}; {_repair(entry)}")
    try:
        hub.remove(entry.hub)
    except EnvironmentProblemError as error:
        raise EnvironmentProblemError(f"{text}, and cannot be removed: {error}") from error
    raise EnvironmentProblemError(f"{text}; it was removed: try again to fetch it anew")


def _no_file(path: Path) -> str:
    if path.is_dir():
        return f"no model file {path}: it is a folder; name the .onnx file in it"
    repository = path.as_posix().rpartition("huggingface.co/")[2]
    if REPOSITORY.fullmatch(repository) and path.suffix.lower() not in (".onnx", *_OTHER_WEIGHTS):
        return f"no model file {path}; a model of the Hub is named {PREFIX}{repository}@revision"
    return f"no model file {path}"


def _read_file(path: Path) -> ModelFile:
    try:
        if not path.is_file():
            raise UsageError(_no_file(path))
        if path.suffix.lower() in _OTHER_WEIGHTS:
            raise UsageError(f"{path}: not an ONNX file; mtqscore export makes one of a checkpoint of mtqscore train")
        if path.stat().st_size > LARGEST_MODEL_BYTES:
            raise UsageError(f"{path}: larger than any model can be")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot read the model: {error}") from error
    return ModelFile(str(path), content, hashlib.sha256(content).hexdigest())
