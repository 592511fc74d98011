"""Change of S, N and G by enhancers of noisy speech, by the labels and by a model.

    python benchmarks/studies/enhancement.py --speech speech.csv --noise noise.csv [--clips 40] \\
        [--model mtqnet-s ...] [--peers PYTHON] \\
        --enhancer 'gtcrn=python benchmarks/studies/published_enhancer.py gtcrn gtcrn.onnx {in} {out}' ...

Clean recordings of the test split get noise of the test split at 0 to 20 dB, and every enhancer hears the same ones.
Labels are those of the black-box method (docs/labels.md). Enhancers can lower noise, but not mend speech: a model that
finds the speech better after them has not heard what they do to it. DNSMOS P.835, which was trained on listeners of
enhanced speech, is asked too where an interpreter has it (`pip install speechmos librosa pandas`). Its scale is
another one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from mtqscore import AssessConfig, Assessor
from mtqscore.labels.mapping import label_parts
from mtqscore.simulation.corpus import floor_ratio_db
from mtqscore.simulation.degradations.external import Enhancer, check_command
from mtqscore.simulation.degradations.noises import AddNoise
from mtqscore.simulation.sampler import SoundSampler, list_files
from mtqscore.simulation.scene import Scene, start_scene

RATE_HZ = 16_000
SECONDS = 5
SNR_DB = (0.0, 20.0)
PEAK = 0.4
SEED = 99

DNSMOS = """
import json, soundfile, sys
from speechmos import dnsmos
said = [dnsmos.run(soundfile.read(path, dtype="float32")[0], sr=16000) for path in sys.argv[1:]]
print(json.dumps([[float(one[name]) for name in ("sig_mos", "bak_mos", "ovrl_mos")] for one in said]))
"""

Scores = NDArray[np.float64]
"""S, N and G of every recording, (recordings, 3); NaN where one could not be judged."""


def label(scene: Scene, floor_db: float) -> tuple[float, float, float]:
    """S, N and G by the labels."""
    found = label_parts(
        scene.clean, scene.speech, scene.noise, scene.rate_hz, raw_noise=scene.raw_noise, floor_db=floor_db
    )
    return (np.nan, np.nan, np.nan) if found is None else (found.s_mos, found.n_mos, found.g_mos)


def said(model: str, paths: list[Path]) -> Scores:
    """S, N and G by a model."""
    rows = Assessor(AssessConfig(model=model)).assess_files(paths)
    return np.array(
        [
            (np.nan, np.nan, np.nan) if row.scores is None else (row.scores.s_mos, row.scores.n_mos, row.scores.g_mos)
            for row in rows
        ]
    )


def dnsmos_said(python: str, paths: list[Path]) -> Scores:
    """S, N and G by DNSMOS P.835, in an interpreter that has it."""
    done = subprocess.run([python, "-c", DNSMOS, *map(str, paths)], stdout=subprocess.PIPE, check=True)
    return np.array(json.loads(done.stdout.splitlines()[-1]))


def differences(after: Scores, before: Scores) -> str:
    """Cells of a table: the mean difference of each score."""
    return " | ".join(f"{value:+.2f}" for value in np.nanmean(after - before, axis=0))


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True, help="folder or table of clean speech")
    parser.add_argument("--noise", type=Path, required=True, help="folder or table of noise")
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--model", nargs="+", default=["mtqnet-s"])
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter that has DNSMOS")
    parser.add_argument("--enhancer", action="append", required=True, metavar="NAME=COMMAND")
    options = parser.parse_args()
    commands = {"before": "", **dict(text.split("=", 1) for text in options.enhancer)}
    for command in list(commands.values())[1:]:
        check_command(command)
    shares = {"val": 0.1, "test": 0.3}
    lists = [list_files(table, shares, SEED) for table in (options.speech, options.noise)]
    sources = SoundSampler(*lists, "test")
    labels: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
    files: dict[str, list[Path]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.clips):
            rng = np.random.default_rng([SEED, number])
            clean, _, _ = sources.speech(rng, SECONDS * RATE_HZ)
            clean = np.pad(clean, RATE_HZ // 2)
            floor_db = floor_ratio_db(clean, RATE_HZ)
            noisy = AddNoise.draw(rng, sources, snr_db=SNR_DB).apply(start_scene(clean, RATE_HZ), rng)
            for name, command in commands.items():
                scene = Enhancer(command).apply(noisy, rng) if command else noisy
                labels[name].append(label(scene, floor_db))
                files[name].append(Path(folder) / f"{number}-{name}.wav")
                soundfile.write(files[name][-1], scene.mix * (PEAK / np.max(np.abs(scene.mix))), RATE_HZ)
        judged = {"labels": {name: np.array(rows) for name, rows in labels.items()}}
        for model in options.model:
            judged[model] = {name: said(model, paths) for name, paths in files.items()}
        if options.peers:
            judged["DNSMOS P.835"] = {name: dnsmos_said(options.peers, paths) for name, paths in files.items()}
    before = np.nanmean(judged["labels"]["before"], axis=0)
    print(
        f"{options.clips} recordings; before, the labels are S {before[0]:.2f}, N {before[1]:.2f}, G {before[2]:.2f}\n"
    )
    print("| enhancer | judge | S | N | G |\n|---|---|---|---|---|")
    for name in list(commands)[1:]:
        for judge, scores in judged.items():
            print(f"| {name} | {judge} | {differences(scores[name], scores['before'])} |")


if __name__ == "__main__":
    main()
