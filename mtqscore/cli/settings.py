"""Settings of a project for all its runs: ``mtqscore.toml``, or ``[tool.mtqscore]`` in pyproject.toml."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtqscore.config import AssessConfig
from mtqscore.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mtqscore.analysis.gates import Gate, Level

OWN_NAME = "mtqscore.toml"
SHARED_NAME = "pyproject.toml"
KEYS = ("model", "device", "channels", "fail-under", "warn-under", "gates", "max-drop")
GATE_KEYS = ("expect", "level", "paths")

_MAYBE_TABLE = r"""^\s*\[*\s*["']?tool["']?\s*(\.\s*["']?mtqscore|\]|=)"""
"""Lines of which one is in every file that has the table, however it is written."""


@dataclass(frozen=True)
class GateEntry:
    """A gate as it was written (``source`` says where), before the targets of the model are known."""

    text: str
    level: Level
    paths: str | None = None
    source: str = "gates"


@dataclass(frozen=True)
class Settings:
    """The settings of a project; ``source`` is their file, and None is what is not set."""

    source: Path | None = None
    model: str | None = None
    device: str | None = None
    channels: str | None = None
    gates: tuple[GateEntry, ...] = ()
    max_drop: Mapping[str, float] = field(default_factory=dict)

    def assess_config(self, given: Mapping[str, Any]) -> AssessConfig:
        """Settle the options of an assessment: what was given over these settings over the defaults.

        Raises:
            UsageError: a value is outside what is allowed.
        """
        values: dict[str, Any] = {"model": self.model, "device": self.device, "channels": self.channels}
        values |= {name: value for name, value in given.items() if value != ""}
        return AssessConfig(**{name: value for name, value in values.items() if value is not None})


def find_settings(start: Path | None = None) -> Settings:
    """Settings of the nearest folder that has any, from ``start`` (the current folder) upwards.

    Raises:
        UsageError: a file cannot be read, or holds an unknown name or a wrong value.
    """
    try:
        folder = Path.cwd() if start is None else start.absolute()
    except OSError:  # the current folder is gone, and its settings with it
        return Settings()
    for place in (folder, *folder.parents):
        # os.path.isfile passes over what may not be looked at, and is the fastest: every start pays for this.
        if os.path.isfile(own := f"{place}{os.sep}{OWN_NAME}"):  # noqa: PTH113
            return read_settings(Path(own))
        if os.path.isfile(shared := f"{place}{os.sep}{SHARED_NAME}"):  # noqa: PTH113
            values = _read_shared(Path(shared))
            if values is not None:
                return _settle(Path(shared), values)
    return Settings()


def read_settings(file: Path) -> Settings:
    """Read one file; in a pyproject.toml the table ``[tool.mtqscore]``.

    Raises:
        UsageError: as `find_settings`.
    """
    if file.name != SHARED_NAME:
        return _settle(file, _parse(file, _read(file)))
    values = _read_shared(file)
    if values is None:
        raise UsageError(f"{_name(file)}: has no table [tool.mtqscore]")
    return _settle(file, values)


def parse_gates(entries: Sequence[GateEntry], targets: Sequence[str]) -> list[Gate]:
    """Turn entries into gates, now that the model's targets are known.

    Raises:
        UsageError: an entry is no gate; the message names where it was written.
    """
    if not entries:
        return []
    from mtqscore.analysis.gate_grammar import parse_gate

    gates = []
    for entry in entries:
        try:
            gate = parse_gate(entry.text, targets, entry.level, entry.paths)
        except UsageError as error:
            raise UsageError(f"{entry.source}: {error}") from error
        gates.append(replace(gate, source=entry.source))
    return gates


# --- reading --------------------------------------------------------------------------------------------------


def _name(file: Path) -> str:
    from mtqscore.base.text import printable

    return printable(str(file))


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{_name(file)}: not a TOML file: it is not UTF-8") from error
    except (OSError, ValueError) as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UsageError(f"{_name(file)}: cannot read the settings: {text}") from error


def _parse(file: Path, text: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{_name(file)}: not a TOML file: {error}") from error


def _read_shared(file: Path) -> object:
    """The table of mtqscore in a pyproject.toml; None if it has none."""
    text = _read(file)
    # Most have not: then neither the time of the parser matters nor a fault elsewhere in the file.
    if "mtqscore" not in text or not re.search(_MAYBE_TABLE, text, re.MULTILINE):
        return None
    tool = _parse(file, text).get("tool")
    return tool.get("mtqscore") if isinstance(tool, dict) else None


# --- from plain values to settings ------------------------------------------------------------------------------


def _settle(file: Path, values: object) -> Settings:
    where = _name(file)
    if not isinstance(values, Mapping):
        raise UsageError(f"{where}: mtqscore must be a table")
    if isinstance(values.get("tool") or values.get("mtqscore"), Mapping):
        raise UsageError(f"{where}: here settings stand at the top; [tool.mtqscore] is for pyproject.toml")
    _refuse_unknown(where, values, KEYS)
    model = _text(where, values, "model")
    if type(values.get("channels")) is int:  # a bare number is what one would write in TOML for a channel
        values = {**values, "channels": str(values["channels"])}
    settings = Settings(
        source=file,
        model=model if model is None else _beside(file, model),
        device=_text(where, values, "device"),
        channels=_text(where, values, "channels"),
        gates=(*_listed(where, values, "fail-under"), *_listed(where, values, "warn-under"), *_tables(where, values)),
        max_drop=_drops(where, values.get("max-drop", {})),
    )
    try:
        AssessConfig(device=settings.device or "auto", channels=settings.channels or "mean")
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    return settings


def _refuse_unknown(where: str, values: Mapping[str, object], known: Iterable[str]) -> None:
    for name in values:
        if name not in known:
            from difflib import get_close_matches

            near = get_close_matches(name.lower().replace("_", "-"), list(known), 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise UsageError(f"{where}: unknown setting {name!r}; {hint}")


def _text(where: str, values: Mapping[str, object], name: str) -> str | None:
    value = values.get(name)
    if value is not None and (not isinstance(value, str) or not value):
        raise UsageError(f"{where}: {name} must be text, not {value!r}")
    return value


def _beside(file: Path, model: str) -> str:
    """A model that is a file lies relative to the settings; a bundled name stays one."""
    from mtqscore.models import is_path

    return str(file.parent / Path(model).expanduser()) if is_path(model) else model


def _listed(where: str, values: Mapping[str, object], name: str) -> list[GateEntry]:
    from mtqscore.analysis.gates import Level

    value = values.get(name, [])
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UsageError(f'{where}: {name} must be a gate or a list of gates, such as "g>=3.2", not {value!r}')
    level = Level.ERROR if name == "fail-under" else Level.WARN
    return [GateEntry(text, level, source=f"{where}: {name}") for text in texts]


def _tables(where: str, values: Mapping[str, object]) -> list[GateEntry]:
    from mtqscore.analysis.gates import Level

    tables = values.get("gates", [])
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        raise UsageError(f'{where}: gates must be tables; write [[gates]] and below it expect = "g>=3.2"')
    entries = []
    for number, table in enumerate(tables, 1):
        place = f"{where}: gates, entry {number}"
        _refuse_unknown(place, table, GATE_KEYS)
        expect, level = _text(place, table, "expect"), _text(place, table, "level") or Level.ERROR
        if expect is None:
            raise UsageError(f'{place}: expect is missing; write expect = "g>=3.2"')
        if level not in list(Level):
            raise UsageError(f'{place}: level must be "error" or "warn", not {level!r}')
        entries.append(GateEntry(expect, Level(level), _text(place, table, "paths"), place))
    return entries


def _drops(where: str, table: object) -> dict[str, float]:
    if not isinstance(table, Mapping):
        raise UsageError(f"{where}: max-drop must be a table, such as max-drop = {{ g = 0.1 }}")
    for name, value in table.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value < 0:
            raise UsageError(f"{where}: max-drop: {name} must be a number from 0, not {value!r}")
    return {name: float(value) for name, value in table.items()}
