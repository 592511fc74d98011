"""Where a run took place and what went into it, so that a run folder explains itself."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch

from mtqscore.labels.table import TABLE_NAME

LIBRARIES = ("mtqscore", "torch", "torchaudio", "numpy", "soundfile", "soxr", "safetensors")


def describe_machine(device: torch.device, processes: int) -> dict[str, Any]:
    """Name versions, processor and device.

    Args:
        device: where the run computes.
        processes: how many share the work.
    """
    graphics = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "gpu": graphics,
        "cuda": torch.version.cuda if graphics else None,
        "processes": processes,
    }


def describe_call(table: Path, init: Path | None) -> dict[str, Any]:
    """Name the command and the files that it was given, the label table with its SHA-256.

    Args:
        table: the label table, its folder, or the name of a corpus.
        init: where the initial weights came from, if anywhere.
    """
    file = table / TABLE_NAME if table.is_dir() else table
    digest = None
    if file.is_file():
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "command": sys.argv,
        "data": str(table.resolve()),
        "data_sha256": digest,
        "init": str(init.resolve()) if init is not None else None,
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
