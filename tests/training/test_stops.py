"""Runs that end before their time, and what is left then."""

from __future__ import annotations

import dataclasses
import json
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from mtqscore.errors import EnvironmentProblemError, InputError
from mtqscore.training import checkpoint as store
from mtqscore.training import loop
from mtqscore.training.checkpoint import load_network, read_checkpoint
from mtqscore.training.compute.resources import enough_memory, run_file
from mtqscore.training.loop import Watch
from mtqscore.training.run import train_run
from mtqscore.training.weights import BEST_FILE, LAST_FILE
from tests.training_kit import QUIET, StopError, careful_config, same_tensors, small_config, stopping


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
        train_run(corpus, tmp_path, careful_config(), stopping(after_steps))
    state = read_checkpoint(tmp_path / LAST_FILE).state
    assert (state["epoch"], state["step"]) == divmod(after_steps, 3)
    steps: list[int] = []
    # Read from the disk this time: neither memory nor what came before the stop may matter.
    lean = careful_config(memory_limit_gb=0.0)
    train_run(corpus, tmp_path, lean, Watch(lambda done, *_: steps.append(done), QUIET.message))
    assert steps == list(range(after_steps + 1, 10)), "no step is done twice"
    assert_same_runs(tmp_path, finished)


KILLED = """
import os, signal, sys
from pathlib import Path
from mtqscore.training import checkpoint as store
from mtqscore.training.run import train_run
from mtqscore.training.weights import LAST_FILE
from tests.training_kit import QUIET, careful_config
write = store.write_checkpoint
def stricken(path, config, parts, state):
    if path.name != LAST_FILE and state["epoch"] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, config, parts, state)
store.write_checkpoint = stricken
train_run(Path(sys.argv[1]), Path(sys.argv[2]), careful_config(), QUIET)
"""


def test_killed_before_the_best_epoch_was_written(corpus, finished, tmp_path):
    assert 3 in json.loads((finished / "results.json").read_text())["best_epochs"].values()
    command = [sys.executable, "-c", KILLED, str(corpus), str(tmp_path)]
    assert subprocess.run(command, cwd=Path(__file__).parents[2], check=False).returncode == -signal.SIGKILL
    assert read_checkpoint(tmp_path / LAST_FILE).state["epoch"] == 3
    train_run(corpus, tmp_path, careful_config(), QUIET)
    assert_same_runs(tmp_path, finished)


def test_a_scaled_loss_gives_the_same_to_the_bit_and_its_scale_goes_on(corpus, finished, tmp_path, monkeypatch):
    scale = 2.0**16
    monkeypatch.setattr(loop, "gradient_scaler", lambda *_: torch.amp.GradScaler("cpu", scale, growth_interval=4))
    with pytest.raises(StopError):
        train_run(corpus, tmp_path / "run", careful_config(), stopping(5))
    train_run(corpus, tmp_path / "run", careful_config(), QUIET)
    assert_same_runs(tmp_path / "run", finished)
    scaler = read_checkpoint(tmp_path / "run" / LAST_FILE).state["scaler"]
    assert (scaler["scale"], scaler["_growth_tracker"]) == (2.0**18, 1), "nine steps: twice doubled, and one more"
    # Far too large a scale is halved, and until then no step is taken.
    scale = 2.0**127
    train_run(corpus, tmp_path / "large", careful_config(epochs=1, lr=1e-4, semi_weight=16.0), QUIET)
    large = read_checkpoint(tmp_path / "large" / LAST_FILE)
    assert large.state["scaler"]["scale"] < 2.0**127
    assert {float(tensor) for name, tensor in large.tensors.items() if name.endswith("/step")} <= {1.0, 2.0}


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow beyond 10,000 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, previous)


@pytest.mark.usefixtures("full_disk")
def test_full_disk_ends_the_run_in_one_line_and_leaves_the_old_file(small_corpus, tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(
        EnvironmentProblemError, match=r"last\.safetensors: cannot be written: File too large"
    ) as caught:
        train_run(small_corpus, tmp_path / "run", small_config(epochs=1), QUIET)
    assert "\n" not in str(caught.value)
    assert "finished checkpoints are intact" in str(caught.value)
    assert not [*tmp_path.glob("run/*.safetensors*")]
    place = tmp_path / "run" / "file"
    place.write_bytes(b"old")
    with pytest.raises(EnvironmentProblemError), run_file(place) as partial:
        partial.write_bytes(bytes(20_000))
    with pytest.raises(KeyboardInterrupt), run_file(place) as partial:
        partial.write_bytes(b"ne")
        raise KeyboardInterrupt
    assert place.read_bytes() == b"old"
    assert not [*place.parent.glob("*.partial*")]


def test_checkpoints_hold_every_kind_of_tensor_as_any_reader_of_safetensors_finds_it(tmp_path):
    tensors = {
        "innermost channels": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "part": torch.arange(12.0).reshape(3, 4)[:, 1:3],
        "count": torch.tensor(7),
        "none": torch.zeros(0, 3),
        "bytes ü\n": torch.arange(5, dtype=torch.uint8),
        "double": torch.tensor([1.0, 2.0], dtype=torch.float64),
    }
    shorter = [torch.float16, torch.bfloat16, torch.int32, torch.int16, torch.int8, torch.bool]
    tensors |= {str(kind): torch.tensor([[0, 1, 1]]).to(kind) for kind in shorter}
    store.write_checkpoint(tmp_path / "c.safetensors", small_config(), {"model": tensors}, {"epoch": 3})
    found = safetensors.torch.load_file(tmp_path / "c.safetensors")
    again = read_checkpoint(tmp_path / "c.safetensors")
    assert (again.state, again.config) == ({"epoch": 3}, small_config())
    for name, tensor in tensors.items():
        for one in (found[f"model.{name}"], again.part("model")[name]):
            assert one.dtype == tensor.dtype
            assert torch.equal(one, tensor)


def test_damaged_checkpoints_are_named(finished, tmp_path):
    (tmp_path / "cut.safetensors").write_bytes((finished / BEST_FILE).read_bytes()[:100])
    with pytest.raises(InputError, match="not a checkpoint"):
        read_checkpoint(tmp_path / "cut.safetensors")
    best = read_checkpoint(finished)
    narrower = dataclasses.replace(best.config.network, dense_units=5)
    with pytest.raises(InputError, match="do not fit"):
        load_network(dataclasses.replace(best, config=small_config(network=narrower)))


def without_memory() -> None:
    """Fail with the words of oneDNN."""
    raise RuntimeError("could not create a primitive")


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
