"""Label tables as users write them: every fault is named, at once, with its line."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mtqscore.corpora.corpus import CorpusConfig
from mtqscore.corpora.reading import read_corpus
from mtqscore.errors import InputError, UsageError
from mtqscore.labels.table import (
    FaultyTableError,
    LabelledRecording,
    parse_label_table,
    read_label_table,
    write_label_table,
)


def table(folder: Path, text: str | bytes) -> Path:
    (folder / "manifest.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / "manifest.csv"


def tone(path: Path, seconds: float = 0.1, rate_hz: int = 16_000, hz: float = 440) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.1 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate_hz)) / rate_hz)
    with path.open("wb") as stream:
        soundfile.write(stream, samples, rate_hz, format="WAV")
    return path


def faults_of(path: Path) -> list[str]:
    with pytest.raises(FaultyTableError) as caught:
        read_corpus(path)
    return [str(fault) for fault in caught.value.faults]


def test_every_fault_is_named_at_once_with_its_line(tmp_path):
    tone(tmp_path / "a.wav")
    tone(tmp_path / "short.wav", 0.02)
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "noise.wav").write_bytes(b"no audio at all, but a few bytes")
    (tmp_path / "folder.wav").mkdir()
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "link.wav").symlink_to("a.wav")
    path = table(
        tmp_path,
        "path,split,s_mos,pesq\n"
        "a.wav,train,3,\n"
        "./a.wav,train,3,\n"
        "link.wav,dev,3,\n"
        "\n"
        "gone.wav,Train,nan,4.6\n"
        "short.wav,,inf,\n"
        "empty.wav,test,x,\n"
        "noise.wav,test,0.5,-0.5\n"
        "folder.wav,test,,\n"
        " ,test,,\n"
        "a,b.wav,test,3,4\n"
        "pipe.wav,,,\n",
    )
    assert faults_of(path) == [
        "line 3: ./a.wav is already in line 2",
        "line 4: link.wav is already in line 2",
        "line 4: split 'dev' is none of train, val, test; write val",
        f"line 6: no such file: {tmp_path}/gone.wav",
        "line 6: pesq 4.6 is outside -0.5 to 4.5",
        "line 6: s_mos nan is not a finite number; leave a missing label empty",
        "line 6: split 'Train' is none of train, val, test; write train",
        f"line 7: {tmp_path}/short.wav: 0.020 s is too short; 0.032 s at least",
        "line 7: s_mos inf is not a finite number; leave a missing label empty",
        f"line 8: {tmp_path}/empty.wav: the file has no bytes",
        "line 8: s_mos 'x' is not a number",
        f"line 9: {tmp_path}/noise.wav: no audio format that can be decoded (Format not recognised)",
        "line 9: s_mos 0.5 is outside 1 to 5",
        f"line 10: no such file: {tmp_path}/folder.wav is a folder",
        "line 11: no path",
        "line 12: more cells than columns, from '4' on; put cells with commas between quotes",
        f"line 12: no such file: {tmp_path}/a",
        "line 12: s_mos 'test' is not a number",
        "line 12: split 'b.wav' is none of train, val, test",
        f"line 13: no such file: {tmp_path}/pipe.wav is no regular file",
    ]


def test_message_stays_short_and_the_report_is_whole(tmp_path):
    path = table(tmp_path, "path,s_mos\n" + "".join(f"gone\t{at}.wav,3\n" for at in range(300)))
    with pytest.raises(FaultyTableError) as caught:
        read_label_table(path)
    assert str(caught.value).startswith(f"{path}: 300 faults: line 2: no such file: ")
    assert str(caught.value).endswith("; and 290 more")
    told = caught.value.reported(tmp_path / "runs" / "a" / "faults.txt")
    assert f"300 faults (all in {tmp_path}/runs/a/faults.txt): line 2" in str(told)
    lines = (tmp_path / "runs" / "a" / "faults.txt").read_text().splitlines()
    assert len(lines) == 300
    assert lines[-1] == f"line 301: no such file: {tmp_path}/gone\\t299.wav"


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        ("path,S-MOS", "line 1: write the column 'S-MOS' as 's_mos'"),
        ("path, gmos ", "line 1: write the column ' gmos ' as 'g_mos'"),
        ("path,Split", "line 1: write the column 'Split' as 'split'"),
        ("path,s_mos,s_mos", "line 1: the column 's_mos' stands 2 times"),
    ],
)
def test_misspelt_columns_are_faults(tmp_path, header, fault):
    tone(tmp_path / "a.wav")
    assert fault in faults_of(table(tmp_path, f"{header}\na.wav,3,3\n"))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("file,s_mos\na.wav,3\n", r"no column 'path'; it has file, s_mos; write 'file' as 'path'"),
        ("Path\na.wav\n", r"write 'Path' as 'path'"),
        ("path;s_mos\na.wav;3\n", r"separate columns by commas"),
        ("", r"no column 'path'; it has none"),
        ("path\n", r"no rows"),
        ('path,s_mos\na.wav,3\n"b.wav,3\nc.wav,3\n', r"in the row of line 3: unexpected end of data"),
        ("path\n\xe9\n".encode("latin-1"), r"not a CSV file in UTF-8"),
    ],
)
def test_tables_without_rows_or_paths_say_what_to_do(tmp_path, text, hint):
    with pytest.raises(InputError, match=hint):
        read_corpus(table(tmp_path, text))


def test_further_columns_are_kept_and_slips_of_the_pen_are_asked_about(tmp_path):
    tone(tmp_path / "a.wav")
    path = table(tmp_path, "path,c_mos,g_moss,smos_raw,s_mos,,sigma\na.wav,1,4,5,3,7,8\n")
    corpus = read_corpus(path)
    assert corpus.recordings[0].labels == {"s_mos": 3}
    assert corpus.recordings[0].extra == {"c_mos": "1", "g_moss": "4", "smos_raw": "5", "sigma": "8"}
    asked = [note for note in corpus.notes if "column" in note]
    assert asked == ["the column 'g_moss' is kept as a remark; is 'g_mos' meant?"]


@pytest.mark.parametrize(
    "name",
    [
        "a b.wav",
        "-rf.wav",
        "q\"uo'te.wav",
        "li\nne.wav",
        " front.wav",
        "\x1b[31m.wav",
        "ж" * 120 + ".wav",
        "\udcff.wav",
    ],
)
def test_hostile_names_come_back(tmp_path, name):
    tone(tmp_path / name)
    rows = [LabelledRecording(tmp_path / name, "val", {"s_mos": 3.5}, {"speaker": "x"})]
    write_label_table(tmp_path / "manifest.csv", rows)
    assert read_corpus(tmp_path).recordings == rows


def test_blanks_around_a_name_are_forgiven(tmp_path):
    tone(tmp_path / "a.wav")
    assert read_label_table(table(tmp_path, "path\n a.wav \n"))[0].path == tmp_path / "a.wav"


def test_written_rows_are_named_relative_to_the_table_where_they_can_be(tmp_path):
    inside, outside = tone(tmp_path / "run" / "x" / "a.wav"), tone(tmp_path / "b.wav", hz=300)
    rows = [LabelledRecording(inside, "train", {"pesq": 2.0}), LabelledRecording(outside, "val", {}, {"kind": "x"})]
    write_label_table(tmp_path / "run" / "manifest.csv", rows)
    assert (tmp_path / "run" / "manifest.csv").read_text() == (
        f"path,split,pesq,kind\nx/a.wav,train,2.0,\n{outside},val,,x\n"
    )
    assert [(row.path, row.labels) for row in read_label_table(tmp_path / "run")] == [
        (inside, {"pesq": 2}),
        (outside, {}),
    ]


def test_line_numbers_survive_line_breaks_in_cells(tmp_path):
    tone(tmp_path / "a.wav")
    path = table(tmp_path, 'path,remark\na.wav,"two\nlines"\n\ngone.wav,\n')
    assert faults_of(path) == [f"line 5: no such file: {tmp_path}/gone.wav"]


def test_other_rates_and_missing_labels_are_notes(tmp_path):
    for at, rate_hz in enumerate((8_000, 16_000, 48_000, 48_000)):
        tone(tmp_path / f"{at}.wav", rate_hz=rate_hz, hz=100 + at)
    text = "path,split,s_mos\n0.wav,train,3\n1.wav,train,\n2.wav,val,4\n3.wav,train,\n"
    assert read_corpus(table(tmp_path, text)).notes == [
        "4 recordings: 3 train, 1 val; labels: 2 s_mos",
        "2 of 4 recordings carry no label at all",
        "1 at 8000 Hz, 2 at 48000 Hz: resampled to 16000 Hz when they are read",
    ]


def test_one_recording_or_speaker_in_two_splits_is_told(tmp_path):
    long = [tone(tmp_path / f"{at}.wav", 1.0, hz=200 + 50 * at) for at in range(3)]
    (tmp_path / "copy.wav").write_bytes(long[0].read_bytes())
    content = bytearray(long[1].read_bytes())
    content[9_000] ^= 1  # where no short piece looks
    (tmp_path / "nearly.wav").write_bytes(content)
    (tmp_path / "twice.wav").write_bytes(long[2].read_bytes())
    text = "path,split,speaker\n0.wav,train,x\n1.wav,train,y\n2.wav,train,z\n"
    text += "twice.wav,train,z\ncopy.wav,test,x\nnearly.wav,val,y\n"
    notes = read_corpus(table(tmp_path, text)).notes
    assert [note for note in notes if "leakage" in note] == [
        f"leakage: recordings of test that are in train too: 1, such as {tmp_path}/copy.wav is {tmp_path}/0.wav",
        "leakage: speakers of test that are in train too: 1 of 1",
    ]


def test_table_that_was_written_elsewhere_says_what_its_names_are_relative_to(tmp_path, monkeypatch):
    """As of `mtqscore label noisy/ clean/ --csv results/labels.csv`."""
    monkeypatch.chdir(tmp_path)
    tone(tmp_path / "a.wav")
    (tmp_path / "results").mkdir()
    with pytest.raises(FaultyTableError, match=r"no such file: \S+a\.wav; names are relative to the folder of the t"):
        read_corpus(table(tmp_path / "results", "path\na.wav\n"))


@pytest.mark.parametrize("speakers", [0, 9, 20])
def test_table_without_splits_gets_a_tenth_for_validation(tmp_path, speakers):
    """Whole speakers where a tenth of them is one; the same for the same seed."""
    lines = ["path,speaker,s_mos"]
    for number in range(40):
        tone(tmp_path / f"{number}.wav")
        lines.append(f"{number}.wav,{f's{number % speakers}' if speakers else ''},3")
    table(tmp_path, "\n".join(lines) + "\n")
    corpora = [read_corpus(tmp_path, CorpusConfig(seed=seed)) for seed in (1, 1, 2)]
    validating = [[row.path.name for row in corpus.recordings if row.split == "val"] for corpus in corpora]
    assert validating[0] == validating[1] != validating[2]
    how = "whole speakers" if speakers == 20 else "by recording"
    note = f"no column split: {len(validating[0])} recordings are drawn for val, {how}, and none for test"
    assert note in corpora[0].notes
    voices = {row.split: {one.extra["speaker"] for one in corpora[0].recordings if one.split == row.split}
              for row in corpora[0].recordings}  # fmt: skip
    assert len(validating[0]) == 4
    if speakers == 20:
        assert len(voices["val"]) == 2
        assert not voices["val"] & voices["train"]


def test_table_with_a_column_of_empty_splits_is_for_training_as_it_says(tmp_path):
    for name in "abc":
        tone(tmp_path / f"{name}.wav")
    corpus = read_corpus(table(tmp_path, "path,split\na.wav,\nb.wav,\nc.wav,\n"))
    assert {row.split for row in corpus.recordings} == {"train"}


def test_data_may_be_neither_path_nor_corpus(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"^nothing: no such file or folder, and no corpus of that name; known are tm"):
        read_corpus("nothing")
    with pytest.raises(InputError, match=r"no manifest\.csv"):
        read_corpus(tmp_path)
    tone(tmp_path / "a.wav")
    table(tmp_path, "path\na.wav\n")
    with pytest.raises(UsageError, match=r"^--three-quest-scores goes with tmhint-qi"):
        read_corpus(tmp_path, CorpusConfig(three_quest_scores=tmp_path / "x.csv"))


def test_a_hundred_thousand_faults_are_read_in_seconds(tmp_path):
    path = table(tmp_path, "path,s_mos\n" + "".join(f"x{at}.wav,3\n" for at in range(100_000)))
    start = time.process_time()
    assert len(parse_label_table(path).faults) == 100_000
    assert time.process_time() - start < 20
