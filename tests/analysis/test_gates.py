"""Gates: what may be written, what is judged, and that a file judged again says the same."""

from __future__ import annotations

import io
import re
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtqscore.analysis.gate_grammar import parse_gate
from mtqscore.analysis.gates import WORST_SHOWN, Gate, GateJudge, Level, Verdict, check_patterns, judge
from mtqscore.errors import UsageError
from mtqscore.report.gates import gate_lines, verdict_line
from mtqscore.report.summary import RunSummary
from mtqscore.results.csv import CsvWriter
from mtqscore.results.json import JsonLinesWriter
from mtqscore.results.reading import read_results
from mtqscore.results.run import Run
from mtqscore.scores import Assessment, Scores
from tests.report import kit

TARGETS = ("s_mos", "n_mos", "g_mos", "loudness", "p808_mos")
RUN = Run("1.2.3", "m@1", "ab" * 32, "CPUExecutionProvider", ("s_mos", "n_mos", "g_mos"), None)


def row(
    g_mos: float | None = 3.0, path: str | None = "a.wav", *, channel: str = "mean", n_mos: float = 2.0
) -> Assessment:
    scores = None if g_mos is None else Scores(1.5, n_mos, g_mos)
    return kit.row(path, g_mos, channel=channel, scores=scores, flags=(), options=None)


def gate(text: str, level: Level = Level.ERROR, paths: str | None = None) -> Gate:
    return parse_gate(text, TARGETS, level, paths)


def verdict(text: str, values: Sequence[float | None]) -> Verdict:
    (found,) = judge([gate(text)], [row(value, f"{number}.wav") for number, value in enumerate(values)]).verdicts
    return found


# --- the grammar ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "statistic", "target"),
    [
        ("  G_MOS ≥ 3.20  ", "g>=3.2", "every", "g_mos"),
        ("n ≤ 4e0", "n<=4", "every", "n_mos"),
        ("Median ( N ) > .25e1", "median(n)>2.5", "median", "n_mos"),
        ("p5(n)>=2.8", "p05(n)>=2.8", "p05", "n_mos"),
        ("p2.50(n)>=2.8", "p02.5(n)>=2.8", "p02.5", "n_mos"),
        ("share( g >= 3 ) >= 0.950", "share(g>=3)>=0.95", "share", "g_mos"),
        ("loudness<=-23", "loudness<=-23", "every", "loudness"),
        ("p808_MOS>=3", "p808>=3", "every", "p808_mos"),
        ("mean(g)>=3  in  a in b/*.wav ", "mean(g)>=3 in a in b/*.wav", "mean", "g_mos"),
    ],
)
def test_what_may_be_written(text: str, name: str, statistic: str, target: str) -> None:
    found = gate(text)
    assert (found.name, found.statistic, found.target) == (name, statistic, target)
    assert gate(found.name) == found


BOUNDS = st.tuples(st.sampled_from([">=", ">", "<=", "<", "≥", "≤"]), st.floats(1, 5, width=32)).map(
    lambda bound: f"{bound[0]} {bound[1]:g}"
)
METRICS = st.sampled_from(["s", "S-MOS", "n_mos", "G_MOS", "g", "p808"])


