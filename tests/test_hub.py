"""Models of the Hub: fetched pinned and verified, through every fault of a network, and published again."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtqscore.cli import main
from mtqscore.errors import EnvironmentProblemError, MtqscoreError, UsageError
from mtqscore.model_store import HubReference, fetch_model, hub, load_model, reference
from mtqscore.model_store.publish import prepare
from tests.fake_model import METADATA, write_fake_model
from tests.hub_server import TOKEN, Fault, HubServer, serve
from tests.signals import speechlike, write

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


@pytest.fixture
def library(surroundings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same surroundings for calls in this process, without the pauses."""
    for name, value in surroundings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(hub, "WAITS_S", (0.01, 0.02))


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


# --- fetching ---


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
    code = "import sys, mtqscore.model_store as s; s.load_model(sys.argv[1]); print('huggingface_hub' in sys.modules)"
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf_home"), "PYTHONPATH": str(Path(__file__).parent.parent)}
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


def test_an_unpinned_reference_is_refused_with_the_argument_to_type(mtqscore: Models, published: str) -> None:
    refused(
        mtqscore("assess", "a.wav", "--model", "hf:lab/fake@main"), 2, "'main' can change", f"it is now {published}"
    )


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


# --- faults ---


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
    server.faults += [Fault("fake-1.onnx", method="HEAD", status=429, headers={"Retry-After": "1"})]
    done = inside("models", "fetch", published)
    assert done.returncode == 0
    assert b"too many requests; trying again in 1 s" in done.stderr


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("fault", "tries", "said"),
    [
        (Fault("mtqscore.json", method="HEAD", status=500), 3, "error 500; try again later"),
        (Fault("mtqscore.json", method="HEAD", status=503), 3, "error 503; try again later"),
        (Fault("fake-1.onnx", method="HEAD", status=429, headers={"Retry-After": "900"}), 1, "too many requests"),
        (Fault("mtqscore.json", method="HEAD", status=401), 1, "hf auth login"),
        (Fault("mtqscore.json", method="HEAD", status=403), 1, "access is not granted"),
        (Fault("mtqscore.json", method="HEAD", status=404), 1, "error 404"),
        (Fault("mtqscore.json", method="HEAD", status=418), 1, "error 418"),
        (Fault("/storage/", status=500), 3, "error 500; try again later"),
        (Fault("/storage/", status=403), 1, "access is not granted"),
    ],
    ids=lambda value: f"{value.status}" if isinstance(value, Fault) else None,
)
def test_a_refusal_is_one_line_and_patience_has_an_end(
    published: str, server: HubServer, surroundings: dict[str, str], fault: Fault, tries: int, said: str
) -> None:
    fault = replace(fault, times=99)
    server.faults.append(fault)
    heard: list[str] = []
    with pytest.raises(EnvironmentProblemError, match=said) as caught:
        fetch_model(published, heard.append)
    assert "\n" not in str(caught.value)
    assert 99 - fault.times == tries
    assert sum("trying again" in text for text in heard) == tries - 1
    assert not leftovers(surroundings["HF_HOME"])


@pytest.mark.usefixtures("published")
def test_the_hubs_offer_of_xet_is_passed_over(mtqscore: Models, exported: Path, server: HubServer) -> None:
    assert exported.is_dir()
    done = mtqscore("models", "publish", "out", "--repo", "lab/mine", env={"HF_TOKEN": TOKEN})
    assert done.returncode == 0, done.stderr.decode()
    assert mtqscore("models", "fetch", done.stdout.decode().strip()).returncode == 0
    assert not [path for _, path, _ in server.requests if "xet" in path]


@pytest.mark.usefixtures("library")
def test_a_storage_that_wants_long_pauses_is_not_waited_for(published: str, server: HubServer) -> None:
    server.faults.append(Fault("/storage/", status=429, headers={"Retry-After": "900"}, times=9))
    started_s = time.monotonic()
    with pytest.raises(EnvironmentProblemError, match=r"too many requests.*; try again later$"):
        fetch_model(published)
    assert time.monotonic() - started_s < 3


