"""Recipes from scratch, by knowledge transfer and by pseudo-labels; their settings and the published ones."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mtqscore.errors import InputError, UsageError
from mtqscore.labels.table import LabelledRecording, read_label_table
from mtqscore.training.checkpoint import read_checkpoint, write_checkpoint
from mtqscore.training.config import TrainConfig
from mtqscore.training.loop import Watch
from mtqscore.training.network_config import CompactConfig, MosaNetConfig, MosSslConfig, SslConfig
from mtqscore.training.networks import build
from mtqscore.training.recipes import carry_out, prepare, transfer
from mtqscore.training.settings import NetworkFlags, Sources, train_settings
from tests.training_kit import QUIET, SMALL, small_config, write_corpus

ROOT = Path(__file__).parents[2]
PUBLISHED = sorted((ROOT / "examples" / "training").glob("*.toml"))
MOSA = MosaNetConfig(channels=(3, 4), convolutions=1, lstm_units=5, dense_units=6, ssl=SslConfig(model="custom"))
SCORES = ("s_mos", "n_mos", "g_mos")


@pytest.fixture(autouse=True)
def own_folder(tmp_path_factory, monkeypatch) -> None:
    monkeypatch.setenv("MTQSCORE_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), 16)


@pytest.fixture(scope="module")
def rows(corpus) -> list[LabelledRecording]:
    """Two of the recordings are for the test."""
    found = read_label_table(corpus)
    return [dataclasses.replace(row, split="test") if number in (5, 9) else row for number, row in enumerate(found)]


def settings(**changes: object) -> TrainConfig:
    return small_config(**{"epochs": 1, **changes})


@pytest.fixture(scope="module")
def teacher(corpus, rows, tmp_path_factory) -> Path:
    """A run that has learned PESQ and STOI."""
    folder = tmp_path_factory.mktemp("teacher")
    config = settings(recipe="scratch", teacher="none", targets=("pesq", "stoi"))
    carry_out(corpus, folder, start(rows, config, corpus), QUIET)
    return folder


def start(rows, config, corpus, said=None, **sources):
    tell = (said if said is not None else []).append
    return prepare(rows, config, Sources(corpus, **sources), tell, lambda *_: None)


# --- settings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "teacher", "targets"),
    [
        ({}, "table", (*SCORES, "pesq", "stoi", "sdi")),
        ({"recipe": "mpl", "teacher": "runs/t"}, "runs/t", (*SCORES, "pesq", "stoi", "sdi")),
        ({"recipe": "scratch"}, "none", SCORES),
        ({"recipe": "scratch", "targets": ["pesq", "sdi"]}, "none", ("pesq", "sdi")),
        ({"recipe": "kt", "teacher": "runs/t"}, "runs/t", SCORES),
    ],
)
def test_recipes_imply_teacher_and_targets(flags, teacher, targets):
    config, chosen = train_settings(None, flags)
    assert (config.teacher, config.targets) == (teacher, targets)
    assert not chosen


def test_without_a_word_all_is_as_in_the_configuration():
    assert train_settings(None, {})[0] == TrainConfig()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"recipe": "kt"}, "needs --teacher"),
        ({"recipe": "kt", "teacher": "table"}, "needs --teacher"),
        ({"recipe": "scratch", "teacher": "runs/t"}, "no teacher; leave out runs/t"),
        ({"teacher": "none"}, "it is --recipe scratch"),
        ({"targets": ["s_mos", "n_mos"]}, "none of pesq, stoi, sdi is among the targets"),
        ({"targets": ["s_mos", "csig"]}, "targets csig: choose from s_mos"),
        ({"targets": []}, r"targets \(none\)"),
        ({"recipe": "magic"}, "the options: recipe: 'magic' is none of mpl, kt, scratch"),
    ],
)
def test_what_does_not_go_together_is_refused(flags, message):
    with pytest.raises(UsageError, match=message):
        train_settings(None, flags)


def test_options_for_the_network_change_single_settings_of_the_file(tmp_path):
    file = tmp_path / "s.toml"
    file.write_text('[network]\nkind = "mosa-net"\nlstm_units = 7\n[network.ssl]\nlayers = "last"\n')
    config, chosen = train_settings(file, {}, NetworkFlags(ssl="hubert-base", tune_ssl=True))
    assert chosen
    ssl = SslConfig(model="hubert-base", layers="last", tune=True)
    assert config.network == MosaNetConfig(lstm_units=7, ssl=ssl)
    assert train_settings(file, {}, NetworkFlags(ssl="none"))[0].network == MosaNetConfig(lstm_units=7)
    assert train_settings(file, {}, NetworkFlags("compact"))[0].network == CompactConfig(), "sizes of another kind"
    file.write_text("[network]\nlstm_units = 7\n")
    assert train_settings(file, {}, NetworkFlags("compact"))[0].network == CompactConfig(lstm_units=7)


def test_a_front_end_in_part_keeps_what_its_network_publishes(tmp_path):
    file = tmp_path / "s.toml"
    file.write_text('[network]\nkind = "mos-ssl"\n[network.ssl]\nmodel = "hubert-base"\n')
    expected = dataclasses.replace(MosSslConfig().ssl, model="hubert-base")
    assert expected.tune
    assert train_settings(file, {"recipe": "scratch"})[0].network == MosSslConfig(ssl=expected)
    flags = NetworkFlags("mos-ssl", ssl="hubert-base")
    assert train_settings(None, {"recipe": "scratch"}, flags)[0].network == MosSslConfig(ssl=expected)


@pytest.mark.parametrize(
    ("text", "flags", "message"),
    [
        ("", NetworkFlags("resnet"), "network resnet: choose one of compact"),
        ("", NetworkFlags(ssl="wavlm-large"), "compact has no self-supervised front end"),
        ("", NetworkFlags("mos-ssl", ssl="none"), "rests on a front end"),
        ("", NetworkFlags("mosa-net", ssl="wavlm-huge"), "wavlm-huge"),
        ("network = 3", NetworkFlags(), "not a table"),
        ("[network]\nkind = ['x']", NetworkFlags(), "choose one of"),
        ("[network]\nlstm_unit = 3", NetworkFlags(), "unknown setting lstm_unit"),
    ],
)
def test_networks_that_are_none_are_refused(tmp_path, text, flags, message):
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        train_settings(tmp_path / "s.toml", {}, flags)


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.stem)
def test_published_settings_are_one_command(file):
    config, _ = train_settings(file, {})
    assert config.optimizer in ("adam", "sgd")
    assert config.lr == 1e-4
    assert (config.splice_share, config.recolour_db, config.ema, config.weight_decay) == (0, 0, 0, 0)
    command = re.search(r"^# +(mtqscore train .*)$", file.read_text(), re.M)
    assert command is not None
    words = shlex.split(command[1])
    assert words[words.index("--config") + 1] == str(file.relative_to(ROOT))
    if "--teacher" in words:
        assert config.recipe == "mpl"


def test_published_settings_are_those_of_the_paper():
    by_name = {file.stem: file for file in PUBLISHED}
    configs = {name: train_settings(file, {})[0] for name, file in by_name.items()}
    assert [*configs] == ["mos-ssl", "mosa-net", "mtq-net-wavlm", "mtq-net"]
    mos_ssl, mosa, tuned, frozen = configs.values()
    assert (frozen.loss, frozen.delta, frozen.alpha, frozen.targets) == ("huber", 1.0, 1.0, TrainConfig().targets)
    assert dataclasses.replace(tuned, network=frozen.network) == frozen
    assert isinstance(tuned.network, MosaNetConfig)
    assert tuned.network.ssl is not None
    assert tuned.network.ssl.tune
    assert (mosa.loss, mosa.targets) == ("mse", ("pesq", "stoi", "sdi"))
    assert (mos_ssl.loss, mos_ssl.alpha, mos_ssl.momentum, mos_ssl.targets) == ("mae", 0, 0.9, ("s_mos",))
    scratch, _ = train_settings(by_name["mtq-net"], {"recipe": "scratch"}, NetworkFlags(ssl="none"))
    network = build(scratch)
    # Three heads fewer than MTQ-Net, and no dense layer after a front end.
    assert sum(weight.numel() for weight in network.parameters()) == 1_754_472 - 524_800


# --- weights of another network -------------------------------------------------------------------------------


def checkpoint_of(folder: Path, config: TrainConfig):
    torch.manual_seed(99)
    write_checkpoint(folder / "t.safetensors", config, {"average": build(config).state_dict()}, {})
    return read_checkpoint(folder / "t.safetensors")


@pytest.mark.parametrize("network", [SMALL, MOSA])
def test_knowledge_transfer_takes_all_but_the_heads(tmp_path, network):
    theirs = checkpoint_of(tmp_path, settings(targets=("pesq", "s_mos"), network=network))
    made, summary = transfer(theirs, settings(targets=SCORES, network=network), heads=False)
    given, taken = theirs.part("average"), made.part("average")
    body = [name for name in taken if not name.startswith("heads.")]
    assert {name.split(".")[0] for name in body} >= {"recurrent", "dense"}
    assert all(torch.equal(taken[name], given[name]) for name in body)
    assert not torch.equal(taken["heads.s_mos.attention.weight"], given["heads.s_mos.attention.weight"])
    assert summary["share"] == 1
    assert [*summary["fresh"]] == ["head of s_mos", "head of n_mos", "head of g_mos"]
    build(made.config).load_state_dict(taken)


def test_init_takes_the_heads_that_both_have(tmp_path):
    theirs = checkpoint_of(tmp_path, settings(targets=("pesq", "s_mos")))
    made, summary = transfer(theirs, settings(targets=SCORES), heads=True)
    given, taken = theirs.part("average"), made.part("average")
    assert all(torch.equal(taken[name], given[name]) for name in taken if ".s_mos." in name)
    assert [*summary["fresh"]] == ["head of n_mos", "head of g_mos"]


def test_the_rest_is_fresh_from_the_seed(tmp_path):
    theirs = checkpoint_of(tmp_path, settings(targets=("pesq",)))
    one, same, other = (transfer(theirs, settings(seed=seed), heads=False)[0].tensors for seed in (1, 1, 2))
    name = "average.heads.s_mos.attention.weight"
    assert torch.equal(one[name], same[name])
    assert not torch.equal(one[name], other[name])


def test_another_size_of_a_layer_is_fresh_and_told(tmp_path):
    theirs = checkpoint_of(tmp_path, settings())
    wider = dataclasses.replace(SMALL, dense_units=13)
    _, summary = transfer(theirs, settings(network=wider), heads=False)
    assert 0.5 < summary["share"] < 1
    assert "dense" in summary["fresh"]
    assert "dense" not in summary["taken"]


def test_a_narrower_kernel_takes_the_middle_of_the_wider_one(tmp_path):
    theirs = checkpoint_of(tmp_path, settings(network=SMALL))
    made, summary = transfer(theirs, settings(network=dataclasses.replace(SMALL, conv_widths=(5, 3))), heads=True)
    name = "blocks.1.conv.weight"
    given, taken = theirs.part("average")[name], made.part("average")[name]
    assert given.shape[-1] == 7
    assert torch.equal(taken, given[..., 2:5])
    assert summary["share"] == 1
    build(made.config).load_state_dict(made.part("average"))


def test_weights_that_do_not_fit_are_refused(tmp_path):
    theirs = checkpoint_of(tmp_path, settings())
    with pytest.raises(UsageError, match="holds a network compact, whose weights do not fit mosa-net"):
        transfer(theirs, settings(network=MOSA), heads=False)
    other = dataclasses.replace(SMALL, lstm_units=30, squeeze_units=31)
    with pytest.raises(UsageError, match=r"fits only \d+% of the network"):
        transfer(theirs, settings(network=other), heads=False)


def test_kept_front_end_goes_along(tmp_path):
    theirs = checkpoint_of(tmp_path, settings(targets=("pesq",), network=MOSA))
    tuned = dataclasses.replace(MOSA, ssl=SslConfig(model="custom", tune=True))
    made, _ = transfer(theirs, settings(network=tuned), heads=False)
    names = [name for name in made.part("average") if name.startswith("ssl.body.")]
    assert names
    assert all(torch.equal(made.part("average")[name], theirs.part("average")[name]) for name in names)


# --- recipes --------------------------------------------------------------------------------------------------


def test_scratch_learns_what_it_is_told_and_reports_no_pseudo_labels(teacher):
    results = json.loads((teacher / "results.json").read_text())
    assert [*results["val"]] == ["pesq", "stoi"]
    assert results["recipe"] == "scratch"
    assert not (teacher / "pseudo_labels.csv").exists()
    assert "relations" not in results


def test_mpl_learns_what_the_teacher_says_and_tests_against_the_truth(corpus, rows, teacher, tmp_path):
    said: list[str] = []
    begun = start(rows, settings(teacher=str(teacher)), corpus, said)
    labels = begun.estimates
    assert labels is not None
    for row, learned in zip(rows, begun.rows, strict=True):
        assert [*labels[row.path]] == ["pesq", "stoi"]
        expected = row.labels if row.split == "test" else row.labels | labels[row.path]
        assert learned.labels == pytest.approx(expected)
    assert f"pesq, stoi of 16 recordings, kept in {begun.report['pseudo_labels']}" in said[0]
    assert said[1].startswith("no training recording has a label sdi")
    lines: list[str] = []
    results = carry_out(corpus, tmp_path, begun, Watch(QUIET.step, lines.append))
    with (tmp_path / "pseudo_labels.csv").open() as stream:
        relations = {(line["pseudo_label"], line["against"]): line for line in csv.DictReader(stream)}
    held_out = [number for number, row in enumerate(rows) if row.split != "train"]
    assert int(relations["pesq", "n_mos"]["n"]) == len(held_out)
    scores = [rows[number].labels["n_mos"] for number in held_out]
    expected = np.corrcoef(scores, [labels[rows[number].path]["pesq"] for number in held_out])[0, 1]
    assert float(relations["pesq", "n_mos"]["lcc"]) == pytest.approx(expected, abs=1e-4)
    true = [number for number in held_out if "pesq" in rows[number].labels]
    assert int(relations["pesq", "true"]["n"]) == len(true)
    assert lines[0] == "pseudo-labels against the labels of val and test:"
    assert re.match(rf"  PESQ +n +{len(held_out)} +{len(held_out)} ", lines[2])
    assert re.match(r" +LCC +-?\d", lines[3])
    stored = json.loads((tmp_path / "results.json").read_text())
    assert stored["teacher_sha256"] == begun.report["teacher_sha256"]
    assert len(stored["relations"]) == len(relations)
    assert stored["val"]["s_mos"] == pytest.approx(results["val"]["s_mos"])
    assert stored["val"]["sdi"]["lcc"] is None
    assert json.loads((tmp_path / "config.json").read_text())["teacher"] == str(teacher)
    again = start(rows, settings(teacher=str(teacher)), corpus, said)
    assert "kept from before" in said[-2]
    assert again.rows == begun.rows


def test_mpl_without_a_teacher_learns_the_table(corpus, rows):
    begun = start(rows, settings(), corpus)
    assert begun.rows == rows
    assert begun.initial is None
    assert begun.estimates is None


def test_training_recordings_that_teach_nothing_are_left_out(corpus, rows):
    """As most of TMHINT-QI without 3QUEST scores: they would take their share of every batch."""
    bare = [dataclasses.replace(row, labels={}) if number % 4 == 0 else row for number, row in enumerate(rows)]
    said: list[str] = []
    begun = start(bare, settings(), corpus, said)
    gone = [row for row in bare if row.split == "train" and not row.labels]
    assert gone
    assert begun.rows == [row for row in bare if row not in gone]
    assert said[-1] == f"{len(gone)} training recordings have no label that is learned, and are left out"


def test_run_that_has_begun_goes_on_without_its_teacher(corpus, rows, teacher, tmp_path):
    """Its weights were taken at the start, and the folder that they came from may be gone."""
    borrowed = tmp_path / "borrowed"
    shutil.copytree(teacher, borrowed)
    config = settings(recipe="kt", teacher=str(borrowed), targets=SCORES, network=CompactConfig())
    folder = tmp_path / "run"
    first = carry_out(corpus, folder, start(rows, config, corpus, folder=folder), QUIET)
    shutil.rmtree(borrowed)
    with pytest.raises(InputError, match="no such checkpoint"):
        start(rows, config, corpus, folder=tmp_path / "new")
    again = start(rows, config, corpus, folder=folder)
    assert again.initial is None
    assert again.config.network == SMALL, "that of the teacher"
    results = carry_out(corpus, folder, again, QUIET)
    assert results["val"] == first["val"]
    assert results["initial_weights"] == {"from": str(borrowed)}


def test_folder_of_another_run_is_refused_before_the_teacher_is_asked(corpus, rows, teacher, tmp_path):
    carry_out(corpus, tmp_path, start(rows, settings(), corpus), QUIET)
    said: list[str] = []
    with pytest.raises(UsageError, match=r"holds a run with other settings \(teacher table → "):
        start(rows, settings(teacher=str(teacher)), corpus, said, folder=tmp_path)
    assert said == []


def test_only_wanted_pseudo_labels_are_learned(corpus, rows, teacher):
    begun = start(rows, settings(teacher=str(teacher), targets=(*SCORES, "stoi")), corpus)
    for row, learned in zip(rows, begun.rows, strict=True):
        assert learned.labels.get("pesq") == row.labels.get("pesq")
        assert "stoi" in learned.labels or row.split == "test"


def test_teacher_of_other_targets_is_refused(corpus, rows, teacher):
    with pytest.raises(UsageError, match=r"estimates pesq, stoi, and none of sdi$"):
        start(rows, settings(teacher=str(teacher), targets=(*SCORES, "sdi")), corpus)


def test_kt_begins_with_the_teacher_and_learns_s_n_and_g(corpus, rows, teacher, tmp_path):
    said: list[str] = []
    config = settings(recipe="kt", teacher=str(teacher), targets=SCORES, lr=0.0, network=CompactConfig())
    begun = start(rows, config, corpus, said)
    assert begun.config.network == SMALL, "the network is the teacher's unless another is chosen"
    assert "100% of the weights below the heads are taken" in said[0]
    assert "fresh: head of s_mos, head of n_mos, head of g_mos" in said[0]
    results = carry_out(corpus, tmp_path, begun, QUIET)
    assert [*results["val"]] == [*SCORES]
    assert results["initial_weights"]["share"] == 1
    ours, theirs = read_checkpoint(tmp_path).part("average"), read_checkpoint(teacher).part("average")
    name = "dense.weight"
    assert torch.equal(ours[name], theirs[name]), "nothing is learned at a rate of 0"
    carry_out(corpus, tmp_path, begun, QUIET)  # a finished run stays as it is


def test_kt_with_another_network_is_refused(corpus, rows, teacher):
    config = settings(recipe="kt", teacher=str(teacher), targets=SCORES, network=MOSA)
    with pytest.raises(UsageError, match="do not fit mosa-net"):
        start(rows, config, corpus, network_is_chosen=True)


def test_kt_refuses_other_weights_to_begin_with(corpus, rows, teacher):
    config = settings(recipe="kt", teacher=str(teacher), targets=SCORES)
    with pytest.raises(UsageError, match="leave out --init"):
        start(rows, config, corpus, init=teacher)
    with pytest.raises(UsageError, match="no run folder"):
        start(rows, dataclasses.replace(config, teacher=str(corpus)), corpus)
    with pytest.raises(InputError, match="no such checkpoint"):
        start(rows, dataclasses.replace(config, teacher=str(corpus / "none")), corpus)


def test_mpl_may_begin_with_the_teacher_too(corpus, rows, teacher):
    begun = start(rows, settings(teacher=str(teacher)), corpus, init=teacher)
    assert begun.initial is not None
    ours, theirs = begun.initial.part("average"), read_checkpoint(teacher).part("average")
    assert torch.equal(ours["heads.pesq.score.weight"], theirs["heads.pesq.score.weight"])
    assert [*begun.report["initial_weights"]["fresh"]] == [f"head of {name}" for name in (*SCORES, "sdi")]
