"""``mtqscore export``: a trained network as a scorer that needs no torch."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from mtqscore.base.schema import from_plain
from mtqscore.cli.console import say
from mtqscore.cli.from_config import NOTHING, Given, takes
from mtqscore.errors import MissingExtraError
from mtqscore.training.export.config import ExportConfig, ModelIdentity


def export(
    source: Annotated[str, typer.Argument(metavar="RUN", help="Run folder (its best epoch) or checkpoint.")],
    out: Annotated[str, typer.Option(metavar="FILE.onnx", help="The file to make.")],
    options: Given = NOTHING,
    identity: Given = NOTHING,
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
    config = from_plain(ExportConfig, options, "the options")
    named = ModelIdentity(**identity, producing_command=shlex.join(["mtqscore", *sys.argv[1:]]))
    try:
        from mtqscore.training.export.run import export_run
    except ModuleNotFoundError as error:
        raise MissingExtraError("mtqscore export", "train", error.name or "?") from error

    file = Path(out)
    made = export_run(Path(source), file, named, config, say)
    parity = made.parity
    say(
        f"{file}: {file.stat().st_size / 1e6:.2f} MB; largest difference from torch on {parity.clips} recordings: "
        f"{parity.scores:.1e} (scores), {parity.frame_scores:.1e} (frames); from batching: {parity.batching:.1e}"
    )
    say(
        f"beside it: {file.stem}.safetensors to train on; {file.stem}.json for lists and the Hub; "
        f"{file.stem}.md, {'its card' if made.card_is_new else 'kept'}"
    )
    if not made.scores:
        say(
            f"it estimates {', '.join(target.name for target in made.targets)}: a --teacher of `mtqscore train`; "
            "`mtqscore assess` wants s_mos, n_mos and g_mos"
        )


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("export")(takes(options=ExportConfig, identity=ModelIdentity)(export))