def test_what_the_library_repeats_is_told_once(
    inside: Models, published: str, server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    server.faults.append(Fault("mtqscore.json", cut=10, times=99))
    done = inside("models", "fetch", published)
    refused(done, 4, "cannot be reached", "try again later")
    said = done.stderr.decode().splitlines()
    assert sum("Error while downloading" in line for line in said) == 1
    assert len(said) == 5, "what is fetched, what broke, two more tries, and the refusal"


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
        ({"mtqscore.json": b"{}"}, 2, "size"),
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


# --- the cache ---


def test_a_cache_that_cannot_be_written_is_an_environment_problem(
    inside: Models, published: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    done = inside("models", "fetch", published, env={"HF_HOME": str(tmp_path / "file")})
    refused(done, 4, "cannot write the cache", "set HF_HOME")


def test_a_disk_that_is_full_leaves_nothing(mtqscore: Models, server: HubServer, surroundings: dict[str, str]) -> None:
    content = b"\0" * 300_000
    files = {"mtqscore.json": describe(content), "fake-1.onnx": content}
    model = f"hf:lab/large@{server.add('lab/large', files)}"

    def allow_little() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = mtqscore("models", "fetch", model, env={"PYTHONDONTWRITEBYTECODE": "1"}, preexec_fn=allow_little)
    refused(done, 4, "cannot write the cache", "make room there")
    assert not leftovers(surroundings["HF_HOME"])


@pytest.mark.usefixtures("library")
def test_no_space_left_is_told(published: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(EnvironmentProblemError, match=r"No space left on device; make room there$"):
        fetch_model(published)


def test_two_processes_fetch_at_once(mtqscore: Models, published: str, server: HubServer) -> None:
    server.faults.append(Fault("/storage/", pause_s=0.5, times=9))
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: mtqscore("models", "fetch", published), range(2)))
    assert [done.returncode for done in both] == [0, 0], both
    assert mtqscore("models", "verify", published).returncode == 0


def test_a_fetch_that_is_killed_can_be_done_again(mtqscore: Models, published: str, server: HubServer) -> None:
    server.faults.append(Fault("/storage/", pause_s=30))
    with pytest.raises(subprocess.TimeoutExpired):  # which kills it
        mtqscore("models", "fetch", published, timeout=2)
    refused(mtqscore("models", "path", published), 4, "is not on this machine")
    assert not without_bundled(mtqscore("models", "list"))
    assert mtqscore("models", "fetch", published).returncode == 0
    assert mtqscore("models", "verify", published).returncode == 0


@pytest.mark.parametrize("file", ["fake-1.onnx", "mtqscore.json"])
def test_what_is_no_file_in_the_cache_is_told_and_removed(
    inside: Models, published: str, surroundings: dict[str, str], file: str
) -> None:
    snapshot = Path(surroundings["HF_HOME"], "hub/models--lab--fake/snapshots", published[-40:])
    assert inside("models", "fetch", published).returncode == 0
    (snapshot / file).unlink()
    (snapshot / file).mkdir()
    refused(inside("models", "fetch", published), 4, f"{file} is no file", f"mtqscore models remove {published}")
    assert inside("models", "remove", published).returncode == 0
    assert inside("models", "fetch", published).returncode == 0


def test_a_model_damaged_in_the_cache_is_refused_and_fetched_anew(
    mtqscore: Models, published: str, tmp_path: Path
) -> None:
    assert mtqscore("models", "fetch", published).returncode == 0
    path = Path(os.fsdecode(mtqscore("models", "path", published).stdout.strip()))
    path.write_bytes(path.read_bytes()[:-1])
    verified = mtqscore("models", "verify", published)
    assert (verified.returncode, verified.stdout) == (4, f"{published}  damaged\n".encode())
    write(tmp_path / "a.wav", speechlike(1))
    refused(mtqscore("assess", "a.wav", "--model", published), 4, "damaged", "removed")
    assert mtqscore("assess", "a.wav", "--model", published, "--csv", "-").returncode == 0


def test_a_damaged_description_in_the_cache_can_be_removed(inside: Models, published: str, tmp_path: Path) -> None:
    assert inside("models", "fetch", published).returncode == 0
    (place,) = (tmp_path / "hf_home").glob("hub/models--*/snapshots/*/mtqscore.json")
    place.write_text("{}")
    refused(inside("models", "show", published), 4, "cannot be used", f"mtqscore models remove {published}")
    assert published.encode() not in inside("models", "list").stdout
    assert inside("models", "remove", published).returncode == 0
    assert inside("models", "fetch", published).returncode == 0


def test_list_show_path_and_remove_of_a_fetched_model(
    inside: Models, published: str, content: bytes, server: HubServer
) -> None:
    # A copy of the repository has the same commits; it must stay.
    server.repositories["other/fake"] = server.repositories["lab/fake"]
    other = published.replace("lab/", "other/")
    assert inside("models", "fetch", published, other).returncode == 0
    listed = without_bundled(inside("models", "list"))
    assert [line.split()[0] for line in listed] == ["fake@1", "fake@1"]
    assert all("cached" in line and "0.500, –, –" in line for line in listed)
    assert listed[0].endswith(published)
    found = json.loads(inside("models", "show", published, "--json").stdout)
    assert (found["model"], found["state"], found["licence"]) == (published, "cached", "MIT")
    assert Path(found["path"]).read_bytes() == content
    shown = inside("models", "show", published).stdout.decode()
    assert f"{server.url}/lab/fake/tree/" in shown
    assert "| nothing | 3 | 0.500 |" in shown
    removed = inside("models", "remove", published)
    assert (removed.returncode, removed.stdout) == (0, b"")
    assert b"0.01 MB are free again" in removed.stderr
    refused(inside("models", "remove", published), 2, "nothing to remove")
    assert published not in inside("models", "list").stdout.decode()
    assert other in inside("models", "list").stdout.decode()
    assert inside("models", "verify", other).returncode == 0


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"HF_HOME": "/data/hf"},
        {"HF_HOME": "~/hf", "HF_HUB_CACHE": "$HOME/elsewhere"},
        {"XDG_CACHE_HOME": "/var/xdg"},
        {"HUGGINGFACE_HUB_CACHE": "/old"},
        {"HF_HOME": "$HOME/x"},
        {"HF_ENDPOINT": "https://mirror.example/", "HF_HUB_OFFLINE": "yes"},
    ],
)
def test_the_cache_is_sought_where_the_library_keeps_it(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "XDG_"))}
    code = "from huggingface_hub import constants as c; print(c.HF_HUB_CACHE, c.ENDPOINT, c.HF_HUB_OFFLINE, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env={**clean, **environment})
    for name in set(os.environ) - set(clean):
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ours = [str(reference.cache_folder()), reference.endpoint(), str(reference.is_offline())]
    assert ours == done.stdout.decode().splitlines()


