"""Options of the command line, made from the fields of frozen config classes; see `mtqscore.base.option`."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from types import MappingProxyType
from typing import Annotated, Any

import typer

from mtqscore.base.option import Option, options_of

Given = Mapping[str, Any]
"""Plain values by field, of the options that the user gave."""

NOTHING: Mapping[str, Any] = MappingProxyType({})

Command = Callable[..., None]


def takes(**kinds: type[Any] | tuple[type[Any], Iterable[str]]) -> Callable[[Command], Command]:
    """Let a command take options of config classes: each parameter of these names gets what the user gave.

    Args:
        kinds: a config class, or one and the fields that are wanted, by name of the parameter.
    """

    def decorate(command: Command) -> Command:
        made = {name: _parameters(name, kind) for name, kind in kinds.items()}
        flat = [inspect.Parameter("context_", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)]
        for item in inspect.signature(command, eval_str=True).parameters.values():
            of_config = made.get(item.name)
            flat += of_config.values() if of_config else [item.replace(kind=inspect.Parameter.KEYWORD_ONLY)]

        @wraps(command)
        def call(context_: typer.Context, **values: Any) -> None:
            for name, parameters in made.items():
                given = {}
                for (field, parse), item in parameters.items():
                    value = values.pop(item.name)
                    if getattr(context_.get_parameter_source(item.name), "name", "") == "COMMANDLINE":
                        given[field] = value if parse is None else parse(value)
                values[name] = given
            command(**values)

        vars(call).pop("__wrapped__")  # whose signature would be taken for this one's
        vars(call)["__signature__"] = inspect.Signature(flat)
        call.__annotations__ = {item.name: item.annotation for item in flat}
        return call

    return decorate


def _parameters(
    prefix: str, kind: type[Any] | tuple[type[Any], Iterable[str]]
) -> dict[tuple[str, Callable[[Any], object] | None], inspect.Parameter]:
    """Make parameters by field and parser; two configs of a command may have fields of one name."""
    config, wanted = (kind, None) if isinstance(kind, type) else kind
    hints = typing.get_type_hints(config)
    return {
        (name, known.parse): _parameter(f"{prefix}_{name}", hints[name], known, default)
        for name, (known, default) in options_of(config).items()
        if known.flags and (wanted is None or name in wanted)
    }


def _parameter(name: str, hint: Any, known: Option, default: Any) -> inspect.Parameter:
    kind, choices = _plain(hint)
    choices = tuple(known.choices) or choices
    help_text, shown = known.help, known.shown
    if known.repeated:
        kind, help_text = list[str], f"{help_text} Can be given again."
    # What the user did not give is not used: a default is here for the help page alone.
    if shown is not None or not isinstance(default, kind if not known.repeated else list):
        text = shown or (str(default) if default else None)
        default = [text] if known.repeated and text else text
    details: dict[str, Any] = {"autocompletion": lambda: [*choices]} if choices else {}
    made = typer.Option(
        *known.flags,
        metavar=known.metavar or "|".join(choices),
        help=help_text,
        rich_help_panel=known.panel,
        show_default=default not in (None, ""),
        **details,
    )
    annotation: Any = Annotated[kind if default is not None else kind | None, made]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _plain(hint: Any) -> tuple[Any, tuple[str, ...]]:
    """Give the type that a command line converts to, and the choices of a literal."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(member for member in typing.get_args(hint) if member is not type(None))
    if typing.get_origin(hint) is typing.Literal:
        return str, tuple(map(str, typing.get_args(hint)))
    return (hint if hint in (bool, int, float) else str), ()
