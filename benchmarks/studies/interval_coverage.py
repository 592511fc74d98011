"""Share of 95 % intervals that hold the true value, by simulation: of mean changes, and of measures of agreement.

python benchmarks/studies/interval_coverage.py
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mtqscore.analysis.means import mean_intervals
from mtqscore.analysis.statistics import MEASURES, agreement_intervals

CHANGES: dict[str, Callable[[np.random.Generator, int], NDArray[np.float64]]] = {
    "symmetric": lambda draw, count: draw.standard_normal(count),
    # Most recordings hardly move, some fall far: what a change that breaks a few of them looks like.
    "skewed": lambda draw, count: 1 - draw.exponential(size=count),
}
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


def change_coverage(name: str, count: int, *, paired: bool, studies: int = 4_000) -> float:
    """Share of simulated comparisons whose interval holds the true mean change, 0."""
    draw = np.random.default_rng(count)
    held = 0
    for study in range(studies):
        new = CHANGES[name](draw, count)[:, np.newaxis]
        base = None if paired else draw.standard_normal((count, 1))
        (interval,) = mean_intervals(new, base, resamples=1_000, seed=study)
        held += interval.low <= 0 <= interval.high
    return held / studies


def agreement_coverage(pairs: int, studies: int = 1_000) -> dict[str, float]:
    """Share of simulated evaluations whose intervals hold the true value of each measure."""
    draw = np.random.default_rng(pairs)
    held = dict.fromkeys(MEASURES, 0)
    for study in range(studies):
        truth = draw.standard_normal(pairs)
        estimate = RHO * truth + math.sqrt(1 - RHO**2) * draw.standard_normal(pairs)
        for name, interval in agreement_intervals(truth, estimate, seed=study).items():
            held[name] += interval.low <= TRUE[name] <= interval.high
    return {name: count / studies for name, count in held.items()}


def main() -> None:
    """Print both tables as Markdown."""
    heads = [f"{'paired' if paired else 'unpaired'}, {name}" for paired in (True, False) for name in CHANGES]
    print(f"| recordings | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}")
    for count in (3, 5, 8, 10, 30, 100):
        shares = [change_coverage(name, count, paired=paired) for paired in (True, False) for name in CHANGES]
        print(f"| {count} | {' | '.join(f'{100 * share:.1f} %' for share in shares)} |", flush=True)
    print(f"\n| pairs | {' | '.join(name.upper() for name in MEASURES)} |\n|---|{'---|' * len(MEASURES)}")
    for count in (8, 12, 20, 50, 200):
        shares = list(agreement_coverage(count).values())
        print(f"| {count} | {' | '.join(f'{100 * share:.0f} %' for share in shares)} |", flush=True)


if __name__ == "__main__":
    main()
