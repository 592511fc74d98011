"""Project settings: where they are found, what they may hold, and what is said when they are wrong."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from mtqscore.analysis.gates import Level, check_patterns
from mtqscore.cli.settings import GATE_KEYS, KEYS, GateEntry, Settings, find_settings, parse_gates, read_settings
from mtqscore.errors import UsageError

EVERYTHING = """
model = "models/my.onnx"
device = "cpu"
channels = 2
fail-under = "g>=3.2"
warn-under = ["g>=3.5", "p05(n)>=2.8 in clean/**"]

[[gates]]
expect = "mean(s)>=3.5"
paths = "enhanced/**"

[[gates]]
expect = "mean(s)>=3.8"
level = "warn"

[max-drop]
g = 0.1
s_mos = 1
"""


def settings(tmp_path: Path, text: str, name: str = "mtqscore.toml") -> Settings:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return read_settings(tmp_path / name)


def test_everything_is_read(tmp_path: Path) -> None:
    found = settings(tmp_path, EVERYTHING)
    assert found.source == tmp_path / "mtqscore.toml"
    assert (found.model, found.device, found.channels) == (str(tmp_path / "models/my.onnx"), "cpu", "2")
    assert [(entry.text, entry.level, entry.paths) for entry in found.gates] == [
        ("g>=3.2", Level.ERROR, None),
        ("g>=3.5", Level.WARN, None),
        ("p05(n)>=2.8 in clean/**", Level.WARN, None),
        ("mean(s)>=3.5", Level.ERROR, "enhanced/**"),
        ("mean(s)>=3.8", Level.WARN, None),
    ]
    assert found.max_drop == {"g": 0.1, "s_mos": 1.0}
    table = EVERYTHING.replace("[[gates]]", "[[tool.mtqscore.gates]]").replace("[max-drop]", "[tool.mtqscore.max-drop]")
    shared = settings(tmp_path, f"[project]\nname = 'x'\n[tool.mtqscore]\n{table}", "pyproject.toml")
    assert (shared.model, shared.max_drop) == (found.model, found.max_drop)
    assert [(entry.text, entry.level) for entry in shared.gates] == [(entry.text, entry.level) for entry in found.gates]


def test_the_example_of_the_documentation_is_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "gates.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    found = settings(tmp_path, text)
    assert all(f"{key} =" in text or f"[{key}]" in text for key in KEYS), "it shows every setting"
    assert all(f"{key} =" in text for key in GATE_KEYS)
    assert len(parse_gates(found.gates, ("s_mos", "n_mos", "g_mos"))) == 4


@pytest.mark.parametrize(
    ("model", "beside"),
    [("mtqnet-s", False), ("mtqnet-s@6", False), ("./my.onnx", True), ("../my.ONNX", True), ("models/mine", True)],
)
def test_a_model_that_is_a_file_lies_relative_to_the_settings(tmp_path: Path, model: str, beside: bool) -> None:
    found = settings(tmp_path, f'model = "{model}"').model
    assert found == (str(tmp_path / model) if beside else model)
    assert settings(tmp_path, 'model = "/opt/my.onnx"').model == "/opt/my.onnx"


def test_an_empty_file_settles_nothing_and_ends_the_search(tmp_path: Path) -> None:
    (tmp_path / "mtqscore.toml").write_text("\ufeff# nothing yet\n", encoding="utf-8")
    assert find_settings(tmp_path) == Settings(source=tmp_path / "mtqscore.toml")


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True)
    return folder


def test_the_nearest_folder_wins(tmp_path: Path, deep: Path) -> None:
    assert find_settings(deep) == Settings()
    (tmp_path / "mtqscore.toml").write_text('device = "cpu"')
    assert find_settings(deep).source == tmp_path / "mtqscore.toml"
    (deep.parent / "pyproject.toml").write_text("[tool.mtqscore]\n")
    assert find_settings(deep) == Settings(source=deep.parent / "pyproject.toml")
    (deep.parent / "mtqscore.toml").write_text('device = "cuda"')
    assert find_settings(deep).device == "cuda"


@pytest.mark.parametrize(
    "content",
    [
        "[project]\nname = 'other'\n",
        "[project]\ndependencies = ['mtqscore']\n",
        "[tool.ruff]\n",
        "[project]\nname = 'mtqscore'\n[project.scripts]\nmtqscore = 'x:y'\n",
        "[project.scripts]\nmtqscore = 'x:y'\nthis is = no TOML [",
        "tool = 'mtqscore'",
        "this is = no TOML [",
        "",
    ],
)
def test_a_shared_file_without_the_table_is_passed_over(tmp_path: Path, deep: Path, content: str) -> None:
    (tmp_path / "mtqscore.toml").write_text('device = "cpu"')
    (deep / "pyproject.toml").write_text(content)
    assert find_settings(deep).device == "cpu"
    with pytest.raises(UsageError, match=r"\[tool\.mtqscore\]|not a TOML"):
        read_settings(deep / "pyproject.toml")


@pytest.mark.parametrize(
    "table",
    [
        "[tool.mtqscore]",
        '["tool"."mtqscore"]',
        "tool.mtqscore.channels = 'each'\n[x]",
        "[tool]\nmtqscore.channels = 'each'",
        "['tool']  # of ours\n  mtqscore = {}",
        "tool = {mtqscore = {}}",
        "[[tool . mtqscore.gates]]\nexpect = 'g>=3'",
    ],
)
def test_the_table_may_be_written_as_toml_allows(tmp_path: Path, table: str) -> None:
    (tmp_path / "pyproject.toml").write_text(f"{table}\n")
    assert find_settings(tmp_path).source == tmp_path / "pyproject.toml"


def test_the_search_begins_in_the_current_folder(deep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (deep.parent / "mtqscore.toml").write_text('device = "cpu"')
    monkeypatch.chdir(deep)
    assert find_settings().device == "cpu"
    (deep / "mtqscore.toml").mkdir()
    assert find_settings().device == "cpu", "a folder of that name is no file"


@pytest.mark.skipif(os.name != "posix", reason="only there a current folder can vanish")
def test_a_folder_that_is_gone_has_no_settings(deep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(deep)
    deep.rmdir()
    assert find_settings() == Settings()


def test_looking_for_settings_costs_next_to_nothing(deep: Path) -> None:
    (deep / "pyproject.toml").write_text("[project]\ndependencies = [\n  'mtqscore>=1',\n]\n" + "[x]\n" * 100)
    taken_s = []
    for _ in range(20):
        started_s = time.perf_counter()
        find_settings(deep)
        taken_s.append(time.perf_counter() - started_s)
    assert min(taken_s) < 0.001


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fail_under = 'g>=3'", "unknown setting 'fail_under'; did you mean fail-under?"),
        ("Device = 'cpu'", "did you mean device?"),
        ("gate = 'g>=3'", "did you mean gates?"),
        ("colour = 1", "unknown setting 'colour'; known are model, device, channels, fail-under"),
        ("device = 'tpu'", "device 'tpu' is none of auto, cpu, cuda"),
        ("device = 1", "device must be text, not 1"),
        ("model = ''", "model must be text"),
        ("model = ['a']", "model must be text"),
        ("channels = 0", "channels '0' is neither"),
        ("channels = true", "channels must be text, not True"),
        ("fail-under = 3.2", "fail-under must be a gate or a list of gates"),
        ("warn-under = ['g>=3', 3]", "warn-under must be a gate or a list of gates"),
        ("gates = 'g>=3'", "gates must be tables"),
        ("gates = ['g>=3']", "gates must be tables"),
        ("gates = [{}]", "gates, entry 1: expect is missing"),
        ("gates = [{expect = 3}]", "gates, entry 1: expect must be text, not 3"),
        ("gates = [{expect = 'g>=3'}, {expects = 'g>=3'}]", "entry 2: unknown setting 'expects'; did you mean expect?"),
        ("gates = [{expect = 'g>=3', level = 'fatal'}]", 'level must be "error" or "warn", not \'fatal\''),
        ("gates = [{expect = 'g>=3', paths = ['a/**']}]", "paths must be text"),
        ("max-drop = 0.1", "max-drop must be a table"),
        ("max-drop = {g = '0.1'}", "max-drop: g must be a number from 0, not '0.1'"),
        ("max-drop = {g = true}", "must be a number"),
        ("max-drop = {g = -0.1}", "must be a number from 0"),
        ("max-drop = {g = nan}", "must be a number"),
        ("[tool.mtqscore]\nfail-under = 'g>=3'", "[tool.mtqscore] is for pyproject.toml"),
        ("[mtqscore]\nfail-under = 'g>=3'", "here settings stand at the top"),
        ("tool = 3", "unknown setting 'tool'"),
        ("device = ", "not a TOML file"),
        ("a" * 5_000 + " =", "not a TOML file"),
        ("x = " + "[" * 5_000, "not a TOML file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    folder = tmp_path / "new\nline"
    folder.mkdir()
    with pytest.raises(UsageError) as refused:
        settings(folder, text)
    message = str(refused.value)
    assert said in message
    assert f"{tmp_path}{os.sep}new\\nline{os.sep}mtqscore.toml: " in message
    assert len(message.splitlines()) == 1


def test_the_table_itself_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mtqscore must be a table"):
        settings(tmp_path, "[tool]\nmtqscore = 3", "pyproject.toml")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no-such\.toml: cannot read the settings: No such file"):
        read_settings(tmp_path / "no-such.toml")
    with pytest.raises(UsageError, match="cannot read the settings"):
        read_settings(Path("a\0b"))
    with pytest.raises(UsageError, match="cannot read the settings"):
        read_settings(tmp_path)
    (tmp_path / "mtqscore.toml").write_bytes(b"model = '\xff'")
    with pytest.raises(UsageError, match="not UTF-8"):
        find_settings(tmp_path)


def test_entries_become_gates_and_errors_say_where_they_stand(tmp_path: Path) -> None:
    targets = ("s_mos", "n_mos", "g_mos")
    found = settings(tmp_path, EVERYTHING)
    gates = parse_gates(found.gates, targets)
    assert [(gate.name, gate.level) for gate in gates] == [
        ("g>=3.2", Level.ERROR),
        ("g>=3.5", Level.WARN),
        ("p05(n)>=2.8 in clean/**", Level.WARN),
        ("mean(s)>=3.5 in enhanced/**", Level.ERROR),
        ("mean(s)>=3.8", Level.WARN),
    ]
    wrong = settings(tmp_path, "warn-under = 'g>=33'\n[[gates]]\nexpect = 'x>=3'")
    with pytest.raises(UsageError, match=r"mtqscore\.toml: warn-under: gate 'g>=33': >=33 can never hold"):
        parse_gates(wrong.gates, targets)
    with pytest.raises(UsageError, match=r"mtqscore\.toml: gates, entry 1: gate 'x>=3': unknown metric"):
        parse_gates(wrong.gates[1:], targets)
    with pytest.raises(UsageError, match="--fail-under: gate 'x>=3'"):
        parse_gates([GateEntry("x>=3", Level.ERROR, source="--fail-under")], targets)
    with pytest.raises(UsageError, match=r"mtqscore\.toml: gates, entry 1: gate 'mean\(s\)>=3\.5': its pattern"):
        check_patterns(gates, ["clean/a.wav", "b.wav"])
