"""Common parts of TMHINT-QI and TMHINT-QI(S): recordings by name, the validation split, and labels."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from mtqscore.base.text import printable
from mtqscore.corpora.corpus import Advance, CorpusConfig
from mtqscore.corpora.reference_labels import ReferencePair, label_from_references
from mtqscore.corpora.score_tables import Scores, check_any_known, read_pesq_stoi, read_three_quest, stem_of
from mtqscore.corpora.tmhint_names import NOISY, TmhintName, parse_name
from mtqscore.corpora.validation import draw
from mtqscore.errors import InputError
from mtqscore.labels.table import LabelledRecording
from mtqscore.targets import PSEUDO, SUPERVISED

PROBED_FILES = 1000
"""So many names of a folder are looked at to know the corpus in it."""


@dataclass(frozen=True)
class TmhintRecording:
    """One recording of the corpus; without ratings, the mean quality (1 to 5) is NaN and their number 0."""

    path: Path
    name: TmhintName
    split: str
    quality: float = math.nan
    ratings: int = 0


TmhintRecordings = dict[str, TmhintRecording]
"""By file name without folder, ending and the challenge's prefix."""


def holds_recordings(folder: Path, prefix: str = "") -> bool:
    """Check whether a folder holds recordings of the corpus, by its first names."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in islice(entries, PROBED_FILES)]
    except OSError:
        return False
    return any(name.startswith(prefix) and parse_name(stem_of(name)) is not None for name in names)


def find_recordings(folder: Path, split: str) -> tuple[TmhintRecordings, list[str]]:
    """List the recordings in a folder, which need not exist, in the order of their names; and note other WAV files.

    What systems put beside files (``._name.wav``) is passed over.
    """
    try:
        listed = sorted(os.listdir(folder))  # noqa: PTH208 - names alone
    except OSError as error:
        return {}, [f"{folder}: {error.strerror or error}"]
    found: TmhintRecordings = {}
    others = []
    for name in listed:
        if name.startswith(".") or not name.lower().endswith(".wav"):
            continue
        stem = stem_of(name)
        parsed = parse_name(stem)
        if parsed is None:
            others.append(name)
        else:
            found[stem] = TmhintRecording(folder / name, parsed, split)
    if not others:
        return found, []
    return found, [f"{folder}: {len(others):,} other recordings are left out, such as {printable(others[0])}"]


def with_validation(recordings: TmhintRecordings, options: CorpusConfig) -> TmhintRecordings:
    """Take a share of the training recordings for validation, by nothing but their names and the seed.

    All recordings of a sentence go the same way, of both speakers and in every condition, so that no validation
    sentence is in training. Sentences with a clean recording, without one, and with nothing else are divided
    apart: where labels come from references, a draw over all might leave the validation split with none or with
    those of clean speech alone.
    """
    training = {stem: item for stem, item in recordings.items() if item.split == "train"}
    clean = {item.name.sentence for item in training.values() if item.name.is_clean}
    degraded = {item.name.sentence for item in training.values() if not item.name.is_clean}
    layers: dict[tuple[bool, bool], dict[str, list[str]]] = {}
    for stem, item in training.items():
        unit = stem if options.validation_by == "file" else item.name.sentence
        layer = layers.setdefault((item.name.sentence in clean, item.name.sentence in degraded), {})
        layer.setdefault(unit, []).append(stem)
    validating = set[str]().union(*(draw(units, options.validation_share, options.seed) for units in layers.values()))
    return {stem: replace(item, split="val") if stem in validating else item for stem, item in recordings.items()}


def labelled_recordings(
    recordings: TmhintRecordings, twins: Mapping[str, Path], options: CorpusConfig, advance: Advance
) -> tuple[list[LabelledRecording], list[str]]:
    """Label recordings from what the user has: 3QUEST scores, clean twins, listeners' quality.

    Args:
        recordings: the corpus.
        twins: every file at hand that may be the clean or the noisy twin of another, by its name.
        options: sources of labels.
        advance: notified of the labelling.

    Returns:
        Every recording, and notes on where labels came from and how many have none.

    Raises:
        InputError: a table cannot be read or names no recording of the corpus.
        FaultyTableError: a table is faulty.
    """
    scores: Scores | None = None
    listed: Scores | None = None
    if options.three_quest_scores is not None:
        scores = read_three_quest(options.three_quest_scores)
        check_any_known(options.three_quest_scores, scores, recordings)
    if options.pesq_stoi_list is not None:
        listed = read_pesq_stoi(options.pesq_stoi_list)
        check_any_known(options.pesq_stoi_list, listed, recordings)
    referenced: dict[str, dict[str, float]] = {}
    notes: list[str] = []
    if options.labels != "given":
        twins = {**twins, **_clean_files(options.clean_folder)}
        pairs = [pair for stem, item in recordings.items() if (pair := _reference_pair(stem, item, twins)) is not None]
        referenced, notes = label_from_references(pairs, options.workers, advance)
    labelled = []
    for stem, item in recordings.items():
        labels = dict(referenced.get(stem, {}))
        if listed is not None:
            labels = {name: value for name, value in labels.items() if name not in ("pesq", "stoi")}
            labels |= listed.get(stem, {})
        if scores is not None or options.labels == "quality":
            labels = {target.name: labels[target.name] for target in PSEUDO if target.name in labels}
            given = {} if math.isnan(item.quality) else {"g_mos": item.quality}
            labels |= given if scores is None else scores.get(stem, {})
        labelled.append(
            LabelledRecording(item.path, item.split, labels, _remarks(item, labels, scores is not None, options))
        )
    return labelled, [*_label_notes(labelled, scores, listed, options), *notes]


def _clean_files(folder: Path | None) -> dict[str, Path]:
    if folder is None:
        return {}
    if not os.path.isdir(folder):  # noqa: PTH112 - as in sources
        raise InputError(f"{folder}: no such folder of clean references")
    paths = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() == ".wav")
    named = {stem_of(path.name): path for path in paths if not path.name.startswith(".")}
    found = {stem: path for stem, path in named.items() if (name := parse_name(stem)) is not None and name.is_clean}
    if not found:
        raise InputError(f"{folder}: holds no clean references; their names are like clean_TMHINT_b2_22_06.wav")
    return found


def _reference_pair(stem: str, item: TmhintRecording, twins: Mapping[str, Path]) -> ReferencePair | None:
    name = item.name
    if name.is_clean:
        return ReferencePair(stem, item.path, item.path, item.path, None)
    clean = next((twins[twin] for twin in name.clean_stems if twin in twins), None)
    if clean is None:
        return None
    noisy = item.path if name.method == NOISY else twins.get(name.noisy_stem)
    return ReferencePair(stem, item.path, clean, noisy, name.snr_db)


def _remarks(item: TmhintRecording, labels: Mapping[str, float], scored: bool, options: CorpusConfig) -> dict[str, str]:
    name = item.name
    source = "3quest" if scored else options.labels
    return {
        "speaker": name.speaker,
        "sentence": name.sentence,
        "kind": name.method,
        "condition": name.condition,
        "snr_db": "" if name.snr_db is None else str(name.snr_db),
        "noise": name.noise,
        "quality": "" if math.isnan(item.quality) else f"{item.quality:.4f}",
        "ratings": str(item.ratings or ""),
        "labels_from": source if any(target.name in labels for target in SUPERVISED) else "",
    }


def _label_notes(
    labelled: Sequence[LabelledRecording], scores: Scores | None, listed: Scores | None, options: CorpusConfig
) -> list[str]:
    notes = []
    if scores is not None:
        found = sum(item.extra["labels_from"] == "3quest" for item in labelled)
        notes.append(
            f"3QUEST scores: {found:,} recordings, from {options.three_quest_scores}"
            + (f"; {len(scores) - found:,} scores are of no recording here" if len(scores) > found else "")
        )
    elif options.labels == "quality":
        notes.append("g_mos is listeners' overall quality (1 to 5) on TMHINT-QI's own scale, not that of P.835")
    if listed is not None:
        notes.append("pesq is narrowband P.862 as published, on another scale than mtqscore's own wideband labels")
    bare = sum(not item.extra["labels_from"] for item in labelled)
    if bare:
        notes.append(f"{bare:,} of {len(labelled):,} recordings are left without s_mos, n_mos and g_mos")
    return notes


def rated(recordings: TmhintRecordings, means: Mapping[str, tuple[float, int]]) -> TmhintRecordings:
    """Give recordings listeners' mean quality and the number of ratings, where there are any."""
    return {
        stem: replace(item, quality=means[stem][0], ratings=means[stem][1]) if stem in means else item
        for stem, item in recordings.items()
    }


def some(names: Iterable[str], limit: int = 3) -> str:
    """Name the first few for a message."""
    return ", ".join(islice(sorted(names), limit))
