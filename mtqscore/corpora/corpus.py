"""A corpus that has been read, the options for reading one, and the search for its unpacked data."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mtqscore.base.option import option
from mtqscore.errors import EnvironmentProblemError, UsageError
from mtqscore.labels.table import Fault, LabelledRecording

LABEL_SOURCES = ("references", "quality", "given")
DATA = "Data"
"""Group of the help page."""

VALIDATION_UNITS = ("sentence", "file")
DATA_VARIABLE = "MTQSCORE_DATA"

Advance = Callable[[int, int], None]
"""Takes how many of how many are done."""


@dataclass(frozen=True)
class CorpusConfig:
    """Options of corpora that are known by name; the draw also divides tables without splits."""

    data_root: Path | None = option(
        None, "Unpacked folder of a named corpus, or the one above.", "--data-root DIR", DATA, parse=Path
    )
    three_quest_scores: Path | None = option(
        None,
        "3QUEST scores of a named corpus, as CSV; S, N and G then come from it alone.",
        "--three-quest-scores FILE",
        DATA,
        parse=Path,
    )
    pesq_stoi_list: Path | None = option(
        None,
        "Published PESQ and STOI of a named corpus; these two then come from it alone.",
        "--pesq-stoi-list FILE",
        DATA,
        parse=Path,
    )
    clean_folder: Path | None = option(
        None, "More clean references of a named corpus, searched through.", "--clean-folder DIR", DATA, parse=Path
    )
    labels: str = option(
        "references",
        "Of a named corpus: score against clean references, take listeners' quality as G, or compute nothing.",
        "--labels",
        DATA,
        choices=LABEL_SOURCES,
    )
    validation_share: float = option(0.1, "Share of the training recordings that validate.")
    validation_by: str = option("sentence", "Keep all recordings of a sentence together, or draw files.")
    seed: int = option(
        1,
        "Draws the validation recordings of a named corpus, or of a table without the column split.",
        "--split-seed N",
        DATA,
    )
    workers: int = option(0, "Processes; 0 for one a core.")

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            UsageError: a choice is unknown, a share is none, or two choices exclude each other.
        """
        if self.labels not in LABEL_SOURCES:
            raise UsageError(f"--labels {self.labels}: choose one of {', '.join(LABEL_SOURCES)}")
        if self.validation_by not in VALIDATION_UNITS:
            raise UsageError(f"validation by {self.validation_by!r}: choose one of {', '.join(VALIDATION_UNITS)}")
        if not 0 < self.validation_share < 1:
            raise UsageError(f"a validation share of {self.validation_share:g}: give one between 0 and 1")
        if self.labels == "quality" and self.three_quest_scores is not None:
            raise UsageError(
                "G comes from --three-quest-scores or from listeners (--labels quality), not from both; leave one out"
            )


@dataclass(frozen=True)
class Corpus:
    """A corpus that can be trained on: recordings, notes for the user, and the table or folder that it was read from.

    `reading.read_corpus` adds faults of the recordings and returns no corpus with any.
    """

    recordings: list[LabelledRecording]
    notes: list[str]
    where: Path
    faults: list[Fault] = field(default_factory=list)


def find_data(root: Path | None, names: Sequence[str], fits: Callable[[Path], bool], where_to_get: str) -> Path:
    """Find the folder of a corpus.

    Args:
        root: what the user named, the folder itself or one above it; then nothing else counts. If None,
            ``MTQSCORE_DATA``; without it the working folder, ``data`` in it, and ``corpora`` in the user's own
            folder of mtqscore.
        names: what the folder may be called, its usual name first.
        fits: whether a folder holds the corpus.
        where_to_get: the end of the message when it is nowhere.

    Raises:
        EnvironmentProblemError: it is nowhere; the message says where it can be got and what to put where.
    """
    from mtqscore.models.registry import own_folder  # a page of help shows the options here, and starts without

    named = root or os.environ.get(DATA_VARIABLE)
    for place in [Path(named)] if named else [Path(), Path("data"), own_folder() / "corpora"]:
        # A zip unpacked into a folder of the same name is in one of the inner two.
        inner = [place / name for name in names]
        folders = (place, *inner, *(folder / name for folder in inner for name in names))
        if (found := next(filter(fits, folders), None)) is not None:
            return found
    where = named or f"this folder, ./data or {own_folder() / 'corpora'}"
    raise EnvironmentProblemError(
        f"{names[0]} is not in {where}: {where_to_get}, and name the folder with --data-root DIR or {DATA_VARIABLE}"
    )
