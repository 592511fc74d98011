"""Sessions: contract, memory, threads, devices that fail, and the shapes that a GPU sees."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from mtqscore import AssessConfig, Assessor, EnvironmentProblemError, UsageError
from mtqscore.base import devices
from mtqscore.base.devices import DEVICE_KINDS, Device
from mtqscore.models import ModelFile, load_model
from mtqscore.scoring import session as runtime
from mtqscore.scoring.devices import Problem
from mtqscore.scoring.session import Scorer, available_devices
from tests.fake_model import HOP_SAMPLES, write_fake_model
from tests.signals import RATE_HZ, speechlike, write

if TYPE_CHECKING:
    from tests.conftest import Run


def simulate_gpu(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Let the processor's provider play three GPUs: what is tested is all but the GPU itself."""

    def probe(number: int) -> Problem | None:
        return Problem("there is no such GPU", "name another") if number > 2 else None

    kind = replace(DEVICE_KINDS["cuda"], provider="CPUExecutionProvider", options={}, **changes)
    for module in (devices, runtime):
        monkeypatch.setattr(module, "DEVICE_KINDS", {**DEVICE_KINDS, "cuda": kind})
    monkeypatch.setattr(runtime, "PROBES", {"cuda": probe})


def test_on_a_gpu_scores_are_the_same_and_shapes_are_few(
    fake_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [
        str(write(tmp_path / f"{index}.wav", speechlike(0.4 + 0.37 * index, seed=index, channels=1 + index % 2)))
        for index in range(40)
    ]
    expected = [row.scores for row in Assessor(AssessConfig(fake_model, device="cpu")).assess_files(names)]
    simulate_gpu(monkeypatch)
    shapes = set()
    real = Scorer.score

    def spy(self: Scorer, waveform: Any, lengths: Any) -> Any:
        shapes.add(waveform.shape)
        return real(self, waveform, lengths)

    monkeypatch.setattr(Scorer, "score", spy)
    assessor = Assessor(AssessConfig(fake_model, device="cuda:1", threads=2))
    found = list(assessor.assess_files(names))
    assert assessor.provider == "CPUExecutionProvider:1"
    assert {row.provider for row in found} == {assessor.provider}
    for row, wanted in zip(found, expected, strict=True):
        assert row.scores is not None
        assert wanted is not None
        assert row.scores.g_mos == pytest.approx(wanted.g_mos, abs=1e-4)
    window = 160_000
    assert {samples for _, samples in shapes} <= {round(window * share) for share in (0.125, 0.25, 0.375, 0.5, 0.75, 1)}
    full = round(assessor.config.batch_s * RATE_HZ)
    assert all(rows in (1, 2, 4, 8, 16, full // samples) for rows, samples in shapes)


def test_the_released_model_scores_the_same_in_padded_batches() -> None:
    scorer = Scorer(load_model(None), "cpu")
    samples = speechlike(3.3)[:, 0]
    alone, frames_alone = scorer.score(samples[np.newaxis], np.array([len(samples)]))
    padded = np.zeros((4, 80_000), np.float32)
    padded[:, : len(samples)] = samples
    scores, frames = scorer.score(padded, np.full(4, len(samples)))
    own = len(samples) // scorer.info.frame_hop_samples + 1
    assert np.abs(scores - alone).max() < 1e-4
    assert np.abs(frames[:, :own] - frames_alone[:, :own]).max() < 1e-4


def break_gpu_sessions(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    real = runtime._session

    def session(content: bytes, device: Device, precision: str) -> Any:
        if device.kind.name != "cpu":
            raise error
        return real(content, device, precision)

    monkeypatch.setattr(runtime, "_session", session)


CUDA_NOISE = (
    "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:154 std::conditional_t<THRW> CudaCall(ERRTYPE) "
    "CUDA failure 700: an illegal memory access ; GPU=0 ; hostname=vm ; file=/cuda_execution_provider.cc ; line=355 ; "
)


def test_a_gpu_that_fails_is_told_and_auto_goes_on(fake_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate_gpu(monkeypatch)
    break_gpu_sessions(monkeypatch, RuntimeError(CUDA_NOISE))
    with pytest.raises(
        EnvironmentProblemError, match=r"^device cuda: CUDA failure 700: an illegal memory access; use --device cpu$"
    ):
        Scorer(load_model(fake_model), "cuda")
    with pytest.raises(EnvironmentProblemError, match="precision tf32 needs CUDA: CUDA failure 700"):
        Scorer(load_model(fake_model), "auto", "tf32")
    scorer = Scorer(load_model(fake_model), "auto")
    assert (scorer.provider, scorer.padded_samples) == ("CPUExecutionProvider", ())
    assert scorer.device_note == "CUDA failure 700: an illegal memory access; use --device cpu"
    states = {state.name: state for state in available_devices()}
    assert states["cpu"].works
    assert states["cpu"].reason == states["cpu"].fix == ""
    assert not states["cuda"].works
    assert states["cuda"].reason == "CUDA failure 700: an illegal memory access"


def test_auto_is_quiet_where_there_is_no_gpu(fake_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate_gpu(monkeypatch)
    monkeypatch.setattr(runtime, "PROBES", {"cuda": lambda _: Problem("no driver", "install one")})
    assert Scorer(load_model(fake_model), "auto").device_note == ""


def test_a_bad_model_is_not_the_fault_of_the_device(fake_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate_gpu(monkeypatch)
    model = onnx.load(fake_model)
    model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(UsageError, match="m: onnxruntime cannot load it"):
        Scorer(ModelFile("m", model.SerializeToString(), "0"), "cuda")


def test_every_gpu_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    simulate_gpu(monkeypatch)
    found = [(state.name, state.provider, state.works) for state in available_devices()]
    assert found[:4] == [
        ("cpu", "CPUExecutionProvider", True),
        ("cuda", "CPUExecutionProvider:0", True),
        ("cuda:1", "CPUExecutionProvider:1", True),
        ("cuda:2", "CPUExecutionProvider:2", True),
    ]
    assert not [name for name, *_ in found[4:] if name.startswith("cuda")]


def test_the_tiny_model_is_what_its_comment_says() -> None:
    model = onnx.load_from_string(runtime._TINY_MODEL)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Conv", "MatMul"]


def test_threads_share_a_session_or_take_turns(fake_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waveform = np.stack([speechlike(1, seed=seed)[:, 0] for seed in range(8)])
    lengths = np.full(1, waveform.shape[1])
    expected, _ = Scorer(load_model(fake_model), "cpu").score(waveform, np.full(8, waveform.shape[1]))
    simulate_gpu(monkeypatch, one_run=True)
    scorer = Scorer(load_model(fake_model), "cuda")
    inside, most = 0, 0
    guard = threading.Lock()
    real = scorer._session

    class Counting:
        def run(self, *arguments: Any) -> Any:
            nonlocal inside, most
            with guard:
                inside += 1
                most = max(most, inside)
            found = real.run(*arguments)
            with guard:
                inside -= 1
            return found

    scorer._session = Counting()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda item: scorer.score(item[np.newaxis], lengths)[0][0], list(waveform) * 8))
    assert np.abs(np.array(found) - np.tile(expected, (8, 1))).max() < 1e-5
    assert most == 1


def greedy_model(path: Path, factor: int) -> str:
    """A scorer that takes memory in proportion to the length of what it hears: nothing of it shows in the file."""
    model = onnx.load(write_fake_model(path))
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(value), name) for name, value in (("factor", factor), ("tiny", 1e-30))
    )
    model.graph.initializer[-1].CopyFrom(numpy_helper.from_array(np.array([1e-30], np.float32), "tiny"))
    node = helper.make_node
    for output in model.graph.node:
        if output.output[0] == "scores":
            output.output[0] = "plain_scores"
    model.graph.node.extend(
        [
            node("Mul", ["lengths", "factor"], ["wanted"]),
            node("Expand", ["tiny", "wanted"], ["greedy"]),
            node("ReduceSum", ["greedy"], ["sum"], keepdims=0),
            node("Add", ["plain_scores", "sum"], ["scores"]),
        ]
    )
    onnx.save(model, path)
    return str(path)


def test_memory_that_a_model_asks_for_as_it_runs_is_bounded(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "a.wav", speechlike(1))
    assert run("assess", "a.wav", model=greedy_model(tmp_path / "m.onnx", 1)).returncode == 0
    result = run("assess", "a.wav", model=greedy_model(tmp_path / "g.onnx", 10**9))
    assert result.returncode == 4
    (line,) = result.stderr.decode().splitlines()
    assert "failed on CPUExecutionProvider" in line
    assert "Available memory" in line
    assert "--batch-seconds" in line


def test_another_format_within_an_onnx_file_is_not_run(fake_model: str, tmp_path: Path, run: Run) -> None:
    # onnxruntime takes bytes for its own format by four letters at the fifth place; here they are inside a valid field.
    content = b"\xa2\x06\x08\x00ORTM\x00\x00\x00" + Path(fake_model).read_bytes()
    assert content[4:8] == b"ORTM"
    (tmp_path / "two.onnx").write_bytes(content)
    write(tmp_path / "a.wav", speechlike(1))
    result = run("assess", "a.wav", model="two.onnx")
    assert result.returncode == 0, "it is read as the ONNX file that was inspected"


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (np.full((2, 3), 9.0), "s_mos 9 is outside 1 to 5"),
        (np.array([[-1.0, np.nan, np.inf], [3.0, 3.0, 3.0]]), "s_mos -1 is outside 1 to 5"),
        (np.array([[5.000005, np.nan, np.inf], [3.0, 3.0, 3.0]]), ""),
        (np.full((2, 2), 3.0), "not a model of mtqscore"),
        (np.full((1, 3), 3.0), "not a model of mtqscore"),
    ],
)
def test_what_a_model_answers_is_checked(fake_model: str, scores: np.ndarray, said: str) -> None:
    scorer = Scorer(load_model(fake_model), "cpu")
    scorer._session = type("Session", (), {"run": lambda *_: (scores, np.zeros((2, 5, 3)))})()
    with pytest.raises(UsageError, match=said) if said else nullcontext():
        scorer.score(np.zeros((2, 4 * HOP_SAMPLES), np.float32), np.full(2, RATE_HZ))


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("", "has no attribute"),
        ("raise ImportError('a symbol is missing\\nand more')", "(a symbol is missing)"),
        ("raise ModuleNotFoundError(\"No module named 'onnxruntime'\")", "(No module named 'onnxruntime')"),
        ("def set_default_logger_severity(n): ...", "has no attribute 'InferenceSession'"),
    ],
)
def test_an_onnxruntime_that_is_not_whole_points_to_the_doctor(
    run: Run, tmp_path: Path, module: str, said: str
) -> None:
    write(tmp_path / "a.wav", speechlike(1))
    (tmp_path / "shadow" / "onnxruntime").mkdir(parents=True)
    (tmp_path / "shadow" / "onnxruntime" / "__init__.py").write_text(module)
    path = f"{tmp_path / 'shadow'}:{Path(__file__).parents[2]}"
    for command in (("assess", "a.wav"), ("explain", "a.wav"), ("selftest",)):
        result = run(*command, env={"PYTHONPATH": path})
        assert (result.returncode, result.stdout) == (4, b"")
        (line,) = result.stderr.decode().splitlines()
        assert line.startswith("mtqscore: onnxruntime does not load")
        assert said in line
        assert line.endswith("; mtqscore doctor names the fix")


