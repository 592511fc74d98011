"""The course of a run as a table and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mtqscore.manifest import write_table
from mtqscore.spec import SUPERVISED, TARGETS


def write_curves(folder: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Write ``curves.csv`` and ``curves.png``, replacing what was there.

    Args:
        folder: the run folder.
        history: one mapping an epoch, all with the same names.
    """
    rounded = [{name: f"{value:.6g}" for name, value in record.items()} for record in history]
    write_table(folder / "curves.csv", list(history[0]), rounded)
    _draw(folder / "curves.png", history)


def _draw(picture: Path, history: Sequence[Mapping[str, float]]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    epochs = [record["epoch"] for record in history]
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    loss, correlation, error = figure.subplots(1, 3)
    for name, label in (("train_loss", "training"), ("val_loss", "validation")):
        loss.plot(epochs, [record[name] for record in history], label=label)
    loss.set(title="MPL loss", xlabel="epoch", yscale="log")
    for target in TARGETS:
        style = "-" if target in SUPERVISED else ":"
        for axes, measure in ((correlation, "lcc"), (error, "rmse")):
            values = [record[f"val_{target.name}_{measure}"] for record in history]
            axes.plot(epochs, values, style, label=target.name)
    correlation.set(title="validation LCC", xlabel="epoch", ylim=(None, 1.0))
    error.set(title="validation RMSE", xlabel="epoch", ylim=(0.0, None))
    for axes in (loss, correlation, error):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(picture, dpi=110)
