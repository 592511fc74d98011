"""The tables of a model card: accuracy on labelled sets, and what should not move a score but might.

    python benchmarks/release/model_card.py --model models/mtqnet-s-6.onnx \
        --set 'NOIZEUS=PATH/noizeus.csv' --set 'simulated test=PATH/corpus:test' --noise PATH/noise.csv

A set is a label table, or a folder with manifest.csv, with an optional split. For the corpus that the model was trained
on, what its training never heard is reported apart: what `mtqscore simulate --hold-out` kept out, and with --noise, the
table that the corpus was made with, whole families of noise (unheard.py). The table of drift is that of drift.py.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

from drift import print_drift
from unheard import Noise, held_out_of, print_unheard, read_noise

from mtqscore import AssessConfig, Assessor, find_inputs
from mtqscore.analysis.evaluate import ALL_FILES, Agreement, Level, Over, evaluate
from mtqscore.errors import MtqscoreError
from mtqscore.labels.table import read_label_table
from mtqscore.targets import SUPERVISED

NAMES = [target.name for target in SUPERVISED]
HEADS = " | ".join(f"{name[0].upper()} LCC | {name[0].upper()} RMSE" for name in NAMES)


def print_accuracy(assessor: Assessor, title: str, manifest: Path, split: str | None, noise: Noise | None) -> None:
    """Print agreement over a set with 95 % intervals, by bandwidth and by kind, and on what training never heard."""
    rows = [row for row in read_label_table(manifest) if split is None or row.split == split]
    results = assessor.assess_files(find_inputs([str(row.path) for row in rows]))
    estimates = {
        row.path: {name: getattr(result.scores, name) for name in NAMES}
        for row, result in zip(rows, results, strict=True)
        if result.scores is not None
    }
    groups = [column for column in ("bandwidth", "kind") if any(column in row.extra for row in rows)]
    found = evaluate(rows, estimates, groups)
    print(f"\n### {title}\n\n{len(estimates)} recordings, {len(rows) - len(estimates)} without a score.\n")
    print("| scale | LCC | 95 % interval | SRCC | RMSE | mean error |\n|---|---|---|---|---|---|")
    for item in found:
        if item.over == ALL_FILES:
            value, ends = item.values, item.intervals["lcc"]
            interval = f"{ends.low:.3f} to {ends.high:.3f}"
            cells = (
                f"{value['lcc']:.3f} | {interval} | {value['srcc']:.3f} | {value['rmse']:.2f} | {value['bias']:+.2f}"
            )
            print(f"| {item.target[0].upper()} | {cells} |")
    for column in groups:
        print(f"\n| {column} | recordings | {HEADS} |\n|---|---|{'---|---|' * len(NAMES)}")
        table: dict[str, list[Agreement]] = defaultdict(list)
        for item in found:
            if item.over == Over(Level.GROUP, column, item.over.value):
                table[item.over.value].append(item)
        for name, items in table.items():
            cells = " | ".join(f"{item.values['lcc']:.2f} | {item.values['rmse']:.2f}" for item in items)
            print(f"| {name} | {items[0].pairs} | {cells} |")
    held_out = held_out_of(manifest)
    if (held_out or noise is not None) and all("chain" in row.extra for row in rows):
        print_unheard(rows, estimates, held_out, noise)


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--set", action="append", default=[], metavar="TITLE=MANIFEST[:SPLIT]")
    parser.add_argument("--noise", type=Path, metavar="TABLE")
    options = parser.parse_args()
    assessor = Assessor(AssessConfig(model=options.model))
    print(f"{assessor.model}, sha256 {assessor.model_sha256}, on {assessor.provider}")
    noise = read_noise(options.noise) if options.noise is not None else None
    for item in options.set:
        title, _, place = item.partition("=")
        manifest, _, split = place.partition(":")
        print_accuracy(assessor, title, Path(manifest), split or None, noise)
    print("\n## Drift\n")
    print_drift(assessor)


if __name__ == "__main__":
    try:
        main()
    except MtqscoreError as error:
        raise SystemExit(str(error)) from None
