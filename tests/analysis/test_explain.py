"""`mtqscore explain`: segments scored alone, words, the plot."""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mtqscore import AssessConfig, Assessor, UsageError, explain_file
from mtqscore.analysis.explanation import as_record, band
from mtqscore.analysis.segments import Segments, SegmentScorer
from mtqscore.base.text import moment
from mtqscore.report.explanation import describe, in_columns, plot
from mtqscore.scores import Status
from tests.conftest import Run
from tests.signals import RATE_HZ, speechlike, tone, write

EXAMPLES = Path(__file__).parents[2] / "examples"


# --- the worst second -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["noise", "clipping", "modulated noise", "dropouts"])
@pytest.mark.parametrize("start_s", [0.7, 3.2])
def test_the_worst_second_is_the_spoiled_one(tmp_path: Path, fault: str, start_s: float) -> None:
    samples, rate_hz = soundfile.read(EXAMPLES / "clean.flac", dtype="float32")
    rng = np.random.default_rng(0)
    second = samples[round(start_s * rate_hz) :][:rate_hz]
    if fault == "noise":
        second += rng.standard_normal(rate_hz) * 0.04
    elif fault == "clipping":
        second.clip(-0.02, 0.02, out=second)
    elif fault == "modulated noise":
        second *= 1 + rng.standard_normal(rate_hz) * 0.5
    else:
        second *= np.repeat(rng.random(50) > 0.4, rate_hz // 50)
    explanation = explain_file(write(tmp_path / "a.wav", samples, rate_hz))
    assert explanation.worst is not None
    assert start_s <= explanation.worst.start_s + 0.5 <= start_s + 1
    assert explanation.even is False
    assert any(f"Listen to {moment(explanation.worst.start_s)}" in line for line in explanation.advice)


def test_an_even_recording_is_called_even() -> None:
    explanation = explain_file(EXAMPLES / "distorted-mnru.flac")
    assert explanation.even is True
    assert (explanation.weaker, explanation.bands) == (
        "s_mos",
        {"s_mos": "fairly distorted", "n_mos": "slightly noticeable", "g_mos": "poor"},
    )
    assert not any("stands out" in line for line in explanation.advice)


def test_a_pause_is_not_the_worst_second() -> None:
    samples, rate_hz = soundfile.read(EXAMPLES / "clean.flac", dtype="float32")
    with_pause = np.concatenate([samples[:40_000], np.zeros(3 * rate_hz, np.float32), samples[40_000:]])
    with_pause += np.random.default_rng(0).standard_normal(len(with_pause)).astype(np.float32) * 0.008
    pieces = SegmentScorer(Assessor().scorer)
    pieces.push(with_pause)
    segments = pieces.finish()
    silent = np.isnan(segments.of("g_mos"))
    inside = (segments.starts_s >= 2.5) & (segments.starts_s <= 4.5)
    assert (silent == inside).all()


@pytest.mark.parametrize("samples", [8_000, 16_000, 16_001, 23_999, 24_000, 40_001, 700_000])
def test_pieces_cover_a_recording_and_do_not_depend_on_its_blocks(fake_model: str, samples: int) -> None:
    scorer = Assessor(AssessConfig(model=fake_model)).scorer
    signal = speechlike(samples / RATE_HZ)[:samples, 0]
    found = []
    for parts in (1, 9):
        pieces = SegmentScorer(scorer)
        for part in np.array_split(signal, parts):
            pieces.push(part)
        found.append(pieces.finish())
    first, second = found
    assert first.starts_s[0] == 0
    assert first.starts_s[-1] + first.length_s == pytest.approx(samples / RATE_HZ)
    assert (np.diff(first.starts_s) <= 0.5).all()
    assert np.array_equal(first.starts_s, second.starts_s)
    np.testing.assert_allclose(first.scores, second.scores, atol=1e-5)
    # Each piece has the score that it has as a recording.
    alone = signal[round(first.starts_s[-1] * RATE_HZ) :]
    scores = Assessor(AssessConfig(model=fake_model)).assess_array(alone, RATE_HZ).scores
    assert scores is not None
    assert first.of("g_mos")[-1] == pytest.approx(scores.g_mos, abs=1e-4)


# --- words ------------------------------------------------------------------------------------------------------


def test_bands_are_the_labels_of_the_scale() -> None:
    assert [band("g_mos", value) for value in (1.0, 1.49, 1.5, 3.0, 4.49, 4.5, 5.0)] == (
        ["bad", "bad", "poor", "fair", "good", "excellent", "excellent"]
    )
    assert band("pesq", 3.0) == ""


def test_advice_on_faults_of_the_recording(tmp_path: Path, fake_model: str) -> None:
    samples = speechlike(3, channels=2) * np.float32(0.9)
    samples[:, 0] = (samples[:, 0] * 20).clip(-1, 1)
    samples[:, 1] = 0.0
    advice = " ".join(explain_file(write(tmp_path / "a.wav", samples), AssessConfig(model=fake_model)).advice)
    assert "at full scale" in advice
    assert "no sound in channel 2" in advice
    narrow, rate_hz = soundfile.read(EXAMPLES / "clean-telephone.wav")
    wide = np.fft.irfft(np.pad(np.fft.rfft(narrow), (0, len(narrow) // 2 * 5)), len(narrow) * 6) * 6
    explanation = explain_file(write(tmp_path / "b.wav", (wide * 0.9 + 0.02).clip(-1, 1), rate_hz * 6))
    advice = " ".join(explanation.advice)
    assert "telephone-band" in advice
    assert "DC offset of +2." in advice


def test_channels_each_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="one channel at a time"):
        explain_file("a.wav", AssessConfig(channels="each"))


# --- the plot ---------------------------------------------------------------------------------------------------


def made(values: list[float]) -> Segments:
    scores = np.repeat(np.array(values, np.float32)[:, np.newaxis], 3, axis=1)
    return Segments(np.arange(len(values)) * 0.5, 1.0, ("s_mos", "n_mos", "g_mos"), scores)


def test_a_long_recording_keeps_its_bad_second() -> None:
    values = [4.0] * 7200
    values[5000] = 1.0
    columns = in_columns(made(values), "g_mos", 3600.5, 60)
    assert columns.min() == 1.0
    assert (columns == 1.0).sum() == 1


def test_a_plot_without_blocks_shows_digits_and_pauses() -> None:
    lines = plot(made([4.2, 4.2, math.nan, 1.2, 1.2]), 3.0, None, 40, blocks=False, colour=False)
    assert lines[0].split()[0] == "S"
    assert set(lines[0].split()[1]) == {"4", ".", "1"}
    assert all(line.isascii() and len(line) <= 40 for line in lines)


@pytest.mark.parametrize("pieces", [1, 2, 3])
def test_a_plot_of_few_pieces_fills_its_columns(pieces: int) -> None:
    columns = in_columns(made([3.0] * pieces), "s_mos", 0.5 + pieces / 2, 30)
    assert (columns == 3.0).all()


# --- the command ------------------------------------------------------------------------------------------------


def test_a_recording_is_explained(run: Run, fake_model: str, tmp_path: Path) -> None:
    write(tmp_path / "a.wav", speechlike(4))
    result = run("explain", "a.wav", "--model", fake_model, "--json", "a.json", env={"COLUMNS": "60"})
    text = result.stdout.decode()
    assert (result.returncode, result.stderr) == (0, b"")
    assert text.startswith("a.wav\n  WAV PCM_16 · 16 kHz · 1 channel · 4.0 s\n")
    assert "\x1b" not in text, "no colour without a terminal"
    assert "Worst second" in text
    assert max(len(line) for line in text.splitlines() if "█" in line) <= 60
    record = json.loads((tmp_path / "a.json").read_text("utf-8"))
    assert record["scores"].keys() == record["bands"].keys() == {"s_mos", "n_mos", "g_mos"}
    assert len(record["seconds"]["starts_s"]) == len(record["seconds"]["g_mos"]) == 7
    lowest = min(record["seconds"]["g_mos"])
    assert record["worst"]["scores"]["g_mos"] == lowest
    only = run("explain", "a.wav", "--model", fake_model, "--json", "-")
    assert json.loads(only.stdout) == record


def test_plain_ascii_where_the_stream_has_no_more(run: Run, fake_model: str, tmp_path: Path) -> None:
    write(tmp_path / "ü.wav", speechlike(4))
    result = run("explain", "ü.wav", "--model", fake_model, env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert result.returncode == 0
    assert result.stdout.decode("ascii").startswith("\\xfc.wav\n  WAV PCM_16 | 16 kHz")


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(("env", "coloured"), [({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_decides_colour_and_width(
    run: Run, fake_model: str, tmp_path: Path, env: dict[str, str], coloured: bool
) -> None:
    import fcntl
    import pty
    import termios

    write(tmp_path / "a.wav", speechlike(3))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 50, 0, 0))
    settings = {"COLUMNS": "", "TERM": "xterm", "LC_ALL": "C.UTF-8", **env}
    places = {"capture_output": False, "stdout": theirs, "stderr": subprocess.PIPE}
    run("explain", "a.wav", "--model", fake_model, env=settings, **places)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # how a terminal ends on Linux
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    assert (b"\x1b[3" in shown) is coloured
    axis = next(line for line in shown.decode().splitlines() if "0:00.0" in line and "0:03.0" in line)
    assert len(axis) in range(45, 51)


def unreadable(folder: Path) -> dict[str, str]:
    """Recordings that cannot be scored, and what explain should say of them."""
    write(folder / "nan.wav", np.where(np.arange(48_000) == 40_000, np.nan, tone(3)), subtype="FLOAT")
    write(folder / "short.wav", tone(0.1))
    write(folder / "zero.wav", np.zeros(RATE_HZ))
    write(folder / "opposite.wav", np.stack([tone(), -tone()], axis=1))
    (folder / "text.wav").write_text("no recording" * 99)
    (folder / "empty.wav").touch()
    return {
        "nan.wav": "NaN",
        "short.wav": "longer piece",
        "zero.wav": "muted",
        "opposite.wav": "--channels 1",
        "text.wav": "text.wav copy.wav",
        "empty.wav": "no sound in it",
        "nothing.wav": "Check the name",
        ".": "mtqscore assess takes folders",
    }


def test_what_cannot_be_scored_is_explained_too(run: Run, fake_model: str, tmp_path: Path) -> None:
    config = AssessConfig(model=fake_model)
    for name, word in unreadable(tmp_path).items():
        explanation = explain_file(tmp_path / name, config)
        text = " ".join(" ".join(describe(explanation, 300, blocks=True, colour=False)).split())
        assert "No scores: " in text, name
        assert word in text, name
        json.dumps(as_record(explanation), allow_nan=False)
    facts = explain_file(tmp_path / "nan.wav", config).signal
    assert facts is not None
    assert facts.duration_s == pytest.approx(2.5), "measured up to the fault"
    result = run("explain", "nan.wav", "--model", fake_model)
    assert (result.returncode, result.stderr) == (3, b"")
    assert b"No scores: NaN" in result.stdout


def test_every_status_has_a_remedy() -> None:
    from mtqscore.analysis.explanation import REMEDIES

    assert set(REMEDIES) == set(Status) - {Status.OK}


@pytest.mark.skipif(os.name != "posix", reason="names that other systems do not allow")
def test_hostile_names(run: Run, fake_model: str, tmp_path: Path) -> None:
    name = b"- a\n'b\"\x1b[31m\xff<script>.wav"
    for samples, code in ((speechlike(1), 0), (speechlike(0.1), 3)):
        write(tmp_path / "plain.wav", samples)
        (tmp_path / "plain.wav").replace(tmp_path / os.fsdecode(name))
        result = run("explain", "--model", fake_model, "--json", "out.json", "--", name)
        assert result.returncode == code
        assert result.stdout.startswith(b"- a\\n'b\"\\x1b[31m\\udcff<script>.wav\n")
        assert json.loads((tmp_path / "out.json").read_text("utf-8"))["path"] == os.fsdecode(name)


def test_wrong_use(run: Run, tmp_path: Path) -> None:
    result = run("explain", "a.wav", "--channels", "each")
    assert (result.returncode, result.stderr.count(b"\n")) == (2, 1)
    (tmp_path / "mtqscore.toml").write_text('channels = "each"\n')
    assert run("explain", "a.wav").returncode == 2, "settings of the project count"
    assert run("explain", "a.wav", "--no-config").returncode == 3
    assert run("explain", "a.wav", "--no-config", "--json", "no/such/folder.json").returncode == 2


def test_a_record_is_json_whatever_is_missing(fake_model: str, tmp_path: Path) -> None:
    for name in ("nothing.wav", write(tmp_path / "half.wav", speechlike(0.6))):
        record = as_record(explain_file(name, AssessConfig(model=fake_model)))
        json.dumps(record, allow_nan=False)
        assert record["worst"] is None
