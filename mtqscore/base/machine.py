"""Processor cores and memory that this process may really use."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

UNKNOWN_MEMORY_BYTES = 8 << 30
"""What a system that does not tell is taken to have."""


def usable_cores() -> int:
    """Count the cores that this process may really use: affinity and the limit of its control group."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [limit for folder in _cgroup_folders() if (limit := _cgroup_limit(folder)) is not None]
    return max(1, min([cores, *limits]))


def usable_memory_bytes() -> int:
    """Memory of this machine, or of the control group that this process is in."""
    found = [UNKNOWN_MEMORY_BYTES]
    if hasattr(os, "sysconf") and os.sysconf_names.keys() >= {"SC_PHYS_PAGES", "SC_PAGE_SIZE"}:
        found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # no such group, or "max"
            found.append(int(Path(limit).read_text(encoding="utf-8")))
    return min(found)


def _cgroup_folders() -> list[Path]:
    root = Path("/sys/fs/cgroup")
    folders = [root, root / "cpu", root / "cpu,cpuacct"]
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return folders
    for line in lines:
        _, controllers, path = line.split(":", 2)
        base = root if not controllers else root / controllers
        if not controllers or "cpu" in controllers.split(","):
            folders += [base / step for step in _upwards(path.strip("/"))]
    return folders


def _upwards(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part not in ("", "..")]
    return ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]


def _cgroup_limit(folder: Path) -> int | None:
    """Cores that a control group allows, rounded up; None without a limit."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()[:2]
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="utf-8").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="utf-8").strip()
        if quota in ("max", "-1") or int(period) <= 0:
            return None
        return max(1, -(-int(quota) // int(period)))
    except (OSError, ValueError):
        return None
