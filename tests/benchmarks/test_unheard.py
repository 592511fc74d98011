"""The table of a model card on what training never heard."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.release import unheard
from mtqscore import AssessConfig, Assessor
from mtqscore.errors import InputError
from mtqscore.labels.table import LabelledRecording, write_label_table
from mtqscore.targets import SUPERVISED
from tests.signals import speechlike, write

BENCHMARKS = Path(__file__).parents[2] / "benchmarks" / "release"

NOISE = """path,family,split
noise/of ice.ogg,office,test
noise/-keys.ogg,office,test
noise/rain a.ogg,rain,test
noise/rain b.ogg,rain,train
"""


def step(name: str, **more: str) -> dict[str, str]:
    return {"name": name, **more}


RECORDED = step("noise", kind="recorded")
KINDS: dict[str, tuple[list[dict[str, str]], str]] = {
    "vorbis": ([step("codec", codec="vorbis")], ""),
    "opus": ([step("codec", codec="opus")], ""),
    "both": ([RECORDED, step("klt"), step("codec", codec="vorbis")], "of ice.ogg"),
    "klt": ([step("noise", kind="white"), step("klt")], "white"),
    "mask": ([RECORDED, step("mask")], "rain a.ogg"),
    "mask of clean speech": ([step("mask")], ""),
    "office": ([RECORDED], "of ice.ogg"),
    "keys": ([RECORDED], "-keys.ogg"),
    "babble": ([step("noise", kind="babble")], "babble"),
    "reverb": ([step("reverb")], ""),
}
"""Steps, and what stands in the column noise."""
UNHEARD = {"vorbis", "both", "klt", "office", "keys"}
EACH = 10


def corpus() -> tuple[list[LabelledRecording], dict[Path, dict[str, float]]]:
    """Ten recordings a kind; scores are half a point too high for what training never heard, and else exact."""
    rows, estimates = [], {}
    for kind, (steps, noise) in KINDS.items():
        for number in range(EACH):
            path, label = Path(f"{kind} {number}"), 1 + 0.3 * number
            extra = {"chain": json.dumps([step("recolour"), *steps]), "noise": noise}
            rows.append(LabelledRecording(path, "test", {target.name: label for target in SUPERVISED}, extra))
            estimates[path] = {target.name: label + 0.5 * (kind in UNHEARD) for target in SUPERVISED}
    rows.append(
        LabelledRecording(Path("heard"), "train", {"s_mos": 1.0}, {"chain": json.dumps([step("klt")]), "noise": ""})
    )
    estimates[Path("heard")] = {"s_mos": 5.0}
    return rows, estimates


def table(text: str) -> dict[str, list[str]]:
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {line[0]: line[1:] for line in lines[2:]}


def test_each_thing_held_out_stands_beside_the_like_that_was_heard(tmp_path, capsys):
    (tmp_path / "n.csv").write_text(NOISE)
    rows, estimates = corpus()
    unheard.print_unheard(rows, estimates, ["klt", "vorbis", "reverb"], unheard.read_noise(tmp_path / "n.csv"))
    found = table(capsys.readouterr().out)
    assert {name: (cells[0], int(cells[1])) for name, cells in found.items()} == {
        "codec vorbis": ("no", 20),
        "other codecs": ("yes", 10),
        "enhancer klt": ("no", 20),
        "other enhancers": ("yes", 10),
        "distortion reverb": ("no", 10),
        "other distortions": ("yes", 30),
        "noise: office": ("no", 20),
        "noise of other families": ("other recordings", 10),
        "made noise and babble": ("yes", 10),
        "no noise": ("yes", 20),
    }
    for name, (heard, _, *cells) in found.items():
        error = 0.5 if heard == "no" and name != "distortion reverb" else 0.0
        assert [float(cell.split()[0]) for cell in cells] == pytest.approx([1.0, error] * 3), name
        assert all("(" in cell for cell in cells), name


def test_without_a_table_of_noise_and_without_recordings(capsys):
    rows, estimates = corpus()
    unheard.print_unheard(rows, estimates, ["gsm"], None)
    found = table(capsys.readouterr().out)
    assert {name: cells[:2] for name, cells in found.items()} == {
        "codec gsm": ["no", "0"],
        "other codecs": ["yes", "30"],
    }


@pytest.mark.parametrize("held_out", [["vorbis"], []])
def test_card_of_a_corpus_tells_what_it_held_out(tmp_path, capsys, monkeypatch, fake_model, held_out):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from model_card import print_accuracy  # as the script finds what lies beside it

    rows = [replace(row, path=tmp_path / f"{number}.wav") for number, row in enumerate(corpus()[0])]
    for number, row in enumerate(rows):
        write(row.path, (1 + number % 7) / 7 * speechlike(0.6))
    write_label_table(tmp_path / "manifest.csv", rows)
    (tmp_path / "simulation.json").write_text(json.dumps({"hold_out": held_out}))
    print_accuracy(Assessor(AssessConfig(model=fake_model)), "corpus", tmp_path, "test", None)
    found = capsys.readouterr().out
    assert "100 recordings, 0 without a score." in found
    assert ("| codec vorbis | no | 20 |" in found) is ("never heard" in found) is bool(held_out)


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (NOISE.replace("of ice", "ice"), "its noise 'of ice.ogg' is not in the table"),
        (f"{NOISE}other/of ice.ogg,rain,test\n", "of ice.ogg is of the families office and rain"),
        ("path,split\na,test\n", "no column 'family'"),
    ],
)
def test_faulty_table_of_noise_is_named(tmp_path, noise, message):
    (tmp_path / "n.csv").write_text(noise)
    rows, estimates = corpus()
    with pytest.raises(InputError, match=message):
        unheard.print_unheard(rows, estimates, [], unheard.read_noise(tmp_path / "n.csv"))
