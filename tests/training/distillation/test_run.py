"""Students that learn from clips and from scores, and runs that go on."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from safetensors.torch import load_file

from mtqscore.cli.app import build_app
from mtqscore.errors import InputError, UsageError
from mtqscore.labels.table import read_label_table, write_table
from mtqscore.targets import SAMPLE_RATE_HZ
from mtqscore.training.checkpoint import load_network, read_checkpoint
from mtqscore.training.compute.distributed import ALONE
from mtqscore.training.config import DistillConfig, TeacherChoice
from mtqscore.training.data.dataset import Dataset
from mtqscore.training.distillation.dataset import LEARNED, ClipMaker, DistillationDataset, made
from mtqscore.training.distillation.ensemble import open_ensemble
from mtqscore.training.distillation.run import distill
from mtqscore.training.distillation.run_data import DistillationInputs
from mtqscore.training.distillation.unlabelled import StretchSampler, list_speech, make_clip
from mtqscore.training.loop import Watch
from mtqscore.training.validation import evaluate_split
from tests.cli.test_train import SETTINGS
from tests.signals import speechlike, write
from tests.training_kit import QUIET, small_config, write_corpus

SHORT = DistillConfig(teachers=(TeacherChoice("teacher.safetensors"),), clips=12, val_clips=4, min_s=0.6, max_s=1.0)


class StopError(Exception):
    """Ends a run as a kill does."""


def stopping(after: int) -> Watch:
    steps: Iterator[int] = iter(range(1000))

    def step(_done: int, _total: int, note: str) -> None:
        if note.startswith("epoch") and next(steps) == after:
            raise StopError

    return Watch(step, lambda _: None)


def weights(run: Path) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in load_file(run / "last.safetensors").items()}


def assert_same(first: Path, second: Path) -> None:
    found, expected = weights(first), weights(second)
    assert found.keys() == expected.keys()
    for name, values in found.items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)


@pytest.mark.usefixtures("folder")
def test_run_that_stops_within_an_epoch_goes_on_to_the_bit_and_keeps_a_cache():
    """Three runs of one result: in one go, stopped and gone on with, and from the clips that the second has kept."""
    settings = {"recipe": "scratch", "teacher": "none", "epochs": 2, "batch_size": 4, "checkpoint_minutes": 1e-9}
    config = small_config(**settings, distillation=SHORT)
    cached = DistillationInputs(Path("speech"), cache=Path("kept"), workers=1)
    with pytest.raises(StopError):
        distill(cached, Path("b"), config, stopping(1), ["g_mos", "s_mos"])
    first_kept = len([*Path("kept").rglob("*.npz")])
    assert 8 <= first_kept < 12
    distill(cached, Path("b"), config, QUIET, ["g_mos", "s_mos"])
    results = distill(cached, Path("c"), config, QUIET, ["g_mos", "s_mos"])
    assert_same(Path("b"), Path("c"))
    assert len([*Path("kept").rglob("*.npz")]) == 12
    assert [*results["val"]] == ["s_mos", "g_mos"]
    assert [row.split for row in read_label_table(Path("c/validation"))] == ["val"] * 4
    with pytest.raises(UsageError, match="kept: holds clips of other recordings"):
        distill(cached, Path("d"), dataclasses.replace(config, seed=1), QUIET, ["g_mos", "s_mos"])
    with pytest.raises(UsageError, match=r"other settings \(distillation.plain_share 0.2 → 0.5\)"):
        other = dataclasses.replace(SHORT, plain_share=0.5)
        distill(cached, Path("c"), dataclasses.replace(config, distillation=other), QUIET, ["g_mos", "s_mos"])


def test_new_clips_in_every_epoch_for_any_number_of_processes_without_what_is_held_out(folder):
    sources, _ = list_speech(folder / "speech", [], lambda *_: None)
    config = dataclasses.replace(SHORT, hold_out=("mnru", "suppress", "mask", "codec"))
    maker = ClipMaker(StretchSampler(sources), StretchSampler(sources), config, seed=1, workers=2)
    try:
        passes = [maker.drafts(LEARNED, turn) for turn in (0, 1)]
        assert not {draft.key for draft in passes[0]} & {draft.key for draft in passes[1]}
        clips = [made(future) for future in [maker.submit(draft) for draft in passes[1]]]
    finally:
        maker.close()
    changed = 0
    for draft, clip in zip(passes[1], clips, strict=True):
        np.testing.assert_array_equal(clip, make_clip(draft, maker.samplers[0], config))
        changed += not np.array_equal(
            clip, make_clip(draft, maker.samplers[0], dataclasses.replace(config, hold_out=()))
        )
    assert 0 < changed < len(clips), "chains without what is held out stay as they are"


def test_validation_holds_frame_scores_of_the_teacher_and_labels_are_mixed_in(folder):
    """The teacher agrees with itself, of recordings and along them; a student with its weights does too."""
    corpus = write_corpus(folder / "corpus", 8)
    settings = dataclasses.replace(SHORT, clips=6, label_share=0.25)
    config = small_config(recipe="scratch", teacher="none", epochs=1, lr=0.0, distillation=settings)
    inputs = DistillationInputs(
        Path("speech"), labelled=corpus, labels=corpus, init=Path("teacher.safetensors"), workers=1
    )
    told: list[str] = []
    results = distill(inputs, Path("run"), config, Watch(lambda *_: None, told.append))
    assert results["val"]["s_mos"]["rmse"] < 0.3
    assert any("2 recordings are left out, such as speech/" in line for line in told)

    network = load_network(read_checkpoint(Path("teacher.safetensors")))
    rows = read_label_table(Path("run/validation"))
    with np.load("run/validation/curves.npz") as kept:
        curves = [kept[row.path.name] for row in rows]
    agreed = evaluate_split(network, Dataset(rows, 1e9, 1, network.targets, curves), config)
    flat = evaluate_split(network, Dataset(rows, 1e9, 1, network.targets), config)
    assert agreed.loss < 1e-5 < 0.1 * flat.loss
    labelled = evaluate_split(network, Dataset(read_label_table(corpus), 1e9, 1), config).agreement()
    for target, found in results["teacher_labels"].items():
        assert found["rmse"] == pytest.approx(labelled[target]["rmse"], abs=1e-3, nan_ok=True)
        assert np.isnan(results["labels"][target]["rmse"]) == np.isnan(found["rmse"])


def test_batches_hold_clips_and_labelled_recordings_by_their_share(folder):
    """A clip has the scores of the teacher as its label; a recording of the table keeps its own."""
    rows = [row for row in read_label_table(write_corpus(folder / "corpus", 8)) if row.split == "train"]
    sources, _ = list_speech(folder / "speech", [], lambda *_: None)
    settings = dataclasses.replace(SHORT, clips=6, label_share=0.25)
    maker = ClipMaker(StretchSampler(sources), StretchSampler(sources), settings, seed=1, workers=1)
    config = small_config(splice_share=0.0, recolour_db=0.0, batch_size=3)
    try:
        ensemble = open_ensemble(SHORT.teachers, folder, torch.device("cpu"))
        taught = DistillationDataset(maker, ensemble, labelled=Dataset(rows, 1e9, 1))
        batches = [*taught.batches(config, 0, ALONE, 0)]
        (last,) = taught.batches(config, 0, ALONE, 2)
    finally:
        maker.close()
    assert len(taught) == sum(len(batch.rows) for batch in batches) == 8
    np.testing.assert_array_equal(last.waveform, batches[-1].waveform)
    tables = {tuple(row.labels[name] for name in ("s_mos", "n_mos", "g_mos")) for row in rows}
    for batch in batches:
        along = batch.frame_labels(torch.arange(0, SAMPLE_RATE_HZ // 2, 512))
        assert batch.curves is not None and along is not None
        for item, row in enumerate(batch.rows):
            known = [pytest.approx(label) for label in tables]
            assert (tuple(batch.labels[item, :3].tolist()) in known) is bool(row >= 6)
            assert (batch.curves[item] is None) is bool(row >= 6)
            steady = torch.equal(along[item].nan_to_num(), along[item, :1].nan_to_num().expand_as(along[item]))
            assert steady is bool(row >= 6)


def test_splits_of_a_table_of_recordings_hold_where_scores_are_there_already(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    splits = {"a.wav": "train", "b.wav": "train", "c.wav": "val", "d.wav": "test", "e.wav": "val"}
    for number, name in enumerate(splits):
        write(tmp_path / name, speechlike(1.0, seed=number))
    records = [{"path": name, "split": splits[name], "g_mos": 2 + 0.3 * at} for at, name in enumerate(splits)]
    write_table(tmp_path / "list.csv", ["path", "split"], records)
    write_table(tmp_path / "scores.csv", ["path", "g_mos"], records)
    settings = dataclasses.replace(SHORT, teachers=(TeacherChoice("scores.csv"),))
    config = small_config(recipe="scratch", teacher="none", epochs=1, distillation=settings)
    told: list[str] = []
    results = distill(
        DistillationInputs(Path("list.csv")), Path("student"), config, Watch(lambda *_: None, told.append)
    )
    assert "list.csv: 2 recordings to learn from, 2 held out" in told
    assert [*results["val"]] == ["g_mos"]
    with (tmp_path / "student" / "predictions_val.csv").open(newline="") as stream:
        assert sorted(Path(record["path"]).name for record in csv.DictReader(stream)) == ["c.wav", "e.wav"]


def test_student_from_the_command_line_is_exported_and_scores(run, folder):
    """A run folder as any other comes out."""
    (folder / "small.toml").write_text(
        f"{SETTINGS}[distillation]\nclips = 6\nval_clips = 4\nmin_s = 0.6\nmax_s = 1.0\n"
    )
    common = ("distill", "--data", "speech", "--config", "small.toml", "--workers", "1")
    done = run(
        *(*common, "--teacher", "teacher.safetensors=0.7", "--noise", "speech", "--out", "-st udent"),
        *("--alpha", "0.5", "--hold-out", "vorbis", "--hold-out", "klt"),
    )
    assert (done.returncode, done.stdout) == (0, b""), done.stderr.decode()
    assert b"3 recordings to learn from, 2 held out" in done.stderr
    config = json.loads((folder / "-st udent" / "config.json").read_text())
    assert config["distillation"]["teachers"] == [{"source": "teacher.safetensors", "weight": 0.7}]
    assert (config["alpha"], config["distillation"]["hold_out"]) == (0.5, ["vorbis", "klt"])
    done = run("export", "./-st udent", "--out", "s.onnx", "--name", "s", "--calibration", "val")
    assert done.returncode == 0, done.stderr.decode()
    done = run("assess", "speech/a.wav", model="s.onnx")
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ([], UsageError, "no teacher: name one or more with --teacher"),
        (["--teacher", "t=x"], UsageError, "--teacher t=x: give TEACHER, or TEACHER=WEIGHT"),
        (["--teacher", "table"], UsageError, "unlabelled speech has neither labels nor references"),
        (["--teacher", "./gone"], InputError, "--teacher ./gone: no such run folder"),
        (["--teacher", "t.csv", "--plain-share", "2"], UsageError, "plain_share 2 is outside 0 to 1"),
        (["--teacher", "t.csv", "--size", "enormous"], UsageError, "size enormous: choose one of"),
        (["--teacher", "t.csv", "--targets", "mos"], UsageError, "targets mos"),
        (["--teacher", "t.csv", "--config", "none.toml"], UsageError, "none.toml: cannot read"),
    ],
)
def test_wrong_use_is_refused(tmp_path, monkeypatch, arguments, error, message):
    monkeypatch.chdir(tmp_path)
    command = typer.main.get_command(build_app(["distill"]))
    with pytest.raises(error, match=message):
        command.main(["distill", "--data", "none", *arguments], standalone_mode=False)
    assert not [*tmp_path.iterdir()]


@pytest.mark.usefixtures("folder")
def test_what_cannot_be_held_out_is_refused_with_what_can(run):
    done = run("distill", "--teacher", "teacher.safetensors", "--data", "speech", "--hold-out", "-k lt")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--hold-out -k lt: choose from a_law, band_limit, clip" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_settings_of_distillation_are_none_of_train(run, tmp_path):
    (tmp_path / "c.toml").write_text("[distillation]\nclips = 4\n")
    done = run("train", "--data", "none", "--config", "c.toml")
    assert done.returncode == 2
    assert b"c.toml: [distillation] is for mtqscore distill" in done.stderr