def test_an_address_is_shown_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    for address, shown in (
        ("https://me:secret@hub.example/base/", "https://hub.example/base"),
        ("http://127.0.0.1:80", "http://127.0.0.1:80"),
    ):
        monkeypatch.setenv("HF_ENDPOINT", address)
        assert reference.shown_endpoint() == shown


# --- lists that name the Hub ---


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


# --- publishing ---


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """What `mtqscore export` leaves for the small model."""
    folder = tmp_path / "out"
    folder.mkdir()
    metadata = METADATA | {"name": "mine", "version": "2.1", "conformance": "4"}
    content = write_fake_model(folder / "mine.onnx", metadata=metadata).read_bytes()
    own = {"name": "mine", "version": "2.1", "conformance": "4", "file": "mine.onnx"}
    (folder / "mine.json").write_bytes(describe(content, **own))
    (folder / "mine.md").write_text("# mine\n\nA card.\n")
    return folder


@pytest.mark.usefixtures("published")
def test_publish_gives_a_reference_that_another_machine_takes(
    mtqscore: Models, exported: Path, server: HubServer, tmp_path: Path
) -> None:
    done = mtqscore("models", "publish", "out", "--repo", "lab/mine", env={"HF_TOKEN": TOKEN})
    assert done.returncode == 0, done.stderr.decode()
    model = done.stdout.decode().strip()
    assert server.asked("POST", "/commit/") == 1
    write(tmp_path / "a.wav", speechlike(1))
    elsewhere = {"HF_HOME": str(tmp_path / "elsewhere")}
    shutil.rmtree(exported)
    assessed = mtqscore("assess", "a.wav", "--model", model, "--csv", "-", env=elsewhere)
    assert assessed.returncode == 0, assessed.stderr.decode()
    assert b"mine@2.1" in assessed.stdout
    refused(mtqscore("models", "fetch", "hf:lab/mine", env=elsewhere), 2, f"it is now {model}")


