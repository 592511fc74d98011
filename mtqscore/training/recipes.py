"""The arms of the paper (arXiv 2308.09262, section IV): from scratch, knowledge transfer (KT), and MPL.

``scratch`` learns S, N and G from fresh weights; with the targets PESQ, STOI and SDI it makes a teacher.
``kt`` begins with a teacher's weights. ``mpl`` learns the pseudo-labels of a teacher as further tasks.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtqscore.analysis.correlations import (
    correlation_lines,
    correlation_records,
    correlations_of_recordings,
    write_correlations,
)
from mtqscore.analysis.evaluate import Estimates
from mtqscore.base.machine import usable_cores
from mtqscore.base.text import printable
from mtqscore.errors import InputError, UsageError
from mtqscore.labels.table import LabelledRecording
from mtqscore.targets import PSEUDO
from mtqscore.training.checkpoint import Checkpoint, check_same_config, describe_front_end, read_checkpoint
from mtqscore.training.compute.distributed import is_first_process
from mtqscore.training.compute.precision import resolved, training_device
from mtqscore.training.compute.resources import run_file, write_json
from mtqscore.training.config import TrainConfig
from mtqscore.training.loop import FREE_SETTINGS, Watch
from mtqscore.training.networks import Network, build
from mtqscore.training.networks.ssl.weights import find_weights
from mtqscore.training.run import train_run
from mtqscore.training.settings import TABLE, RecipeInputs
from mtqscore.training.teachers.open_teacher import check_run, open_teacher
from mtqscore.training.teachers.pseudo_labels import PseudoLabels, pseudo_label
from mtqscore.training.teachers.references import ReferenceTeacher, check_references
from mtqscore.training.weights import LAST_FILE, has_begun

RELATIONS_FILE = "pseudo_labels.csv"
HEADS = "heads."
LEAST_SHARE = 0.5
"""Weights that begin with less than this share of another network's are as good as fresh ones."""

Notify = Callable[[str], None]


@dataclass(frozen=True)
class RecipePlan:
    """Training plan of a recipe: settings, recordings with the labels that are learned, and weights to begin with.

    Args:
        report: entries of ``results.json``.
        held_out: recordings outside the training split, with their labels as the table has them.
        estimates: those of the teacher by recording; None where the table's own values serve.
    """

    config: TrainConfig
    rows: list[LabelledRecording]
    initial: Checkpoint | None = None
    report: dict[str, Any] = field(default_factory=dict)
    held_out: list[LabelledRecording] = field(default_factory=list)
    estimates: dict[Path, Estimates] | None = None


def prepare(
    rows: Sequence[LabelledRecording],
    config: TrainConfig,
    inputs: RecipeInputs,
    notify: Notify,
    advance: Callable[[int, int], None],
) -> RecipePlan:
    """Do what comes before training: ask the teacher, or take its weights.

    Args:
        rows: the recordings.
        config: settings with recipe and teacher.
        inputs: where the rest is found.
        notify: takes a line on what was done.
        advance: takes the progress of the teacher.

    Raises:
        UsageError: the teacher estimates nothing that is wanted, its weights do not fit, or the run folder holds a run
            with other settings.
        InputError: a checkpoint or a recording is faulty.
    """
    report: dict[str, Any] = {"recipe": config.recipe, "teacher": config.teacher}
    _check_front_end(config)
    folder = inputs.folder
    begun = read_checkpoint(folder / LAST_FILE) if folder is not None and has_begun(folder) else None
    config, initial, taken = initial_weights(config, inputs, begun, notify)
    report |= {"initial_weights": taken} if taken else {}
    if begun is not None:  # refused before a teacher is asked in vain
        check_same_config(begun.config, resolved(config), begun.path.parent, FREE_SETTINGS)
    learned = [*rows]
    estimates: dict[Path, Estimates] | None = None
    if config.recipe == "mpl" and config.teacher != TABLE:
        labels = _ask(rows, config, inputs, notify, advance)
        wanted = [name for name in labels.targets if name in _pseudo(config)]
        report |= {"teacher_sha256": labels.fingerprint, "pseudo_labels": str(labels.table)}
        # The test split keeps the labels of the table, so that results on it are not about obedience to the teacher.
        learned = labels.applied(rows, wanted, ("train", "val"))
        estimates = {row.path: found for row, found in zip(rows, labels.estimates(), strict=True)}
    for name in config.targets:
        if not any(name in row.labels for row in learned if row.split == "train"):
            notify(f"no training recording has a label {name}: nothing is learned of it; leave it out with --targets")
    held_out = [row for row in rows if row.split != "train"] if config.recipe == "mpl" else []
    # Training recordings that teach nothing would take their share of every batch.
    kept = [row for row in learned if row.split != "train" or row.labels.keys() & set(config.targets)]
    if len(kept) < len(learned):
        notify(f"{len(learned) - len(kept):,} training recordings have no label that is learned, and are left out")
    return RecipePlan(config, kept, initial, report, held_out, estimates)


