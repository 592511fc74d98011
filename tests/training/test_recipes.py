"""Recipes from scratch, by knowledge transfer and by pseudo-labels."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
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
from mtqscore.training.network_config import CompactConfig, MosaNetConfig, SslConfig
from mtqscore.training.networks import build
from mtqscore.training.recipes import carry_out, prepare, transfer
from mtqscore.training.settings import RecipeInputs
from tests.training_kit import QUIET, SMALL, small_config

MOSA = MosaNetConfig(channels=(3, 4), convolutions=1, lstm_units=5, dense_units=6, ssl=SslConfig(model="custom"))
SCORES = ("s_mos", "n_mos", "g_mos")


pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture(scope="module")
def corpus(small_corpus) -> Path:
    return small_corpus


@pytest.fixture(scope="module")
def rows(corpus) -> list[LabelledRecording]:
    """Two of the recordings are for the test."""
    found = read_label_table(corpus)
    return [dataclasses.replace(row, split="test") if number in (5, 9) else row for number, row in enumerate(found)]


def settings(**changes: object) -> TrainConfig:
    return small_config(**{"epochs": 1, **changes})


@pytest.fixture(scope="module")
def teacher(corpus, rows, tmp_path_factory) -> Path:
    """A run from scratch that has learned PESQ and STOI."""
    folder = tmp_path_factory.mktemp("teacher")
    config = settings(recipe="scratch", teacher="none", targets=("pesq", "stoi"))
    results = carry_out(corpus, folder, start(rows, config, corpus), QUIET)
    assert [*results["val"]] == ["pesq", "stoi"]
    assert results["recipe"] == "scratch"
    assert "relations" not in results
    assert not (folder / "pseudo_labels.csv").exists()
    return folder


def start(rows, config, corpus, messages=None, **sources):
    notify = (messages if messages is not None else []).append
    return prepare(rows, config, RecipeInputs(corpus, **sources), notify, lambda *_: None)


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
    made, summary = transfer(theirs, settings(targets=SCORES, network=network), heads=True)
    assert all(torch.equal(tensor, given[name]) for name, tensor in made.part("average").items() if ".s_mos." in name)
    assert [*summary["fresh"]] == ["head of n_mos", "head of g_mos"], "of the heads those that both have"


def test_the_rest_is_fresh_from_the_seed(tmp_path):
    theirs = checkpoint_of(tmp_path, settings(targets=("pesq",)))
    one, same, other = (transfer(theirs, settings(seed=seed), heads=False)[0].tensors for seed in (1, 1, 2))
    name = "average.heads.s_mos.attention.weight"
    assert torch.equal(one[name], same[name])
    assert not torch.equal(one[name], other[name])
    _, summary = transfer(theirs, settings(network=dataclasses.replace(SMALL, dense_units=13)), heads=False)
    assert 0.5 < summary["share"] < 1
    assert "dense" in summary["fresh"].keys() - summary["taken"].keys()


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


def test_mpl_learns_what_the_teacher_says_and_tests_against_the_truth(corpus, rows, teacher, tmp_path):
    messages: list[str] = []
    begun = start(rows, settings(teacher=str(teacher)), corpus, messages)
    labels = begun.estimates
    assert labels is not None
    for row, learned in zip(rows, begun.rows, strict=True):
        assert [*labels[row.path]] == ["pesq", "stoi"]
        expected = row.labels if row.split == "test" else row.labels | labels[row.path]
        assert learned.labels == pytest.approx(expected)
    assert f"pesq, stoi of 16 recordings, kept in {begun.report['pseudo_labels']}" in messages[0]
    assert messages[1].startswith("no training recording has a label sdi")
    lines: list[str] = []
    results = carry_out(corpus, tmp_path, begun, Watch(QUIET.step, lines.append))
    with (tmp_path / "pseudo_labels.csv").open() as stream:
        relations = {(line["pseudo_label"], line["against"]): line for line in csv.DictReader(stream)}
    held_out = [number for number, row in enumerate(rows) if row.split != "train"]
    assert int(relations["pesq", "n_mos"]["n"]) == len(held_out)
    scores = [rows[number].labels["n_mos"] for number in held_out]
    expected = np.corrcoef(scores, [labels[rows[number].path]["pesq"] for number in held_out])[0, 1]
    assert float(relations["pesq", "n_mos"]["lcc"]) == pytest.approx(expected, abs=1e-4)
    assert int(relations["pesq", "true"]["n"]) == sum("pesq" in rows[number].labels for number in held_out)
    assert lines[0] == "pseudo-labels against the labels of val and test:"
    assert re.match(rf"  PESQ +n +{len(held_out)} +{len(held_out)} ", lines[2])
    stored = json.loads((tmp_path / "results.json").read_text())
    assert stored["teacher_sha256"] == begun.report["teacher_sha256"]
    assert len(stored["relations"]) == len(relations)
    assert stored["val"]["s_mos"] == pytest.approx(results["val"]["s_mos"])
    assert stored["val"]["sdi"]["lcc"] is None
    assert json.loads((tmp_path / "config.json").read_text())["teacher"] == str(teacher)
    again = start(rows, settings(teacher=str(teacher)), corpus, messages)
    assert "kept from before" in messages[-2]
    assert again.rows == begun.rows


def test_mpl_without_a_teacher_learns_the_table_and_leaves_out_what_teaches_nothing(corpus, rows):
    """As most of TMHINT-QI without 3QUEST scores: they would take their share of every batch."""
    begun = start(rows, settings(), corpus)
    assert (begun.rows, begun.initial, begun.estimates) == (rows, None, None)
    bare = [dataclasses.replace(row, labels={}) if number % 4 == 0 else row for number, row in enumerate(rows)]
    messages: list[str] = []
    begun = start(bare, settings(), corpus, messages)
    gone = [row for row in bare if row.split == "train" and not row.labels]
    assert gone
    assert begun.rows == [row for row in bare if row not in gone]
    assert messages[-1] == f"{len(gone)} training recordings have no label that is learned, and are left out"


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
    messages: list[str] = []
    with pytest.raises(UsageError, match=r"holds a run with other settings \(teacher table → "):
        start(rows, settings(teacher=str(teacher)), corpus, messages, folder=tmp_path)
    assert messages == []


def test_only_wanted_pseudo_labels_are_learned(corpus, rows, teacher):
    begun = start(rows, settings(teacher=str(teacher), targets=(*SCORES, "stoi")), corpus)
    for row, learned in zip(rows, begun.rows, strict=True):
        assert learned.labels.get("pesq") == row.labels.get("pesq")
        assert "stoi" in learned.labels or row.split == "test"
    with pytest.raises(UsageError, match=r"estimates pesq, stoi, and none of sdi$"):
        start(rows, settings(teacher=str(teacher), targets=(*SCORES, "sdi")), corpus)


def test_kt_begins_with_the_teacher_and_learns_s_n_and_g(corpus, rows, teacher, tmp_path):
    messages: list[str] = []
    config = settings(recipe="kt", teacher=str(teacher), targets=SCORES, lr=0.0, network=CompactConfig())
    begun = start(rows, config, corpus, messages)
    assert begun.config.network == SMALL, "the network is the teacher's unless another is chosen"
    assert "100% of the weights below the heads are taken" in messages[0]
    assert "fresh: head of s_mos, head of n_mos, head of g_mos" in messages[0]
    results = carry_out(corpus, tmp_path, begun, QUIET)
    assert [*results["val"]] == [*SCORES]
    assert results["initial_weights"]["share"] == 1
    ours, theirs = read_checkpoint(tmp_path).part("average"), read_checkpoint(teacher).part("average")
    name = "dense.weight"
    assert torch.equal(ours[name], theirs[name]), "nothing is learned at a rate of 0"


def test_kt_refuses_other_weights_to_begin_with(corpus, rows, teacher):
    config = settings(recipe="kt", teacher=str(teacher), targets=SCORES)
    for changes, sources, error, message in (
        ({}, {"init": teacher}, UsageError, "leave out --init"),
        ({"network": MOSA}, {"network_is_chosen": True}, UsageError, "do not fit mosa-net"),
        ({"teacher": str(corpus)}, {}, UsageError, "no run folder"),
        ({"teacher": str(corpus / "none")}, {}, InputError, "no such checkpoint"),
    ):
        with pytest.raises(error, match=message):
            start(rows, dataclasses.replace(config, **changes), corpus, **sources)


def test_mpl_may_begin_with_the_teacher_too(corpus, rows, teacher):
    begun = start(rows, settings(teacher=str(teacher)), corpus, init=teacher)
    assert begun.initial is not None
    ours, theirs = begun.initial.part("average"), read_checkpoint(teacher).part("average")
    assert torch.equal(ours["heads.pesq.score.weight"], theirs["heads.pesq.score.weight"])
    assert [*begun.report["initial_weights"]["fresh"]] == [f"head of {name}" for name in (*SCORES, "sdi")]
