"""The training loop: epochs, validation, the averaged weights, checkpoints, and going on after a stop."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mtqscore import stats
from mtqscore.config import TrainConfig
from mtqscore.errors import MtqscoreError, UsageError
from mtqscore.resolve import to_plain
from mtqscore.spec import SAMPLE_RATE_HZ, TARGETS
from mtqscore.training import checkpoint as store
from mtqscore.training.curves import write_curves
from mtqscore.training.dataset import Batch, Recordings, plain_batches, training_batches
from mtqscore.training.losses import MplLoss
from mtqscore.training.networks import Network, build

FREE_SETTINGS = frozenset({"threads", "memory_limit_gb"})
"""Settings that may differ when a run goes on."""

EMA_WARMUP = 10
"""The average follows closely at first: its decay is (1 + n) / (10 + n) until that exceeds the configured one."""

VALIDATION_BATCH = 32


@dataclass(frozen=True)
class Watch:
    """Who is told how the run goes.

    Args:
        step: called after each step with the steps done, those planned, and a word on where that is.
        message: called with one line after each epoch and for notes.
    """

    step: Callable[[int, int, str], None]
    message: Callable[[str], None]


@dataclass(frozen=True)
class Data:
    """What a run learns from.

    Args:
        train: training split.
        val: validation split, which chooses the best epoch.
        fingerprint: digest of the label table; a run only goes on with the same one.
    """

    train: Recordings
    val: Recordings
    fingerprint: str


@dataclass(frozen=True)
class Evaluation:
    """Estimates for a whole split.

    Args:
        loss: mean loss.
        scores: estimates float32 (recordings, targets), in the order of the split.
        labels: labels float32 (recordings, targets); NaN where missing.
    """

    loss: float
    scores: NDArray[np.float32]
    labels: NDArray[np.float32]

    def agreement(self) -> dict[str, dict[str, float]]:
        """Compute LCC, SRCC and RMSE a target."""
        return {
            target.name: {
                name: stats.METRICS[name](self.labels[:, task], self.scores[:, task])
                for name in ("lcc", "srcc", "rmse")
            }
            for task, target in enumerate(TARGETS)
        }


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """Give the learning rate of a step: linear warm-up, then half a cosine down to zero at the last step."""
    warmup = config.warmup_epochs * steps_per_epoch
    if step < warmup:
        return config.lr * (step + 1) / warmup
    progress = (step - warmup) / max(1.0, config.epochs * steps_per_epoch - warmup)
    return config.lr * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def evaluate_split(network: Network, data: Recordings, config: TrainConfig) -> Evaluation:
    """Score a split in float32, without augmentation.

    Args:
        network: the network; it is left in evaluation mode.
        data: the split.
        config: for the loss and the longest clip.
    """
    network.eval()
    loss = MplLoss(config)
    scores = np.zeros((len(data), len(TARGETS)), dtype=np.float32)
    total = 0.0
    longest = int(config.max_clip_s * SAMPLE_RATE_HZ)
    with torch.inference_mode():
        for batch in plain_batches(data, VALIDATION_BATCH, longest):
            estimates = network(batch.waveform, batch.lengths)
            parts = loss(estimates, batch.labels)
            total += float(parts.total) * len(batch.rows)
            scores[batch.rows] = estimates.scores.numpy()
    return Evaluation(total / len(data), scores, data.labels)


class Trainer:
    """One run in one folder.

    Args:
        folder: the run folder; it exists.
        data: what to learn from.
        config: everything else.
        watch: who is told.
        initial: a checkpoint whose weights are the starting point, or None.

    Raises:
        UsageError: the folder holds a run with other settings or other data.
    """

    def __init__(
        self, folder: Path, data: Data, config: TrainConfig, watch: Watch, initial: store.Checkpoint | None = None
    ) -> None:
        self.folder, self.data, self.watch = folder, data, watch
        self.config = config
        self.loss = MplLoss(config)
        torch.manual_seed(config.seed)
        self.network = build(config)
        if initial is not None:
            store.load_weights(self.network, initial)
        self.average = copy.deepcopy(self.network)
        self.names = {parameter: name for name, parameter in self.network.named_parameters()}
        self.optimizer = torch.optim.AdamW(_groups(self.network, config.weight_decay), lr=config.lr)
        self.steps_per_epoch = math.ceil(len(data.train) / config.batch_size)
        self.epoch = 0
        self.history: list[dict[str, float]] = []
        self._restore()

    def run(self) -> dict[str, Any]:
        """Train until the planned end or until patience runs out.

        Returns:
            The summary that also becomes ``results.json``.

        Raises:
            MtqscoreError: the loss is no longer finite.
        """
        while self.epoch < self.config.epochs and not self._out_of_patience():
            start = time.perf_counter()
            losses = self._train_epoch()
            validation = evaluate_split(self.average, self.data.val, self.config)
            self.epoch += 1
            record = self._record(losses, validation, time.perf_counter() - start)
            best = all(record["monitor"] > old["monitor"] for old in self.history)
            self.history.append(record)
            if best:
                note = {"epoch": self.epoch, "val": validation.agreement()}
                store.write_checkpoint(
                    self.folder / store.BEST_FILE, self.config, {"average": self.average.state_dict()}, note
                )
            self._save()
            write_curves(self.folder, self.history)
            self.watch.message(_line(record, self.config.epochs, best))
        return self._finish()

    def _train_epoch(self) -> dict[str, float]:
        # Reseeded here, an epoch depends on nothing but its number and the state: no generator needs to be stored.
        torch.manual_seed(int(np.random.SeedSequence((self.config.seed, self.epoch)).generate_state(1)[0]))
        self.network.train()
        sums: dict[str, list[float]] = {}
        for step, batch in enumerate(training_batches(self.data.train, self.config, self.epoch)):
            values = self._train_step(batch, self.epoch * self.steps_per_epoch + step)
            for name, value in values.items():
                if not math.isnan(value):
                    sums.setdefault(name, []).append(value)
            done = self.epoch * self.steps_per_epoch + step + 1
            planned = self.config.epochs * self.steps_per_epoch
            self.watch.step(done, planned, f"epoch {self.epoch + 1}")
        return {name: float(np.mean(values)) for name, values in sums.items()}

    def _train_step(self, batch: Batch, step: int) -> dict[str, float]:
        rate = learning_rate(self.config, step, self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16, enabled=bool(self.config.bfloat16)):
            estimates = self.network(batch.waveform, batch.lengths, batch.recolour)
        frame_labels = batch.frame_labels(self.network.frame_positions(batch.waveform.shape[1]))
        parts = self.loss(estimates, batch.labels, frame_labels)
        total = float(parts.total.detach())
        if not math.isfinite(total):
            raise MtqscoreError(f"the loss is {total} in epoch {self.epoch + 1}; try a lower --lr")
        self.optimizer.zero_grad(set_to_none=True)
        parts.total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.grad_clip)
        self.optimizer.step()
        decay = min(self.config.ema, (1 + step) / (EMA_WARMUP + step))
        _follow(self.average, self.network, decay)
        each = {target.name: float(value) for target, value in zip(TARGETS, parts.utterance, strict=True)}
        return {"loss": total, **each}

    def _record(self, losses: dict[str, float], validation: Evaluation, seconds: float) -> dict[str, float]:
        agreement = validation.agreement()
        record = {
            "epoch": float(self.epoch),
            "seconds": seconds,
            "lr": self.optimizer.param_groups[0]["lr"],
            "train_loss": losses["loss"],
            "val_loss": validation.loss,
        }
        for target in TARGETS:
            record[f"train_{target.name}_loss"] = losses.get(target.name, math.nan)
        for target in TARGETS:
            record[f"val_{target.name}_lcc"] = agreement[target.name]["lcc"]
            record[f"val_{target.name}_rmse"] = agreement[target.name]["rmse"]
        watched = [agreement[name]["lcc"] for name in self.config.monitor]
        watched = [value for value in watched if not math.isnan(value)]
        # Without a single defined correlation (no such labels, or constant estimates) the loss decides.
        record["monitor"] = float(np.mean(watched)) if watched else -1.0 - validation.loss
        return record

    def _best(self) -> dict[str, float]:
        return max(self.history, key=lambda record: record["monitor"])

    def _out_of_patience(self) -> bool:
        return bool(self.config.patience and self.history) and (
            self.epoch - self._best()["epoch"] >= self.config.patience
        )

    def _save(self) -> None:
        parts = {
            "model": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": store.optimizer_tensors(self.optimizer, self.names),
        }
        state = {"epoch": self.epoch, "history": self.history, "data": self.data.fingerprint}
        store.write_checkpoint(self.folder / store.LAST_FILE, self.config, parts, state)

    def _restore(self) -> None:
        path = self.folder / store.LAST_FILE
        if not path.is_file():
            return
        saved = store.read_checkpoint(path)
        store.check_same_config(saved.config, self.config, self.folder, FREE_SETTINGS)
        if saved.state["data"] != self.data.fingerprint:
            raise UsageError(f"{self.folder}: holds a run on another label table; choose another --out")
        self.network.load_state_dict(saved.part("model"))
        self.average.load_state_dict(saved.part("average"))
        store.restore_optimizer(self.optimizer, self.names, saved.part("optimizer"))
        self.epoch, self.history = saved.state["epoch"], saved.state["history"]
        self.watch.message(f"{self.folder}: going on after epoch {self.epoch} of {self.config.epochs}")

    def _finish(self) -> dict[str, Any]:
        best = store.read_checkpoint(self.folder / store.BEST_FILE)
        summary = {
            "best_epoch": best.state["epoch"],
            "epochs": self.epoch,
            "seconds": round(sum(record["seconds"] for record in self.history), 1),
            "val": best.state["val"],
        }
        write_json(self.folder / "results.json", summary)
        return summary


def resolved(config: TrainConfig) -> TrainConfig:
    """Settle what depends on the machine: bfloat16 where the processor computes in it."""
    if config.bfloat16 is not None:
        return config
    capable = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return replace(config, bfloat16=bool(capable))


def write_json(path: Path, value: object) -> None:
    """Write a JSON file so that a reader never sees half of one."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(_without_nan(value), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)


def write_config(folder: Path, config: TrainConfig) -> None:
    """Write the resolved configuration beside the checkpoints."""
    write_json(folder / "config.json", to_plain(config))


def _without_nan(value: object) -> object:
    """Turn NaN into None, since JSON has none."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decay matrices and kernels; leave biases and normalisation alone."""
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    with torch.no_grad():
        old, new = average.state_dict(keep_vars=True), network.state_dict(keep_vars=True)
        floats = [name for name, tensor in new.items() if tensor.is_floating_point()]
        targets: list[Tensor] = [old[name] for name in floats]
        torch._foreach_lerp_(targets, [new[name] for name in floats], 1.0 - decay)
        for name in new.keys() - set(floats):
            old[name].copy_(new[name])


def _line(record: dict[str, float], epochs: int, best: bool) -> str:
    lcc = " ".join(f"{target.name} {record[f'val_{target.name}_lcc']:.3f}" for target in TARGETS)
    star = " *" if best else ""
    return (
        f"epoch {record['epoch']:.0f}/{epochs}: loss {record['train_loss']:.3f} val {record['val_loss']:.3f} "
        f"| val LCC {lcc} | {record['seconds']:.0f} s{star}"
    )
