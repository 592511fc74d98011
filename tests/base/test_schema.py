from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtqscore.base.schema import from_plain, to_plain
from mtqscore.errors import UsageError
from mtqscore.training.config import TrainConfig
from mtqscore.training.network_config import CompactConfig, MosaNetConfig, SslConfig
from mtqscore.training.settings import train_settings


def test_flag_wins_over_file_and_file_over_default(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text("epochs = 7\nlr = 1\n[delta]\ns_mos = 0.75\n[network]\nlstm_units = 9\n")
    config = train_settings(file, {"epochs": 3, "seed": None})[0]
    assert config.epochs == 3
    assert config.lr == 1.0
    assert isinstance(config.lr, float)
    assert config.delta == {"s_mos": 0.75}
    assert config.network.lstm_units == 9
    assert config.network.dense_units == CompactConfig().dense_units
    assert config.seed == TrainConfig().seed


def test_hidden_state_of_a_front_end_may_be_a_number(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text('[network]\nkind = "mosa-net"\n[network.ssl]\nmodel = "xls-r-300m"\nlayers = 5\n')
    config = train_settings(file, {})[0]
    assert isinstance(config.network, MosaNetConfig)
    assert config.network.ssl == SslConfig(model="xls-r-300m", layers="5")


def test_a_configuration_survives_json():
    config = TrainConfig(bfloat16=True, network=CompactConfig(conv_channels=(3, 4, 5, 6)))
    assert from_plain(TrainConfig, json.loads(json.dumps(to_plain(config))), "here") == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "unknown setting epoch"),
        ("epochs = 3.5", "epochs: 3.5 is not"),
        ("epochs = true", "epochs: True is not"),
        ("device = true", "device: True is not"),
        ("lr = 'high'", "lr: 'high' is not"),
        ("monitor = 's_mos'", "monitor: 's_mos' is not"),
        ("[network]\nlayers = 3", "network: unknown setting layers"),
        ("[network]\nconv_strides = [3, 3, 3, 3]", "first of conv_strides"),
        ("epochs = ", "not a TOML file"),
    ],
)
def test_faults_are_named(tmp_path, text, message):
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        train_settings(tmp_path / "c.toml", {})
    assert "\n" not in str(caught.value)


def test_missing_file_is_named():
    with pytest.raises(UsageError, match=r"none\.toml"):
        train_settings(Path("none.toml"), {})
