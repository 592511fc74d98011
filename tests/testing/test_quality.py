"""assert_quality: the function, the fixture, and the hook for pre-commit."""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
import yaml

from mtqscore import AssessConfig, Assessor, UsageError, assert_quality
from tests.signals import RATE_HZ, speechlike, write

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
TestRun = subprocess.CompletedProcess[str]


# --- the function -----------------------------------------------------------------------------------------------


def test_a_good_recording_passes_as_file_and_as_samples() -> None:
    samples, rate_hz = soundfile.read(EXAMPLES / "clean.flac")
    by_file = assert_quality(EXAMPLES / "clean.flac", s=3.5, n=3.5, g=3.5)
    by_samples = assert_quality(samples, rate_hz, g=3.5)
    assert by_file.scores == by_samples.scores
    assert assert_quality(samples.tolist(), float(rate_hz), g=3.5).scores == by_file.scores


def test_a_failure_says_all() -> None:
    with pytest.raises(AssertionError) as raised:
        assert_quality(EXAMPLES / "coded-gsm.wav", s=3, n=3, g=3.2)
    lines = str(raised.value).splitlines()
    assert re.fullmatch(r".*coded-gsm\.wav: S-MOS 2\.\d{4} is below 3, G-MOS 2\.\d{4} is below 3\.2", lines[0])
    assert re.fullmatch(r"scores: S-MOS 2\.\d{4}, N-MOS 3\.\d{4}, G-MOS 2\.\d{4}", lines[1])
    assert re.fullmatch(r"worst second: 0:0\d\.\d to 0:0\d\.\d, alone S .*, N .*, G .*", lines[2])
    assert lines[3] == "flags: upsampled, narrowband"
    samples, rate_hz = soundfile.read(EXAMPLES / "coded-gsm.wav")
    with pytest.raises(AssertionError) as from_samples:
        assert_quality(samples, rate_hz, s=3, n=3, g=3.2)
    assert str(from_samples.value).splitlines()[1:] == lines[1:]


def test_scores_are_compared_as_files_show_them(fake_model: str) -> None:
    assessor = Assessor(AssessConfig(model=fake_model))
    samples = speechlike(2)
    scores = assessor.assess_array(samples, RATE_HZ).scores
    assert scores is not None
    limit = round(scores.g_mos, 4)
    assert_quality(samples, RATE_HZ, g=limit, assessor=assessor)
    with pytest.raises(AssertionError):
        assert_quality(samples, RATE_HZ, g=limit + 0.0001, assessor=assessor)


