"""Checked recordings of what ``--data`` names: a label table, a folder, or a corpus by name."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from mtqscore.corpora import tmhint_qi, tmhint_qi_s
from mtqscore.corpora.checks import check_headers, describe, find_leaks
from mtqscore.corpora.corpus import Advance, Corpus, CorpusConfig
from mtqscore.corpora.validation import divided
from mtqscore.errors import InputError, UsageError
from mtqscore.labels.table import TABLE_NAME, FaultyTableError, parse_label_table

NAMED_CORPORA = {
    "tmhint-qi": (tmhint_qi.fits, tmhint_qi.read),
    "tmhint-qi-s": (tmhint_qi_s.fits, tmhint_qi_s.read),
}
"""Every corpus that has a name, with its check of an unpacked folder and its reader; one more is one file and line."""


def read_corpus(
    data: str | Path, options: CorpusConfig | None = None, advance: Advance = lambda _done, _total: None
) -> Corpus:
    """Read a corpus and check all of it, recordings included, before anything else happens.

    Args:
        data: a CSV file, a folder with ``manifest.csv``, the unpacked folder of a known corpus, or the name of one.
            A name that is also a path is a path.
        options: for corpora that are known by name; the draw of validation recordings also for tables without splits.
        advance: notified of long work.

    Returns:
        Recordings without faults, and notes: counts, what is missing, what was left out, leakage.

    Raises:
        UsageError: there is neither such a path nor such a corpus, or the options do not go with it.
        InputError: a table cannot be read.
        FaultyTableError: entries or recordings are faulty; it holds every fault.
        EnvironmentProblemError: a named corpus is not on this machine; the message says where to get it.
    """
    corpus = _read(data, options or CorpusConfig(), advance)
    faults, rates = check_headers(corpus.recordings, advance)
    faults += corpus.faults
    if faults:
        error = FaultyTableError(corpus.where, faults)
        for note in corpus.notes:  # of what is unpacked in part, the faults alone do not show
            error.add_note(note)
        raise error
    if not corpus.recordings:
        raise InputError(f"{corpus.where}: no recordings")
    notes = [*describe(corpus.recordings), *corpus.notes, *rates, *find_leaks(corpus.recordings)]
    return Corpus(corpus.recordings, notes, corpus.where)


def _read(data: str | Path, options: CorpusConfig, advance: Advance) -> Corpus:
    place = Path(data)
    # Not the methods of Path, which raise where a name is too long or a folder may not be entered.
    if os.path.isdir(place) and not os.path.exists(place / TABLE_NAME):  # noqa: PTH110, PTH112
        read = next((read for fits, read in NAMED_CORPORA.values() if fits(place)), None)
        if read is None:
            raise InputError(f"{place}: the folder has no {TABLE_NAME}; {_NEEDED}")
        return read(dataclasses.replace(options, data_root=options.data_root or place), advance)
    if os.path.exists(place):  # noqa: PTH110
        return _read_table(place, options)
    if str(data).lower() in NAMED_CORPORA:
        return NAMED_CORPORA[str(data).lower()][1](options, advance)
    raise UsageError(
        f"{data}: no such file or folder, and no corpus of that name; known are {', '.join(NAMED_CORPORA)}"
    )


_NEEDED = "give a label table with the column path, and any of split, s_mos, n_mos, g_mos, pesq, stoi, sdi"
_FOR_TABLES = {"seed", "validation_share", "workers"}
"""Options that go with tables too."""


def _read_table(table: Path, options: CorpusConfig) -> Corpus:
    usual = CorpusConfig()
    unfit = [
        item.name
        for item in dataclasses.fields(options)
        if item.name not in _FOR_TABLES and getattr(options, item.name) != getattr(usual, item.name)
    ]
    if unfit:
        option = f"--{unfit[0].replace('_', '-')}"
        raise UsageError(f"{option} goes with {' and '.join(NAMED_CORPORA)}; {table} is a label table")
    parsed = parse_label_table(table)
    recordings, notes = parsed.recordings, parsed.notes
    if not parsed.has_splits:
        recordings, note = divided(recordings, options.validation_share, options.seed)
        notes = [*notes, note] if note else notes
    return Corpus(recordings, notes, parsed.table, parsed.faults)
