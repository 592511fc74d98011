"""Cost of a network in use: parameters, bytes as ONNX, processor time of onnxruntime on one thread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnxruntime

from mtqscore.targets import SAMPLE_RATE_HZ, SUPERVISED
from mtqscore.training.export.calibration import from_points
from mtqscore.training.export.graph import build_graph
from mtqscore.training.networks import Network

CLIP_S = 5.0
BATCH = 8
"""40 s of audio at once, two batches of `assess`."""


@dataclass(frozen=True)
class Cost:
    """Cost of a network in use.

    Args:
        parameters: what is trained, all heads included.
        onnx_bytes: the exported file with the heads of S, N and G.
        cpu_ms: processor time of onnxruntime on one thread, in ms a second of audio; NaN if it was not measured.
    """

    parameters: int
    onnx_bytes: int
    cpu_ms: float


def count_parameters(network: Network) -> int:
    """Count what is trained."""
    return sum(parameter.numel() for parameter in network.parameters())


def measure(networks: Mapping[str, Network], rounds: int) -> dict[str, Cost]:
    """Measure networks side by side: each round runs all of them, so that what else the machine does falls on all.

    Args:
        networks: in evaluation mode, by any name.
        rounds: how often each runs; the median counts. 0 measures no time.
    """
    noise = 0.1 * np.random.default_rng(0).standard_normal((BATCH, round(CLIP_S * SAMPLE_RATE_HZ)))
    feeds = {"waveform": noise.astype(np.float32), "lengths": np.full(BATCH, noise.shape[1])}
    files = {name: _exported(network) for name, network in networks.items()}
    runs = {name: _session(content) for name, content in files.items()} if rounds else {}
    times_s: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            start_s = time.process_time()
            run(None, feeds)
            if number:  # the first one fills caches
                times_s[name].append(time.process_time() - start_s)
    audio_s = BATCH * CLIP_S
    cpu_ms = {name: 1e3 * statistics.median(found) / audio_s for name, found in times_s.items()}
    return {
        name: Cost(count_parameters(network), len(files[name]), cpu_ms.get(name, float("nan")))
        for name, network in networks.items()
    }


def _exported(network: Network) -> bytes:
    wanted = [target.name for target in network.targets if target in SUPERVISED]
    network = network.with_targets(wanted or [target.name for target in network.targets])
    return bytes(build_graph(network, from_points({}, network.targets), "cost").SerializeToString())


def _session(content: bytes) -> Callable[..., object]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    run: Callable[..., object] = session.run
    return run
