"""Devices as data: what the user may name, which execution provider serves it, and why it would not work here."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from mtqscore.errors import UsageError
from mtqscore.libraries import unloadable

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
PRECISIONS = ("fp32", "tf32")
_NO_FP16 = (
    "is not offered: level, spectrum and logarithm need fp32, and no gain of fp16 behind them has been measured; "
    "use fp32, or tf32 on CUDA"
)
_CUDA_NO_DEVICE = 100
"""CUDA_ERROR_NO_DEVICE of the driver's interface."""


@dataclass(frozen=True)
class Problem:
    """Why a device does not work.

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


@dataclass(frozen=True)
class DeviceKind:
    """One kind of device.

    Args:
        name: what the user types.
        title: what it is called.
        provider: onnxruntime's name of what serves it.
        install: how to get an onnxruntime that has this provider.
        numbered: whether a machine may hold several, told apart as ``name:0``, ``name:1`` …
        options: options of the provider.
        probe: finds out without noise why number so and so would not work; None where only a session can tell.
        one_run: whether only one thread may use a session at a time.
    """

    name: str
    title: str
    provider: str
    install: str
    numbered: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    probe: Callable[[int], Problem | None] | None = None
    one_run: bool = False


@dataclass(frozen=True)
class Device:
    """One device of a kind.

    Args:
        kind: its row in the table.
        number: which of several, counted from 0.
    """

    kind: DeviceKind
    number: int = 0

    @property
    def name(self) -> str:
        """As the user types it."""
        return f"{self.kind.name}:{self.number}" if self.number else self.kind.name

    @property
    def provider(self) -> str:
        """Name of the provider as results tell it, with the number where there may be several."""
        return f"{self.kind.provider}:{self.number}" if self.kind.numbered else self.kind.provider

    def options(self, precision: str) -> dict[str, str]:
        """Options of the provider, all as text."""
        found = dict(self.kind.options)
        if self.kind.numbered:
            found["device_id"] = str(self.number)
        if self.kind.provider == CUDA_PROVIDER:
            # onnxruntime's own default is TF32, whose products keep 10 bits of a mantissa.
            found["use_tf32"] = "1" if precision == "tf32" else "0"
        return found


def parse_device(text: str) -> Device | None:
    """Read the name of a device; None for ``auto``.

    Raises:
        UsageError: there is no such device.

    Example:
        >>> parse_device("cuda:1").provider
        'CUDAExecutionProvider:1'
    """
    if text == "auto":
        return None
    name, colon, digits = str(text).partition(":")
    kind = DEVICE_KINDS.get(_OTHER_NAMES.get(name, name))
    if kind is None:
        raise UsageError(f"device {text!r} is none of auto, {', '.join([*DEVICE_KINDS, *_OTHER_NAMES])}")
    if not colon:
        return Device(kind)
    if not kind.numbered:
        raise UsageError(f"device {text!r}: there is one {name} only, without a number")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 3):
        raise UsageError(f"device {text!r}: behind the colon stands a number from 0 to 999, as in {name}:1")
    return Device(kind, int(digits))


def check_precision(precision: str, device: str) -> None:
    """Refuse a precision that is not offered, or not on this device.

    Raises:
        UsageError: it cannot be had.
    """
    if precision == "fp16":
        raise UsageError(f"precision 'fp16' {_NO_FP16}")
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r} is none of {', '.join(PRECISIONS)}")
    named = parse_device(device)
    if precision == "tf32" and named is not None and named.kind.provider != CUDA_PROVIDER:
        raise UsageError(f"precision 'tf32' is a way in which NVIDIA GPUs multiply; device {device} has none: use cuda")


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
    said = io.StringIO()
    with _quiet_stderr(), contextlib.redirect_stdout(said), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        onnxruntime.preload_dlls()
    missing = [line.removeprefix("Failed to load ") for line in said.getvalue().splitlines() if line[:6] == "Failed"]
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


_KINDS = (
    DeviceKind("cpu", "CPU", CPU_PROVIDER, "pip install onnxruntime"),
    DeviceKind(
        "cuda",
        "CUDA",
        CUDA_PROVIDER,
        "put onnxruntime-gpu in place of onnxruntime (Linux on x86-64, Windows)",
        numbered=True,
        options={
            # Trying every algorithm for every new shape costs more than the best one saves.
            "cudnn_conv_algo_search": "HEURISTIC",
            # Shapes repeat: memory grows to what they need, not to the next power of two.
            "arena_extend_strategy": "kSameAsRequested",
        },
        probe=cuda_problem,
    ),
    DeviceKind(
        "directml",
        "DirectML",
        "DmlExecutionProvider",
        "put onnxruntime-directml in place of onnxruntime-gpu (Windows)",
        numbered=True,
        one_run=True,
    ),
    DeviceKind("coreml", "Core ML", "CoreMLExecutionProvider", "onnxruntime has it on macOS"),
    DeviceKind(
        "migraphx",
        "MIGraphX",
        "MIGraphXExecutionProvider",
        "put AMD's onnxruntime-migraphx in place of onnxruntime-gpu (Linux)",
        numbered=True,
    ),
)
DEVICE_KINDS: Mapping[str, DeviceKind] = {kind.name: kind for kind in _KINDS}
_OTHER_NAMES = {"rocm": "migraphx"}
