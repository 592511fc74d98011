"""The settings of a run from a TOML file and options, with the defaults of its recipe. Loads no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mtqscore.base.option import option
from mtqscore.base.schema import from_plain, read_settings, to_plain
from mtqscore.errors import InputError, UsageError
from mtqscore.models import find_model, is_path
from mtqscore.targets import PSEUDO, SUPERVISED, TARGETS
from mtqscore.training.config import RECIPE, TrainConfig
from mtqscore.training.network_config import SIZES, CompactConfig, MosaNetConfig, MosSslConfig, XlsRSqaConfig
from mtqscore.training.weights import has_begun

NETWORKS = {kind.kind: kind for kind in (CompactConfig, MosaNetConfig, MosSslConfig, XlsRSqaConfig)}

TABLE, REFERENCES, NO_TEACHER = "table", "references", "none"
"""Teachers by word: the exact values of the label table, those from clean references, and nobody."""


@dataclass(frozen=True)
class NetworkFlags:
    """Options for the network; None where the user gave none."""

    kind: str | None = option(
        None, "Which network; that of the weights to begin with, or compact.", "--network", RECIPE, choices=NETWORKS
    )
    size: str | None = option(None, "Size of the network compact; base if not given.", "--size", RECIPE, choices=SIZES)
    ssl: str | None = option(None, "Self-supervised front end: wavlm-large …, or none.", "--ssl NAME", RECIPE)
    tune_ssl: bool | None = option(None, "Train the front end too, or keep it.", "--tune-ssl/--freeze-ssl", RECIPE)


@dataclass(frozen=True)
class RecipeInputs:
    """Places of what a recipe begins with, besides its settings: ``base`` is the folder of the label table.

    Without a choice of the user, the network is that of the weights to begin with. A run that has begun in ``folder``
    goes on there and needs no such weights.
    """

    base: Path
    init: Path | None = None
    references: Path | None = None
    network_is_chosen: bool = False
    folder: Path | None = None


def check_teacher(config: TrainConfig, folder: Path) -> None:
    """Refuse a teacher that is not there, or that has no weights to give, before a corpus is read for it.

    A run of the recipe kt that has begun in the folder needs its teacher no more.
    """
    choice = config.teacher
    # Not the methods of Path, which raise where a name is too long.
    is_here = os.path.exists(choice)  # noqa: PTH110
    if is_here or choice in (TABLE, REFERENCES, NO_TEACHER) or choice.startswith("hf:"):
        return
    if config.recipe == "kt" and has_begun(folder):
        return
    if is_path(choice):
        raise InputError(f"--teacher {choice}: no such run folder, checkpoint or ONNX file")
    try:
        find_model(choice)
    except UsageError as error:
        raise UsageError(f"--teacher {choice}: no such run folder or checkpoint, and {error}") from error


def train_settings(
    file: Path | None, flags: Mapping[str, object], network: NetworkFlags | None = None
) -> tuple[TrainConfig, bool]:
    """Settle the settings of a run: option over file over the recipe's default.

    Args:
        file: TOML file with the names of ``TrainConfig``.
        flags: values from the command line; None where the user gave none.
        network: options for the network, which change single settings of the file's table.

    Returns:
        The settings, and whether file or options choose the network.

    Raises:
        UsageError: the file cannot be read, a name or value is wrong, or two do not go together.
    """
    values = read_settings(file) if file is not None else {}
    given = {name: value for name, value in flags.items() if value is not None}
    from_plain(TrainConfig, given, "the options")  # so that a fault of theirs is not put down to the file
    values |= given
    chosen = _network(values.get("network", {}), network or NetworkFlags())
    if chosen:
        values["network"] = chosen
    where = str(file) if file is not None else "the options"
    if "distillation" in values and "distillation" not in given:
        raise UsageError(f"{where}: [distillation] is for mtqscore distill")
    if values.get("recipe", TrainConfig.recipe) != "mpl":  # which is without a teacher, on the targets of the paper
        values = {"teacher": NO_TEACHER, "targets": [target.name for target in SUPERVISED], **values}
    config = from_plain(TrainConfig, values, where)
    _check(config)
    return config, bool(chosen)


def _check(config: TrainConfig) -> None:
    known = [target.name for target in TARGETS]
    strangers = [name for name in config.targets if name not in known]
    if strangers or not config.targets:
        raise UsageError(f"targets {', '.join(strangers) or '(none)'}: choose from {', '.join(known)}")
    if config.recipe == "scratch" and config.teacher != NO_TEACHER:
        raise UsageError(f"the recipe scratch has no teacher; leave out {config.teacher}, or use --recipe kt or mpl")
    if config.recipe == "kt" and config.teacher in (NO_TEACHER, TABLE, REFERENCES):
        raise UsageError("--recipe kt needs --teacher: the run folder or checkpoint whose weights to begin with")
    if config.recipe != "mpl":
        return
    if config.teacher == NO_TEACHER:
        raise UsageError("--recipe mpl needs a teacher; without one it is --recipe scratch")
    pseudo = [target.name for target in PSEUDO]
    if not set(config.targets).intersection(pseudo):
        raise UsageError(
            f"--recipe mpl: none of {', '.join(pseudo)} is among the targets; without them it is --recipe scratch"
        )


def _network(table: object, flags: NetworkFlags) -> dict[str, object]:
    """Put options into the network's table, and the defaults of its kind under both; empty if neither says anything."""
    if not isinstance(table, Mapping):
        raise UsageError("network is not a table; write [network] above its settings")
    kind = flags.kind or table.get("kind", CompactConfig.kind)
    if not isinstance(kind, str) or kind not in NETWORKS:
        raise UsageError(f"network {kind}: choose one of {', '.join(NETWORKS)}")
    same = table.get("kind", CompactConfig.kind) == kind
    if flags == NetworkFlags() and not table:
        return {}
    size = flags.size or (table.get("size") if same else None)
    if size is not None and kind != CompactConfig.kind:
        raise UsageError(f"size {size}: only the network compact has named sizes, not {kind}")
    if size not in (None, *SIZES):
        raise UsageError(f"size {size}: choose one of {', '.join(SIZES)}")
    defaults = to_plain(NETWORKS[kind]() if size is None else SIZES[size])
    own = {name: value for name, value in table.items() if name != "size"} if same else {}
    made: dict[str, object] = {**defaults, **own}
    given = made.get("ssl")
    if isinstance(given, Mapping) and isinstance(defaults.get("ssl"), Mapping):
        made["ssl"] = given = {**defaults["ssl"], **given}
    if flags.ssl is None and flags.tune_ssl is None:
        return made
    if "ssl" not in defaults:
        raise UsageError(f"the network {kind} has no self-supervised front end; choose another with --network")
    if flags.ssl == "none":
        if defaults["ssl"] is not None or flags.tune_ssl:
            raise UsageError(f"--ssl none: the network {kind} rests on a front end, and a tuned one must be named")
        return {**made, "ssl": None}
    ssl = {**(given if isinstance(given, Mapping) else {})}
    ssl |= {"model": flags.ssl} if flags.ssl is not None else {}
    ssl |= {"tune": flags.tune_ssl} if flags.tune_ssl is not None else {}
    return {**made, "ssl": ssl}
