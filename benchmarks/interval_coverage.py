"""How often a 95 % interval of a mean change holds the true change, by simulation.

Run: python benchmarks/interval_coverage.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mtqscore.analysis.statistics import mean_intervals

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

STUDIES = 4_000
RESAMPLES = 1_000
COUNTS = (3, 5, 8, 10, 30, 100)

CHANGES: dict[str, Callable[[np.random.Generator, int], NDArray[np.float64]]] = {
    "symmetric": lambda draw, count: draw.standard_normal(count),
    # Most recordings hardly move, some fall far: what a change that breaks a few of them looks like.
    "skewed": lambda draw, count: 1 - draw.exponential(size=count),
}


def coverage(change: Callable[[np.random.Generator, int], NDArray[np.float64]], count: int, *, paired: bool) -> float:
    """Share of simulated studies whose interval holds the true mean change, which is 0."""
    draw = np.random.default_rng(count)
    held = 0
    for study in range(STUDIES):
        new = change(draw, count)[:, np.newaxis]
        base = None if paired else draw.standard_normal((count, 1))
        (interval,) = mean_intervals(new, base, resamples=RESAMPLES, seed=study)
        held += interval.low <= 0 <= interval.high
    return held / STUDIES


def main() -> None:
    """Print a table in Markdown."""
    print("| recordings | paired, symmetric | paired, skewed | unpaired, symmetric | unpaired, skewed |")
    print("|---|---|---|---|---|")
    for count in COUNTS:
        shares = [coverage(change, count, paired=paired) for paired in (True, False) for change in CHANGES.values()]
        print(f"| {count} | {' | '.join(f'{100 * share:.1f} %' for share in shares)} |")


if __name__ == "__main__":
    main()
