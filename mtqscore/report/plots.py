"""Scatter plots of estimates against labels: a panel a score, files above, means of groups below."""

from __future__ import annotations

import importlib.util
import io
import logging
import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mtqscore.analysis.evaluate import ALL_FILES, Agreement, Estimates, Level, Over, group_of
from mtqscore.analysis.means import Floats
from mtqscore.base.files import replacing, write_problem
from mtqscore.base.text import printable
from mtqscore.errors import MissingExtraError, UsageError
from mtqscore.labels.table import LabelledRecording
from mtqscore.report.agreement import group_name, title_of
from mtqscore.targets import TARGETS, Target

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
PANELS_ABREAST = 3
PANEL_IN = 3.5
DPI = 160

MOST_DOTS = 1_000
"""More recordings than this are counted in cells: dots would cover each other."""

CELLS = 55
NAMED_GROUPS = 24
"""So many means carry their names; there is no room for more."""

LEAST_SPAN = 0.15
"""Shortest axis of a panel of means, as a share of the scale."""

NAME_GAP = 0.042
"""Least distance of names that stand one above the other, as a share of the panel."""

INK, SOFT, LINE = "#1b2126", "#555f68", "#c9cecf"
DOT = "#0b6cb0"
DENSITY = ("#b9d3e8", "#6ea6d1", "#2a74b3", "#123f73", "#071b36")
SERIES = (
    ("#0072b2", "o"),
    ("#d55e00", "s"),
    ("#009e73", "^"),
    ("#cc79a7", "D"),
    ("#e69f00", "v"),
    ("#56b4e9", "P"),
    ("#6a3d9a", "X"),
    ("#1b2126", "*"),
)
"""Colours that colour-blind people distinguish (Okabe and Ito, mostly), each with a shape of its own."""

OTHER = ("#9aa3aa", ".")
LEADER = {"arrowstyle": "-", "color": LINE, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 3}

STYLE: Any = {
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "svg.fonttype": "none",
    "svg.hashsalt": "mtqscore",
    "pdf.fonttype": 42,
}


@dataclass(frozen=True)
class Scatter:
    """Names, measures and colours of a plot.

    Args:
        name: the model or table whose estimates they are.
        found: what `evaluation.evaluate` returned for the same estimates; its means are drawn too.
        colour: column of the label table that colours the recordings; None for how many lie together.
    """

    name: str
    found: Sequence[Agreement]
    colour: str | None = None


def check_picture(picture: str) -> None:
    """Refuse what cannot be drawn before anything else happens.

    Raises:
        UsageError: its ending is none of `FORMATS`.
        MissingExtraError: matplotlib is not installed.
    """
    if Path(picture).suffix[1:].lower() not in FORMATS:
        raise UsageError(f"--plot {picture!r}: name a file that ends in .{', .'.join(FORMATS)}")
    try:
        found = importlib.util.find_spec("matplotlib")
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise MissingExtraError("--plot", "plots", "matplotlib")


def draw_scatter(
    picture: Path, rows: Sequence[LabelledRecording], estimates: Mapping[Path, Estimates], scatter: Scatter
) -> None:
    """Draw estimates against labels; the ending of the picture names its format.

    Raises:
        UsageError: the file cannot be made there.
        EnvironmentProblemError: no space is left.
    """
    import matplotlib as mpl

    kind = picture.suffix[1:].lower()
    # It logs that it builds its cache of fonts, and which letters a font lacks: neither is the user's concern.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    content = io.BytesIO()
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph|.*missing from font")
        figure = _figure(rows, estimates, scatter)
        about = {"Title": "mtqscore: estimates against labels"}
        if kind != "png":
            about |= {"Date" if kind == "svg" else "CreationDate": None}  # type: ignore[dict-item]
        figure.savefig(content, format=kind, dpi=DPI, metadata=about)
    try:
        with replacing(picture) as partial:
            partial.write_bytes(content.getvalue())
    except OSError as error:
        raise write_problem(str(picture), error) from error


