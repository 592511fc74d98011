"""The HTML report as a file: what it holds, what it leaves out, and that no name can break it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from mtqscore.assess_config import AssessConfig
from mtqscore.errors import UsageError
from mtqscore.gate import Level, judge
from mtqscore.gate_grammar import parse_gate
from mtqscore.report.html import HtmlOptions, HtmlWriter
from mtqscore.report.html.choice import Choice, Chosen
from mtqscore.report.html.curves import cut_excerpt, smooth, worst_second
from mtqscore.report.html.detail import make_detail
from mtqscore.report.html.rows import safe_json
from mtqscore.report.html.spectrogram import MOST_COLUMNS, encode_png, palette, spectrogram_png
from mtqscore.report.writer import Summary
from mtqscore.run import Run
from mtqscore.scores import Assessment, Flag, FrameScores, Scores, Status
from tests.conftest import Run as RunCommand
from tests.signals import speechlike, write

TARGETS = ("s_mos", "n_mos", "g_mos")
OPTIONS = AssessConfig(frames=True)
RUN = Run("1.2.3", "m@1", "ab" * 32, "CPUExecutionProvider", TARGETS, OPTIONS)
MADE = HtmlOptions(made=datetime(2026, 11, 21, 12, 0, tzinfo=UTC))
HOP_S = 0.032
EXAMPLES = Path(__file__).parent.parent / "examples"
HOSTILE = [
    '"><img src=x onerror=alert(1)>.wav',
    "</script><script>alert(1)</script>.wav",
    "<!--<script>.wav",
    "x" * 260 + ".wav",
    "new\nline\r.wav",
    "rtl\u202egnp.wav",
    "bad\udcff.wav",
    "u\u2028v.wav",
    "{{ 7 * 7 }}{% raw %}.wav",
    "' onmouseover='alert(1)",
    "=1+1",
    "-dash.wav",
    "\x1b[2J\x00.wav",
]


def frames(values: list[float] | np.ndarray[Any, Any], lift: float = 0.0) -> FrameScores:
    """Curves of one shape for all three scores."""
    column = np.asarray(values, np.float32)
    return FrameScores(HOP_S, TARGETS, np.stack([column + lift, column + lift, column], axis=1))


def scored(path: str | None, g_mos: float = 3.0, duration_s: float | None = 2.0, **options: Any) -> Assessment:
    count = int((duration_s or 2.0) / HOP_S) + 1
    values: dict[str, Any] = {
        "path": path,
        "channel": "mean",
        "duration_s": duration_s,
        "sample_rate_hz": 16_000,
        "status": Status.OK,
        "reason": "",
        "flags": (),
        "scores": Scores(min(g_mos + 0.5, 5.0), min(g_mos + 0.25, 5.0), g_mos),
        "frames": frames(np.full(count, g_mos)),
        "model": RUN.model,
        "model_sha256": RUN.model_sha256,
        "provider": RUN.provider,
        "options": OPTIONS,
    }
    return Assessment(**{**values, **options})


def unscored(path: str | None, status: Status = Status.SILENT, reason: str = "no sound") -> Assessment:
    return scored(path, status=status, reason=reason, scores=None, frames=None)


def page(rows: list[Assessment], options: HtmlOptions = MADE, gates: tuple[str, ...] = (), run: Run = RUN) -> str:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", newline="")
    writer = HtmlWriter(stream, run, options)
    summary = Summary()
    writer.begin()
    for row in rows:
        writer.write(row)
        summary.add(row)
    if gates:
        summary.gates = judge([parse_gate(gate, TARGETS) for gate in gates], rows)
    writer.finish(summary)
    stream.flush()
    return raw.getvalue().decode("utf-8")


class Reader(HTMLParser):
    """What a browser would find: elements, attributes, text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.style = ""
        self.text = ""
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - the signature is the base class's
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside == "style":
            self.style += data
        else:
            self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def rows(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.scripts[-2])
        return data

    @property
    def details(self) -> list[dict[str, Any]]:
        return [json.loads(script) for script in self.scripts[:-2]]


def flac(detail: dict[str, Any], dtype: str = "int16") -> tuple[np.ndarray[Any, Any], int]:
    samples, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(detail["audio"])), dtype=dtype)
    return samples, rate_hz


def detail_of(path: Path, **options: Any) -> dict[str, Any]:
    info = soundfile.info(path)
    row = scored(str(path), duration_s=info.frames / info.samplerate, sample_rate_hz=info.samplerate, **options)
    (detail,) = Reader(page([row])).details
    return detail


# --- names and markup ---------------------------------------------------------------------------------------


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


