"""`mtqscore compare` as users run it: files and folders, exit codes, one line for what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import Call, start
from tests.signals import speechlike, write

if TYPE_CHECKING:
    from tests.conftest import Run

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs names of any bytes")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, fake_model: str) -> Path:
    """Two folders with the same eight recordings, the second far quieter, which the small model hears; and results."""
    top = tmp_path_factory.mktemp("made")
    for folder, gain in (("before", 1.0), ("after", 0.1)):
        (top / folder / "deep").mkdir(parents=True)
        for index in range(8):
            write(top / folder / "deep" / f"{index}.wav", speechlike(0.5, seed=index) * gain)
    for arguments in (("before", "--jsonl", "before.jsonl"), ("after", "--json", "after.json")):
        process = start(top, "assess", "--model", fake_model, *arguments, stdout=subprocess.DEVNULL)
        assert process.wait(60) == 0
    return top


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    """A copy of them in the folder that `run` runs in."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def worse_score(folder: Path) -> str:
    """The score that the second folder lost."""
    means = []
    for rows in (
        [json.loads(line) for line in (folder / "before.jsonl").read_text().splitlines()],
        json.loads((folder / "after.json").read_text())["results"],
    ):
        means.append({name: sum(row[name] for row in rows) / len(rows) for name in ("s_mos", "n_mos", "g_mos")})
    return min(means[0], key=lambda name: means[1][name] - means[0][name])


def test_files_are_compared_without_scoring(run: Run, results: Path) -> None:
    target = worse_score(results)
    kept = run("compare", "before.jsonl", "after.json")
    assert (kept.returncode, kept.stderr) == (0, b"")
    assert b"8 pairs by path below the common folder" in kept.stdout
    failed = run("compare", "before.jsonl", "after.json", "--max-drop", f"{target}=0.001")
    assert failed.returncode == 1
    assert b"FAILED" in failed.stdout
    assert b"1 of 1 limit of a drop not kept" in failed.stderr
    assert run("compare", "after.json", "before.jsonl", "--max-drop", f"{target}=0.001").returncode == 0


def test_folders_are_scored_and_say_the_same_as_files(run: Run, results: Path, fake_model: str) -> None:
    model = ("--model", fake_model)
    outcome = []
    for sides in (
        ("before.jsonl", "after.json"),
        ("before", "after", *model),
        ("before.jsonl", "after", *model),
        ("before/**/*.wav", "after.json", *model),
    ):
        done = run("compare", *sides, "--json", "-", "--md", "c.md", "-q")
        assert (done.returncode, done.stderr) == (0, b"")
        document = json.loads(done.stdout)
        outcome.append((document["differences"], len(document["recordings"])))
        assert (results / "c.md").read_text(encoding="utf-8").startswith("| score |")
    assert all(found == outcome[0] for found in outcome)
    assert document["schema"] == "mtqscore.compare/1"
    assert not list(results.glob("*.partial"))


def test_a_side_on_stdin(run: Run, results: Path) -> None:
    done = run("compare", "-", "after.json", input=(results / "before.jsonl").read_bytes())
    assert done.returncode == 0
    assert b"with stdin" in done.stdout


@pytest.mark.usefixtures("results")
def test_a_result_that_names_a_model_we_do_not_have_asks_for_it(run: Run) -> None:
    done = run("compare", "before.jsonl", "after")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"'fake@1'" in done.stderr
    assert b"--model" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_settings_of_the_project_count_unless_flags_say_otherwise(run: Run, results: Path) -> None:
    target = worse_score(results)
    (results / "mtqscore.toml").write_text(f"[max-drop]\n{target} = 0.001\n")
    sides = ("compare", "before.jsonl", "after.json")
    assert run(*sides).returncode == 1
    own = run(*sides, "--max-drop", f"{target}=3")
    assert own.returncode == 0
    assert b"are not used" in own.stderr
    assert run(*sides, "--no-config").returncode == 0
    (results / "mtqscore.toml").rename(results / "other.toml")
    assert run(*sides, "--config", "other.toml").returncode == 1


