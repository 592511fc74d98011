"""Recordings paired with their references."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mtqscore.audio.inputs import is_audio_name
from mtqscore.errors import UsageError
from mtqscore.labels.table import read_table


@dataclass(frozen=True)
class ReferenceTriple:
    """The files that one recording is labelled from.

    Args:
        processed: the recording to label.
        clean: the clean speech in it.
        unprocessed: the recording before processing; None when ``processed`` is itself unprocessed.
        problem: reason why it cannot be labelled, such as a missing reference; empty when nothing is known.
    """

    processed: Path
    clean: Path
    unprocessed: Path | None = None
    problem: str = ""


def find_triples(processed: Path, clean: Path | None, unprocessed: Path | None) -> list[ReferenceTriple]:
    """Pair files with files, folders with folders (searched through; by name, any suffix), or read a table.

    Args:
        processed: a file, a folder, or a CSV with columns ``path``, ``clean`` and, if wanted, ``unprocessed``.
        clean: the same kind as ``processed``; None for a table.
        unprocessed: the same kind, or None.

    Raises:
        UsageError: something is missing, or the kinds differ.
        InputError: a table is faulty.
    """
    for place in (processed, clean, unprocessed):
        if place is not None and not os.path.exists(place):  # noqa: PTH110 - Path.exists raises for a long name
            raise UsageError(f"{place}: no such file or folder")
    if processed.suffix.lower() == ".csv":
        return _from_table(processed)
    if clean is None:
        raise UsageError("name the clean reference after the processed recording, or give a CSV table")
    if processed.is_dir() != clean.is_dir() or (unprocessed is not None and unprocessed.is_dir() != clean.is_dir()):
        raise UsageError("give either files or folders for processed, clean and unprocessed")
    if processed.is_file():
        return [ReferenceTriple(processed, clean, unprocessed)]
    return [
        _paired(path, processed, clean, unprocessed)
        for path in sorted(processed.rglob("*"))
        if is_audio_name(path.name) and path.is_file() and not path.name.startswith(".")
    ]


def _paired(path: Path, folder: Path, clean: Path, unprocessed: Path | None) -> ReferenceTriple:
    place = path.relative_to(folder)
    found, problems = [], []
    for other in (clean, unprocessed):
        partners = _partners(other / place) if other is not None else []
        if other is not None and len(partners) != 1:
            problems.append(f"{'no' if not partners else 'more than one'} recording {place.with_suffix('')} in {other}")
        found.append(partners[0] if partners else None)
    return ReferenceTriple(path, found[0] or clean / place, found[1], "; ".join(problems))


def _partners(wanted: Path) -> list[Path]:
    """Recordings at a place: the one of the very name, else all whose names differ in the suffix alone."""
    if wanted.is_file():
        return [wanted]
    if not wanted.parent.is_dir():
        return []
    return sorted(one for one in wanted.parent.iterdir() if one.stem == wanted.stem and is_audio_name(one.name))


def _from_table(table: Path) -> list[ReferenceTriple]:
    folder = table.parent
    return [
        ReferenceTriple(
            folder / record["path"],
            folder / record["clean"],
            folder / record["unprocessed"] if record.get("unprocessed") else None,
        )
        for record in read_table(table, ("path", "clean"))
    ]
