"""How often a 95 % interval of a measure of agreement holds the true value, by simulation.

Run: python benchmarks/agreement_coverage.py
"""

from __future__ import annotations

import math

import numpy as np

from mtqscore.analysis.bootstrap import MEASURES, agreement_intervals

STUDIES = 1_000
COUNTS = (8, 12, 20, 50, 200)
RHO = 0.9
"""Correlation of the simulated labels and estimates, which are normal, with variance 1."""

TRUE = {
    "lcc": RHO,
    "srcc": 6 / math.pi * math.asin(RHO / 2),
    "ktau": 2 / math.pi * math.asin(RHO),
    "mse": 2 - 2 * RHO,
    "rmse": math.sqrt(2 - 2 * RHO),
    "bias": 0.0,
}


def coverage(pairs: int) -> dict[str, float]:
    """Share of simulated studies whose intervals hold the true values."""
    draw = np.random.default_rng(pairs)
    held = dict.fromkeys(MEASURES, 0)
    for study in range(STUDIES):
        truth = draw.standard_normal(pairs)
        estimate = RHO * truth + math.sqrt(1 - RHO**2) * draw.standard_normal(pairs)
        for name, interval in agreement_intervals(truth, estimate, seed=study).items():
            held[name] += interval.low <= TRUE[name] <= interval.high
    return {name: count / STUDIES for name, count in held.items()}


def main() -> None:
    """Print one row a number of pairs."""
    print(f"| pairs | {' | '.join(name.upper() for name in MEASURES)} |\n|---|{'---|' * len(MEASURES)}")
    for pairs in COUNTS:
        print(f"| {pairs} | {' | '.join(f'{100 * share:.0f} %' for share in coverage(pairs).values())} |", flush=True)


if __name__ == "__main__":
    main()
