"""Two results side by side: pairs, intervals that can be trusted, limits, and what is said about them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtqscore.analysis.compare import (
    Change,
    CompareConfig,
    Comparison,
    check_comparable,
    compare_results,
    parse_max_drop,
)
from mtqscore.config import AssessConfig
from mtqscore.errors import UsageError
from mtqscore.report.comparison import (
    comparison_as_dict,
    comparison_lines,
    comparison_markdown,
    limits_line,
    sentences,
)
from mtqscore.results.run import Results, Run
from mtqscore.scores import Assessment, Scores, Status
from tests.report import kit

MODEL = "m@1"
TARGETS = ("s_mos", "n_mos", "g_mos")


def row(path: str | None, g_mos: float | None = 3.0, channel: str = "mean") -> Assessment:
    broken: dict[str, object] = {"status": Status.UNREADABLE, "reason": "broken"}
    outcome = broken if g_mos is None else {"scores": Scores(2.0, 4.0, g_mos)}
    return kit.row(path, g_mos, channel=channel, flags=(), options=None, **outcome)


def side(rows: Iterable[Assessment], source: str = "base.jsonl", sha256: str = "", model: str = MODEL) -> Results:
    return Results(source, Run("1", model, sha256, "", TARGETS, None), tuple(rows))


def named(names: Sequence[str], scores: Iterable[float] | None = None, source: str = "base.jsonl") -> Results:
    values = scores if scores is not None else [3.0] * len(names)
    return side([row(name, value) for name, value in zip(names, values, strict=True)], source)


def compared(base: Sequence[float], new: Sequence[float], config: CompareConfig | None = None) -> Comparison:
    """Compare two sets of G-MOS of the same recordings."""
    names = [f"{index}.wav" for index in range(max(len(base), len(new)))]
    return compare_results(named(names[: len(base)], base), named(names[: len(new)], new, "new.jsonl"), config)


# --- pairs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "new", "expected", "matched_by"),
    [
        (["a.wav", "b.wav"], ["b.wav", "a.wav"], ["a.wav", "b.wav"], "path"),
        # What no way finds has no partner.
        (["a.wav", "b.wav", "c.wav"], ["x/b.wav", "a.wav"], ["a.wav"], "path"),
        (["v1/x/a.wav", "v1/b.wav"], ["/v2/b.wav", "/v2/x/a.wav"], ["/v2/x/a.wav", "/v2/b.wav"], "below"),
        (["c:\\v1\\x\\a.wav", "c:\\v1\\b.wav"], ["v2/x/a.wav", "./v2//b.wav"], ["v2/x/a.wav", "./v2//b.wav"], "below"),
        (["a/one.wav"], ["b/one.wav"], ["b/one.wav"], "below"),
        (["a/x.wav", "a/y.wav"], ["b/x.flac", "b/y.mp3"], ["b/x.flac", "b/y.mp3"], "without extension"),
        (["x.y.wav", "y.tar.wav"], ["x.y.ogg", "y.tar.ogg"], ["x.y.ogg", "y.tar.ogg"], "without extension"),
        # The way that finds most is taken.
        (["a/x.wav", "a/y.wav"], ["a/x.wav", "a/y.mp3"], ["a/x.wav", "a/y.mp3"], "without extension"),
        # One name given twice is paired in order.
        (["a.wav", "a.wav", "b.wav"], ["b.wav", "a.wav", "a.wav"], ["a.wav", "a.wav", "b.wav"], "path"),
        (["\udcff.wav", "new\nline"], ["new\nline", "\udcff.wav"], ["\udcff.wav", "new\nline"], "path"),
        (["a.wav", "b.wav"], ["c.wav", "d.wav"], [], ""),
    ],
)
def test_pairs_are_found_by_name(base: list[str], new: list[str], expected: list[str], matched_by: str) -> None:
    found = compare_results(named(base), named(new, source="new.jsonl"))
    assert [pair.new_path for pair in found.pairs] == expected
    assert found.paired == bool(expected)
    assert matched_by in found.matched_by
    assert bool(found.matched_by) == found.paired


@given(st.lists(st.text("ab/.é", min_size=1, max_size=6), min_size=1, max_size=8, unique=True), st.randoms())
@settings(max_examples=50, derandomize=True)
def test_every_name_finds_itself_in_any_order(names: list[str], random: Random) -> None:
    shuffled = random.sample(names, len(names))
    found = compare_results(named(names), named(shuffled))
    assert [(pair.base_path, pair.new_path) for pair in found.pairs] == [(name, name) for name in names]
    assert found.matched_by == "path"


@pytest.mark.parametrize(
    ("base", "new", "name"),
    [
        (["a.wav", "a.wav", "b.wav"], ["a.wav", "b.wav"], "a.wav"),
        (["x.wav", "x.flac"], ["x.mp3", "y.mp3"], "x"),
        (["x.wav", "x.flac"], ["x.mp3", "x.ogg"], "x"),
        (["x" * 10_000 + ".wav"] * 2, ["x" * 10_000 + ".wav"], "xxx…"),
    ],
)
def test_a_name_that_does_not_tell_is_refused(base: list[str], new: list[str], name: str) -> None:
    with pytest.raises(UsageError, match=name) as caught:
        compare_results(named(base), named(new, source="new.jsonl"))
    assert len(str(caught.value)) < 400
    assert not compare_results(named(base), named(new), CompareConfig(unpaired=True)).paired


def test_channels_are_paired_with_their_like() -> None:
    base = side([row("a.wav", 2.0, "1"), row("a.wav", 4.0, "2")])
    new = side([row("a.wav", 4.5, "2"), row("a.wav", 2.5, "1")])
    found = compare_results(base, new)
    assert [(pair.channel, pair.new["g_mos"] - pair.base["g_mos"]) for pair in found.pairs] == [("1", 0.5), ("2", 0.5)]
    mixed = compare_results(base, side([row("a.wav")]))
    assert not mixed.paired
    assert any("--channels" in note for note in mixed.notes)


@pytest.mark.parametrize(("new", "said"), [("tf32", True), ("fp32", False), (None, False)])
def test_sides_of_unlike_precision_are_told(new: str | None, said: bool) -> None:
    base = side([replace(row("a.wav"), precision="fp32"), row("b.wav", None)])
    options = None if new is None else AssessConfig(precision=new)
    found = compare_results(base, side([replace(row("a.wav"), options=options)]))
    assert any("computed in fp32 and tf32" in note for note in found.notes) == said


def test_arrays_have_no_name_to_pair_them_by() -> None:
    found = compare_results(side([row(None), row(None)]), side([row(None), row(None)]))
    assert not found.paired


def test_a_recording_that_lost_its_score_is_seen() -> None:
    base = named(["a.wav", "b.wav", "c.wav", "d.wav"])
    new = side([row("a.wav"), row("b.wav", None, channel=""), row("d.wav", 3.0), row("e.wav")], "new.jsonl")
    found = compare_results(base, new)
    assert (len(found.pairs), found.only_base, found.only_new) == (2, 2, 1)
    assert (found.base_unscored, found.new_unscored) == (0, 1)
    assert found.missing == ("b.wav", "c.wav")
    text = "\n".join(comparison_lines(found))
    assert "2 of base.jsonl without a score in new.jsonl: b.wav, c.wav" in text
    assert "1 of new.jsonl could not be scored" in text


# --- figures --------------------------------------------------------------------------------------------------


def test_figures_by_hand() -> None:
    found = compared([3.0, 3.0, 3.0, 3.0, 3.0], [3.05, 3.06, 2.95, 2.9, 3.2])
    by_target = {item.target: item for item in found.differences}
    g_mos = by_target["g_mos"]
    assert (g_mos.base, g_mos.new, g_mos.mean) == (3.0, 3.032, 0.032)
    # Moves of 0.05 are even, to the last digit.
    assert (g_mos.better, g_mos.worse) == (2, 1)
    assert g_mos.change is Change.NOT_SIGNIFICANT
    assert [pair.base_path for pair in found.losses] == ["3.wav"]
    assert (by_target["s_mos"].better, by_target["s_mos"].interval.high) == (0, 0.0)


def test_the_largest_losses_come_first_and_are_ten() -> None:
    new = [4.0 - 0.1 * index for index in range(30)]
    losses = compared([4.0] * 30, new).losses
    assert [pair.base_path for pair in losses] == [f"{index}.wav" for index in range(29, 19, -1)]


def test_the_same_again_is_no_change_even_with_the_strictest_limit() -> None:
    scores = list(np.random.default_rng(0).uniform(1, 5, 50).round(4))
    found = compared(scores, scores, CompareConfig(max_drop={"g": 0.0, "s": 0.0, "n": 0.0}))
    assert {item.change for item in found.differences} == {Change.NOT_SIGNIFICANT}
    assert found.passed


def test_two_halves_of_one_thing_differ_in_one_of_twenty() -> None:
    """A/A: scores that only jitter are called different about as rarely as a level of 95 % says."""
    draw = np.random.default_rng(7)
    called = 0
    for study in range(300):
        quality = draw.uniform(1.5, 4.5, 12)
        base, new = (quality + draw.normal(0, 0.2, 12) for _ in range(2))
        found = compared(base, new, CompareConfig(resamples=400, seed=study))
        called += found.differences[2].change in (Change.BETTER, Change.WORSE)
    assert 3 <= called <= 30


@pytest.mark.parametrize("paired", [True, False])
def test_a_shift_is_found_and_pairs_find_smaller_ones(paired: bool) -> None:
    """Power: recordings differ far more from each other than a change moves them."""
    draw = np.random.default_rng(3)
    quality = draw.uniform(1.5, 4.5, 40)
    base, new = quality + draw.normal(0, 0.1, 40), quality - 0.15 + draw.normal(0, 0.1, 40)
    found = compared(base, new, CompareConfig(unpaired=not paired))
    difference = found.differences[2]
    assert difference.change is (Change.WORSE if paired else Change.NOT_SIGNIFICANT)
    assert difference.interval.low < -0.15 < difference.interval.high
    assert found.paired == paired
    assert (difference.better is None) == (not paired)


def test_the_same_seed_gives_the_same_figures() -> None:
    draw = np.random.default_rng(1)
    base, new = draw.uniform(2, 4, 20), draw.uniform(2, 4, 20)
    intervals = [compared(base, new, CompareConfig(seed=seed)).differences[2].interval for seed in (1, 1, 2)]
    assert intervals[0] == intervals[1] != intervals[2]


def test_scores_are_taken_as_they_stand_in_files() -> None:
    # In memory it fell by a hair; a file does not know.
    found = compared([3.00004] * 10, [2.99996] * 10)
    assert found.differences[2].mean == 0.0


# --- limits ---------------------------------------------------------------------------------------------------


def test_a_drop_of_two_recordings_fails_nothing_and_says_that_it_was_not_judged() -> None:
    found = compared([4.0, 4.0], [1.0, 2.0], CompareConfig(max_drop={"g": 0.1}))
    assert found.passed
    assert limits_line(found) == "1 limit of a drop not judged: too few recordings to tell"
    assert "cannot be judged" in "\n".join(comparison_lines(found))


@pytest.mark.parametrize(
    ("drops", "limit", "passed"),
    [
        ([0.1] * 10, 0.1, True),
        ([0.1] * 10, 0.0999, False),
        ([0.0, 0.4] * 10, 0.1, True),
        ([0.19, 0.21] * 10, 0.1, False),
        ([0.001] * 10, 0.0, False),
        ([-0.2] * 10, 0.0, True),
    ],
)
def test_a_drop_fails_when_it_is_certain(drops: list[float], limit: float, passed: bool) -> None:
    found = compared([3.0] * len(drops), [3.0 - drop for drop in drops], CompareConfig(max_drop={"G-MOS": limit}))
    assert found.passed == passed
    assert [item.max_drop for item in found.differences] == [None, None, limit]
    assert (limits_line(found) == "1 limit of a drop kept") == passed
    assert ("FAILED" in "\n".join(comparison_lines(found))) == (not passed)


def test_limits_as_users_write_them() -> None:
    assert parse_max_drop(["g=0.1", " s = 0 ", "N-MOS=1e-2"]) == {"g": 0.1, "s": 0.0, "N-MOS": 0.01}
    run = side([]).run
    assert check_comparable(run, run, CompareConfig(max_drop={"g": 0.1, "N-MOS": 0.2})) == {"g_mos": 0.1, "n_mos": 0.2}


@pytest.mark.parametrize("text", ["", "g", "=0.1", "g=", "g=nan", "g=-0.1", "g=4", "g=inf", "g=0,1", "g=0.1 s=0.2"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="drop"):
        parse_max_drop([text])


@pytest.mark.parametrize("limits", [{"q": 0.1}, {"g": 0.1, "g_mos": 0.2}, {"g": 4.0}, {"g": math.nan}, {"g": -1.0}])
def test_limits_that_make_no_sense_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="max-drop"):
        compared([3.0] * 3, [3.0] * 3, CompareConfig(max_drop=limits))
    with pytest.raises(UsageError, match="--max-drop"):
        parse_max_drop(["g=0.1", "g=0.2"])


# --- models ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "new", "differ"),
    [
        ((MODEL, "aa"), (MODEL, "aa"), False),
        ((MODEL, "aa"), (MODEL, ""), False),
        ((MODEL, "aa"), (MODEL, "bb"), True),
        ((MODEL, ""), ("m@2", ""), True),
    ],
)
def test_scores_of_different_models_are_not_compared(base: tuple[str, str], new: tuple[str, str], differ: bool) -> None:
    sides = [side([row("a.wav")], model=model, sha256=sha256) for model, sha256 in (base, new)]
    if differ:
        with pytest.raises(UsageError, match="different models"):
            compare_results(*sides)
    found = compare_results(*sides, CompareConfig(allow_other_model=True))
    assert any("models differ" in note for note in found.notes) == differ


def test_a_side_without_scores_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'new.jsonl': no row has scores, the first is unreadable: broken"):
        compare_results(named(["a.wav"]), side([row("a.wav", None)], "new.jsonl"))


# --- what is said ---------------------------------------------------------------------------------------------


def test_sentences_that_anyone_reads() -> None:
    draw = np.random.default_rng(0)
    base = draw.uniform(2, 4, 60).round(2)
    fell = compared(base, base - 0.12 + draw.normal(0, 0.05, 60), CompareConfig(max_drop={"g": 0.05}))
    assert re.fullmatch(
        r"G-MOS fell by 0\.1\d+ \(95 % 0\.1\d+ to 0\.1\d+\), beyond the 0\.05 that it may fall", sentences(fell)[2]
    )
    rose = compared(base, base + 0.2 + draw.normal(0, 0.05, 60))
    assert re.fullmatch(r"G-MOS rose by 0\.2\d+ \(95 % 0\.1\d+ to 0\.2\d+\)", sentences(rose)[2])
    same = compared(base, base + draw.normal(0, 0.5, 60), CompareConfig(max_drop={"g": 1.0}))
    assert "G-MOS did not change significantly" in sentences(same)[2]
    assert sentences(same)[2].endswith("within the 1 that it may fall")
    few = compared([3.0, 3.0], [2.0, 2.0])
    assert sentences(few)[2] == "G-MOS has too few recordings to tell: -1.00"
    assert limits_line(few) == ""


@pytest.mark.parametrize(
    ("drops", "limit", "shown"),
    [
        ([0.1, 0.2] * 4, 0.5, r"-0\.\d\d to -0\.\d\d "),
        # An end of 0.00 would not say why this is worse, nor one of -0.10 why it is too much.
        ([0.004, 0.001, 0.002, 0.003] * 9, 0.5, r"-0\.00\d to -0\.00[1-9] "),
        ([0.1012, 0.1008] * 9, 0.1, r"-0\.10\d+ to -0\.10\d*[1-9] "),
    ],
)
def test_figures_have_the_decimals_that_show_why(drops: list[float], limit: float, shown: str) -> None:
    found = compared([3.0] * len(drops), [3.0 - drop for drop in drops], CompareConfig(max_drop={"g": limit}))
    assert found.differences[2].change is Change.WORSE
    assert re.search(shown, comparison_lines(found)[3])


HOSTILE = ["a|b.wav", "`c`.wav", "new\nline.wav", "<script>alert(1)</script>.wav", "@everyone.wav", "\udcff.wav"]
HOSTILE += ["\x1b[2J.wav", "[x](http://y).wav", "**bold**.wav", "&lt;.wav", "\u202e.wav", "1. x", "- y", "x" * 300]


def test_hostile_names_break_neither_a_terminal_nor_markdown_nor_json() -> None:
    base, new = named(HOSTILE, source="<b>|\n`@me`"), named(HOSTILE, [1.5] * len(HOSTILE), "\x1b]0;x\x07\udcff")
    for config in (CompareConfig(), CompareConfig(unpaired=True)):
        found = compare_results(base, new, config)
        assert all(line.isprintable() for line in comparison_lines(found))
        text = comparison_markdown(found)
        text.encode("utf-8")
        # In a span of code, marks are none.
        outside = re.sub("`[^`|\n]+`", "", text)
        assert not re.search(r"<(?!/?code>|!-- -->)|@|`|\[|\*|^#|^- (-|\d+\.) ", outside, re.MULTILINE)
        tables = [line for line in text.splitlines() if line.startswith("|")]
        # Score, base, new, change, interval, counts of pairs, result; and three scores before the name of a loss.
        assert {line.count("|") for line in tables} == ({9, 5} if found.paired else {7})
        assert json.loads(json.dumps(comparison_as_dict(found), allow_nan=False))["paired"] == found.paired


def test_json_says_what_is_not_known_as_null() -> None:
    document = comparison_as_dict(compared([3.0, 3.0], [2.0, 2.5], CompareConfig(max_drop={"g": 0.1})))
    differences = document["differences"]
    assert isinstance(differences, list)
    assert differences[2] == {
        "target": "g_mos",
        "base": 3.0,
        "new": 2.25,
        "change": -0.75,
        "low": None,
        "high": None,
        "level": 0.95,
        "better": 0,
        "worse": 2,
        "result": "too few recordings to tell",
        "max_drop": 0.1,
        "failed": False,
    }
    assert document["passed"] is True
    json.dumps(document, allow_nan=False)
