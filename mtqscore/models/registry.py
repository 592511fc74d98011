"""Lists of models: the one in the package, and one of the user's own."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import Struct

from mtqscore.errors import EnvironmentProblemError, UsageError
from mtqscore.models.entry import ListedModel, ModelEntry, decode

PACKAGE = Path(__file__).parent.parent
MODEL_FOLDERS = (PACKAGE / "models" / "released", PACKAGE.parent / "models")
"""Folders of the released model: inside an installed wheel, or at the top of a checkout."""

REGISTRY_NAME = "registry.json"


class _Registry(Struct):
    models: list[ListedModel]
    default: str = ""


def read_registry(folders: tuple[Path, ...] | None = None) -> tuple[str, dict[str, ModelEntry]]:
    """Read the list of models in the package: name@version of the default, and the entries by name@version.

    The first of the folders that has a list wins; None is `MODEL_FOLDERS`.

    Raises:
        EnvironmentProblemError: there is no list, or it is damaged.
    """
    folders = MODEL_FOLDERS if folders is None else folders
    folder = next((folder for folder in folders if (folder / REGISTRY_NAME).is_file()), None)
    if folder is None:
        raise EnvironmentProblemError(f"no bundled models: {folders[0] / REGISTRY_NAME} is missing; reinstall mtqscore")
    named, entries = _read_list(folder, bundled=True)
    default = _find(entries, named)
    if default is None:
        raise EnvironmentProblemError(
            f"{folder / REGISTRY_NAME}: the default is none of its models; reinstall mtqscore"
        )
    return default.label, entries


def own_folder() -> Path:
    """Folder of the user's own list: ``MTQSCORE_HOME``, else where the system keeps data of applications."""
    home = os.environ.get("MTQSCORE_HOME")
    if home:
        return Path(os.path.expanduser(home))  # noqa: PTH111 - a ~ that means nobody stays, and raises nothing
    import platformdirs

    return platformdirs.user_data_path("mtqscore", appauthor=False)


def read_own_registry() -> dict[str, ModelEntry]:
    """Read the user's own list, ``registry.json`` in ``own_folder``; there need not be one.

    Raises:
        EnvironmentProblemError: it is damaged.
    """
    folder = own_folder()
    # Not Path.exists, which raises where a folder may not be entered: then there is no list for this user.
    there = os.path.exists(folder / REGISTRY_NAME)  # noqa: PTH110
    return _read_list(folder, bundled=False)[1] if there else {}


def find_registered(model: str | None) -> ModelEntry:
    """Find a model by its name; without a version the newest.

    A name of the package's list is never taken over by the user's own; that can only add versions.

    Args:
        model: name, ``name@version``, or None for the default.

    Raises:
        UsageError: no list has it.
        EnvironmentProblemError: a list is damaged.
    """
    default, bundled = read_registry()
    own: dict[str, ModelEntry] = {}
    entry = _find(bundled, default if model is None else model)
    if entry is None:
        own = read_own_registry()
        entry = _find(own, str(model))
    if entry is None:
        known = ", ".join({**bundled, **own})
        raise UsageError(
            f"no model {model!r}; there are {known}, or give the path of an .onnx file or hf:owner/name@revision"
        )
    return entry


def _find(entries: dict[str, ModelEntry], model: str) -> ModelEntry | None:
    if "@" in model:
        return entries.get(model)
    return max((entry for entry in entries.values() if entry.name == model), key=lambda item: item.order, default=None)


def _read_list(folder: Path, *, bundled: bool) -> tuple[str, dict[str, ModelEntry]]:
    """Read the name of the default, and the entries by name and version."""
    place = folder / REGISTRY_NAME
    try:
        found = decode(place.read_bytes(), _Registry)
        entries: dict[str, ModelEntry] = {}
        for item in found.models:
            entry = item.entry(folder, bundled=bundled)
            if entry.label in entries:
                raise ValueError(f"{entry.label} is there twice")
            entries[entry.label] = entry
    except (OSError, ValueError) as error:
        fix = "; reinstall mtqscore" if bundled else ""
        raise EnvironmentProblemError(f"{place}: the list of models is damaged ({error}){fix}") from error
    return found.default, entries
