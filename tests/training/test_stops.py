"""Runs that end before their time, and what is left then."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from mtqscore.base.processes import uninterrupted
from mtqscore.errors import EnvironmentProblemError, MtqscoreError
from mtqscore.training import checkpoint as store
from mtqscore.training import loop
from mtqscore.training.checkpoint import read_checkpoint
from mtqscore.training.compute.resources import enough_memory, run_file
from mtqscore.training.config import TrainConfig
from mtqscore.training.loop import Watch
from mtqscore.training.networks import Network
from mtqscore.training.run import train_run
from mtqscore.training.weights import LAST_FILE
from tests.training_kit import QUIET, StopError, same_tensors, small_config, stopping

ROOT = Path(__file__).parents[2]
EVERY_STEP = 1e-9


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train_run(corpus, folder, config(), QUIET)
    return folder


def config(**changes: object):
    return small_config(**{"checkpoint_minutes": EVERY_STEP, "best_per_target": True, **changes})


def assert_same_runs(one: Path, other: Path) -> None:
    names = sorted(path.name for path in one.glob("*.safetensors"))
    assert names == sorted(path.name for path in other.glob("*.safetensors"))
    assert len(names) == 8
    for name in names:
        assert same_tensors(one / name, other / name), name
    curves = [read_checkpoint(folder / LAST_FILE).state["history"] for folder in (one, other)]
    for record in (*curves[0], *curves[1]):
        del record["seconds"]
    np.testing.assert_equal(*curves)


@pytest.mark.parametrize("after_steps", [1, 5])
def test_within_an_epoch_a_stopped_run_goes_on_from_its_last_steps(corpus, finished, tmp_path, after_steps):
    with pytest.raises(StopError):
        train_run(corpus, tmp_path, config(), stopping(after_steps))
    state = read_checkpoint(tmp_path / LAST_FILE).state
    assert (state["epoch"], state["step"]) == divmod(after_steps, 3)
    steps: list[int] = []
    # Read from the disk this time: neither memory nor what came before the stop may matter.
    lean = config(memory_limit_gb=0.0)
    train_run(corpus, tmp_path, lean, Watch(lambda done, *_: steps.append(done), QUIET.message))
    assert steps == list(range(after_steps + 1, 10)), "no step is done twice"
    assert_same_runs(tmp_path, finished)


KILLED = """
import os, signal, sys
from pathlib import Path
from mtqscore.training import checkpoint as store
from mtqscore.training.run import train_run
from mtqscore.training.weights import LAST_FILE
from tests.training.test_stops import config
from tests.training_kit import QUIET
write = store.write_checkpoint
def stricken(path, config, parts, state):
    if path.name != LAST_FILE and state["epoch"] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, config, parts, state)
store.write_checkpoint = stricken
train_run(Path(sys.argv[1]), Path(sys.argv[2]), config(), QUIET)
"""


def test_killed_before_the_best_epoch_was_written(corpus, finished, tmp_path):
    assert 3 in json.loads((finished / "results.json").read_text())["best_epochs"].values()
    command = [sys.executable, "-c", KILLED, str(corpus), str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert read_checkpoint(tmp_path / LAST_FILE).state["epoch"] == 3
    train_run(corpus, tmp_path, config(), QUIET)
    assert_same_runs(tmp_path, finished)


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.argv[1:2] = []
from mtqscore.cli import main
main()
"""


