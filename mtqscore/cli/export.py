"""``mtqscore export``: a trained network as a scorer that needs no torch."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtqscore.cli.console import say
from mtqscore.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from mtqscore.training.calibration import Calibration
    from mtqscore.training.export import Clip

LABEL_DEFINITION = (
    "3QUEST-style S-MOS, N-MOS and G-MOS on the ITU-T P.835 scale, from the open reference-based labels of "
    "`mtqscore label`; not results of a licensed 3QUEST tool"
)


def export(
    source: Annotated[Path, typer.Argument(help="Run folder (its best epoch) or checkpoint.")],
    out: Annotated[Path, typer.Option("--out", help="The ONNX file to make.")],
    name: Annotated[str, typer.Option(help="What users will type.")] = "mtqnet",
    version: Annotated[str, typer.Option(help="Release of this name: numbers divided by dots.")] = "1",
    conformance: Annotated[str, typer.Option(help="Number that is raised whenever scores move.")] = "1",
    label_definition: Annotated[str, typer.Option(help="What the scores mean.")] = LABEL_DEFINITION,
    corpora: Annotated[str, typer.Option(help="What the model learned from.")] = "not stated",
    licence: Annotated[str, typer.Option(help="Licence of the weights.")] = "not stated",
    calibration: Annotated[
        str,
        typer.Option(help="none; val: match the spread of the validation labels; or a JSON file of corner points."),
    ] = "none",
    clips: Annotated[
        Path | None,
        typer.Option(help="Recordings to compare with torch on; if not given, those of the run, else synthetic ones."),
    ] = None,
    clip_count: Annotated[int, typer.Option(min=1, help="At most so many of them.")] = 40,
) -> None:
    """Write a trained network as one ONNX file, and refuse to if onnxruntime and torch disagree on real recordings.

    Beside it come its description (.json) and its card (.md), which `mtqscore models publish` takes to the Hub.
    """
    try:
        from mtqscore.training.export import ModelIdentity, export_model
        from mtqscore.training.release import check_release, measure_run, write_release
    except ModuleNotFoundError as error:
        raise MissingExtraError("mtqscore export", "train", error.name or "?") from error

    command = shlex.join(["mtqscore", *sys.argv[1:]])
    identity = ModelIdentity(name, version, conformance, label_definition, corpora, licence, command)
    check_release(out, identity)
    mapping = _calibration(source, calibration)
    accuracy = measure_run(source, mapping)
    parity = export_model(source, out, identity, mapping, _clips(source, clips, clip_count))
    _, card_is_new = write_release(out, identity, accuracy, parity)
    say(
        f"{out}: {out.stat().st_size / 1e6:.2f} MB; largest difference from torch on {parity.clips} recordings: "
        f"{parity.scores:.1e} (scores), {parity.frame_scores:.1e} (frames); from batching: {parity.batching:.1e}"
    )
    card = out.with_suffix(".md")
    say(f"beside it: {out.stem}.json for lists and the Hub; {card.name}, {'its card' if card_is_new else 'kept'}")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(export)


def _calibration(source: Path, choice: str) -> Calibration:
    from mtqscore.training.calibration import fit_from_predictions, from_points, read_calibration

    if choice == "none":
        return from_points({})
    if choice == "val":
        return fit_from_predictions((source if source.is_dir() else source.parent) / "predictions_val.csv")
    return read_calibration(Path(choice))


def _clips(source: Path, folder: Path | None, limit: int) -> list[Clip]:
    from mtqscore.training.export import read_clips, recordings_in, synthetic_clips

    if folder is not None:
        return read_clips(recordings_in(folder, limit))
    environment = (source if source.is_dir() else source.parent) / "environment.json"
    try:
        table = Path(json.loads(environment.read_text(encoding="utf-8"))["data"])
        from mtqscore.manifest import read_manifest

        rows = [row for row in read_manifest(table) if row.split == "val"][:limit]
        return read_clips([row.path for row in rows])
    except (OSError, InputError, ValueError, KeyError) as error:
        say(f"the recordings of the run are not at hand ({error}); comparing on synthetic ones")
        return synthetic_clips(limit)
