"""The doctor: right on a sound installation, and never ill itself on a broken one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mtqscore.diagnostics.doctor import installation, machine
from mtqscore.diagnostics.doctor.examine import examine
from mtqscore.diagnostics.doctor.facts import Fact, Mark, Section, as_text, failures
from mtqscore.diagnostics.doctor.installation import Requirement
from mtqscore.diagnostics.doctor.probes import Answer, run_probes
from tests.conftest import Run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def shim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules and packages come before the installed ones."""
    folder = tmp_path / "shim"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def distribution(folder: Path, name: str, version: str, files: str = "") -> None:
    """Pretend that a package is installed."""
    place = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    place.mkdir()
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (place / "RECORD").write_text(files)


def facts_of(document: dict[str, Any], title: str) -> dict[str, dict[str, str]]:
    (section,) = (item for item in document["sections"] if item["title"] == title)
    return {fact["name"]: fact for fact in section["facts"]}


def copy_package(folder: Path) -> Path:
    shutil.copytree(ROOT / "mtqscore", folder / "mtqscore")
    shutil.copytree(ROOT / "models", folder / "mtqscore" / "models" / "released")
    return folder / "mtqscore"


# --- a sound installation -------------------------------------------------------------------------------------


def test_a_sound_installation(run: Run) -> None:
    done = run("doctor", "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, done.stderr, document["ok"]) == (0, b"", True)
    assert (document["schema"], set(document)) == (
        "mtqscore.doctor/1",
        {"schema", "mtqscore", "ok", "sections"},
    )
    every = [fact for section in document["sections"] for fact in section["facts"]]
    assert {tuple(fact) for fact in every} == {("name", "value", "mark", "fix")}
    assert {fact["mark"] for fact in every} <= {"ok", "note"}
    assert facts_of(document, "Devices")["cpu"]["value"] == "works (CPUExecutionProvider)"
    assert "Ogg Opus, MP3" in facts_of(document, "Audio files")["formats"]["value"]
    assert any("the default" in fact["value"] for fact in facts_of(document, "Models").values())
    assert any("as released" in fact["value"] for fact in facts_of(document, "Scores of the known clips").values())


def test_people_get_sections_and_one_sentence(run: Run, tmp_path: Path) -> None:
    done = run("doctor", env={"HF_HUB_OFFLINE": "1", "MTQSCORE_HOME": str(tmp_path / "own\x1b[31m\nx")})
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0
    assert lines[-1] == "Recordings can be scored here."
    for title in ("Python", "Packages", "onnxruntime", "Devices", "Models", "Folders and network", "Training"):
        assert title in lines
    assert any(line.startswith("  note  network") for line in lines)
    assert b"\x1b" not in done.stdout
    assert "own\\x1b[31m\\nx" in done.stdout.decode()


def test_torch_is_read_from_metadata_only(shim: Path) -> None:
    for name in ("torch", "torchaudio", "scipy", "huggingface_hub"):
        (shim / f"{name}.py").write_text("import os; os._exit(9)")
    assert not failures(examine())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_is_one_line(run: Run) -> None:
    with Path("/dev/full").open("wb") as full:
        done = run("doctor", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, len(done.stderr.splitlines())) == (4, 1)
    assert b"cannot write stdout" in done.stderr


# --- broken installations -------------------------------------------------------------------------------------

NEVER = "import time; time.sleep(100)"
BROKEN = {
    "missing": ("raise ModuleNotFoundError('No module named x')", "ModuleNotFoundError: No module named x"),
    "an old build": ("raise RuntimeError('compiled against 1.x\\nmore')", "RuntimeError: compiled against 1.x"),
    "without its C library": ("raise OSError('lib.so: cannot open')", "OSError: lib.so: cannot open"),
    "one that crashes": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "it crashes Python (signal 11)"),
    "one that leaves": ("import os; os._exit(0)", "it ends Python with code 0"),
    "one that exits": ("raise SystemExit(3)", "SystemExit: 3"),
    "one that is empty": ("", "AttributeError"),
    "one that talks": ('print(\'["numpy", {}, ""]\')\nraise ImportError', "ImportError"),
}


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_library_is_an_answer_and_the_rest_goes_on(shim: Path, kind: str) -> None:
    code, said = BROKEN[kind]
    (shim / "soxr.py").write_text(code)
    answers = run_probes(["numpy", "soxr", "models"])
    assert list(answers) == ["numpy", "soxr", "models"]
    assert said in answers["soxr"].error
    assert not answers["numpy"].error
    assert answers["models"].values["models"]


