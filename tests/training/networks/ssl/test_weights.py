"""Weights of front ends: which files are refused, and how they are fetched."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mtqscore.errors import EnvironmentProblemError, InputError
from mtqscore.training.network_config import SslConfig
from mtqscore.training.networks.ssl import weights
from mtqscore.training.networks.ssl.front_end import SslFrontEnd
from tests.training.networks.ssl.kit import TINY, weights_file


class Dangerous:
    """An object that a pickle could hold."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (print, ("never",))


def test_files_that_are_not_the_weights_are_refused_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    good = torch.load(weights_file(tmp_path / "good.pth"))
    ugly = tmp_path / "-a \n'\udcff.pt"
    config = replace(TINY, checkpoint=ugly)

    def refused(content: object) -> str:
        if isinstance(content, bytes):
            ugly.write_bytes(content)
        else:
            torch.save(content, ugly)
        with pytest.raises(InputError) as caught:
            SslFrontEnd(config).load_pretrained()
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
        return str(caught.value)

    assert "not unpickled" in refused({"args": Dangerous()})
    assert "not a plain table of tensors" in refused({"cfg": {}, "model": good})
    assert "not a plain table of tensors" in refused([1, 2])
    whole = (tmp_path / "good.pth").read_bytes()
    for content in (b"", b"RIFF", whole[: len(whole) // 2]):
        assert "weights" in refused(content) or "damaged" in refused(content)
    assert "are missing, such as" in refused({})
    last = "encoder.transformer.layers.1.final_layer_norm.bias"
    assert f"1 tensors are missing, such as '{last}'" in refused({k: v for k, v in good.items() if k != last})
    assert "1 tensors do not belong, such as 'odd'" in refused(good | {"odd": torch.ones(1)})
    assert "size mismatch" in refused(good | {last: torch.zeros(7)})
    bias = "feature_extractor.conv_layers.0.conv.bias"
    assert bias in refused(good | {bias: torch.ones(16)})
    torch.save(good | {bias: torch.zeros(16), "aux.weight": torch.ones(2, 2)}, ugly)
    SslFrontEnd(config).load_pretrained()
    (tmp_path / "x.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    for name in ("", "gone.pt", "gone.safetensors", "x" * 300 + ".pt"):
        with pytest.raises(InputError, match="cannot read weights"):
            SslFrontEnd(replace(TINY, checkpoint=tmp_path / name)).load_pretrained()
    with pytest.raises(InputError, match="not a file of weights"):
        SslFrontEnd(replace(TINY, checkpoint=tmp_path / "x.safetensors")).load_pretrained()
    assert "never" not in capfd.readouterr().out


class Server(http.server.BaseHTTPRequestHandler):
    """Promises 2,000,000 bytes, and of some files sends fewer."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2000000")
        self.end_headers()
        self.wfile.write(bytes(1_500_000 if "wavlm" in self.path else 2_000_000))

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty torch cache, and a server in place of the real one."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(weights, "WEIGHTS_URL", f"http://127.0.0.1:{server.server_port}/models/")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    yield tmp_path / "hub" / "checkpoints"
    server.shutdown()
    server.server_close()


def test_weights_are_fetched_once_and_whole(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = weights.find_weights(SslConfig(model="hubert-base"))
    assert path == home / "hubert_fairseq_base_ls960.pth"
    assert path.stat().st_size == 2_000_000
    said = capsys.readouterr()
    assert not said.out and "hubert_fairseq_base_ls960.pth (0.00 GB)" in said.err
    assert weights.find_weights(SslConfig(model="hubert-base")) == path
    assert not capsys.readouterr().err
    with pytest.raises(EnvironmentProblemError, match="the last 500000 bytes did not come"):
        weights.find_weights(SslConfig(model="wavlm-large"))
    assert [entry.name for entry in home.iterdir()] == [path.name]


def test_offline_says_where_the_file_belongs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "WEIGHTS_URL", "http://127.0.0.1:9/models/")
    with pytest.raises(EnvironmentProblemError) as caught:
        weights.find_weights(SslConfig(model="xls-r-300m"))
    for part in (
        "http://127.0.0.1:9/models/wav2vec2_xlsr_300m.pth",
        str(home / "wav2vec2_xlsr_300m.pth"),
        "checkpoint",
    ):
        assert part in str(caught.value)
    assert not list(home.iterdir())
