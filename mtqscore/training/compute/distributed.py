"""Several processes of one run, as ``torchrun`` starts them: each takes its share of every batch, and all agree."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from mtqscore.errors import EnvironmentProblemError, MtqscoreError

WAIT = timedelta(hours=2)
"""So long one process waits for the others: one may read, decode or fetch for long before the first step."""

SHORT_WAIT = timedelta(seconds=20)
"""So long a process that has met an error looks for the others."""


@dataclass(frozen=True)
class Shard:
    """The part of a batch that one process takes.

    Args:
        first: its first item.
        stop: the item after its last.
        whole: items of the whole batch.
        idle: there was none left for it: it takes the first item along, without weight, since all must do every step.
    """

    first: int
    stop: int
    whole: int
    idle: bool = False

    @property
    def weight(self) -> float:
        """Share of the batch that this is."""
        return 0.0 if self.idle else (self.stop - self.first) / self.whole


class Ranks:
    """The processes of a run, and which one this is.

    Args:
        rank: number of this process, from 0.
        count: number of all.
    """

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count = rank, count
        self.shard = Shard(0, 1, 1)
        """What this process has of the batch at hand."""

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def share(self, items: int) -> Shard:
        """Say which items of a batch this process takes; they differ by one at most between processes."""
        first, stop = items * self.rank // self.count, items * (self.rank + 1) // self.count
        return Shard(first, stop, items) if stop > first else Shard(0, 1, items, idle=True)

    def total(self, values: Tensor) -> Tensor:
        """Add up a tensor over all processes, in place; every process gets the same bits."""
        if self.count > 1:
            with _connected():
                dist.all_reduce(values)
        return values

    def total_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up the gradients over all processes: each has those of its share of the loss."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = self.total(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        start = 0
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()

    def agree(self, numbers: Sequence[int], what: str) -> None:
        """Make sure that all processes have the same numbers.

        Raises:
            EnvironmentProblemError: they differ.
        """
        if self.count == 1:
            return
        own = torch.tensor(numbers, dtype=torch.int64)
        found = [torch.empty_like(own) for _ in range(self.count)]
        with _connected():
            dist.all_gather(found, own)
        if any(not torch.equal(other, own) for other in found):
            raise EnvironmentProblemError(f"the processes do not agree on {what}; all must see the same files")

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.agree([0], "nothing")

    def adapt(self, network: nn.Module) -> None:
        """Let a network compute on a share of a batch what it would on the whole: normalisation and dropout.

        Args:
            network: changed in place; names and values of its weights stay.
        """
        if self.count == 1:
            return
        for module in [*network.modules()]:
            for name, child in [*module.named_children()]:
                if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                    setattr(module, name, _SharedBatchNorm(child, self))
                elif isinstance(child, nn.Dropout) or _attention_dropout(child):
                    _share_draws(child, self)


ALONE = Ranks()
"""A run of one process."""

_RUNS = itertools.count()
_stores: list[Any] = []


@contextmanager
def processes(device: str) -> Iterator[Ranks]:
    """Join the processes that ``torchrun`` started; without it there is one.

    A process that fails ends all; `first_to_tell` says which one tells why.

    Args:
        device: as the settings name it; says through which library they speak.

    Raises:
        EnvironmentProblemError: they do not find each other, or another one has ended.
    """
    count, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if count == 1:
        yield Ranks()
        return
    try:
        store, _, _ = next(iter(dist.rendezvous("env://", rank, count, timeout=WAIT)))  # type: ignore[attr-defined]
        _stores[:] = [store]
        # A second run of the same processes must not find what the first left there.
        store = dist.PrefixStore(f"run-{next(_RUNS)}", store)  # type: ignore[attr-defined]
        backend = "gloo" if device == "cpu" or not torch.cuda.is_available() else "cpu:gloo,cuda:nccl"
        dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=WAIT)
    except (RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or ["?"])[0]
        raise EnvironmentProblemError(f"process {rank} of {count} does not find the others: {reason}") from error
    try:
        yield Ranks(rank, count)
    except MtqscoreError:
        first_to_tell()  # before the others miss this process
        raise
    except _LostError as error:
        raise EnvironmentProblemError(
            "another process of the run has ended without a word (killed, perhaps for its memory); the same command "
            "goes on from the last checkpoint"
        ) from error
    finally:
        with suppress(RuntimeError):
            dist.destroy_process_group()


@functools.cache
def first_to_tell() -> bool:
    """Whether this process is the first of all that has met an error: it tells why, the others end in silence."""
    try:
        if not _stores:
            count, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
            store, _, _ = next(iter(dist.rendezvous("env://", rank, count, timeout=SHORT_WAIT)))  # type: ignore[attr-defined]
            _stores.append(store)
        return bool(_stores[0].add("failures", 1) == 1)
    except (RuntimeError, ValueError):  # the store has gone with the process that held it
        return True


def local_rank() -> int:
    """Number of this process on its machine, which is that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_processes() -> int:
    """Processes on this machine, which share its processor."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


class _LostError(Exception):
    """Another process no longer answers."""


@contextmanager
def _connected() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise _LostError from error


class _Total(torch.autograd.Function):
    """Sum over all processes; each adds to the loss, so that the gradient is a sum too."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks.total(values.clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.ranks.total(gradient.contiguous().clone()), None


