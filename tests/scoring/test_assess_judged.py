"""`assess` as it is used to judge: gates, a baseline, every report at once, and the exit code of it all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.fake_model import METADATA, write_fake_model
from tests.signals import speechlike, write

if TYPE_CHECKING:
    from tests.conftest import Run

HOLDS, BROKEN = "g>=1", "g>=4.99"
REPORTS = ("csv", "json", "jsonl", "parquet", "junit", "md", "html")


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    for index in range(4):
        place = tmp_path / "rec" / ("street" if index % 2 else "car") / f"{index}.wav"
        place.parent.mkdir(parents=True, exist_ok=True)
        write(place, speechlike(1, seed=index) * (0.2 + 0.2 * index))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/none.wav").write_bytes(b"RIFF")
    return tmp_path


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["rec", "--fail-under", HOLDS], 0),
        (["rec", "--fail-under", BROKEN], 1),
        (["rec", "--fail-under", HOLDS, "--fail-under", "mean(g)>=4.99"], 1),
        (["rec", "--warn-under", BROKEN], 0),
        (["rec", "--fail-under", "g>=4.99 in rec/car/*"], 1),
        (["rec", "--fail-under", "q>=3"], 2),
        (["rec", "--fail-under", "avg(g)>=3"], 2),
        (["rec", "--fail-under", "g>=9"], 2),
        (["rec", "--fail-under", "g=>3"], 2),
        (["rec", "--fail-under", "g>=3 in train/*"], 2),
        (["nowhere/*.wav", "--fail-under", HOLDS], 2),
        (["rec", "broken", "--fail-under", HOLDS], 3),
        (["rec", "broken", "--fail-under", BROKEN], 3),
        (["broken", "--fail-under", HOLDS], 3),
        (["rec", "--fail-under", BROKEN, "--device", "cuda:99"], 4),
        (["rec", "--frames"], 2),
        (["rec", "--max-drop", "g=0.1"], 2),
        (["rec", "--baseline", "nowhere.jsonl"], 2),
        (["rec", "--csv", "same", "--json", "same"], 2),
        (["rec", "--config", "nowhere.toml"], 2),
    ],
)
def test_exit_codes(run: Run, arguments: list[str], code: int) -> None:
    result = run("assess", *arguments)
    assert result.returncode == code, result.stderr.decode()
    if code in (2, 4):
        assert result.stdout == b""
        assert len(result.stderr.decode().strip().splitlines()) == 1


def test_what_is_wrong_is_told_before_anything_is_scored(run: Run, recordings: Path) -> None:
    for arguments in (["--fail-under", "q>=3"], ["--fail-under", "g>=3 in nowhere/*"], ["--max-drop", "g=1"]):
        assert run("assess", "rec", "--jsonl", "out.jsonl", *arguments).returncode == 2
        assert not (recordings / "out.jsonl").exists()


def test_a_failed_gate_is_shown_with_the_worst_recordings(run: Run, recordings: Path) -> None:
    del recordings
    result = run("assess", "rec", "--fail-under", BROKEN, "--warn-under", "p05(n)>=4.9", "--fail-under", HOLDS)
    shown = result.stdout.decode()
    table = shown[shown.index("gate ") :]
    assert [line.split()[-1] for line in table.splitlines()[1:4]] == ["FAILED", "ok", "warning"]
    assert "worst recordings" in table
    assert "rec/car/0.wav" in table
    assert "1 of 3 gates failed: g>=4.99" in result.stderr.decode()


@pytest.mark.usefixtures("recordings")
def test_findings_go_to_stderr_when_stdout_holds_data(run: Run) -> None:
    result = run("assess", "rec", "--jsonl", "-", "--fail-under", BROKEN)
    assert [json.loads(line)["status"] for line in result.stdout.decode().splitlines()] == ["ok"] * 4
    assert "FAILED" in result.stderr.decode()
    quiet = run("assess", "rec", "--jsonl", "-", "--fail-under", BROKEN, "-q").stderr.decode().splitlines()
    assert len(quiet) == 1
    assert quiet[0].startswith("mtqscore: 1 of 1 gate failed")


def test_settings_of_the_project(run: Run, recordings: Path) -> None:
    settings = recordings / "mtqscore.toml"
    settings.write_text(f'fail-under = "{BROKEN}"\n')
    assert run("assess", "rec").returncode == 1
    assert run("assess", "rec", "--no-config").returncode == 0
    overruled = run("assess", "rec", "--fail-under", HOLDS)
    assert overruled.returncode == 0
    assert "are not used" in overruled.stderr.decode()
    assert "\n1 gate passed\n" in overruled.stderr.decode()
    settings.write_text('[[gates]]\nexpect = "g>=4.99"\nlevel = "warn"\npaths = "rec/car/**"\n')
    assert run("assess", "rec").returncode == 0
    settings.write_text("fial-under = 3\n")
    misspelt = run("assess", "rec")
    assert (misspelt.returncode, misspelt.stdout) == (2, b"")
    assert "fail-under" in misspelt.stderr.decode()
    settings.unlink()
    (recordings / "pyproject.toml").write_text(f'[tool.mtqscore]\nfail-under = ["{BROKEN}"]\n')
    assert run("assess", "rec").returncode == 1


def test_the_model_of_the_settings_is_used(run: Run, recordings: Path, fake_model: str) -> None:
    (recordings / "mtqscore.toml").write_text(f'model = "{fake_model}"\nchannels = "each"\n')
    result = run("assess", "rec/car/0.wav", "--jsonl", "-", model=None)
    (line,) = result.stdout.decode().splitlines()
    assert (json.loads(line)["model"], json.loads(line)["channel"]) == ("fake@1", "1")
    result = run("assess", "rec/car/0.wav", "--jsonl", "-", "--channels", "mean", model=None)
    assert json.loads(result.stdout)["channel"] == "mean"


def test_a_baseline(run: Run, recordings: Path, tmp_path: Path) -> None:
    assert run("assess", "rec", "--jsonl", "base.jsonl", "-q").returncode == 0
    same = run("assess", "rec", "--baseline", "base.jsonl", "--max-drop", "g=0.1")
    assert same.returncode == 0
    assert "not significant" in same.stdout.decode()
    for place in (recordings / "rec").rglob("*.wav"):
        write(place, np.zeros((8_000, 1), np.float32) + speechlike(0.5, seed=9) * 0.003)
    worse = run("assess", "rec", "--baseline", "base.jsonl", "--max-drop", "g=0.1", "--json", "out.json")
    assert worse.returncode == 1, worse.stdout.decode()
    assert "FAILED" in worse.stdout.decode()
    assert "not kept" in worse.stderr.decode()
    assert json.loads((tmp_path / "out.json").read_bytes())["summary"]["comparison"]["passed"] is False
    # Within the limit, however sure the drop is.
    assert run("assess", "rec", "--baseline", "base.jsonl", "--max-drop", "g=3.9").returncode == 0
    (recordings / "mtqscore.toml").write_text("[max-drop]\ng = 0.1\n")
    assert run("assess", "rec", "--baseline", "base.jsonl").returncode == 1


@pytest.mark.usefixtures("recordings")
def test_a_baseline_of_another_model_is_refused_before_scoring(run: Run, tmp_path: Path) -> None:
    other = write_fake_model(tmp_path / "other.onnx", metadata={**METADATA, "version": "2"})
    assert run("assess", "--model", str(other), "rec", "--jsonl", "base.jsonl", model=None).returncode == 0
    result = run("assess", "rec", "--baseline", "base.jsonl", "--jsonl", "new.jsonl")
    assert result.returncode == 2
    assert b"fake@2" in result.stderr
    assert not (tmp_path / "new.jsonl").exists()


def test_every_report_at_once_says_the_same(run: Run, recordings: Path) -> None:
    targets = [part for kind in REPORTS for part in (f"--{kind}", f"out.{kind}")]
    result = run("assess", "rec", "broken", *targets, "--frames", "--fail-under", BROKEN)
    assert result.returncode == 3
    for kind in ("csv", "json", "jsonl", "parquet"):
        again = run("gate", f"out.{kind}", "--fail-under", BROKEN)
        assert again.returncode == 3
        assert "4 of 4 fail" in again.stdout.decode()
    row = json.loads((recordings / "out.jsonl").read_text().splitlines()[0])
    assert len(row["frames"]["g_mos"]) == len(row["frames"]["s_mos"]) == 16_000 // 512 + 1
    for kind in ("junit", "md", "html"):
        assert "none.wav" in (recordings / f"out.{kind}").read_text()


@pytest.mark.usefixtures("recordings")
def test_curves_are_written_only_when_asked_for(run: Run, tmp_path: Path) -> None:
    assert run("assess", "rec", "--html", "out.html", "--jsonl", "out.jsonl").returncode == 0
    assert "frames" not in json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])


@pytest.mark.usefixtures("recordings")
def test_the_page_makes_so_many_recordings_heard(run: Run, tmp_path: Path) -> None:
    sizes = []
    for count in ("0", "2", "4"):
        assert run("assess", "rec", "--html", "out.html", "--html-files", count).returncode == 0
        sizes.append((tmp_path / "out.html").read_text().count('<details class="recording"'))
    assert sizes == sorted(set(sizes))
    assert run("assess", "rec", "--html", "out.html", "--html-files", "-1").returncode == 2
