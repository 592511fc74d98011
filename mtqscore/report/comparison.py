"""Comparisons as text for a terminal, in Markdown, and as they stand in JSON."""

from __future__ import annotations

import math
from dataclasses import asdict

from mtqscore.analysis.compare import SHOWN, Change, Comparison, Difference
from mtqscore.analysis.means import LEVEL as INTERVAL_LEVEL
from mtqscore.base.text import printable, score_title, text_table
from mtqscore.report.markup import code, plain, table
from mtqscore.targets import DECIMALS

LEVEL = "95 %"
FEWEST_DECIMALS = 2


def comparison_lines(comparison: Comparison) -> list[str]:
    """Lay out differences, one sentence a score, the largest losses, and the circumstances, safe for a terminal."""
    lines = text_table(_difference_table(comparison), left={"result"})
    lines += ["", *sentences(comparison)]
    if comparison.losses:
        rows = [[*cells, printable(name)] for *cells, name in _loss_table(comparison)]
        lines += ["", *text_table(rows, left={"largest losses"})]
    return [*lines, "", *map(printable, _circumstances(comparison))]


def sentences(comparison: Comparison) -> list[str]:
    """One sentence a score: ``G-MOS fell by 0.12 (95 % 0.05 to 0.19)``."""
    return [_sentence(difference, _decimals(comparison)) for difference in comparison.differences]


def limits_line(comparison: Comparison) -> str:
    """One sentence: how many limits are not kept, and why; empty if there are no limits."""
    limited = [difference for difference in comparison.differences if difference.max_drop is not None]
    if not limited:
        return ""
    counted = "1 limit of a drop" if len(limited) == 1 else f"{len(limited)} limits of drops"
    failed = [_sentence(difference, _decimals(comparison)) for difference in limited if difference.failed]
    if failed:
        return f"{len(failed)} of {counted} not kept: {'; '.join(failed)}"
    return f"{counted} not judged: {Change.UNKNOWN}" if limited[0].change is Change.UNKNOWN else f"{counted} kept"


def comparison_markdown(comparison: Comparison) -> str:
    """The same as `comparison_lines`, as Markdown; names neither break a table, nor become HTML, nor ping anyone."""
    titles, *rows = _difference_table(comparison)
    parts = [table(titles, [[plain(cell) for cell in row] for row in rows])]
    parts.append("\n".join(f"- {plain(line)}" for line in sentences(comparison)))
    if comparison.losses:
        titles, *rows = _loss_table(comparison)
        parts.append(table([plain(title) for title in titles], [[*cells, code(name)] for *cells, name in rows]))
    parts.append("\n".join(f"- {plain(line)}" for line in _circumstances(comparison)))
    return "\n\n".join(parts) + "\n"


def comparison_as_dict(comparison: Comparison) -> dict[str, object]:
    """The comparison as it stands in JSON, without its pairs; null is what is not known."""

    def side(name: str) -> dict[str, object]:
        fields = {"source": "source", "model": "model", "scored": "rows", "unscored": "unscored"}
        found = {key: getattr(comparison, f"{name}_{field}") for key, field in fields.items()}
        return {**found, "unpaired": getattr(comparison, f"only_{name}")}

    return {
        "base": side("base"),
        "new": side("new"),
        "paired": comparison.paired,
        "matched_by": comparison.matched_by,
        "pairs": len(comparison.pairs),
        "passed": comparison.passed,
        "differences": [_difference_as_dict(difference) for difference in comparison.differences],
        "losses": [asdict(pair) for pair in comparison.losses],
        "missing": list(comparison.missing),
        "notes": list(comparison.notes),
    }


def _difference_as_dict(difference: Difference) -> dict[str, object]:
    interval = difference.interval
    known = math.isfinite(interval.low)
    return {
        "target": difference.target,
        "base": difference.base,
        "new": difference.new,
        "change": difference.mean,
        "low": interval.low if known else None,
        "high": interval.high if known else None,
        "level": INTERVAL_LEVEL,
        "better": difference.better,
        "worse": difference.worse,
        "result": str(difference.change),
        "max_drop": difference.max_drop,
        "failed": difference.failed,
    }


def _decimals(comparison: Comparison) -> int:
    """So few that figures are legible, so many that they show why each score is called what it is called."""
    return next((count for count in range(FEWEST_DECIMALS, DECIMALS) if _shows_enough(comparison, count)), DECIMALS)