def test_a_library_that_hangs_is_an_answer(shim: Path) -> None:
    (shim / "soxr.py").write_text(NEVER)
    answers = run_probes(["numpy", "soxr", "folders"], longest_s=2)
    assert "hangs" in answers["soxr"].error
    assert not answers["numpy"].error
    assert not answers["folders"].error


def test_no_second_python_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    sections = examine()
    assert failures(sections)
    assert "no second Python can be started" in as_text("1", sections)


@pytest.mark.parametrize("module", ["numpy", "soundfile", "onnxruntime"])
def test_what_stops_scoring_is_a_failure_with_a_line_to_paste(run: Run, shim: Path, module: str) -> None:
    (shim / f"{module}.py").write_text("raise ImportError('DLL load failed')")
    done = run("doctor", "--json", env={"PYTHONPATH": f"{shim}{os.pathsep}{ROOT}"})
    document = json.loads(done.stdout)
    assert (done.returncode, done.stderr, document["ok"]) == (4, b"", False)
    failed = [fact for section in document["sections"] for fact in section["facts"] if fact["mark"] == "FAIL"]
    assert failed
    assert all(fact["fix"] and "\n" not in fact["fix"] for fact in failed)
    assert len(failed) == 1, "what follows from it is none of its own"
    assert "DLL load failed" in failed[0]["value"]
    assert module in failed[0]["fix"]