@pytest.mark.parametrize(
    ("module", "commands"),
    [
        ("numpy", [("assess", "a.wav"), ("gate", "x.jsonl", "--fail-under", "g>=1")]),
        ("soundfile", [("assess", "a.wav"), ("assess", "."), ("explain", "a.wav"), ("selftest",)]),
        ("soxr", [("assess", "a.wav")]),
        ("huggingface_hub", [("models", "fetch", f"hf:a/b@{'0' * 40}")]),
        ("jinja2", [("assess", "a.wav", "--html", "a.html")]),
    ],
)
def test_a_library_that_does_not_load_points_to_the_doctor(
    run: Run, tmp_path: Path, module: str, commands: list[tuple[str, ...]]
) -> None:
    write(tmp_path / "a.wav", speechlike(1, 8_000), 8_000)
    (tmp_path / "shadow" / module).mkdir(parents=True)
    (tmp_path / "shadow" / module / "__init__.py").write_text("raise ImportError('its C library is gone')")
    path = f"{tmp_path / 'shadow'}:{Path(__file__).parents[2]}"
    for command in commands:
        result = run(*command, env={"PYTHONPATH": path, "HF_HOME": str(tmp_path)})
        assert (result.returncode, b"ok" in result.stdout) == (4, False)
        line = result.stderr.decode().splitlines()[-1]
        assert "does not load (its C library is gone); mtqscore doctor names the fix" in line


def test_loading_onnxruntime_says_nothing(tmp_path: Path) -> None:
    package = tmp_path / "onnxruntime"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import os\nos.write(2, b'[W:onnxruntime] GPU discovery failed')\ndef set_default_logger_severity(n): ...\n"
        "InferenceSession = SessionOptions = get_available_providers = None"
    )
    code = (
        "import os; from mtqscore.scoring.devices import load_onnxruntime as load; "
        "assert load() is load(); os.write(2, b'!')"
    )
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"!")
