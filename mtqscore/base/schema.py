"""Configurations as plain values, as JSON and TOML hold them, and back."""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from mtqscore.errors import UsageError

Config = TypeVar("Config")


def read_settings(file: Path) -> dict[str, object]:
    """Read a TOML file as plain values.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file}: cannot read the configuration: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: not a TOML file: {error}") from error


def from_plain(kind: type[Config], values: Mapping[str, object], where: str) -> Config:
    """Build a configuration from plain values, as JSON and TOML hold them.

    Args:
        kind: the configuration's class.
        values: name to value; nested configurations are mappings.
        where: named in messages.

    Returns:
        The configuration, with defaults for what is absent.

    Raises:
        UsageError: a name is unknown or missing, or a value has the wrong type.
    """
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise UsageError(f"{where}: unknown setting {', '.join(unknown)}; known are {', '.join(hints)}")
    fields = dataclasses.fields(typing.cast("Any", kind))
    missing = [one.name for one in fields if _is_required(one) and one.name not in values]
    if missing:
        raise UsageError(f"{where}: lacks {', '.join(missing)}")
    return kind(**{name: _convert(hints[name], value, f"{where}: {name}") for name, value in values.items()})


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def to_plain(config: Any) -> dict[str, Any]:
    """Turn a configuration (a dataclass) into plain values for JSON; tuples become lists, paths text."""
    import msgspec

    return typing.cast("dict[str, Any]", msgspec.to_builtins(config, enc_hook=str))


def _convert(hint: Any, value: object, where: str) -> Any:
    import msgspec

    members = typing.get_args(hint)
    configs = [member for member in (*members, hint) if dataclasses.is_dataclass(member)]
    if configs and isinstance(value, Mapping):
        return from_plain(_chosen(configs, value, where), value, where)
    if typing.get_origin(hint) is tuple and isinstance(value, list | tuple):
        return tuple(_convert(members[0], item, where) for item in value)
    if configs and value is None and type(None) in members:
        return None
    if typing.get_origin(hint) is typing.Literal and value not in members:
        raise UsageError(f"{where}: {value!r} is none of {', '.join(map(str, members))}")
    if hint is str and type(value) is int:  # a name that is a number, as in `layers = 5`
        return str(value)
    try:
        if configs:
            raise msgspec.ValidationError("Expected a table")
        return msgspec.convert(value, hint, dec_hook=lambda wanted, given: wanted(given))
    except (msgspec.ValidationError, TypeError) as error:
        raise UsageError(f"{where}: {value!r} is not of the expected kind: {error}") from error


def _chosen(configs: list[Any], value: Mapping[str, object], where: str) -> Any:
    """Choose the configuration whose ``kind`` a table names; the first if it names none."""
    if len(configs) == 1:
        return configs[0]
    by_kind = {member.kind: member for member in configs}
    kind = value.get("kind", configs[0].kind)
    if kind not in by_kind:
        raise UsageError(f"{where}: kind {kind!r} is none of {', '.join(by_kind)}")
    return by_kind[kind]