@pytest.mark.parametrize(
    ("audio", "reason"),
    [
        ("no such\nfile\x1b.wav", r"no such\\nfile\\x1b.wav cannot be scored: no such file \(not_found\)"),
        (np.zeros(RATE_HZ), r"no sound above -80 dBFS \(silent\)"),
        (np.full(RATE_HZ, np.nan), r"NaN .* \(non_finite\)"),
        (np.ones(9), r"\(too_short\)"),
        ([], r"no samples \(empty\)"),
    ],
)
def test_what_cannot_be_scored_fails(audio: Any, reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        assert_quality(audio, None if isinstance(audio, str) else RATE_HZ, g=1)


@pytest.mark.parametrize(
    ("audio", "rate_hz", "limits", "message"),
    [
        ("a.wav", None, {}, "needs a limit"),
        ("a.wav", None, {"s": 0.9}, "from 1 to 5"),
        ("a.wav", None, {"g": 5.1}, "from 1 to 5"),
        ("a.wav", None, {"n": float("nan")}, "from 1 to 5"),
        ("a.wav", None, {"n": True}, "from 1 to 5"),
        ("a.wav", None, {"n": "3"}, "from 1 to 5"),
        ("a.wav", RATE_HZ, {"g": 3}, "rate of its own"),
        (np.zeros(RATE_HZ), None, {"g": 3}, "need their rate"),
        (np.zeros(RATE_HZ), "16000", {"g": 3}, "no whole number"),
        (np.zeros(RATE_HZ), 44_100.5, {"g": 3}, "no whole number"),
        (np.zeros(RATE_HZ), 0, {"g": 3}, "not possible"),
        (np.zeros((2, RATE_HZ)), RATE_HZ, {"g": 3}, "channels first"),
        (np.zeros(RATE_HZ, np.uint8), RATE_HZ, {"g": 3}, "neither floats nor signed integers"),
        ([1, 2, 3], RATE_HZ, {"g": 3}, "list of integers"),
        ([[1.0], [1.0, 2.0]], RATE_HZ, {"g": 3}, "nothing that numpy takes"),
        (None, RATE_HZ, {"g": 3}, "NoneType is neither a path nor samples"),
        (b"a.wav", None, {"g": 3}, "bytes is neither a path nor samples"),
        (io.BytesIO(), None, {"g": 3}, "BytesIO is neither a path nor samples"),
    ],
)
def test_wrong_use_is_no_failed_assertion(audio: Any, rate_hz: Any, limits: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        assert_quality(audio, rate_hz, **limits)


def test_an_assessor_has_its_options_already(fake_model: str) -> None:
    config = AssessConfig(model=fake_model)
    with pytest.raises(UsageError, match="not both"):
        assert_quality("a.wav", g=3, config=config, assessor=Assessor(config))


def test_tensors_on_the_cpu_are_taken(fake_model: str) -> None:
    torch = pytest.importorskip("torch")
    config = AssessConfig(model=fake_model)
    samples = speechlike(2)
    tensor = torch.from_numpy(samples)
    assert assert_quality(tensor, RATE_HZ, g=1, config=config).scores == (
        assert_quality(samples, RATE_HZ, g=1, config=config).scores
    )
    with pytest.raises(UsageError, match="channels first"):
        assert_quality(tensor.T, RATE_HZ, g=1, config=config)
    with pytest.raises(UsageError, match="grad"):
        assert_quality(tensor.clone().requires_grad_(), RATE_HZ, g=1, config=config)


def test_threads_may_share_an_assessor(fake_model: str) -> None:
    assessor = Assessor(AssessConfig(model=fake_model, threads=2, batch_s=4))
    signals = [speechlike(1 + seed % 3, seed=seed) for seed in range(12)]
    alone = [assessor.assess_array(signal, RATE_HZ).scores for signal in signals]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda signal: assessor.assess_array(signal, RATE_HZ).scores, signals))
    assert together == alone


# --- the fixture ------------------------------------------------------------------------------------------------


@pytest.fixture
def run_tests(tmp_path: Path) -> Callable[..., TestRun]:
    """Run pytest as a process on one file of tests."""
    # By its module, so that it does not matter whether an installed entry point knows it.
    plugin = ("-p", "no:mtqscore", "-p", "mtqscore.testing.plugin")

    def call(code: str, *options: str, plugins: tuple[str, ...] = plugin, settings: str = "") -> TestRun:
        (tmp_path / "test_it.py").write_text(code)
        (tmp_path / "pytest.ini").write_text(f"[pytest]\n{settings}")
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *plugins, *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    return call


USES = """
def test_it(assert_quality):
    result = assert_quality("a.wav", s=1.0)
    print("scored by", result.model)
"""


@pytest.mark.parametrize("by_option", [True, False])
def test_the_fixture_takes_the_chosen_model(
    run_tests: Callable[..., TestRun], tmp_path: Path, fake_model: str, by_option: bool
) -> None:
    write(tmp_path / "a.wav", speechlike(2))
    relative = os.path.relpath(fake_model, tmp_path)
    if by_option:
        done = run_tests(USES, "-s", "--mtqscore-model", fake_model, settings="mtqscore_model = no-such-model")
    else:
        done = run_tests(USES, "-s", f"--rootdir={tmp_path}", settings=f"mtqscore_model = {relative}")
    assert "scored by fake@1" in done.stdout, done.stdout
    assert done.returncode == 0


def test_a_failing_test_shows_the_scores_and_hides_the_plugin(
    run_tests: Callable[..., TestRun], tmp_path: Path, fake_model: str
) -> None:
    write(tmp_path / "a.wav", speechlike(2))
    code = USES.replace("s=1.0", "s=4.9, g=4.9")
    done = run_tests(code, "--mtqscore-model", fake_model, "--junitxml=out.xml")
    assert done.returncode == 1
    assert re.search(r"^E +AssertionError: a\.wav: S-MOS .* is below 4\.9, G-MOS", done.stdout, re.MULTILINE)
    assert "test_it.py:3: AssertionError" in done.stdout
    assert "mtqscore/testing" not in done.stdout
    properties = ElementTree.parse(tmp_path / "out.xml").iter("property")
    named = {item.attrib["name"]: item.attrib["value"] for item in properties}
    assert named["recording"] == "a.wav"
    assert 1 <= float(named["s_mos"]) <= 4.9
    assert {"n_mos", "g_mos"} < named.keys()


