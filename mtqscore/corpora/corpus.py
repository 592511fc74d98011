"""What a corpus is once it has been read, and what a user may ask of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mtqscore.errors import UsageError
from mtqscore.labels.table import Fault, LabelledRecording

LABEL_SOURCES = ("references", "quality", "given")
VALIDATION_UNITS = ("sentence", "file")

Advance = Callable[[int, int], None]
"""Takes how many of how many are done."""


@dataclass(frozen=True)
class CorpusConfig:
    """How a named corpus is found, labelled and split; the draw also divides tables without splits.

    Args:
        data_root: its unpacked folder, or the one above.
        three_quest_scores: the owner's CSV of 3QUEST scores; S, N and G then come from it alone.
        pesq_stoi_list: the published list of PESQ and STOI; these two then come from it alone.
        clean_folder: further clean references, searched through.
        labels: ``references`` judges against clean twins; ``quality`` takes listeners' overall quality as G;
            ``given`` computes nothing.
        validation_share: share of the training recordings that validate.
        validation_by: ``sentence`` keeps all recordings of a sentence together; ``file`` draws files.
        seed: of that draw.
        workers: processes that judge; 0 for one a core.
    """

    data_root: Path | None = None
    three_quest_scores: Path | None = None
    pesq_stoi_list: Path | None = None
    clean_folder: Path | None = None
    labels: str = "references"
    validation_share: float = 0.1
    validation_by: str = "sentence"
    seed: int = 1
    workers: int = 0

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
    """A corpus that can be trained on.

    Args:
        recordings: all of them.
        notes: what the user should know, one line each.
        where: the table or folder that it was read from.
        faults: what is wrong; `reading.read_corpus` adds those of the recordings and returns no corpus with any.
    """

    recordings: list[LabelledRecording]
    notes: list[str]
    where: Path
    faults: list[Fault] = field(default_factory=list)
