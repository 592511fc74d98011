"""``mtqscore compare``: two results, or two sets of recordings, side by side."""

from __future__ import annotations

import glob
import os
import re
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from mtqscore.base.files import STDOUT
from mtqscore.base.schema_versions import COMPARE, document
from mtqscore.base.text import display_name, printable
from mtqscore.cli.console import (
    as_line,
    clean_endings,
    open_places,
    print_result,
    say,
    without_native_noise,
    write_text,
)
from mtqscore.cli.from_config import NOTHING, Given, takes
from mtqscore.cli.options import Limits, Project, Quiet, ResultFiles
from mtqscore.cli.scoring import describe_run, load_assessor, score
from mtqscore.cli.verdicts import choose_targets, project_settings, say_verdicts
from mtqscore.config import JUDGING, AssessConfig
from mtqscore.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mtqscore.analysis.compare import CompareConfig, Comparison
    from mtqscore.base.files import Output
    from mtqscore.cli.settings import Settings
    from mtqscore.results.run import Results
    from mtqscore.scoring.assessor import Assessor

EXAMPLES = """Examples:

mtqscore compare base.jsonl new.jsonl --max-drop g=0.1

mtqscore compare unprocessed/ enhanced/
"""
UNSCORED_SHOWN = 5
"""So many recordings that could not be scored are named, with the reason."""


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    wanted = ("model", "device", "precision", "channels", "threads")
    made = takes(
        limits=(Limits, ("max_drop",)),
        scoring=(AssessConfig, wanted),
        project=Project,
        outputs=(ResultFiles, ("json", "md")),
    )
    app.command("compare", epilog=EXAMPLES)(made(compare))


def compare(
    base: Annotated[str, typer.Argument(metavar="BASE", help="Result of assess, recording, folder or pattern.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The same; what is a file of results is not scored again.")],
    limits: Given = NOTHING,
    unpaired: Annotated[
        bool,
        typer.Option("--unpaired", metavar="", help="Compare the means, whatever the names.", rich_help_panel=JUDGING),
    ] = False,
    allow_other_model: Annotated[
        bool,
        typer.Option(
            "--allow-other-model", metavar="", help="Compare scores of different models.", rich_help_panel=JUDGING
        ),
    ] = False,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Seed of the bootstrap.", rich_help_panel=JUDGING)
    ] = 0,
    scoring: Given = NOTHING,
    project: Given = NOTHING,
    outputs: Given = NOTHING,
    quiet: Quiet = False,
) -> None:
    """Compare NEW with BASE: is it better, by how much, and how sure is that?

    Exit codes:
    0  no score fell by more than --max-drop allows
    1  one did
    2  wrong use, different models, or names that do not show what belongs together
    3  some recordings of a side have no scores
    4  the device or the model does not work, or a result cannot be written
    130  interrupted
    """

    with clean_endings(), without_native_noise():
        from mtqscore.analysis.compare import CompareConfig, compare_results, parse_max_drop

        targets = choose_targets(outputs, read=(base, new))
        if seed < 0:
            raise UsageError(f"--seed {seed}: a seed is 0 or more")
        settings = project_settings(project)
        max_drop = limits.get("max_drop")
        if max_drop and settings.max_drop and not quiet:
            say(f"the limits in {printable(str(settings.source))} are not used: the command line names its own")
        drops = parse_max_drop(max_drop) if max_drop else settings.max_drop
        comparing = CompareConfig(drops, allow_other_model, unpaired, seed=seed)
        with open_places(targets) as places:
            sides = _read_or_score((base, new), scoring, settings, comparing, quiet=quiet)
            comparison = compare_results(sides[0], sides[1], comparing)
            _show(comparison, places, seed)
        code = _conclude(comparison, sides, quiet=quiet)
    if code:
        raise typer.Exit(code)


