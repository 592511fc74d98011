"""Distillation (arXiv 2502.05356): a student learns the scores of teachers on unlabelled speech, whole and along time.

Clips of the speech, degraded by the simulation or as they are, are scored by the teachers and learned from at once, in
the loop of every other training. Where scores are there already, recordings are used as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from mtqscore.analysis import statistics as stats
from mtqscore.base.schema import to_plain
from mtqscore.errors import UsageError
from mtqscore.training import checkpoint as store
from mtqscore.training.compute.distributed import is_first_process
from mtqscore.training.compute.precision import training_device
from mtqscore.training.compute.resources import write_json
from mtqscore.training.config import DistillConfig, TrainConfig
from mtqscore.training.distillation.ensemble import TeacherEnsemble, open_ensemble
from mtqscore.training.distillation.run_data import (
    DistillationInputs,
    Read,
    estimate_files,
    held_out_rows,
    made_clips,
    scored_recordings,
)
from mtqscore.training.loop import Watch
from mtqscore.training.recipes import initial_weights
from mtqscore.training.run import carry_out_run
from mtqscore.training.settings import RecipeInputs
from mtqscore.training.validation import MEASURES
from mtqscore.training.weights import LAST_FILE, has_begun


def distill(
    inputs: DistillationInputs, folder: Path, config: TrainConfig, watch: Watch, targets: Sequence[str] | None = None
) -> dict[str, Any]:
    """Train a student, or go on with an interrupted run in the same folder.

    Args:
        inputs: speech, noise and tables.
        folder: run folder; made if needed.
        config: settings, with ``distillation``.
        watch: notified of the progress.
        targets: those of the student; None for all that the teachers estimate.

    Returns:
        Content of ``results.json``.

    Raises:
        UsageError: the teachers estimate none of the targets, or the folder holds another run.
        InputError: speech, a teacher or a table is faulty.
        EnvironmentProblemError: memory, room on the disk or a device is missing.
    """
    settings = config.distillation or DistillConfig()
    ensemble = open_ensemble(settings.teachers, inputs.base, training_device(config.device))
    ensemble = ensemble if targets is None else ensemble.restricted(targets)
    config = dataclasses.replace(config, targets=tuple(target.name for target in ensemble.targets))
    begun = store.read_checkpoint(folder / LAST_FILE) if has_begun(folder) else None
    config, initial, _ = initial_weights(config, RecipeInputs(inputs.base, inputs.init), begun, watch.message)
    if ensemble.tables:
        for name in ("noise", "cache", "labelled"):
            if getattr(inputs, name) is not None:
                raise UsageError(f"--{name}: with a table of scores, recordings are used as they are")
    reader: AbstractContextManager[Read]
    if ensemble.tables:
        reader = nullcontext(scored_recordings(inputs, folder, ensemble))
    else:
        reader = made_clips(inputs, folder, ensemble, config, watch)
    with reader as read:
        results = carry_out_run(inputs.data, folder, config, watch, initial, read)
    results["teachers"] = [to_plain(choice) for choice in settings.teachers]
    if inputs.labels is not None and not ensemble.tables:
        results["teacher_labels"] = _teacher_agreement(ensemble, inputs.labels, watch)
    if is_first_process():
        write_json(folder / "results.json", results)
    return results


def _teacher_agreement(ensemble: TeacherEnsemble, table: Path, watch: Watch) -> dict[str, dict[str, float]]:
    """Agreement of the teachers with the labels that the student is compared with."""
    rows = held_out_rows(table)
    scores = np.array([one.scores for one in estimate_files(ensemble, [row.path for row in rows], watch)])
    found = {}
    for column, target in enumerate(ensemble.targets):
        labels = np.array([row.labels.get(target.name, np.nan) for row in rows])
        found[target.name] = {name: stats.METRICS[name](labels, scores[:, column]) for name in MEASURES}
    words = [f"{name} LCC {values['lcc']:.3f} RMSE {values['rmse']:.3f}" for name, values in found.items()]
    watch.message(f"labels, by the teachers: {', '.join(words)}")
    return found
