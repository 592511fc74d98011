"""The released model: small, whole, documented, and right on the bundled recordings."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mtqscore import Assessment, Assessor, Scores
from mtqscore.audio.discovery import find_inputs
from mtqscore.models import read_registry

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
MAX_BYTES = 5_000_000


@pytest.fixture(scope="module")
def assessor() -> Assessor:
    return Assessor()


@pytest.fixture(scope="module")
def scores(assessor: Assessor) -> dict[str, Scores]:
    found: dict[str, Assessment] = {
        Path(item.path).name: assessor.assess_file(item.path) for item in find_inputs([str(EXAMPLES)])
    }
    assert all(item.ok for item in found.values()), found
    return {name: item.scores for name, item in found.items() if item.scores is not None}


def test_one_model_is_released_small_and_with_its_card_and_weights() -> None:
    (entry,) = read_registry()[1].values()
    names = {path.name for path in (ROOT / "models").iterdir()}
    made = {f"mtqnet-s-{entry.version}{ending}" for ending in (".onnx", ".safetensors", ".md", ".png")}
    assert names == {"README.md", "registry.json"} | made
    assert entry.path.stat().st_size <= MAX_BYTES
    card = entry.path.with_suffix(".md").read_text(encoding="utf-8")
    assert all(word in card for word in ("Training", "Accuracy", "Limits", "licence"))
    assert entry.sha256[:12] in (ROOT / "models" / "README.md").read_text(encoding="utf-8")


def test_examples_are_small() -> None:
    assert sum(path.stat().st_size for path in EXAMPLES.iterdir()) < 1_000_000


def test_clean_speech_is_the_best(scores: dict[str, Scores]) -> None:
    clean = scores["clean.flac"]
    assert min(clean.s_mos, clean.n_mos, clean.g_mos) > 3.5
    # Telephone speech is on a scale of its own.
    assert clean.g_mos == max(item.g_mos for name, item in scores.items() if name != "clean-telephone.wav")
    assert scores["clean-telephone.wav"].g_mos > 3.5


def test_noise_is_heard_in_n_and_distortion_in_s(scores: dict[str, Scores]) -> None:
    for name in ("noisy-15db.flac", "babble-0db.flac"):
        assert scores[name].n_mos < scores[name].s_mos - 0.7, name
    for name in ("distorted-mnru.flac", "packet-loss.ogg"):
        assert scores[name].s_mos < scores[name].n_mos - 0.3, name
    assert scores["babble-0db.flac"].n_mos < scores["noisy-15db.flac"].n_mos - 0.5


def test_more_noise_lowers_n_and_g(assessor: Assessor, scores: dict[str, Scores]) -> None:
    rng = np.random.default_rng(0)
    clean, rate_hz = soundfile.read(EXAMPLES / "clean.flac", dtype="float32")
    values = []
    for snr_db in (40, 25, 10, 0):
        noise = rng.standard_normal(len(clean)).astype(np.float32)
        noise *= np.sqrt(np.mean(clean**2) / np.mean(noise**2)) * 10 ** (-snr_db / 20)
        result = assessor.assess_array(clean + noise, rate_hz)
        assert result.scores is not None
        values.append(result.scores)
    for better, worse in pairwise(values):
        assert better.n_mos > worse.n_mos + 0.2
        assert better.g_mos > worse.g_mos
    assert values[-1].n_mos < 2.0 < scores["clean.flac"].n_mos


@pytest.mark.parametrize("gain_db", [-40, -20, 0])
def test_level_does_not_matter(assessor: Assessor, scores: dict[str, Scores], gain_db: float) -> None:
    samples, rate_hz = soundfile.read(EXAMPLES / "noisy-15db.flac", dtype="float32")
    result = assessor.assess_array(samples * np.float32(10 ** (gain_db / 20)), rate_hz)
    assert result.scores is not None
    assert result.scores.g_mos == pytest.approx(scores["noisy-15db.flac"].g_mos, abs=0.005)


@pytest.mark.parametrize("silence_s", [(1.0, 0.0), (0.0, 1.0), (0.3217, 4.0)])
def test_silence_around_a_recording_changes_nothing(
    assessor: Assessor, scores: dict[str, Scores], silence_s: tuple[float, float]
) -> None:
    for name in ("noisy-15db.flac", "clean.flac", "distorted-mnru.flac"):
        samples, rate_hz = soundfile.read(EXAMPLES / name, dtype="float32")
        before, after = (int(value * rate_hz) for value in silence_s)
        result = assessor.assess_array(np.pad(samples, (before, after)), rate_hz)
        assert result.scores is not None
        assert result.scores.s_mos == pytest.approx(scores[name].s_mos, abs=0.001), name
        assert result.scores.n_mos == pytest.approx(scores[name].n_mos, abs=0.001), name


def test_a_long_pause_with_faint_noise_is_not_a_noisy_recording(assessor: Assessor, scores: dict[str, Scores]) -> None:
    speech, rate_hz = soundfile.read(EXAMPLES / "clean.flac", dtype="float32")
    talk = np.tile(speech, 4)
    pause = (2e-4 * np.random.default_rng(0).standard_normal(30 * rate_hz)).astype(np.float32)
    result = assessor.assess_array(np.concatenate([talk, pause]), rate_hz)
    assert result.scores is not None
    assert result.scores.n_mos > scores["clean.flac"].n_mos - 0.5
    assert "silent_parts" in result.flags
