"""``mtqscore export``: a trained network as a scorer that needs no torch."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtqscore.cli.console import say
from mtqscore.errors import InputError, MissingExtraError, UsageError
from mtqscore.labels.table import found_under, read_table
from mtqscore.targets import SUPERVISED

if TYPE_CHECKING:
    from mtqscore.training.export.calibration import Calibration
    from mtqscore.training.export.exporter import TrainedNetwork
    from mtqscore.training.export.parity import Clip

LABEL_DEFINITION = (
    "3QUEST-style S-MOS, N-MOS and G-MOS on the ITU-T P.835 scale, from the open reference-based labels of "
    "`mtqscore label`; not results of a licensed 3QUEST tool"
)
IDENTITY, COMPARISON = "What the file says of itself", "Comparison with torch"


def export(
    source: Annotated[str, typer.Argument(metavar="RUN", help="Run folder (its best epoch) or checkpoint.")],
    out: Annotated[str, typer.Option(metavar="FILE.onnx", help="The file to make.")],
    targets: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="What the file estimates, of s_mos,n_mos,g_mos,pesq,stoi,sdi. If not given: those of the first three "
            "that the network has, or all if it has none of them; such a file is a --teacher of `mtqscore train`.",
        ),
    ] = None,
    calibration: Annotated[
        str,
        typer.Option(
            metavar="none|val|FILE.json",
            help="val gives the estimates the spread of the validation labels; a file holds corner points.",
        ),
    ] = "none",
    name: Annotated[
        str, typer.Option(metavar="NAME", help="What users will type.", rich_help_panel=IDENTITY)
    ] = "mtqnet",
    version: Annotated[
        str,
        typer.Option(metavar="N[.N]", help="Release of this name: numbers divided by dots.", rich_help_panel=IDENTITY),
    ] = "1",
    conformance: Annotated[
        str, typer.Option(metavar="N", help="Number that is raised whenever scores move.", rich_help_panel=IDENTITY)
    ] = "1",
    label_definition: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="What the scores mean; if not given, that S, N and G are those of `mtqscore label`.",
            rich_help_panel=IDENTITY,
        ),
    ] = None,
    corpora: Annotated[
        str, typer.Option(metavar="TEXT", help="What the model learned from.", rich_help_panel=IDENTITY)
    ] = "not stated",
    licence: Annotated[
        str, typer.Option(metavar="SPDX", help="Licence of the weights.", rich_help_panel=IDENTITY)
    ] = "not stated",
    clips: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Recordings to compare on; if not given, those of the run, else synthetic ones.",
            rich_help_panel=COMPARISON,
        ),
    ] = None,
    clip_count: Annotated[
        int, typer.Option(metavar="N", help="At most so many of them.", rich_help_panel=COMPARISON)
    ] = 40,
) -> None:
    """Write a trained network, whichever it is, as one ONNX file that needs no torch.

    Nothing is written if onnxruntime and torch disagree on the recordings that both are given.

    Beside the file come its weights to train on (.safetensors), its description and its card, which `mtqscore models
    publish` takes to the Hub.

    Exit codes:
    0  all is well
    2  wrong use
    3  the run, its tables or the recordings cannot be read, or onnxruntime and torch disagree
    4  the extra train is missing, weights cannot be fetched, or the file cannot be written
    130  interrupted
    """
    try:
        from mtqscore.training.export.exporter import ModelIdentity, export_model, open_trained
        from mtqscore.training.export.release import check_release, measure_run, write_release
    except ModuleNotFoundError as error:
        raise MissingExtraError("mtqscore export", "train", error.name or "?") from error

    if clip_count < 1:
        raise UsageError("--clip-count is 1 or more")
    run, file = Path(source), Path(out)
    opened = open_trained(run, _names(targets))
    estimated = opened.network.targets
    scores = all(target in estimated for target in SUPERVISED)
    if label_definition is None:
        further = "; ".join(f"{target.name}: {target.meaning}" for target in estimated)
        label_definition = LABEL_DEFINITION if scores else further
    command = shlex.join(["mtqscore", *sys.argv[1:]])
    identity = ModelIdentity(name, version, conformance, label_definition, corpora, licence, command)
    check_release(file, identity, opened.checkpoint.path)
    mapping = _calibration(run, opened, calibration)
    accuracy = measure_run(run, mapping)
    parity = export_model(opened, file, identity, mapping, _clips(run, opened, clips, clip_count))
    _, card_is_new = write_release(file, identity, accuracy, parity, estimated)
    say(
        f"{file}: {file.stat().st_size / 1e6:.2f} MB; largest difference from torch on {parity.clips} recordings: "
        f"{parity.scores:.1e} (scores), {parity.frame_scores:.1e} (frames); from batching: {parity.batching:.1e}"
    )
    card = file.with_suffix(".md")
    say(
        f"beside it: {file.stem}.safetensors to train on; {file.stem}.json for lists and the Hub; "
        f"{card.name}, {'its card' if card_is_new else 'kept'}"
    )
    if not scores:
        say(f"it estimates {', '.join(target.name for target in estimated)}: a --teacher of `mtqscore train`; "
            "`mtqscore assess` wants s_mos, n_mos and g_mos")  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("export")(export)


def _names(text: str | None) -> list[str] | None:
    if text is None:
        return None
    names = [part.strip() for part in text.split(",") if part.strip()]
    if not names:
        raise UsageError("--targets names nothing; give names divided by commas")
    return names


def _calibration(run: Path, source: TrainedNetwork, choice: str) -> Calibration:
    from mtqscore.training.export.calibration import fit_from_predictions, from_points, read_calibration

    targets = source.network.targets
    if choice == "none":
        return from_points({}, targets)
    if choice == "val":
        return fit_from_predictions((run if run.is_dir() else run.parent) / "predictions_val.csv", targets)
    return read_calibration(Path(choice), targets)


def _clips(run: Path, source: TrainedNetwork, folder: str | None, limit: int) -> list[Clip]:
    from mtqscore.training.export.parity import read_clips, recordings_in, synthetic_clips

    if folder is not None:
        return read_clips(recordings_in(Path(folder), limit), source.window_samples)
    table = (run if run.is_dir() else run.parent) / "predictions_val.csv"
    try:
        recordings = [found_under(table.parent, record["path"]) for record in read_table(table, ("path",))]
        return read_clips(recordings[:limit], source.window_samples)
    except InputError as error:
        say(f"the recordings of the run are not at hand ({error}); comparing on synthetic ones")
        return synthetic_clips(limit)
