"""Agreement of `mtqscore label` with listeners, on the files of a listening test.

    python benchmarks/studies/label_agreement.py noizeus.csv --clean c5
    python benchmarks/studies/label_agreement.py p835-wideband.csv --clean c0

A table has the columns path, condition, s_mos, n_mos and g_mos, and talker unless file names begin with it. Every
recording is labelled against the recording of its talker in the clean condition, from the two files alone.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtqscore.base.machine import usable_cores
from mtqscore.base.processes import WorkerPool
from mtqscore.labels.pairs import ReferenceTriple
from mtqscore.labels.reference_files import label_files
from mtqscore.labels.table import read_table

SCORES = ("s_mos", "n_mos", "g_mos")


def label(pair: tuple[Path, Path]) -> tuple[float, float, float]:
    """Label one recording: S, N and G."""
    labels = label_files(ReferenceTriple(*pair)).labels
    return labels.s_mos, labels.n_mos, labels.g_mos


def print_agreement(title: str, ratings: NDArray[np.float64], labels: NDArray[np.float64]) -> None:
    """Print a row of the table: correlation, RMSE and mean error of each score."""
    cells = []
    for name, true, found in zip(SCORES, ratings.T, labels.T, strict=True):
        rmse, bias = np.sqrt(np.mean((found - true) ** 2)), np.mean(found - true)
        cells.append(f"{name[0].upper()} {np.corrcoef(true, found)[0, 1]:.3f}, {rmse:.2f}, {bias:+.2f}")
    print(f"| {title} | {' | '.join(cells)} |")


def main() -> None:
    """Print the conditions and the agreement as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--clean", required=True, metavar="CONDITION")
    options = parser.parse_args()
    rows = read_table(options.table, ("path", "condition", *SCORES))
    talkers = [row.get("talker") or Path(row["path"]).stem.split("_")[0] for row in rows]
    paths = [options.table.parent / row["path"] for row in rows]
    clean = {
        talker: path
        for row, talker, path in zip(rows, talkers, paths, strict=True)
        if row["condition"] == options.clean
    }
    pairs = [(path, clean[talker]) for path, talker in zip(paths, talkers, strict=True)]
    with WorkerPool(usable_cores()) as pool:
        labels = np.array(list(pool.map(label, pairs, chunksize=4)))
    ratings = np.array([[float(row[name]) for name in SCORES] for row in rows])
    groups: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        groups[row["condition"]].append(index)
    print("| condition | S listeners | S label | N listeners | N label | G listeners | G label |\n|---|" + "---|" * 6)
    means = [(ratings[places].mean(0), labels[places].mean(0)) for places in groups.values()]
    for condition, (true, found) in zip(groups, means, strict=True):
        print(f"| {condition} | {' | '.join(f'{a:.2f} | {b:.2f}' for a, b in zip(true, found, strict=True))} |")
    print("\n| LCC, RMSE, mean error | S | N | G |\n|---|---|---|---|")
    print_agreement(f"{len(rows)} recordings", ratings, labels)
    print_agreement(f"{len(groups)} conditions", *map(np.array, zip(*means, strict=True)))


if __name__ == "__main__":
    main()
