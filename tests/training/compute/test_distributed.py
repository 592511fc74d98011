"""Several processes on one run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mtqscore.training.checkpoint import read_checkpoint
from mtqscore.training.compute.distributed import ProcessGroup
from mtqscore.training.config import TrainConfig
from mtqscore.training.network_config import MosaNetConfig, SslConfig
from mtqscore.training.weights import LAST_FILE
from tests.training_kit import SMALL, small_config

ROOT = Path(__file__).parents[3]
SSL = SslConfig(model="custom", custom_units=8, custom_layers=1, custom_like="wav2vec2-base")
NETWORKS = {
    "compact": SMALL,
    "mosa-net": MosaNetConfig(channels=(2, 2), lstm_units=4, dense_units=4, ssl=replace(SSL, tune=True)),
}
"""Batch normalisation and dropout, without a front end and with a tuned one."""

WORKER = """
import hashlib, sys
from pathlib import Path
from mtqscore.training.loop import Trainer
from mtqscore.training.run import train_run
from tests.training.compute.test_distributed import config
from tests.training_kit import QUIET
finish = Trainer._finish
def finish_with_digest(trainer):
    tensors = [*trainer.network.parameters(), *trainer.average.state_dict().values()]
    print(hashlib.sha256(b"".join(tensor.detach().numpy().tobytes() for tensor in tensors)).hexdigest())
    return finish(trainer)
Trainer._finish = finish_with_digest
data, out, epochs, network = sys.argv[1:]
train_run(Path(data), Path(out, network), config(network, int(epochs)), QUIET)
"""


def config(network: str, epochs: int) -> TrainConfig:
    """Of 12 recordings 11 a batch: of the last one there is nothing for a process."""
    plain = {"splice_share": 0.0, "recolour_db": 0.0, "checkpoint_minutes": 1e-9}
    return small_config(network=NETWORKS[network], epochs=epochs, batch_size=11, **plain)


def start_two(corpus: Path, folder: Path, epochs: int, network: str) -> list[subprocess.Popen[str]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    group = {"PYTHONPATH": str(ROOT), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, "-c", WORKER, str(corpus), str(folder), str(epochs), network]
    environments = [{**os.environ, **group, "RANK": rank} for rank in "01"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return [subprocess.Popen(command, env=each, text=True, **pipes) for each in environments]


@pytest.mark.parametrize("network", NETWORKS)
def test_two_processes_train_one_network(small_corpus: Path, tmp_path: Path, network: str) -> None:
    digests = []
    for process in start_two(small_corpus, tmp_path, 3, network):
        digest, messages = process.communicate(timeout=100)
        assert process.returncode == 0, messages
        digests.append(digest)
    assert digests[0] == digests[1] != "", "the same weights on both"
    history = read_checkpoint(tmp_path / network / LAST_FILE).state["history"]
    assert [record["epoch"] for record in history] == [1, 2, 3]
    assert history[-1]["val_loss"] < history[0]["val_loss"]
    assert (tmp_path / network / "results.json").is_file()


def test_a_lost_process_ends_the_run_in_one_line(small_corpus: Path, tmp_path: Path) -> None:
    first, second = start_two(small_corpus, tmp_path, 10_000, "compact")
    while not (tmp_path / "compact" / LAST_FILE).is_file():
        assert first.poll() is None
    second.send_signal(signal.SIGKILL)
    second.communicate()
    _, messages = first.communicate(timeout=60)
    assert first.returncode != 0
    assert messages.splitlines()[-1].endswith("the same command goes on from the last checkpoint")
    assert "another process of the run has ended without a message" in messages


def test_a_failing_process_ends_all_with_one_line(small_corpus: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    for path in small_corpus.iterdir():
        (bad / path.name).write_bytes(b"fLaC no more" if path.name == "5.flac" else path.read_bytes())
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = ["-m", "mtqscore", "train", "--data", str(bad), "--out", str(tmp_path / "run"), "--threads", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launcher, *command], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode != 0
    own = [line for line in done.stderr.splitlines() if line.startswith("mtqscore: ")]
    assert len(own) == 1, done.stderr
    assert "5.flac" in own[0]


@pytest.mark.parametrize(("items", "processes"), [(7, 2), (2, 3), (1, 2), (6, 3), (1, 1)])
def test_every_item_of_a_batch_is_taken_once(items: int, processes: int) -> None:
    shares = [ProcessGroup(rank, processes).share(items) for rank in range(processes)]
    taken = [item for share in shares if not share.is_idle for item in range(share.first, share.stop)]
    assert taken == list(range(items))
    assert sum(share.weight for share in shares) == pytest.approx(1.0)
    assert all(share.stop > share.first for share in shares), "all must do every step"
