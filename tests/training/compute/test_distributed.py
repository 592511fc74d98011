"""Several processes on one run give what one gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mtqscore.training.checkpoint import read_checkpoint
from mtqscore.training.compute.distributed import Ranks
from mtqscore.training.loop import Watch
from mtqscore.training.network_config import MosaNetConfig, SslConfig, XlsRSqaConfig
from mtqscore.training.run import train_run
from mtqscore.training.weights import LAST_FILE
from tests.training_kit import QUIET, SMALL, small_config, write_corpus

ROOT = Path(__file__).parents[3]
SSL = SslConfig(model="custom", custom_units=8, custom_layers=1, custom_like="wav2vec2-base")
NETWORKS = {
    "compact": SMALL,
    "mosa-net": MosaNetConfig(channels=(2, 2), lstm_units=4, dense_units=4, ssl=replace(SSL, tune=True)),
    "xls-r-sqa": XlsRSqaConfig(units=8, layers=1, attention_heads=2, feedforward=8, ssl=SSL),
}
"""All kinds of dropout and batch normalisation, and front ends frozen and tuned."""


def config(network: str, **changes: object):
    """Of 18 recordings 17 or 16 a batch: of the last one there is nothing for a process, or one recording for each."""
    settings = {
        "batch_size": 16 if network == "xls-r-sqa" else 17,
        "optimizer": "sgd",
        "lr": 1e-2,
        "silence_share": 0.3,
    }
    return small_config(**{**settings, "network": NETWORKS[network], "epochs": 2, **changes})


def step_losses(corpus: Path, folder: Path, **settings: object) -> list[str]:
    notes: list[str] = []
    train_run(corpus, folder, config(**settings), Watch(lambda *note: notes.append(note[2]), QUIET.message))
    return notes


WORKER = """
import json, sys
from pathlib import Path
from tests.training.compute.test_distributed import step_losses
corpus, folder, settings = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
for one in settings:
    notes = step_losses(corpus, folder / one["network"], **one)
    if notes:
        (folder / one["network"] / "notes.json").write_text(json.dumps(notes))
"""


def torchrun(processes: int, *command: str, **options: object) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **options}
    return subprocess.run(
        [*launcher, *command], cwd=ROOT, capture_output=True, text=True, check=False, env=environment, timeout=200
    )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), 24)


def test_two_processes_give_the_losses_and_weights_of_one(corpus, tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)
    settings = [{"network": network} for network in NETWORKS]
    done = torchrun(2, str(tmp_path / "worker.py"), str(corpus), str(tmp_path), json.dumps(settings))
    assert done.returncode == 0, done.stderr
    for one in settings:
        two = tmp_path / one["network"]
        alone = tmp_path / f"{one['network']}-alone"
        notes = step_losses(corpus, alone, **one)
        assert json.loads((two / "notes.json").read_text()) == notes, "the losses of every step, to three digits"
        histories = [read_checkpoint(folder / LAST_FILE).state["history"] for folder in (alone, two)]
        for record, other in zip(*histories, strict=True):
            for name in ("train_loss", "val_loss", "train_s_mos_loss", "val_pesq_rmse"):
                assert other[name] == pytest.approx(record[name], rel=1e-5), name
        first, second = (read_checkpoint(folder / LAST_FILE).part("model") for folder in (alone, two))
        assert first.keys() == second.keys()
        for name, tensor in first.items():
            # In one process torch's batch normalisation adds up float32 one by one: means are off by 5e-4 of them.
            atol = 1e-4 if "running" in name else 1e-5
            torch.testing.assert_close(
                second[name], tensor, rtol=1e-4, atol=atol, msg=lambda text, name=name: name + text
            )


def test_a_failing_process_ends_all_with_one_line(tmp_path):
    bad = write_corpus(tmp_path / "bad", 12)
    (bad / "5.flac").write_bytes(b"fLaC no more")
    command = ["-m", "mtqscore", "train", "--data", str(bad), "--out", str(tmp_path / "run"), "--threads", "1"]
    done = torchrun(2, *command)
    assert done.returncode != 0
    own = [line for line in done.stderr.splitlines() if line.startswith("mtqscore: ")]
    assert len(own) == 1, done.stderr
    assert "5.flac" in own[0]


@pytest.mark.parametrize(("items", "processes"), [(7, 2), (2, 3), (1, 2), (6, 3), (1, 1)])
def test_every_item_of_a_batch_is_taken_once(items, processes):
    shards = [Ranks(rank, processes).share(items) for rank in range(processes)]
    taken = [item for shard in shards if not shard.idle for item in range(shard.first, shard.stop)]
    assert taken == list(range(items))
    assert sum(shard.weight for shard in shards) == pytest.approx(1.0)
    assert all(shard.stop > shard.first for shard in shards), "all must do every step"
