"""A run folder with a pruned network, made from another one: what was cut, and what came of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from mtqscore.base.machine import usable_cores
from mtqscore.base.schema import to_plain
from mtqscore.errors import InputError, UsageError
from mtqscore.labels.manifest import Row
from mtqscore.training.checkpoint import (
    BEST_FILE,
    LAST_FILE,
    Checkpoint,
    load_network,
    write_checkpoint,
)
from mtqscore.training.compute.resources import write_json
from mtqscore.training.config import TrainConfig
from mtqscore.training.data.dataset import Recordings
from mtqscore.training.export.inference_cost import Cost, count_parameters, measure
from mtqscore.training.initial_weights import read_weights
from mtqscore.training.network_config import CompactConfig
from mtqscore.training.networks.compact import CompactNet
from mtqscore.training.pruning.cutting import PARTS, Budget, Part, choose, cut
from mtqscore.training.pruning.importance import by_magnitude, by_taylor
from mtqscore.training.run import GIGABYTE, make_folder
from mtqscore.training.tracking.environment import describe_call, describe_machine
from mtqscore.training.validation import evaluate_split

REPORT_FILE = "pruning.json"

FIT_ROUNDS = 5
REPORT_ROUNDS = 9
"""How often networks are run to compare their times: while the sizes are sought, and for the report."""


@dataclass(frozen=True)
class PruneOptions:
    """How a network is pruned.

    Args:
        keep: share that is left.
        of: of what: ``parameters``, or the ``time`` of onnxruntime on this machine.
        criterion: ``taylor``, measured on recordings, or ``magnitude`` of the weights.
        parts: what may be cut.
        rounds: the importance is measured so often anew, with a part of the cut after each; for ``taylor``.
        recordings: how many of the training split it is measured on, and how many of val tell what came of it.
        seed: chooses them.
        threads: processor threads; 0 for all.

    Raises:
        UsageError: a value is outside what is allowed.
    """

    keep: float = 0.5
    of: Budget = "parameters"
    criterion: Literal["taylor", "magnitude"] = "taylor"
    parts: tuple[Part, ...] = PARTS
    rounds: int = 3
    recordings: int = 256
    seed: int = 0
    threads: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.keep < 1:
            raise UsageError(f"keep {self.keep:g} is not between 0 and 1")
        if not self.parts:
            raise UsageError(f"no part is named; choose of {', '.join(PARTS)}")
        if min(self.rounds, self.recordings) < 1 or min(self.seed, self.threads) < 0:
            raise UsageError("rounds and recordings are 1 or more, seed and threads 0 or more")


@dataclass(frozen=True)
class Listener:
    """Who is told how it goes.

    Args:
        message: called with one line.
        advance: called with the recordings done and how many there are.
    """

    message: Callable[[str], None]
    advance: Callable[[int, int], None]


def open_compact(source: Path) -> tuple[Checkpoint, CompactNet]:
    """Load a network that can be pruned.

    Args:
        source: run folder or checkpoint.

    Raises:
        InputError: it is neither.
        UsageError: it holds another kind of network.
    """
    checkpoint = read_weights(source)
    network = load_network(checkpoint)
    if not isinstance(network, CompactNet):
        raise UsageError(f"{source}: holds a network {checkpoint.config.network.kind}; only compact ones can be pruned")
    return checkpoint, network


def prune_run(
    source: Path, data: Path | None, rows: Sequence[Row], out: Path, options: PruneOptions, listener: Listener
) -> dict[str, Any]:
    """Prune the network of a run, and write what is left as a new run folder.

    Args:
        source: run folder, of which the best epoch is taken, or checkpoint.
        data: where the recordings come from, for the record; None without any.
        rows: recordings with labels; ``taylor`` measures on those of the split train, and those of val tell what the
            cut did.
        out: the folder to make.
        options: how.
        listener: who is told.

    Returns:
        What ``pruning.json`` holds.

    Raises:
        InputError: the source is no checkpoint, or recordings are missing or faulty.
        UsageError: the network cannot be cut so far, or the folder holds a run already.
        EnvironmentProblemError: the folder cannot be written.
    """
    if any((out / name).exists() for name in (BEST_FILE, LAST_FILE)):
        raise UsageError(f"{out}: holds a run already; choose another --out")
    checkpoint, network = open_compact(source)
    torch.set_num_threads(options.threads or usable_cores())
    drawn = {split: _draw(rows, split, network, options) for split in ("train", "val")}
    if options.criterion == "taylor" and not drawn["train"]:
        raise InputError(f"{data}: the split train has no recordings with labels of the network's targets")
    make_folder(out)
    train, val = (_load(drawn[split], network, checkpoint.config, listener) for split in ("train", "val"))
    smaller = prune(network, train, checkpoint.config, options, listener)
    costs = measure({"before": network, "after": smaller}, REPORT_ROUNDS)
    report: dict[str, Any] = {"from": str(checkpoint.path), **to_plain(options), "sizes": _sizes(network, smaller)}
    report |= {name: dataclasses.asdict(cost) for name, cost in costs.items()}
    config = dataclasses.replace(checkpoint.config, network=smaller.config)
    if val is not None:
        networks = {"before": network, "after": smaller}
        report["val"] = {name: evaluate_split(each, val, config).agreement() for name, each in networks.items()}
    write_json(out / "config.json", to_plain(config))
    call = describe_call(data, checkpoint.path) if data is not None else {}
    write_json(out / "environment.json", call | describe_machine(torch.device("cpu"), 1))
    write_json(out / REPORT_FILE, report)
    write_checkpoint(out / BEST_FILE, config, {"average": smaller.state_dict()}, {"pruned_from": str(checkpoint.path)})
    _tell(report, costs, listener.message)
    return report


def prune(
    network: CompactNet, train: Recordings | None, config: TrainConfig, options: PruneOptions, listener: Listener
) -> CompactNet:
    """Cut a network down to the share that is asked for.

    Args:
        network: stays as it is.
        train: recordings with labels that ``taylor`` measures on.
        config: the loss of its training.
        options: how.
        listener: who is told.

    Raises:
        UsageError: it cannot be cut so far.
    """
    share_of = _share_of(network, options.of)
    left = network
    rounds = options.rounds if options.criterion == "taylor" else 1
    for number in range(1, rounds + 1):
        if options.criterion == "magnitude" or train is None:
            importance = by_magnitude(left)
        else:
            listener.message(f"round {number} of {rounds}: importance on {len(train)} recordings")
            importance = by_taylor(left, train, config, listener.advance)
        keep = options.keep ** (number / rounds)
        left = cut(left, choose(left, importance, options.parts, options.of, share_of, keep))
    return left


def _share_of(network: CompactNet, of: Budget) -> Callable[[CompactConfig], float]:
    """Say for other sizes what share of a network's parameters or time they have."""
    whole = count_parameters(network)

    @cache
    def share(config: CompactConfig) -> float:
        other = CompactNet(config, network.targets).eval()
        if of == "parameters":
            return count_parameters(other) / whole
        costs = measure({"whole": network, "part": other}, FIT_ROUNDS)
        return costs["part"].cpu_ms / costs["whole"].cpu_ms

    return share


