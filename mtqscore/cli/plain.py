"""Commands whose plain options are converted without typer's validation library, which is slow to load."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

PLAIN: dict[object, Any] = {str: str, int: int, float: float, bool: bool}
_NAMES = {int: "an integer", float: "a number"}


class PlainCommand(TyperCommand):
    """Converts text, numbers and lists of text itself; everything else, and every other typer, goes the usual way.

    typer 0.29 began to convert with pydantic, which is slow to import.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, the help option among them."""
        return [_make_plain(parameter) for parameter in super().get_params(ctx)]


class PlainGroup(TyperGroup):
    """As ``PlainCommand``, for what stands before the name of a command."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, the help option among them."""
        return [_make_plain(parameter) for parameter in super().get_params(ctx)]


class _PlainConversion:
    """Stands in for what typer would build at the first use of an option."""

    def __init__(self, annotation: Any) -> None:
        self._annotation = annotation

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        if self._annotation == list[str]:
            return list(value or ())
        if value is None:
            return None
        try:
            return PLAIN[self._annotation](value)
        except ValueError as error:
            wanted = _NAMES.get(self._annotation, "valid")
            raise typer.BadParameter(f"{value!r} is not {wanted}", ctx=ctx, param=param) from error


def _make_plain(parameter: Any) -> Any:
    annotation = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    if annotation in (list[str], *PLAIN) and getattr(parameter, "_runtime_param", parameter) is None:
        parameter._runtime_param = _PlainConversion(annotation)
        # Python's names of types tell a reader nothing: what takes a value says so with its metavar.
        parameter.display_type_rich = lambda **_: parameter.metavar
    return parameter