def test_full_disk_ends_the_command_in_one_line(corpus, tmp_path):
    file = tmp_path / "c.toml"
    file.write_text("epochs = 1\n[network]\nlstm_units = 8\nconv_channels = [7, 7, 7, 7]\n")
    command = ["train", "--data", str(corpus), "--config", str(file), "--out", str(tmp_path / "run"), "--threads", "1"]
    limited = [sys.executable, "-c", LIMITED, "50000", *command]
    full = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True, check=False)
    assert full.returncode == 4, full.stderr
    line = full.stderr.splitlines()[-1]
    assert line.startswith("mtqscore: ")
    assert "last.safetensors: cannot be written: File too large" in line
    assert "Traceback" not in full.stderr
    assert not [*(tmp_path / "run").glob("*.partial"), *(tmp_path / "run").glob("*.safetensors")]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    place = tmp_path / "last.safetensors"
    place.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(EnvironmentProblemError, match="File too large; finished checkpoints are intact"):
            store.write_checkpoint(place, small_config(), {"model": {"a": torch.zeros(5000)}}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert place.read_bytes() == b"old"
    assert [*tmp_path.iterdir()] == [place]
    with pytest.raises(KeyboardInterrupt), run_file(place) as partial:
        partial.write_bytes(b"ne")
        raise KeyboardInterrupt
    assert [*tmp_path.iterdir()] == [place]


def without_memory() -> None:
    """Fail with the words of oneDNN."""
    raise RuntimeError("could not create a primitive")


def test_checkpoints_hold_every_kind_of_tensor_as_any_reader_of_safetensors_finds_it(tmp_path):
    tensors = {
        "innermost channels": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "part": torch.arange(12.0).reshape(3, 4)[:, 1:3],
        "count": torch.tensor(7),
        "none": torch.zeros(0, 3),
        "bytes ü\n": torch.arange(5, dtype=torch.uint8),
        "double": torch.tensor([1.0, 2.0], dtype=torch.float64),
    }
    shorter = [torch.float16, torch.bfloat16, torch.int32, torch.int8, torch.bool]
    tensors |= {str(kind): torch.tensor([[0, 1, 1]]).to(kind) for kind in shorter}
    store.write_checkpoint(tmp_path / "c.safetensors", small_config(), {"model": tensors}, {"epoch": 3})
    found = safetensors.torch.load_file(tmp_path / "c.safetensors")
    again = read_checkpoint(tmp_path / "c.safetensors")
    assert (again.state, again.config) == ({"epoch": 3}, small_config())
    for name, tensor in tensors.items():
        for one in (found[f"model.{name}"], again.part("model")[name]):
            assert one.dtype == tensor.dtype
            assert torch.equal(one, tensor)


@pytest.mark.parametrize("allocate", [lambda: torch.empty(10**15), lambda: np.zeros(10**15), without_memory])
def test_too_little_memory_is_one_line_with_what_to_lower(allocate, tmp_path):
    with (
        pytest.raises(EnvironmentProblemError, match=r"memory_limit_gb \(now 6\).*batch_size \(now 6\)") as caught,
        enough_memory(small_config(), torch.device("cpu"), tmp_path),
    ):
        allocate()
    assert "\n" not in str(caught.value)
    with pytest.raises(RuntimeError, match="sizes"), enough_memory(small_config(), torch.device("cpu"), tmp_path):
        raise RuntimeError("other sizes")


def test_nothing_that_is_not_finite_is_kept(corpus, tmp_path, monkeypatch):
    """The loss of the only step is finite: its gradient is not, or what the network estimates after it."""
    only = {"epochs": 1, "batch_size": 18, "warmup_epochs": 0.0}
    with pytest.raises(MtqscoreError, match="the validation loss is nan in epoch 1; try a lower --lr"):
        train_run(corpus, tmp_path, config(**only, lr=1e30), QUIET)
    make = loop.build

    def ill(settings: TrainConfig) -> Network:
        network = make(settings)
        network.dense.weight.register_hook(lambda gradient: gradient * torch.nan)
        return network

    monkeypatch.setattr(loop, "build", ill)
    for grad_clip in (0.0, 1.0):
        with pytest.raises(MtqscoreError, match="the gradient is nan in epoch 1; try a lower --lr"):
            train_run(corpus, tmp_path, config(**only, grad_clip=grad_clip), QUIET)
    assert not [*tmp_path.glob("*.safetensors")]


def test_a_scaled_loss_gives_the_same_to_the_bit_and_its_scale_goes_on(corpus, finished, tmp_path, monkeypatch):
    scale = 2.0**16
    monkeypatch.setattr(loop, "gradient_scaler", lambda *_: torch.amp.GradScaler("cpu", scale, growth_interval=4))
    with pytest.raises(StopError):
        train_run(corpus, tmp_path / "run", config(), stopping(5))
    train_run(corpus, tmp_path / "run", config(), QUIET)
    assert_same_runs(tmp_path / "run", finished)
    scaler = read_checkpoint(tmp_path / "run" / LAST_FILE).state["scaler"]
    assert (scaler["scale"], scaler["_growth_tracker"]) == (2.0**18, 1), "nine steps: twice doubled, and one more"
    # Far too large a scale is halved, and until then no step is taken.
    scale = 2.0**127
    train_run(corpus, tmp_path / "large", config(epochs=1, lr=1e-4, semi_weight=16.0), QUIET)
    large = read_checkpoint(tmp_path / "large" / LAST_FILE)
    assert large.state["scaler"]["scale"] < 2.0**127
    assert {float(tensor) for name, tensor in large.tensors.items() if name.endswith("/step")} <= {1.0, 2.0}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_a_process_is_started(number: signal.Signals) -> None:
    before = signal.signal(number, signal.default_int_handler)
    started = False
    try:
        with pytest.raises(KeyboardInterrupt), uninterrupted():
            signal.raise_signal(number)
            started = True
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
    assert started
