"""Helpers that the tests of the Hub share."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.models.hub.server import HubServer

Process = subprocess.CompletedProcess[bytes]
Models = Callable[..., Process]
NOBODY = "0" * 40


def describe(content: bytes, **changes: Any) -> bytes:
    """A description of the small model."""
    fields = {
        "name": "fake",
        "version": "1",
        "file": "fake-1.onnx",
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "licence": "MIT",
        "conformance": "1",
        "accuracy": [{"data": "nothing", "recordings": 3, "lcc": {"s_mos": 0.5}, "rmse": {"s_mos": 1}}],
    }
    return json.dumps(fields | changes).encode()


def without_bundled(listed: subprocess.CompletedProcess[bytes]) -> list[str]:
    """Lines of a list of models but for its head and the released ones, which grow in number."""
    lines = listed.stdout.decode().splitlines()
    return [line for line in lines if not line.startswith(("model ", "mtqnet-s@"))]


def refused(done: Process, code: int, *words: str) -> None:
    """The process said why in one line, the last, and wrote nothing to stdout."""
    assert (done.returncode, done.stdout) == (code, b""), done.stderr.decode()
    line = done.stderr.decode().splitlines()[-1]
    assert line.startswith("mtqscore: ")
    for word in words:
        assert word in line


def leftovers(home: str) -> list[str]:
    """Files of the cache that could be taken for the model; older libraries keep parts, to go on with."""
    files = [path for path in Path(home).rglob("*") if path.is_file() and path.suffix != ".incomplete"]
    return [str(path) for path in files if path.stat().st_size > 1000]


def published_reference(server: HubServer, name: str) -> str:
    return f"hf:{name}@{server.repositories[name].find('main')}"
