"""Files beside an exported model: its description for lists and the Hub, and its card for people."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mtqscore.analysis import statistics as stats
from mtqscore.errors import EnvironmentProblemError, InputError, UsageError
from mtqscore.models.card import card
from mtqscore.models.entry import Accuracy, ModelEntry, parse_description
from mtqscore.models.publish import description_text
from mtqscore.targets import SUPERVISED, Target
from mtqscore.training.checkpoint import read_checkpoint
from mtqscore.training.export.calibration import Calibration, read_pairs
from mtqscore.training.export.config import ModelIdentity
from mtqscore.training.export.exporter import RELEASED, weights_beside
from mtqscore.training.export.parity import Parity
from mtqscore.training.weights import BEST_FILE

HELD_OUT = {"test": "test split of the training corpus", "val": "validation split, which chose the epoch"}


def check_release(out: Path, identity: ModelIdentity, source: Path | None = None) -> None:
    """Refuse names that no list of models could hold, before anything is computed.

    The checkpoint ``source`` that is exported may stand beside the file, and stays.

    Raises:
        UsageError: the name of the file, the model, its version or its licence is not allowed; or a file that would be
            replaced beside it is something else.
    """
    try:
        _entry(out, identity, b"-", ())
    except ValueError as error:
        raise UsageError(f"cannot export as {out.name!r}: {error}") from error
    place = out.with_suffix(".json")
    try:
        if place.exists():
            parse_description(place.read_bytes(), out.parent)
    except (OSError, ValueError) as error:
        raise UsageError(f"{place} is there and is not the description of a model; give --out another name") from error
    place = weights_beside(out)
    if place.exists() and not (source is not None and place.samefile(source)) and not _is_released(place):
        raise UsageError(f"{place} is there and holds no weights of an exported model; give --out another name")


def write_release(
    out: Path,
    identity: ModelIdentity,
    accuracy: tuple[Accuracy, ...],
    parity: Parity,
    targets: Sequence[Target] = SUPERVISED,
) -> tuple[ModelEntry, bool]:
    """Write the description (``.json``) and the card (``.md``) beside an exported model.

    A card that is there already is kept: its author may have added to it.

    Args:
        out: the ONNX file.
        identity: for its metadata.
        accuracy: what is known of it.
        parity: what the comparison with torch found.
        targets: what the model estimates.

    Returns:
        The description, and whether the card is new.

    Raises:
        EnvironmentProblemError: a file cannot be written.
    """
    try:
        entry = _entry(out, identity, out.read_bytes(), accuracy)
        out.with_suffix(".json").write_text(description_text(entry), encoding="utf-8")
        place = out.with_suffix(".md")
        is_new = not place.exists()
        if is_new:
            check = f"onnxruntime and torch differ by at most {parity.worst:.1e} points on {parity.clips} recordings"
            text = card(
                entry,
                meaning=identity.label_definition,
                corpora=identity.training_corpora,
                command=identity.producing_command,
                checks=[check],
                targets=targets,
            )
            place.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise EnvironmentProblemError(
            f"{out}: cannot write what belongs beside it: {error.strerror or error}"
        ) from error
    return entry, is_new


def measure_run(source: Path, calibration: Calibration) -> tuple[Accuracy, ...]:
    """Compute the accuracy on a run's held-out recordings from the estimates that it left behind.

    Returns:
        One entry a table that is there, the test split first; none for another checkpoint.

    Raises:
        InputError: a table is faulty.
    """
    if source.is_file() and source.name != BEST_FILE:
        return ()
    folder = source.parent if source.is_file() else source
    tables = {folder / f"predictions_{split}.csv": data for split, data in HELD_OUT.items()}
    return tuple(_measure(table, data, calibration) for table, data in tables.items() if table.is_file())


def _measure(table: Path, data: str, calibration: Calibration) -> Accuracy:
    pairs = read_pairs(table, calibration.targets)
    scores = calibration(np.stack([raw for raw, _ in pairs.values()], axis=-1))
    scored = [(name, pairs[name][1], scores[:, column]) for column, name in enumerate(calibration.targets)]
    lcc = {name: stats.lcc(labels, values) for name, labels, values in scored}
    rmse = {name: stats.rmse(labels, values) for name, labels, values in scored}
    return Accuracy(data, len(scores), _known(lcc), _known(rmse))


def _is_released(place: Path) -> bool:
    try:
        return RELEASED in read_checkpoint(place).state
    except InputError:
        return False


def _known(measures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in measures.items() if math.isfinite(value)}


def _entry(out: Path, identity: ModelIdentity, content: bytes, accuracy: tuple[Accuracy, ...]) -> ModelEntry:
    weights = weights_beside(out)
    has_weights = weights.is_file()
    draft = ModelEntry(
        name=identity.name,
        version=identity.version,
        file=out.name,
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        licence=identity.licence,
        conformance=identity.conformance,
        accuracy=accuracy,
        weights=weights.name if has_weights else "",
        weights_sha256=hashlib.sha256(weights.read_bytes()).hexdigest() if has_weights else "",
    )
    # Through the same gate as what comes from the Hub, so that nothing is released that nobody could read.
    return parse_description(description_text(draft).encode(), out.parent)
