"""Devices: names, options, and every reason why CUDA would not work, with a driver made for the purpose."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mtqscore import AssessConfig, Assessor, UsageError
from mtqscore.base.devices import CUDA_PROVIDER, DEVICE_KINDS, Device, parse_device
from mtqscore.scoring.devices import load_onnxruntime
from mtqscore.scoring.session import available_devices
from tests.signals import speechlike, write

if TYPE_CHECKING:
    from tests.conftest import Run

EXAMPLES = Path(__file__).parents[2] / "examples"
DRIVER = """
#include <stdlib.h>
static int set(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}
int cuInit(unsigned flags) { return set("TEST_INIT", 0); }
int cuDeviceGetCount(int *count) { *count = set("TEST_COUNT", 1); return 0; }
int cuDriverGetVersion(int *version) { *version = set("TEST_VERSION", 13000); return 0; }
int cuTensorMapEncodeTiled(void) { return 801; }
"""
SHIM = """
import os
cuda_version = "13.0"
InferenceSession = SessionOptions = None
def set_default_logger_severity(level): ...
def get_available_providers(): return ["CUDAExecutionProvider", "CPUExecutionProvider"]
def preload_dlls():
    os.write(2, b"noise of a library")
    print("noise of Python")
    if os.environ.get("TEST_MISSING"):
        print("Failed to load libcublas.so.13: cannot open shared object file")
        print("Please follow https://onnxruntime.ai")
"""
needs_gcc = pytest.mark.skipif(
    not sys.platform.startswith("linux") or shutil.which("gcc") is None, reason="makes a driver with gcc, on Linux"
)


def named(text: str) -> Device:
    device = parse_device(text)
    assert device is not None
    return device


@pytest.mark.parametrize(
    ("text", "name", "provider"),
    [
        ("cpu", "cpu", "CPUExecutionProvider"),
        ("cuda", "cuda", "CUDAExecutionProvider:0"),
        ("cuda:0", "cuda", "CUDAExecutionProvider:0"),
        ("cuda:12", "cuda:12", "CUDAExecutionProvider:12"),
        ("directml:1", "directml:1", "DmlExecutionProvider:1"),
        ("coreml", "coreml", "CoreMLExecutionProvider"),
        ("migraphx", "migraphx", "MIGraphXExecutionProvider:0"),
        ("rocm:1", "migraphx:1", "MIGraphXExecutionProvider:1"),
    ],
)
def test_names_of_devices(text: str, name: str, provider: str) -> None:
    assert (named(text).name, named(text).provider) == (name, provider)
    assert AssessConfig(device=text).device == text
    assert parse_device("auto") is None


@pytest.mark.parametrize(
    "text", ["", "gpu", "CUDA", "cuda:", "cuda:-1", "cuda:x", "cuda:1000", "cuda:١", "cuda:1:1", "cpu:0", "coreml:1"]
)
def test_what_is_no_device_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="device"):
        AssessConfig(device=text)


def test_every_provider_is_one_that_onnxruntime_knows() -> None:
    known = load_onnxruntime().get_all_providers()
    assert {kind.provider for kind in DEVICE_KINDS.values()} <= set(known)


def test_full_precision_is_asked_for_by_name() -> None:
    assert named("cuda:3").options("fp32")["use_tf32"] == "0"
    assert named("cuda:3").options("tf32")["use_tf32"] == "1"
    assert named("cuda:3").options("fp32")["device_id"] == "3"
    assert named("cpu").options("fp32") == {}


@pytest.mark.parametrize(
    ("precision", "device", "said"),
    [
        ("fp16", "cuda", "is not offered"),
        ("int8", "auto", "none of fp32, tf32"),
        ("tf32", "cpu", "device cpu has none"),
        ("tf32", "directml", "device directml has none"),
    ],
)
def test_a_precision_that_cannot_be_had_is_refused(precision: str, device: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        AssessConfig(device=device, precision=precision)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a driver that says what the environment tells it to, and an onnxruntime that only preloads."""
    folder = tmp_path_factory.mktemp("driver")
    for name in ("libcuda.so.1", "libcudnn.so.9"):
        (folder / "driver.c").write_text(DRIVER)
        soname = f"-Wl,-soname,{name}"
        where = folder / ("cudnn" if "cudnn" in name else "cuda")
        where.mkdir()
        command = ["gcc", "-shared", "-fPIC", soname, "-o", str(where / name), str(folder / "driver.c")]
        subprocess.run(command, check=True)
    (folder / "shim" / "onnxruntime").mkdir(parents=True)
    (folder / "shim" / "onnxruntime" / "__init__.py").write_text(SHIM)
    return folder


FINE: dict[str, str] = {}
HIDDEN = {"TEST_INIT": "100", "CUDA_VISIBLE_DEVICES": ""}


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


