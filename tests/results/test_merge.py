"""Merging: the parts of many machines are the whole again, or one line names what is not."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mtqscore.errors import UsageError
from mtqscore.results.merge import merge_results
from mtqscore.results.run import Results
from mtqscore.results.shards import Shard, shard_number
from mtqscore.scores import Assessment, Status
from tests.report.kit import RUN, row
from tests.signals import speechlike, write

if TYPE_CHECKING:
    from tests.conftest import Run

UGLY = ["new\nline.wav", "-dash.wav", "=1+1.wav", "<script>.wav", "a/b.wav", "a.wav", "a-c/d.wav"]
if os.name == "posix":
    UGLY.append("\udcff.wav")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(UGLY):
        place = tmp_path / "rec" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / "made.wav", speechlike(0.4, seed=number, channels=2)).rename(place)
    (tmp_path / "rec" / "bad.wav").write_text("no audio")
    return tmp_path


def score_parts(run: Run, *inputs: str, count: int = 4, kind: str = "jsonl") -> list[str]:
    names = [f"part-{number}.{kind}" for number in range(1, count + 1)]
    for number, name in enumerate(names, start=1):
        assert run("assess", *inputs, "--shard", f"{number}/{count}", f"--{kind}", name).returncode in (0, 3)
    return names


def test_parts_are_the_whole_again(run: Run, folder: Path) -> None:
    parts = score_parts(run, "rec")
    whole = run("assess", "rec", "--jsonl", "whole.jsonl", "--csv", "whole.csv")
    done = run("merge", *reversed(parts), "--jsonl", "all.jsonl", "--csv", "all.csv", "--html", "all.html")
    assert (whole.returncode, done.returncode) == (3, 3), "one recording has no scores"
    for kind in ("jsonl", "csv"):
        assert (folder / f"all.{kind}").read_bytes() == (folder / f"whole.{kind}").read_bytes()
    assert done.stdout.decode().startswith("9 rows: 8 scored, 1 unreadable")
    assert done.stderr == b""

    # The order of a list is that of the list; a name that stands there twice has two rows.
    names = [f"rec/{name}" for name in UGLY[::-1]] + ["rec/bad.wav", "rec/a.wav"]
    (folder / "list").write_bytes(b"\0".join(map(os.fsencode, names)) + b"\0")
    run("assess", "--from-list", "list", "--jsonl", "whole.jsonl")
    assert run("merge", *parts, "--from-list", "list", "--jsonl", "all.jsonl").returncode == 3
    assert (folder / "all.jsonl").read_bytes() == (folder / "whole.jsonl").read_bytes()


def test_what_is_missing_is_named_and_nothing_is_written(run: Run, folder: Path) -> None:
    one, two = score_parts(run, "rec", count=2)
    done = run("merge", one, "--jsonl", "all.jsonl")
    assert (done.returncode, done.stdout) == (3, b"")
    missing = sum(shard_number(f"rec/{name}", 2) == 2 for name in [*UGLY, "bad.wav"])
    assert f"no rows of shard 2/2: {missing} of 9 recordings are missing" in done.stderr.decode()
    assert not (folder / "all.jsonl").exists()

    lines = (folder / two).read_bytes().splitlines(keepends=True)
    (folder / two).write_bytes(b"".join(lines[:-1]))
    done = run("merge", one, two, "--jsonl", "all.jsonl")
    assert done.returncode == 3
    assert f"shard 2/2 has {len(lines) - 1} of its {len(lines)} recordings" in done.stderr.decode()
    (folder / two).write_bytes(b"".join(lines)[:-9])
    assert b"--resume" in run("merge", one, two).stderr

    done = run("merge", one, "--allow-gaps", "--jsonl", "all.jsonl")
    assert b"merged with a gap: no rows of shard 2/2: " in done.stderr
    assert (folder / "all.jsonl").read_bytes().count(b"\n") == (folder / one).read_bytes().count(b"\n")


def test_inputs_find_what_is_missing_without_shards(run: Run, folder: Path) -> None:
    run("assess", "rec/a", "rec/a-c", "--jsonl", "one.jsonl")
    run("assess", "rec/a.wav", "--jsonl", "two.jsonl")
    both = ["one.jsonl", "two.jsonl"]
    assert run("merge", *both, "--inputs", "rec/a*", "--inputs", "rec/a-c").returncode == 0
    done = run("merge", *both, "--inputs", "rec", "--json", "all.json")
    assert done.returncode == 3
    assert b"not scored in any part: " in done.stderr
    assert b" and 3 more; --allow-gaps" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / "all.json").exists()
    done = run("merge", *both, "--inputs", "rec/a.wav")
    assert done.returncode == 2
    assert b"rows of recordings that are not named: 'rec/a" in done.stderr


def test_empty_parts_and_other_formats(run: Run, folder: Path) -> None:
    for kind in ("jsonl", "json"):
        parts = score_parts(run, "rec/a.wav", "rec/-dash.wav", count=4, kind=kind)
        done = run("merge", *parts, "--json", "all.json")
        assert done.returncode == 0
        document = json.loads((folder / "all.json").read_text())
        assert [item["path"] for item in document["results"]] == ["rec/-dash.wav", "rec/a.wav"]
        assert "shard" not in document
    empty = [name for name in parts if not json.loads((folder / name).read_text())["results"]]
    assert run("merge", *empty).returncode == 2


def test_a_part_is_never_written_over(run: Run, folder: Path) -> None:
    (part,) = score_parts(run, "rec", count=1)
    content = (folder / part).read_bytes()
    (folder / "link").symlink_to(part)
    for target in (part, f"./{part}", "link"):
        assert run("merge", part, "--jsonl", target).returncode == 2
    assert run("merge", part, "no-such-part.jsonl").returncode == 2
    assert run("merge").returncode == 2
    assert (folder / part).read_bytes() == content


# --- what only many machines can do wrong ---------------------------------------------------------------------------


def part(*rows: Assessment, shards: tuple[Shard, ...] = (), source: str = "p", **run: Any) -> Results:
    return Results(source, replace(RUN, **run), rows, shards)


def test_equal_rows_are_dropped_and_different_ones_refused() -> None:
    one, other = row("a.wav", 3.0), row("b.wav", 2.0)
    merged = merge_results([part(other, one), part(replace(one, provider="CUDAExecutionProvider"))])
    assert (merged.repeated, [item.path for item in merged.results.rows]) == (1, ["a.wav", "b.wav"])
    for changed in (row("a.wav", 3.1), row("a.wav", None), replace(one, size_bytes=9), replace(one, flags=())):
        with pytest.raises(UsageError, match=r"'one' and 'two' hold different rows of 'a.wav'"):
            merge_results([part(one, source="one"), part(other), part(changed, source="two")])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model": "m@2"}, "by different models: m@1 and m@2"),
        ({"model_sha256": "cd" * 32}, "by different files of one model"),
        ({"precision": "tf32"}, "with different precision: fp32 and tf32"),
        ({"channel": "1"}, "with channels mixed here"),
        ({"path": None}, "a row without a path"),
    ],
)
def test_parts_of_different_makes_are_refused(changes: dict[str, Any], expected: str) -> None:
    one = row("a.wav", precision="fp32")
    with pytest.raises(UsageError, match=expected) as caught:
        merge_results([part(one), part(replace(one, **{"path": "b.wav"} | changes))])
    assert str(caught.value).isprintable()


def test_what_a_format_does_not_tell_is_not_held_against_it() -> None:
    one = row("a.wav", precision="fp32")
    merged = merge_results([part(row("b.wav", precision=None, model_sha256=""), model_sha256=""), part(one)])
    assert merged.results.run.model_sha256 == RUN.model_sha256
    assert not merged.gaps


def named(number: int, count: int, length: int) -> list[Assessment]:
    """The rows of one shard of a list of so many recordings."""
    paths = [f"{index}.wav" for index in range(length)]
    return [row(path) for path in paths if shard_number(path, count) == number]


def shard_part(number: int, count: int, length: int, **known: Any) -> Results:
    rows = named(number, count, length)
    return part(*rows, shards=(Shard(number, count, len(rows), length),), source=f"part-{number}", **known)


def test_shards_of_other_lists_are_noticed() -> None:
    with pytest.raises(UsageError, match=r"'part-1' is one of 4 shards, 'part-2' one of 8: "):
        merge_results([shard_part(1, 4, 100), shard_part(2, 8, 100)])
    grown = merge_results([shard_part(1, 2, 100), shard_part(2, 2, 120)])
    assert grown.gaps[0] == "the shards were cut from different lists, of 100 and of 120 recordings"
    assert merge_results([shard_part(number, 9, 100) for number in range(1, 10)]).gaps == ()
    some = merge_results([shard_part(number, 9, 100) for number in (1, 5)])
    assert len(some.gaps) == 1
    assert some.gaps[0].startswith("no rows of shard 2/9, 3/9, 4/9 and 4 more: ")
    empty = merge_results([shard_part(1, 9, 100), part(), part()])
    assert "2/9, 3/9, 4/9 and 5 more (2 of these are empty parts): " in empty.gaps[0]
    twice = merge_results([shard_part(1, 1, 10), shard_part(1, 1, 10)])
    assert (twice.repeated, twice.gaps) == (10, ())


def test_a_recording_that_lacks_a_channel_is_a_gap() -> None:
    def channels(path: str, *numbers: int, count: int = 2) -> list[Assessment]:
        return [row(path, channel=str(number), channel_count=count) for number in numbers]

    assert not merge_results([part(*channels("a", 1, 2), *channels("b", 1, count=1))]).gaps
    assert not merge_results([part(*channels("a", 2), *channels("b", 2, count=3))]).gaps, "one channel was asked for"
    lacking = merge_results([part(*channels("a", 1, 2), *channels("b", 1), row("c", None, channel=""))])
    assert lacking.gaps == ("without some of its channels: 'b'",)


def test_the_order_is_that_of_a_folder_that_is_searched() -> None:
    names = ["rec/a/b", "rec/a-c/d", "rec/a.wav", "rec/B", "rec/10", "rec/9", "rec"]
    merged = merge_results([part(*map(row, names))])
    found = [item.path for item in merged.results.rows]
    assert found == ["rec", "rec/10", "rec/9", "rec/B", "rec/a/b", "rec/a-c/d", "rec/a.wav"]


def test_rows_without_scores_are_rows() -> None:
    gone = row("gone.wav", None, status=Status.NOT_FOUND, channel="mean")
    assert [item.status for item in merge_results([part(gone), part(row("a"))]).results.rows] == ["ok", "not_found"]


def test_a_hundred_thousand_rows_take_linear_time() -> None:
    parts = [shard_part(number, 10, 20_000) for number in range(1, 11)]
    started_s = time.monotonic()
    merged = merge_results(parts)
    assert time.monotonic() - started_s < 5
    assert (len(merged.results.rows), merged.gaps) == (20_000, ())