def test_what_has_no_score_is_3_and_comes_before_1(run: Run, results: Path, fake_model: str) -> None:
    target = worse_score(results)
    (results / "after" / "deep" / "0.wav").write_bytes(b"no sound")
    done = run("compare", "before.jsonl", "after", "--model", fake_model, "--max-drop", f"{target}=0.001")
    assert done.returncode == 3
    assert b"0.wav in after: unreadable" in done.stderr
    assert b"1 of before.jsonl without a score in after: before/deep/0.wav" in done.stdout
    assert run("assess", "after", "--csv", "again.csv", "-q").returncode == 3
    assert run("compare", "before.jsonl", "again.csv").returncode == 3
    assert run("compare", "again.csv", "before.jsonl").returncode == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["before.jsonl"], "NEW"),
        (["before.jsonl", "missing.json"], "missing.json"),
        (["before.jsonl", "missing.wav", "--model", "MODEL"], "no row has scores"),
        (["before.jsonl", "no/*.wav"], "no recordings"),
        (["-", "-"], "stdin"),
        (["before.jsonl", "after.json", "--model", "MODEL"], "both sides are results"),
        (["before.jsonl", "after.json", "--channels", "mean"], "both sides are results"),
        (["before.jsonl", "after.json", "--max-drop", "q=0.1"], "unknown metric 'q'"),
        (["before.jsonl", "after.json", "--max-drop", "g"], "g=0.1"),
        (["before.jsonl", "after.json", "--max-drop", "g=0.1", "--max-drop", "g_mos=0.1"], "another limit"),
        (["before.jsonl", "after.json", "--seed", "-1"], "--seed"),
        (["before.jsonl", "after.json", "--seed", "x"], "--seed"),
        (["before.jsonl", "after.json", "--json", "-", "--md", "-"], "same place"),
        (["before.jsonl", "after.json", "--json", "no/such/folder.json"], "cannot write"),
        (["before.jsonl", "x" * 300], "cannot read"),
    ],
)
def test_wrong_use_is_2_in_one_line_and_writes_nothing(
    call: Call, results: Path, fake_model: str, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    before = sorted(results.rglob("*"))
    monkeypatch.chdir(results)
    done = call("compare", *(fake_model if item == "MODEL" else item for item in arguments))
    assert (done.code, done.stdout) == (2, "")
    assert message in done.stderr
    assert sorted(results.rglob("*")) == before


def test_other_models_are_refused_unless_allowed(run: Run, results: Path) -> None:
    text = (results / "before.jsonl").read_text().replace('"fake@1"', '"fake@2"')
    (results / "other.jsonl").write_text(text)
    done = run("compare", "other.jsonl", "after.json")
    assert done.returncode == 2
    assert b"different models" in done.stderr
    allowed = run("compare", "other.jsonl", "after.json", "--allow-other-model")
    assert allowed.returncode == 0
    assert b"the models differ" in allowed.stdout


@pytest.mark.usefixtures("results")
def test_unpaired_on_request(run: Run) -> None:
    done = run("compare", "before.jsonl", "after.json", "--unpaired")
    assert done.returncode == 0
    assert b"unpaired: 8 against 8" in done.stdout
    assert b"better" not in done.stdout.splitlines()[0]


@posix_only
def test_names_of_any_bytes(run: Run, tmp_path: Path, fake_model: str) -> None:
    folders = (os.fsdecode(b"old\xff\n"), "-new\x1b[2J")
    names = (os.fsdecode(b"|\xff<b>\n@x.wav"), "a1.wav", "a2.wav")
    for folder in folders:
        (tmp_path / "plain").mkdir()
        for index, name in enumerate(names):
            path = write(tmp_path / "plain" / f"{index}.wav", speechlike(0.5, seed=index))
            path.rename(path.with_name(name))
        (tmp_path / "plain").rename(tmp_path / folder)
    done = run("compare", "--model", fake_model, "--md", "c.md", "--json", "c.json", "--", *folders)
    assert done.returncode == 0
    assert all(line.isprintable() for line in done.stdout.decode().splitlines())
    assert b"3 pairs" in done.stdout
    assert "<b>" not in (tmp_path / "c.md").read_text(encoding="utf-8")
    document = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    assert document["base"]["source"] == folders[0]
    assert {item["base_path"] for item in document["recordings"]} == {f"{folders[0]}/{name}" for name in names}


@pytest.mark.usefixtures("results")
def test_a_baseline_of_assess_says_the_same(run: Run) -> None:
    direct = run("compare", "before.jsonl", "after.json")
    within = run("assess", "after", "--baseline", "before.jsonl", "-q")
    assert within.returncode == 0
    table = direct.stdout.decode().split("\n\n")[0]
    assert table in within.stdout.decode()


def test_a_baseline_of_assess_fails_as_compare_does(run: Run, results: Path) -> None:
    limit = f"{worse_score(results)}=0.001"
    done = run("assess", "after", "--baseline", "before.jsonl", "--max-drop", limit, "-q")
    assert done.returncode == 1
    assert b"1 of 1 limit of a drop not kept" in done.stderr
    assert run("assess", "after", "--baseline", "before.jsonl", "--max-drop", "q=1", "-q").returncode == 2
