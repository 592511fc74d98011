"""Several processes of one run, as ``torchrun`` starts them: each takes its share of every batch.

Gradients are averaged by DistributedDataParallel. On GPUs, SyncBatchNorm normalises by the whole batch; on the CPU each
process normalises its own share. Dropout is drawn by each process.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mtqscore.errors import EnvironmentProblemError, MtqscoreError

WAIT = timedelta(hours=2)
"""Longest wait for the other processes: one may read, decode or fetch for long before the first step."""

SHORT_WAIT = timedelta(seconds=20)
"""Longest search for the other processes after an error."""


@dataclass(frozen=True)
class BatchShare:
    """Part of a batch of ``whole`` items that one process takes, from the item ``first`` to before ``stop``.

    An idle one got none: it computes the first item without weight, since every process does every step.
    """

    first: int
    stop: int
    whole: int
    is_idle: bool = False

    @property
    def weight(self) -> float:
        """Size of this part, of 1."""
        return 0.0 if self.is_idle else (self.stop - self.first) / self.whole


class ProcessGroup:
    """Processes of a run: the number of this one, from 0, and that of all."""

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count = rank, count

    @property
    def is_first(self) -> bool:
        """True for the process that writes files and messages."""
        return self.rank == 0

    def share(self, items: int) -> BatchShare:
        """Divide a batch; shares differ by one item at most."""
        first, stop = (items * rank // self.count for rank in (self.rank, self.rank + 1))
        return BatchShare(first, stop, items) if stop > first else BatchShare(0, 1, items, is_idle=True)

    def total(self, values: Tensor) -> Tensor:
        """Add up a tensor over all processes, in place."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def agree(self, numbers: Sequence[int], what: str) -> None:
        """Check that all processes have the same numbers; an EnvironmentProblemError where they differ."""
        if self.count > 1:
            own = torch.tensor([numbers, [-number for number in numbers]], dtype=torch.int64)
            dist.all_reduce(largest := own.clone(), dist.ReduceOp.MAX)
            if not torch.equal(largest[0], -largest[1]):
                raise EnvironmentProblemError(f"the processes do not agree on {what}; all must see the same files")

    def wait(self) -> None:
        """Wait for all processes."""
        self.agree([0], "nothing")

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """Let the first process run a block before the others do."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    def in_parallel(self, network: nn.Module) -> nn.Module:
        """Wrap a network so that its gradients are the means over all processes.

        On a GPU batch normalisation is replaced in place; weights and their names stay.
        """
        if self.count == 1:
            return network
        device = next(network.parameters()).device
        if device.type == "cpu":
            return DistributedDataParallel(network)
        synced = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return DistributedDataParallel(synced, device_ids=[device], broadcast_buffers=False)

    def share_buffers(self, network: nn.Module) -> None:
        """Give all processes the buffers of the first: statistics of batch normalisation differ on the CPU."""
        if self.count > 1:
            for buffer in network.buffers():
                dist.broadcast(buffer, 0)


ALONE = ProcessGroup()
"""A run of one process."""


@contextmanager
def process_group(device: str) -> Iterator[ProcessGroup]:
    """Join the processes that ``torchrun`` started; without it there is one.

    Raises:
        EnvironmentProblemError: they do not find each other, or another one has ended.
    """
    count, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if count == 1:
        yield ALONE
        return
    try:
        on_gpu = device != "cpu" and torch.cuda.is_available()
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=WAIT)
    except (RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or ["?"])[0]
        raise EnvironmentProblemError(f"process {rank} of {count} does not find the others: {reason}") from error
    try:
        yield ProcessGroup(rank, count)
    except MtqscoreError:
        reports_errors()  # before the others miss this process
        raise
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise EnvironmentProblemError(
            "another process of the run has ended without a message (killed, perhaps for its memory); the same command "
            "goes on from the last checkpoint"
        ) from error
    finally:
        with suppress(RuntimeError):
            dist.destroy_process_group()


@functools.cache
def reports_errors() -> bool:
    """Return True in the first process that meets an error: it reports it, the others end in silence."""
    try:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = dist.TCPStore(address, port, is_master=False, timeout=SHORT_WAIT)  # type: ignore[attr-defined]
        return bool(store.add("mtqscore/failures", 1) == 1)
    except (KeyError, RuntimeError, ValueError):  # the store has gone with the process that held it
        return True


def is_first_process() -> bool:
    """Return True in the process of ``torchrun`` that writes files and messages."""
    return os.environ.get("RANK", "0") == "0"


def local_rank() -> int:
    """Number of this process on its machine, which is that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_processes() -> int:
    """Processes on this machine, which share its processor."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
