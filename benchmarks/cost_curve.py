"""Time and memory of `mtqscore assess` against the number of files and against their length.

    python benchmarks/cost_curve.py [--full] [--runs 3] [--picture docs/cost-curve.png]

The recordings are cut from the bundled ones: files of 1 second, many of which are hard links to a few, and single files
of growing length. By default up to 10,000 files and one hour; `--full` goes on to 100,000 files, ten hours, and ten
hours of FLAC at 48 kHz, and needs 3 GB of disk in the temporary folder.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
from processes import ASSESS, Cost, bundled_speech, rolled, run

from mtqscore.base.machine import usable_cores

CLIP_S = 1.0
DIFFERENT = 100
FILES_IN_FOLDER = 1_000
FILES, FILES_FULL = (10, 100, 1_000, 10_000), (100_000,)
LENGTHS_S, LENGTHS_S_FULL = (1, 10, 60, 600, 3_600), (36_000,)
SLOW_S = 60.0
"""What takes longer is run once, and not to warm up."""


class Point(NamedTuple):
    """One size (number of files, or seconds of audio) and the medians of its cost."""

    size: float
    cost: Cost


def measure(arguments: list[str], runs: int) -> Cost:
    """Medians of several runs after one to warm up."""
    first = run([*ASSESS, *arguments])
    if first.wall_s > SLOW_S:
        return first
    costs = [run([*ASSESS, *arguments]) for _ in range(runs)]
    return Cost(*(statistics.median(getattr(cost, name) for cost in costs) for name in ("wall_s", "cpu_s", "peak_mb")))


def make_files(folder: Path, count: int) -> None:
    """Fill folders with short recordings."""
    speech = bundled_speech()
    for number in range(count):
        path = folder / f"{number // FILES_IN_FOLDER:03d}" / f"clip-{number:06d}.wav"
        if number < DIFFERENT:
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, rolled(speech, CLIP_S, number), 16_000)
        else:
            path.parent.mkdir(exist_ok=True)
            os.link(folder / "000" / f"clip-{number % DIFFERENT:06d}.wav", path)


def make_long(path: Path, seconds: int, rate_hz: int) -> Path:
    """Write one recording, a stretch at a time."""
    speech = soxr.resample(bundled_speech(), 16_000, rate_hz)
    left = seconds * rate_hz
    with soundfile.SoundFile(path, "w", rate_hz, 1) as sound:
        while left > 0:
            sound.write(speech[:left])
            left -= len(speech)
    return path


def against_files(folder: Path, counts: tuple[int, ...], runs: int) -> list[Point]:
    """Score more and more files of one second."""
    points = []
    for count in counts:
        place = folder / str(count)
        place.mkdir()
        make_files(place, count)
        points.append(Point(count, measure([str(place)], runs)))
        print(row(f"{count:,} files of {CLIP_S:g} s", count * CLIP_S, points[-1].cost), flush=True)
    return points


def against_length(folder: Path, lengths_s: tuple[int, ...], runs: int) -> list[Point]:
    """Score longer and longer recordings."""
    points = []
    for seconds in lengths_s:
        path = make_long(folder / "long.wav", seconds, 16_000)
        points.append(Point(seconds, measure([str(path)], runs)))
        path.unlink()
        print(row(f"1 file of {seconds:,} s", seconds, points[-1].cost), flush=True)
    return points


def row(name: str, audio_s: float, cost: Cost) -> str:
    """One line of the table."""
    return f"| {name} | {cost.wall_s:.2f} | {cost.cpu_s:.2f} | {audio_s / cost.wall_s:,.0f} | {cost.peak_mb:.0f} |"


def exponent(points: list[Point]) -> float:
    """Slope of the upper half of the curve in a log-log plot, above the time of the smallest: 1 is linear."""
    start_s = points[0].cost.wall_s
    upper = [point for point in points[1:] if point.cost.wall_s > 2 * start_s]
    if len(upper) < 2:
        return float("nan")
    size, wall_s = np.array([(point.size, point.cost.wall_s - start_s) for point in upper]).T
    return float(np.polyfit(np.log(size), np.log(wall_s), 1)[0])


def draw(files: list[Point], lengths: list[Point], path: Path) -> None:
    """Draw time and memory against both sizes."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(9, 6), sharex="col", layout="constrained")
    for column, (points, label) in enumerate(((files, f"files of {CLIP_S:g} s"), (lengths, "seconds in one file"))):
        size = [point.size for point in points]
        wall, memory = axes[0][column], axes[1][column]
        wall.loglog(size, [point.cost.wall_s for point in points], "o-", label="wall time")
        wall.loglog(size, [point.cost.cpu_s for point in points], "s--", label="processor time", alpha=0.6)
        memory.semilogx(size, [point.cost.peak_mb for point in points], "o-")
        memory.set(ylim=(0, 400), xlabel=label, ylabel="peak memory, MB")
        memory.axhline(350, color="grey", linestyle=":", label="limit")
        wall.set(ylabel="seconds")
        for axis in (wall, memory):
            axis.grid(visible=True, which="major", alpha=0.3)
            axis.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print the table as Markdown and draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--picture", type=Path, metavar="FILE")
    options = parser.parse_args()
    counts = FILES + (FILES_FULL if options.full else ())
    lengths_s = LENGTHS_S + (LENGTHS_S_FULL if options.full else ())
    print(f"{usable_cores()} cores\n\n| what | wall s | CPU s | × real time | peak MB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = against_files(folder, counts, options.runs)
        lengths = against_length(folder, lengths_s, options.runs)
        if options.full:
            path = make_long(folder / "long.flac", LENGTHS_S_FULL[-1], 48_000)
            cost = measure([str(path)], options.runs)
            print(row(f"1 file of {LENGTHS_S_FULL[-1]:,} s, 48 kHz FLAC", LENGTHS_S_FULL[-1], cost))
    print(f"\nExponent of wall time: {exponent(files):.2f} against files, {exponent(lengths):.2f} against length.")
    if options.picture is not None:
        draw(files, lengths, options.picture)


if __name__ == "__main__":
    main()
