"""How far scores move when products are computed from shorter numbers than float32.

    python benchmarks/precision.py [--model mtqnet-s]

TF32, which NVIDIA GPUs offer, keeps 10 bits of the mantissa of what is multiplied and adds in float32. Without a GPU
that is estimated: every input of a matrix product, a convolution and a recurrent layer is rounded to 10 bits, and the
rest is computed on the CPU as ever. The state that a recurrent layer hands from step to step is not rounded, and a GPU
may cut numbers instead of rounding them. Where CUDA works, the GPU itself is measured as well, in fp32 and tf32.

The table is Markdown: largest and root mean square difference from float32 on the CPU, in points of the scale, over
the bundled recordings and the known clips, one at a time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import soundfile
import soxr
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from mtqscore.models import ModelFile, load_model
from mtqscore.scoring.session import Scorer, available_devices
from mtqscore.targets import SAMPLE_RATE_HZ

ROOT = Path(__file__).parent.parent
FOLDERS = (ROOT / "examples", ROOT / "mtqscore" / "conformance" / "clips")
KINDS = (".wav", ".flac", ".ogg", ".mp3")
PRODUCTS = {"MatMul": (0, 1), "Gemm": (0, 1), "Conv": (0, 1), "LSTM": (0, 1, 2)}
"""Operators that multiply many numbers, and the places of the inputs that are rounded."""

FLOAT32_BITS, TF32_BITS = 24, 11
"""Bits of a mantissa with the leading one, which is not stored."""

Clips = list[NDArray[np.float32]]


def rounded(model: ModelFile, bits: int, chosen: Callable[[str], bool]) -> ModelFile:
    """Put a rounding before the chosen products of a model.

    A number x keeps so many bits in c - (c - x) with c = x (2^(24 - bits) + 1): Dekker, Numer. Math. 18 (1971).
    """
    graph_file = onnx.load_from_string(model.content)
    graph = graph_file.graph
    factor = np.array(2.0 ** (FLOAT32_BITS - bits) + 1.0, np.float32)
    graph.initializer.append(numpy_helper.from_array(factor, "rounding_factor"))
    nodes: list[onnx.NodeProto] = []
    done: dict[str, str] = {}
    for node in graph.node:
        for place in PRODUCTS.get(node.op_type, ()) if chosen(node.name) else ():
            name = node.input[place]
            if name not in done:
                scaled, rest, done[name] = (f"{name}_{part}" for part in ("scaled", "rest", "rounded"))
                nodes.append(helper.make_node("Mul", [name, "rounding_factor"], [scaled]))
                nodes.append(helper.make_node("Sub", [scaled, name], [rest]))
                nodes.append(helper.make_node("Sub", [scaled, rest], [done[name]]))
            node.input[place] = done[name]
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return replace(model, content=graph_file.SerializeToString())


def read_clips() -> Clips:
    """Read the recordings as mono at 16 kHz."""
    clips = []
    for path in sorted(path for folder in FOLDERS for path in folder.iterdir() if path.suffix in KINDS):
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
        clips.append(soxr.resample(samples.mean(axis=1), rate_hz, SAMPLE_RATE_HZ).astype(np.float32))
    return clips


def score(scorer: Scorer, clips: Clips) -> NDArray[np.float64]:
    """Score every recording on its own: (recordings, targets)."""
    window = scorer.info.window_samples
    return np.concatenate(
        [scorer.score(clip[np.newaxis, :window], np.array([min(len(clip), window)]))[0] for clip in clips]
    ).astype(np.float64)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    model, clips = load_model(parser.parse_args().model), read_clips()
    exact = Scorer(model, "cpu")
    expected = score(exact, clips)
    scorers = {
        "TF32 in every product, estimated on the CPU": Scorer(rounded(model, TF32_BITS, lambda _: True), "cpu"),
        "TF32 in the spectrum alone, estimated": Scorer(
            rounded(model, TF32_BITS, lambda name: "spectrum" in name), "cpu"
        ),
        "TF32 behind the spectrum, estimated": Scorer(
            rounded(model, TF32_BITS, lambda name: "spectrum" not in name), "cpu"
        ),
    }
    for state in available_devices():
        if state.name.startswith("cuda") and state.works:
            for precision in ("fp32", "tf32"):
                scorers[f"{precision} on {state.name}, measured"] = Scorer(model, state.name, precision)
    names = [target.partition("_")[0].upper() for target in exact.info.targets]
    print(f"{exact.info.label}, {len(clips)} recordings\n")
    print(f"| products | {' | '.join(f'{name} largest | {name} RMS' for name in names)} |")
    print(f"|---|{'---|' * 2 * len(names)}")
    for title, scorer in scorers.items():
        gaps = score(scorer, clips) - expected
        cells = [f"{np.abs(gap).max():.4f} | {np.sqrt(np.mean(gap**2)):.4f}" for gap in gaps.T]
        print(f"| {title} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
