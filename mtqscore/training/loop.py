"""Training loop: epochs, validation, averaged weights, checkpoints, and going on after a stop."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mtqscore.errors import MtqscoreError, UsageError
from mtqscore.training import checkpoint as store
from mtqscore.training.compute.distributed import ALONE, ProcessGroup
from mtqscore.training.compute.precision import autocast, gradient_scaler, training_device
from mtqscore.training.compute.resources import write_json
from mtqscore.training.config import TrainConfig
from mtqscore.training.data.dataset import Batch, Dataset, TrainingSet
from mtqscore.training.losses import MplLoss
from mtqscore.training.networks import build
from mtqscore.training.schedule import learning_rate, make_optimizer
from mtqscore.training.tracking.curves import draw_curves, write_curves
from mtqscore.training.tracking.history import LossMeans, Record, agreement_of, best_epoch, line, make_record
from mtqscore.training.tracking.tensorboard import Board
from mtqscore.training.validation import evaluate_split
from mtqscore.training.weights import BEST_FILE, LAST_FILE, best_file

FREE_SETTINGS = frozenset({"threads", "memory_limit_gb", "device", "checkpoint_minutes", "tensorboard"})
"""Settings that may differ when a run goes on."""

EMA_WARMUP = 10
"""The average follows closely at first: its decay is (1 + n) / (10 + n) until that exceeds the configured one."""

DRAW_EVERY_S = 60.0
"""The picture of the curves takes longer than a short epoch."""


@dataclass(frozen=True)
class Watch:
    """Callbacks for the progress of a run.

    Args:
        step: called after each step with the steps done, those planned, and a word on where that is.
        message: called with one line after each epoch and for notes.
    """

    step: Callable[[int, int, str], None]
    message: Callable[[str], None]


SILENT = Watch(lambda *_: None, lambda _: None)
"""No progress: what processes other than the first show."""


@dataclass(frozen=True)
class RunData:
    """Data of a run: those to train on, and a validation split, which chooses the best epoch.

    Args:
        fingerprint: digest of all that decides the data; a run only goes on with the same one.
        evaluated: what the best epoch is evaluated on, by its name in the results; read when it is wanted.
        facts: entries for ``environment.json``.
    """

    train: TrainingSet
    val: Dataset
    fingerprint: str
    evaluated: Mapping[str, Callable[[], Dataset]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


class Trainer:
    """One run in one folder."""

    def __init__(
        self,
        folder: Path,
        data: RunData,
        config: TrainConfig,
        watch: Watch,
        initial: store.Checkpoint | None = None,
        group: ProcessGroup = ALONE,
    ) -> None:
        self.folder, self.data, self.config, self.group = folder, data, config, group
        self.watch = watch if group.is_first else SILENT
        self.device = training_device(config.device)
        self.scaler = gradient_scaler(config, self.device)
        torch.manual_seed(config.seed)
        saved = self._saved()
        self.network = build(config)
        front = self.network.front_end()
        if front is not None and not (front.kept and (saved or initial)):
            with group.first_alone():  # it may have to fetch the weights
                front.load_pretrained()
        if initial is not None:
            store.load_weights(self.network, initial)
        self.network.to(self.device)
        self.average = copy.deepcopy(self.network)
        self.loss = MplLoss(config, self.network.targets, self.device)
        self.names = {parameter: name for name, parameter in self.network.named_parameters()}
        self.optimizer = make_optimizer(config, self.network)
        self.steps_per_epoch = math.ceil(len(data.train) / config.batch_size)
        self.epoch, self.step, self.seconds = 0, 0, 0.0
        """Finished epochs, and the steps and seconds of the one at hand."""
        self.means = LossMeans()
        self.history: list[Record] = []
        self._drawn_s = time.monotonic()
        if saved is not None:
            self._restore(saved)
        group.agree([self.epoch, self.step], "where the run stands")
        self.parallel = group.in_parallel(self.network)

    def run(self) -> dict[str, Any]:
        """Train until the planned end or until patience runs out; returns the content of ``results.json``.

        Raises:
            MtqscoreError: the loss, its gradient or the validation loss is no longer finite.
        """
        place = self.epoch * self.steps_per_epoch + self.step
        with closing(Board(self.folder, place, wanted=self.config.tensorboard and self.group.is_first)) as board:
            while self.epoch < self.config.epochs and not self._out_of_patience():
                start = time.perf_counter() - self.seconds
                self._train_epoch(board, start)
                self.group.share_buffers(self.average)
                validation = evaluate_split(self.average, self.data.val, self.config, self.group)
                self._check_finite(validation.loss, "validation loss")
                self.epoch, self.step, self.seconds = self.epoch + 1, 0, 0.0
                rate, seconds = self.optimizer.param_groups[0]["lr"], time.perf_counter() - start
                record = make_record(self.epoch, seconds, rate, self.means.means(), validation, self.config)
                self.means = LossMeans()
                self.history.append(record)
                if self.group.is_first:
                    self._save()
                    self._keep_best()
                    board.epoch(self.epoch * self.steps_per_epoch, record)
                    self._draw()
                self.watch.message(line(self.history, self.network.targets, self.config))
        return self._finish()

    def _train_epoch(self, board: Board, start: float) -> None:
        self.network.train()
        saved_s = time.monotonic()
        every_s = 60 * self.config.checkpoint_minutes
        with closing(self.data.train.batches(self.config, self.epoch, self.group, self.step)) as batches:
            for batch in batches:
                losses = self._train_step(batch)
                self.means.add(losses)
                self.step += 1
                done = self.epoch * self.steps_per_epoch + self.step
                board.write(done, {"step/loss": losses["loss"], "step/lr": self.optimizer.param_groups[0]["lr"]})
                if every_s and time.monotonic() - saved_s >= every_s and self.step < self.steps_per_epoch:
                    self.seconds = time.perf_counter() - start
                    if self.group.is_first:
                        self._save()
                    saved_s = time.monotonic()
                note = f"epoch {self.epoch + 1}, loss {self.means.means()['loss']:.3f}"
                self.watch.step(done, self.config.epochs * self.steps_per_epoch, note)

    def _train_step(self, batch: Batch) -> dict[str, float]:
        step = self.epoch * self.steps_per_epoch + self.step
        # Reseeded here, a step depends on nothing but its number and the weights: a run goes on at any one.
        key = (self.config.seed, self.epoch, self.step, self.group.rank)
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, step, self.steps_per_epoch, group["peak"])
        frame_labels = batch.frame_labels(self.network.frame_positions(batch.waveform.shape[1]))
        batch = batch.on(self.device)
        if frame_labels is not None:
            frame_labels = frame_labels.to(self.device)
        with autocast(self.config, self.device):
            estimates = self.parallel(batch.waveform, batch.lengths, batch.recolour)
            penalty = self.network.penalty()
        parts = self.loss(estimates, batch.labels, frame_labels, batch.present)
        total = parts.total
        noted = [total.detach(), *parts.utterance]
        if penalty is not None:
            # Regularisers are of the weights, or means over items: the shares of all processes add up to the whole.
            penalty = penalty * batch.share.weight
            total = total + penalty
            noted.append(penalty.detach())
        values = self.group.total(torch.stack(noted).float()).tolist()
        self._check_finite(values[0], "loss")
        self._descend(total)
        _follow(self.average, self.network, min(self.config.ema, (1 + step) / (EMA_WARMUP + step)))
        names = ["loss", *(target.name for target in self.network.targets), "penalty"]
        return dict(zip(names, values, strict=False))

    def _descend(self, total: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        # Shares of the loss add up to that of the batch, and gradients are averaged over the processes.
        self.scaler.scale(total * self.group.count).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.grad_clip or math.inf)
        # The scaler leaves out steps whose gradient its scale made too large; below 1 it makes nothing larger.
        if not self.scaler.is_enabled() or self.scaler.get_scale() < 1.0:
            self._check_finite(float(norm), "gradient")
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _check_finite(self, value: float, name: str) -> None:
        if not math.isfinite(value):
            raise MtqscoreError(f"the {name} is {value} in epoch {self.epoch + 1}; try a lower --lr")

    def _out_of_patience(self) -> bool:
        patience = self.config.patience
        return bool(patience and self.history) and self.epoch - best_epoch(self.history, self.config) >= patience

    def _save(self) -> None:
        """Write all that is needed to go on from here: after an epoch, or after some steps of the next one."""
        parts = {
            "model": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": store.optimizer_tensors(self.optimizer, self.names),
        }
        state: dict[str, Any] = {"epoch": self.epoch, "history": self.history, "data": self.data.fingerprint}
        state |= {"scaler": self.scaler.state_dict(), **store.describe_front_end(self.network)}
        if self.step:
            state |= {"step": self.step, "seconds": self.seconds, "sums": self.means.pairs}
        store.write_checkpoint(self.folder / LAST_FILE, self.config, parts, state)

    def _keep_best(self) -> None:
        """Keep the averaged weights of the last epoch where it is the best one.

        The last checkpoint is written before: whatever ends the run in between, these files can be made from that.
        """
        state = {"epoch": self.epoch, "val": agreement_of(self.history[-1], self.network.targets)}
        state |= store.describe_front_end(self.network)
        files: dict[str, str | None] = {BEST_FILE: None}
        if self.config.best_per_target:
            files |= {best_file(target.name): target.name for target in self.network.targets}
        for name, target in files.items():
            if best_epoch(self.history, self.config, target) == self.epoch:
                store.write_checkpoint(self.folder / name, self.config, {"average": self.average.state_dict()}, state)

    def _draw(self) -> None:
        write_curves(self.folder, self.history)
        if time.monotonic() - self._drawn_s >= DRAW_EVERY_S:
            draw_curves(self.folder, self.history, self.network.targets)
            self._drawn_s = time.monotonic()

    def _saved(self) -> store.Checkpoint | None:
        path = self.folder / LAST_FILE
        if not path.is_file():
            return None
        saved = store.read_checkpoint(path)
        store.check_same_config(saved.config, self.config, self.folder, FREE_SETTINGS)
        if saved.state["data"] != self.data.fingerprint:
            other = "another label table, or other recordings or teachers"
            raise UsageError(f"{self.folder}: holds a run on {other}; choose another --out")
        return saved

    def _restore(self, saved: store.Checkpoint) -> None:
        store.load_weights(self.network, saved, "model")
        store.load_weights(self.average, saved)
        store.restore_optimizer(self.optimizer, self.names, saved.part("optimizer"))
        if self.scaler.is_enabled() and saved.state.get("scaler"):
            self.scaler.load_state_dict(saved.state["scaler"])
        self.epoch, self.history = saved.state["epoch"], saved.state["history"]
        self.step, self.seconds = saved.state.get("step", 0), saved.state.get("seconds", 0.0)
        self.means = LossMeans(saved.state.get("sums"))
        if self.history and not self.step and self.group.is_first:
            self._keep_best()
        within = f" and {self.step} of {self.steps_per_epoch} steps" if self.step else ""
        self.watch.message(f"{self.folder}: going on after {self.epoch} of {self.config.epochs} epochs{within}")

    def _finish(self) -> dict[str, Any]:
        best = best_epoch(self.history, self.config)
        summary: dict[str, Any] = {"best_epoch": best}
        if self.config.best_per_target:
            names = [target.name for target in self.network.targets]
            summary["best_epochs"] = {name: best_epoch(self.history, self.config, name) for name in names}
        seconds = round(sum(record["seconds"] for record in self.history), 1)
        val = agreement_of(self.history[best - 1], self.network.targets)
        summary |= {"epochs": self.epoch, "seconds": seconds, "val": val}
        if self.group.is_first:
            draw_curves(self.folder, self.history, self.network.targets)
            write_json(self.folder / "results.json", summary)
        return summary


def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    with torch.no_grad():
        old, new = average.state_dict(keep_vars=True), network.state_dict(keep_vars=True)
        floats = [name for name, tensor in new.items() if tensor.is_floating_point()]
        targets: list[Tensor] = [old[name] for name in floats]
        torch._foreach_lerp_(targets, [new[name] for name in floats], 1.0 - decay)
        for name in new.keys() - set(floats):
            old[name].copy_(new[name])