@needs_gcc
@pytest.mark.parametrize(
    ("folders", "environment", "number", "said", "idle"),
    [
        ("", FINE, 0, "no NVIDIA driver is installed", False),
        ("cuda", {"TEST_INIT": "100"}, 0, "the NVIDIA driver sees no GPU; check nvidia-smi", False),
        ("cuda", {"TEST_COUNT": "0"}, 0, "the NVIDIA driver sees no GPU; check nvidia-smi", False),
        ("cuda", HIDDEN, 0, "sees no GPU while CUDA_VISIBLE_DEVICES is ''; change or unset", False),
        ("cuda", {"TEST_INIT": "803"}, 0, "the NVIDIA driver does not start (CUDA error 803)", True),
        ("cuda", FINE, 7, "there is no GPU 7: the NVIDIA driver sees only cuda:0; name one", False),
        ("cuda", {"TEST_COUNT": "4"}, 7, "there is no GPU 7: the NVIDIA driver sees cuda:0 to cuda:3", False),
        ("cuda", {"TEST_VERSION": "12040"}, 0, "knows CUDA up to 12.4, and this onnxruntime needs CUDA 13", True),
        ("cuda", {"TEST_MISSING": "1"}, 0, "a CUDA library cannot be loaded (libcublas.so.13: cannot open", True),
        ("cuda", FINE, 0, "a CUDA library cannot be loaded (libcudnn.so.9: cannot open", True),
        ("cuda:cudnn", FINE, 0, "", False),
        ("cuda:cudnn", {"TEST_COUNT": "4", "TEST_VERSION": "13010"}, 3, "", False),
    ],
)
def test_why_cuda_does_not_work(
    driver: Path, folders: str, environment: dict[str, str], number: int, said: str, idle: bool
) -> None:
    if (not folders and _loads("libcuda.so.1")) or ("libcudnn" in said and _loads("libcudnn.so.9")):
        pytest.skip("this machine has a driver or a cuDNN of its own")
    code = (
        "import json, sys; sys.path[:0] = json.loads(sys.argv[1]); from mtqscore.scoring.devices import cuda_problem;"
        "found = cuda_problem(int(sys.argv[2])); print(json.dumps([str(found or ''), bool(found and found.idle)]))"
    )
    libraries = ":".join(str(driver / folder) for folder in folders.split(":") if folder)
    inherited = {name: value for name, value in os.environ.items() if name not in ("CUDA_VISIBLE_DEVICES",)}
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps([str(driver / "shim"), str(EXAMPLES.parent)]), str(number)],
        env={**inherited, "LD_LIBRARY_PATH": libraries, **environment},
        capture_output=True,
        check=True,
    )
    text, lies_idle = json.loads(done.stdout)
    assert said in text
    assert bool(text) == bool(said)
    assert (lies_idle, done.stderr) == (idle, b"")


def test_commands_that_score_take_a_precision(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "a.wav", speechlike(1))
    scored = run("assess", "a.wav", "--precision", "fp32", "--device", "cpu", "--jsonl", "-")
    assert (scored.returncode, json.loads(scored.stdout)["precision"]) == (0, "fp32")
    assert scored.stderr.decode().rstrip().endswith("fake@1 on the CPU")
    for command in (("assess", "a.wav"), ("explain", "a.wav"), ("compare", "a.wav", "a.wav")):
        refused = run(*command, "--precision", "tf32", "--device", "cpu")
        assert (refused.returncode, refused.stdout) == (2, b"")
        assert b"device cpu has none" in refused.stderr
        assert b"--precision" in run(command[0], "--help", env={"COLUMNS": "200"}).stdout
    help_page = run("assess", "--help", env={"COLUMNS": "200"}).stdout.decode()
    assert all(name in help_page for name in ("auto", *DEVICE_KINDS))
    hidden = run("assess", "a.wav", "--precision", "tf32", env={"CUDA_VISIBLE_DEVICES": "-1"})
    assert (hidden.returncode, hidden.stdout) == (4, b"")
    assert b"precision tf32 needs CUDA" in hidden.stderr


@needs_gcc
@pytest.mark.skipif(
    CUDA_PROVIDER not in load_onnxruntime().get_available_providers(), reason="onnxruntime without CUDA"
)
def test_a_gpu_that_cannot_be_used_is_an_error_or_a_note(run: Run, driver: Path, tmp_path: Path) -> None:
    write(tmp_path / "a.wav", speechlike(1))
    environment = {"LD_LIBRARY_PATH": str(driver / "cuda")}
    strict = run("assess", "a.wav", "--device", "cuda", env=environment)
    assert (strict.returncode, strict.stdout) == (4, b"")
    (line,) = strict.stderr.decode().splitlines()
    assert line.startswith("mtqscore: device cuda: ")
    auto = run("assess", "a.wav", "--jsonl", "-", env=environment)
    assert auto.returncode == 0
    assert json.loads(auto.stdout)["provider"] == "CPUExecutionProvider"
    note = line.removeprefix("mtqscore: device cuda: ")
    assert auto.stderr.decode().splitlines()[0] == f"running on the CPU: {note}"
    for device in ("cuda:7", "cuda:1"):
        missing = run("assess", "a.wav", "--device", device, env=environment)
        assert missing.returncode == 4
        assert f"device {device}: there is no GPU {device[-1]}" in missing.stderr.decode()


def test_the_cpu_always_works() -> None:
    states = {state.name: state for state in available_devices()}
    assert states["cpu"].works
    assert "cuda" in states
    assert all(bool(state.reason) != state.works for state in states.values())


@pytest.mark.parametrize(("precision", "limit"), [("fp32", 0.005), ("tf32", 0.05)])
def test_cuda_agrees_with_the_cpu(precision: str, limit: float) -> None:
    if not any(state.works for state in available_devices() if state.name == "cuda"):
        pytest.skip("no CUDA on this machine")
    names = sorted(str(path) for path in EXAMPLES.iterdir() if path.suffix in (".wav", ".flac", ".ogg", ".mp3"))
    table = []
    for config in (AssessConfig(device="cpu"), AssessConfig(device="cuda", precision=precision)):
        rows = list(Assessor(config).assess_files(names))
        table.append([[row.scores.s_mos, row.scores.n_mos, row.scores.g_mos] for row in rows if row.scores])
    assert len(table[0]) == len(table[1]) == len(names)
    assert np.abs(np.subtract(*table)).max() <= limit
