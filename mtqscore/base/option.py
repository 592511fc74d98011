"""Options said once: a field of a frozen dataclass with its default, TOML key, flag, help, limits and choices."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar, cast

from mtqscore.errors import UsageError

Value = TypeVar("Value")


@dataclass(frozen=True)
class Option:
    """Details that make a field an option; the field has its name, type and default.

    Args:
        help: one line for help pages.
        flag: spellings on the command line and what stands for the value, as in ``--quiet -q`` or ``--lr RATE``;
            without a value it is a choice of the type. Empty for a key of TOML files only.
        panel: group on help pages.
        within: smallest and largest number that is allowed.
        parse: plain value from text; from all texts if ``repeated``.
        repeated: the flag can be given again.
        choices: names to choose from, where the type does not list them.
        shown: default as help pages show it, where the field's own is not what holds.
    """

    help: str
    flag: str = ""
    panel: str | None = None
    within: tuple[float, float] | None = None
    parse: Callable[[Any], object] | None = None
    repeated: bool = False
    choices: Iterable[str] = ()
    shown: str | None = None

    @property
    def flags(self) -> list[str]:
        """The spellings."""
        return [word for word in self.flag.split() if word.startswith("-")]

    @property
    def metavar(self) -> str | None:
        """Text that stands for the value; None if the type says it."""
        return next((word for word in self.flag.split() if not word.startswith("-")), None)


def option(default: Value, help: str, flag: str = "", panel: str | None = None, **details: Any) -> Value:
    """Make a field of a dataclass that is an option too.

    Args:
        default: of the field; of a dict each object gets its own copy.
        help: as all others, see `Option`.
        flag: spellings and value.
        panel: group on help pages.
        details: more arguments of `Option`.
    """
    metadata = {"option": Option(help, flag, panel, **details)}
    if isinstance(default, dict):
        return field(default_factory=lambda: cast("Value", {**default}), metadata=metadata)
    return field(default=default, metadata=metadata)


def options_of(kind: type[Any]) -> dict[str, tuple[Option, Any]]:
    """Give the options of a dataclass and their defaults, by field."""
    found = {}
    for item in fields(kind):
        if "option" in item.metadata:
            default = item.default if item.default_factory is MISSING else item.default_factory()
            found[item.name] = (item.metadata["option"], default)
    return found


def check_limits(config: Any) -> None:
    """Refuse numbers outside the limits of their options; of a mapping every value.

    Raises:
        UsageError: one is outside.
    """
    for name, (known, _) in options_of(type(config)).items():
        if known.within is None:
            continue
        (low, high), value = known.within, getattr(config, name)
        for number in value.values() if isinstance(value, dict) else (value,):
            if number is not None and not low <= number <= high:
                raise UsageError(f"{name} {number:g} is outside {low:g} to {high:g}")
