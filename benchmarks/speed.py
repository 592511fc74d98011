"""How fast `mtqscore assess` starts and scores, against what it cannot do without, side by side in one run.

    python benchmarks/speed.py [--clips 200] [--runs 7]

The clips are 5-second cuts of the bundled recordings, written as WAV at 16 kHz and as FLAC at 48 kHz. Quote ratios:
single times on a shared machine say little.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import soxr

EXAMPLES = Path(__file__).parent.parent / "examples"
CLIP_S = 5.0
LIBRARIES = "import numpy, soundfile, onnxruntime, typer, rich"
DECODE = """
import sys, soundfile, soxr
from concurrent.futures import ThreadPoolExecutor
from mtqscore.cores import usable_cores
def decode(path):
    audio, rate = soundfile.read(path, dtype="float32")
    return len(audio if rate == 16000 else soxr.resample(audio, rate, 16000))
with ThreadPoolExecutor(usable_cores()) as pool:
    sum(pool.map(decode, sys.argv[1:]))
"""


def wall_s(command: list[str]) -> float:
    """Time one run of a command as a whole process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def in_turn(commands: dict[str, list[str]], runs: int) -> dict[str, list[float]]:
    """Run the commands in turn, once to warm up and then ``runs`` times."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for run in range(runs + 1):
        for name, command in commands.items():
            value = wall_s(command)
            if run:
                times[name].append(value)
    return times


def make_clips(folder: Path, count: int) -> dict[str, list[str]]:
    """Write the clips in both forms and return their paths by form."""
    sources = [soundfile.read(path, dtype="float32") for path in sorted(EXAMPLES.glob("*.flac"))]
    forms: dict[str, list[str]] = {"16 kHz WAV": [], "48 kHz FLAC": []}
    rng = np.random.default_rng(0)
    for number in range(count):
        audio, rate_hz = sources[number % len(sources)]
        clip = np.roll(np.resize(audio, int(CLIP_S * rate_hz)), int(rng.integers(len(audio))))
        for form, rate, suffix in (("16 kHz WAV", 16_000, "wav"), ("48 kHz FLAC", 48_000, "flac")):
            path = folder / f"{number:05d}.{suffix}"
            soundfile.write(path, soxr.resample(clip, rate_hz, rate), rate)
            forms[form].append(str(path))
    return forms


def main() -> None:
    """Print the two tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    python, assess = sys.executable, [sys.executable, "-m", "mtqscore", "assess", "--quiet", "--csv", "-"]

    one = str(EXAMPLES / "noisy-15db.flac")
    starts = in_turn(
        {
            "import of its libraries": [python, "-c", LIBRARIES],
            "`mtqscore assess` of one file": [*assess, one],
            "`mtqscore --help`": [python, "-m", "mtqscore", "--help"],
        },
        options.runs,
    )
    base = starts["import of its libraries"]
    print("| start | median s | median ratio, run by run |\n|---|---|---|")
    for name, times in starts.items():
        ratio = statistics.median(value / other for value, other in zip(times, base, strict=True))
        print(f"| {name} | {statistics.median(times):.2f} | {ratio:.2f} |")

    print(
        f"\n| {options.clips} clips of {CLIP_S:g} s | median s | × real time | ratio to decoding |\n|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        for form, paths in make_clips(Path(folder), options.clips).items():
            commands = {
                "decode and resample only": [python, "-c", DECODE, *paths],
                "`mtqscore assess`": [*assess, *paths],
            }
            times = in_turn(commands, options.runs)
            floor = times["decode and resample only"]
            for name, values in times.items():
                median = statistics.median(values)
                ratio = statistics.median(value / other for value, other in zip(values, floor, strict=True))
                speed = options.clips * CLIP_S / median
                print(f"| {form}: {name} | {median:.2f} | {speed:,.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
