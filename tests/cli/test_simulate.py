"""``mtqscore simulate`` as users run it: reproducible, finished after a kill, refused in one line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mtqscore.labels.table import read_label_table
from mtqscore.simulation.sampler import list_files
from mtqscore.targets import TARGETS
from tests.cli.conftest import Call

EXAMPLES = Path(__file__).parents[2] / "examples"
CLIPS = 12


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Three talkers, two noises: enough for every split."""
    folder = tmp_path_factory.mktemp("sources")
    speech, rate_hz = soundfile.read(EXAMPLES / "clean.flac")
    (folder / "noise").mkdir()
    rows = ["path,speaker,split,grade"]
    for number, split in enumerate(("train", "val", "test")):
        soundfile.write(folder / f"talker{number}.wav", np.roll(speech, 4000 * number), rate_hz)
        rows.append(f"talker{number}.wav,t{number},{split},A")
    (folder / "speech.csv").write_text("\n".join(rows) + "\n")
    rng = np.random.default_rng(0)
    noises = ["path,family,split"]
    for split in ("train", "val", "test"):
        soundfile.write(folder / "noise" / f"{split}.wav", 0.1 * rng.standard_normal(8 * rate_hz), rate_hz)
        noises.append(f"noise/{split}.wav,stationary,{split}")
    (folder / "noise.csv").write_text("\n".join(noises) + "\n")
    return folder / "speech.csv", folder / "noise.csv"


def command(sources: tuple[Path, Path], out: Path, *more: str) -> list[str]:
    words = ["simulate", str(sources[0]), str(sources[1]), "--out", str(out), "--seed", "5"]
    shares = ["--val-share", "0.25", "--test-share", "0.25", "--max-s", "4"]
    return [sys.executable, "-m", "mtqscore", *words, *shares, "--clips", str(CLIPS), *more]


def simulate(sources: tuple[Path, Path], out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(sources, out, *more), capture_output=True, text=True, check=False, timeout=300)


