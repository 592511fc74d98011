"""Configurations as plain values, as JSON and TOML hold them, and back."""

from __future__ import annotations

import dataclasses
import tomllib
import types
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
        UsageError: a name is unknown or a value has the wrong type.
    """
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise UsageError(f"{where}: unknown setting {', '.join(unknown)}; known are {', '.join(hints)}")
    return kind(**{name: _convert(hints[name], value, f"{where}: {name}") for name, value in values.items()})


def to_plain(config: Any) -> dict[str, Any]:
    """Turn a configuration (a dataclass) into plain values for JSON; tuples become lists, paths text."""

    def plain(value: object) -> object:
        if isinstance(value, tuple | list):
            return [plain(item) for item in value]
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return str(value) if isinstance(value, Path) else value

    return {name: plain(value) for name, value in dataclasses.asdict(config).items()}


def _convert(hint: Any, value: object, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    # Python's bool is an int. An int will do where a float is asked for, and for a name that is a number, as in
    # `layers = 5`; nothing else is bent into shape.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if origin in {types.UnionType, typing.Union} and value is None and type(None) in arguments:
        settled: Any = None
    elif origin in {types.UnionType, typing.Union}:
        settled = _convert(_member(arguments, value, where), value, where)
    elif dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        settled = from_plain(typing.cast("type[Any]", hint), value, where)
    elif origin is typing.Literal:
        if value not in arguments:
            raise UsageError(f"{where}: {value!r} is none of {', '.join(map(str, arguments))}")
        settled = value
    elif origin is tuple and isinstance(value, list | tuple):
        settled = tuple(_convert(arguments[0], item, where) for item in value)
    elif origin is dict and isinstance(value, Mapping):
        settled = {key: _convert(arguments[1], item, where) for key, item in value.items()}
    elif hint is Path and isinstance(value, str):
        settled = Path(value)
    elif hint is str and isinstance(value, int) and number:
        settled = str(value)
    elif hint is float and number:
        settled = float(typing.cast("float", value))
    elif isinstance(hint, type) and isinstance(value, hint) and (hint is not int or number):
        settled = value
    else:
        raise UsageError(f"{where}: {value!r} is not of the expected kind ({getattr(hint, '__name__', hint)})")
    return settled


def _member(members: tuple[Any, ...], value: object, where: str) -> Any:
    """Choose a member of a union: for a mapping the one by name, or the configuration whose ``kind`` it names."""
    members = tuple(member for member in members if member is not type(None))
    if len(members) == 1 or not isinstance(value, Mapping):
        return members[0]
    if by_name := [member for member in members if typing.get_origin(member) is dict]:
        return by_name[0]
    by_kind = {member.kind: member for member in members}
    kind = value.get("kind", members[0].kind)
    if kind not in by_kind:
        raise UsageError(f"{where}: kind {kind!r} is none of {', '.join(by_kind)}")
    return by_kind[kind]
