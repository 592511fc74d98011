"""Recordings and their references: pairs found in folders, and rows for what ends a process."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mtqscore.labels import records
from mtqscore.labels.measures import raw_pesq
from mtqscore.labels.pairs import ReferenceTriple, find_triples
from mtqscore.labels.records import label_records

EXAMPLES = Path(__file__).parents[2] / "examples"


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_folders_are_searched_and_every_recording_is_a_row(tmp_path: Path) -> None:
    processed = touch(tmp_path / "enh", "a.wav", "b.flac", "spk/c.wav", "lost.wav", "two.wav", "run.log", ".hidden.wav")
    clean = touch(tmp_path / "clean", "a.wav", "a.json", "b.wav", "spk/c.ogg", "two.flac", "two.ogg")
    found = {str(one.processed.relative_to(processed)): one for one in find_triples(processed, clean, None)}
    assert list(found) == ["a.wav", "b.flac", "lost.wav", "spk/c.wav", "two.wav"]
    assert found["a.wav"].clean == clean / "a.wav"
    assert found["b.flac"].clean == clean / "b.wav"
    assert found["spk/c.wav"].clean == clean / "spk" / "c.ogg"
    assert "no recording lost in" in found["lost.wav"].problem
    assert "more than one recording two in" in found["two.wav"].problem
    assert not found["a.wav"].problem


def deadly(triple: ReferenceTriple, _bandwidth: str) -> dict[str, object]:
    """Stand in for a label whose C code ends the process at one recording."""
    if triple.processed.name == "deadly.wav":
        os.abort()
    return {"path": str(triple.processed), "status": "ok"}


def test_what_ends_a_process_costs_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_label", deadly)
    names = ["a.wav", "deadly.wav", "b.wav", "c.wav"]
    rows = list(label_records([ReferenceTriple(Path(name), Path("clean.wav")) for name in names]))
    assert [row["path"] for row in rows] == names
    assert [row["status"] == "ok" for row in rows] == [True, False, True, True]
    assert "ended its process" in str(rows[1]["status"])


def test_many_utterances_have_the_quality_of_one() -> None:
    speech = soundfile.read(EXAMPLES / "clean.flac")[0]
    word = np.pad(speech[8_000:20_000], 6_000)
    many = np.tile(word, 80)  # two minutes: the C code alone would end this process
    noise = 0.01 * np.random.default_rng(0).standard_normal(len(many))
    assert raw_pesq(many, many, 16_000) == pytest.approx(4.5, abs=0.01)
    short = raw_pesq(many[: 16 * 16_000], (many + noise)[: 16 * 16_000], 16_000)
    assert raw_pesq(many, many + noise, 16_000) == pytest.approx(short, abs=0.2)
