"""Whatever a network does, a fetch ends in the right bytes or in one clear line."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mtqscore.errors import EnvironmentProblemError, MtqscoreError
from mtqscore.models import fetch_model, hub, load_model
from tests.models.hub.kit import NOBODY, Models, describe, leftovers, refused
from tests.models.hub.server import TOKEN, Fault, HubServer


def test_a_broken_connection_goes_on_where_it_broke(inside: Models, published: str, server: HubServer) -> None:
    assert published
    content = b"\0" * 22_000_000  # the library keeps pieces of ten million bytes
    model = f"hf:lab/large@{server.add('lab/large', {'mtqscore.json': describe(content), 'fake-1.onnx': content})}"
    server.faults.append(Fault("/storage/", cut=21_500_000))
    done = inside("models", "fetch", model)
    assert done.returncode == 0, done.stderr.decode()
    ranges = [headers.get("Range") for kind, path, headers in server.requests if kind == "GET" and "storage" in path]
    assert ranges == [None, "bytes=20971520-"]
    assert inside("models", "verify", model).stdout == f"{model}  ok\n".encode()


def test_wrong_bytes_are_refused_and_removed(
    inside: Models, published: str, server: HubServer, surroundings: dict[str, str]
) -> None:
    server.faults.append(Fault("/storage/", flip=True))
    refused(inside("models", "fetch", published), 4, "damaged", "removed", "try again")
    assert not leftovers(surroundings["HF_HOME"])
    assert inside("models", "fetch", published).returncode == 0


def test_a_busy_hub_is_asked_again_aloud(inside: Models, published: str, server: HubServer) -> None:
    server.faults += [Fault("fake-1.onnx", method="HEAD", status=429, headers={"Retry-After": "1"}, times=2)]
    done = inside("models", "fetch", published)
    assert done.returncode == 0
    assert b"too many requests; try again later; trying again" in done.stderr


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("fault", "tries", "said"),
    [
        (Fault("mtqscore.json", method="HEAD", status=500), 7, "error 500; try again later"),
        (Fault("mtqscore.json", method="HEAD", status=503), 7, "error 503; try again later"),
        (Fault("fake-1.onnx", method="HEAD", status=429, headers={"Retry-After": "900"}), 1, "too many requests"),
        (Fault("mtqscore.json", method="HEAD", status=401), 1, "hf auth login"),
        (Fault("mtqscore.json", method="HEAD", status=403), 1, "access is not granted"),
        (Fault("mtqscore.json", method="HEAD", status=404), 1, "error 404"),
        (Fault("mtqscore.json", method="HEAD", status=418), 1, "error 418"),
        (Fault("/storage/", status=429), 6, "too many requests; try again later"),
        (Fault("/storage/", status=500), 1, "error 500; try again later"),
        (Fault("/storage/", status=403), 1, "access is not granted"),
    ],
    ids=lambda value: f"{value.status}" if isinstance(value, Fault) else None,
)
def test_a_refusal_is_one_line_and_patience_has_an_end(
    published: str, server: HubServer, surroundings: dict[str, str], fault: Fault, tries: int, said: str
) -> None:
    fault = replace(fault, times=99)
    server.faults.append(fault)
    with pytest.raises(EnvironmentProblemError, match=said) as caught:
        fetch_model(published)
    assert "\n" not in str(caught.value)
    assert 99 - fault.times == tries
    assert not leftovers(surroundings["HF_HOME"])


@pytest.mark.usefixtures("published")
def test_the_hubs_offer_of_xet_is_passed_over(mtqscore: Models, exported: Path, server: HubServer) -> None:
    assert exported.is_dir()
    done = mtqscore("models", "publish", "out", "--repo", "lab/mine", env={"HF_TOKEN": TOKEN})
    assert done.returncode == 0, done.stderr.decode()
    assert mtqscore("models", "fetch", done.stdout.decode().strip()).returncode == 0
    assert not [path for _, path, _ in server.requests if "xet" in path]


def test_a_connection_that_always_breaks_is_given_up(inside: Models, published: str, server: HubServer) -> None:
    server.faults.append(Fault("mtqscore.json", cut=10, times=99))
    refused(inside("models", "fetch", published), 4, "cannot be reached", "try again later")


@pytest.mark.usefixtures("library")
def test_a_silent_hub_is_not_waited_for(published: str, server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "TIMEOUT_S", 0.2)
    server.faults.append(Fault("mtqscore.json", method="HEAD", status=500, pause_s=0.6, times=9))
    started_s = time.monotonic()
    with pytest.raises(EnvironmentProblemError, match="no answer within 0 s; check the network; try again later"):
        fetch_model(published)
    assert time.monotonic() - started_s < 3


@pytest.mark.usefixtures("library")
def test_a_slow_hub_is_waited_for(published: str, server: HubServer, content: bytes) -> None:
    server.faults.append(Fault("/storage/", pause_s=0.3))
    assert load_model(published).content == content


@pytest.mark.usefixtures("library", "published")
def test_a_hub_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(EnvironmentProblemError, match=r"cannot be reached \(.*\); check the network; try again later$"):
        fetch_model(f"hf:lab/fake@{NOBODY}")


@pytest.mark.usefixtures("published")
def test_what_the_hub_does_not_have(inside: Models) -> None:
    refused(inside("models", "fetch", f"hf:lab/fake@{NOBODY}"), 4, "has no revision", NOBODY)
    refused(inside("models", "fetch", "hf:lab/none"), 2, "no such repository", "40 digits")


@pytest.mark.usefixtures("library")
def test_what_is_no_hub_is_told_apart_from_no_network(
    server: HubServer, published: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.faults.append(
        Fault("mtqscore.json", times=2, method="HEAD", status=200, headers={"X": "a portal that wants a login"})
    )
    with pytest.raises(EnvironmentProblemError, match="does not answer as a Hub"):
        fetch_model(published)

    def fail(*_: object, **__: object) -> str:
        raise KeyError("url")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(EnvironmentProblemError, match=r"does not answer as a Hub does \(KeyError: 'url'\)"):
        fetch_model(published)


@pytest.mark.usefixtures("library", "published")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"size": 17}, "not 17"),
        ({"sha256": "0" * 64}, "removed"),
    ],
)
def test_a_description_that_does_not_fit_its_model(
    server: HubServer, content: bytes, surroundings: dict[str, str], changes: dict[str, Any], said: str
) -> None:
    revision = server.add("lab/other", {"mtqscore.json": describe(content, **changes), "fake-1.onnx": content})
    with pytest.raises(EnvironmentProblemError, match=said):
        load_model(f"hf:lab/other@{revision}")
    assert not leftovers(surroundings["HF_HOME"])


@pytest.mark.usefixtures("library", "published")
@pytest.mark.parametrize(
    ("files", "code", "said"),
    [
        ({"README.md": b"hello"}, 2, "not a model of mtqscore"),
        ({"mtqscore.json": b"{}"}, 2, "name"),
        ({"mtqscore.json": b"[" * 60_000}, 2, "not a model of mtqscore"),
        ({"mtqscore.json": b" " * 70_000 + b"{}"}, 4, "not at most 65536"),
        ({"mtqscore.json": describe(b"x", file="../../x.onnx")}, 2, "file"),
        ({"mtqscore.json": describe(b"x")}, 2, "not a model of mtqscore"),
    ],
    ids=["no description", "empty", "deep", "huge", "file elsewhere", "no model"],
)
def test_a_repository_that_holds_something_else(
    server: HubServer, files: dict[str, bytes], code: int, said: str
) -> None:
    model = f"hf:lab/else@{server.add('lab/else', files)}"
    with pytest.raises(MtqscoreError, match=said) as caught:
        load_model(model)
    assert caught.value.exit_code == code
