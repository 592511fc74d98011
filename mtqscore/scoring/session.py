"""The one room that opens onnxruntime's sessions: a scorer on a device, and which devices work."""

from __future__ import annotations

import re
import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from mtqscore.base.devices import CPU_PROVIDER, DEVICE_KINDS, Device, parse_device
from mtqscore.base.machine import usable_memory_bytes
from mtqscore.errors import EnvironmentProblemError, UsageError
from mtqscore.models import ModelFile, parse_metadata
from mtqscore.scoring.devices import PROBES, Problem, load_onnxruntime
from mtqscore.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from mtqscore.models.onnx_check import OnnxFile, Value

_INPUTS = {"waveform": ("float", 2), "lengths": ("int64", 1)}
_OUTPUTS = {"scores": ("float", 2), "frame_scores": ("float", 3)}
_ELEMENTS = {1: "float", 7: "int64"}
_SCALES = {target.name: (target.low, target.high) for target in TARGETS}
_ROUNDING = 1e-5
"""Rounding of float32 beyond a scale."""

_SILENT = 4
"""onnxruntime's log level that lets only fatal errors through; its refusals also arrive as exceptions."""

_PADDED_SHARES = (1 / 8, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1)
"""Lengths to which windows are padded on a GPU, in parts of the longest: few, so that shapes repeat."""

_CAP_SHARE = 0.75
"""Share of the machine's memory that the sessions on the processor may fill; what goes beyond is refused by name."""

_LEAST_CAP_BYTES = 1 << 30
_CAP_LOCK = threading.Lock()
_TINY_MODEL = bytes.fromhex(
    "080812003a89010a0f0a01780a016b1201632204436f6e760a110a01630a016d12017922064d61744d756c1201742a190801080108031001"
    "42016b4a0c0000803f0000803f0000803f2a1308020801100142016d4a080000803f0000803f5a170a017812120a100801120c0a0208010a"
    "0208010a02080462170a017912120a100801120c0a0208010a0208010a02080142040a001011"
)
"""A convolution and a matrix product on four numbers: what of a GPU's libraries a scorer needs."""


@dataclass(frozen=True)
class DeviceState:
    """State of a device.

    Args:
        name: as for ``--device``.
        provider: the execution provider that serves it, as results name it.
        works: whether a session on it was opened and ran.
        reason: why it does not work; empty when it does.
        fix: what to do about it; empty when it works.
    """

    name: str
    provider: str
    works: bool
    reason: str = ""
    fix: str = ""


