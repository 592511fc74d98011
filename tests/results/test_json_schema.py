"""The published JSON Schema: it takes what is written, and refuses what is not."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import fields, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from mtqscore.base.schema_versions import ASSESS
from mtqscore.config import AssessConfig
from mtqscore.results.columns import BEFORE_SCORES, BEHIND_SCORES, FURTHER, SCORES, table_columns
from mtqscore.scores import Scores, Status
from tests.report.kit import CURVES, NAMES, RUN_WITH_FRAMES, compared, dropped, gated, row, written
from tests.signals import speechlike, write

if TYPE_CHECKING:
    from tests.conftest import Run as RunProcess

DEFINITION = json.loads(resources.files("mtqscore.report").joinpath("assess-1.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(DEFINITION)
ROWS = [
    *(row(name, frames=CURVES) for name in NAMES),
    replace(row(""), path=None),
    *(row("a.wav", None, status=status, channel="") for status in Status if status is not Status.OK),
]


def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        written("json", ROWS, RUN_WITH_FRAMES, gates=gated(ROWS, "g>=4", "p05(n)>=1.5"), comparison=compared(dropped()))
    )
    return found


def test_it_is_a_schema_of_this_version() -> None:
    jsonschema.Draft202012Validator.check_schema(DEFINITION)
    assert DEFINITION["$defs"]["document"]["properties"]["schema"]["const"] == ASSESS
    assert set(DEFINITION["$defs"]["options"]["properties"]) == {field.name for field in fields(AssessConfig)}
    assert DEFINITION["$defs"]["status"]["enum"] == list(Status)


def test_its_rows_are_those_of_the_table_of_columns() -> None:
    row = DEFINITION["$defs"]["row"]
    columns = [*BEFORE_SCORES, *BEHIND_SCORES, *FURTHER]
    described = {name: part for name, part in row["properties"].items() if name not in (*SCORES, "shard", "frames")}
    assert described == {column.name: column.json_schema() for column in columns}
    names = [column.name for column in table_columns(SCORES)]
    assert list(row["properties"]) == [*names, *(column.name for column in FURTHER), "shard", "frames"]
    assert row["required"] == [*names, "model_sha256", "provider"]
    table = (
        (Path(__file__).parents[2] / "docs" / "outputs.md")
        .read_text(encoding="utf-8")
        .split("## Columns")[1]
        .split("##")[0]
    )
    assert [name for name in row["properties"] if f"`{name}`" not in table] == []


def test_documents_and_rows_of_every_kind_keep_to_it() -> None:
    VALIDATOR.validate(document())
    for line in written("jsonl", ROWS, RUN_WITH_FRAMES).decode().splitlines():
        VALIDATOR.validate(json.loads(line))
    VALIDATOR.validate(json.loads(written("json", [])))
    further = replace(RUN_WITH_FRAMES, targets=("s_mos", "n_mos", "g_mos", "loudness"), options=None)
    VALIDATOR.validate(json.loads(written("json", [row("a", scores=Scores(1, 2, 3, {"loudness": 90.0}))], further)))


def at(*place: str | int, value: object) -> Callable[[dict[str, Any]], None]:
    def change(found: dict[str, Any]) -> None:
        part: Any = found
        for step in place[:-1]:
            part = part[step]
        if value is ...:
            del part[place[-1]]
        else:
            part[place[-1]] = value

    return change


UNSCORED = len(NAMES) + 1


@pytest.mark.parametrize(
    "fault",
    [
        at("schema", value="mtqscore.assess/2"),
        at("summary", value=...),
        at("further", value=1),
        at("model", "targets", value=["s_mos", "n_mos"]),
        at("model", "sha256", value="ab"),
        at("options", "device", value="CUDA 1"),
        at("options", "channels", value="left"),
        at("results", 0, "g_mos", value=5.1),
        at("results", 0, "g_mos", value=0.9),
        at("results", 0, "g_mos", value="3"),
        at("results", 0, "g_mos", value=None),
        at("results", 0, "g_mos", value=...),
        at("results", 0, "status", value="fine"),
        at("results", 0, "status", value="silent"),
        at("results", 0, "flags", value="clipped"),
        at("results", 0, "flags", value=["loud"]),
        at("results", 0, "flags", value=["clipped", "clipped"]),
        at("results", 0, "duration_s", value=-1),
        at("results", 0, "sample_rate_hz", value=8000.5),
        at("results", 0, "channel", value="left"),
        at("results", 0, "further", value="text"),
        at("results", 0, "path", value=7),
        at("results", 0, "frames", "hop_s", value=0),
        at("results", 0, "frames", "n_mos", value=[6]),
        at("results", 0, "frames", "g_mos", value=...),
        at("results", UNSCORED, "reason", value=""),
        at("results", UNSCORED, "s_mos", value=3),
        at("results", UNSCORED, "frames", value={"hop_s": 1, "s_mos": [], "n_mos": [], "g_mos": []}),
        at("summary", "rows", value=-1),
        at("summary", "statuses", value={"fine": 1}),
        at("summary", "mean", "g_mos", value=6),
        at("summary", "gates", "passed", value=...),
        at("summary", "gates", "verdicts", 0, "statistic", value="p5"),
        at("summary", "gates", "verdicts", 0, "level", value="fatal"),
        at("summary", "gates", "verdicts", 0, "worst", 0, "value", value=None),
        at("summary", "comparison", "differences", 0, "result", value="fine"),
        at("summary", "comparison", "differences", 0, "level", value=95),
        at("summary", "comparison", "base", "scored", value=None),
    ],
)
def test_a_changed_document_is_refused(fault: Callable[[dict[str, Any]], None]) -> None:
    changed = copy.deepcopy(document())
    fault(changed)
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(changed)


def test_a_row_without_the_name_of_a_schema_is_held_to_that_of_rows() -> None:
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate({})
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate({"schema": ASSESS})


def test_what_the_command_writes_keeps_to_it(run: RunProcess, tmp_path: Path) -> None:
    write(tmp_path / "two.wav", speechlike(1, channels=2))
    (tmp_path / "bad.wav").write_text("no audio")
    base = run("assess", "two.wav", "--channels", "each", "--jsonl", "base.jsonl")
    assert base.returncode == 0
    gates = ["--fail-under", "g>=4", "--warn-under", "p05(n)>=2", "--baseline", "base.jsonl", "--max-drop", "g=0.1"]
    done = run("assess", ".", "no.wav", "--channels", "each", "--frames", *gates, "--json", "-", "--jsonl", "o.jsonl")
    assert done.returncode == 3
    found = json.loads(done.stdout)
    VALIDATOR.validate(found)
    assert {"gates", "comparison"} <= set(found["summary"])
    for line in (tmp_path / "o.jsonl").read_text().splitlines():
        VALIDATOR.validate(json.loads(line))
    judged = run("gate", "o.jsonl", "--fail-under", "g>=4", "--json", "-")
    VALIDATOR.validate(json.loads(judged.stdout))