def _summed(values: Tensor, ranks: Ranks) -> Tensor:
    result: Tensor = _Total.apply(values, ranks)  # type: ignore[no-untyped-call]
    return result


class _SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation by the mean and variance of the whole batch, of which each process has a share.

    Args:
        norm: the layer that it replaces; weights and statistics are shared with it.
        ranks: the processes.
    """

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d, ranks: Ranks) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.ranks = ranks
        self.train(norm.training)

    def _check_input_dim(self, input: Tensor) -> None:
        """Take any shape with the channels second."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (batch, channels, ...)."""
        if not self.training:
            return super().forward(input)
        x = input.float()
        others = [axis for axis in range(x.ndim) if axis != 1]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        weight = 0.0 if self.ranks.shard.idle else 1.0
        count = self.ranks.total(x.new_tensor(weight * x.numel() / x.shape[1]))
        if count == 1:
            return functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        mean = _summed(weight * x.sum(others), self.ranks) / count
        centred = x - mean.view(shape)
        variance = _summed(weight * centred.square().sum(others), self.ranks) / count
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            pace = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.detach(), pace)
            self.running_var.lerp_(variance.detach() * (count / (count - 1)), pace)
        scale = (variance + self.eps).rsqrt()
        if self.affine:
            scale = scale * self.weight
        out = centred * scale.view(shape)
        return (out + self.bias.view(shape) if self.affine else out).to(input.dtype)


def _attention_dropout(module: nn.Module) -> bool:
    """Whether a module drops weights of its attention, as torch's own does and that of torchaudio."""
    return isinstance(share := getattr(module, "dropout", None), float) and share > 0.0


class _SharedDraws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Dropout draws for the whole batch and takes its share, so that the number of processes changes nothing.

    Attention on a GPU draws inside its kernels; there each process draws its own.

    Args:
        ranks: the processes.
    """

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ranks = ranks

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation."""
        shard = self.ranks.shard
        mine = slice(shard.first, shard.stop)
        if not args or not isinstance(args[0], Tensor) or args[0].shape[:1] != (shard.stop - shard.first,):
            return func(*args, **kwargs or {})
        if func is torch.ops.aten.bernoulli_.float:
            # Numbers come in the order of the memory, which need not be that of the axes. A single item whose stride is
            # that of its frames lies inside of them.
            order = sorted(range(args[0].ndim), key=lambda axis: (args[0].stride(axis), axis), reverse=True)
            size = (shard.whole, *args[0].shape[1:])
            whole = torch.empty_permuted(size, order, dtype=args[0].dtype, device=args[0].device)
            return args[0].copy_(func(whole, *args[1:], **kwargs or {})[mine])
        if func is torch.ops.aten.native_dropout.default:
            scale, kept = func(args[0].new_ones(shard.whole, *args[0].shape[1:]), *args[1:])
            return args[0] * scale[mine], kept[mine]
        return func(*args, **kwargs or {})


def _share_draws(module: nn.Module, ranks: Ranks) -> None:
    forward = module.forward

    def shared(*args: Any, **kwargs: Any) -> Any:
        with _SharedDraws(ranks):
            return forward(*args, **kwargs)

    module.forward = shared
