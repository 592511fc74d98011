"""Scatter plots of estimates against labels."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from mtqscore.analysis.evaluate import evaluate
from mtqscore.labels.table import LabelledRecording
from mtqscore.report.plots import MOST_DOTS, Scatter, _spread, draw_scatter

NAMES = ["_under", "$x_1$ a $y$", "new\nline", "日本語", "-dash", "", "x" * 250, "\udcff", "<b>&amp;"]


def drawn(folder: Path, pairs: int, names: list[str], colour: str | None = None, targets: int = 1) -> str:
    """Draw an SVG and return its text."""
    draw = np.random.default_rng(pairs)
    rows = [
        LabelledRecording(
            Path(f"{index}.wav"),
            "test",
            dict(zip(("s_mos", "pesq", "stoi", "sdi"), draw.uniform(1, 4, targets), strict=False)),
            {"condition": names[index % len(names)]},
        )
        for index in range(pairs)
    ]
    estimates = {row.path: {name: value + 0.1 for name, value in row.labels.items()} for row in rows}
    found = evaluate(rows, estimates, resamples=10)
    draw_scatter(folder / "p.svg", rows, estimates, Scatter("a $model$", found, colour))
    return (folder / "p.svg").read_text(encoding="utf-8")


def words_of(picture: str) -> list[str]:
    return [
        "".join(text.itertext()) for text in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")
    ]


def test_a_picture_tells_what_it_shows(tmp_path):
    words = words_of(drawn(tmp_path, 20, ["a", "b", "c"]))
    assert "Estimates of a $model$ against labels" in words
    assert "S-MOS, 20 recordings" in words
    assert "S-MOS, 3 means by condition" in words
    assert "LCC 1.000 (1.000 to 1.000) · RMSE 0.100" in words
    assert words.count("label") == words.count("estimate") == 2
    assert {"a", "b", "c", "1", "5"} <= set(words)


def test_names_of_groups_are_shown_as_they_stand(tmp_path):
    words = words_of(drawn(tmp_path, 40, NAMES, "condition"))
    assert {r"new\nline", "日本語", "-dash", "(none)", r"\udcff", "<b>&amp;", "$x_1$ a $y$"} <= set(words)
    assert any("_under" in word for word in words), "matplotlib leaves out labels that begin so"
    assert max(map(len, words)) < 80
    assert "1 other" in words, "eight colours, and one for the rest"


@pytest.mark.parametrize(("pairs", "cells"), [(MOST_DOTS, False), (MOST_DOTS + 1, True)])
def test_many_recordings_are_counted_in_cells(tmp_path, pairs, cells):
    words = words_of(drawn(tmp_path, pairs, ["only"]))
    assert ("recordings in a cell" in words) is cells
    assert not [word for word in words if "means" in word], "one group has no means to compare"


def test_every_target_has_its_panel(tmp_path):
    words = words_of(drawn(tmp_path, 12, ["a", "b"], targets=4))
    heads = [word for word in words if re.match(r"[A-Z-]+, 12 recordings", word)]
    assert heads == [f"{name}, 12 recordings" for name in ("S-MOS", "PESQ", "STOI", "SDI")]


def test_the_same_plot_is_the_same_file(tmp_path):
    assert drawn(tmp_path, 30, ["a", "b"]) == drawn(tmp_path, 30, ["a", "b"])


def test_names_move_apart_and_keep_their_order():
    heights = _spread([0.1, 0.1, 0.1, 0.5, 0.9, 0.95])
    assert np.diff(heights).min() > 0.04
    assert heights.min() > 0.03
    assert heights.max() < 0.6
    assert _spread([]).tolist() == []
    assert _spread(np.linspace(0, 1, 24).tolist()).max() < 1.05


@pytest.fixture
def tables(tmp_path):
    (tmp_path / "l.csv").write_text("path,g_mos,kind\n" + "".join(f"{i}.wav,{1 + i / 10},{i % 2}\n" for i in range(20)))
    (tmp_path / "p.csv").write_text("path,g_mos\n" + "".join(f"{i}.wav,{1.2 + i / 11}\n" for i in range(20)))
    return tmp_path


@pytest.mark.parametrize(("name", "begin"), [("-a b.PNG", b"\x89PNG"), ("a.pdf", b"%PDF")])
def test_command_draws(run, tables, name, begin):
    done = run("evaluate", "l.csv", "--predictions", "p.csv", "--resamples", "5", f"--plot={name}", "--colour", "kind")
    assert done.returncode == 0, done.stderr.decode()
    assert (tables / name).read_bytes().startswith(begin)
    assert done.stderr.decode() == f"drawn to {name}\n"
    assert not list(tables.glob("*.partial"))


@pytest.mark.usefixtures("tables")
def test_a_place_that_cannot_be_written_is_named(run):
    done = run("evaluate", "l.csv", "--predictions", "p.csv", "--resamples", "5", "--plot", "p.csv/a.png")
    assert done.returncode == 2
    assert b"cannot write 'p.csv/a.png'" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_without_matplotlib_the_cure_is_named_before_anything_is_scored(tables):
    code = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "matplotlib":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
from mtqscore.cli import main
main()
"""
    words = ["evaluate", "no-table.csv", "--plot", "a.png"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=tables,
        capture_output=True,
        check=False,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 4
    wanted = "mtqscore: --plot needs the module matplotlib; install it with: pip install 'mtqscore[plots]'\n"
    assert done.stderr == wanted