def _shows_enough(comparison: Comparison, decimals: int) -> bool:
    for item in comparison.differences:
        low, high = round(item.interval.low, decimals), round(item.interval.high, decimals)
        if item.change in (Change.BETTER, Change.WORSE) and low * high <= 0:
            return False
        if item.max_drop is not None and not math.isnan(high) and (high < -item.max_drop) != item.failed:
            return False
        if item.interval.low < item.interval.high and low == high:
            return False
    return True


def _difference_table(comparison: Comparison) -> list[list[str]]:
    decimals = _decimals(comparison)
    counts = ["better", "worse"] if comparison.paired else []
    table = [["score", "base", "new", "change", LEVEL, *counts, "result"]]
    for item in comparison.differences:
        interval = item.interval
        known = math.isfinite(interval.low)
        span = f"{interval.low:+z.{decimals}f} to {interval.high:+z.{decimals}f}" if known else "–"
        counted = [str(item.better), str(item.worse)] if comparison.paired else []
        values = [f"{item.base:.{decimals}f}", f"{item.new:.{decimals}f}", f"{item.mean:+z.{decimals}f}"]
        result = f"FAILED: {item.change}" if item.failed else str(item.change)
        table.append([score_title(item.target), *values, span, *counted, result])
    return table


def _loss_table(comparison: Comparison) -> list[list[str]]:
    """Table of the largest losses, the name last and unchanged."""
    targets = [item.target for item in comparison.differences]
    table = [[*map(score_title, targets), "largest losses"]]
    for pair in comparison.losses:
        name = pair.new_path if pair.channel in ("", "mean") else f"{pair.new_path}, channel {pair.channel}"
        table.append([*(f"{pair.base[target]:.2f} to {pair.new[target]:.2f}" for target in targets), name])
    return table


def _sentence(item: Difference, decimals: int) -> str:
    low, high = sorted(map(abs, (item.interval.low, item.interval.high)))
    if item.change in (Change.BETTER, Change.WORSE):
        verb = "rose" if item.change is Change.BETTER else "fell"
        sure = f"({LEVEL} {low:.{decimals}f} to {high:.{decimals}f})"
        text = f"{score_title(item.target)} {verb} by {abs(item.mean):.{decimals}f} {sure}"
    elif item.change is Change.NOT_SIGNIFICANT:
        span = f"{item.interval.low:+z.{decimals}f} to {item.interval.high:+z.{decimals}f}"
        text = f"{score_title(item.target)} did not change significantly: {item.mean:+z.{decimals}f} ({LEVEL} {span})"
    else:
        text = f"{score_title(item.target)} has {item.change}: {item.mean:+z.{decimals}f}"
    if item.max_drop is None:
        return text
    limit = f"the {item.max_drop:g} that it may fall"
    if item.change is Change.UNKNOWN:
        return f"{text}, so {limit} cannot be judged"
    if item.failed:
        return f"{text}, beyond {limit}"
    return text + (f", beyond {limit}, but not for certain" if item.mean < -item.max_drop else f", within {limit}")


def _circumstances(comparison: Comparison) -> list[str]:
    """Lines on the results that were compared, the way, and the rows that were left out."""
    base, new = comparison.base_source, comparison.new_source
    count = len(comparison.pairs)
    models = " and ".join(dict.fromkeys((comparison.base_model, comparison.new_model)))
    if comparison.paired:
        what = f"{count} {'pair' if count == 1 else 'pairs'} by {comparison.matched_by}"
    else:
        what = f"unpaired: {comparison.base_rows} against {comparison.new_rows}"
    lines = [f"compared {new} with {base}, {what}; model {models}"]
    if comparison.only_base:
        names = ", ".join(comparison.missing) + (", …" if comparison.only_base > SHOWN else "")
        lines.append(f"left out, {comparison.only_base} of {base} without a score in {new}: {names}")
    if comparison.only_new:
        lines.append(f"left out, {comparison.only_new} of {new} without a score in {base}")
    for source, unscored in ((base, comparison.base_unscored), (new, comparison.new_unscored)):
        if unscored:
            lines.append(f"{unscored} of {source} could not be scored")
    return [*lines, *comparison.notes]
