"""Settings of a run: recipes, networks, and the published ones."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

import pytest

from mtqscore.errors import UsageError
from mtqscore.training.config import TrainConfig
from mtqscore.training.network_config import CompactConfig, MosaNetConfig, MosSslConfig, SslConfig
from mtqscore.training.networks import build
from mtqscore.training.settings import NetworkFlags, train_settings

ROOT = Path(__file__).parents[2]
PUBLISHED = sorted((ROOT / "examples" / "training").glob("*.toml"))
SCORES = ("s_mos", "n_mos", "g_mos")


@pytest.mark.parametrize(
    ("flags", "teacher", "targets"),
    [
        ({}, "table", (*SCORES, "pesq", "stoi", "sdi")),
        ({"recipe": "mpl", "teacher": "runs/t"}, "runs/t", (*SCORES, "pesq", "stoi", "sdi")),
        ({"recipe": "scratch"}, "none", SCORES),
        ({"recipe": "kt", "teacher": "runs/t"}, "runs/t", SCORES),
    ],
)
def test_recipes_imply_teacher_and_targets(flags, teacher, targets):
    config, chosen = train_settings(None, flags)
    assert (config.teacher, config.targets) == (teacher, targets)
    assert not chosen
    assert flags or config == TrainConfig(), "without options all is as in the configuration"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"recipe": "kt"}, "needs --teacher"),
        ({"recipe": "kt", "teacher": "references"}, "needs --teacher"),
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
