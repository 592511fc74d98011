"""Movement of the scores with TF32 products on a CUDA device, against float32 on the CPU.

    python benchmarks/precision.py [--model mtqnet-s]

The table is Markdown: largest and root mean square difference, in points of the scale, over the bundled recordings and
the known clips, one at a time, for fp32 and tf32 on every CUDA device that works here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtqscore import AssessConfig, Assessor, find_inputs
from mtqscore.diagnostics.conformance.known import clip_paths
from mtqscore.scores import named_scores
from mtqscore.scoring.session import available_devices

EXAMPLES = Path(__file__).parent.parent / "examples"


def scores(config: AssessConfig) -> NDArray[np.float64]:
    """Score every recording, one at a time: (recordings, targets)."""
    assessor = Assessor(config)
    inputs = find_inputs([str(EXAMPLES), *map(str, clip_paths())])
    return np.array([list(named_scores(next(assessor.assess_files([one]))).values()) for one in inputs])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    model = parser.parse_args().model
    devices = [state.name for state in available_devices() if state.name.startswith("cuda") and state.works]
    if not devices:
        raise SystemExit("no CUDA device works here; mtqscore doctor says why")
    expected = scores(AssessConfig(model=model, device="cpu"))
    print(f"| products | {' | '.join(f'{name} largest | {name} RMS' for name in 'SNG')} |\n|---|{'---|' * 6}")
    for device in devices:
        for precision in ("fp32", "tf32"):
            gaps = scores(AssessConfig(model=model, device=device, precision=precision)) - expected
            cells = [f"{np.abs(gap).max():.4f} | {np.sqrt(np.mean(gap**2)):.4f}" for gap in gaps.T]
            print(f"| {precision} on {device} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
