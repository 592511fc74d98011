"""The machine around mtqscore: processor, graphics driver, folders and the network that it may use."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from mtqscore.base.machine import usable_cores
from mtqscore.diagnostics.doctor.facts import Fact, Mark
from mtqscore.diagnostics.doctor.installation import distributions
from mtqscore.diagnostics.doctor.probes import Answer

SMALL_BYTES = 100 << 20
"""Less free space than this does not hold a model and its download."""

_CUDA_PACKAGES = {"CUDA runtime": "nvidia-cuda-runtime", "cuDNN": "nvidia-cudnn"}


def processor_facts() -> list[Fact]:
    """Cores that may be used, and why not all."""
    present = os.cpu_count() or 1
    usable = usable_cores()
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else present
    limits = [f"affinity allows {allowed}"] if allowed < present else []
    limits += [f"the control group allows {usable}"] if usable < allowed else []
    why = f" ({', '.join(limits)})" if limits else ""
    return [Fact("cores", f"{usable} of {present} usable{why}")]


def cuda_facts(answer: Answer) -> list[Fact]:
    """NVIDIA's driver, and the CUDA and cuDNN libraries that onnxruntime would find."""
    supports = f"CUDA {answer.values['driver']}" if "driver" in answer.values else ""
    facts = [Fact("NVIDIA driver", ", ".join(part for part in (*_driver(), supports) if part) or "none")]
    for title, prefix in _CUDA_PACKAGES.items():
        found = [f"{item.version} ({name})" for name, item in distributions((prefix,))]
        if title in answer.values:
            found.append(f"{answer.values[title]} (of the system)")
        facts.append(Fact(title, ", ".join(found) or "none"))
    return facts


def folder_facts(answer: Answer) -> list[Fact]:
    """Describe the folders of models, the room there, and the use of the network."""
    if answer.error:
        return [Fact("folders", answer.error, Mark.NOTE)]
    found = answer.values
    facts = [
        _folder_fact("Hub cache", Path(found["cache"]), "HF_HOME"),
        _folder_fact("own models", Path(found["own"]), "MTQSCORE_HOME"),
    ]
    try:
        facts.append(_folder_fact("temporary", Path(tempfile.gettempdir()), "TMPDIR"))
    except OSError as error:
        facts.append(Fact("temporary", str(error), Mark.NOTE, "export TMPDIR=/a/folder/with/room"))
    for name in ("HF_HOME", "HF_HUB_CACHE", "MTQSCORE_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
        if os.environ.get(name):
            facts.append(Fact(name, _without_secrets(os.environ[name])))
    if found["offline"]:
        fix = "unset HF_HUB_OFFLINE TRANSFORMERS_OFFLINE"
        return [*facts, Fact("network", "not to be used: no model can be fetched", Mark.NOTE, fix)]
    where = _without_secrets(found["endpoint"])
    return [*facts, Fact("network", f"models are fetched from {where}, bundled ones need none")]


def _folder_fact(name: str, folder: Path, variable: str) -> Fact:
    fix = f"export {variable}=/a/folder/with/room"
    try:
        there = next(place for place in (folder, *folder.parents) if place.exists())
        free = shutil.disk_usage(there).free
        if not there.is_dir():
            return Fact(name, f"{folder}: {there} is not a folder", Mark.NOTE, fix)
        # Permissions alone do not show read-only file systems and quotas; only what exists is written to.
        if there == folder:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"\0" * 4096)
        elif not os.access(there, os.W_OK | os.X_OK):
            return Fact(name, f"{folder}: cannot be made in {there}", Mark.NOTE, fix)
    except (OSError, StopIteration, ValueError) as error:
        return Fact(name, f"{folder}: {getattr(error, 'strerror', None) or error}", Mark.NOTE, fix)
    state = f"{folder}, {free / 1e9:,.1f} GB free" + ("" if there == folder else ", not made yet")
    if free < SMALL_BYTES:
        return Fact(name, f"{state}: no room for a model", Mark.NOTE, fix)
    return Fact(name, state)


def _without_secrets(address: str) -> str:
    """An address without its user and password: reports of the doctor are shown to others."""
    return re.sub(r"//[^/@]*@", "//***@", address)


def _driver() -> list[str]:
    """Version of the driver, and the GPUs that it sees."""
    parts: list[str] = []
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
        version = re.search(r"\s(\d+(?:\.\d+)+)\s", text)
        parts += [version[1]] if version else []
    except OSError:
        pass
    tool = shutil.which("nvidia-smi")
    return [*parts, _asked(tool)] if tool else parts


def _asked(tool: str) -> str:
    command = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=10, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nvidia-smi does not answer ({type(error).__name__})"
    lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
    return "; ".join(lines) if done.returncode == 0 else f"nvidia-smi: {' '.join(lines)[:200] or 'failed'}"