@given(
    METRICS,
    st.sampled_from(["{}", "mean({})", "Median( {} )", "min({})", "max({})", "p05({})", "p97.5({})", "share({})"]),
    BOUNDS,
    st.floats(0, 1).map(lambda share: round(share, 3)),
    st.sampled_from(["", " in clean/**", " in a in [!b]?.wav"]),
)
@settings(max_examples=50, derandomize=True)
def test_a_gate_written_again_is_the_same(metric: str, form: str, bound: str, share: float, pattern: str) -> None:
    text = f"share({metric}{bound})>={share}" if "share" in form else form.format(metric) + bound
    found = gate(text + pattern)
    assert gate(found.name) == found
    assert found.statistic in (form.partition("(")[0].lower(), "every")
    assert found.concerns("clean/a.wav") == ("[" not in pattern)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be understood"),
        ("g==3", "'==' is none of the signs"),
        ("share(g>3)=0.9", "'=' is none of the signs"),
        ("g>=3 and n>=2", "several"),
        ("x>=3", "unknown metric 'x'; known are s, n, g, loudness, p808"),
        ("loudnes>=3", "did you mean loudness?"),
        (">=3", "unknown metric ''"),
        ("meen(g)>=3", "did you mean mean? known are mean, median, min, max, share, p00 to p100"),
        ("p101(g)>=3", "unknown statistic 'p101'"),
        ("mean(g>=3)>=3", "unknown metric 'g>=3'"),
        ("share(g)>=0.5", "share needs a condition"),
        ("share(mean(g)>=3)>=0.5", "cannot be understood"),
        ("g>=three", "'three' is not a number"),
        ("g>=3,2", "'3,2' is not a number"),
        ("g>=nan", "is not a number"),
        ("loudness>=1e999", "is not a number"),
        ("g>=0.9", "always holds: values are from 1 to 5"),
        ("g>5.1", "can never hold: values are from 1 to 5"),
        ("share(g>=3)>=95", "can never hold: values are from 0 to 1"),
        ("share(g>=0)>=0.5", "always holds: values are from 1 to 5"),
        ("g>=3 in", "matches nothing"),
        ("g>=3 in [z-a]", "backwards"),
    ],
)
def test_what_may_not_be_written(text: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        gate(text)
    message = str(refused.value)
    assert said in message
    assert message.startswith(f"gate {text!r}: ")
    assert len(message.splitlines()) == 1


def test_every_gate_of_the_documentation_may_be_written() -> None:
    page = (Path(__file__).parents[2] / "docs" / "gates.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| `([^`]*=[^`]*)` \|", page, re.MULTILINE)
    assert len(found) >= 6
    assert [gate(text).name for text in found] == found


def test_the_ends_of_a_scale_are_limits_where_they_can_fail() -> None:
    assert [gate(text).text for text in ("g>1", "g>=5", "g<5", "g<=1", "share(g>=3)>=1", "share(g<2)<=0")]


def test_a_pattern_stands_once() -> None:
    assert gate("g>=3", paths="a/**").paths == "a/**"
    with pytest.raises(UsageError, match="two patterns"):
        gate("g>=3 in a/**", paths="b/**")
    with pytest.raises(UsageError, match="matches nothing"):
        gate("g>=3", paths="")


# --- patterns -------------------------------------------------------------------------------------------------


def test_arrays_are_judged_by_gates_without_a_pattern_only() -> None:
    found = judge([gate("g>=2"), gate("g>=2 in a.wav")], [row(1.5, None), row(2.5)])
    assert [verdict.rows for verdict in found.verdicts] == [2, 1]


@pytest.mark.parametrize("values", [[], [3.0], [None]])
def test_a_pattern_that_matches_no_row_is_wrong_use(values: list[float | None]) -> None:
    with pytest.raises(UsageError, match=r"'g>=2': its pattern 'b/\*\*' matches no recording"):
        judge([gate("g>=2"), gate("g>=2 in b/**")], [row(value, "a/1.wav") for value in values])


def test_patterns_can_be_checked_before_scoring() -> None:
    gates = [gate("g>=2"), gate("g>=2 in a/**"), gate("g>=2 in *.flac")]
    check_patterns(gates, ["a/1.wav", "b/2.flac"])
    check_patterns(gates[:1], [])
    with pytest.raises(UsageError, match="flac"):
        check_patterns(gates, ["a/1.wav", None])


# --- verdicts -------------------------------------------------------------------------------------------------

VALUES = [2.0, 4.0, 3.0, 3.5, 2.5]


@pytest.mark.parametrize(
    ("text", "observed", "margin", "passed", "failing"),
    [
        ("g>=2", 2.0, 0.0, True, 0),
        ("g>2", 2.0, 0.0, False, 1),
        ("g>=3", 2.0, -1.0, False, 2),
        ("g<=4", 4.0, 0.0, True, 0),
        ("g<3.5", 4.0, -0.5, False, 2),
        ("mean(g)>=3", 3.0, 0.0, True, 0),
        ("median(g)>3", 3.0, 0.0, False, 0),
        ("min(g)>=2.1", 2.0, -0.1, False, 0),
        ("min(g)<=2.1", 2.0, 0.1, True, 0),
        ("max(g)>=4.5", 4.0, -0.5, False, 0),
        ("p00(g)>=2", 2.0, 0.0, True, 0),
        ("p05(g)>=2.2", 2.1, -0.1, False, 0),
        ("p12.5(g)>=2.2", 2.25, 0.05, True, 0),
        ("p100(g)<=4", 4.0, 0.0, True, 0),
        ("share(g>=3)>=0.6", 0.6, 0.0, True, 2),
        ("share(g>3)>=0.6", 0.4, -0.2, False, 3),
        ("share(g<2.5)<=0.1", 0.2, -0.1, False, 1),
        ("share(g<2)<=0", 0.0, 0.0, True, 0),
    ],
)
def test_verdicts(text: str, observed: float, margin: float, passed: bool, failing: int) -> None:
    found = verdict(text, VALUES)
    assert (found.observed, found.margin, found.passed, found.failing, found.rows) == (
        pytest.approx(observed),
        pytest.approx(margin),
        passed,
        failing,
        5,
    )


@pytest.mark.parametrize("text", ["g>=2", "g<=4", "mean(g)>=2", "p05(g)<=4", "share(g>=2)>=0.5", "share(g<2)<=0.5"])
@pytest.mark.parametrize("values", [[], [None, None]])
def test_without_scores_nothing_passes(text: str, values: list[float | None]) -> None:
    found = verdict(text, values)
    assert (found.passed, found.observed, found.margin, found.rows) == (False, None, None, 0)


def test_rows_without_scores_do_not_count() -> None:
    found = verdict("share(g>=3)>=1", [3.0, None, 4.0])
    assert (found.passed, found.rows) == (True, 2)


@pytest.mark.parametrize(
    ("text", "worst"),
    [
        ("g>=3", [2.0, 2.5]),
        ("g<=3", [4.0, 3.5]),
        ("g>=2", []),
        ("share(g>=3)>=0.9", [2.0, 2.5]),
        ("share(g<3)<=0.1", [2.0, 2.5]),
        ("share(g>3)<=0.1", [4.0, 3.5]),
        ("mean(g)>=3.5", [2.0, 2.5, 3.0, 3.5, 4.0]),
        ("max(g)<=3.5", [4.0, 3.5, 3.0, 2.5, 2.0]),
    ],
)
def test_the_worst_recordings(text: str, worst: list[float]) -> None:
    found = verdict(text, VALUES)
    assert [item.value for item in found.worst] == worst
    assert all(item.path == f"{VALUES.index(item.value)}.wav" for item in found.worst)


def test_at_most_ten_are_named_and_the_earlier_first() -> None:
    values = [1.5] * 8 + [2.0] * 8
    found = verdict("g>=3", values[::-1])
    assert [item.path for item in found.worst] == [f"{number}.wav" for number in (*range(8, 16), 0, 1)]
    assert (len(found.worst), found.failing) == (WORST_SHOWN, 16)


def test_a_warning_fails_nothing() -> None:
    rows = [row(2.0)]
    assert judge([gate("g>=3", Level.WARN), gate("g>=2")], rows).passed
    assert not judge([gate("g>=3", Level.WARN), gate("g>=3")], rows).passed


# --- judged again ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "passed"), [(3.19994, False), (3.19996, True), (3.2, True), (3.2 - 1e-12, True), (3.20004, True)]
)
def test_scores_are_judged_as_files_show_them(value: float, passed: bool) -> None:
    for text in ("g>=3.2", "mean(g)>=3.2", "p05(g)>=3.2", "share(g>=3.2)>=1"):
        assert verdict(text, [value]).passed is passed
        assert verdict(text, [value] * 3).passed is passed


