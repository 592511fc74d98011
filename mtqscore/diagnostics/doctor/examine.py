"""The whole examination: every section of its own, so that a fault in one hides no other."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable

from mtqscore.base.version import VERSION
from mtqscore.diagnostics.doctor.facts import Fact, Mark, Section, as_text, failures, to_json
from mtqscore.diagnostics.doctor.installation import (
    package_facts,
    pip,
    python_facts,
    reinstall,
    reinstall_onnxruntime,
    runtime_facts,
    training_facts,
)
from mtqscore.diagnostics.doctor.machine import cuda_facts, folder_facts, processor_facts
from mtqscore.diagnostics.doctor.probes import PROBES, Answer, explain_failures, run_probes
from mtqscore.errors import ExitCode


def examination(*, as_json: bool) -> tuple[str, int]:
    """Examine; return the report, and the exit code: 4 when something stops scoring, else 0."""
    sections = examine()
    code = ExitCode.ENVIRONMENT if failures(sections) else ExitCode.OK
    if as_json:
        return json.dumps(to_json(VERSION, sections), indent=2), code
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return as_text(VERSION, sections, colour=colour), code


def examine() -> list[Section]:
    """Look at everything that scoring depends on; never raises for what it finds."""
    answers = explain_failures({name: Answer(error="not tried") for name in PROBES} | run_probes())
    sections: list[Section] = []

    def add(title: str, find: Callable[[], list[Fact]]) -> None:
        try:
            facts = find()
        except Exception as error:  # what is broken in unforeseen ways must not hide the rest
            facts = [Fact("not examined", f"{type(error).__name__}: {error}", Mark.NOTE)]
        sections.append(Section(title, tuple(facts)))

    add("Python", python_facts)
    add("Packages", lambda: package_facts(answers))
    add("onnxruntime", lambda: runtime_facts(answers["onnxruntime"]))
    add("Devices", lambda: _device_facts(answers["devices"]) + cuda_facts(answers["cuda"]))
    add("Audio files", lambda: _audio_facts(answers["soundfile"]))
    add("Models", lambda: _model_facts(answers["models"]))
    add("Scores of the known clips", lambda: _score_facts(answers["scores"], explained=failures(sections) > 0))
    add("Processor", processor_facts)
    add("Folders and network", lambda: folder_facts(answers["folders"]))
    add("Training", training_facts)
    return sections


def _device_facts(answer: Answer) -> list[Fact]:
    if answer.error:
        mark, fix = (Mark.NOTE, "") if answer.explained else (Mark.FAIL, reinstall())
        return [Fact("devices", answer.error, mark, fix)]
    facts = []
    for device in answer.values["devices"]:
        name = str(device["name"])
        if device["works"]:
            facts.append(Fact(name, f"works ({device['provider']})"))
        elif name == "cpu":
            facts.append(Fact(name, device["reason"], Mark.FAIL, reinstall_onnxruntime()))
        else:
            facts.append(Fact(name, device["reason"], Mark.NOTE, device["fix"]))
    return facts


def _audio_facts(answer: Answer) -> list[Fact]:
    if answer.error:
        return [Fact("libsndfile", "not tried, since soundfile does not work", Mark.NOTE)]
    formats = answer.values["formats"]
    works, missing = ([name for name in formats if formats[name] is state] for state in (True, False))
    facts = [Fact("libsndfile", str(answer.values["library"])), Fact("formats", ", ".join(works) or "none")]
    if missing:
        fix = pip("install", "--upgrade", "--force-reinstall", "soundfile")
        facts.append(Fact("cannot read", ", ".join(missing), Mark.FAIL if "WAV" in missing else Mark.NOTE, fix))
    return facts


def _model_facts(answer: Answer) -> list[Fact]:
    if answer.error:
        return [Fact("models", answer.error, Mark.FAIL, reinstall())]
    facts = []
    for model in answer.values["models"]:
        title, kind = model["title"], model["source"] + (", the default" if model["default"] else "")
        if not model["problem"]:
            facts.append(Fact(title, f"{kind}, sha256 {model['sha256'][:12]} as it should be"))
            continue
        fix = ""
        if model["source"] == "bundled":
            fix = reinstall()
        elif model["source"].startswith("hf:"):
            fix = f"mtqscore models remove {title} && mtqscore models fetch {title}"
        mark = Mark.FAIL if model["source"] == "bundled" else Mark.NOTE
        facts.append(Fact(title, f"{kind}: {model['problem']}", mark, fix))
    if answer.values["others"]:
        facts.append(Fact("others", f"not listed: {answer.values['others']}", Mark.NOTE))
    return facts


def _score_facts(answer: Answer, *, explained: bool) -> list[Fact]:
    if answer.error:  # a failure above that explains it has its own line to paste
        mark, fix = (Mark.NOTE, "") if explained else (Mark.FAIL, reinstall())
        return [Fact("scores", f"none: {answer.error}", mark, fix)]
    facts = []
    for item in answer.values["devices"]:
        text = item["problem"] or "scored; no stored scores to compare with"
        mark = Mark.FAIL if item["problem"] else Mark.NOTE
        if not item["problem"] and item["largest"] is not None:
            text = f"{'as' if item['passed'] else 'not as'} released: largest deviation {item['largest']:.4f} of 0.005"
            text += f" (conformance {answer.values['conformance']})"
            mark = Mark.OK if item["passed"] else Mark.FAIL
        fix = "mtqscore selftest -v" if mark is Mark.FAIL else ""
        facts.append(Fact(f"{answer.values['model']} on {item['device']}", text, mark, fix))
    return facts
