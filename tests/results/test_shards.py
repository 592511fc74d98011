"""Shards: every recording in exactly one, the same on every machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mtqscore.audio.inputs import Input
from mtqscore.errors import UsageError
from mtqscore.results.shards import parse_shard, shard_number, take_shard
from mtqscore.scores import Status
from tests.signals import speechlike, write

if TYPE_CHECKING:
    from tests.conftest import Run

NAMES = ["a.wav", "./a.wav", "new\nline.wav", "\udcff\udc80.wav", "é日.wav", "-rf.wav", "x" * 5_000, " ", "=1+1.wav"]
ARRAY = {"SLURM_ARRAY_TASK_COUNT": "8", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_ID": "3"}


def test_the_number_is_the_documented_one() -> None:
    # Computed with sha256sum and bc. A change would tear running arrays apart.
    assert [shard_number(name, 1_000) for name in ("a.wav", "\udcff.wav", "é.wav")] == [709, 966, 423]


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_every_recording_is_in_exactly_one_shard_whatever_the_others_are(count: int) -> None:
    inputs = [Input(name) for name in [*NAMES, *(f"rec/{number}.wav" for number in range(500)), "a.wav"]]
    inputs.append(Input("no/*.wav", Status.NOT_FOUND, "no such file"))
    parts = [take_shard(inputs, number, count) for number in range(1, count + 1)]
    assert sorted(item.path for chosen, _ in parts for item in chosen) == sorted(item.path for item in inputs)
    assert sum(shard.recordings for _, shard in parts) == len(inputs) - 1, "one name stands there twice"
    assert {shard.all_recordings for _, shard in parts} == {len(inputs) - 1}
    for chosen, shard in parts:
        again, _ = take_shard(inputs[::-2], shard.number, count)
        assert {item.path for item in again} <= {item.path for item in chosen}
        assert [item for item in inputs if item in chosen] == chosen, "in the order of the list"
    if count <= 7:
        assert all(shard.recordings > len(inputs) / count / 2 for _, shard in parts)


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        ("3/8", {}, (3, 8)),
        ("1/1", {}, (1, 1)),
        ("auto", ARRAY, (3, 8)),
        ("auto", ARRAY | {"SLURM_ARRAY_TASK_MIN": "0"}, (4, 8)),
        ("auto", ARRAY | {"SLURM_ARRAY_TASK_ID": "15", "SLURM_ARRAY_TASK_STEP": "2"}, (8, 8)),
        ("auto", ARRAY | {"SLURM_ARRAY_TASK_ID": "1"}, (1, 8)),
    ],
)
def test_parts_are_read(text: str, environment: dict[str, str], expected: tuple[int, int]) -> None:
    assert parse_shard(text, environment) == expected


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        *((text, {}) for text in ("0/8", "9/8", "3", "3/0", "-1/8", "3/8 ", "a/b", "", "٣/8", "1/1" + "0" * 30)),
        ("auto", {}),
        ("AUTO", ARRAY),
        ("auto", {"SLURM_ARRAY_TASK_ID": "3"}),
        ("auto", ARRAY | {"SLURM_ARRAY_TASK_ID": "9"}),
        ("auto", ARRAY | {"SLURM_ARRAY_TASK_ID": "0"}),
        ("auto", ARRAY | {"SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_TASK_STEP": "2"}),
        ("auto", ARRAY | {"SLURM_ARRAY_TASK_COUNT": "x\x1b[2J"}),
    ],
)
def test_what_is_no_part_is_refused_in_one_line(text: str, environment: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        parse_shard(text, environment)
    assert str(caught.value).isprintable()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(12):
        (tmp_path / f"rec/{number % 3}").mkdir(parents=True, exist_ok=True)
        write(tmp_path / f"rec/{number % 3}/{number}.wav", speechlike(0.5, seed=number))
    return tmp_path


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_folders_and_lists_are_shared_out_alike_and_rows_know_their_shard(run: Run, folder: Path) -> None:
    names = sorted(os.fspath(path.relative_to(folder)) for path in folder.glob("rec/*/*.wav"))
    (folder / "list").write_text("\n".join(reversed(names)))
    for number in (1, 2):
        part = ["--shard", f"{number}/2"]
        assert run("assess", "rec", *part, "--jsonl", f"{number}.jsonl", "--json", "o.json", "-q").returncode == 0
        assert run("assess", "--from-list", "list", *part, "--jsonl", "list.jsonl", "-q").returncode == 0
        found = rows(folder / f"{number}.jsonl")
        assert found == rows(folder / "list.jsonl")[::-1]
        assert [row["path"] for row in found] == [name for name in names if shard_number(name, 2) == number]
        shard = {"number": number, "count": 2, "recordings": len(found), "all_recordings": 12}
        assert all(row["shard"] == shard for row in found)
        assert json.loads((folder / "o.json").read_text())["shard"] == shard


@pytest.mark.usefixtures("folder")
def test_a_task_of_an_array_finds_its_shard(run: Run, folder: Path) -> None:
    environment = ARRAY | {"SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_ID": "2"}
    assert run("assess", "rec", "--shard", "auto", "--jsonl", "auto.jsonl", env=environment).returncode == 0
    assert run("assess", "rec", "--shard", "2/2", "--jsonl", "two.jsonl").returncode == 0
    assert (folder / "auto.jsonl").read_bytes() == (folder / "two.jsonl").read_bytes()
    assert run("assess", "rec", "--shard", "auto").returncode == 2


def test_a_shard_without_recordings_is_no_fault(run: Run, folder: Path) -> None:
    number = next(number for number in range(1, 9) if shard_number("rec/0/0.wav", 8) != number)
    kinds = ["csv", "json", "jsonl", "parquet", "junit", "md", "html"]
    files = [word for kind in kinds for word in (f"--{kind}", f"o.{kind}")]
    done = run("assess", "rec/0/0.wav", "--shard", f"{number}/8", *files)
    assert done.returncode == 0
    assert f"shard {number}/8: 0 of 1 recordings" in done.stderr.decode()
    assert (folder / "o.jsonl").read_bytes() == b""
    assert json.loads((folder / "o.json").read_text())["summary"]["rows"] == 0
    assert all((folder / f"o.{kind}").exists() for kind in kinds)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("judge", [["--fail-under", "g>=3"], ["--warn-under", "g>=3"], ["--baseline", "b.jsonl"]])
def test_a_part_is_not_judged(run: Run, folder: Path, judge: list[str]) -> None:
    done = run("assess", "rec", "--shard", "1/2", *judge)
    assert (done.returncode, done.stdout) == (2, b"")
    (folder / "mtqscore.toml").write_text('fail-under = ["g>=5"]\n')
    assert run("assess", "rec", "--shard", "1/2", "-q").returncode == 0
