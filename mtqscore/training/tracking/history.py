"""Record of every epoch, and the choice of the best one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mtqscore.base.text import clock
from mtqscore.targets import Target
from mtqscore.training.config import TrainConfig
from mtqscore.training.validation import MEASURES, Evaluation

Record = dict[str, float]


class LossMeans:
    """Means of the losses along an epoch; ``pairs`` holds sums and counts by name, to go on from after a stop."""

    def __init__(self, pairs: Mapping[str, Sequence[float]] | None = None) -> None:
        self.pairs: dict[str, list[float]] = {name: list(pair) for name, pair in (pairs or {}).items()}

    def add(self, values: Mapping[str, float]) -> None:
        """Take in the losses of a step; NaN is left out."""
        for name, value in values.items():
            if not math.isnan(value):
                pair = self.pairs.setdefault(name, [0.0, 0])
                pair[0] += value
                pair[1] += 1

    def means(self) -> dict[str, float]:
        """Give the mean of each."""
        return {name: total / count for name, (total, count) in self.pairs.items()}


def make_record(
    epoch: int, seconds: float, rate: float, losses: Mapping[str, float], validation: Evaluation, config: TrainConfig
) -> Record:
    """Make the record of an epoch, from 1, with its last learning rate and its mean training losses by name."""
    agreement = validation.agreement()
    record = {"epoch": float(epoch), "seconds": seconds, "lr": rate}
    record |= {"train_loss": losses["loss"], "val_loss": validation.loss}
    if "penalty" in losses:
        record["train_penalty"] = losses["penalty"]
    names = [target.name for target in validation.targets]
    record |= {f"train_{name}_loss": losses.get(name, math.nan) for name in names}
    for name, loss in zip(names, validation.losses, strict=True):
        record |= {f"val_{name}_{measure}": agreement[name][measure] for measure in MEASURES}
        record[f"val_{name}_loss"] = loss
    monitored = [name for name in names if name in config.monitor]
    record["monitor"] = quality(record, monitored or names, config)
    return record


def quality(record: Mapping[str, float], names: Iterable[str], config: TrainConfig) -> float:
    """Rate an epoch by the mean of the monitored metric over some targets, the higher the better."""
    sign = 1.0 if config.monitor_metric in ("lcc", "srcc") else -1.0
    found = [sign * record.get(f"val_{name}_{config.monitor_metric}", math.nan) for name in names]
    values = [value for value in found if not math.isnan(value)]
    # Without a single defined correlation (no such labels, or constant estimates) the loss decides.
    return float(np.mean(values)) if values else -1.0 - record["val_loss"]


def best_epoch(history: Sequence[Record], config: TrainConfig, target: str | None = None) -> int:
    """Give the number of the best epoch, the first of equals; of one target, or of those that are monitored."""
    best = max(history, key=lambda one: one["monitor"] if target is None else quality(one, [target], config))
    return int(best["epoch"])


def agreement_of(record: Mapping[str, float], targets: Iterable[Target]) -> dict[str, dict[str, float]]:
    """Give LCC, SRCC and RMSE a target as a record holds them."""
    return {
        target.name: {measure: record.get(f"val_{target.name}_{measure}", math.nan) for measure in MEASURES}
        for target in targets
    }


def line(history: Sequence[Record], targets: Iterable[Target], config: TrainConfig) -> str:
    """Sum up the last epoch in one line, with the time that the others will take."""
    record = history[-1]
    epoch = int(record["epoch"])
    lcc = " ".join(f"{target.name} {record[f'val_{target.name}_lcc']:.3f}" for target in targets).replace("nan", "–")
    star = " *" if best_epoch(history, config) == epoch else ""
    mean_s = sum(one["seconds"] for one in history) / len(history)
    left = clock((config.epochs - epoch) * mean_s)
    return (
        f"epoch {epoch}/{config.epochs}: loss {record['train_loss']:.3f} val {record['val_loss']:.3f} "
        f"| val LCC {lcc} | {record['seconds']:.0f} s, {left} left{star}"
    )