class Scorer:
    """One model in one onnxruntime session, each run in the thread that asks for it; several may ask at once.

    Args:
        model: the file, from ``load_model``.
        device: as ``AssessConfig.device``.
        precision: as ``AssessConfig.precision``.
        any_targets: let a model pass that does not estimate S, N and G.

    Raises:
        UsageError: the file is not a scorer that keeps the ONNX contract, or asks for what may do harm.
        EnvironmentProblemError: the device was named and does not work.
    """

    def __init__(self, model: ModelFile, device: str, precision: str = "fp32", *, any_targets: bool = False) -> None:
        self.label = model.label
        self.sha256 = model.sha256
        if not model.bundled:  # by its checksum a bundled file is the one that was inspected before its release
            parse_metadata(model.label, _inspect(model), any_targets=any_targets)
        self._session, self._device, self.device_note = self._open(model, device, precision)
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.info = parse_metadata(model.label, metadata, any_targets=any_targets)
        self._turn: AbstractContextManager[Any] = threading.Lock() if self._device.kind.one_run else nullcontext()

    @property
    def provider(self) -> str:
        """The execution provider that runs it, with the number of the device where there may be several."""
        return self._device.provider

    @property
    def on_cpu(self) -> bool:
        """True if it runs on the processor."""
        return self._device.provider == CPU_PROVIDER

    @property
    def padded_samples(self) -> tuple[int, ...]:
        """Lengths to which windows should be padded, rising; none where every length is as good."""
        if self.on_cpu:
            return ()
        return tuple(max(1, round(share * self.info.window_samples)) for share in _PADDED_SHARES)

    def score(
        self, waveform: NDArray[np.float32], lengths: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Score a batch.

        Args:
            waveform: float32 (batch, samples) at 16 kHz, zeros after each item's end.
            lengths: int64 (batch,), samples of each item.

        Returns:
            Scores (batch, targets) and frame scores (batch, frames, targets), float32.

        Raises:
            EnvironmentProblemError: the run failed, for example for want of memory.
            UsageError: the answer is not what the contract promises.
        """
        try:
            with self._turn:
                scores, frames = self._session.run(
                    ["scores", "frame_scores"], {"waveform": waveform, "lengths": lengths}
                )
        except Exception as error:  # onnxruntime's exceptions have no common base of their own
            text = f"model {self.label} failed on {self.provider}: {_reason(error)}"
            raise EnvironmentProblemError(f"{text}; a smaller --batch-seconds may help") from error
        batch, targets = len(lengths), len(self.info.targets)
        if (
            scores.shape != (batch, targets)
            or frames.ndim != 3
            or (frames.shape[0], frames.shape[2]) != (batch, targets)
        ):
            raise UsageError(
                f"{self.label}: not a model of mtqscore: scores {scores.shape} and frames {frames.shape} "
                f"for {batch} items and {targets} targets"
            )
        self._check_scale(scores)
        return scores, frames

    def _check_scale(self, scores: NDArray[np.float32]) -> None:
        """Refuse what no result could hold; what is not finite is the recording's own status."""
        import numpy as np

        for name, values in zip(self.info.targets, scores.T, strict=True):
            low, high = _SCALES.get(name, (-np.inf, np.inf))
            finite = values[np.isfinite(values)]
            if finite.size and not low - _ROUNDING <= finite.min() <= finite.max() <= high + _ROUNDING:
                found = finite.max() if finite.max() > high else finite.min()
                raise UsageError(
                    f"{self.label}: not a model of mtqscore: {name} {found:g} is outside {low:g} to {high:g}"
                )

    def _open(self, model: ModelFile, device: str, precision: str) -> tuple[Any, Device, str]:
        """Open a session on the device that was named, or on the best; with a note where that is not a GPU."""
        named, cpu = parse_device(device), Device(DEVICE_KINDS["cpu"])
        wanted = named or Device(DEVICE_KINDS["cuda"])
        if wanted.provider == CPU_PROVIDER:
            return _load(model, cpu), cpu, ""
        found = _try_session(model.content, wanted, precision, _longest_window)
        if not isinstance(found, Problem):
            return found, wanted, ""
        session = _load(model, cpu)  # or the model is at fault, and is named
        if named is not None:
            raise EnvironmentProblemError(f"device {device}: {found}")
        if precision != "fp32":
            raise EnvironmentProblemError(f"precision {precision} needs CUDA: {found}")
        # A machine without a GPU is nothing to speak of; a GPU that lies idle is.
        return session, cpu, str(found) if found.idle else ""


def open_any(content: bytes, label: str) -> tuple[OnnxFile, Any]:
    """Open an ONNX file of any inputs and outputs on the processor, after the same inspection as a scorer.

    Args:
        content: the file.
        label: how the user knows it, for messages.

    Returns:
        What stands in it, and the session; each run computes in the thread that asks for it.

    Raises:
        UsageError: it is no ONNX file, asks for what may do harm, or onnxruntime cannot load it.
    """
    from mtqscore.models.onnx_check import read_onnx

    file = read_onnx(content, label)
    try:
        return file, _session(content, Device(DEVICE_KINDS["cpu"]), "fp32")
    except Exception as error:  # onnxruntime's exceptions have no common base of their own
        raise UsageError(f"{label}: onnxruntime cannot load it: {_reason(error)}") from error


def available_devices() -> list[DeviceState]:
    """Open a tiny session on every device that this machine and this onnxruntime could have.

    Returns:
        The CPU, every GPU that the NVIDIA driver sees (or one entry that says why there is none), and what else this
        onnxruntime was built for.
    """
    states = []
    served = load_onnxruntime().get_available_providers()
    for kind in DEVICE_KINDS.values():
        if kind.name not in ("cpu", "cuda") and kind.provider not in served:
            continue
        states.append(_try_device(Device(kind)))
        number = 1
        while kind.name in PROBES and PROBES[kind.name](number) is None:  # others do not count theirs
            states.append(_try_device(Device(kind, number)))
            number += 1
    return states


def _try_device(device: Device) -> DeviceState:
    import numpy as np

    found = _try_session(_TINY_MODEL, device, "fp32", lambda _: {"x": np.ones((1, 1, 4), np.float32)})
    if isinstance(found, Problem):
        return DeviceState(device.name, device.provider, False, found.reason, found.fix)
    return DeviceState(device.name, device.provider, True)


def _longest_window(session: Any) -> dict[str, Any]:
    """Silence as long as the longest window of a scorer, to try its session with."""
    import numpy as np

    samples = int(session.get_modelmeta().custom_metadata_map["window_samples"])
    return {"waveform": np.zeros((1, samples), np.float32), "lengths": np.array([samples], np.int64)}


def _try_session(
    content: bytes, device: Device, precision: str, feed: Callable[[Any], Mapping[str, Any]]
) -> Any | Problem:
    """Open a session that runs, or find out why there is none."""
    onnxruntime, kind = load_onnxruntime(), device.kind
    if kind.provider not in onnxruntime.get_available_providers():
        return Problem(f"this onnxruntime has no {kind.title}", f"{kind.install}, or use --device cpu")
    if kind.name in PROBES and (problem := PROBES[kind.name](device.number)) is not None:
        return problem
    try:
        session = _session(content, device, precision)
        if session.get_providers()[0] != kind.provider:
            return Problem("onnxruntime passed it over without a word", "use --device cpu", idle=True)
        session.run(None, feed(session))
    except Exception as error:  # onnxruntime's exceptions have no common base of their own
        return Problem(_reason(error), "use --device cpu", idle=True)
    return session


def _load(model: ModelFile, cpu: Device) -> Any:
    try:
        return _session(model.content, cpu, "fp32")
    except Exception as error:  # onnxruntime's exceptions have no common base of their own
        raise UsageError(f"{model.label}: onnxruntime cannot load it: {_reason(error)}") from error


def _session(content: bytes, device: Device, precision: str) -> Any:
    onnxruntime, kind = load_onnxruntime(), device.kind
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _SILENT
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # Otherwise the file chooses its format, and only ONNX was inspected.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    providers: list[Any] = [(kind.provider, device.options(precision))]
    if kind.provider == CPU_PROVIDER:
        with _CAP_LOCK:
            capped = _cap_memory()
        if capped:
            options.add_session_config_entry("session.use_env_allocators", "1")
    else:
        providers.append(CPU_PROVIDER)
    if kind.one_run:
        options.enable_mem_pattern = False
    # Without fallback: it prints on stdout, and hides that the device does not work.
    return onnxruntime.InferenceSession(content, options, providers=providers, enable_fallback=0)


@cache
def _cap_memory() -> bool:
    """Bound what all sessions together may take for tensors on the processor; a file can ask for any amount."""
    onnxruntime = load_onnxruntime()
    cap = max(_LEAST_CAP_BYTES, round(usable_memory_bytes() * _CAP_SHARE))
    place = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    try:
        onnxruntime.create_and_register_allocator(place, onnxruntime.OrtArenaCfg({"max_mem": cap}))
    except Exception:  # a program around this one has already chosen how memory is taken
        return False
    return True


def _inspect(model: ModelFile) -> dict[str, str]:
    """Return a file's metadata, once it is sure to do no harm and to have the shape of a scorer."""
    from mtqscore.models.onnx_check import read_onnx

    file = read_onnx(model.content, model.label)
    _check_signature(model.label, "input", file.inputs, _INPUTS)
    _check_signature(model.label, "output", file.outputs, _OUTPUTS)
    return file.metadata


def _check_signature(label: str, kind: str, found: tuple[Value, ...], wanted: dict[str, tuple[str, int]]) -> None:
    have = {value.name: (_ELEMENTS.get(value.element or 0, "other"), len(value.sizes or ())) for value in found}
    if have != wanted or len(found) != len(wanted):
        raise UsageError(f"{label}: not a model of mtqscore: its {kind}s are {_spell(have)}, not {_spell(wanted)}")
    for value in found:
        if any(size is not None for size in (value.sizes or ())[: 2 if value.name == "waveform" else 1]):
            raise UsageError(f"{label}: not a model of mtqscore: {kind} {value.name} has a fixed size")


def _spell(signature: dict[str, tuple[str, int]]) -> str:
    shown = [f"{ascii(name)[1:-1][:60]} ({kind}, {axes} axes)" for name, (kind, axes) in signature.items()]
    return ", ".join([*shown[:4], *(["…"] if len(shown) > 4 else [])]) or "none"


def _reason(error: Exception) -> str:
    """One line of an error of onnxruntime; of CUDA's long ones the middle, which names what failed."""
    text = str(error).strip() or type(error).__name__
    if cuda := re.search(r"(CUDA|CUDNN|CUBLAS)\w* failure [^;]*", text):
        text = cuda.group()
    line = ascii(text.splitlines()[0])[1:-1].strip()
    return line if len(line) <= 300 else f"{line[:299]}…"
