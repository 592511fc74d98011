"""Commands whose options skip typer's conversion where there is nothing to convert."""

from __future__ import annotations

from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption


class PlainCommand(TyperCommand):
    """A command that starts without pydantic, which typer loads to convert any value, also one that nobody gave.

    A fifth of the processor time of a run over one file would go into that.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, the help option among them."""
        return [_plain(item) for item in super().get_params(ctx)]


class PlainGroup(TyperGroup):
    """As `PlainCommand`, for what stands before the name of a command."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, the help option among them."""
        return [_plain(item) for item in super().get_params(ctx)]


def _plain(parameter: Any) -> Any:
    """Let a parameter convert only what is not of its type; typer takes no classes of our own for them."""
    if type(parameter) is TyperArgument:
        parameter.__class__ = _PlainArgument
    elif type(parameter) is TyperOption:
        parameter.__class__ = _PlainOption
    return parameter


class _PlainArgument(TyperArgument):
    def process_value(self, ctx: Any, value: Any) -> Any:
        return _called_back(self, ctx, value) if _is_plain(self, value) else super().process_value(ctx, value)


class _PlainOption(TyperOption):
    def process_value(self, ctx: Any, value: Any) -> Any:
        return _called_back(self, ctx, value) if _is_plain(self, value) else super().process_value(ctx, value)


def _is_plain(parameter: Any, value: Any) -> bool:
    """Check for a value that is of the parameter's type, or absent where it may be."""
    kind = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)  # typer before 0.29 has none
    if kind is None or parameter.required:
        return False
    if kind == list[str] and isinstance(value, list | tuple):
        return all(isinstance(item, str) for item in value)
    return value is None or type(value) is kind


def _called_back(parameter: Any, ctx: Any, value: Any) -> Any:
    return value if parameter.callback is None else parameter.callback(ctx, parameter, value)
