"""`mtqscore models publish` makes a repository that another machine takes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mtqscore.errors import UsageError
from mtqscore.models import HubReference, reference
from mtqscore.models.publish import prepare
from mtqscore.scoring.session import Scorer
from tests.models.hub.kit import Models, published_reference, refused
from tests.models.hub.server import TOKEN, Fault, HubServer
from tests.signals import speechlike, write


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
        (lambda folder: redescribe(folder, file="other.onnx"), "names other.onnx"),
    ],
)
def test_what_cannot_be_published_is_refused(exported: Path, spoil: Callable[[Path], object], said: str) -> None:
    spoil(exported)
    with pytest.raises(UsageError, match=said):
        prepare(exported, lambda model: Scorer(model, "cpu").info)
    assert not (exported / "mine-hub").exists()


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
