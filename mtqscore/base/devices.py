"""Names of devices, the execution providers that serve them, and the precisions that they offer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mtqscore.errors import UsageError

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
PRECISIONS = ("fp32", "tf32")
_NO_FP16 = (
    "is not offered: level, spectrum and logarithm need fp32, and no gain of fp16 behind them has been measured; "
    "use fp32, or tf32 on CUDA"
)


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
        one_run: whether only one thread may use a session at a time.
    """

    name: str
    title: str
    provider: str
    install: str
    numbered: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
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
