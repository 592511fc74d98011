"""From a checkpoint to the scores of somebody else: export, publish, fetch, assess."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtqscore.analysis import statistics as stats
from mtqscore.errors import InputError, UsageError
from mtqscore.models.entry import parse_description
from mtqscore.training.checkpoint import write_checkpoint
from mtqscore.training.export.calibration import from_points
from mtqscore.training.export.config import ModelIdentity
from mtqscore.training.export.parity import Parity
from mtqscore.training.export.release import check_release, measure_run, write_release
from tests.models.hub.server import TOKEN, serve
from tests.signals import speechlike, write
from tests.training_kit import small_config, small_network

IDENTITY = ModelIdentity("mine", "1", "1", "what it means", "its corpora", "MIT", "mtqscore export")
NONE = from_points({})
PARITY = Parity(3, 1e-6, 2e-6, 3e-6)
TARGETS = ("s_mos", "n_mos", "g_mos")


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A folder as a training run leaves it: a checkpoint, and estimates of the held-out recordings."""
    folder = tmp_path / "run"
    folder.mkdir()
    write_checkpoint(
        folder / "best.safetensors", small_config(), {"average": small_network().state_dict()}, {"epoch": 1}
    )
    rng = np.random.default_rng(0)
    for split in ("val", "test"):
        with (folder / f"predictions_{split}.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["path", *TARGETS, *(f"label_{name}" for name in TARGETS)])
            for truth in rng.uniform(1, 5, 30):
                estimates = truth + rng.normal(0, 0.4, 3)
                writer.writerow(["a.wav", *estimates, truth, truth, "" if truth < 2 else truth])
    return folder


def test_a_trained_model_reaches_another_machine(run: Callable[..., Any], trained: Path, tmp_path: Path) -> None:
    write(tmp_path / "a.wav", speechlike(1))
    words = ["--out", "out/mine-2.onnx", "--name", "mine", "--version", "2", "--licence", "MIT", "--clip-count", "2"]
    exported = run("export", str(trained), *words)
    assert exported.returncode == 0, exported.stderr.decode()
    assert b"mine-2.json" in exported.stderr
    kinds = {".json", ".md", ".onnx", ".safetensors"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"mine-2{kind}" for kind in kinds}
    here = run("assess", "a.wav", "--csv", "-", "--model", "out/mine-2.onnx", model=None)
    with serve() as server:
        hub = {"HF_ENDPOINT": server.url, "HF_TOKEN": TOKEN}
        published = run("models", "publish", "out", "--repo", "lab/mine", env=hub | {"HF_HOME": str(tmp_path / "one")})
        assert published.returncode == 0, published.stderr.decode()
        reference = published.stdout.decode().strip()
        files = server.repositories["lab/mine"].revisions[reference[-40:]]
        card = files["README.md"].decode()
        assert files["mine-2.safetensors"] == (tmp_path / "out" / "mine-2.safetensors").read_bytes()
        other = hub | {"HF_HOME": str(tmp_path / "two")}
        there = run("assess", "a.wav", "--csv", "-", "--model", reference, model=None, env=other)
    assert there.returncode == 0, there.stderr.decode()
    assert there.stdout == here.stdout
    assert b"mine@2" in there.stdout
    assert "| test split of the training corpus | 30 |" in card
    assert '"pearsonr"' in card.split("---\n")[1]


def test_the_accuracy_is_that_of_the_held_out_recordings(trained: Path) -> None:
    test, val = measure_run(trained, NONE)
    assert (test.data, test.recordings) == ("test split of the training corpus", 30)
    assert val.data.startswith("validation split")
    with (trained / "predictions_test.csv").open() as stream:
        rows = [{name: float(row[name] or "nan") for name in row if name != "path"} for row in csv.DictReader(stream)]
    for name in TARGETS:
        truth, raw = ([row[key] for row in rows] for key in (f"label_{name}", name))
        assert test.lcc[name] == pytest.approx(stats.lcc(truth, raw), abs=0.01), "clipped to the scale"
        assert 0.2 < test.rmse[name] < 0.6
    shifted = from_points({"n_mos": [(1.0, 1.0), (5.0, 3.0)]})
    assert measure_run(trained, shifted)[0].rmse["n_mos"] > 1
    assert measure_run(trained, shifted)[0].rmse["s_mos"] == test.rmse["s_mos"]


@pytest.mark.parametrize("text", ["path\na\n", "path,s_mos,n_mos,g_mos\na,1,x,2\n", "path,s_mos,n_mos,g_mos\na,1\n"])
def test_a_faulty_table_of_estimates_is_named(trained: Path, text: str) -> None:
    (trained / "predictions_test.csv").write_text(text)
    with pytest.raises(InputError, match=r"predictions_test\.csv: not a table"):
        measure_run(trained, NONE)


def test_the_accuracy_of_another_checkpoint_is_not_known(trained: Path) -> None:
    assert measure_run(trained / "best.safetensors", NONE) == measure_run(trained, NONE) != ()
    (trained / "last.safetensors").touch()
    assert measure_run(trained / "last.safetensors", NONE) == ()


def test_files_of_the_user_are_not_replaced(trained: Path, tmp_path: Path) -> None:
    best = trained / "best.safetensors"
    with pytest.raises(UsageError, match=r"best\.safetensors is there and holds no weights of an exported model"):
        check_release(trained / "best.onnx", IDENTITY, tmp_path)
    check_release(trained / "best.onnx", IDENTITY, best)  # the weights that are exported stay
    (tmp_path / "m.json").write_text('{"s_mos": [[1, 1], [5, 4]]}')
    with pytest.raises(UsageError, match=r"m\.json is there and is not the description"):
        check_release(tmp_path / "m.onnx", IDENTITY)
    (tmp_path / "m.json").unlink()
    check_release(tmp_path / "m.onnx", IDENTITY)


def test_what_lies_beside_the_model(tmp_path: Path) -> None:
    out = tmp_path / "m.onnx"
    out.write_bytes(b"content")
    entry, is_new = write_release(out, IDENTITY, (), PARITY)
    assert is_new
    assert parse_description((tmp_path / "m.json").read_bytes(), tmp_path) == entry
    assert json.loads((tmp_path / "m.json").read_text())["size"] == 7
    card = (tmp_path / "m.md").read_text()
    for word in ("# mine, version 1", "what it means", "its corpora", "Not measured", "3.0e-06", entry.sha256, "MIT"):
        assert word in card
    (tmp_path / "m.md").write_text("by hand")
    out.write_bytes(b"other content")
    again, is_new = write_release(out, IDENTITY, (), PARITY)
    assert not is_new
    assert (tmp_path / "m.md").read_text() == "by hand"
    assert parse_description((tmp_path / "m.json").read_bytes(), tmp_path) == again != entry


@pytest.mark.parametrize(
    ("file", "changes", "wanted"),
    [
        ("m.pt", {}, ".onnx at the end"),
        ("-m.onnx", {}, "a letter or digit first"),
        ("m.onnx", {"version": "1b"}, "numbers with dots between them"),
        ("m.onnx", {"name": "a b"}, "up to 64 letters"),
        ("m.onnx", {"licence": ""}, "licence"),
    ],
)
def test_names_that_no_list_could_hold_are_refused_before_the_work(
    file: str, changes: dict[str, str], wanted: str
) -> None:
    with pytest.raises(UsageError, match=f"cannot export as .*{wanted}"):
        check_release(Path(file), ModelIdentity(**({**vars(IDENTITY)} | changes)))
