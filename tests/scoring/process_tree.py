"""Processes on Linux: those below one, whether they live, and waiting for what they do."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any


def below(pid: int) -> dict[int, list[int]]:
    """Processes that live below one, itself among them, each with those that it started itself."""
    started: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = status.read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                started.setdefault(int(fields[1]), []).append(int(status.parent.name))
    found, waiting = {}, [pid]
    while waiting:
        one = waiting.pop()
        found[one] = started.get(one, [])
        waiting += found[one]
    return found


def lives(pid: int) -> bool:
    """Check for a process that has not ended."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def wait_for(what: Any, seconds: float = 180) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)
