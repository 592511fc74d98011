"""Whether further processes on this machine pay; apart from them, since most runs need none."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from mtqscore.audio.inputs import Input, is_remote
from mtqscore.base.machine import usable_cores, usable_memory_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mtqscore.config import AssessConfig

RECORDINGS_A_PROCESS = 400
"""With fewer a further process does not make up for its start."""

MEMORY_A_PROCESS_BYTES = 2**29
"""More than a process takes, so that there is room beside them."""


def worth_processes(config: AssessConfig, inputs: Sequence[Input]) -> int:
    """How many processes score a list soonest; 1 where threads in this one do as well.

    Args:
        config: the options; ``threads`` bounds the cores that are used, and a process takes one or more.
        inputs: the list.
    """
    if not _can_start() or is_remote(inputs[0].path if inputs else ""):
        return 1  # a store is read by threads of one process
    threads = config.threads or usable_cores()
    return max(1, min(threads, len(inputs) // RECORDINGS_A_PROCESS, usable_memory_bytes() // MEMORY_A_PROCESS_BYTES))


def _can_start() -> bool:
    """Whether this program can start itself again; one that another embeds or has frozen may start something else."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)
