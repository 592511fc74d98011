"""JUnit XML: recordings, gates and a comparison as test cases, for CI systems that show such."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TextIO, cast

from mtqscore.analysis.compare import Comparison
from mtqscore.analysis.gates import Gate, GateReport, Level, Verdict
from mtqscore.base.text import TITLES, display_name, printable, score_title
from mtqscore.report.comparison import sentences
from mtqscore.report.gates import observed_text
from mtqscore.report.summary import RunSummary
from mtqscore.results.columns import table_record
from mtqscore.results.run import Run
from mtqscore.scores import Assessment
from mtqscore.targets import DECIMALS

if TYPE_CHECKING:
    from io import TextIOBase
    from xml.sax.saxutils import XMLGenerator

MEMORY_BYTES = 16_000_000
"""Rows wait for the gates, which are judged after the last one; more of them than this wait on disk."""

TOP_FOLDER = "recordings"
"""Class of recordings that were named without a folder."""


@dataclass(frozen=True)
class _Case:
    """One test case; its fault is ``failure``, ``error``, or empty when it passed."""

    group: str
    name: str
    fault: str = ""
    kind: str = ""
    message: str = ""
    details: str = ""
    output: str = ""


class JunitWriter:
    """Writes JUnit XML that keeps to the schema of Jenkins; rows, gates and changes are test cases.

    Characters that XML cannot hold stand as backslash escapes.
    """

    line_by_line: ClassVar[bool] = False

    def __init__(self, stream: TextIO, run: Run) -> None:
        from tempfile import SpooledTemporaryFile

        self._stream = stream
        self._run = run
        self._rows = SpooledTemporaryFile(MEMORY_BYTES, "w+", encoding="ascii")  # noqa: SIM115 - lives as long as self

    def begin(self) -> None:
        """Nothing can be written before the gates are known."""

    def write(self, assessment: Assessment) -> None:
        """Take one row."""
        self._rows.write(json.dumps(table_record(assessment, self._run.targets)) + "\n")

    def finish(self, summary: RunSummary) -> None:
        """Write the document."""
        from xml.sax.saxutils import XMLGenerator

        gates = [] if summary.gates is None else [verdict.gate for verdict in summary.gates.verdicts]
        each = [gate for gate in gates if gate.statistic == "every"]
        aggregate = _gate_cases(summary.gates)
        differences = _difference_cases(summary.comparison)
        broken = sum(case.fault == "failure" for case in self._recordings(each))
        unscored = summary.rows - summary.scored
        failures = [broken, *(sum(bool(case.fault) for case in cases) for cases in (aggregate, differences))]
        xml = XMLGenerator(cast("TextIOBase", self._stream), "utf-8", short_empty_elements=True)
        xml.startDocument()
        total = summary.rows + len(aggregate) + len(differences)
        with _element(xml, "testsuites", _counts("mtqscore", total, sum(failures), unscored)):
            self._suite(xml, _counts("recordings", summary.rows, broken, unscored), self._recordings(each))
            if gates:
                self._suite(xml, _counts("gates", len(aggregate), failures[1], 0), aggregate)
            if summary.comparison is not None:
                self._suite(xml, _counts("comparison", len(differences), failures[2], 0), differences)
        xml.endDocument()
        self._stream.write("\n")
        self._rows.close()

    def _recordings(self, gates: list[Gate]) -> Iterator[_Case]:
        self._rows.seek(0)
        for line in self._rows:
            yield _recording(json.loads(line), gates)

    def _suite(self, xml: XMLGenerator, attributes: dict[str, str], cases: Iterable[_Case]) -> None:
        with _element(xml, "testsuite", attributes):
            with _element(xml, "properties", {}):
                for name, value in (("mtqscore", self._run.version), ("model", self._run.model)):
                    with _element(xml, "property", {"name": name, "value": value}):
                        pass
            for case in cases:
                _write_case(xml, case)


def _recording(row: dict[str, Any], gates: list[Gate]) -> _Case:
    """A recording: an error without scores, a failure where it breaks gates that hold for every one of them."""
    path = display_name(row["path"])
    folder, name = os.path.split(path.rstrip("/"))
    name = name if row["channel"] in ("", "mean") else f"{name}, channel {row['channel']}"
    group = folder if folder not in ("", ".") else TOP_FOLDER
    if row["status"] != "ok":
        return _Case(group, name, "error", row["status"], f"{row['status']}: {row['reason']}", path)
    faults: dict[Level, list[str]] = {Level.ERROR: [], Level.WARN: []}
    for gate in gates:
        value = row[gate.target]
        if value is not None and gate.concerns(row["path"]) and not gate.bound.holds(value):
            title = score_title(gate.target)
            faults[gate.level].append(f"{title} {value:.{DECIMALS}f} misses the gate {gate.name}")
    shown = ", ".join(f"{score_title(name)} {row[name]:.{DECIMALS}f}" for name in TITLES)
    output = "\n".join(
        [f"{shown} {' '.join(row['flags'])}".rstrip(), *(f"warning: {text}" for text in faults[Level.WARN])]
    )
    if not faults[Level.ERROR]:
        return _Case(group, name, output=output)
    details = "\n".join([path, *faults[Level.ERROR]])
    return _Case(group, name, "failure", "gate", "; ".join(faults[Level.ERROR]), details, output)


def _gate_cases(report: GateReport | None) -> list[_Case]:
    """Gates on statistics of many recordings, and those that no recording could show because none has a score."""
    verdicts = () if report is None else report.verdicts
    return [_gate_case(verdict) for verdict in verdicts if verdict.gate.statistic != "every" or not verdict.rows]


def _gate_case(verdict: Verdict) -> _Case:
    gate = verdict.gate
    observed = f"observed {observed_text(verdict)} over {verdict.rows} recordings, limit {gate.bound.limit:.12g}"
    if verdict.passed:
        return _Case("gates", gate.name, output=observed)
    if gate.level is Level.WARN:
        return _Case("gates", gate.name, output=f"warning: {observed}")
    worst = [f"{display_name(item.path)}: {item.value:.{DECIMALS}f}" for item in verdict.worst]
    return _Case("gates", gate.name, "failure", "gate", observed, "\n".join([observed, *worst]))


def _difference_cases(comparison: Comparison | None) -> list[_Case]:
    """Changes against the base: a failure where a score fell by more than is allowed, with confidence."""
    if comparison is None:
        return []
    cases = []
    for difference, text in zip(comparison.differences, sentences(comparison), strict=True):
        name = score_title(difference.target)
        failed = difference.failed
        cases.append(
            _Case("comparison", name, "failure", "drop", text) if failed else _Case("comparison", name, output=text)
        )
    return cases


def _write_case(xml: XMLGenerator, case: _Case) -> None:
    with _element(xml, "testcase", {"classname": case.group, "name": case.name, "time": "0"}):
        if case.fault:
            with _element(xml, case.fault, {"type": case.kind, "message": case.message}):
                xml.characters(_legal(case.details))
        if case.output:
            with _element(xml, "system-out", {}):
                xml.characters(_legal(case.output))


@contextmanager
def _element(xml: XMLGenerator, name: str, attributes: dict[str, str]) -> Iterator[None]:
    from xml.sax.xmlreader import AttributesImpl

    xml.startElement(name, AttributesImpl({key: printable(value) for key, value in attributes.items()}))
    yield
    xml.endElement(name)


def _counts(name: str, tests: int, failures: int, errors: int) -> dict[str, str]:
    return {"name": name, "tests": str(tests), "failures": str(failures), "errors": str(errors), "time": "0"}


def _legal(text: str) -> str:
    """Lines of text without characters that XML, or a terminal that shows it, does not take."""
    return "\n".join(printable(line) for line in text.split("\n"))
