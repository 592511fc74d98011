"""The options of an export. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from mtqscore.base.option import check_limits, option
from mtqscore.errors import UsageError
from mtqscore.training.config import names_of

IDENTITY, COMPARISON = "Identity of the file", "Comparison with torch"


@dataclass(frozen=True)
class ModelIdentity:
    """Metadata of a released file about its origin; ``producing_command`` is the command line."""

    name: str = option("mtqnet", "What users will type.", "--name NAME", IDENTITY)
    version: str = option("1", "Release of this name: numbers divided by dots.", "--version N[.N]", IDENTITY)
    conformance: str = option("1", "Number that is raised whenever scores move.", "--conformance N", IDENTITY)
    label_definition: str = option(
        "",
        "What the scores mean; if not given, that S, N and G are those of `mtqscore label`.",
        "--label-definition TEXT",
        IDENTITY,
    )
    training_corpora: str = option("not stated", "What the model learned from.", "--corpora TEXT", IDENTITY)
    licence: str = option("not stated", "Licence of the weights.", "--licence SPDX", IDENTITY)
    producing_command: str = ""


@dataclass(frozen=True)
class ExportConfig:
    """Options of an export besides the identity of the file.

    Raises:
        UsageError: no target is named, or there would be no recordings to compare on.
    """

    targets: tuple[str, ...] | None = option(
        None,
        "What the file estimates, of s_mos,n_mos,g_mos,pesq,stoi,sdi. If not given: those of the first three that the "
        "network has, or all if it has none of them; such a file is a --teacher of `mtqscore train`.",
        "--targets NAMES",
        parse=names_of,
    )
    calibration: str = option(
        "none",
        "val gives the estimates the spread of the validation labels; a file holds corner points.",
        "--calibration none|val|FILE.json",
    )
    clips: str | None = option(
        None,
        "Recordings to compare on; if not given, those of the run, else synthetic ones.",
        "--clips DIR",
        COMPARISON,
    )
    clip_count: int = option(40, "At most so many of them.", "--clip-count N", COMPARISON, within=(1, 1_000_000))

    def __post_init__(self) -> None:
        check_limits(self)
        if self.targets is not None and not self.targets:
            raise UsageError("--targets names nothing; give names divided by commas")
