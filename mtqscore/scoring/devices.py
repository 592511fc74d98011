"""Loading of onnxruntime, and checks of the devices that it may use."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from mtqscore.base.libraries import unloadable

_CUDA_NO_DEVICE = 100
"""CUDA_ERROR_NO_DEVICE of the driver's interface."""


@dataclass(frozen=True)
class Problem:
    """Reason that a device does not work.

    Args:
        reason: what stands in the way.
        fix: what to do about it.
        idle: whether there is such a device, which lies idle because of this; worth a word to who left the choice open.
    """

    reason: str
    fix: str
    idle: bool = False

    def __str__(self) -> str:
        return f"{self.reason}; {self.fix}"


@cache
def load_onnxruntime() -> Any:
    """Import onnxruntime without what it prints: it looks for GPUs as it loads, and complains where it finds none.

    Raises:
        EnvironmentProblemError: it is not installed, or not whole.
    """
    try:
        with _quiet_stderr():
            import onnxruntime

            onnxruntime.set_default_logger_severity(4)  # fatal errors only; refusals also arrive as exceptions
        _ = onnxruntime.InferenceSession, onnxruntime.SessionOptions, onnxruntime.get_available_providers
    except Exception as error:  # what two distributions left of each other fails in any way
        raise unloadable("onnxruntime", error) from error
    return onnxruntime


def cuda_problem(number: int = 0) -> Problem | None:
    """Find out without noise why CUDA would not work; None when it should.

    Args:
        number: which GPU, as the driver counts those that ``CUDA_VISIBLE_DEVICES`` leaves.
    """
    import ctypes

    onnxruntime = load_onnxruntime()
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return Problem(
            "no NVIDIA driver is installed (libcuda was not found)",
            "install one (in a container: docker run --gpus all), or use --device cpu",
        )
    count, version = ctypes.c_int(0), ctypes.c_int(0)
    code = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if code not in (0, _CUDA_NO_DEVICE):
        return Problem(f"the NVIDIA driver does not start (CUDA error {code})", "check nvidia-smi", idle=True)
    if number >= count.value:
        return _missing_gpu(number, count.value)
    needed = int(str(onnxruntime.cuda_version or "0").partition(".")[0])
    if driver.cuDriverGetVersion(ctypes.byref(version)) == 0 and version.value // 1000 < needed:
        has = f"{version.value // 1000}.{version.value % 1000 // 10}"
        return Problem(
            f"the NVIDIA driver knows CUDA up to {has}, and this onnxruntime needs CUDA {needed}",
            f"install a newer driver, or an onnxruntime-gpu for CUDA {has.partition('.')[0]}",
            idle=True,
        )
    return _missing_cuda_library(onnxruntime)


def _missing_gpu(number: int, count: int) -> Problem:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    hidden = "" if visible is None else f" while CUDA_VISIBLE_DEVICES is {visible!r}"
    fix = "check nvidia-smi" if visible is None else "change or unset CUDA_VISIBLE_DEVICES"
    if count < 1:
        return Problem(f"the NVIDIA driver sees no GPU{hidden}", f"{fix}, or use --device cpu")
    there = "only cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
    return Problem(f"there is no GPU {number}: the NVIDIA driver sees {there}{hidden}", f"name one of those, or {fix}")


def _missing_cuda_library(onnxruntime: Any) -> Problem | None:
    import ctypes

    # Finds the Python packages of CUDA and cuDNN, which the loader does not; prints what it misses, cuDNN apart.
    printed = io.StringIO()
    with _quiet_stderr(), contextlib.redirect_stdout(printed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        onnxruntime.preload_dlls()
    missing = [line.removeprefix("Failed to load ") for line in printed.getvalue().splitlines() if line[:6] == "Failed"]
    if not missing:
        try:
            ctypes.CDLL("cudnn64_9.dll" if sys.platform == "win32" else "libcudnn.so.9")
        except OSError as error:
            missing = [str(error)]
    if not missing:
        return None
    return Problem(f"a CUDA library cannot be loaded ({missing[0]})", "pip install 'mtqscore[cuda]'", idle=True)


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Keep what C libraries write to stderr off the terminal."""
    try:
        kept = os.dup(2)
    except OSError:  # no stderr at all: nothing to keep clean
        yield
        return
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


PROBES: Mapping[str, Callable[[int], Problem | None]] = {"cuda": cuda_problem}
"""Checks of a device by its number, for the kinds where more than opening a session finds out."""
