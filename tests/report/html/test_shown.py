"""Choice of the recordings with sound, curves and spectrogram in a report, and their sound."""

from __future__ import annotations

import io
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mtqscore.analysis.gate_grammar import parse_gate
from mtqscore.analysis.gates import judge
from mtqscore.errors import UsageError
from mtqscore.report.html import HtmlConfig, HtmlWriter
from mtqscore.report.html.choice import Choice
from mtqscore.report.summary import RunSummary
from mtqscore.scores import Scores
from tests.report.html.kit import (
    EXAMPLES,
    HOP_S,
    MADE,
    OPTIONS,
    RUN,
    TARGETS,
    Reader,
    detail_of,
    flac,
    frames,
    page,
    scored,
)
from tests.signals import speechlike, write


def test_the_worst_are_shown_and_a_sample_of_the_rest() -> None:
    values = np.random.default_rng(1).permutation(np.linspace(1, 5, 500))
    choice = Choice(TARGETS, 12, 30.0)
    for index, value in enumerate(values):
        choice.offer(index, scored(f"{index}.wav", float(value), 1.0))
    shown = [item.g_mos for item in choice.chosen(None)]
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
    assert [item.why for item in chosen if item.index == 90] == ["stands out in the failed gate s>=1.5"]
    assert 90 not in [item.index for item in choice.chosen(None)]


def test_recordings_of_one_name_are_told_apart() -> None:
    rows = [scored("same.wav", 2 + index / 100, 1.0) for index in range(100)]
    choice = Choice(TARGETS, 3, 30.0)
    for index, row in enumerate(rows):
        choice.offer(index, row)
    chosen = choice.chosen(judge([parse_gate("g>=2.02", TARGETS)], rows))
    named = [item.index for item in chosen if "g>=2.02" in item.why]
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
        HtmlConfig(files=-1)
    with pytest.raises(UsageError, match="outside 2 to 3600"):
        HtmlConfig(excerpt_s=float("nan"))


def test_a_report_stops_growing_at_its_limit(tmp_path: Path) -> None:
    rows = [scored(str(write(tmp_path / f"{n}.wav", speechlike(2.0, seed=n))), 1 + n / 5) for n in range(8)]
    whole = page(rows)
    limit = len(page(rows, replace(MADE, files=0))) + (len(whole) - len(page(rows, replace(MADE, files=0)))) // 2
    text = page(rows, replace(MADE, max_bytes=limit))
    found = Reader(text)
    assert 0 < len(found.details) < 8
    assert len(text) < limit * 1.1
    assert f"{8 - len(found.details)} more would have made this file larger than" in found.text


def test_the_sound_is_what_was_recorded(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, 16_000).astype(np.int16)
    file = tmp_path / "a.wav"
    soundfile.write(file, samples, 16_000, subtype="PCM_16")
    played, rate_hz = flac(detail_of(file))
    assert rate_hz == 16_000
    np.testing.assert_array_equal(played, samples)


def test_twenty_four_bits_and_a_mixdown_stay_exact(tmp_path: Path) -> None:
    left, right = np.random.default_rng(0).integers(-(2**23), 2**23, (2, 44_100)).astype(np.int32)
    soundfile.write(tmp_path / "deep.wav", left << 8, 44_100, subtype="PCM_24")
    played, rate_hz = flac(detail_of(tmp_path / "deep.wav"), "int32")
    assert rate_hz == 44_100
    np.testing.assert_array_equal(played >> 8, left)
    both = (np.stack([left, right], axis=1) >> 8).astype(np.int16)
    soundfile.write(tmp_path / "both.wav", both, 44_100, subtype="PCM_16")
    played, _ = flac(detail_of(tmp_path / "both.wav"), "int32")
    np.testing.assert_array_equal(played >> 15, both.astype(np.int32).sum(axis=1))
    played, _ = flac(detail_of(tmp_path / "both.wav", channel="2"))
    np.testing.assert_array_equal(played, both[:, 1])


def test_samples_beyond_full_scale_and_high_rates_are_said(tmp_path: Path) -> None:
    file = write(tmp_path / "a.wav", speechlike(1.0, 96_000) * 4 / 0.3, 96_000, subtype="FLOAT")
    text = page([scored(str(file), duration_s=1.0, sample_rate_hz=96_000)])
    assert "dB quieter, because its samples exceed full scale; resampled from 96 to 48 kHz." in Reader(text).text
    played, rate_hz = flac(Reader(text).details[0], "float32")
    assert rate_hz == 48_000
    assert len(played) == 48_000
    assert 0.5 < np.abs(played).max() <= 1.0


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
    played, _ = flac(detail)
    first = round(detail["start"] * 8_000)
    expected, _ = soundfile.read(file, dtype="int16")
    np.testing.assert_array_equal(played, expected[first : first + 240_000])
    assert "30.0 s of 1:40, from 0:55." in Reader(text).text


def test_a_file_that_is_gone_or_another_one_is_a_note(tmp_path: Path) -> None:
    gone, other, longer, kept = (write(tmp_path / f"{n}.wav", speechlike(2.0, seed=n)) for n in range(4))
    rows = [scored(str(file)) for file in (gone, other, kept)] + [scored(str(longer), duration_s=3.0)]
    stream, summary = io.StringIO(), RunSummary()
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


def test_every_second_is_scored_alone_when_the_model_is_at_hand(tmp_path: Path) -> None:
    from mtqscore import Assessor

    assessor = Assessor(OPTIONS)
    samples = np.concatenate([soundfile.read(EXAMPLES / "clean.flac", dtype="float32")[0]] * 2)
    samples[64_000:80_000] += np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.05
    row = assessor.assess_file(write(tmp_path / "spoiled.wav", samples))
    stream, summary = io.StringIO(), RunSummary()
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
