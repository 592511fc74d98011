"""Models of the Hub are fetched pinned and verified, once, by reference or from a list of one's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mtqscore.errors import UsageError
from mtqscore.models import fetch_model, load_model
from tests.models.hub.kit import Models, describe, refused, without_bundled
from tests.models.hub.server import TOKEN, HubServer
from tests.signals import speechlike, write


def test_assess_fetches_once_then_needs_neither_network_nor_library(
    mtqscore: Models, published: str, server: HubServer, tmp_path: Path
) -> None:
    write(tmp_path / "a.wav", speechlike(1))
    first = mtqscore("assess", "a.wav", "--model", published, "--csv", "-")
    assert first.returncode == 0, first.stderr.decode()
    assert b"fake@1" in first.stdout
    count = len(server.requests)
    again = mtqscore("assess", "a.wav", "--model", published, "--csv", "-", env={"HF_HUB_OFFLINE": "1"})
    assert (again.returncode, again.stdout) == (0, first.stdout)
    code = "import sys, mtqscore.models as s; s.load_model(sys.argv[1]); print('huggingface_hub' in sys.modules)"
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf_home"), "PYTHONPATH": str(Path(__file__).parents[3])}
    loaded = subprocess.run([sys.executable, "-c", code, published], capture_output=True, check=True, env=environment)
    assert loaded.stdout == b"False\n"
    assert len(server.requests) == count


def test_fetch_tells_what_it_does(inside: Models, published: str, server: HubServer, tmp_path: Path) -> None:
    done = inside("models", "fetch", published)
    assert (done.returncode, done.stdout) == (0, b"")
    said = done.stderr.decode().splitlines()
    assert said[:2] == [
        f"fetching {published} from {server.url}: mtqscore.json",
        f"fetching {published} from {server.url}: fake-1.onnx, 0.0 MB",
    ]
    assert said[2].startswith(f"{published} is here: {tmp_path}")
    assert len(said) == 3, "no bar of progress where there is no terminal"


@pytest.mark.usefixtures("published", "library")
def test_only_the_description_and_the_model_are_fetched(server: HubServer) -> None:
    revision = server.add("lab/fake", {"weights.bin": b"x" * 9999, "model.py": b"raise SystemExit"})
    fetch_model(f"hf:lab/fake@{revision}")
    asked = {path.rpartition("/")[2] for _, path, _ in server.requests if "resolve" in path}
    assert asked == {"mtqscore.json", "fake-1.onnx"}


def test_a_token_is_shown_to_the_hub_and_not_to_its_storage(inside: Models, published: str, server: HubServer) -> None:
    server.repositories["lab/fake"].private = True
    refused(inside("models", "fetch", published), 4, "no such repository, or a private one", "hf auth login")
    server.requests.clear()
    assert inside("models", "fetch", published, env={"HF_TOKEN": TOKEN}).returncode == 0
    shown = {"storage" in path for _, path, headers in server.requests if TOKEN in str(headers)}
    assert shown == {False}


@pytest.mark.usefixtures("library")
def test_an_unpinned_reference_is_refused_with_what_is_known(published: str) -> None:
    with pytest.raises(UsageError, match=f"it names no revision; it is now {published}$"):
        load_model("hf:lab/fake")
    with pytest.raises(UsageError, match=r"'1234567' can change; give the 40 digits .* has no revision '1234567'"):
        load_model("hf:lab/fake@1234567")


@pytest.mark.parametrize(
    "model", ["hf:", "hf:fake", "hf://lab/fake", "hf:../../etc@main", "hf:lab/fake/x", "hf:lab/..@x", "hf:a--b/c"]
)
def test_what_is_no_reference_is_refused(model: str) -> None:
    with pytest.raises(UsageError, match="is not hf:owner/name@revision"):
        load_model(model)


def test_offline_without_a_cache_says_so_at_once(mtqscore: Models, published: str, server: HubServer) -> None:
    server.requests.clear()
    offline = {"HF_HUB_OFFLINE": "1"}
    refused(mtqscore("assess", "a.wav", "--model", published, env=offline), 4, "HF_HUB_OFFLINE")
    refused(mtqscore("models", "show", published, env=offline), 4, f"mtqscore models fetch {published}")
    refused(mtqscore("models", "fetch", "hf:lab/fake", env=offline), 2, "HF_HUB_OFFLINE", "40 digits")
    assert not server.requests


@pytest.mark.usefixtures("published")
def test_a_list_of_ones_own_names_pinned_models(
    inside: Models, content: bytes, surroundings: dict[str, str], server: HubServer
) -> None:
    revision = server.add("lab/plain", {"fake-1.onnx": content})
    source = {"source": {"repository": "lab/plain", "revision": revision}}
    home = Path(surroundings["MTQSCORE_HOME"])
    home.mkdir()
    entries = [
        json.loads(describe(content, name="ours", **source)),
        json.loads(describe(content, name="ours", version="10")),
    ]
    (home / "registry.json").write_text(json.dumps({"models": entries}))
    (home / "fake-1.onnx").write_bytes(content)
    listed = inside("models", "list").stdout.decode()
    assert "ours@1" in listed
    assert "not fetched" in listed
    assert inside("models", "path", "ours").stdout.strip() == os.fsencode(home / "fake-1.onnx"), "10 is newer than 1"
    refused(inside("models", "path", "ours@1"), 4, "mtqscore models fetch ours@1")
    assert inside("models", "fetch", "ours@1").returncode == 0
    assert server.asked("HEAD", "mtqscore.json") == 0, "the list holds the checksum"
    assert without_bundled(inside("models", "verify")) == ["ours@1  ok", "ours@10  ok"]
    refused(inside("models", "remove", "ours@10"), 2, "a file of your own")
    assert inside("models", "remove", "ours@1").returncode == 0
