"""Run folders of pruned networks, each made from another run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtqscore.base.machine import usable_cores
from mtqscore.base.schema import to_plain
from mtqscore.errors import InputError, UsageError
from mtqscore.labels.table import LabelledRecording
from mtqscore.training.checkpoint import Checkpoint, load_network, read_checkpoint, write_checkpoint
from mtqscore.training.compute.resources import write_json
from mtqscore.training.config import TrainConfig
from mtqscore.training.data.dataset import Dataset
from mtqscore.training.export.inference_cost import Cost, count_parameters, measure
from mtqscore.training.loop import Watch
from mtqscore.training.network_config import CompactConfig
from mtqscore.training.networks.compact import CompactNet
from mtqscore.training.pruning.config import Budget, PruneConfig
from mtqscore.training.pruning.cutting import choose, cut
from mtqscore.training.pruning.importance import by_magnitude, by_taylor
from mtqscore.training.run import load_split, make_folder
from mtqscore.training.tracking.environment import describe_call, describe_machine
from mtqscore.training.validation import evaluate_split
from mtqscore.training.weights import BEST_FILE, LAST_FILE

REPORT_FILE = "pruning.json"

FIT_ROUNDS, REPORT_ROUNDS = 5, 9
"""Runs of each network to compare their times: while the sizes are sought, and for the report."""


def open_compact(source: Path) -> tuple[Checkpoint, CompactNet]:
    """Load a network that can be pruned, from a run folder, checkpoint or released model.

    Raises:
        UsageError: it holds another kind of network.
    """
    checkpoint = read_checkpoint(source)
    network = load_network(checkpoint)
    if not isinstance(network, CompactNet):
        raise UsageError(f"{source}: holds a network {checkpoint.config.network.kind}; only compact ones can be pruned")
    return checkpoint, network


def prune_run(
    source: Path, data: Path | None, rows: Sequence[LabelledRecording], out: Path, config: PruneConfig, watch: Watch
) -> dict[str, Any]:
    """Prune the network of a run, and write what is left as a new run folder.

    Args:
        source: run folder, of which the best epoch is taken, checkpoint or released model.
        data: where the recordings come from, for the record; None without any.
        rows: recordings with labels; ``taylor`` measures on those of the split train, and those of val are scored
            before and after the cut.
        out: the folder to make.
        config: the options.
        watch: notified of the progress.

    Returns:
        Content of ``pruning.json``.

    Raises:
        InputError: the source is no checkpoint, or recordings are missing or faulty.
        UsageError: the network cannot be cut so far, or the folder holds a run already.
    """
    if any((out / name).exists() for name in (BEST_FILE, LAST_FILE)):
        raise UsageError(f"{out}: holds a run already; choose another --out")
    checkpoint, network = open_compact(source)
    torch.set_num_threads(config.threads or usable_cores())
    names = {target.name for target in network.targets}
    labelled = [row for row in rows if names & row.labels.keys()]
    if config.criterion == "taylor" and not any(row.split == "train" for row in labelled):
        raise InputError(f"{data}: the split train has no recordings with labels of the network's targets")
    make_folder(out)
    train, val = (_load(labelled, split, config, checkpoint.config, watch) for split in ("train", "val"))
    smaller = prune(network, train, checkpoint.config, config, watch)
    networks = {"before": network, "after": smaller}
    costs = measure(networks, REPORT_ROUNDS)
    old, new = to_plain(network.config), to_plain(smaller.config)
    sizes = {name: [old[name], new[name]] for name in old if old[name] != new[name]}
    report: dict[str, Any] = {"from": str(checkpoint.path), **to_plain(config), "sizes": sizes}
    report |= {name: dataclasses.asdict(cost) for name, cost in costs.items()}
    own = dataclasses.replace(checkpoint.config, network=smaller.config)
    if val is not None:
        report["val"] = {name: evaluate_split(each, val, own).agreement() for name, each in networks.items()}
    write_json(out / "config.json", to_plain(own))
    call = describe_call(data, checkpoint.path) if data is not None else {}
    write_json(out / "environment.json", call | describe_machine(torch.device("cpu"), 1))
    write_json(out / REPORT_FILE, report)
    write_checkpoint(out / BEST_FILE, own, {"average": smaller.state_dict()}, {"pruned_from": str(checkpoint.path)})
    for line in _in_words(report, costs["before"], costs["after"]):
        watch.message(line)
    return report


def prune(
    network: CompactNet, train: Dataset | None, training: TrainConfig, config: PruneConfig, watch: Watch
) -> CompactNet:
    """Cut a copy of a network down to the wanted share; ``taylor`` measures on recordings with labels."""
    share_of = _share_of(network, config.of)
    left = network
    measured = train if config.criterion == "taylor" else None
    rounds = config.rounds if measured is not None else 1
    for number in range(1, rounds + 1):
        if measured is None:
            importance = by_magnitude(left)
        else:
            watch.message(f"round {number} of {rounds}: importance on {len(measured)} recordings")
            importance = by_taylor(left, measured, training, watch.step)
        keep = config.keep ** (number / rounds)
        left = cut(left, choose(left, importance, config.parts, config.of, share_of, keep))
    return left


def _share_of(network: CompactNet, of: Budget) -> Callable[[CompactConfig], float]:
    """Give the share of a network's parameters or time that one of other sizes has."""
    whole = count_parameters(network)

    @cache
    def share(sizes: CompactConfig) -> float:
        other = CompactNet(sizes, network.targets).eval()
        if of == "parameters":
            return count_parameters(other) / whole
        costs = measure({"whole": network, "part": other}, FIT_ROUNDS)
        return costs["part"].cpu_ms / costs["whole"].cpu_ms

    return share


def _load(
    rows: Sequence[LabelledRecording],
    split: str,
    config: PruneConfig,
    training: TrainConfig,
    watch: Watch,
) -> Dataset | None:
    """Draw and load some recordings of a split; None without any."""
    found = [row for row in rows if row.split == split]
    if not found:
        return None
    chosen = np.random.default_rng(config.seed).permutation(len(found))[: config.recordings]
    return load_split([found[index] for index in sorted(chosen)], training, watch)


def _in_words(report: dict[str, Any], before: Cost, after: Cost) -> list[str]:
    lines = [f"{name}: {old} → {new}" for name, (old, new) in report["sizes"].items()]
    lines.append(
        f"parameters: {before.parameters:,} → {after.parameters:,} ({after.parameters / before.parameters:.0%}); "
        f"ONNX: {before.onnx_bytes / 1e6:.2f} → {after.onnx_bytes / 1e6:.2f} MB; time: {before.cpu_ms:.2f} → "
        f"{after.cpu_ms:.2f} ms a second of audio on one thread ({after.cpu_ms / before.cpu_ms:.0%})"
    )
    if "val" in report:
        old, new = report["val"]["before"], report["val"]["after"]
        parts = [f"{target} LCC {found['lcc']:.3f} → {new[target]['lcc']:.3f}" for target, found in old.items()]
        lines.append(f"val: {', '.join(parts)}")
    return lines
