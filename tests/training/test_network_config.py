"""Configurations of networks: read from files, kept in files, and refused where nothing could be built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mtqscore.base.schema import from_plain, read_settings, to_plain
from mtqscore.errors import UsageError
from mtqscore.training.config import TrainConfig
from mtqscore.training.network_config import CompactConfig, MosaNetConfig, SslConfig, XlsRSqaConfig

SHORT = {"conv_channels": (15,), "conv_widths": (5,), "conv_strides": (2,)}


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (CompactConfig, {"conv_strides": (3, 3, 3, 3)}, "first of conv_strides must be 2"),
        (CompactConfig, {"conv_widths": (4, 5, 3, 3)}, "conv_widths must be odd"),
        (CompactConfig, {"conv_channels": (16,)}, "conv_channels, conv_widths and conv_strides must be of one length"),
        (CompactConfig, {"conv_channels": (15, 0, 47, 63)}, "1 or more"),
        (CompactConfig, {"time_stride": 0}, "1 or more"),
        (CompactConfig, {"dropout": 1.0}, "dropout 1"),
        (CompactConfig, SHORT | {"second_time_stride": 2}, "second_time_stride is a step of the second"),
        (MosaNetConfig, {"channels": (8, 0)}, "channels"),
        (MosaNetConfig, {"convolutions": 0}, "convolutions 0"),
        (MosaNetConfig, {"dropout": float("nan")}, "dropout"),
        (MosaNetConfig, {"attention_penalty": -1e-4}, "attention_penalty"),
        (MosaNetConfig, {"weight_penalty": float("nan")}, "weight_penalty"),
        (XlsRSqaConfig, {"units": 33}, "units even"),
        (XlsRSqaConfig, {"units": 34}, "multiple of attention_heads"),
        (SslConfig, {"model": "wavlm"}, "ssl model 'wavlm' is none of hubert-base"),
        (SslConfig, {"layers": "-1"}, "neither weighted, last, nor the number"),
        (SslConfig, {"layers": "²"}, "neither weighted, last, nor the number"),
        (SslConfig, {"lr": 0.0}, "lr 0 must be above 0"),
        (SslConfig, {"custom_like": "custom"}, "custom_like 'custom' is none of"),
        (SslConfig, {"custom_units": 33}, "multiple of custom_heads"),
        (SslConfig, {"custom_layers": 0}, "must be 1 or more"),
    ],
)
def test_sizes_that_cannot_be_built_are_refused(kind: type, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        kind(**values)


def test_a_network_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mtq-net.toml"
    path.write_text(
        '[network]\nkind = "mosa-net"\nchannels = [8, 16]\ntime_stride = 2\n[network.ssl]\nmodel = "custom"\n'
    )
    config = from_plain(TrainConfig, read_settings(path), str(path))
    assert config.network == MosaNetConfig(channels=(8, 16), time_stride=2, ssl=SslConfig(model="custom"))


def test_settings_survive_a_file() -> None:
    ssl = SslConfig(model="custom", checkpoint=Path("a b/ü'\n.pt"), layers="2")
    config = TrainConfig(network=XlsRSqaConfig(ssl=ssl))
    assert from_plain(TrainConfig, to_plain(config), "config.json") == config