def _draw(rows: Sequence[Row], split: str, network: CompactNet, options: PruneOptions) -> list[Row]:
    names = {target.name for target in network.targets}
    fitting = [row for row in rows if row.split == split and names & row.labels.keys()]
    count = min(options.recordings, len(fitting))
    chosen = np.random.default_rng(options.seed).permutation(len(fitting))[:count]
    return [fitting[index] for index in sorted(chosen)]


def _load(rows: list[Row], network: CompactNet, config: TrainConfig, listener: Listener) -> Recordings | None:
    if not rows:
        return None
    listener.message(f"{rows[0].split}: {len(rows)} recordings")
    return Recordings(rows, config.memory_limit_gb * GIGABYTE, torch.get_num_threads(), network.targets)


def _sizes(before: CompactNet, after: CompactNet) -> dict[str, list[Any]]:
    """Every size that was cut, before and after."""
    old, new = to_plain(before.config), to_plain(after.config)
    return {name: [old[name], new[name]] for name in old if old[name] != new[name]}


def _tell(report: dict[str, Any], costs: dict[str, Cost], say: Callable[[str], None]) -> None:
    for name, (old, new) in report["sizes"].items():
        say(f"{name}: {_plain(old)} → {_plain(new)}")
    before, after = costs["before"], costs["after"]
    say(
        f"parameters: {before.parameters:,} → {after.parameters:,} ({after.parameters / before.parameters:.0%}); "
        f"ONNX: {before.onnx_bytes / 1e6:.2f} → {after.onnx_bytes / 1e6:.2f} MB; time: {before.cpu_ms:.2f} → "
        f"{after.cpu_ms:.2f} ms a second of audio on one thread ({after.cpu_ms / before.cpu_ms:.0%})"
    )
    if "val" in report:
        parts = [
            f"{target} LCC {found['lcc']:.3f} → {report['val']['after'][target]['lcc']:.3f}"
            for target, found in report["val"]["before"].items()
        ]
        say(f"val: {', '.join(parts)}")


def _plain(size: object) -> str:
    return ",".join(map(str, size)) if isinstance(size, list) else str(size)
