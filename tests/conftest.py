"""Recordings, and a tiny scorer that keeps the ONNX contract, for tests that need no trained model."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mtqscore.models import registry
from mtqscore.scoring.assessor import loaded_assessor
from tests.fake_model import write_fake_model

Process = subprocess.CompletedProcess[bytes]
Run = Callable[..., Process]


@pytest.fixture(scope="session")
def fake_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of an ONNX file whose scores follow the level of the signal."""
    return str(write_fake_model(tmp_path_factory.mktemp("model") / "fake.onnx"))


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_model: str) -> Iterator[Path]:
    """A folder of bundled models with one entry."""
    content = Path(fake_model).read_bytes()
    (tmp_path / "m.onnx").write_bytes(content)
    entry = {"name": "m", "version": "2", "file": "m.onnx", "sha256": hashlib.sha256(content).hexdigest()}
    entry |= {"size": len(content), "licence": "MIT", "conformance": "1"}
    (tmp_path / "registry.json").write_text(json.dumps({"default": "m", "models": [entry]}))
    monkeypatch.setattr(registry, "MODEL_FOLDERS", (tmp_path / "nowhere", tmp_path))
    for name in ("MTQSCORE_HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    loaded_assessor.cache_clear()
    yield tmp_path
    # The default model of this test must not be that of the next.
    loaded_assessor.cache_clear()


@pytest.fixture
def own_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that mtqscore keeps data of its own in, empty."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("MTQSCORE_HOME", str(home))
    return home


@pytest.fixture
def run(fake_model: str, tmp_path: Path) -> Run:
    """Run the command line as a process in a folder of its own; `assess` gets the small model."""

    def call(
        *arguments: str | bytes,
        model: str | None = fake_model,
        program: Sequence[str] = ("-m", "mtqscore"),
        **options: Any,
    ) -> Process:
        command: list[str | bytes] = [sys.executable, *program, *arguments]
        if model is not None and arguments and arguments[0] == "assess":
            command[4:4] = ["--model", model]
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "PYTHONWARNINGS": "error"}
        environment.pop("GITHUB_ACTIONS", None)  # there, commands say more
        environment |= options.pop("env", {})
        settings = {"cwd": tmp_path, "capture_output": True, "timeout": 60, "env": environment, **options}
        result: Process = subprocess.run(command, check=False, **settings)
        said = result.stderr or b""
        assert b"Traceback" not in said, said.decode(errors="replace")
        return result

    return call
