"""The table and the picture of `students.py`: agreement against size and against speed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtqscore import AssessConfig, Assessor, find_inputs
from mtqscore.analysis import statistics as stats
from mtqscore.labels.table import LabelledRecording, read_label_table
from mtqscore.targets import SUPERVISED
from mtqscore.training.checkpoint import load_network, read_checkpoint
from mtqscore.training.export.calibration import fit_line, from_points
from mtqscore.training.export.inference_cost import Cost, measure

Floats = NDArray[np.float64]
Estimates = dict[str, tuple[Floats, Floats]]
"""By set: labels and raw scores, float64 (recordings, 3) each."""

NAMES = tuple(target.name for target in SUPERVISED)
VAL, TEST = "val", "simulated test"
ROUNDS = 9


class Arm(StrEnum):
    """How a network came to be; the value is part of its run folder's name."""

    TEACHER = "teacher"
    LABELS = "labels"
    DISTILLED = "distilled"
    PRUNED = "pruned"
    PRUNED_DISTILLED = "pruned-distilled"


TEACHER, LABELS = Arm.TEACHER, Arm.LABELS
MEANING = {
    Arm.TEACHER: "labels (the teacher)",
    Arm.LABELS: "labels",
    Arm.DISTILLED: "distilled",
    Arm.PRUNED: "pruned, then labels",
    Arm.PRUNED_DISTILLED: "pruned, then distilled",
}
COLOURS = {
    Arm.TEACHER: "#222222",
    Arm.LABELS: "#c45a1b",
    Arm.DISTILLED: "#1f6f8b",
    Arm.PRUNED: "#b98ad1",
    Arm.PRUNED_DISTILLED: "#7a3f9d",
}
Runs = Sequence[tuple[str, Arm, Path]]