def test_the_function_hides_its_frames_too(run_tests: Callable[..., TestRun], tmp_path: Path, fake_model: str) -> None:
    write(tmp_path / "a.wav", speechlike(2))
    done = run_tests(f"""
from mtqscore import AssessConfig, assert_quality

def test_it():
    assert_quality("a.wav", s=4.9, config=AssessConfig(model={fake_model!r}))
""")
    assert "test_it.py:5: AssertionError" in done.stdout
    assert "mtqscore/testing" not in done.stdout


def test_wrong_use_hides_its_frames_too(run_tests: Callable[..., TestRun], fake_model: str) -> None:
    for use in ("assert_quality('a.wav')", "assert_quality(None, g=3)", "assert_quality('a.wav', 16_000, g=3)"):
        done = run_tests(USES.replace('assert_quality("a.wav", s=1.0)', use), "--mtqscore-model", fake_model)
        assert "UsageError" in done.stdout
        assert "mtqscore/testing" not in done.stdout


def test_a_wrong_model_is_one_line(run_tests: Callable[..., TestRun]) -> None:
    done = run_tests(USES, "--mtqscore-model", "no-such-model")
    assert "mtqscore: no model 'no-such-model'" in done.stdout
    assert "Traceback" not in done.stdout
    assert done.returncode == 1


def test_a_run_that_does_not_use_the_plugin_loads_nothing(run_tests: Callable[..., TestRun]) -> None:
    done = run_tests("""
import sys

def test_it():
    assert "mtqscore.testing.plugin" in sys.modules
    loaded = {name.partition(".")[0] for name in sys.modules}
    assert not loaded & {"numpy", "onnxruntime", "soundfile", "typer", "rich"}
    assert {name for name in sys.modules if name.startswith("mtqscore.")} == {
            f"mtqscore.{name}" for name in ("testing", "testing.plugin", "base", "base.version")
        }
""")
    assert done.returncode == 0, done.stdout


def test_the_plugin_can_be_left_out(run_tests: Callable[..., TestRun]) -> None:
    done = run_tests(USES, plugins=("-p", "no:mtqscore"))
    assert "fixture 'assert_quality' not found" in done.stdout
    assert run_tests("def test_it(): pass", plugins=("-p", "no:mtqscore")).returncode == 0


# --- the hook of pre-commit -------------------------------------------------------------------------------------


def read_hook() -> dict[str, Any]:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
    assert isinstance(hook, dict)
    return hook


def test_the_hook_scores_what_it_is_given(tmp_path: Path) -> None:
    hook = read_hook()
    program, *words = shlex.split(hook["entry"])
    assert program == "mtqscore"
    write(tmp_path / "-dash.wav", speechlike(1))
    (tmp_path / "broken.wav").write_text("no recording")

    def call(args: list[str], *names: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "mtqscore", *words, *args, *names]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert call(hook["args"], "-dash.wav").returncode == 0
    assert call(hook["args"], "-dash.wav", "broken.wav").returncode == 3
    assert call(["--fail-under", "g>=1.1", "--"], "-dash.wav").returncode == 0
    failed = call(["--fail-under", "g>=4.9", "--"], "-dash.wav")
    assert (failed.returncode, "-dash.wav" in failed.stdout) == (1, True)


def test_the_hook_sees_all_files_at_once_and_takes_every_format() -> None:
    from mtqscore.audio.inputs import audio_extensions

    hook = read_hook()
    assert hook["require_serial"] is True
    pattern = re.compile(hook["files"])
    taken = {extension for extension in audio_extensions() if pattern.search(f"a/b.{extension.upper()}")}
    assert {"wav", "flac", "ogg", "opus", "mp3", "aiff", "w64", "rf64", "au", "caf"} <= taken
    assert not pattern.search("a/wav.txt")