# --- contents -----------------------------------------------------------------------------------------------


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
    stream, summary = io.StringIO(), Summary()
    writer = HtmlWriter(stream, RUN, MADE)
    writer.write(rows[0])
    summary.add(rows[0])
    summary.gates = judge([parse_gate("g>=2", TARGETS, Level.WARN)], rows)
    writer.finish(summary)
    found = Reader(stream.getvalue())
    assert "1 gate warns" in found.text
    assert "failed" not in found.text


def test_the_comparison_is_shown() -> None:
    from mtqscore.compare import CompareConfig, compare_results
    from mtqscore.run import Results

    base = [scored(f"<{index}>.wav", 3 + index / 10) for index in range(8)]
    new = [scored(f"<{index}>.wav", 2.5 + index / 10) for index in range(8)]
    stream, summary = io.StringIO(), Summary()
    writer = HtmlWriter(stream, RUN, MADE)
    for row in new:
        writer.write(row)
        summary.add(row)
    results = (Results("base <b>.jsonl", RUN, tuple(base)), Results("now", RUN, tuple(new)))
    summary.comparison = compare_results(*results, CompareConfig({"g_mos": 0.1}))
    writer.finish(summary)
    text = Reader(stream.getvalue()).text
    for words in (
        "base <b>.jsonl",
        "8 pairs",
        "−0.500",
        "worse",
        "G-MOS fell by more than is allowed",
        "Largest losses",
    ):
        assert words in text


def test_the_same_rows_give_the_same_page(tmp_path: Path) -> None:
    rows = [scored(str(write(tmp_path / f"{n}.wav", speechlike(1.0, seed=n))), 1 + n / 5, 1.0) for n in range(12)]
    assert page(rows, replace(MADE, files=5)) == page(rows, replace(MADE, files=5))


# --- which recordings are shown -----------------------------------------------------------------------------


def test_the_worst_are_shown_and_a_sample_of_the_rest() -> None:
    values = np.random.default_rng(1).permutation(np.linspace(1, 5, 500))
    choice = Choice(TARGETS, 12, 30.0)
    for index, value in enumerate(values):
        choice.offer(index, scored(f"{index}.wav", float(value), 1.0))
    shown = [item.candidate.g_mos for item in choice.chosen(None)]
    assert len(shown) == 12
    assert shown == sorted(shown)
    assert shown[:8] == sorted(values)[:8], "two thirds are the worst"
    assert min(shown[8:]) < 3 < max(shown[8:]), "the sample is spread"


def test_what_a_failed_gate_names_is_shown() -> None:
    rows = [scored(f"{index}.wav", 2 + index / 100, 1.0) for index in range(100)]
    rows[90] = scored("bad speech.wav", 4.0, 1.0, scores=Scores(1.1, 4.0, 4.0))
    choice = Choice(TARGETS, 6, 30.0)
    for index, row in enumerate(rows):
        choice.offer(index, row)
    chosen = choice.chosen(judge([parse_gate("s>=1.5", TARGETS)], rows))
    assert [item.why for item in chosen if item.candidate.index == 90] == ["stands out in the failed gate s>=1.5"]
    assert 90 not in [item.candidate.index for item in choice.chosen(None)]


def test_recordings_of_one_name_are_told_apart() -> None:
    rows = [scored("same.wav", 2 + index / 100, 1.0) for index in range(100)]
    choice = Choice(TARGETS, 3, 30.0)
    for index, row in enumerate(rows):
        choice.offer(index, row)
    chosen = choice.chosen(judge([parse_gate("g>=2.02", TARGETS)], rows))
    named = [item.candidate.index for item in chosen if "g>=2.02" in item.why]
    assert named == [0, 1]


def test_memory_does_not_grow_with_the_rows() -> None:
    choice = Choice(TARGETS, 10, 30.0)
    generator = np.random.default_rng(0)

    def offer(count: int) -> None:
        for index in range(count):
            choice.offer(index, scored(f"{index}", float(generator.uniform(1, 5)), 20.0))

    offer(500)
    tracemalloc.start()
    offer(1500)
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    kept = 4 * 10 * 626 * 3 * 4  # three heaps and the sample, each with curves of 20 s
    assert grown < 2 * kept < 1500 * 626 * 3 * 4


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match="less than none"):
        HtmlOptions(files=-1)
    with pytest.raises(UsageError, match="outside 2 to 3600"):
        HtmlOptions(excerpt_s=float("nan"))


def test_a_report_stops_growing_at_its_limit(tmp_path: Path) -> None:
    rows = [scored(str(write(tmp_path / f"{n}.wav", speechlike(2.0, seed=n))), 1 + n / 5) for n in range(8)]
    whole = page(rows)
    limit = len(page(rows, replace(MADE, files=0))) + (len(whole) - len(page(rows, replace(MADE, files=0)))) // 2
    text = page(rows, replace(MADE, max_bytes=limit))
    found = Reader(text)
    assert 0 < len(found.details) < 8
    assert len(text) < limit * 1.1
    assert f"{8 - len(found.details)} more would have made this file larger than" in found.text


