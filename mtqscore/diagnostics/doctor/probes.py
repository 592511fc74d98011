"""Trials of what may be broken, in a process of their own: a crash or a hang there takes no report along."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TextIO

LONGEST_S = 60.0
"""A trial that takes longer hangs; to open a GPU for the first time may take a good part of it."""

_START = f"import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {__name__} import main; main()"

FORMATS = {
    "WAV": ("WAV", "PCM_16"),
    "FLAC": ("FLAC", "PCM_16"),
    "Ogg Vorbis": ("OGG", "VORBIS"),
    "Ogg Opus": ("OGG", "OPUS"),
    "MP3": ("MP3", "MPEG_LAYER_III"),
}
"""Formats that people have, in the terms of libsndfile."""

_CUDA_LIBRARIES = {
    "driver": (("libcuda.so.1", "nvcuda.dll"), "cuDriverGetVersion"),
    "CUDA runtime": (
        ("libcudart.so.13", "libcudart.so.12", "cudart64_13.dll", "cudart64_12.dll"),
        "cudaRuntimeGetVersion",
    ),
    "cuDNN": (("libcudnn.so.9", "cudnn64_9.dll"), "cudnnGetVersion"),
}
"""Libraries that report a version: names of their files, and the function to ask."""


@dataclass(frozen=True)
class Answer:
    """Values of a trial, or why it failed; explained if only because of another trial, which says more."""

    values: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    explained: bool = False


def run_probes(names: Sequence[str] | None = None, longest_s: float = LONGEST_S) -> dict[str, Answer]:
    """Run trials one after another; one that crashes or hangs is an answer, and the rest go on without it.

    Those that share a process share the time.
    """
    waiting = list(PROBES if names is None else names)
    answers: dict[str, Answer] = {}
    while waiting:
        ending = _run_child(waiting, longest_s, answers)
        waiting = [name for name in waiting if name not in answers]
        if waiting:
            answers[waiting.pop(0)] = Answer(error=ending)
    return answers


def explain_failures(answers: Mapping[str, Answer]) -> dict[str, Answer]:
    """Mark failures that another failure explains, so that only the one to repair counts."""
    found = dict(answers)
    for name, needed in NEEDS.items():
        if answers[name].error and answers[needed].error:
            found[name] = Answer(error=f"not tried, since {needed} does not work", explained=True)
    return found


def _run_child(names: Sequence[str], longest_s: float, answers: dict[str, Answer]) -> str:
    """Let one process answer as many as it can, and return how it ended."""
    command = [sys.executable, "-c", _START, json.dumps(sys.path), *names]
    null = subprocess.DEVNULL
    try:
        done = subprocess.run(command, stdin=null, stdout=subprocess.PIPE, stderr=null, timeout=longest_s, check=False)
        output, ending = done.stdout, f"it ends Python with code {done.returncode}"
        if done.returncode < 0:
            ending = f"it crashes Python (signal {-done.returncode})"
    except subprocess.TimeoutExpired as error:
        output, ending = error.stdout or b"", f"it hangs (no answer within {longest_s:g} s)"
    except OSError as error:
        return f"no second Python can be started ({error})"
    for line in output.splitlines():
        with suppress(ValueError):  # the last line of a process that died
            name, values, problem = json.loads(line)
            answers[name] = Answer(values, problem)
    return ending


def main() -> None:
    """Answer the trials that the command line names, one line of JSON each, as soon as each is known."""
    # What libraries print must not get between the answers.
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    for name in sys.argv[2:]:
        _answer(name, own)


def _answer(name: str, stream: TextIO) -> None:
    values: Mapping[str, Any] = {}
    problem = ""
    try:
        values = PROBES[name]()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a broken installation raises, SystemExit included, is an answer
        lines = str(error).strip().splitlines() or [""]
        kind = "" if type(error).__module__ == "mtqscore.errors" else f"{type(error).__name__}: "
        problem = f"{kind}{lines[0][:300]}".rstrip(": ") or "no reason given"
    print(json.dumps([name, values, problem], default=str), file=stream, flush=True)


# --- trials ---------------------------------------------------------------------------------------------------


def _numpy() -> dict[str, Any]:
    import numpy as np

    product = np.full((3, 3), 2.0) @ np.ones(3)
    if product.tolist() != [6.0, 6.0, 6.0]:
        raise ArithmeticError("its matrix product is wrong")
    return {"version": np.__version__}


def _soxr() -> dict[str, Any]:
    import numpy as np
    import soxr

    if len(soxr.resample(np.zeros(480, np.float32), 48_000, 16_000)) != 160:
        raise ArithmeticError("it resamples to a wrong length")
    return {"version": soxr.__version__}


def _soundfile() -> dict[str, Any]:
    import io

    import numpy as np
    import soundfile

    works = {}
    for name, (container, subtype) in FORMATS.items():
        stored = io.BytesIO()
        try:
            soundfile.write(stored, np.zeros(16_000, np.float32), 16_000, subtype, format=container)
            stored.seek(0)
            works[name] = len(soundfile.read(stored)[0]) > 0
        except (soundfile.SoundFileError, TypeError, ValueError):  # the last two: unknown to an old release
            works[name] = False
    return {"version": soundfile.__version__, "library": soundfile.__libsndfile_version__, "formats": works}


def _onnxruntime() -> dict[str, Any]:
    from pathlib import Path

    import onnxruntime

    try:
        from onnxruntime.capi import build_and_package_info

        cuda = str(getattr(build_and_package_info, "cuda_version", "") or "")
    except ImportError:
        cuda = ""
    return {
        "version": onnxruntime.__version__,
        "folder": str(Path(onnxruntime.__file__).parent),
        "providers": list(onnxruntime.get_available_providers()),
        "cuda": cuda,
    }


def _cuda() -> dict[str, Any]:
    """Versions of the libraries that the system's loader finds; those in Python packages are found otherwise."""
    import ctypes

    found: dict[str, Any] = {}
    for title, (files, function) in _CUDA_LIBRARIES.items():
        for file in files:
            try:
                found[title] = _cuda_version(getattr(ctypes.CDLL(file), function), direct=title == "cuDNN")
                break
            except (OSError, AttributeError):
                continue
    return found


