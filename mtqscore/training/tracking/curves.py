"""Course of a run as a table and a picture."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mtqscore.targets import SUPERVISED, TARGETS, Target
from mtqscore.training.compute.resources import run_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _FAINT, _GRID = "#1f2933", "#7b8794", "#e4e7eb"
_SIX = ("#c2410c", "#1d4ed8", "#111827", "#0f766e", "#7c3aed", "#a16207")
_COLOURS = dict(zip((target.name for target in TARGETS), _SIX, strict=True))


def write_curves(folder: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Write ``curves.csv`` of a run folder, a line an epoch."""
    columns = dict.fromkeys(name for record in history for name in record)
    with run_file(folder / "curves.csv") as partial, partial.open("w", newline="", encoding="ascii") as stream:
        writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in record.items()} for record in history)


def draw_curves(folder: Path, history: Sequence[Mapping[str, float]], targets: Sequence[Target]) -> None:
    """Draw ``curves.png`` of a run folder, which takes longer than the table."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), facecolor="white")
    figure.subplots_adjust(left=0.055, right=0.985, bottom=0.07, top=0.955, wspace=0.13, hspace=0.28)
    FigureCanvasAgg(figure)
    (loss, each), (correlation, error) = figure.subplots(2, 2)
    best = max(history, key=lambda record: record["monitor"])["epoch"]
    curves = _Curves(history, best)
    curves.draw(loss, "train_loss", "training", _FAINT)
    curves.draw(loss, "val_loss", "validation", _INK)
    for target in targets:
        name, colour = target.name, _COLOURS[target.name]
        style = "-" if target in SUPERVISED else "--"
        label = name.removesuffix("_mos").upper() + ("-MOS" if target in SUPERVISED else "")
        curves.draw(each, f"train_{name}_loss", label, colour, style)
        curves.draw(correlation, f"val_{name}_lcc", label, colour, style)
        curves.draw(error, f"val_{name}_rmse", label, colour, style, 100 / (target.high - target.low))
    loss.set_yscale("log")
    each.set_yscale("log")
    curves.finish(loss, "Loss", "weighted sum over the tasks")
    curves.finish(each, "Training loss by task", "utterance part")
    correlation.set_ylim(None, 1.0)
    error.set_ylim(0.0, None)
    curves.finish(correlation, "Validation LCC", "1 is perfect")
    curves.finish(error, "Validation RMSE", "percent of the scale")
    with run_file(folder / "curves.png") as partial:
        figure.savefig(partial, dpi=110, format="png")


class _Curves:
    """Lines over the epochs of a history, with a mark at the best one."""

    def __init__(self, history: Sequence[Mapping[str, float]], best: float) -> None:
        self.history, self.best = history, best
        self.epochs = [record["epoch"] for record in history]

    def draw(self, axes: Axes, name: str, label: str, colour: str, style: str = "-", factor: float = 1.0) -> None:
        """Add the line of one column; nothing for a column without any number."""
        values = [factor * record.get(name, float("nan")) for record in self.history]
        if not all(map(math.isnan, values)):
            marker = "o" if len(values) < 3 else None
            axes.plot(self.epochs, values, style, color=colour, linewidth=1.6, marker=marker, label=label)

    def finish(self, axes: Axes, title: str, unit: str) -> None:
        """Add titles, grid, legend and the mark of the best epoch."""
        from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

        axes.set_title(f"{title}", loc="left", fontsize=11, fontweight="bold", color=_INK)
        axes.set_title(unit, loc="right", fontsize=9, color=_FAINT)
        axes.set_xlabel(f"epoch; the dotted line marks the best one, {self.best:.0f}", fontsize=9, color=_FAINT)
        axes.axvline(self.best, color=_FAINT, linewidth=0.8, linestyle=(0, (2, 3)))
        axes.grid(color=_GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        if axes.get_yscale() == "log":
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.02)
        axes.tick_params(which="both", labelsize=9, colors=_FAINT, length=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for side, spine in axes.spines.items():
            spine.set_visible(side == "bottom")
            spine.set_color(_GRID)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8, frameon=False, labelcolor=_INK, ncols=2)
