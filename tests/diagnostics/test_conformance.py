"""Released models give the scores that they were released with, a moved score is found, and drift stays in bounds."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from msgspec.structs import replace

from benchmarks.release import conformance as maker
from benchmarks.release import drift
from mtqscore import Assessor, EnvironmentProblemError, UsageError
from mtqscore.diagnostics.conformance import check, known
from mtqscore.diagnostics.conformance.check import JOINED, check_model, read_clips
from mtqscore.diagnostics.conformance.known import TOLERANCE, ClipScores, KnownModel, clip_paths, read_known
from mtqscore.models import load_model, read_registry
from mtqscore.scoring import session as runtime
from mtqscore.scoring.session import Scorer
from tests.conftest import Run

ROOT = Path(__file__).parents[2]
(STORED,) = read_known().values()


@dataclass(frozen=True)
class FakeDevice:
    name: str
    works: bool = True
    reason: str = ""


def use_devices(monkeypatch: pytest.MonkeyPatch, *devices: FakeDevice) -> None:
    monkeypatch.setattr(runtime, "available_devices", lambda: list(devices))


def with_moved_score(model: KnownModel, by: float) -> dict[str, Any]:
    """The stored scores with one of them moved."""
    document: dict[str, Any] = json.loads(known.SCORES_FILE.read_text(encoding="utf-8"))
    (stored,) = (item for item in document["models"] if item["label"] == model.label)
    stored["clips"]["clipped"]["scores"][1] += by
    return document


# --- the guard ------------------------------------------------------------------------------------------------


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> check.Conformance:
    use_devices(monkeypatch, FakeDevice("cpu"))
    return check_model(None)


def test_no_score_moves_without_a_new_number(scored: check.Conformance) -> None:
    assert (scored.sha256, scored.conformance) == (STORED.sha256, STORED.conformance)
    (device,) = scored.devices
    assert set(device.deviations) == {*(path.stem for path in clip_paths()), JOINED}
    assert device.largest is not None
    assert device.largest <= TOLERANCE, (
        "scores moved: if that is meant, run `python benchmarks/release/conformance.py update mtqnet-s`"
    )


def test_the_released_model_has_its_number_and_the_changelog_names_it() -> None:
    default, bundled = read_registry()
    assert set(bundled) == {default} == {STORED.label}, "one model is released, and its scores are stored"
    entry, info = bundled[default], Scorer(load_model(None), "cpu").info
    assert (STORED.sha256, str(STORED.conformance)) == (entry.sha256, entry.conformance)
    assert STORED.targets == info.targets
    assert int(info.conformance) <= STORED.conformance
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    start = maker.announcement(STORED)
    whys = [line.removeprefix(start) for line in changelog if line.startswith(start)]
    assert len(whys) == 1, f"{start!r}: change stored scores by `python benchmarks/release/conformance.py update`"
    assert len(whys[0].split()) > 1, "the changelog says why"


@pytest.mark.parametrize(("by", "passes"), [(0.004, True), (-0.006, False)])
def test_a_moved_score_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: float, passes: bool) -> None:
    use_devices(monkeypatch, FakeDevice("cpu"))
    (tmp_path / "scores.json").write_text(json.dumps(with_moved_score(STORED, by)))
    monkeypatch.setattr(known, "SCORES_FILE", tmp_path / "scores.json")
    assert check_model(STORED.label).passed is passes


def test_editing_a_stored_score_breaks_its_line_in_the_changelog() -> None:
    clip = STORED.clips["reverb"]
    edited = replace(clip, seconds=((1.0, *clip.seconds[0][1:]), *clip.seconds[1:]))
    assert maker.announcement(replace(STORED, clips={**STORED.clips, "reverb": edited})) != maker.announcement(STORED)


def test_a_new_number_is_stored_and_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores, changelog = tmp_path / "scores.json", tmp_path / "CHANGELOG.md"
    scores.write_text(json.dumps(with_moved_score(STORED, 0.1)))
    changelog.write_text("# Changelog\n\n## 0.1.0\n\n- A thing.\n")
    for module in (known, maker):
        monkeypatch.setattr(module, "SCORES_FILE", scores)
    monkeypatch.setattr(maker, "CHANGELOG", changelog)
    maker.update(STORED.label, "windows are weighted anew")
    after = read_known()[STORED.label]
    assert after.conformance == STORED.conformance + 1
    assert max(check.deviations(after.clips, STORED.clips).values()) <= TOLERANCE
    line = maker.announcement(after) + "windows are weighted anew\n"
    assert changelog.read_text().endswith(f"- A thing.\n\n## Conformance\n\n{line}")
    before = scores.read_bytes(), changelog.read_bytes()
    maker.update(STORED.label, "nothing")
    assert (scores.read_bytes(), changelog.read_bytes()) == before, "no score moved"


# --- the clips ------------------------------------------------------------------------------------------------


def test_the_clips_are_small_lossless_and_varied() -> None:
    paths = clip_paths()
    assert sum(path.stat().st_size for path in paths) <= 400_000
    for path in paths:
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert 2 <= info.duration <= 4
    scores = np.array([clip.scores for clip in STORED.clips.values()])
    assert (np.ptp(scores, axis=0) > 2).all(), "they cover the scale"


def test_the_clips_are_what_their_script_makes() -> None:
    clips = read_clips()
    clean = {name: np.float64(clips[name]) for name in maker.SPOKEN}
    made = maker.degraded(clean)
    assert {*made, *clean, JOINED} == set(clips)
    for name, samples in made.items():
        # Resampling and transforms round differently on other processors.
        assert np.abs(samples - clips[name]).max() <= 1.01 / 32_768, name


# --- drift ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drifts() -> dict[str, drift.Drift]:
    return {item.change.name: item for item in drift.measure(Assessor())}


@pytest.mark.parametrize("change", drift.CHANGES, ids=lambda change: change.name)
def test_what_should_not_matter_stays_in_bounds(drifts: dict[str, drift.Drift], change: drift.Change) -> None:
    assert drifts[change.name].largest <= change.bound


# --- the check itself -----------------------------------------------------------------------------------------


def test_a_foreign_model_is_compared_between_devices(fake_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use_devices(monkeypatch, FakeDevice("cuda", works=False, reason="no driver"), FakeDevice("auto"), FakeDevice("cpu"))
    found = check_model(fake_model)
    assert (found.conformance, found.compared, found.passed) == (None, True, True)
    assert [device.device for device in found.devices] == ["cpu", "auto", "cuda"]
    assert found.devices[0].largest is None
    assert found.devices[1].largest == pytest.approx(0, abs=1e-4)
    assert found.devices[2].problem == "no driver"


def test_a_device_that_deviates_or_breaks_fails(fake_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use_devices(monkeypatch, FakeDevice("cpu"), FakeDevice("auto"))
    genuine = Scorer.score

    def shifted(self: Scorer, waveform: Any, lengths: Any) -> Any:
        scores, frames = genuine(self, waveform, lengths)
        shift = np.float32(0.01 if getattr(self, "second", False) else 0)
        return scores + shift, frames

    made: list[Scorer] = []
    begin = Scorer.__init__

    def counted(self: Scorer, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        made.append(self)
        self.second = len(made) == 2  # type: ignore[attr-defined]

    monkeypatch.setattr(Scorer, "score", shifted)
    monkeypatch.setattr(Scorer, "__init__", counted)
    found = check_model(fake_model)
    assert not found.passed
    assert found.devices[1].largest == pytest.approx(0.01, abs=1e-4)

    def broken(self: Scorer, *arguments: Any, **named: Any) -> None:
        made.append(self)
        if len(made) == 2:
            raise EnvironmentProblemError("no memory")
        begin(self, *arguments, **named)

    made.clear()
    monkeypatch.setattr(Scorer, "score", genuine)
    monkeypatch.setattr(Scorer, "__init__", broken)
    found = check_model(fake_model)
    assert (found.passed, found.devices[1].problem) == (False, "no memory")


def test_deviation_finds_what_is_missing() -> None:
    clip = ClipScores((1.0, 2.0), ((1.0, None), (3.0, 4.0)))
    assert clip.deviation(clip) == 0
    for other in (
        replace(clip, seconds=clip.seconds[:1]),
        replace(clip, seconds=((1.0, 2.0), (3.0, 4.0))),
        replace(clip, scores=(1.0, float("nan"))),
        replace(clip, scores=(1.0,)),
    ):
        assert clip.deviation(other) == other.deviation(clip) == float("inf")


def test_without_a_device_or_a_model_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    use_devices(monkeypatch, FakeDevice("cpu", works=False))
    with pytest.raises(EnvironmentProblemError, match="doctor"):
        check_model(None)
    use_devices(monkeypatch, FakeDevice("cpu"))
    with pytest.raises(UsageError, match="no model"):
        check_model("nobody@1")


# --- the command ----------------------------------------------------------------------------------------------


def test_selftest_is_one_line_and_details_with_v(run: Run) -> None:
    done = run("selftest")
    assert (done.returncode, done.stderr) == (0, b"")
    (line,) = done.stdout.decode().splitlines()
    assert line.startswith(f"{STORED.label}, conformance {STORED.conformance}: as released on cpu")
    lines = run("selftest", "-v").stdout.decode().splitlines()
    assert lines[0] == line
    assert [text.split()[0] for text in lines[3:17]] == [*(path.stem for path in clip_paths()), JOINED]


def test_selftest_as_json_of_a_foreign_model(run: Run, fake_model: str) -> None:
    done = run("selftest", "--model", fake_model, "--json")
    document = json.loads(done.stdout)
    (model,) = document["models"]
    assert document["schema"] == "mtqscore.selftest/1"
    assert (done.returncode, done.stderr, document["passed"]) == (0, b"", True)
    assert (model["model"], model["conformance"], model["compared_with"]) == ("fake@1", None, "first device")
    assert model["devices"][0]["provider"] == "CPUExecutionProvider"


def test_selftest_says_when_nothing_was_compared(run: Run, fake_model: str) -> None:
    done = run("selftest", "--model", fake_model, env={"CUDA_VISIBLE_DEVICES": "-1"})
    assert done.stdout.decode().splitlines() == ["fake@1, no stored scores: runs on cpu; nothing was compared"]


def test_selftest_refuses_in_one_line(run: Run) -> None:
    done = run("selftest", "--model", "nobody")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, b"", 1)


def test_selftest_works_from_an_installation_and_finds_what_is_damaged(run: Run, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "mtqscore", tmp_path / "mtqscore")
    shutil.copytree(ROOT / "models", tmp_path / "mtqscore" / "models" / "released")
    here = {"PYTHONPATH": str(tmp_path)}
    scores = tmp_path / "mtqscore" / "diagnostics" / "conformance" / "scores.json"
    scores.write_text(json.dumps(with_moved_score(STORED, 0.5)))
    done = run("selftest", env=here)
    assert (done.returncode, done.stderr) == (4, b"")
    assert "not as released: cpu deviates by 0.5000 (clipped)" in done.stdout.decode()
    clip = scores.parent / "clips" / clip_paths()[0].name
    for place, content in ((clip, b"fLaC"), (scores, b"\xff"), (scores, b'{"models": {"m@1": 3}}')):
        place.write_bytes(content)
        done = run("selftest", env=here)
        assert (done.returncode, done.stdout) == (4, b"")
        (line,) = done.stderr.decode().splitlines()
        assert str(place) in line