def _cuda_version(function: Any, *, direct: bool) -> str:
    import ctypes

    if direct:
        number = int(function())
        major, rest = divmod(number, 10_000 if number >= 90_000 else 1_000)
        return f"{major}.{rest // 100}.{rest % 100}"
    value = ctypes.c_int(0)
    function(ctypes.byref(value))
    return f"{value.value // 1000}.{value.value % 1000 // 10}"


def _devices() -> dict[str, Any]:
    from dataclasses import asdict

    from mtqscore.scoring.session import available_devices

    return {"devices": [asdict(device) for device in available_devices()]}


def _models() -> dict[str, Any]:
    from mtqscore.errors import MtqscoreError
    from mtqscore.models import installed_models, read_registry, verify_model

    default, bundled = read_registry()
    entries, others = list(bundled.values()), ""
    try:
        entries = installed_models()
    except (ImportError, OSError, MtqscoreError) as error:  # what is bundled can be used without the others
        others = str(error)
    models = [
        {name: getattr(entry, name) for name in ("title", "source", "sha256")}
        | {"default": entry.bundled and entry.label == default, "problem": verify_model(entry) or ""}
        for entry in entries
    ]
    return {"models": models, "others": others}


def _scores() -> dict[str, Any]:
    from mtqscore.diagnostics.conformance.check import check_model

    found = check_model(None)
    names = ("device", "problem", "largest", "passed")
    devices = [{name: getattr(item, name) for name in names} for item in found.devices if item.counts]
    return {"model": found.model, "conformance": found.conformance, "devices": devices}


def _folders() -> dict[str, Any]:
    from mtqscore.models.reference import cache_folder, endpoint, is_offline
    from mtqscore.models.registry import own_folder

    folders = {"cache": str(cache_folder()), "own": str(own_folder())}
    return {**folders, "endpoint": endpoint(), "offline": is_offline()}


PROBES: dict[str, Callable[[], dict[str, Any]]] = {
    "numpy": _numpy,
    "soxr": _soxr,
    "soundfile": _soundfile,
    "onnxruntime": _onnxruntime,
    "cuda": _cuda,
    "devices": _devices,
    "models": _models,
    "scores": _scores,
    "folders": _folders,
}
"""Trials by name, in the order that they run in."""

NEEDS = {"soxr": "numpy", "soundfile": "numpy", "onnxruntime": "numpy", "devices": "onnxruntime"}
"""Trial to another one without which it must fail."""
