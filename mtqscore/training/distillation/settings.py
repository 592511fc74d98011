"""The settings of a distillation from a TOML file and options. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mtqscore.base.schema import read_settings
from mtqscore.errors import UsageError
from mtqscore.training.config import TrainConfig
from mtqscore.training.settings import NO_TEACHER, NetworkFlags, train_settings


def distill_settings(
    file: Path | None, flags: Mapping[str, object], own: Mapping[str, object], network: NetworkFlags
) -> tuple[TrainConfig, tuple[str, ...] | None]:
    """Settle the settings of a distillation: option over file over default.

    Args:
        file: TOML file with the names of ``TrainConfig``, and those of ``DistillConfig`` in a table [distillation].
        flags: settings of training from the command line; None where the user gave none.
        own: those of distillation; None as above.
        network: options for the network.

    Returns:
        The settings, and the targets if anybody named them.

    Raises:
        UsageError: the file cannot be read, a name or value is wrong, or there is no teacher.
    """
    values = read_settings(file) if file is not None else {}
    table = values.get("distillation", {})
    if not isinstance(table, Mapping):
        raise UsageError(f"{file}: distillation is not a table; write [distillation] above its settings")
    merged = {**table, **{name: value for name, value in own.items() if value is not None}}
    if not merged.get("teachers"):
        raise UsageError("no teacher: name one or more with --teacher, or in a table [[distillation.teachers]]")
    # A student begins with fresh weights or --init; whom it learns from stands in its own table.
    settled = {**flags, "recipe": "scratch", "teacher": NO_TEACHER, "distillation": merged}
    config, _ = train_settings(file, settled, network)
    named = flags.get("targets") is not None or "targets" in values
    return config, config.targets if named else None
