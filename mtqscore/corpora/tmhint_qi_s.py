"""TMHINT-QI(S), track 3 of the VoiceMOS Challenge 2023: a new test for models that learn from TMHINT-QI.

The test is a folder of its own, ``VoiceMOS2023Track3-*.wav`` with ``answer.csv``. The training recordings are those of
TMHINT-QI that the challenge lists; many names of the test are among the training recordings of TMHINT-QI itself.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from mtqscore.corpora import tmhint_qi
from mtqscore.corpora.corpus import Advance, Corpus, CorpusConfig, find_data
from mtqscore.corpora.score_tables import read_means
from mtqscore.corpora.tmhint import (
    TmhintRecordings,
    find_recordings,
    holds_recordings,
    labelled_recordings,
    rated,
    some,
    with_validation,
)
from mtqscore.corpora.tmhint_names import CHALLENGE_PREFIX, ORIGINAL
from mtqscore.errors import EnvironmentProblemError

NAMES = ("VoiceMOS_2023_track3", "TMHINT-QI-S", "tmhint-qi-s", "TMHINT-QI(S)")
WHERE_TO_GET = (
    "get VoiceMOS_2023_track3.zip from https://drive.google.com/file/d/10_1JbEsxKPYZJLDXMeMkcjLHkbDQt84w and unpack "
    "it beside TMHINTQI/, with answer.csv and train_avg_mos.csv (of VOICEMOS2023_DISTRO.tar.gz) in it if you have them"
)
ANSWERS_NAME = "answer.csv"
TRAINING_LISTS = ("train_avg_mos.csv", "VOICEMOS2023_DISTRO/train_avg_mos.csv")

PUBLISHED_TEST, PUBLISHED_TRAIN = 1_960, 11_053
UNSEEN_NOISE, UNSEEN_METHOD = "street", "KLT"
"""In TMHINT-QI, and not among the challenge's training recordings."""


def fits(folder: Path) -> bool:
    """Check whether a folder holds the recordings of the challenge, itself or in ``wavs/``."""
    return holds_recordings(folder, CHALLENGE_PREFIX) or holds_recordings(folder / "wavs", CHALLENGE_PREFIX)


def read(options: CorpusConfig, advance: Advance) -> Corpus:
    """Find, check, label and split TMHINT-QI(S).

    The test stays as published, 1,960 recordings; those of the rehearsal (``TMHINT_*``) are no part of it. A training
    recording with the name of a test recording is removed.

    Raises:
        EnvironmentProblemError: it is not on this machine.
        InputError: a table cannot be read.
    """
    where = find_data(options.data_root, NAMES, fits, WHERE_TO_GET)
    found, notes = find_recordings(where / "wavs" if (where / "wavs").is_dir() else where, "test")
    test = {stem: item for stem, item in found.items() if item.name.method != ORIGINAL}
    if len(found) > len(test):
        notes.append(f"{len(found) - len(test):,} rehearsal recordings (TMHINT_*) are no part of the test")
    if len(test) != PUBLISHED_TEST:
        notes.append(f"{where}: {len(test):,} test recordings, {PUBLISHED_TEST:,} are published")
    test, remarks = _answered(test, where)
    everything, train, train_notes = _training(options, where)
    leaked = train.keys() & test.keys()
    if leaked:
        train = {stem: item for stem, item in train.items() if stem not in leaked}
        notes.append(
            f"leakage: removed from training what has the name of a test recording: {len(leaked):,}, "
            f"such as {some(leaked)}"
        )
    recordings = {**with_validation(train, options), **test}
    twins = {stem: item.path for stem, item in {**found, **everything}.items()}
    labelled, label_notes = labelled_recordings(recordings, twins, options, advance)
    return Corpus(labelled, [*notes, *remarks, *train_notes, *label_notes], where)


def _answered(test: TmhintRecordings, where: Path) -> tuple[TmhintRecordings, list[str]]:
    table = _first_of((ANSWERS_NAME,), (where, where.parent))
    if table is None:
        return test, [f"{where}: no {ANSWERS_NAME}, so listeners' quality of the test is not known"]
    means = {stem: (mean, 0) for stem, mean in read_means(table).items() if not math.isnan(mean)}
    unanswered = test.keys() - means.keys()
    notes = [f"{len(unanswered):,} test recordings have no answer, such as {some(unanswered)}"] if unanswered else []
    return rated(test, means), notes


def _training(options: CorpusConfig, where: Path) -> tuple[TmhintRecordings, TmhintRecordings, list[str]]:
    """All recordings of TMHINT-QI, those that the challenge trains on, and notes."""
    beside = next((where.parent / name for name in tmhint_qi.NAMES if tmhint_qi.fits(where.parent / name)), None)
    try:
        home = beside or find_data(options.data_root, tmhint_qi.NAMES, tmhint_qi.fits, tmhint_qi.WHERE_TO_GET)
    except EnvironmentProblemError as error:
        return {}, {}, [f"no training recordings: {error}"]
    everything, _ = tmhint_qi.find_published(home)
    table = _first_of(TRAINING_LISTS, (where, where.parent, home, home.parent))
    if table is None:
        train = {
            stem: item
            for stem, item in everything.items()
            if item.split == "train" and item.name.noise != UNSEEN_NOISE and item.name.method != UNSEEN_METHOD
        }
        note = (
            f"{TRAINING_LISTS[0]} is not here: training takes train of TMHINT-QI without street noise and KLT, "
            f"{len(train):,} recordings; the challenge lists {PUBLISHED_TRAIN:,}"
        )
        return everything, train, [note]
    listed = read_means(table)
    train = {
        stem: dataclasses.replace(everything[stem], split="train", quality=mean, ratings=0)
        for stem, mean in listed.items()
        if stem in everything
    }
    absent = listed.keys() - everything.keys()
    notes = [f"{len(absent):,} listed training recordings are missing, such as {some(absent)}"] if absent else []
    return everything, train, [f"training list: {table}", *notes]


def _first_of(names: tuple[str, ...], folders: tuple[Path, ...]) -> Path | None:
    return next((folder / name for folder in folders for name in names if (folder / name).is_file()), None)