def write_report(runs: Runs, table: Path, listeners: Sequence[Sequence[str]], out: Path) -> None:
    """Print the tables as Markdown, and keep them in ``students.md`` and the picture in ``students.png``.

    Args:
        runs: size, way and folder of every finished run.
        table: label table of the corpus.
        listeners: title and label table of rated recordings.
        out: folder of the study.
    """
    rows = read_label_table(table)
    sets = {VAL: [row for row in rows if row.split == "val"], TEST: [row for row in rows if row.split == "test"]}
    sets |= {title: read_label_table(Path(where)) for title, where in listeners}
    costs = measure({str(run): load_network(read_checkpoint(run)) for _, _, run in runs}, ROUNDS)
    raw = {str(run): estimates_of(run, sets, out) for _, _, run in runs}
    shown = [title for title in sets if title != VAL]
    text = "\n".join([*_agreement(runs, costs, raw, shown), "", *_gaps(runs, raw, shown), "", *_ends(runs, raw)])
    (out / "students.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    _draw(runs, costs, raw, shown, out / "students.png")


def estimates_of(run: Path, sets: dict[str, list[LabelledRecording]], out: Path) -> Estimates:
    """Score all sets with the exported network of a run, or read what an earlier call found."""
    name = run.relative_to(out).as_posix().replace("/", "-")
    kept, model = out / "scored" / f"{name}.json", out / "scored" / f"{name}.onnx"
    kept.parent.mkdir(exist_ok=True)
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    missing = [title for title in sets if title not in known]
    if missing and not model.exists():
        command = ["export", str(run), "--out", str(model), "--targets", ",".join(NAMES)]
        subprocess.run([sys.executable, "-m", "mtqscore", *command], check=True, capture_output=True)
    for title in missing:
        results = Assessor(AssessConfig(model=str(model))).assess_files(
            find_inputs([str(row.path) for row in sets[title]])
        )
        found = [
            ([row.labels[name] for name in NAMES], [getattr(result.scores, name) for name in NAMES])
            for row, result in zip(sets[title], results, strict=True)
            if result.scores is not None
        ]
        known[title] = [list(part) for part in zip(*found, strict=True)]
        kept.write_text(json.dumps(known), encoding="utf-8")
    return {title: (np.array(known[title][0]), np.array(known[title][1])) for title in sets}


def _calibrated(found: Estimates) -> Estimates:
    """Give scores the mean and the spread of the labels of val, as ``export --calibration`` does."""
    labels, scores = found[VAL]
    lines = {
        target.name: fit_line(scores[:, place], labels[:, place], target) for place, target in enumerate(SUPERVISED)
    }
    line = from_points(lines)
    return {title: (truth, line(said)) for title, (truth, said) in found.items()}


def _measures(found: tuple[Floats, Floats], measure: str) -> list[float]:
    truth, said = found
    return [stats.METRICS[measure](truth[:, place], said[:, place]) for place in range(len(NAMES))]


def _three(values: Sequence[float], digits: int) -> str:
    return " / ".join(f"{value:.{digits}f}" for value in values)


def _agreement(runs: Runs, costs: dict[str, Cost], found: dict[str, Estimates], shown: Sequence[str]) -> list[str]:
    heads = [f"{title}: LCC S / N / G | RMSE S / N / G" for title in shown]
    largest = max(cost.cpu_ms for cost in costs.values())
    lines = [
        f"| size | learned from | parameters | ONNX MB | × real time | times the slowest | {' | '.join(heads)} |",
        f"|---|---|--:|--:|--:|--:|{'---|---|' * len(shown)}",
    ]
    for size, arm, run in runs:
        cost, own = costs[str(run)], found[str(run)]
        cells = [
            f"{_three(_measures(own[title], 'lcc'), 3)} | {_three(_measures(own[title], 'rmse'), 2)}" for title in shown
        ]
        lines.append(
            f"| {size} | {MEANING[arm]} | {cost.parameters:,} | {cost.onnx_bytes / 1e6:.2f} | "
            f"{1e3 / cost.cpu_ms:,.0f} | {largest / cost.cpu_ms:.1f} | {' | '.join(cells)} |"
        )
    return lines


def _gaps(runs: Runs, found: dict[str, Estimates], shown: Sequence[str]) -> list[str]:
    """How much of the gap between labels alone and the teacher each way closes: mean LCC of S, N and G."""
    mean = {
        (size, arm): {t: float(np.mean(_measures(found[str(run)][t], "lcc"))) for t in shown} for size, arm, run in runs
    }
    teacher = next((means for (_, arm), means in mean.items() if arm is TEACHER), None)
    lines = [f"| share of the gap to the teacher that is closed | {' | '.join(shown)} |", f"|---|{'--:|' * len(shown)}"]
    for (size, arm), means in mean.items():
        plain = mean.get((size, LABELS))
        if teacher is None or plain is None or arm in (TEACHER, LABELS):
            continue
        cells = []
        for title in shown:
            low, own, high = plain[title], means[title], teacher[title]
            cells.append(f"{low:.3f} → {own:.3f} of {high:.3f}: {100 * (own - low) / (high - low):+.0f} %")
        lines.append(f"| {size}, {MEANING[arm]} | {' | '.join(cells)} |")
    return lines


def _ends(runs: Runs, raw: dict[str, Estimates]) -> list[str]:
    """Spread of the scores relative to that of the labels, and mean error at both ends, before and after."""
    lines = [
        "| size | learned from | spread S / N / G | after | error of G where its label is below 2, above 4 | after |",
        "|---|---|---|---|---|---|",
    ]
    for size, arm, run in runs:
        cells = []
        for truth, said in (raw[str(run)][TEST], _calibrated(raw[str(run)])[TEST]):
            spread = _three((said.std(axis=0) / truth.std(axis=0)).tolist(), 2)
            error, label = (said - truth)[:, -1], truth[:, -1]
            cells.append((spread, f"{error[label < 2].mean():+.2f}, {error[label > 4].mean():+.2f}"))
        (before, ends), (after, mended) = cells
        lines.append(f"| {size} | {MEANING[arm]} | {before} | {after} | {ends} | {mended} |")
    return lines


def _draw(runs: Runs, costs: dict[str, Cost], found: dict[str, Estimates], shown: Sequence[str], picture: Path) -> None:
    import matplotlib.pyplot as plt
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    figure, panels = plt.subplots(len(shown), 2, figsize=(9, 3.2 * len(shown)), layout="constrained", squeeze=False)
    heights = {
        title: {str(run): float(np.mean(_measures(found[str(run)][title], "lcc"))) for *_, run in runs}
        for title in shown
    }
    # One scale for all sets, so that what is small beside the other does not look large.
    extent = 1.15 * max(max(of.values()) - min(of.values()) for of in heights.values())
    for line, title in zip(panels, shown, strict=True):
        middle = (max(heights[title].values()) + min(heights[title].values())) / 2
        for panel, axis in zip(line, ("parameters", "× real time, one thread"), strict=True):
            for arm in Arm:
                points = []
                for size, own, run in runs:
                    if own is arm:
                        cost = costs[str(run)]
                        place = cost.parameters if axis == "parameters" else 1e3 / cost.cpu_ms
                        points.append((place, heights[title][str(run)]))
                        if arm in (TEACHER, LABELS):
                            panel.annotate(size, points[-1], (5, -11), textcoords="offset points", fontsize=8)
                if points:
                    places, values = zip(*sorted(points), strict=True)
                    panel.plot(places, values, "o-", color=COLOURS[arm], label=MEANING[arm], markersize=5)
            panel.set_xscale("log")
            panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            panel.xaxis.set_major_formatter(EngFormatter(sep=""))
            panel.xaxis.set_minor_formatter(NullFormatter())
            panel.margins(x=0.12)
            panel.set_ylim(middle - extent / 2, middle + extent / 2)
            panel.set_xlabel(axis)
            panel.set_ylabel(f"mean LCC of S, N, G, {title}")
            panel.grid(alpha=0.3)
            panel.spines[["top", "right"]].set_visible(False)
    panels[0][0].legend(frameon=False, fontsize=8)
    figure.savefig(picture, dpi=110)
    plt.close(figure)
