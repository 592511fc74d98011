"""Tables and figures from finished runs: mean and spread over the seeds."""

from __future__ import annotations

import csv
import json
import math
import re
import statistics
from pathlib import Path

from arms import MOS, MPL, PSEUDO, Arm

from mtqscore.analysis import statistics as stats

SHORT = {"s_mos": "S", "n_mos": "N", "g_mos": "G"}
MEASURES = ("lcc", "srcc", "mse")


def agreement(arm: Arm, target: str, measure: str, out: Path, split: str = "test") -> list[float]:
    """Compute a measure of every finished run of an arm.

    Args:
        arm: the arm.
        target: s_mos, n_mos or g_mos.
        measure: name in ``stats.METRICS``.
        out: folder of the study.
        split: test or val.
    """
    found = []
    stem = f"{arm.name}-{target}" if arm.singles else arm.name
    for seed in range(100):
        table = out / "runs" / f"{stem}-{seed}" / f"predictions_{split}.csv"
        if not table.exists():
            continue
        with table.open(newline="", encoding="utf-8") as stream:
            records = list(csv.DictReader(stream))
        truth = [float(record[f"label_{target}"]) for record in records]
        found.append(stats.METRICS[measure](truth, [float(record[target]) for record in records]))
    return found


def best_value(arms: list[Arm], setting: str, target: str, out: Path) -> float:
    """Find the value of a sweep whose runs rank the validation split best for one target; 1 where none did better.

    Only S, N and G have labels there in every arm; the pseudo-labels keep 1.
    """
    if target not in MOS:
        return 1.0
    means = {}
    for arm in arms:
        found = agreement(arm, target, "srcc", out, "val")
        if found:
            means[arm.settings.get(setting, {"default": 1.0})["default"]] = statistics.fmean(found)
    return max(means, key=lambda value: means[value]) if means else 1.0


def write(name: str, title: str, arms: list[Arm], out: Path) -> None:
    """Print a study as a Markdown table and keep it; sweeps also get a figure.

    Args:
        name: of the study.
        title: its heading.
        arms: its rows.
        out: folder of the study.
    """
    lines = [
        f"### {title}",
        "",
        "| | runs | " + " | ".join(f"{SHORT[target]} LCC / SRCC / MSE" for target in MOS) + " |",
    ]
    lines.append("|---|--:|" + "---|" * len(MOS))
    for arm in arms:
        cells, runs = [], 0
        for target in MOS:
            values = {measure: agreement(arm, target, measure, out) for measure in MEASURES}
            runs = len(values["lcc"])
            cells.append(" / ".join(spread(values[measure]) for measure in MEASURES))
        lines.append(f"| {arm.meaning} | {runs} | " + " | ".join(cells) + " |")
    text = "\n".join(lines) + "\n"
    (out / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)
    if name in ("figure2", "alpha", "size"):
        draw(name, title, arms, out)


def write_teacher(out: Path) -> None:
    """Print what the teachers' pseudo-labels are worth on held-out recordings: LCC with S, N, G and the true values."""
    found: dict[tuple[str, str], list[float]] = {}
    for file in sorted((out / "runs").glob(f"{MPL.name}-?/results.json")):
        for record in json.loads(file.read_text(encoding="utf-8")).get("relations", []):
            found.setdefault((record["pseudo_label"], record["against"]), []).append(record["lcc"])
    columns = {"s_mos": "S", "n_mos": "N", "g_mos": "G", "true": "true value"}
    lines = ["### What the teacher's labels are worth", "", "| LCC of | " + " | ".join(columns.values()) + " |"]
    lines.append("|---|" + "---|" * len(columns))
    for pseudo in PSEUDO:
        cells = [spread(found.get((pseudo, against), [])) for against in columns]
        lines.append(f"| {pseudo.upper()} | " + " | ".join(cells) + " |")
    text = "\n".join(lines) + "\n"
    (out / "teacher.md").write_text(text, encoding="utf-8")
    print(text)


def spread(values: list[float]) -> str:
    """Write mean ± standard deviation: ``.712 ± .008``."""
    if not values:
        return "–"
    text = f"{statistics.fmean(values):.3f}"
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    text = text if math.isnan(deviation) else f"{text} ± {deviation:.3f}"
    return re.sub(r"(?<!\d)0\.", ".", text)


def draw(name: str, title: str, arms: list[Arm], out: Path) -> None:
    """Draw SRCC against what a sweep varies, one panel a target, every seed as a dot."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(MOS), figsize=(9, 3), layout="constrained")
    groups = {"scratch": "from scratch", "mpl": "MPL"} if name == "size" else {"": ""}
    for panel, target in zip(panels, MOS, strict=True):
        for colour, (recipe, label) in zip(("#c45a1b", "#1f6f8b") if name == "size" else ("#1f6f8b",), groups.items(),
                                           strict=True):  # fmt: skip
            points = sorted(
                (_axis(name, arm), agreement(arm, target, "srcc", out)) for arm in arms if recipe in ("", arm.recipe)
            )
            points = [(place, values) for place, values in points if values]
            for place, values in points:
                panel.plot([place] * len(values), values, "o", color=colour, markersize=3, alpha=0.5)
            means = [statistics.fmean(values) for _, values in points]
            panel.plot([place for place, _ in points], means, "-", color=colour, label=label)
        panel.set_title(f"{SHORT[target]}-MOS")
        panel.set_xlabel({"figure2": "δ", "alpha": "α", "size": "share of the training set"}[name])
        panel.spines[["top", "right"]].set_visible(False)
        if name == "size":
            panel.set_xscale("log")
    panels[0].set_ylabel("SRCC, test split")
    if name == "size":
        panels[-1].legend(frameon=False)
    figure.suptitle(title)
    figure.savefig(out / f"{name}.png", dpi=150)
    plt.close(figure)


def _axis(name: str, arm: Arm) -> float:
    if name == "size":
        return arm.share
    setting = "delta" if name == "figure2" else "alpha"
    value: float = arm.settings.get(setting, {"default": 1.0})["default"]
    return value
