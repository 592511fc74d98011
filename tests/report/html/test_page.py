"""The HTML report as a file: what it holds, and that no name can break it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from mtqscore.analysis.gate_grammar import parse_gate
from mtqscore.analysis.gates import Level, judge
from mtqscore.report.html import HtmlWriter
from mtqscore.report.html.rows import safe_json
from mtqscore.report.summary import RunSummary
from mtqscore.scores import Assessment, Flag, Status
from tests.conftest import Run as RunCommand
from tests.report.html.kit import HOSTILE, MADE, RUN, TARGETS, Reader, page, scored, unscored
from tests.signals import speechlike, write


def test_hostile_names_are_text_and_nothing_else(tmp_path: Path) -> None:
    heard = write(tmp_path / "<b onclick=x>'&quot;.wav", speechlike(2.0))
    rows = [scored(name) for name in HOSTILE] + [unscored(name, reason=name) for name in HOSTILE] + [scored(str(heard))]
    calm = write(tmp_path / "c.wav", speechlike(2.0))
    tame = Reader(page([scored("a.wav")] * len(HOSTILE) + [unscored("b.wav")] * len(HOSTILE) + [scored(str(calm))]))
    found = Reader(page(rows))
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in tame.tags], "names must not add elements"
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    names = found.rows["names"]
    assert names[0] == HOSTILE[0]
    assert names[HOSTILE.index("rtl\u202egnp.wav")] == "rtl\\u202egnp.wav", "direction characters are shown, not obeyed"
    assert names[HOSTILE.index("bad\udcff.wav")] == "bad\\udcff.wav"
    assert "{{ 7 * 7 }}{% raw %}.wav" in found.text
    assert {"<b onclick=x>'&quot;.wav"} == {Path(name).name for name in names[-1:]}


@pytest.mark.parametrize("text", ["</script>", "<!--", "]]>", "\u2028\u2029", "\udcff", "&lt;", '"\\'])
def test_data_cannot_leave_its_script_element(text: str) -> None:
    written = safe_json({text: [text]})
    assert written.isascii()
    assert not set("<>&") & set(written)
    assert json.loads(written) == {text: [text]}


def test_only_the_own_style_and_script_may_run() -> None:
    text = page([scored("a.wav")])
    found = Reader(text)
    (policy,) = (meta["content"] for meta in found.named("meta") if meta.get("http-equiv"))
    assert policy is not None
    for kind, content in (("style-src", found.style), ("script-src", found.scripts[-1])):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert not any("style" in attributes for _, attributes in found.tags), "the policy would drop it"
    links = set(re.findall(r"https?://[^\s\"'<)]+", text))
    assert links <= {"http://www.w3.org/2000/svg"}, "the page must need nothing from elsewhere"


def test_every_row_is_there_and_the_first_without_scripts() -> None:
    rows = [scored(f"{index}.wav", 1 + index / 100) for index in range(150)] + [unscored("last.wav")]
    found = Reader(page(rows, replace(MADE, files=0)))
    assert found.rows["names"] == [row.path for row in rows]
    assert found.rows["scores"][2][:2] == [10_000, 10_100]
    assert found.rows["scores"][2][-1] == found.rows["missing"]
    assert "99.wav" in found.text
    assert "100.wav" not in found.text, "static rows are bounded"
    assert "first 100 of\n  151 rows" in found.text
    assert "1 not scored" in found.text


def test_the_head_says_what_was_done() -> None:
    text = Reader(page([scored("a.wav", 2.0), scored("b.wav", 4.0, flags=(Flag.CLIPPED,))])).text
    for words in ("Speech quality of 2 recordings", "4.0 s of speech scored", "m@1", "ab" * 32, "mtqscore 1.2.3"):
        assert words in text
    for words in ("2026-11-21 12:00 UTC", "CPUExecutionProvider", "samples stand at full scale", "5 not distorted"):
        assert words in text


def test_histograms_have_words_and_a_table() -> None:
    rows = [scored(f"{index}", value) for index, value in enumerate((1.0, 2.0, 4.0, 4.0))]
    found = Reader(page(rows))
    labels = [item["aria-label"] or "" for item in found.named("svg")]
    assert len(labels) == 3
    assert "G-MOS: mean 2.75, median 3.00, from 1.00 to\n      4.00" in labels[2]
    counts = re.search(r"4\.00 to 4\.25\s+(\d)\s*(\d)\s*(\d)", found.text)
    assert counts is not None
    assert counts[3] == "2"


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [unscored("a.wav")],
        [unscored(None, Status.UNREADABLE, "")],
        [scored(None)],
        [scored("a.wav", frames=None)],
        [scored("a.wav", duration_s=None)],
    ],
    ids=["no rows", "none scored", "no reason", "an array", "no frames", "no length"],
)
def test_odd_results_still_make_a_page(rows: list[Assessment]) -> None:
    found = Reader(page(rows, gates=("g>=2", "mean(s)>=3")))
    assert len(found.rows["names"]) == len(rows)
    assert len(found.details) == sum(row.ok for row in rows)


def test_gates_and_their_failing_rows() -> None:
    rows = [scored("a/1.wav", 1.5), scored("b/2.wav", 1.4), scored("b/3.wav", 3.0), unscored("b/4.wav")]
    found = Reader(page(rows, gates=("g>=2 in b/*", "mean(g)>=1.5", "share(g>=2)>=0.9")))
    assert "2 of 3 gates failed; 1 of 4 not scored" in found.text
    assert found.rows["gates"] == [[1], [0, 1]]
    # A result with holes does not pass, whatever its gates say.
    holes = page(rows, gates=("g>=1.2",))
    assert '<p class="verdict fail">1 of 4 not scored</p>' in holes
    assert '<p class="verdict pass">Passed</p>' in page(rows[:3], gates=("g>=1.2",))
    assert 'class="verdict' not in page(rows[:3])


def test_a_warning_is_no_failure() -> None:
    rows = [scored("a.wav", 1.5)]
    stream, summary = io.StringIO(), RunSummary()
    writer = HtmlWriter(stream, RUN, MADE)
    writer.write(rows[0])
    summary.add(rows[0])
    summary.gates = judge([parse_gate("g>=2", TARGETS, Level.WARN)], rows)
    writer.finish(summary)
    found = Reader(stream.getvalue())
    assert "1 gate warns" in found.text
    assert "failed" not in found.text


def test_the_comparison_is_shown() -> None:
    from mtqscore.analysis.compare import CompareConfig, compare_results
    from mtqscore.results.run import Results

    base = [scored(f"<{index}>.wav", 3 + index / 10) for index in range(8)]
    new = [scored(f"<{index}>.wav", 2.5 + index / 10) for index in range(8)]
    stream, summary = io.StringIO(), RunSummary()
    writer = HtmlWriter(stream, RUN, MADE)
    for row in new:
        writer.write(row)
        summary.add(row)
    results = (Results("base <b>.jsonl", RUN, tuple(base)), Results("now", RUN, tuple(new)))
    summary.comparison = compare_results(*results, CompareConfig({"g_mos": 0.1}))
    writer.finish(summary)
    text = Reader(stream.getvalue()).text
    for words in ("base <b>.jsonl", "8 pairs", "−0.500", "worse", "G-MOS fell by more than", "Largest losses"):
        assert words in text


def test_the_same_rows_give_the_same_page(tmp_path: Path) -> None:
    rows = [scored(str(write(tmp_path / f"{n}.wav", speechlike(1.0, seed=n))), 1 + n / 5, 1.0) for n in range(12)]
    assert page(rows, replace(MADE, files=5)) == page(rows, replace(MADE, files=5))


def test_assess_writes_a_report(run: RunCommand, tmp_path: Path) -> None:
    write(tmp_path / "a <i>.wav", speechlike(2.0))
    write(tmp_path / "b.ogg", speechlike(3.0, 44_100, seed=1), 44_100, format="OGG", subtype="VORBIS")
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    assert run("assess", ".", "--html", "r.html", "--fail-under", "g>=4.9").returncode == 3
    found = Reader((tmp_path / "r.html").read_text("utf-8"))
    assert [Path(name).name for name in found.rows["names"]] == ["a <i>.wav", "b.ogg", "broken.wav"]
    assert len(found.details) == 2
    assert all(detail["curves"]["s_mos"] and detail["audio"] and detail["image"] for detail in found.details)
    assert "1 of 1 gate failed" in found.text


def test_a_report_without_sound_is_small(run: RunCommand, tmp_path: Path) -> None:
    write(tmp_path / "a.wav", speechlike(2.0))
    done = run("assess", "a.wav", "--html", "-", "--html-files", "0")
    assert done.returncode == 0
    found = Reader(done.stdout.decode())
    assert (found.rows["names"], found.details) == (["a.wav"], [])
    assert len(done.stdout) < 60_000
    assert run("assess", "a.wav", "--html", "r.html", "--html-files", "-1").returncode == 2
    assert not (tmp_path / "r.html").exists()