def _figure(rows: Sequence[LabelledRecording], estimates: Mapping[Path, Estimates], scatter: Scatter) -> Figure:
    from matplotlib.figure import Figure

    named = {item.target for item in scatter.found}
    targets = [target for target in TARGETS if target.name in named]
    means = (item.over for item in scatter.found if item.over.level is Level.MEANS and item.pairs > 1)
    column = next((over.column for over in means), None)
    abreast = min(PANELS_ABREAST, len(targets))
    bands = math.ceil(len(targets) / abreast)
    deep = bands * (1 if column is None else 2)
    figure = Figure(figsize=(abreast * PANEL_IN, 0.6 + deep * (PANEL_IN + 0.3)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.12)  # type: ignore[union-attr, call-arg]
    grid = figure.subplots(deep, abreast, squeeze=False)
    for axes in grid.flat:
        axes.set_visible(False)
    palette = _palette(rows, scatter.colour)
    cells: list[Any] = []
    for index, target in enumerate(targets):
        band, place = divmod(index, abreast)
        known = [row for row in rows if target.name in row.labels and target.name in estimates.get(row.path, {})]
        points = np.array([[row.labels[target.name], estimates[row.path][target.name]] for row in known]).T
        span = _span(min(target.low, points.min()), max(target.high, points.max()), room=0.03)
        axes = grid[band * (deep // bands), place]
        groups = None if scatter.colour is None else [group_of(row, scatter.colour) for row in known]
        cells += _draw_files(axes, points, span, palette, groups)
        _finish(axes, span, _agreement(scatter.found, target, ALL_FILES), "recordings")
        if column is not None:
            axes = grid[band * 2 + 1, place]
            span = _draw_means(axes, target, scatter.found, column)
            agreement = _agreement(scatter.found, target, Over(Level.MEANS, column))
            _finish(axes, span, agreement, f"means by {printable(column)}")
    _add_count_scale(figure, grid, cells)
    _add_legend(figure, palette)
    name = _short(scatter.name, 25 * abreast)
    _plain(figure.suptitle(f"Estimates of {name} against labels", x=0.01, ha="left", fontsize=11))
    return figure


def _agreement(found: Sequence[Agreement], target: Target, over: Over) -> Agreement:
    return next(item for item in found if item.target == target.name and item.over == over)


def _span(low: float, high: float, room: float) -> tuple[float, float]:
    """Both axes, with room on either side, a share of their length."""
    margin = room * (high - low)
    return float(low - margin), float(high + margin)


_Palette = dict[str, int]
"""Number of each group in `SERIES`; the last, beyond them, stands for all others."""


def _palette(rows: Sequence[LabelledRecording], column: str | None) -> _Palette:
    """Give the most frequent groups a colour each."""
    if column is None:
        return {}
    counts = Counter(group_of(row, column) for row in rows)
    most = [name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    return {name: min(index, len(SERIES)) for index, name in enumerate(most)}


def _draw_files(
    axes: Axes, points: Floats, span: tuple[float, float], palette: _Palette, groups: Sequence[str] | None
) -> list[Any]:
    """Draw recordings; return what needs a scale of counts."""
    truth, estimate = points
    many = len(truth)
    size = float(np.clip(2_500 / max(many, 1), 3.0, 26.0))
    alpha = float(np.clip(40 / math.sqrt(max(many, 1)), 0.25, 0.85))
    look: dict[str, Any] = {"alpha": alpha, "linewidths": 0, "rasterized": many > MOST_DOTS}
    if groups is not None:
        numbers = np.array([palette[name] for name in groups])
        # The most frequent first, so that the rare lie on top.
        for number, (colour, marker) in enumerate((*SERIES, OTHER)):
            of_group = numbers == number
            axes.scatter(truth[of_group], estimate[of_group], s=size, c=colour, marker=marker, **look)
        return []
    if many <= MOST_DOTS:
        axes.scatter(truth, estimate, s=size, c=DOT, **look)
        return []
    from matplotlib.colors import LinearSegmentedColormap, LogNorm

    shades = LinearSegmentedColormap.from_list("density", DENSITY)
    cells = axes.hexbin(
        truth, estimate, gridsize=CELLS, extent=(*span, *span), cmap=shades, norm=LogNorm(), mincnt=1, linewidths=0.1
    )
    return [cells]


def _draw_means(axes: Axes, target: Target, found: Sequence[Agreement], column: str) -> tuple[float, float]:
    """Draw the means of groups with their names; return both axes, which reach a little further than the means do."""
    groups = [
        item
        for item in found
        if item.target == target.name and item.over.level is Level.GROUP and item.over.column == column
    ]
    points = np.array([[item.mean_label, item.mean_estimate] for item in groups]).T
    # Small differences shall look small.
    lacking = max(0.0, LEAST_SPAN * (target.high - target.low) - np.ptp(points)) / 2
    low, high = _span(points.min() - lacking, points.max() + lacking, room=0.1)
    axes.scatter(points[0], points[1], s=24, c=DOT, alpha=0.9, linewidths=0, zorder=5)
    if len(groups) > NAMED_GROUPS:
        return low, high
    # Names stand in two columns off the diagonal: at the upper left what is scored too high, the others at the lower
    # right.
    for is_left in (True, False):
        side = [item for item in groups if (item.mean_estimate > item.mean_label) is is_left]
        side.sort(key=lambda item: item.mean_estimate)
        wanted = [(item.mean_estimate - low) / (high - low) for item in side]
        heights = 1 - _spread([1 - height for height in wanted[::-1]])[::-1] if is_left else _spread(wanted)
        for item, height in zip(side, heights, strict=True):
            text = axes.annotate(
                _short(group_name(item.over.value), 18),
                (item.mean_label, item.mean_estimate),
                xytext=(0.02 if is_left else 0.98, height),
                textcoords="axes fraction",
                ha="left" if is_left else "right",
                va="center",
                fontsize=7,
                color=INK,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
                arrowprops={**LEADER, "relpos": (1 if is_left else 0, 0.5)},
            )
            _plain(text)
    return low, high


def _spread(wanted: Sequence[float]) -> Floats:
    """Move rising heights apart, as little as keeps names legible, and below the middle if they fit there."""
    steps = NAME_GAP * np.arange(len(wanted))
    lowest = np.maximum.accumulate(np.asarray(wanted) - steps)
    highest = max(NAME_GAP, 0.55 - float(steps.max(initial=0)))
    return np.asarray(np.clip(lowest, NAME_GAP, highest) + steps, dtype=np.float64)


def _finish(axes: Axes, span: tuple[float, float], item: Agreement, what: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_visible(True)
    # Over the cells, with a light rim that keeps it visible where they are dark.
    axes.plot(span, span, color="white", linewidth=1.8, alpha=0.8, zorder=2.5)
    axes.plot(span, span, color=INK, linewidth=0.8, dashes=(5, 3), zorder=2.6)
    axes.set_axisbelow(True)
    axes.grid(color=LINE, linewidth=0.5, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    ticks = [tick for tick in MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(*span) if span[0] <= tick <= span[1]]
    axes.set(xticks=ticks, yticks=ticks, xlim=span, ylim=span, aspect="equal", ylabel="estimate", xlabel="label")
    lcc, interval = item.values["lcc"], item.intervals.get("lcc")
    figures = [] if math.isnan(lcc) else [f"LCC {lcc:.3f}"]
    if interval is not None and not math.isnan(interval.low):
        figures[-1] += f" ({interval.low:.3f} to {interval.high:.3f})"
    figures.append(f"RMSE {item.values['rmse']:.3f}")
    title = f"{title_of(item.target)}, {item.pairs:,} {_short(what, 30)}"
    _plain(axes.set_title(title, loc="left", fontsize=9, pad=17))
    axes.text(0, 1.02, " · ".join(figures), transform=axes.transAxes, fontsize=7.5, color=SOFT)


def _add_count_scale(figure: Figure, grid: Any, cells: Sequence[Any]) -> None:
    """One scale of counts for all panels that count in cells."""
    if not cells:
        return
    most = max(float(part.get_array().max()) for part in cells)
    for part in cells:
        part.set_clim(1, max(most, 2))
    bar = figure.colorbar(cells[0], ax=list(grid.flat), location="bottom", shrink=0.35, aspect=40, pad=0.02)
    bar.set_label("recordings in a cell", color=SOFT, fontsize=8)
    bar.ax.xaxis.set_major_formatter("{x:,.0f}")
    bar.outline.set_visible(False)


def _add_legend(figure: Figure, palette: _Palette) -> None:
    if not palette:
        return
    from matplotlib.lines import Line2D

    labels = [_short(group_name(name)) for name in list(palette)[: len(SERIES)]]
    if others := len(palette) - len(labels):
        labels.append("1 other" if others == 1 else f"{others:,} others")
    looks = (*SERIES, OTHER)[: len(labels)]
    handles = [Line2D([], [], color=colour, marker=marker, linestyle="", markersize=5) for colour, marker in looks]
    # A label that begins with an underscore would be left out.
    labels = [f"\u200b{label}" if label.startswith("_") else label for label in labels]
    legend = figure.legend(handles, labels, loc="outside lower left", ncols=5, frameon=False, fontsize=8)
    for text in legend.get_texts():
        _plain(text)


def _short(name: str, most: int = 60) -> str:
    name = printable(name)
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _plain(text: Any) -> None:
    """A dollar sign in a name begins no formula."""
    text.set_parse_math(False)
