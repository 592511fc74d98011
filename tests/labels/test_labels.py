"""Reference-based labels: ends of the scales, order, and the commands that hand them out."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mtqscore.audio.levels import Signal, active_level_db, level_db
from mtqscore.labels.filters import a_weighted
from mtqscore.labels.mapping import (
    Labels,
    bandwidth_of,
    floor_ratio_db,
    label_parts,
    musicality,
    noise_ratio_db,
)
from mtqscore.labels.measures import distortion_index, raw_from_lqo, raw_pesq
from mtqscore.labels.separation import speech_activity
from mtqscore.simulation.degradations.colour import BandLimit
from mtqscore.simulation.degradations.mnru import Mnru
from mtqscore.simulation.degradations.suppression import Suppress
from mtqscore.simulation.scene import Scene, start_scene

EXAMPLES = Path(__file__).parents[2] / "examples"
RATE_HZ = 16_000


@pytest.fixture(scope="module")
def speech() -> Signal:
    return np.asarray(soundfile.read(EXAMPLES / "clean.flac")[0], dtype=np.float64)


def white(speech: Signal, snr_db: float) -> Signal:
    noise = np.random.default_rng(0).standard_normal(len(speech))
    return np.asarray(noise * 10 ** ((level_db(speech) - snr_db) / 20))


def labelled(clean: Signal, speech: Signal, noise: Signal, rate_hz: int = RATE_HZ) -> Labels:
    labels = label_parts(clean, speech, noise, rate_hz, raw_noise=noise)
    assert labels is not None
    return labels


def test_clean_speech_is_at_the_top(speech: Signal) -> None:
    labels = labelled(speech, speech, np.zeros_like(speech))
    assert labels.s_mos > 4.6
    assert labels.n_mos == pytest.approx(4.7, abs=0.05)
    assert labels.g_mos > 4.5
    assert (labels.pesq, labels.stoi, labels.sdi) == pytest.approx((4.5, 1.0, 0.0), abs=0.02)


def test_noise_lowers_n_first(speech: Signal) -> None:
    rows = [labelled(speech, speech, white(speech, snr_db)) for snr_db in (40, 25, 10, -5)]
    for better, worse in pairwise(rows):
        assert better.n_mos > worse.n_mos + 0.3
        assert better.s_mos > worse.s_mos
        assert better.g_mos > worse.g_mos
    assert rows[-1].s_mos > rows[-1].n_mos + 1, "speech under noise is not distorted speech"


def test_distortion_lowers_s_first(speech: Signal) -> None:
    rows = []
    for q_db in (40, 30, 20, 10):
        distorted = Mnru(q_db, RATE_HZ).apply(start_scene(speech, RATE_HZ), np.random.default_rng(0)).speech
        rows.append(labelled(speech, distorted, np.zeros_like(speech)))
    for better, worse in pairwise(rows):
        assert better.s_mos > worse.s_mos
        assert better.g_mos > worse.g_mos
    assert rows[-1].n_mos > 4.0
    assert rows[-1].s_mos < 2.0


@pytest.mark.parametrize("snr_db", [0, 15, 30])
def test_steady_noise_counts_with_nearly_its_level(speech: Signal, snr_db: float) -> None:
    noise = white(speech, snr_db)
    plain = active_level_db(a_weighted(speech, RATE_HZ), RATE_HZ) - level_db(a_weighted(noise, RATE_HZ))
    assert noise_ratio_db(speech, noise, RATE_HZ) == pytest.approx(plain, abs=2.0)


def test_noise_that_speech_covers_counts_less_than_noise_in_the_pauses(speech: Signal) -> None:
    paused = np.pad(speech, (RATE_HZ, RATE_HZ))
    noise = white(paused, 15)
    talking = speech_activity(paused, RATE_HZ)
    under_speech, in_pauses = (
        noise_ratio_db(paused, noise * gate, RATE_HZ) - noise_ratio_db(paused, noise, RATE_HZ)
        for gate in (talking, 1 - talking)
    )
    assert under_speech > 3
    assert in_pauses < under_speech


def test_noise_without_pauses_is_judged_under_the_speech() -> None:
    steady = np.random.default_rng(0).standard_normal(3 * RATE_HZ)
    assert 0 < noise_ratio_db(steady, 0.3 * steady[::-1], RATE_HZ) < 40


def test_a_references_own_background_is_told(speech: Signal) -> None:
    paused = np.pad(speech, (RATE_HZ, RATE_HZ))
    noisy = paused + white(paused, 25)
    assert floor_ratio_db(noisy, RATE_HZ) < floor_ratio_db(speech, RATE_HZ)
    known = active_level_db(a_weighted(paused, RATE_HZ), RATE_HZ) - level_db(a_weighted(white(paused, 25), RATE_HZ))
    assert floor_ratio_db(noisy, RATE_HZ) == pytest.approx(known + 3, abs=3)


def test_the_worse_scale_weighs_more(speech: Signal) -> None:
    labels = labelled(speech, speech, white(speech, 5))
    middle = (labels.s_mos + labels.n_mos) / 2
    assert labels.n_mos < labels.g_mos < middle


def test_level_does_not_matter(speech: Signal) -> None:
    noise = white(speech, 15)
    loud, quiet = (labelled(speech, gain * speech, gain * noise) for gain in (1.0, 0.01))
    assert quiet.s_mos == pytest.approx(loud.s_mos, abs=0.02)
    assert quiet.n_mos == pytest.approx(loud.n_mos, abs=0.02)


def test_narrowband_speech_has_its_own_top(speech: Signal) -> None:
    narrow = start_scene(speech, RATE_HZ).at_rate(8000)
    labels = labelled(narrow.clean, narrow.speech, narrow.noise, 8000)
    assert labels.bandwidth == "narrow"
    assert 4.2 < labels.s_mos <= 4.4
    assert 4.2 < labels.n_mos <= 4.4


def test_bandwidth_is_told_from_the_reference(speech: Signal) -> None:
    assert bandwidth_of(speech, RATE_HZ) == "wide"
    limited = BandLimit(0.0, 3400.0, 14, reference_too=True).apply(
        start_scene(speech, RATE_HZ), np.random.default_rng(0)
    )
    assert bandwidth_of(limited.clean, RATE_HZ) == "narrow"


def test_musical_noise_is_told_from_the_noise_it_was(speech: Signal) -> None:
    scene = start_scene(speech, RATE_HZ)
    noise = white(speech, 5)
    scene = Scene(RATE_HZ, speech, speech, noise, noise)
    speckled = Suppress("spectral_subtraction", 1.0, 3.0, -40.0, 0.0, 3.0, 0.032)
    smooth = Suppress("wiener", 1.0, 0.0, -8.0, 0.98, 1.0, 0.032)
    rng = np.random.default_rng(0)
    assert musicality(noise, noise, RATE_HZ) == 0.0
    assert musicality(speckled.apply(scene, rng).noise, noise, RATE_HZ) > 0.5
    assert musicality(smooth.apply(scene, rng).noise, noise, RATE_HZ) < 0.2


@pytest.mark.parametrize(("lqo", "raw"), [(4.644, 4.5), (1.043, -0.5)])
def test_raw_values_end_where_the_standard_says(lqo: float, raw: float) -> None:
    assert raw_from_lqo(lqo) == pytest.approx(raw, abs=0.01)


@pytest.mark.parametrize("snr_db", [0, 5, 20])
def test_sdi_of_a_noisy_recording_is_its_noise_to_signal_ratio(speech: Signal, snr_db: float) -> None:
    noise = white(speech, snr_db)
    assert distortion_index(speech, speech + noise) == pytest.approx(10 ** (-snr_db / 10), rel=0.05)


def test_silence_is_not_labelled(speech: Signal) -> None:
    nothing = np.zeros_like(speech)
    assert raw_pesq(nothing, nothing, RATE_HZ) is None
    assert label_parts(nothing, nothing, nothing, RATE_HZ) is None


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mtqscore", *map(str, words)], capture_output=True, text=True, check=False
    )


@pytest.fixture
def triple(speech: Signal, tmp_path: Path) -> tuple[Path, Path, Path]:
    noise = white(speech, 10)
    done = Suppress("wiener", 1.0, 0.0, -15.0, 0.97, 1.0, 0.032).apply(
        Scene(RATE_HZ, speech, speech, noise, noise), np.random.default_rng(0)
    )
    paths = tmp_path / "processed.wav", tmp_path / "clean.wav", tmp_path / "noisy.wav"
    for path, signal in zip(paths, (0.5 * np.pad(done.mix, (160, 0)), speech, speech + noise), strict=True):
        soundfile.write(path, signal, RATE_HZ)
    return paths


def test_label_command_takes_a_triple(triple: tuple[Path, Path, Path]) -> None:
    done = run("label", *triple)
    assert done.returncode == 0, done.stderr
    (row,) = csv.DictReader(done.stdout.splitlines())
    assert float(row["delay_s"]) == pytest.approx(0.01, abs=1e-4)
    assert 1 < float(row["s_mos"]) < 4.7
    assert float(row["match"]) > 0.5
    assert {"pesq", "stoi", "sdi"} <= set(row)
    noisy = run("label", triple[2], triple[1], "--json", "-")
    (before,) = json.loads(noisy.stdout)["recordings"]
    assert before["n_mos"] < float(row["n_mos"])
    assert before["s_mos"] > float(row["s_mos"]) - 0.1, "a suppressor does not mend speech"


def test_label_command_reports_telephone_speech(speech: Signal, tmp_path: Path) -> None:
    narrow = start_scene(speech, RATE_HZ).at_rate(8000).speech
    soundfile.write(tmp_path / "phone.wav", narrow, 8000)
    soundfile.write(tmp_path / "clean.wav", speech, RATE_HZ)
    done = run("label", tmp_path / "phone.wav", tmp_path / "clean.wav")
    assert done.returncode == 0, done.stderr
    (row,) = csv.DictReader(done.stdout.splitlines())
    assert row["bandwidth"] == "narrow"
    assert float(row["s_mos"]) > 4.0, "a telephone recording is compared with telephone speech"
    assert "scored as telephone speech" in done.stderr


def test_label_command_pairs_folders_and_keeps_every_row(triple: tuple[Path, Path, Path], tmp_path: Path) -> None:
    for number, name in enumerate(("processed", "clean", "noisy")):
        (tmp_path / name).mkdir()
        triple[number].rename(tmp_path / name / "a.wav")
        (tmp_path / name / "b.wav").write_text("this is text")
    out = tmp_path / "labels.csv"
    folders = [tmp_path / name for name in ("processed", "clean", "noisy")]
    done = run("label", *folders, "--csv", out)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [Path(row["path"]).name for row in rows] == ["a.wav", "b.wav"]
    assert rows[0]["status"] == "ok"
    assert "cannot be decoded" in rows[1]["status"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["label", "missing.wav", "clean.wav"], 2),
        (["label", "x" * 300, "clean.wav"], 2),
        (["label", EXAMPLES / "clean.flac"], 2),
        (["label", EXAMPLES / "clean.flac", EXAMPLES], 2),
        (["label", EXAMPLES / "clean.flac", EXAMPLES / "clean.flac", "--bandwidth", "huge"], 2),
    ],
)
def test_label_command_refuses_wrong_use_in_one_line(words: list[str | Path], code: int) -> None:
    done = run(*words)
    assert done.returncode == code
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stdout == ""


def test_label_command_ends_quietly_when_its_reader_has_gone(triple: tuple[Path, Path, Path]) -> None:
    words = [sys.executable, "-m", "mtqscore", "label", *map(str, triple)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 141
    assert "Traceback" not in said
    assert "BrokenPipe" not in said


def test_label_command_says_where_it_cannot_write(triple: tuple[Path, Path, Path], tmp_path: Path) -> None:
    done = run("label", *triple, "--csv", tmp_path / "no" / "such" / "folder.csv")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