def wait_for_rows(log: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (log.exists() and log.read_text().count("\n") >= count):
        time.sleep(0.02)


def content(folder: Path) -> dict[str, bytes]:
    files = [folder / "manifest.csv", *sorted((folder / "audio").iterdir())]
    return {path.name: path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def corpus(sources: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("corpus") / "one"
    done = simulate(sources, out, "--workers", "1")
    assert done.returncode == 0, done.stderr
    return out


def test_a_corpus_is_labelled_audio_in_three_splits(corpus: Path) -> None:
    rows = read_label_table(corpus)
    assert len(rows) == CLIPS
    assert {row.split for row in rows} == {"train", "val", "test"}
    for row in rows:
        assert set(row.labels) == {target.name for target in TARGETS}
        info = soundfile.info(str(row.path))
        assert (info.samplerate, info.channels) == (16_000, 1)
        assert info.duration == pytest.approx(float(row.extra["duration_s"]), abs=0.01)
        chain = json.loads(row.extra["chain"])
        assert chain[0]["name"] == "recolour"
        assert row.extra["speaker"] == {"train": "t0", "val": "t1", "test": "t2"}[row.split]


def test_the_same_seed_gives_the_same_corpus_for_any_number_of_processes(
    sources: tuple[Path, Path], corpus: Path, tmp_path: Path
) -> None:
    done = simulate(sources, tmp_path / "two", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "two") == content(corpus)


def test_a_killed_run_is_finished_and_equals_a_clean_one(
    sources: tuple[Path, Path], corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    process = subprocess.Popen(command(sources, out, "--workers", "1"), stderr=subprocess.DEVNULL)
    log = out / "rows.jsonl"
    wait_for_rows(log, 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = log.read_text().count("\n")
    assert 2 <= finished < CLIPS, "it was to be killed in the middle"
    with log.open("a") as stream:
        stream.write('{"key": "11", "value": {"path": "audio/0000')  # what a kill in mid-write leaves
    done = simulate(sources, out, "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert content(out) == content(corpus)


def test_an_interrupted_run_says_that_it_can_go_on(sources: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "interrupted"
    process = subprocess.Popen(
        command(sources, out, "--workers", "2", "--clips", "400"),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    log = out / "rows.jsonl"
    wait_for_rows(log, 1)
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C in a terminal reaches every process
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "goes on from there" in said
    assert "Traceback" not in said


def test_other_settings_do_not_mix_into_a_corpus(sources: tuple[Path, Path], corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    shutil.copytree(corpus, out)
    done = simulate(sources, out, "--seed", "6")
    assert done.returncode == 2
    assert "seed" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_corpus_can_grow_and_equals_one_made_at_once(
    sources: tuple[Path, Path], corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "grown"
    for clips in (CLIPS // 2, CLIPS):
        done = simulate(sources, out, "--workers", "1", "--clips", str(clips))
        assert done.returncode == 0, done.stderr
        assert len(read_label_table(out)) == clips
    assert content(out) == content(corpus)
    assert json.loads((out / "simulation.json").read_text())["clips"] == CLIPS

    done = simulate(sources, out, "--clips", str(CLIPS - 1))
    assert done.returncode == 2
    assert f"holds a corpus of {CLIPS} clips; ask for as many or more" in done.stderr
    assert content(out) == content(corpus)


def names_by_clip(folder: Path) -> dict[str, tuple[str, set[str]]]:
    """Split, and names of the steps and of their codecs, by the name of the clip."""
    found = {}
    for row in read_label_table(folder):
        steps = json.loads(row.extra["chain"])
        names = {step["name"] for step in steps} | {step["codec"] for step in steps if "codec" in step}
        found[row.path.name] = row.split, names
    return found


def test_what_is_held_out_is_in_the_test_alone_and_changes_no_other_clip(
    sources: tuple[Path, Path], corpus: Path, tmp_path: Path
) -> None:
    out, held_out = tmp_path / "held", {"mnru", "vorbis"}
    done = simulate(sources, out, "--workers", "1", "--hold-out", "vorbis", "--hold-out", "mnru")
    assert done.returncode == 0, done.stderr
    before, after = names_by_clip(corpus), names_by_clip(out)
    for part in (("test",), ("train", "val")):
        there = [names for split, names in before.values() if split in part]
        assert held_out < set().union(*there), "the corpus has nothing that could be held out"
    redrawn = {clip for clip, (split, names) in before.items() if split != "test" and names & held_out}
    assert not any(names & held_out for split, names in after.values() if split != "test")
    old, new = content(corpus), content(out)
    assert {clip for clip in before if old[clip] != new[clip]} == redrawn
    rows = [dict.fromkeys((folder / "manifest.csv").read_text().splitlines()) for folder in (corpus, out)]
    assert len(rows[0].keys() & rows[1].keys()) == 1 + len(before) - len(redrawn)

    for words, code in ((["mnru", "vorbis", "mnru"], 0), (["mnru"], 2), ([], 2)):
        done = simulate(sources, out, *(word for name in words for word in ("--hold-out", name)))
        assert (done.returncode, "other settings (hold_out)" in done.stderr) == (code, code == 2), done.stderr


def test_other_voices_are_for_training_and_validation_and_change_no_other_clip(
    sources: tuple[Path, Path], corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "same voices"
    done = simulate(sources, out, "--workers", "1", "--voice-share", "0")
    assert done.returncode == 0, done.stderr
    old, new = content(corpus), content(out)
    changed = {clip for clip in names_by_clip(corpus) if old[clip] != new[clip]}
    split = {clip: split for clip, (split, _) in names_by_clip(corpus).items()}
    assert {split[clip] for clip in changed} <= {"train", "val"}
    assert 0 < len(changed) < sum(part != "test" for part in split.values())


def test_folders_are_divided_by_talker_wherever_they_lie(tmp_path: Path) -> None:
    shares = {"val": 0.08, "test": 0.12}
    divided = []
    for place in ("here", "there/deeper"):
        for talker in range(6):
            folder = tmp_path / place / f"talker{talker}"
            folder.mkdir(parents=True)
            for number in range(3):
                soundfile.write(folder / f"{number}.wav", np.zeros(100), 16_000)
        found = list_files(tmp_path / place, shares, seed=3)
        divided.append({item.group: item.split for item in found})
        assert len(found) == 18
    assert divided[0] == divided[1]
    assert sorted(divided[0].values()) == ["test", "train", "train", "train", "train", "val"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["/no/such/folder", "/no/such/noise"], 2, "no such folder"),
        (["x" * 300, "NOISE"], 2, "no such folder"),
        (["WAV", "NOISE"], 3, "not a CSV file"),
        (["SPEECH", "EMPTY"], 3, "no audio files"),
        (["SPEECH", "NOISE", "--min-s", "5", "--max-s", "3"], 2, "max_s 3 is below min_s 5"),
        (["SPEECH", "NOISE", "--max-s", "inf"], 2, "max_s inf is outside 1 to"),
        (["SPEECH", "NOISE", "--clips", "0"], 2, "clips 0 is outside 1 to"),
        (["SPEECH", "NOISE", "--val-share", "nan"], 2, "val_share nan is outside 0 to 1"),
        (["SPEECH", "NOISE", "--val-share", "0.6", "--test-share", "0.6"], 2, "val_share and test_share add up"),
        (["SPEECH", "NOISE", "--enhancer", "denoise"], 2, "{in}"),
        (["SPEECH", "NOISE", "--hold-out", "k\nlt"], 2, "k\\nlt: choose from a_law, band_l"),
        (["SPEECH", "NOISE", "--enhancer", "/no/such {in} {out}"], 4, "does not start"),
    ],
)
def test_wrong_use_is_refused_in_one_line(
    call: Call, sources: tuple[Path, Path], tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    places = dict(zip(("SPEECH", "NOISE"), map(str, sources), strict=True))
    places |= {"EMPTY": str(tmp_path / "empty"), "WAV": str(EXAMPLES / "clean.flac")}
    done = call("simulate", *(places.get(word, word) for word in words), "--out", str(tmp_path / "x"), "--workers", "1")
    assert (done.code, done.stderr.count("\n")) == (code, 1), done.stderr
    assert message in done.stderr
