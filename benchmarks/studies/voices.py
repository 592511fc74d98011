"""Scores of clean speech by deeper and higher voices, which should be much the same.

    python benchmarks/studies/voices.py --speech speech.csv [--split test] [--model mtqnet-s ...]

Clean recordings are played at other speeds, which moves pitch, formants and tempo. The table has mean and standard
deviation of every score over all recordings: a mean that moves is a voice that is taken for a distortion, and a
deviation is what voices and microphones cost.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import soxr

from mtqscore import AssessConfig, Assessor
from mtqscore.labels.table import read_table

SPEEDS = (0.84, 1.0, 1.2)
RECORDINGS = 120


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True, help="table of clean speech: path, split")
    parser.add_argument("--split", default="test")
    parser.add_argument("--model", nargs="+", default=["mtqnet-s"])
    options = parser.parse_args()
    records = [record for record in read_table(options.speech, ("path",)) if record.get("split") == options.split]
    chosen = records[:: max(1, len(records) // RECORDINGS)]
    print(f"{len(chosen)} recordings\n\n| model | speed | S | N | G |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        files: dict[float, list[Path]] = {speed: [] for speed in SPEEDS}
        for number, record in enumerate(chosen):
            samples, rate_hz = soundfile.read(options.speech.parent / record["path"])
            for speed, paths in files.items():
                paths.append(Path(folder) / f"{number}-{speed}.wav")
                soundfile.write(paths[-1], soxr.resample(samples, rate_hz * speed, rate_hz), rate_hz)
        for model in options.model:
            assessor = Assessor(AssessConfig(model=model))
            for speed, paths in files.items():
                said = [result.scores for result in assessor.assess_files(paths) if result.scores is not None]
                values = np.array([(scores.s_mos, scores.n_mos, scores.g_mos) for scores in said])
                cells = [
                    f"{mean:.2f} ± {deviation:.2f}"
                    for mean, deviation in zip(values.mean(0), values.std(0), strict=True)
                ]
                print(f"| {assessor.model} | {speed:g} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
