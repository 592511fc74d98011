"""The one room that knows onnxruntime: providers, devices, threads, sessions."""

from __future__ import annotations

import contextlib
import ctypes
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtqscore.errors import EnvironmentProblemError, UsageError
from mtqscore.model_store import ModelFile, parse_metadata

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_INPUTS = {"waveform": ("tensor(float)", 2), "lengths": ("tensor(int64)", 1)}
_OUTPUTS = {"scores": ("tensor(float)", 2), "frame_scores": ("tensor(float)", 3)}
_SILENT = 4
"""onnxruntime's log level that lets only fatal errors through; its refusals also arrive as exceptions."""


class Scorer:
    """One model in one onnxruntime session, each run in the thread that asks for it; several may ask at once.

    Args:
        model: the file, from ``load_model``.
        device: auto, cpu or cuda.

    Raises:
        UsageError: the file is not a scorer that keeps the ONNX contract.
        EnvironmentProblemError: the device was named and does not work.
    """

    def __init__(self, model: ModelFile, device: str) -> None:
        import onnxruntime

        onnxruntime.set_default_logger_severity(_SILENT)
        providers, self.device_note = _choose_providers(device)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _SILENT
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(model.content, options, providers=providers)
        except Exception as error:  # onnxruntime's exceptions have no common base of their own
            raise UsageError(f"{model.label}: onnxruntime cannot load it: {_first_line(error)}") from error
        self.provider: str = self._session.get_providers()[0]
        if device == "cuda" and self.provider != CUDA:
            raise EnvironmentProblemError(
                "device cuda: onnxruntime fell back to the CPU; use --device cpu, or check the CUDA libraries"
            )
        self.label = model.label
        self.sha256 = model.sha256
        _check_signature(model.label, "input", self._session.get_inputs(), _INPUTS)
        _check_signature(model.label, "output", self._session.get_outputs(), _OUTPUTS)
        self.info = parse_metadata(model.label, self._session.get_modelmeta().custom_metadata_map)

    @property
    def on_cpu(self) -> bool:
        """Whether it runs on the processor."""
        return self.provider == CPU

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
            scores, frames = self._session.run(["scores", "frame_scores"], {"waveform": waveform, "lengths": lengths})
        except Exception as error:  # onnxruntime's exceptions have no common base of their own
            text = f"model {self.label} failed on {self.provider}: {_first_line(error)}"
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
        return scores, frames


def cuda_problem() -> str | None:
    """Find out without noise why CUDA would not work; None when it should."""
    import onnxruntime

    if CUDA not in onnxruntime.get_available_providers():
        return "this onnxruntime has no CUDA; install onnxruntime-gpu in place of onnxruntime"
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "no NVIDIA driver is installed (libcuda was not found); install one, or use --device cpu"
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value < 1:
        return "the NVIDIA driver sees no GPU; check nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device cpu"
    return _missing_cuda_library(onnxruntime)


def _missing_cuda_library(onnxruntime: Any) -> str | None:
    # onnxruntime finds the Python packages of CUDA and cuDNN, which the loader does not, and prints if not.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        onnxruntime.preload_dlls()
    if sys.platform == "win32":
        return None
    folder = Path(onnxruntime.__file__).parent / "capi"
    try:
        # Loading the provider as onnxruntime itself would, so that the loader names what is missing.
        ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / "libonnxruntime_providers_cuda.so"))
    except OSError as error:
        fix = "install CUDA and cuDNN: pip install 'onnxruntime-gpu[cuda,cudnn]'"
        return f"a CUDA library is missing ({error}); {fix}"
    return None


def _choose_providers(device: str) -> tuple[list[Any], str]:
    """Return the providers for a device, and what to tell a user who left the choice open."""
    if device == "cpu":
        return [CPU], ""
    problem = cuda_problem()
    if problem is None:
        return [(CUDA, {"cudnn_conv_algo_search": "HEURISTIC"}), CPU], ""
    if device == "cuda":
        raise EnvironmentProblemError(f"device cuda: {problem}")
    # A machine without a GPU is nothing to speak of; a GPU that lies idle is.
    return [CPU], problem if "library is missing" in problem else ""


def _check_signature(label: str, kind: str, found: list[Any], wanted: dict[str, tuple[str, int]]) -> None:
    have = {item.name: (item.type, len(item.shape)) for item in found}
    if have != wanted:
        raise UsageError(f"{label}: not a model of mtqscore: its {kind}s are {_spell(have)}, not {_spell(wanted)}")
    fixed = [
        item.name
        for item in found
        for size in item.shape[: 2 if item.name == "waveform" else 1]
        if isinstance(size, int)
    ]
    if fixed:
        raise UsageError(f"{label}: not a model of mtqscore: {kind} {fixed[0]} has a fixed size")


def _spell(signature: dict[str, tuple[str, int]]) -> str:
    return ", ".join(f"{name} {kind} with {axes} axes" for name, (kind, axes) in signature.items()) or "none"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]