def _read_or_score(
    names: tuple[str, str], scoring: Given, settings: Settings, comparing: CompareConfig, *, quiet: bool
) -> list[Results]:
    """Both sides: files of results are read first, and the rest is scored as they were."""
    from mtqscore.analysis.compare import check_comparable
    from mtqscore.audio.discovery import find_inputs
    from mtqscore.results.reading import read_results
    from mtqscore.results.run import Results

    if names == ("-", "-"):
        raise UsageError("only one side can come from stdin")
    sides = {name: read_results(name) for name in names if not _names_recordings(name)}
    if len(sides) < len(set(names)):
        inputs = {name: find_inputs([name]) for name in names if name not in sides}
        assessor = _make_assessor(
            scoring, settings, next(iter(sides.values()), None), other_allowed=comparing.allow_other_model
        )
        run = describe_run(assessor)
        for known in sides.values():
            check_comparable(known.run, run, comparing)
        for name, items in inputs.items():
            sides[name] = Results(name, run, tuple(score(assessor, items, quiet=quiet)))
    elif scoring:
        raise UsageError(
            "--model, --device, --precision, --channels and --threads are for recordings, and both sides are results "
            "already"
        )
    return [sides[name] for name in names]


def _names_recordings(name: str) -> bool:
    """Recognise a side that is to be scored: a folder, a pattern, or what is named like a recording."""

    from mtqscore.audio.inputs import audio_extensions

    is_pattern = glob.has_magic(name) and not os.path.lexists(name)
    extension = os.path.splitext(name)[1][1:].lower()  # noqa: PTH122 - any name, a bad one too
    return is_pattern or os.path.isdir(name) or extension in audio_extensions()  # noqa: PTH112


def _make_assessor(scoring: Given, settings: Settings, known: Results | None, *, other_allowed: bool) -> Assessor:
    """Load the model that the other side names, and mix channels as it did, unless flags say otherwise."""

    of_other = None if known is None or known.run.options is None else known.run.options.channels
    config = settings.assess_config(scoring if of_other is None else {"channels": of_other, **scoring})
    if known is None or "model" in scoring:
        return load_assessor(config)
    # A result is text that anyone may write: it names a model, but no file to load.
    if re.fullmatch(r"[\w.+-]+@[\w.+-]+", known.run.model):
        with suppress(UsageError):  # no bundled model
            return load_assessor(replace(config, model=known.run.model))
    if settings.model is not None or other_allowed:
        return load_assessor(config)
    raise UsageError(
        f"{known.source!r} was scored by {known.run.model!r}, which is no bundled model: name its file with --model"
    )


def _show(comparison: Comparison, places: Mapping[str, Output], seed: int) -> None:
    """Write what was asked for; stdout shows the comparison, unless a report goes there."""

    from mtqscore.report.comparison import comparison_as_dict, comparison_lines, comparison_markdown

    content = {
        "seed": seed,
        **comparison_as_dict(comparison),
        "recordings": [asdict(pair) for pair in comparison.pairs],
    }
    texts = {
        "json": lambda: as_line(document(COMPARE, content)),
        "md": lambda: comparison_markdown(comparison),
    }
    for kind, place in places.items():
        write_text(place, texts[kind]())
    if all(place.target != STDOUT for place in places.values()):
        print_result("\n".join(comparison_lines(comparison)))


def _conclude(comparison: Comparison, sides: Sequence[Results], *, quiet: bool) -> int:
    """Say what stands in the way of exit code 0, and return the code."""

    unscored = [(side, row) for side in sides for row in side.rows if not row.ok]
    if not quiet:
        for side, row in unscored[:UNSCORED_SHOWN]:
            name = f"{display_name(row.path)} in {printable(side.source)}"
            say(f"{name}: {row.status}: {printable(row.reason)}")
    say_verdicts(None, comparison, quiet=quiet)
    if unscored:
        return ExitCode.INPUT
    return ExitCode.OK if comparison.passed else ExitCode.GATE_FAILED