@pytest.mark.usefixtures("published")
def test_a_dry_run_prepares_what_would_be_published(inside: Models, exported: Path, server: HubServer) -> None:
    done = inside("models", "publish", str(exported / "mine.onnx"), "--repo", "lab/mine", "--dry-run")
    assert (done.returncode, done.stdout) == (0, b""), done.stderr.decode()
    assert b"nothing was uploaded" in done.stderr
    assert not server.asked("POST", "")
    folder = exported / "mine-hub"
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "mine.onnx", "mtqscore.json"]
    _, head, text = (folder / "README.md").read_text().split("---\n", 2)
    assert text == "# mine\n\nA card.\n"
    fields = yaml.safe_load(head)
    assert (fields["license"], fields["library_name"]) == ("mit", "mtqscore")
    result = fields["model-index"][0]["results"][0]
    assert result["metrics"] == [
        {"type": "pearsonr", "name": "s_mos LCC", "value": 0.5},
        {"type": "rmse", "name": "s_mos RMSE", "value": 1.0},
    ]
    # What was prepared is a repository: served as it lies, it is fetched.
    revision = server.add("lab/copied", {path.name: path.read_bytes() for path in folder.iterdir()})
    assert inside("models", "fetch", f"hf:lab/copied@{revision}").returncode == 0


@pytest.mark.usefixtures("published")
def test_a_new_release_goes_beside_the_old(mtqscore: Models, exported: Path, server: HubServer) -> None:
    token = {"HF_TOKEN": TOKEN}
    server.faults.append(Fault("/info/lfs/objects/batch", method="POST", status=502))
    first = mtqscore("models", "publish", "out", "--repo", "lab/mine", "--private", env=token).stdout.decode().strip()
    assert first == published_reference(server, "lab/mine")
    (exported / "mine.md").write_text("---\nlicense: mit\n---\nAnother card.\n")
    done = mtqscore("models", "publish", "out", "--repo", "lab/mine", env=token)
    assert done.returncode == 0, done.stderr.decode()
    second = done.stdout.decode().strip()
    assert first != second
    assert server.repositories["lab/mine"].private
    assert server.repositories["lab/mine"].revisions[second[-40:]]["README.md"].startswith(b"---\nlicense: mit\n---\nA")
    assert mtqscore("models", "fetch", first, second, env=token).returncode == 0


@pytest.mark.usefixtures("published", "exported")
def test_publish_without_rights(mtqscore: Models, server: HubServer) -> None:
    command = ("models", "publish", "out", "--repo", "lab/mine")
    refused(mtqscore(*command), 4, "hf auth login", "HF_TOKEN")
    refused(mtqscore(*command, env={"HF_TOKEN": "hf_wrong"}), 4, "lab/mine")
    server.faults.append(Fault("/api/repos/create", method="POST", status=403, times=9))
    refused(mtqscore(*command, env={"HF_TOKEN": TOKEN}), 4, "access is not granted")
    assert not server.asked("POST", "/commit/")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (shutil.rmtree, "neither a folder nor an .onnx file"),
        (lambda folder: (folder / "mine.onnx").unlink(), "no .onnx file"),
        (lambda folder: (folder / "b.onnx").touch(), "name one"),
        (lambda folder: (folder / "mine.json").unlink(), "description is missing"),
        (lambda folder: (folder / "mine.json").write_text("[]"), "not the description"),
        (lambda folder: (folder / "mine.md").unlink(), "card is missing"),
        (lambda folder: (folder / "mine.md").write_bytes(b"\xff"), "cannot read the card"),
        (lambda folder: (folder / "mine.onnx").write_bytes(b"x"), "is not the file"),
        (lambda folder: redescribe(folder, licence="not stated"), "--licence"),
        (lambda folder: redescribe(folder, version="3"), "says mine@2.1"),
        (lambda folder: redescribe(folder, file="other.onnx"), "tells of other.onnx"),
    ],
)
def test_what_cannot_be_published_is_refused(exported: Path, spoil: Callable[[Path], object], said: str) -> None:
    spoil(exported)
    with pytest.raises(UsageError, match=said):
        prepare(exported)
    assert not (exported / "mine-hub").exists()


def published_reference(server: HubServer, name: str) -> str:
    return f"hf:{name}@{server.repositories[name].find('main')}"


def redescribe(folder: Path, **changes: str) -> None:
    place = folder / "mine.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | changes))


@pytest.mark.usefixtures("exported")
def test_a_repository_without_an_owner_is_refused(inside: Models) -> None:
    refused(inside("models", "publish", "out", "--repo", "mine", "--dry-run"), 2, "owner/name")


def test_a_reference_reads_as_it_is_written() -> None:
    text = f"hf:some-lab/Model_1.x@{'0123456789' * 4}"
    assert str(reference.parse_reference(text)) == text
    assert reference.parse_reference(text[:-40] + "ABCDEF0123" * 4) == HubReference(
        "some-lab/Model_1.x", "abcdef0123" * 4
    )
