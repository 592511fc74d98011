"""``mtqscore selftest``: the known clips on every device, compared with the stored scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mtqscore.base.schema_versions import SELFTEST, document
from mtqscore.base.text import printable, text_table
from mtqscore.cli.console import clean_endings, print_result, without_native_noise, write_document
from mtqscore.cli.from_config import NOTHING, Given, takes
from mtqscore.cli.options import ResultFiles
from mtqscore.errors import ExitCode

if TYPE_CHECKING:
    from mtqscore.diagnostics.conformance.check import Conformance, DeviceCheck


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("selftest")(takes(outputs=(ResultFiles, ("json",)))(selftest))


def selftest(
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME|FILE.onnx", help="One model; if not given, every one on this machine."),
    ] = None,
    outputs: Given = NOTHING,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", metavar="", help="Show the deviation of every clip.")
    ] = False,
) -> None:
    """Score the known clips on every device, and compare with the scores that the model was released with.

    A model without stored scores is compared between devices only. Exit code 0: no score deviates by more than
    0.005. 2: there is no such model. 4: a score deviates, or something does not work.
    """

    with clean_endings():
        with without_native_noise():
            from mtqscore.diagnostics.conformance.check import check_model
            from mtqscore.models import installed_models

            labels = [entry.title for entry in installed_models()] if model is None else [model]
            found = [check_model(label) for label in labels]
        passed = all(item.passed for item in found)
        if "json" in outputs:
            content = {"passed": passed, "models": [_to_json(item) for item in found]}
            write_document(outputs["json"], document(SELFTEST, content, version=None))
        else:
            print_result("\n".join("\n".join(_to_lines(item, verbose=verbose)) for item in found))
    if not passed:
        raise typer.Exit(ExitCode.ENVIRONMENT)


def _to_json(found: Conformance) -> dict[str, object]:
    from mtqscore.diagnostics.conformance.known import TOLERANCE

    return {
        "model": found.model,
        "sha256": found.sha256,
        "conformance": found.conformance,
        "compared_with": "stored scores" if found.conformance is not None else "first device",
        "tolerance": TOLERANCE,
        "passed": found.passed,
        "devices": [
            {
                "device": item.device,
                "provider": item.provider or None,
                "problem": item.problem or None,
                "passed": item.passed if item.provider or item.counts else None,
                "largest_deviation": _finite(item.largest),
                "deviations": {clip: _finite(value) for clip, value in item.deviations.items()},
            }
            for item in found.devices
        ],
    }


def _to_lines(found: Conformance, *, verbose: bool) -> list[str]:
    """Lay out one model: one line, and if wanted a table with a line a clip and a column a device."""

    number = f"conformance {found.conformance}" if found.conformance is not None else "no stored scores"
    lines = [printable(f"{found.model}, {number}: {_verdict(found)}")]
    ran = [item for item in found.devices if item.deviations]
    if not verbose:
        return lines
    if ran:
        rows = [["largest deviation", *(item.device for item in ran)]]
        rows += [[clip, *(f"{item.deviations[clip]:.4f}" for item in ran)] for clip in ran[0].deviations]
        lines += ["", *text_table(rows, left=rows[0][:1])]
    absent = [item.device for item in found.devices if not item.counts]
    if absent:
        lines += ["", f"Not here: {', '.join(absent)}; mtqscore doctor says why."]
    return [*lines, ""]


def _verdict(found: Conformance) -> str:
    from mtqscore.diagnostics.conformance.known import TOLERANCE

    failed = [item for item in found.devices if not item.passed]
    ran = ", ".join(item.device for item in found.devices if item.counts)
    if failed:
        return f"not as released: {'; '.join(map(_fault, failed))}"
    if found.conformance is not None:
        largest = max(item.largest or 0.0 for item in found.devices)
        return f"as released on {ran} (largest deviation {largest:.4f} of {TOLERANCE})"
    return f"{ran} agree within {TOLERANCE}" if found.compared else f"runs on {ran}; nothing was compared"


def _fault(item: DeviceCheck) -> str:
    if item.problem:
        return f"{item.device} failed ({item.problem})"
    clip = max(item.deviations, key=lambda name: item.deviations[name])
    return f"{item.device} deviates by {item.deviations[clip]:.4f} ({clip})"


def _finite(value: float | None) -> float | None:
    """A deviation as JSON can hold it: where one side has no score there is no number."""
    from math import isfinite

    return None if value is None or not isfinite(value) else value