def initial_weights(
    config: TrainConfig, inputs: RecipeInputs, begun: Checkpoint | None, notify: Notify
) -> tuple[TrainConfig, Checkpoint | None, dict[str, Any] | None]:
    """Settle the network, and take the weights to begin with, if any: of the teacher for ``kt``, else of ``--init``.

    A run that has begun goes on without them where they are gone.

    Returns:
        The settings with their network, the weights, and what was taken of which, for ``results.json``.
    """
    weights = inputs.init
    if config.recipe == "kt":
        if weights is not None:
            raise UsageError("--recipe kt begins with the weights of its teacher; leave out --init")
        weights = check_run(config.teacher)
    if weights is None:
        return config, None, None
    is_gone = not os.path.exists(weights)  # noqa: PTH110 - Path.exists raises where a name is too long
    checkpoint = begun if begun is not None and is_gone else read_checkpoint(weights)
    if not inputs.network_is_chosen:
        config = dataclasses.replace(config, network=checkpoint.config.network)
    if checkpoint is begun:
        return config, None, {"from": str(weights)}
    initial, taken = transfer(checkpoint, config, heads=config.recipe != "kt")
    notify(
        f"{weights}: {taken['share']:.0%} of the weights below the heads are taken ({', '.join(taken['taken'])}); "
        f"fresh: {', '.join(taken['fresh']) or 'none'}"
    )
    return config, initial, {"from": str(weights), **taken}


def carry_out(where: Path, folder: Path, plan: RecipePlan, watch: Watch) -> dict[str, Any]:
    """Train, and report how the pseudo-labels relate to S, N and G; see `train_run`."""
    correlations = correlations_of_recordings(plan.held_out, plan.estimates)
    if correlations:
        watch.message("pseudo-labels against the labels of val and test:")
        for line in correlation_lines(correlations):
            watch.message(f"  {line}")
    results = train_run(where, folder, plan.config, watch, plan.initial, plan.rows)
    results |= plan.report | ({"relations": correlation_records(correlations)} if correlations else {})
    if is_first_process():
        if correlations:
            with run_file(folder / RELATIONS_FILE) as partial:
                write_correlations(partial, correlations)
        write_json(folder / "results.json", results)
    return results


def transfer(checkpoint: Checkpoint, config: TrainConfig, *, heads: bool) -> tuple[Checkpoint, dict[str, Any]]:
    """Put the weights of one network into a fresh one of other targets or sizes, as far as name and shape agree.

    A convolution whose kernel is to be narrower (``conv_widths``) takes the middle of the wider one. Knowledge transfer
    leaves the heads.

    Returns:
        A checkpoint in memory, and what was taken: ``share`` of the weights below the heads, and the parts of the
        network that were ``taken`` and those that are ``fresh``, in whole or in part, with numbers of weights.

    Raises:
        UsageError: it is another kind of network, or too little fits.
    """
    theirs, ours = checkpoint.config.network.kind, config.network.kind
    if theirs != ours:
        raise UsageError(f"{checkpoint.path}: holds a network {theirs}, whose weights do not fit {ours}")
    torch.manual_seed(config.seed)
    network = build(config)
    _load_front_end(network, checkpoint)
    weights = network.state_dict()
    given = {name: _narrowed(tensor, weights.get(name)) for name, tensor in checkpoint.part("average").items()}
    fitting = {
        name
        for name, tensor in weights.items()
        if name in given and given[name].shape == tensor.shape and (heads or not name.startswith(HEADS))
    }
    sizes = {name: tensor.numel() for name, tensor in weights.items()}
    body = sum(size for name, size in sizes.items() if not name.startswith(HEADS))
    share = sum(sizes[name] for name in fitting if not name.startswith(HEADS)) / max(body, 1)
    if share < LEAST_SHARE:
        raise UsageError(
            f"{checkpoint.path}: fits only {share:.0%} of the network to be trained; leave out --network and the "
            "settings of the network to train one of the same sizes"
        )
    taken, fresh = Counter[str](), Counter[str]()
    for name, size in sizes.items():
        (taken if name in fitting else fresh)[_part_of(name)] += size
    made = {f"average.{name}": given[name] if name in fitting else tensor for name, tensor in weights.items()}
    summary = {"share": round(share, 4), "taken": dict(taken), "fresh": dict(fresh)}
    return Checkpoint(checkpoint.path, config, made, describe_front_end(network)), summary