def test_a_share_is_not_rounded() -> None:
    report = judge([gate("share(g>=3)>=0.95")], [row(3.0)] * 23_749 + [row(2.0)] * 1_251)
    assert (report.passed, report.verdicts[0].observed) == (False, 0.94996)
    shown = gate_lines(report)[1].split()
    assert (shown[1], shown[3]) == ("0.9499600", "-0.0000400"), "it does not look like its limit"
    assert verdict("share(g>=3)>=0.95", [3.0] * 19 + [2.0]).passed


@pytest.mark.parametrize("kind", [JsonLinesWriter, CsvWriter])
def test_a_file_judged_again_says_the_same(kind: type[JsonLinesWriter] | type[CsvWriter], tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    rows = [
        row(float(value), f"{number % 3}/{number}.wav") for number, value in enumerate(generator.uniform(1.2, 4.8, 500))
    ]
    rows[7] = row(None, "1/7.wav")
    written = np.array([round(item.scores.g_mos, 4) for item in rows if item.scores is not None])
    # Limits right on what is observed, and one step to either side: where a difference would show.
    edges = {
        "{}": float(written.min()),
        "mean({})": float(np.mean(written)),
        "median({})": float(np.median(written)),
        "p05({})": float(np.percentile(written, 5)),
        "p97.5({})": float(np.percentile(written, 97.5)),
    }
    gates = [
        gate(form.format("g") + f">={round(edge, 4) + step:.4f}{where}")
        for form, edge in edges.items()
        for step in (-1e-4, 0, 1e-4)
        for where in ("", " in 1/**")
    ]
    gates += [gate(f"share(g>={edges['median({})']:.4f})>=0.5"), gate("share(g>=3)>=0.5 in 2/*")]
    stream = io.StringIO()
    writer = kind(stream, RUN)
    writer.begin()
    judging = GateJudge(gates)
    for item in rows:
        writer.write(item)
        judging.add(item)
    writer.finish(RunSummary())
    (tmp_path / "result").write_text(stream.getvalue(), encoding="utf-8")
    first, again = judging.report(), judge(gates, read_results(tmp_path / "result").rows)
    assert again == first
    assert [found.passed for found in first.verdicts if found.gate.paths is None][:3] == [True, True, False]


# --- shown ----------------------------------------------------------------------------------------------------


def test_the_table_is_aligned_and_names_the_worst() -> None:
    rows = [row(1.5 + number / 10, f"calls/{number}.wav", n_mos=2.0 + number / 10) for number in range(12)]
    gates = [
        gate("g>=2.5"),
        gate("p05(n)>=2.1", Level.WARN, "calls/*"),
        gate("share(n>=2.2)>=0.95"),
        gate("mean(s)<=4", paths="*.wav"),
    ]
    report = judge(gates, [*rows, row(None, "b.flac")])
    lines = gate_lines(report)
    assert lines[:10] == [
        "gate                 where    observed  limit   margin     recordings  result",
        "g>=2.5               all        1.5000    2.5  -1.0000  10 of 12 fail  FAILED",
        "p05(n)>=2.1          calls/*    2.0550    2.1  -0.0450             12  warning",
        "share(n>=2.2)>=0.95  all        0.8333   0.95  -0.1167   2 of 12 fail  FAILED",
        "mean(s)<=4           *.wav      1.5000      4  +2.5000             12  ok",
        "",
        " G-MOS   N-MOS  worst recordings",
        "1.5000  2.0000  calls/0.wav",
        "1.6000  2.1000  calls/1.wav",
        "1.7000          calls/2.wav",
    ]
    assert len(lines[7:]) == WORST_SHOWN
    assert verdict_line(report) == (
        "2 of 4 gates failed: g>=2.5 (1.5000), share(n>=2.2)>=0.95 (0.8333); "
        "1 of 4 gates only warned: p05(n)>=2.1 in calls/* (2.0550)"
    )


def test_when_nothing_failed_no_recording_is_named() -> None:
    report = judge([gate("g>=2"), gate("mean(g)>=4", Level.WARN)], [row(3.0)])
    lines = gate_lines(report)
    assert len(lines) == 3
    assert "where" not in lines[0], "no gate is limited"
    assert verdict_line(judge([gate("g>=2")], [row(3.0)])) == "1 gate passed"
    assert verdict_line(judge([gate("g>=2")], [row(None)])) == "1 of 1 gate failed: g>=2 (no scores)"


@pytest.mark.parametrize("name", ["\x1b[2Jx.wav", "new\nline.wav", "\udcff.wav", "-x.wav", "<script>", "a" * 300, None])
def test_hostile_names_do_nothing(name: str | None) -> None:
    wildcard = "" if name is None else " in *\x1b\n*"
    rows = [row(2.0, name), row(2.0, name, channel="2"), row(2.0, "\x1b\n.wav")]
    report = judge([gate("g>=3"), gate(f"g>=3{wildcard}")], rows)
    lines = gate_lines(report)
    assert all(line.isprintable() for line in [*lines, verdict_line(report)])
    assert sum("channel 2" in line for line in lines) == 1
    assert len(lines) == 8


def test_one_recording_named_twice_is_shown_twice() -> None:
    rows = [row(2.5, n_mos=2.0), row(2.0, n_mos=2.5), row(2.0, n_mos=2.5)]
    lines = gate_lines(judge([gate("g>=3"), gate("n>=3"), gate("mean(g)>=3")], rows))
    assert [line.split() for line in lines[-3:]] == [
        ["2.5000", "2.0000", "a.wav"],
        ["2.0000", "2.5000", "a.wav"],
        ["2.0000", "2.5000", "a.wav"],
    ]


def test_memory_grows_by_a_number_a_gate_for_each_row() -> None:
    gates = [gate(text) for text in ("g>=3", "p05(g)>=3", "share(g>=3)>=0.5")]
    judging = GateJudge(gates)
    item = row(2.0)
    for _ in range(WORST_SHOWN + 10):
        judging.add(item)
    tracemalloc.start()
    for _ in range(20_000):
        judging.add(item)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 20_000 * 8 * len(gates) * 2
    assert judging.report().verdicts[0].failing == 20_000 + WORST_SHOWN + 10
