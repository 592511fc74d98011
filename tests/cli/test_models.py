"""`mtqscore models` on what is bundled and on lists of one's own, as users run it; the Hub is in hub/."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mtqscore.models import find_registered, read_registry
from tests.signals import speechlike, write

if TYPE_CHECKING:
    from tests.conftest import Run

DEFAULT = find_registered(None)


@pytest.fixture
def alone(tmp_path: Path) -> dict[str, str]:
    """A machine without a cache, without a list of its own, and without a network."""
    home = str(tmp_path / "home")
    return {"HF_HOME": home, "MTQSCORE_HOME": home, "HF_ENDPOINT": "http://127.0.0.1:9"}


def test_bundled_models_are_listed_with_licence_and_accuracy(run: Run, alone: dict[str, str]) -> None:
    done = run("models", "list", env=alone)
    assert (done.returncode, done.stderr) == (0, b"")
    title, *rows = done.stdout.decode().splitlines()
    assert title.split()[:3] == ["model", "where", "size"]
    (row,) = [row for row in rows if row.endswith("  default")]
    assert row.split()[0] == DEFAULT.label
    assert " MIT " in row
    for value in DEFAULT.accuracy[0].lcc.values():
        assert f"{value:.3f}" in row
    listed = json.loads(run("models", "list", "--json", env=alone).stdout)
    assert listed["default"] == DEFAULT.label
    assert [item["model"] for item in listed["models"]] == list(read_registry()[1])
    assert {item["state"] for item in listed["models"]} == {"bundled"}


def test_show_tells_everything(run: Run, alone: dict[str, str]) -> None:
    shown = run("models", "show", env=alone).stdout.decode()
    for text in (f"{DEFAULT.label} (default)", DEFAULT.sha256, str(DEFAULT.path), "bundled", "| data | recordings |"):
        assert text in shown
    found = json.loads(run("models", "show", DEFAULT.label, "--json", env=alone).stdout)
    assert found["sha256"] == hashlib.sha256(Path(found["path"]).read_bytes()).hexdigest()
    assert found["accuracy"][0]["lcc"] == DEFAULT.accuracy[0].lcc


def test_path_verify_fetch_and_remove_of_what_is_bundled(run: Run, alone: dict[str, str]) -> None:
    assert run("models", "path", env=alone).stdout == os.fsencode(DEFAULT.path) + b"\n"
    verified = run("models", "verify", env=alone)
    assert (verified.returncode, verified.stderr) == (0, b"")
    assert verified.stdout.decode().splitlines() == [f"{label}  ok" for label in read_registry()[1]]
    fetched = run("models", "fetch", DEFAULT.name, env=alone)
    assert (fetched.returncode, fetched.stdout) == (0, b"")
    assert b"nothing to fetch" in fetched.stderr
    removed = run("models", "remove", DEFAULT.label, env=alone)
    assert (removed.returncode, removed.stdout) == (2, b"")
    assert b"bundled" in removed.stderr
    assert DEFAULT.path.is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("show", "nothing"), 2, DEFAULT.label),
        (("show", f"{DEFAULT.name}@999"), 2, DEFAULT.label),
        (("path", "-x"), 2, "-x"),
        (("path", "a\udcff\n<script>"), 2, "no model"),
        (("show", "models/mine.onnx"), 2, "only --model takes files"),
        (("verify", "mine.onnx"), 2, "only --model takes files"),
        (("remove", "mine.onnx"), 2, "only --model takes files"),
        (("fetch",), 2, "name a model"),
        (("remove",), 2, "name a model"),
        (("fetch", f"hf:a/b@{'0' * 40}"), 4, "cannot be reached"),
    ],
)
def test_refusals_are_clear(run: Run, alone: dict[str, str], arguments: tuple[str, ...], code: int, said: str) -> None:
    done = run("models", *arguments, env=alone)
    assert (done.returncode, done.stdout) == (code, b"")
    assert said in done.stderr.decode()


@pytest.mark.parametrize(
    "place", ["~nobody-of-this-name/x", "/" + "x" * 5000, "/dev/null", "a b\nc", "\udcff"], ids=ascii
)
def test_no_folder_of_ones_own_stands_in_the_way_of_what_is_bundled(run: Run, tmp_path: Path, place: str) -> None:
    odd = {"HF_HOME": place, "MTQSCORE_HOME": place, "HF_ENDPOINT": "http://127.0.0.1:9"}
    done = run("models", "list", env=odd)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout.splitlines()) == 1 + len(read_registry()[1])
    assert run("models", "verify", env=odd).returncode == 0
    write(tmp_path / "a.wav", speechlike(1))
    unknown = run("assess", "a.wav", "--model", "nothing", model=None, env=odd)
    assert (unknown.returncode, unknown.stdout) == (2, b"")
    assert b"no model 'nothing'" in unknown.stderr
    absent = run("models", "path", f"hf:a/b@{'0' * 40}", env=odd)
    assert (absent.returncode, absent.stdout) == (4, b"")
    assert b"is not on this machine" in absent.stderr


def test_a_list_of_ones_own_adds_names(run: Run, alone: dict[str, str], fake_model: str, tmp_path: Path) -> None:
    home = tmp_path / "my home é"
    home.mkdir()
    content = Path(fake_model).read_bytes()
    (home / "fake.onnx").write_bytes(content)
    entry = {"file": "fake.onnx", "size": len(content), "licence": "MIT", "conformance": "1"}
    entry["sha256"] = hashlib.sha256(content).hexdigest()
    entries = [entry | {"name": "fake", "version": "1"}, entry | {"name": DEFAULT.name, "version": "999"}]
    (home / "registry.json").write_text(json.dumps({"models": entries}))
    environment = alone | {"MTQSCORE_HOME": str(home)}
    write(tmp_path / "a.wav", speechlike(1))
    assert b"fake@1" in run("assess", "a.wav", "--model", "fake", "--csv", "-", model=None, env=environment).stdout
    assert b"  own  " in run("models", "list", env=environment).stdout
    assert run("models", "path", DEFAULT.name, env=environment).stdout == os.fsencode(DEFAULT.path) + b"\n"
    assert run("models", "path", f"{DEFAULT.name}@999", env=environment).stdout == os.fsencode(home / "fake.onnx\n")
    (home / "fake.onnx").write_bytes(b"x")
    damaged = run("models", "verify", env=environment)
    assert damaged.returncode == 4
    assert b"fake@1  damaged\n" in damaged.stdout
    assert len(damaged.stderr.splitlines()) == 3
    (home / "registry.json").write_text("{}")
    broken = run("models", "list", env=environment)
    assert (broken.returncode, broken.stdout) == (4, b"")
    assert b"registry.json: the list of models is damaged" in broken.stderr


def test_a_path_that_is_no_text_is_printed_byte_for_byte(
    run: Run, alone: dict[str, str], fake_model: str, tmp_path: Path
) -> None:
    home = os.fsencode(tmp_path) + b"/\xff \x1b[2J"
    Path(os.fsdecode(home)).mkdir()
    content = Path(fake_model).read_bytes()
    (Path(os.fsdecode(home)) / "fake.onnx").write_bytes(content)
    entry = {"name": "fake", "version": "1", "file": "fake.onnx", "size": len(content), "licence": "MIT"}
    entry |= {"conformance": "1", "sha256": hashlib.sha256(content).hexdigest()}
    (Path(os.fsdecode(home)) / "registry.json").write_text(json.dumps({"models": [entry]}))
    environment = alone | {"MTQSCORE_HOME": os.fsdecode(home)}
    assert run("models", "path", "fake", env=environment).stdout == home + b"/fake.onnx\n"
    assert b"\x1b" not in run("models", "show", "fake", env=environment).stdout
    found = json.loads(run("models", "show", "fake", "--json", env=environment).stdout)
    assert os.fsencode(found["path"]) == home + b"/fake.onnx"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_one_line(run: Run, alone: dict[str, str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = run("models", "list", env=alone, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, len(done.stderr.splitlines())) == (4, 1)


def test_listing_imports_nothing_heavy() -> None:
    heavy = "{'huggingface_hub', 'onnxruntime', 'rich', 'torch'}"
    code = "import sys; from mtqscore.cli import main; sys.argv = ['mtqscore', 'models', 'list']\ntry: main()\n" + (
        f"except SystemExit: pass\nprint(sorted({heavy} & set(sys.modules)))"
    )
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=root)
    assert done.stdout.decode().splitlines()[-1] == "[]"
