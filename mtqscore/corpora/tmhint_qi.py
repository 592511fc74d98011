"""TMHINT-QI: Mandarin sentences, clean, noisy and enhanced, rated by listeners (Chen and Tsao, InQSS, 2022).

Layout of the unpacked ``TMHINTQI.zip``: ``train/*.wav``, ``test/*.wav`` and ``raw_data.csv`` with one row a rating.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from mtqscore.corpora.corpus import Advance, Corpus, CorpusConfig, find_data
from mtqscore.corpora.score_tables import stem_of
from mtqscore.corpora.tmhint import (
    TmhintRecordings,
    find_recordings,
    holds_recordings,
    labelled_recordings,
    rated,
    some,
    with_validation,
)
from mtqscore.errors import InputError
from mtqscore.labels.table import read_table

NAMES = ("TMHINTQI", "TMHINT-QI", "tmhintqi", "tmhint-qi", "TMHINT_QI")
WHERE_TO_GET = (
    "get TMHINTQI.zip (2.2 GB) from https://drive.google.com/file/d/1TMDiz6dnS76hxyeAcCQxeSqqEOH4UDN0 or "
    "https://huggingface.co/datasets/urgent-challenge/urgent26_track2_sqa, unpack it (train/, test/, raw_data.csv)"
)
RATINGS_NAME = "raw_data.csv"

PUBLISHED = {"train": 12_937, "test": 1_978}
"""Recordings in the published folders."""

KNOWN_UNRATED = frozenset((
    "FCN_snr0_street_TMHINT_b2_22_03",
    "Trans_snr2_pink_TMHINT_g4_24_09",
    "DDAE_snr2_pink_TMHINT_b2_22_01",
    "DDAE_snr5_white_TMHINT_g4_24_07",
))  # fmt: skip
"""Named in the ratings without any quality, and in neither folder as published."""


def fits(folder: Path) -> bool:
    """Check whether a folder holds TMHINT-QI, whatever it is called."""
    return holds_recordings(folder / "train")


def read(options: CorpusConfig, advance: Advance) -> Corpus:
    """Find, check, label and split TMHINT-QI: the published test folder, and the train folder divided by the seed.

    Raises:
        EnvironmentProblemError: it is not on this machine.
        InputError: the ratings or a table of the user's cannot be read, or it holds no recording.
    """
    where = find_data(options.data_root, NAMES, fits, WHERE_TO_GET)
    recordings, notes = find_published(where)
    recordings = with_validation(recordings, options)
    twins = {stem: item.path for stem, item in recordings.items()}
    labelled, label_notes = labelled_recordings(recordings, twins, options, advance)
    return Corpus(labelled, [*notes, *label_notes], where)


def find_published(where: Path) -> tuple[TmhintRecordings, list[str]]:
    """List the recordings of both folders with their ratings, and note what is not as published.

    Raises:
        InputError: there is no recording, or the ratings cannot be read.
    """
    recordings: TmhintRecordings = {}
    notes = []
    for split, published in PUBLISHED.items():
        found, remarks = find_recordings(where / split, split)
        notes += remarks
        if len(found) != published:
            notes.append(f"{where / split}: {len(found):,} recordings, {published:,} are published")
        twice = recordings.keys() & found.keys()
        if twice:
            notes.append(f"{len(twice):,} names are in train and test, such as {some(twice)}: taken as test alone")
        recordings |= found
    if not recordings:
        raise InputError(f"{where}: no recordings in train and test")
    table = where / RATINGS_NAME
    if not table.exists():
        return recordings, [*notes, f"{where}: no {RATINGS_NAME}, so listeners' quality is not known"]
    means, remarks = read_ratings(table)
    return rated(recordings, means), [*notes, *remarks, *_unmatched(recordings, means)]


def read_ratings(table: Path) -> tuple[dict[str, tuple[float, int]], list[str]]:
    """Average listeners' ratings of overall quality, one row each with ``file_name`` and ``quality_score``.

    Returns:
        Mean from 1 to 5 and number of ratings by recording, and a note on ratings that are left out.
    """
    ratings: dict[str, list[float]] = defaultdict(list)
    empty = unusable = 0
    for record in read_table(table, ("file_name", "quality_score")):
        text = record["quality_score"].strip()
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if 1 <= value <= 5:
            ratings[stem_of(record["file_name"])].append(value)
        elif text:
            unusable += 1
        else:
            empty += 1
    notes = []
    if empty or unusable:
        notes.append(f"{table.name}: left out {empty:,} ratings without a quality and {unusable:,} not from 1 to 5")
    return {stem: (sum(values) / len(values), len(values)) for stem, values in ratings.items()}, notes


def _unmatched(recordings: TmhintRecordings, means: Mapping[str, object]) -> list[str]:
    notes = []
    absent = means.keys() - recordings.keys() - KNOWN_UNRATED
    if absent:
        notes.append(f"{len(absent):,} rated recordings are in neither folder, such as {some(absent)}")
    unrated = recordings.keys() - means.keys()
    known = unrated & KNOWN_UNRATED
    if known:
        notes.append(f"{len(known):,} recordings are known to have no quality: {some(known, len(known))}")
    if unrated - known:
        notes.append(f"{len(unrated - known):,} recordings have no quality, such as {some(unrated - known)}")
    return notes
