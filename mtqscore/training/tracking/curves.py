"""Course of a run as a table and a picture."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from mtqscore.base.text import score_title
from mtqscore.targets import SUPERVISED, Target
from mtqscore.training.compute.resources import run_file

NAN = float("nan")


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
    from matplotlib.ticker import MaxNLocator

    epochs = [record["epoch"] for record in history]
    best = max(history, key=lambda record: record["monitor"])["epoch"]
    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    loss, each, correlation, error = figure.subplots(2, 2).flat
    lines = [(loss, "train_loss", "training", "-", 1.0), (loss, "val_loss", "validation", "-", 1.0)]
    for target in targets:
        name, title, style = target.name, score_title(target.name), "-" if target in SUPERVISED else "--"
        lines.append((each, f"train_{name}_loss", title, style, 1.0))
        lines.append((correlation, f"val_{name}_lcc", title, style, 1.0))
        lines.append((error, f"val_{name}_rmse", title, style, 100 / (target.high - target.low)))
    for axes, column, label, style, factor in lines:
        values = [factor * record.get(column, NAN) for record in history]
        if not all(map(math.isnan, values)):
            axes.plot(epochs, values, style, marker="o" if len(values) < 3 else None, label=label)
    for axes, title in (
        (loss, "Loss: weighted sum over the tasks"),
        (each, "Training loss by task, utterance part"),
        (correlation, "Validation LCC: 1 is perfect"),
        (error, "Validation RMSE in percent of the scale"),
    ):
        axes.set(title=title, xlabel=f"epoch; the dotted line marks the best one, {best:.0f}")
        axes.axvline(best, color="grey", linestyle=":")
        axes.grid(alpha=0.3)
        axes.set_yscale("log" if axes in (loss, each) else "linear")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8, frameon=False, ncols=2)
    correlation.set_ylim(None, 1.0)
    error.set_ylim(0.0, None)
    with run_file(folder / "curves.png") as partial:
        figure.savefig(partial, dpi=110, format="png")
