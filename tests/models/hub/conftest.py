"""A Hub on loopback, a small model on it, and a machine with an empty cache."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mtqscore.cli import main
from tests.fake_model import METADATA, write_fake_model
from tests.models.hub.kit import Models, Process, describe
from tests.models.hub.server import HubServer, serve


@pytest.fixture(scope="module")
def server() -> Iterator[HubServer]:
    with serve() as server:
        yield server


@pytest.fixture(scope="module")
def content(fake_model: str) -> bytes:
    return Path(fake_model).read_bytes()


@pytest.fixture
def published(server: HubServer, content: bytes) -> str:
    """Reference of the small model on a server without faults."""
    server.faults.clear()
    server.requests.clear()
    server.repositories.clear()
    server.objects.clear()
    return f"hf:lab/fake@{server.add('lab/fake', {'mtqscore.json': describe(content), 'fake-1.onnx': content})}"


@pytest.fixture
def surroundings(server: HubServer, tmp_path: Path) -> dict[str, str]:
    """Environment of a machine with an empty cache, and no account."""
    folders = {name: str(tmp_path / name.lower()) for name in ("HF_HOME", "MTQSCORE_HOME", "HOME")}
    return {"HF_ENDPOINT": server.url, "HF_HUB_DISABLE_TELEMETRY": "1", **folders}


@pytest.fixture
def mtqscore(run: Callable[..., Process], surroundings: dict[str, str]) -> Models:
    """Run the command line against the server."""

    def call(*arguments: str, env: dict[str, str] | None = None, **options: Any) -> Process:
        return run(*arguments, model=None, env={**surroundings, **(env or {})}, **options)

    return call


@pytest.fixture(scope="session", autouse=True)
def imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The library reads its surroundings when it is imported; no test's may stay with it for the others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hub")))
        importlib.import_module("huggingface_hub.constants")


@pytest.fixture
def library(surroundings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same surroundings for calls in this process, without the pauses."""
    for name, value in surroundings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    quick = SimpleNamespace(**{**vars(time), "sleep": lambda _: None})
    for module in ("file_download", "utils._http"):
        monkeypatch.setattr(f"huggingface_hub.{module}.time", quick)


@pytest.fixture
def inside(library: None, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Models:
    """Run the command line in this process, which has imported the library already."""
    assert library is None

    def call(*arguments: str, env: dict[str, str] | None = None) -> Process:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["mtqscore", *arguments])
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            code: object = 0
            try:
                main()
            except SystemExit as end:
                code = end.code
        written = capfdbinary.readouterr()
        return Process(arguments, int(str(code or 0)), written.out, written.err)

    return call


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """Files that `mtqscore export` leaves for the small model."""
    folder = tmp_path / "out"
    folder.mkdir()
    metadata = METADATA | {"name": "mine", "version": "2.1", "conformance": "4"}
    content = write_fake_model(folder / "mine.onnx", metadata=metadata).read_bytes()
    own = {"name": "mine", "version": "2.1", "conformance": "4", "file": "mine.onnx"}
    (folder / "mine.json").write_bytes(describe(content, **own))
    (folder / "mine.md").write_text("# mine\n\nA card.\n")
    return folder