def _narrowed(kernel: Tensor, like: Tensor | None) -> Tensor:
    """Return the middle of a kernel where it is wider, by its last axis alone, than what it is to be like."""
    if like is None or kernel.ndim != 4 or kernel.shape[:-1] != like.shape[:-1]:
        return kernel
    beyond = kernel.shape[-1] - like.shape[-1]
    return kernel[..., beyond // 2 : kernel.shape[-1] - beyond // 2].contiguous() if beyond > 0 else kernel


def _ask(
    rows: Sequence[LabelledRecording],
    config: TrainConfig,
    inputs: RecipeInputs,
    notify: Notify,
    advance: Callable[[int, int], None],
) -> PseudoLabels:
    device, pseudo = training_device(config.device), _pseudo(config)
    torch.set_num_threads(config.threads or usable_cores())
    with open_teacher(config.teacher, rows, inputs.base, device, inputs.references) as teacher:
        wanted = [name for name in teacher.targets if name in pseudo]
        if not wanted:
            has = ", ".join(teacher.targets)
            raise UsageError(f"--teacher {config.teacher}: estimates {has}, and none of {', '.join(pseudo)}")
        labels = pseudo_label(teacher, rows, inputs.base, advance, wait=not is_first_process())
    columns = dict(zip(labels.targets, labels.values.T, strict=True))
    if isinstance(teacher, ReferenceTeacher) and (warning := check_references(rows, columns)):
        notify(warning)
    how = "kept from before in" if labels.kept else "kept in"
    notify(f"{labels.teacher}: {', '.join(wanted)} of {len(rows):,} recordings, {how} {labels.table}")
    for name in wanted:
        missing = np.flatnonzero(np.isnan(columns[name]))
        if len(missing):
            example = printable(str(rows[missing[0]].path))
            notify(f"{len(missing):,} recordings have no {name} from the teacher, such as {example}")
    return labels


def _pseudo(config: TrainConfig) -> list[str]:
    return [target.name for target in PSEUDO if target.name in config.targets]


def _check_front_end(config: TrainConfig) -> None:
    """Fetch pretrained weights before a teacher is asked or a corpus decoded in vain; the first process does."""
    ssl = getattr(config.network, "ssl", None)
    if ssl is None or (ssl.model == "custom" and ssl.checkpoint is None) or not is_first_process():
        return
    if not find_weights(ssl).is_file():
        raise InputError(f"{ssl.checkpoint}: no such file with weights of {ssl.model}")


def _load_front_end(network: Network, checkpoint: Checkpoint) -> None:
    """Put pretrained weights in where the checkpoint has none; a frozen front end must be that of the checkpoint."""
    front = network.front_end()
    if front is None:
        return
    (prefix,) = [name for name, module in network.named_modules() if module is front]
    own = {name for name in network.state_dict() if name.startswith(f"{prefix}.")}
    if not front.kept or own - set(checkpoint.part("average")):
        front.load_pretrained()
    here, there = describe_front_end(network).get("front_end"), checkpoint.state.get("front_end")
    if here is not None and there not in (None, here):
        raise UsageError(f"{checkpoint.path}: was trained on the front end {there}, and this one is {here}")


def _part_of(name: str) -> str:
    """The part of a network that a weight belongs to: its head by target, else its first name."""
    first, _, rest = name.partition(".")
    return f"head of {rest.partition('.')[0]}" if f"{first}." == HEADS else first