def test_the_doctor_needs_no_command_line_library(shim: Path, tmp_path: Path) -> None:
    for module in ("typer", "rich", "numpy"):
        (shim / f"{module}.py").write_text("raise ImportError('gone')")
    environment = {**os.environ, "PYTHONPATH": f"{shim}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "mtqscore", "doctor"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (4, b"")
    assert b"FAIL  numpy" in done.stdout
    assert b"gone" in done.stdout


def test_two_onnxruntimes_are_named_with_the_way_out(shim: Path) -> None:
    distribution(shim, "onnxruntime", "1.20.1", "onnxruntime/__init__.py,,\n")
    distribution(shim, "onnxruntime-extensions", "0.14.0", "onnxruntime_extensions/__init__.py,,\n")
    facts = installation.runtime_facts(Answer({"version": "1", "cuda": "", "folder": "x"}))
    if len(installation._onnxruntime_owners()) < 2:
        pytest.skip("onnxruntime itself is installed here")
    failed = facts[0]
    assert failed.mark is Mark.FAIL
    assert "onnxruntime 1.20.1" in failed.value
    assert "extensions" not in failed.value
    assert "uninstall -y onnxruntime onnxruntime-gpu &&" in failed.fix


def test_a_torchaudio_of_another_torch_is_a_note(shim: Path) -> None:
    distribution(shim, "torch", "2.4.0+cu121")
    distribution(shim, "torchaudio", "2.11.0+cpu")
    facts = installation.training_facts()
    assert all(fact.mark is not Mark.FAIL for fact in facts)
    assert any("cpu and cu121" in fact.value and "mtqscore[train]" in fact.fix for fact in facts)


@pytest.mark.parametrize(
    ("versions", "allowed", "refused"),
    [
        (">=1.26", ("1.26", "1.26.0", "2.0rc1", "10.0"), ("1.25.9", "1", "")),
        ("<2.14,>=2.11", ("2.11", "2.13.1+cu130"), ("2.14", "2.10.9")),
        ("==2.11.*", ("2.11", "2.11.3"), ("2.1", "2.12.0")),
        ("", ("1", ""), ()),
    ],
)
def test_versions_are_compared_as_numbers(versions: str, allowed: tuple[str, ...], refused: tuple[str, ...]) -> None:
    wanted = Requirement("x", versions, "")
    assert all(wanted.allows(version) for version in allowed)
    assert not any(wanted.allows(version) for version in refused)


def test_metadata_that_is_damaged_hides_nothing(shim: Path) -> None:
    for name, content in (("onnxruntime", b""), ("nvidia_cudnn_cu13", b"\xff\xfe"), ("numpy", b"Name: numpy\n")):
        (shim / f"{name}-9.dist-info").mkdir()
        (shim / f"{name}-9.dist-info" / "METADATA").write_bytes(content)
    (shim / "empty.dist-info").mkdir()
    sections = examine()
    assert len({section.title for section in sections}) == 10
    assert "not examined" not in as_text("1", sections)


def test_a_damaged_model_is_a_failure(run: Run, tmp_path: Path) -> None:
    package = copy_package(tmp_path)
    (model,) = list((package / "models" / "released").glob("*.onnx"))[:1]
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    here = {"PYTHONPATH": str(tmp_path)}
    done = run("doctor", env=here)
    text = done.stdout.decode()
    assert (done.returncode, done.stderr) == (4, b"")
    assert "is damaged" in text
    assert "--force-reinstall" in text
    (package / "models" / "released" / "registry.json").write_text("{")
    shutil.rmtree(package / "diagnostics" / "conformance")
    done = run("doctor", env=here)
    assert (done.returncode, done.stderr) == (4, b"")
    assert "the list of models is damaged" in done.stdout.decode()
    assert done.stdout.decode().splitlines()[-1].startswith("Recordings cannot be scored")


# --- folders --------------------------------------------------------------------------------------------------


def test_folders_that_cannot_be_used_are_notes(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    values = {"cache": "/proc/1/x/y", "own": str(tmp_path / "file" / "x"), "endpoint": "http://h", "offline": False}
    facts = {fact.name: fact for fact in machine.folder_facts(Answer(values))}
    assert facts["Hub cache"].mark is Mark.NOTE
    assert "HF_HOME" in facts["Hub cache"].fix
    assert "is not a folder" in facts["own models"].value
    assert facts["temporary"].mark is Mark.OK
    odd = {**values, "cache": "/nul\0l", "own": str(tmp_path / ("x" * 300) / "\udcff")}
    assert all(fact.mark is not Mark.FAIL for fact in machine.folder_facts(Answer(odd)))


def test_no_password_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://me:secret@hub.example")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    text = as_text("1", [Section("S", tuple(machine.folder_facts(run_probes(["folders"])["folders"])))])
    assert "https://***@hub.example" in text
    assert "secret" not in text


@pytest.mark.parametrize("broken", ["a list", "a library"])
def test_what_is_bundled_needs_no_list_of_ones_own(
    shim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    if broken == "a list":
        monkeypatch.setenv("MTQSCORE_HOME", str(tmp_path))
        (tmp_path / "registry.json").write_text("[")
    else:
        monkeypatch.delenv("MTQSCORE_HOME", raising=False)
        (shim / "platformdirs.py").write_text("raise ImportError('no platformdirs')")
    sections = examine()
    assert not failures(sections)
    (models,) = (section for section in sections if section.title == "Models")
    assert models.facts[-1].mark is Mark.NOTE
    assert "not listed" in models.facts[-1].value


def test_no_room_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1_000))  # type: ignore[attr-defined]
    values = {"cache": str(tmp_path), "own": str(tmp_path), "endpoint": "http://h", "offline": True}
    facts = {fact.name: fact for fact in machine.folder_facts(Answer(values))}
    assert "no room" in facts["Hub cache"].value
    assert facts["network"].mark is Mark.NOTE


@pytest.mark.skipif(os.name == "nt", reason="a script stands in for nvidia-smi")
def test_a_driver_that_does_not_answer_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA X, 580.1'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    values = {"driver": "13.0", "cuDNN": "9.10.2"}
    facts = {fact.name: fact for fact in machine.cuda_facts(Answer(values))}
    assert "NVIDIA X, 580.1, CUDA 13.0" in facts["NVIDIA driver"].value
    assert "9.10.2 (of the system)" in facts["cuDNN"].value
    tool.write_text("#!/bin/sh\necho 'driver/library version mismatch'; exit 18\n")
    facts = {fact.name: fact for fact in machine.cuda_facts(Answer())}
    assert "mismatch" in facts["NVIDIA driver"].value


# --- how it is shown ------------------------------------------------------------------------------------------


def test_one_fault_in_a_section_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty() -> list[Fact]:
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr("mtqscore.diagnostics.doctor.examine.processor_facts", faulty)
    monkeypatch.setattr("mtqscore.diagnostics.doctor.examine.run_probes", dict)
    sections = {section.title: section for section in examine()}
    assert sections["Processor"].facts[0].value == "ZeroDivisionError: unforeseen"
    assert len(sections) == 10


def test_marks_are_coloured_for_terminals_only() -> None:
    sections = [Section("S", (Fact("a", "x\x1b[0m", Mark.FAIL, "fix it"), Fact("long", "y")))]
    plain = as_text("1", sections)
    assert plain.splitlines()[3:6] == ["  FAIL  a     x\\x1b[0m", "              fix: fix it", "  ok    long  y"]
    assert "\x1b[31;1mFAIL\x1b[0m" in as_text("1", sections, colour=True)
