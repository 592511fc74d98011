"""Scores of recordings that their owners keep in tables of their own: 3QUEST, PESQ and STOI, listeners' means."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from mtqscore.corpora.tmhint_names import CHALLENGE_PREFIX, parse_name
from mtqscore.errors import InputError
from mtqscore.labels.table import Fault, FaultyTableError
from mtqscore.targets import MOS_HIGH, MOS_LOW, PESQ, STOI

Scores = dict[str, dict[str, float]]
"""Targets by recording; a recording is its file name without folder, ending and the challenge's prefix."""

_FILE_TITLES = ("file", "filename", "filepath", "path", "wav", "wavfile", "recording", "name", "uttid", "utt", "id")
_SCORE_TITLES = {"s_mos": ("smos", "s", "sig"), "n_mos": ("nmos", "n", "bak"), "g_mos": ("gmos", "g", "ovrl", "ovr")}
"""Titles in plain letters, the clearest first."""

_PUBLISHED_PESQ_SCALE = 4.5
"""The published list holds raw narrowband P.862 over 4.5: clean recordings have exactly 1."""


def stem_of(name: str) -> str:
    """Return what a recording is known by, whatever folders and endings stand around it.

    Example:
        >>> stem_of("C:\\\\data\\\\VoiceMOS2023Track3-clean_TMHINT_b2_22_06.WAV")
        'clean_TMHINT_b2_22_06'
    """
    base = PurePosixPath(name.strip().replace("\\", "/")).name
    return re.sub(r"(?i)\.wav$", "", base).removeprefix(CHALLENGE_PREFIX)


def read_three_quest(table: Path) -> Scores:
    """Read the 3QUEST scores of a corpus' owner.

    Separated by commas, semicolons (decimal commas are then allowed) or tabs; the titles are matched freely: a file
    column (``file``, ``path``, ``name`` …) and any of S-MOS, N-MOS, G-MOS (also ``S``, ``S-MOS-LQO``, ``SIG`` …).

    Args:
        table: the CSV file, in UTF-8.

    Raises:
        InputError: it cannot be read or is no such table.
        FaultyTableError: cells are faulty, or a recording has two different scores.
    """
    lines = _lines(table)
    _, header = next(lines, (0, ""))
    separator = max(",;\t", key=header.count)
    titles = [_plain_title(cell) for cell in next(csv.reader([header], delimiter=separator), [])]
    columns = {target: _column(titles, names) for target, names in _SCORE_TITLES.items()}
    file_column = _column(titles, _FILE_TITLES)
    if file_column is None or all(column is None for column in columns.values()):
        raise InputError(
            f"{table}: not a table of scores: it needs a column file and any of s_mos, n_mos, g_mos; "
            f"it begins with {header.strip()[:80]!r}"
        )
    scores: Scores = {}
    faults: list[Fault] = []
    for line, text in lines:
        cells = [cell.strip() for cell in next(csv.reader([text], delimiter=separator), [])]
        if not any(cells):
            continue
        cells += [""] * (len(titles) - len(cells))
        if not cells[file_column]:
            faults.append(Fault(line, "no file name"))
            continue
        found = {}
        for target, column in columns.items():
            cell = "" if column is None else cells[column]
            value = _number(cell if separator == "," else cell.replace(",", "."))
            if value is not None and MOS_LOW <= value <= MOS_HIGH:
                found[target] = value
            elif cell:
                faults.append(Fault(line, f"{target} {cell!r} is not a number from 1 to 5"))
        if scores.setdefault(stem_of(cells[file_column]), found) != found:
            faults.append(Fault(line, f"{cells[file_column]!r} has other scores above"))
    if faults:
        raise FaultyTableError(table, faults)
    return scores


def read_pesq_stoi(table: Path) -> Scores:
    """Read the list of PESQ and STOI that is published with MTI-Net: lines of ``PESQ over 4.5,STOI,path``.

    Raises:
        InputError: it cannot be read.
        FaultyTableError: a line is no such line.
    """
    scores: Scores = {}
    faults = []
    for line, text in _lines(table):
        if not text.strip():
            continue
        first, _, rest = text.strip().partition(",")
        second, _, path = rest.partition(",")
        pesq, stoi = _number(first), _number(second)
        if pesq is None or stoi is None or not path or not (0 <= pesq <= 1 and STOI.low <= stoi <= STOI.high):
            faults.append(Fault(line, f"{text.strip()[:80]!r} is not PESQ (0 to 1), STOI (0 to 1), path"))
            continue
        scores[stem_of(path)] = {PESQ.name: _PUBLISHED_PESQ_SCALE * pesq, STOI.name: stoi}
    if faults:
        raise FaultyTableError(table, faults)
    return scores


def read_means(table: Path) -> dict[str, float]:
    """Read a list of recordings of TMHINT-QI with listeners' mean quality, with or without titles.

    Returns:
        The quality of each recording, NaN where there is none from 1 to 5; other lines are passed over.

    Raises:
        InputError: it cannot be read.
    """
    means: dict[str, float] = {}
    for _, text in _lines(table):
        cells = next(csv.reader([text]), [])
        stem = next((stem for cell in cells if parse_name(stem := stem_of(cell)) is not None), None)
        if stem is None:
            continue
        numbers = [value for cell in cells if (value := _number(cell)) is not None and MOS_LOW <= value <= MOS_HIGH]
        means[stem] = numbers[0] if numbers else math.nan
    return means


def check_any_known(table: Path, scores: Mapping[str, object], known: Mapping[str, object]) -> None:
    """Refuse a table that names not one recording of the corpus, with an ``InputError``."""
    if not scores.keys() & known.keys():
        theirs, ours = (next(iter(names), "nothing") for names in (scores, known))
        raise InputError(f"{table}: names no recording of the corpus; it has {theirs}, the corpus {ours}")


def _lines(table: Path) -> Iterator[tuple[int, str]]:
    try:
        text = table.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{table}: cannot read the table: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{table}: not a text in UTF-8: {error}") from error
    yield from enumerate(text.split("\n"), start=1)


def _plain_title(title: str) -> str:
    plain = re.sub(r"[\W_]", "", title).lower().removeprefix("3quest").removeprefix("threequest")
    return re.sub(r"(score|lqo[nw]?|lqs)$", "", plain)


def _column(titles: list[str], names: tuple[str, ...]) -> int | None:
    return next((titles.index(name) for name in names if name in titles), None)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
