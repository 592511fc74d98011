"""Grammar of gates: a metric or a statistic of it, a sign, a limit, and perhaps a pattern of names."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from mtqscore.analysis.gates import SIGNS, Bound, Gate, Level
from mtqscore.base.patterns import matches
from mtqscore.errors import UsageError
from mtqscore.targets import MOS_HIGH, MOS_LOW

STATISTICS = ("mean", "median", "min", "max", "share", "p00 to p100")
EXAMPLES = "'g>=3.2', 'mean(s)>=3.5', 'p05(n)>=2.8', 'share(g>=3)>=0.95', 'g>=3 in street/**'"

_LIMIT = r"\s*(?P<sign>>=|>|<=|<|≥|≤)\s*(?P<limit>[^\s=]\S*)\s*"
_BARE = re.compile(r"(?P<inner>[^()<>≥≤=]*)" + _LIMIT)
_STATISTIC = re.compile(r"\s*(?P<name>[\w.]+)\s*\((?P<inner>[^()]*)\)" + _LIMIT)
_PERCENTILE = re.compile(r"p(\d{1,3})(\.\d{1,6})?", re.ASCII)
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)(e[-+]?\d+)?", re.ASCII | re.IGNORECASE)


def parse_gate(text: str, targets: Sequence[str], level: Level = Level.ERROR, paths: str | None = None) -> Gate:
    """Read a gate; ``g>=3.2 in enhanced/**`` limits it to a pattern.

    Args:
        text: the gate as a user wrote it.
        targets: names of the scores that the model gives.
        level: whether it fails the run or only warns.
        paths: pattern of the recordings it is limited to; None is all, or what the text says.

    Raises:
        UsageError: the text is no gate, its metric or statistic is unknown, its limit makes no sense, or it has two
            patterns.

    Example:
        >>> parse_gate("mean(s)>=3.5 in street/**", ("s_mos", "n_mos", "g_mos")).paths
        'street/**'
    """
    try:
        return _read(text, targets, level, paths)
    except UsageError as error:
        raise UsageError(f"gate {text!r}: {error}") from error


def _read(text: str, targets: Sequence[str], level: Level, paths: str | None) -> Gate:
    demand, *found = re.split(r"\s+in(?:\s+|$)", text.strip(), maxsplit=1)
    for pattern in found:
        if paths is not None:
            raise UsageError(f"it has two patterns, {pattern!r} and {paths!r}")
        paths = pattern
    if paths is not None:
        matches(paths, None)  # refuses what is no pattern
    if bare := _BARE.fullmatch(demand):
        target, bound = _judged(bare, targets)
        return Gate(f"{_short(target)}{_shown(bound)}", target, "every", bound, level=level, paths=paths)
    outer = _STATISTIC.fullmatch(demand)
    if outer is None:
        raise UsageError(f"it cannot be understood{_slip(demand)}; gates are written like {EXAMPLES}")
    statistic = _statistic(outer["name"])
    condition: Bound | None = None
    if statistic == "share":
        inner = _BARE.fullmatch(outer["inner"])
        if inner is None:
            raise UsageError("share needs a condition in its brackets, as in 'share(g>=3)>=0.95'")
        target, condition = _judged(inner, targets)
        bound = _bound(outer, 0.0, 1.0)
    else:
        target, bound = _judged(outer, targets)
    shown = f"{statistic}({_short(target)}{_shown(condition) if condition else ''}){_shown(bound)}"
    return Gate(shown, target, statistic, bound, condition, level, paths)


def _slip(demand: str) -> str:
    """Explain one of the usual slips in a text that is no gate; empty for others."""
    signs = re.findall("[<>=≥≤]+", re.sub(r"\(.*\)", "", demand))
    strange = [sign for sign in signs if sign not in (*SIGNS, "≥", "≤")]
    if strange:
        return f", {strange[0]!r} is none of the signs {' '.join(SIGNS)}"
    return ", it looks like several: write a gate for each" if len(signs) > 1 else ""


def _judged(found: re.Match[str], targets: Sequence[str]) -> tuple[str, Bound]:
    """The metric of a match and the bound of it or of its statistic."""
    target = find_target(found["inner"].strip(), targets)
    scale = (MOS_LOW, MOS_HIGH) if target.endswith("_mos") else (-math.inf, math.inf)
    return target, _bound(found, *scale)


def find_target(written: str, targets: Sequence[str]) -> str:
    """Find the score that a user names: ``g``, ``G-MOS`` and ``g_mos`` are one.

    Raises:
        UsageError: it is none of ``targets``; the message names those.
    """
    known = {_folded(_short(target)): target for target in targets} | {_folded(target): target for target in targets}
    name = _folded(written)
    if name in known:
        return known[name]
    shorts = ", ".join(_short(target) for target in targets)
    raise UsageError(f"unknown metric {written!r}; {_near(name, known)}known are {shorts}")


def _statistic(written: str) -> str:
    name = written.lower()
    if name in STATISTICS:
        return name
    found = _PERCENTILE.fullmatch(name)
    if found and float(name[1:]) <= 100:
        return f"p{int(found[1]):02}" + (found[2] or "").rstrip("0").rstrip(".")
    raise UsageError(f"unknown statistic {written!r}; {_near(name, STATISTICS)}known are {', '.join(STATISTICS)}")


def _bound(found: re.Match[str], low: float, high: float) -> Bound:
    """The bound of a match; refused outside of low to high, where a slip would go unseen."""
    sign, text = found["sign"].replace("≥", ">=").replace("≤", "<="), found["limit"]
    if not _NUMBER.fullmatch(text) or not math.isfinite(limit := float(text)):
        raise UsageError(f"the limit {text!r} is not a number")
    if not low <= limit <= high:
        what = "always holds" if SIGNS[sign](low, limit) else "can never hold"
        raise UsageError(f"{sign}{text} {what}: values are from {low:g} to {high:g}")
    return Bound(sign, limit)


def _near(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), 1)
    return f"did you mean {near[0]}? " if near else ""


def _folded(name: str) -> str:
    """A metric's name as it is looked up: S-MOS, s_mos and S_Mos are one."""
    return name.lower().replace("-", "_")


def _short(target: str) -> str:
    return target.removesuffix("_mos")


def _shown(bound: Bound) -> str:
    return f"{bound.sign}{bound.limit:.12g}"
