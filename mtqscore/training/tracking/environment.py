"""Machine, versions and inputs of a run, so that a run folder explains itself."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from mtqscore.labels.table import TABLE_NAME

LIBRARIES = ("mtqscore", "torch", "torchaudio", "numpy", "soundfile", "soxr", "safetensors")


def describe_machine(device: torch.device, processes: int) -> dict[str, Any]:
    """Name versions, processor and device of a run that so many processes share."""
    versions: dict[str, str | None] = dict.fromkeys(LIBRARIES)
    for name in LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "python": platform.python_version(),
        "libraries": versions,
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "gpu": gpu,
        "cuda": torch.version.cuda if gpu else None,
        "processes": processes,
    }


def describe_call(table: Path, init: Path | None) -> dict[str, Any]:
    """Name the command and its files: table, folder or corpus with the SHA-256 of a table, and initial weights."""
    file = table / TABLE_NAME if table.is_dir() else table
    digest = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None
    initial = str(init.resolve()) if init is not None else None
    return {"command": sys.argv, "data": str(table.resolve()), "data_sha256": digest, "init": initial}


def _processor() -> str:
    with suppress(OSError):
        for text in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if text.startswith("model name"):
                return text.partition(":")[2].strip()
    return platform.processor() or platform.machine()
