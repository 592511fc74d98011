"""The cache of fetched models: read-only, full, shared, damaged, and looked after by `mtqscore models`."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mtqscore.models import reference
from tests.models.hub.kit import Models, describe, leftovers, refused, without_bundled
from tests.models.hub.server import Fault, HubServer
from tests.signals import speechlike, write


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
