"""Start and throughput of `mtqscore assess` against importing its libraries and decoding, side by side in one run.

    python benchmarks/throughput.py [--clips 2000] [--runs 5] [--model NAME …] [--peers PYTHON]

The clips are 5-second cuts of the bundled recordings, as WAV at 16 kHz and as FLAC at 48 kHz. All commands run in turn
on the same files, once to warm up and then `--runs` times; a ratio is the median of the ratios run by run. Quote
ratios: single times on a shared machine say little.

Peers are run where they are found, by an interpreter of their own if you like, since they need other libraries:
`pip install speechmos librosa pandas` (DNSMOS P.835, script and model as published), `pip install distillmos`. They are
slow, and get the first `--peer-clips` clips only.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import soundfile
import soxr
from processes import ASSESS, EXAMPLES, Cost, bundled_speech, rolled, run

from mtqscore.base.machine import usable_cores

CLIP_S = 5.0
LIBRARIES = "import numpy, soundfile, onnxruntime, typer, rich"
DECODE = """
import sys, soundfile, soxr
from concurrent.futures import ThreadPoolExecutor
from mtqscore.base.machine import usable_cores
def decode(path):
    audio, rate = soundfile.read(path, dtype="float32")
    return len(audio if rate == 16000 else soxr.resample(audio, rate, 16000))
with ThreadPoolExecutor(usable_cores()) as pool:
    sum(pool.map(decode, sys.argv[1:]))
"""
DNSMOS = """
import sys
from speechmos import dnsmos
dnsmos.run(sys.argv[1:], 16000, return_df=False)
"""
DISTILLMOS = """
import sys, types, torch, soundfile, soxr
sys.modules["torchaudio"] = types.ModuleType("torchaudio")  # only its own command line needs it
import distillmos
model = distillmos.ConvTransformerSQAModel().eval()
with torch.inference_mode():
    for path in sys.argv[1:]:
        audio, rate = soundfile.read(path, dtype="float32")
        model(torch.from_numpy(soxr.resample(audio, rate, 16000))[None]).item()
"""
PEERS = {"DNSMOS P.835": DNSMOS, "Distill-MOS": DISTILLMOS}
Work = Callable[[], Cost]


def in_turn(work: dict[str, Work], runs: int) -> dict[str, list[Cost]]:
    """Do each piece of work in turn, once to warm up and then ``runs`` times."""
    costs: dict[str, list[Cost]] = {name: [] for name in work}
    for number in range(runs + 1):
        for name, do in work.items():
            cost = do()
            if number:
                costs[name].append(cost)
    return costs


def ratio(costs: list[Cost], base: list[Cost]) -> float:
    """Median of the ratios of wall times, run by run."""
    return statistics.median(cost.wall_s / other.wall_s for cost, other in zip(costs, base, strict=True))


def print_starts(runs: int) -> None:
    """Print the time of commands that do next to nothing."""
    python, one = sys.executable, str(EXAMPLES / "noisy-15db.flac")
    costs = in_turn(
        {
            "import of its libraries": lambda: run([python, "-c", LIBRARIES]),
            "`mtqscore assess` of one file": lambda: run([python, "-m", "mtqscore", "assess", one]),
            "`mtqscore --help`": lambda: run([python, "-m", "mtqscore", "--help"]),
        },
        runs,
    )
    base = costs["import of its libraries"]
    print("| start | median s | ratio |\n|---|---|---|")
    for name, found in costs.items():
        print(f"| {name} | {statistics.median(cost.wall_s for cost in found):.2f} | {ratio(found, base):.2f} |")


def print_throughput(forms: dict[str, list[str]], runs: int, models: list[str]) -> None:
    """Decoding alone, and scoring: as many processes as it chooses, threads in one process, and other models."""
    print("\n| clips | median s | CPU s | × real time | ratio to decoding |\n|---|---|---|---|---|")
    for form, paths in forms.items():
        work: dict[str, Work] = {
            "decode and resample only": lambda paths=paths: run([sys.executable, "-c", DECODE, *paths]),  # type: ignore[misc]
            "`mtqscore assess`": lambda paths=paths: run([*ASSESS, *paths]),  # type: ignore[misc]
            "`mtqscore assess --workers 1`": lambda paths=paths: run([*ASSESS, "--workers", "1", *paths]),  # type: ignore[misc]
        }
        for model in models:
            command = [*ASSESS, "--model", model, *paths]
            work[f"`mtqscore assess --model {model}`"] = lambda command=command: run(command)  # type: ignore[misc]
        costs = in_turn(work, runs)
        floor = costs["decode and resample only"]
        for name, found in costs.items():
            wall_s = statistics.median(cost.wall_s for cost in found)
            cpu_s = statistics.median(cost.cpu_s for cost in found)
            speed = len(paths) * CLIP_S / wall_s
            print(f"| {form}: {name} | {wall_s:.2f} | {cpu_s:.2f} | {speed:,.0f} | {ratio(found, floor):.2f} |")


def print_peers(python: str, paths: list[str]) -> None:
    """Other tools on the first clips; what is not there says so."""
    print(f"\n| tool, {len(paths)} clips of 16 kHz WAV | s | × real time |\n|---|---|---|")
    for name, code in {"`mtqscore assess`": "", **PEERS}.items():
        command = [python, "-c", code, *paths] if code else [*ASSESS, *paths]
        probe = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if probe.returncode:
            reason = (probe.stderr.strip().splitlines() or ["failed"])[-1][:160].replace("|", "/")
            print(f"| {name} | not run: {reason} | |")
            continue
        wall_s = run(command).wall_s
        print(f"| {name} | {wall_s:.2f} | {len(paths) * CLIP_S / wall_s:,.1f} |")


def make_clips(folder: Path, count: int) -> dict[str, list[str]]:
    """Write the clips in both forms and return their paths by form."""
    speech = bundled_speech()
    forms: dict[str, list[str]] = {"16 kHz WAV": [], "48 kHz FLAC": []}
    for number in range(count):
        clip = rolled(speech, CLIP_S, number)
        for form, rate_hz, suffix in (("16 kHz WAV", 16_000, "wav"), ("48 kHz FLAC", 48_000, "flac")):
            path = folder / f"{number:05d}.{suffix}"
            soundfile.write(path, soxr.resample(clip, 16_000, rate_hz), rate_hz)
            forms[form].append(str(path))
    return forms


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=2_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--model", action="append", default=[], help="another model beside the default; repeatable")
    parser.add_argument("--peers", metavar="PYTHON", default=sys.executable, help="interpreter that has the peers")
    parser.add_argument("--peer-clips", type=int, default=20)
    options = parser.parse_args()
    print_starts(2 * options.runs)
    print(f"\n{options.clips} clips of {CLIP_S:g} s, {usable_cores()} cores:")
    with tempfile.TemporaryDirectory() as folder:
        forms = make_clips(Path(folder), options.clips)
        print_throughput(forms, options.runs, options.model)
        print_peers(options.peers, forms["16 kHz WAV"][: options.peer_clips])


if __name__ == "__main__":
    main()
