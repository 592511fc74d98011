"""The tables of a model card: accuracy on labelled sets, and what should not move a score but might.

    python benchmarks/model_card.py --model models/mtqnet-s-1.onnx \
        --set 'NOIZEUS=PATH/noizeus.csv' --set 'simulated test=PATH/corpus:test'

A set is a label table, or a folder with manifest.csv, with an optional split. The other tables use the bundled
recordings.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from mtqscore import AssessConfig, Assessor, find_inputs
from mtqscore.evaluation import Agreement, evaluate
from mtqscore.manifest import read_manifest
from mtqscore.spec import SUPERVISED

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = [target.name for target in SUPERVISED]
HEADS = " | ".join(f"{name[0].upper()} LCC | {name[0].upper()} RMSE" for name in NAMES)
Samples = NDArray[np.float32]


def print_accuracy(assessor: Assessor, title: str, manifest: Path, split: str | None) -> None:
    """Print agreement over a set with 95 % intervals, then by bandwidth and by kind of degradation."""
    rows = [row for row in read_manifest(manifest) if split is None or row.split == split]
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
        if item.group == "files" and item.lcc_interval is not None:
            interval = f"{item.lcc_interval.low:.3f} to {item.lcc_interval.high:.3f}"
            cells = f"{item.lcc:.3f} | {interval} | {item.srcc:.3f} | {item.rmse:.2f} | {item.bias:+.2f}"
            print(f"| {item.target[0].upper()} | {cells} |")
    for column in groups:
        print(f"\n| {column} | recordings | {HEADS} |\n|---|---|{'---|---|' * len(NAMES)}")
        table: dict[str, list[Agreement]] = defaultdict(list)
        for item in found:
            if item.group.startswith(f"{column} = "):
                table[item.group.removeprefix(f"{column} = ")].append(item)
        for name, items in table.items():
            cells = " | ".join(f"{item.lcc:.2f} | {item.rmse:.2f}" for item in items)
            print(f"| {name} | {items[0].pairs} | {cells} |")


def score(assessor: Assessor, samples: Samples, rate_hz: int) -> NDArray[np.float64]:
    """Return S, N and G of an array, or NaN."""
    scores = assessor.assess_array(samples, rate_hz).scores
    return np.array([np.nan] * len(NAMES) if scores is None else [getattr(scores, name) for name in NAMES])


def resampled(rate_hz: int) -> Callable[[Samples, int], tuple[Samples, int]]:
    """Return a change of sample rate."""
    return lambda samples, old_hz: (soxr.resample(samples, old_hz, rate_hz).astype(np.float32), rate_hz)


def gained(gain_db: float) -> Callable[[Samples, int], tuple[Samples, int]]:
    """Return a change of level to a peak of ``gain_db`` dBFS, stored with 16 bits."""

    def change(samples: Samples, rate_hz: int) -> tuple[Samples, int]:
        level = samples * (10 ** (gain_db / 20) / np.abs(samples).max())
        return (np.rint(level * 32767) / 32767).astype(np.float32), rate_hz

    return change


def padded(before_s: float, after_s: float) -> Callable[[Samples, int], tuple[Samples, int]]:
    """Return an addition of digital silence."""
    return lambda samples, rate_hz: (np.pad(samples, (int(before_s * rate_hz), int(after_s * rate_hz))), rate_hz)


def cut(share: float) -> Callable[[Samples, int], tuple[Samples, int]]:
    """Return the first part of a recording."""
    return lambda samples, rate_hz: (samples[: int(share * len(samples))], rate_hz)


def repeated(times: int) -> Callable[[Samples, int], tuple[Samples, int]]:
    """Return a recording played several times."""
    return lambda samples, rate_hz: (np.tile(samples, times), rate_hz)


CHANGES: dict[str, Callable[[Samples, int], tuple[Samples, int]]] = {
    **{f"peak at {level} dBFS, 16 bit": gained(level) for level in (-50, -40, -30, -20, -10, 0)},
    "at 44.1 kHz": resampled(44_100),
    "at 48 kHz": resampled(48_000),
    **{f"{seconds} s of silence before": padded(seconds, 0) for seconds in (1, 3)},
    **{f"{seconds} s of silence after": padded(0, seconds) for seconds in (1, 3, 10)},
    **{f"first {share:.0%} of the recording": cut(share) for share in (0.25, 0.5, 0.75)},
    **{f"played {times} times": repeated(times) for times in (2, 4, 10)},
}


def print_drift(assessor: Assessor) -> None:
    """Print how far changes that should not matter move the scores of the bundled recordings."""
    clips = []
    for path in sorted(EXAMPLES.glob("*.flac")):
        samples, rate_hz = soundfile.read(path, dtype="float32")
        clips.append((samples, rate_hz, score(assessor, samples, rate_hz)))
    print(f"\n### Drift\n\nOver {len(clips)} bundled recordings at 16 kHz: mean and largest change of a score.\n")
    print("| change | S | N | G |\n|---|---|---|---|")
    for name, change in CHANGES.items():
        moves = np.array([score(assessor, *change(samples, rate_hz)) - was for samples, rate_hz, was in clips])
        cells = " | ".join(f"{moves[:, i].mean():+.2f} (max {np.abs(moves[:, i]).max():.2f})" for i in range(3))
        print(f"| {name} | {cells} |")


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--set", action="append", default=[], metavar="TITLE=MANIFEST[:SPLIT]")
    options = parser.parse_args()
    assessor = Assessor(AssessConfig(model=options.model))
    print(f"{assessor.model}, sha256 {assessor.model_sha256}, on {assessor.provider}")
    for item in options.set:
        title, _, place = item.partition("=")
        manifest, _, split = place.partition(":")
        print_accuracy(assessor, title, Path(manifest), split or None)
    print_drift(assessor)


if __name__ == "__main__":
    main()