# --- sound --------------------------------------------------------------------------------------------------


def test_what_is_heard_is_what_was_recorded(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, 16_000).astype(np.int16)
    file = tmp_path / "a.wav"
    soundfile.write(file, samples, 16_000, subtype="PCM_16")
    heard, rate_hz = flac(detail_of(file))
    assert rate_hz == 16_000
    np.testing.assert_array_equal(heard, samples)


def test_twenty_four_bits_and_a_mixdown_stay_exact(tmp_path: Path) -> None:
    left, right = np.random.default_rng(0).integers(-(2**23), 2**23, (2, 44_100)).astype(np.int32)
    soundfile.write(tmp_path / "deep.wav", left << 8, 44_100, subtype="PCM_24")
    heard, rate_hz = flac(detail_of(tmp_path / "deep.wav"), "int32")
    assert rate_hz == 44_100
    np.testing.assert_array_equal(heard >> 8, left)
    both = (np.stack([left, right], axis=1) >> 8).astype(np.int16)
    soundfile.write(tmp_path / "both.wav", both, 44_100, subtype="PCM_16")
    heard, _ = flac(detail_of(tmp_path / "both.wav"), "int32")
    np.testing.assert_array_equal(heard >> 15, both.astype(np.int32).sum(axis=1))
    heard, _ = flac(detail_of(tmp_path / "both.wav", channel="2"))
    np.testing.assert_array_equal(heard, both[:, 1])


def test_samples_beyond_full_scale_and_high_rates_are_said(tmp_path: Path) -> None:
    file = write(tmp_path / "a.wav", speechlike(1.0, 96_000) * 4 / 0.3, 96_000, subtype="FLOAT")
    text = page([scored(str(file), duration_s=1.0, sample_rate_hz=96_000)])
    assert "dB quieter, because its samples exceed full scale; resampled from 96 to 48 kHz." in Reader(text).text
    heard, rate_hz = flac(Reader(text).details[0], "float32")
    assert rate_hz == 48_000
    assert len(heard) == 48_000
    assert 0.5 < np.abs(heard).max() <= 1.0


def test_a_long_recording_is_shown_around_its_worst_second(tmp_path: Path) -> None:
    samples = speechlike(100.0, 8_000)
    file = write(tmp_path / "a.flac", samples, 8_000)
    curve = np.full(int(100 / HOP_S) + 1, 4.0)
    curve[int(70 / HOP_S) : int(71.2 / HOP_S)] = 1.5
    row = scored(str(file), 3.0, 100.0, sample_rate_hz=8_000, frames=frames(curve))
    text = page([row])
    (detail,) = Reader(text).details
    worst_s, end_s = detail["worst"]
    assert worst_s == pytest.approx(70.0, abs=0.3)
    assert end_s == worst_s + 1
    assert detail["start"] == pytest.approx(worst_s + 0.5 - 15)
    assert detail["length"] == 30
    assert len(detail["curves"]["g_mos"]) == pytest.approx(30 / HOP_S, abs=2)
    lowest = int(np.argmin(detail["curves"]["g_mos"]))
    assert detail["first"] + lowest * HOP_S == pytest.approx(70.6, abs=0.5)
    heard, _ = flac(detail)
    first = round(detail["start"] * 8_000)
    expected, _ = soundfile.read(file, dtype="int16")
    np.testing.assert_array_equal(heard, expected[first : first + 240_000])
    assert "30.0 s of 1:40, from 0:55." in Reader(text).text


def test_a_file_that_is_gone_or_another_one_is_a_note(tmp_path: Path) -> None:
    gone, other, longer, kept = (write(tmp_path / f"{n}.wav", speechlike(2.0, seed=n)) for n in range(4))
    rows = [scored(str(file)) for file in (gone, other, kept)] + [scored(str(longer), duration_s=3.0)]
    stream, summary = io.StringIO(), Summary()
    writer = HtmlWriter(stream, RUN, MADE)
    for row in rows:
        writer.write(row)
        summary.add(row)
    gone.unlink()
    write(other, speechlike(2.5))
    writer.finish(summary)
    found = Reader(stream.getvalue())
    assert "Sound and spectrogram are missing: no such file." in found.text
    assert found.text.count("missing: the file is not the same any more as when it was scored.") == 2
    assert ["audio" in detail for detail in found.details] == [False, False, True, False]
    assert all(detail["curves"]["g_mos"] for detail in found.details)


