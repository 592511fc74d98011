"""One training run from a label table to a folder that explains itself."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mtqscore.base.machine import usable_cores
from mtqscore.base.schema import to_plain
from mtqscore.errors import EnvironmentProblemError, InputError
from mtqscore.labels.table import LabelledRecording, read_label_table, write_table
from mtqscore.targets import TARGETS, Target
from mtqscore.training import checkpoint as store
from mtqscore.training.compute.distributed import ProcessGroup, local_processes, process_group
from mtqscore.training.compute.precision import resolved, training_device
from mtqscore.training.compute.resources import enough_memory, run_file, write_json
from mtqscore.training.config import TrainConfig
from mtqscore.training.data.dataset import Dataset, decode_all
from mtqscore.training.loop import SILENT, RunData, Trainer, Watch
from mtqscore.training.tracking.environment import describe_call, describe_machine
from mtqscore.training.validation import AGREEMENT, evaluate_split

GIGABYTE = 1e9


def train_run(
    table: Path,
    folder: Path,
    config: TrainConfig,
    watch: Watch,
    init: Path | store.Checkpoint | None = None,
    rows: Sequence[LabelledRecording] | None = None,
) -> dict[str, Any]:
    """Train a network, or go on with an interrupted run in the same folder.

    Under ``torchrun`` the processes share the work; the first one writes files and messages.
    """

    def read(config: TrainConfig, watch: Watch, _group: ProcessGroup) -> RunData:
        found = read_label_table(table) if rows is None else rows
        splits = _splits(found, table, config)
        make_folder(folder)
        train, val = (load_split(splits[name], config, watch) for name in ("train", "val"))
        evaluated: dict[str, Callable[[], Dataset]] = {"val": lambda: val}
        if splits["test"]:
            decode_all(splits["test"], torch.get_num_threads())
            evaluated["test"] = lambda: load_split(splits["test"], config, watch)
        counts = {name: len(of_split) for name, of_split in splits.items()}
        return RunData(train, val, _fingerprint(found), evaluated, {"recordings": counts})

    return carry_out_run(table, folder, config, watch, init, read)


def carry_out_run(
    where: Path,
    folder: Path,
    config: TrainConfig,
    watch: Watch,
    init: Path | store.Checkpoint | None,
    read: Callable[[TrainConfig, Watch, ProcessGroup], RunData],
) -> dict[str, Any]:
    """Train in a folder, or go on there, and evaluate the best epoch: the frame of every kind of run.

    Arguments, result and errors are those of `train_run`; ``read`` gives the data, by the settled settings.
    """
    with process_group(config.device) as group:
        watch = watch if group.is_first else SILENT
        device = training_device(config.device)
        config = resolved(config, device)
        with enough_memory(config, device, folder):
            initial = store.read_checkpoint(init) if isinstance(init, Path) else init
            if initial is not None:
                config = dataclasses.replace(config, network=initial.config.network)
            torch.set_num_threads(config.threads or max(1, usable_cores() // local_processes()))
            data = read(config, watch, group)
            trainer = Trainer(folder, data, config, watch, initial, group)
            if group.is_first:
                environment = describe_call(where, initial.path if initial is not None else None)
                environment |= {**data.facts} | store.describe_front_end(trainer.network)
                write_json(folder / "config.json", to_plain(config))
                write_json(folder / "environment.json", environment | describe_machine(device, group.count))
            results = trainer.run()
            _evaluate(folder, data.evaluated, config, watch, group, results)
        return results


def make_folder(folder: Path) -> None:
    """Make a run folder; where that fails, raise an EnvironmentProblemError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentProblemError(f"{folder}: cannot make the run folder: {error.strerror or error}") from error


def load_split(rows: Sequence[LabelledRecording], config: TrainConfig, watch: Watch) -> Dataset:
    """Read the recordings of one split, and note their number and where they are held."""
    start = time.perf_counter()
    data = Dataset(rows, config.memory_limit_gb * GIGABYTE, torch.get_num_threads(), targets_of(config))
    size = data.memory_bytes / GIGABYTE
    over = f"over the limit of {config.memory_limit_gb:g} GB, so decoded at each use"
    how = "held in memory" if data.held is not None else over
    split = rows[0].split
    watch.message(f"{split}: {len(rows)} recordings, {size:.2f} GB {how} ({time.perf_counter() - start:.0f} s)")
    return data


def _evaluate(
    folder: Path,
    evaluated: Mapping[str, Callable[[], Dataset]],
    config: TrainConfig,
    watch: Watch,
    group: ProcessGroup,
    results: dict[str, Any],
) -> None:
    """Score what is held out with the best epoch; adds its agreement with the labels to the results."""
    group.wait()  # the first writes the best epoch
    network = store.load_network(store.read_checkpoint(folder)).to(training_device(config.device))
    for name, recordings in evaluated.items():
        held = recordings()
        evaluation = evaluate_split(network, held, config, group)
        results[name] = evaluation.agreement(AGREEMENT)
        if group.is_first:
            table = folder / f"predictions_{name}.csv"
            write_predictions(table, folder, held.rows, evaluation.scores, evaluation.targets)
        watch.message(f"{name}: {', '.join(_in_words(target, found) for target, found in results[name].items())}")
    if group.is_first:
        write_json(folder / "results.json", results)
    watch.message(f"{folder}: best epoch {results['best_epoch']}, {results['seconds'] / 60:.1f} min of training")


def write_predictions(
    table: Path,
    base: Path,
    rows: Sequence[LabelledRecording],
    scores: NDArray[np.float32],
    targets: Sequence[Target] = TARGETS,
) -> None:
    """Write one line a recording: path, estimates under the targets' names, labels as ``label_<target>``.

    Args:
        table: the CSV file to make or replace.
        base: folder that the paths are written relative to.
        rows: the recordings.
        scores: estimates float32 (recordings, targets).
        targets: the columns of the estimates.
    """
    names = [target.name for target in targets]
    records = []
    for row, estimates in zip(rows, scores, strict=True):
        record = {"path": os.path.relpath(row.path, base)}
        record |= {name: f"{value:.4f}" for name, value in zip(names, estimates, strict=True)}
        record |= {f"label_{name}": f"{value:.4f}" for name, value in row.labels.items()}
        records.append(record)
    with run_file(table) as partial:
        write_table(partial, ["path", *names, *(f"label_{name}" for name in names)], records)


def _in_words(target: str, found: Mapping[str, float]) -> str:
    if math.isnan(found["rmse"]):
        return f"{target} without labels"
    return f"{target} LCC {found['lcc']:.3f} RMSE {found['rmse']:.3f}".replace("nan", "undefined")


def targets_of(config: TrainConfig) -> tuple[Target, ...]:
    """Give what the network of a run estimates, in the order of its output."""
    return tuple(target for target in TARGETS if target.name in config.targets)


def _splits(rows: Sequence[LabelledRecording], table: Path, config: TrainConfig) -> dict[str, list[LabelledRecording]]:
    splits = {name: [row for row in rows if row.split == name] for name in ("train", "val", "test")}
    names = {target.name for target in targets_of(config)}
    for name in ("train", "val"):
        if not any(names & row.labels.keys() for row in splits[name]):
            some = f"labels of {', '.join(sorted(names))}" if len(names) < len(TARGETS) else "labels"
            raise InputError(f"{table}: the split {name} has no recordings with {some}")
    return splits


def _fingerprint(rows: Sequence[LabelledRecording]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        values = [row.labels.get(target.name) for target in TARGETS]
        digest.update(repr((row.path.name, row.split, values)).encode())
    return digest.hexdigest()
