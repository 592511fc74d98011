"""One training run from a label table to a folder that explains itself."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtqscore.config import TrainConfig
from mtqscore.cores import usable_cores
from mtqscore.errors import EnvironmentProblemError, InputError
from mtqscore.manifest import Row, read_manifest
from mtqscore.spec import TARGETS
from mtqscore.training import checkpoint as store
from mtqscore.training.dataset import Recordings
from mtqscore.training.loop import Data, Trainer, Watch, evaluate_split, resolved, write_config, write_json
from mtqscore.training.predictions import write_predictions

GIGABYTE = 1e9


def train_run(
    table: Path,
    folder: Path,
    config: TrainConfig,
    watch: Watch,
    init: Path | store.Checkpoint | None = None,
    rows: Sequence[Row] | None = None,
) -> dict[str, Any]:
    """Train a network, or go on with an interrupted run in the same folder.

    Args:
        table: label table, or folder that holds ``manifest.csv``.
        folder: run folder; made if needed.
        config: settings.
        watch: who is told of the progress.
        init: run folder or checkpoint whose weights are the starting point; its network is trained.
        rows: the recordings with their labels; None reads them from the table.

    Returns:
        What ``results.json`` holds: the best epoch and its agreement with the labels of each split.

    Raises:
        InputError: the table or a recording is faulty, or a split is missing.
        UsageError: the folder holds a run with other settings or other data.
    """
    initial = store.read_checkpoint(init) if isinstance(init, Path) else init
    if initial is not None:
        config = dataclasses.replace(config, network=initial.config.network)
    config = resolved(config)
    torch.set_num_threads(config.threads or usable_cores())
    rows = read_manifest(table) if rows is None else rows
    splits = {name: [row for row in rows if row.split == name] for name in ("train", "val", "test")}
    for name in ("train", "val"):
        if not any(row.labels for row in splits[name]):
            raise InputError(f"{table}: the split {name} has no labelled recordings")
    make_folder(folder)
    train, val = _load(splits["train"], config, watch), _load(splits["val"], config, watch)
    data = Data(train, val, _fingerprint(rows))
    trainer = Trainer(folder, data, config, watch, initial)
    write_config(folder, config)
    _write_environment(folder, table, splits, initial.path if initial is not None else None)
    results = trainer.run()
    network = store.load_network(store.read_checkpoint(folder))
    for name, rows_of_split in splits.items():
        if name == "train" or not rows_of_split:
            continue
        held = val if name == "val" else _load(rows_of_split, config, watch)
        evaluation = evaluate_split(network, held, config)
        results[name] = evaluation.agreement()
        write_predictions(folder / f"predictions_{name}.csv", folder, held.rows, evaluation.scores)
        agreement = results[name].items()
        parts = [f"{target} LCC {found['lcc']:.3f} RMSE {found['rmse']:.3f}" for target, found in agreement]
        watch.message(f"{name}: {', '.join(parts)}")
    write_json(folder / "results.json", results)
    watch.message(f"{folder}: best epoch {results['best_epoch']}, {results['seconds'] / 60:.1f} min of training")
    return results


def make_folder(folder: Path) -> None:
    """Make a run folder.

    Raises:
        EnvironmentProblemError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentProblemError(f"{folder}: cannot make the run folder: {error.strerror or error}") from error


def _load(rows: Sequence[Row], config: TrainConfig, watch: Watch) -> Recordings:
    start = time.perf_counter()
    data = Recordings(rows, config.memory_limit_gb * GIGABYTE, torch.get_num_threads())
    size = data.memory_bytes / GIGABYTE
    over = f"over the limit of {config.memory_limit_gb:g} GB, so decoded at each use"
    how = "held in memory" if data.held is not None else over
    split = rows[0].split
    watch.message(f"{split}: {len(rows)} recordings, {size:.2f} GB {how} ({time.perf_counter() - start:.0f} s)")
    return data


def _fingerprint(rows: Sequence[Row]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        values = [row.labels.get(target.name) for target in TARGETS]
        digest.update(repr((row.path.name, row.split, values)).encode())
    return digest.hexdigest()


def _write_environment(folder: Path, table: Path, splits: dict[str, list[Row]], init: Path | None) -> None:
    write_json(
        folder / "environment.json",
        {
            "command": sys.argv,
            "data": str(table.resolve()),
            "recordings": {name: len(rows) for name, rows in splits.items()},
            "init": str(init) if init is not None else None,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "platform": platform.platform(),
            "threads": torch.get_num_threads(),
        },
    )