def test_every_second_is_heard_alone_when_the_model_is_at_hand(tmp_path: Path) -> None:
    from mtqscore import Assessor

    assessor = Assessor(OPTIONS)
    samples = np.concatenate([soundfile.read(EXAMPLES / "clean.flac", dtype="float32")[0]] * 2)
    samples[64_000:80_000] += np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.05
    row = assessor.assess_file(write(tmp_path / "spoiled.wav", samples))
    stream, summary = io.StringIO(), Summary()
    writer = HtmlWriter(stream, RUN, MADE, assessor.scorer)
    writer.write(row)
    summary.add(row)
    writer.finish(summary)
    (detail,) = Reader(stream.getvalue()).details
    assert detail["worst"][0] == pytest.approx(4.0, abs=0.5)
    drawn = np.array([value or np.nan for value in detail["curves"]["g_mos"]])
    assert len(drawn) == pytest.approx(detail["length"] / detail["hop"], abs=1)
    assert np.nanargmin(drawn) * detail["hop"] == pytest.approx(4.5, abs=0.5)
    assert np.nanmedian(drawn) - np.nanmin(drawn) > 50, "half a point at least: the curve shows it"


# --- curves and pictures ------------------------------------------------------------------------------------


def test_smoothing_keeps_gaps_and_levels() -> None:
    values = np.full((200, 2), 3.0, np.float32)
    values[60:100] = np.nan
    values[100:, 1] = 1.0
    smoothed = smooth(values, HOP_S)
    assert np.isnan(smoothed[60:100]).all()
    np.testing.assert_allclose(smoothed[:60, 0], 3.0, rtol=1e-6)
    assert smoothed[100, 1] == pytest.approx(1.0), "40 frames away, nothing leaks"
    step = smooth(np.repeat([[1.0], [5.0]], 100, axis=0).astype(np.float32), HOP_S)[:, 0]
    assert np.all(np.diff(step) >= -1e-6)
    assert 0.3 < HOP_S * np.count_nonzero((step > 1.4) & (step < 4.6)) < 0.8
    assert smooth(np.full((3, 1), 2.0, np.float32), HOP_S)[:, 0] == pytest.approx([2, 2, 2])


def test_the_worst_second_is_the_lowest_that_is_known() -> None:
    curve = np.full(300, 4.0)
    curve[200:232] = 2.0
    curve[:100] = np.nan
    assert worst_second(frames(curve)) == pytest.approx(200 * HOP_S, abs=HOP_S)
    assert worst_second(frames(np.full(40, 3.0))) is None
    assert worst_second(frames(np.full(300, np.nan))) is None
    assert cut_excerpt(scored("a", duration_s=90, frames=frames(np.full(2813, np.nan))), 30.0).start_s == 0


def test_gaps_are_gaps_on_the_page() -> None:
    curve = np.full(100, 3.0)
    curve[40:60] = np.nan
    choice = Choice(TARGETS, 1, 30.0)
    choice.offer(0, scored(None, duration_s=3.2, frames=frames(curve)))
    (chosen,) = choice.chosen(None)
    drawn = json.loads(make_detail(chosen).content)["curves"]["g_mos"]
    assert drawn[39:41] == [300, None]
    assert drawn[60] == 300
    assert isinstance(chosen, Chosen)


def test_a_png_decodes_to_its_pixels() -> None:
    from matplotlib import image

    pixels = np.arange(64, dtype=np.uint8).reshape(4, 16)
    decoded = image.imread(io.BytesIO(encode_png(pixels, palette())), format="png")
    np.testing.assert_allclose(decoded[..., :3] * 255, palette()[pixels], atol=0.01)


def test_loud_spots_stand_where_they_are_heard() -> None:
    from matplotlib import image

    time_s = np.arange(16_000 * 4) / 16_000
    tone = 0.5 * np.sin(2 * np.pi * 2_000 * time_s) * (time_s >= 3)
    picture = image.imread(io.BytesIO(spectrogram_png(tone.astype(np.float32), 16_000)), format="png")[..., :3].sum(2)
    rows, columns = picture.shape
    assert columns == MOST_COLUMNS
    assert np.argmax(picture[:, -columns // 8]) / rows == pytest.approx(0.75, abs=0.02), "2 of 8 kHz from below"
    bright = picture[np.argmax(picture[:, -columns // 8])] > 2
    assert np.argmax(bright) / columns == pytest.approx(0.75, abs=0.01)
    lightness = palette().astype(float) @ [0.2126, 0.7152, 0.0722]
    assert np.all(np.diff(lightness) > 0)


@pytest.mark.parametrize(("samples", "rate_hz"), [(1, 8_000), (100, 48_000), (4_000, 1_000), (480_000, 48_000)])
def test_any_length_and_rate_has_a_picture(samples: int, rate_hz: int) -> None:
    from matplotlib import image

    noise = np.random.default_rng(0).standard_normal(samples).astype(np.float32)
    for signal in (noise, np.zeros(samples, np.float32)):
        assert image.imread(io.BytesIO(spectrogram_png(signal, rate_hz)), format="png").ndim == 3


# --- through the command ------------------------------------------------------------------------------------


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
