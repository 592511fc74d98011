"""From an exported model to a repository of the Hub that others can name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mtqscore.errors import EnvironmentProblemError, UsageError
from mtqscore.models import hub
from mtqscore.models.card import NOT_STATED, hub_head
from mtqscore.models.entry import DESCRIPTION_NAME, ModelEntry, parse_description
from mtqscore.models.metadata import ModelInfo
from mtqscore.models.reference import REPOSITORY, HubReference
from mtqscore.models.store import ModelFile, verify_model


@dataclass(frozen=True)
class Prepared:
    """A folder that is ready to be a repository: the model in it, and its files by their names there."""

    folder: Path
    entry: ModelEntry
    files: dict[str, Path]


def prepare(source: Path, open_model: Callable[[ModelFile], ModelInfo]) -> Prepared:
    """Lay out the repository of a model anew: the model, its weights, ``mtqscore.json`` and the card as ``README.md``.

    Args:
        source: the ONNX file that ``mtqscore export`` wrote, or its folder if there is no other.
        open_model: opens a model as a user would, and returns its metadata.

    Raises:
        UsageError: there is no model, its description or card is missing, it is not the file that its description
            names, or it has no licence.
        EnvironmentProblemError: the folder cannot be written.
    """
    model = _only_model(source)
    entry = _read_description(model)
    _check_contract(model, entry, open_model)
    if entry.licence == NOT_STATED:
        raise UsageError(f"{model}: its licence is not stated; export it again with --licence, for example MIT")
    try:
        text = model.with_suffix(".md").read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UsageError(f"{model.with_suffix('.md')}: the card is missing; mtqscore export writes it") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{model.with_suffix('.md')}: cannot read the card: {error}") from error
    head = "" if text.startswith("---\n") else hub_head(entry)
    folder = model.with_name(f"{model.stem}-hub")
    try:
        folder.mkdir(exist_ok=True)
        (folder / "README.md").write_text(head + text, encoding="utf-8")
        (folder / DESCRIPTION_NAME).write_text(description_text(entry), encoding="utf-8")
        names = [entry.file, *([entry.weights] if entry.weights else [])]
        for name in names:
            shutil.copyfile(model.with_name(name), folder / name)
    except OSError as error:
        raise EnvironmentProblemError(f"cannot write {folder}: {error.strerror or error}") from error
    return Prepared(folder, entry, {name: folder / name for name in (DESCRIPTION_NAME, "README.md", *names)})


def publish(
    prepared: Prepared, repository: str, *, private: bool = False, notify: hub.Notify | None = None
) -> HubReference:
    """Upload a prepared folder to ``owner/name`` with one commit, and return the reference for others to type.

    Raises:
        UsageError: the name of the repository is none.
        EnvironmentProblemError: no token is known, or the Hub cannot be reached or refuses.
    """
    check_repository(repository)
    return hub.upload(repository, prepared.files, f"Release {prepared.entry.label}", private=private, notify=notify)


def check_repository(repository: str) -> None:
    """Refuse what is not ``owner/name``, with a ``UsageError``."""
    if not REPOSITORY.fullmatch(repository):
        raise UsageError(f"repository {repository!r} is not owner/name")


def description_text(entry: ModelEntry) -> str:
    """The text of ``mtqscore.json``."""
    return json.dumps(entry.description(), indent=2, ensure_ascii=False) + "\n"


def _only_model(source: Path) -> Path:
    if source.is_file():
        return source
    models = sorted(source.glob("*.onnx")) if source.is_dir() else []
    if len(models) != 1:
        found = "has no .onnx file" if source.is_dir() else "is neither a folder nor an .onnx file"
        raise UsageError(f"{source}: {f'has {len(models)} .onnx files: name one' if models else found}")
    return models[0]


def _read_description(model: Path) -> ModelEntry:
    place = model.with_suffix(".json")
    try:
        entry = parse_description(place.read_bytes(), model.parent)
    except FileNotFoundError as error:
        raise UsageError(f"{place}: the description is missing; mtqscore export writes it") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{place}: not the description of a model: {error}") from error
    if entry.file != model.name:
        raise UsageError(f"{place}: names {entry.file}, not {model.name}; export the model again")
    return entry


def _check_contract(model: Path, entry: ModelEntry, open_model: Callable[[ModelFile], ModelInfo]) -> None:
    """Refuse a file that is another than its description says, or that no user could run."""
    if verify_model(entry) is not None:
        raise UsageError(f"{model}: is not the file that {model.stem}.json names; export the model again")
    info = open_model(ModelFile(str(model), model.read_bytes(), entry.sha256))
    told, found = (entry.label, entry.conformance), (info.label, info.conformance)
    if told != found:
        raise UsageError(
            f"{model}: says {found[0]} with conformance {found[1]}, {model.stem}.json {told[0]}, {told[1]}"
        )
