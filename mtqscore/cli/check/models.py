"""``mtqscore models``: models on this machine, fetched from the Hub and published to it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mtqscore.base.files import STDOUT, write_problem
from mtqscore.base.text import printable, text_table
from mtqscore.cli.console import clean_endings, say, write_document
from mtqscore.errors import EnvironmentProblemError, UsageError

if TYPE_CHECKING:
    from mtqscore.models import ModelEntry

Name = Annotated[
    str | None,
    typer.Argument(metavar="[MODEL]", help="NAME, NAME@VERSION or hf:owner/name@revision; else the default."),
]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="[MODEL]...", help="NAME, NAME@VERSION or hf:owner/name@revision.")
]
Json = Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write one JSON document; - is stdout.")]

models = typer.Typer(no_args_is_help=True, add_completion=False)


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.add_typer(models, name="models", help="List, fetch, verify, remove and publish models.")


@contextmanager
def _shell() -> Iterator[None]:
    """End well on Ctrl-C, on a reader of stdout that has gone, and on a disk that is full."""

    with clean_endings():
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:  # what reads models has its own words for what cannot be read
            raise write_problem(STDOUT, error) from error


@models.command("list")
def list_models(json: Json = None) -> None:
    """Show the models of the package, of your own list and of the Hub's cache."""
    with _shell():
        from mtqscore.models import cached_models, read_own_registry, read_registry

        default, bundled = read_registry()
        listed = [*bundled.values(), *read_own_registry().values()]
        entries = listed + cached_models(listed)
        if json is not None:
            write_document(json, {"default": default, "models": [_as_json(entry, default) for entry in entries]})
        else:
            _write_table(entries, default)


@models.command("show")
def show(model: Name = None, json: Json = None) -> None:
    """Show everything that is known of a model."""
    with _shell():
        from mtqscore.models import find_model, read_registry

        entry = find_model(model)
        default, _ = read_registry()
        if json is not None:
            write_document(json, _as_json(entry, default))
        else:
            _show(entry, default)


@models.command("fetch")
def fetch(names: Names = None) -> None:
    """Fetch models from the Hub, so that they can be used without a network."""
    with _shell():
        from mtqscore.models import fetch_model

        if not names:
            raise UsageError("name a model to fetch, such as hf:owner/name@revision")
        for name in names:
            entry = fetch_model(name, say)
            what = "is bundled: there is nothing to fetch" if entry.bundled else f"is here: {_safe(str(entry.path))}"
            say(f"{entry.title} {what}")


@models.command("verify")
def verify(names: Names = None) -> None:
    """Compare the bytes of models with their checksums: those named, else all on this machine.

    Exit code 0: all are whole. 4: one is not.
    """
    with _shell():
        from mtqscore.models import find_model, installed_models, verify_model

        entries = [find_model(name) for name in names] if names else installed_models()
        problems = 0
        for entry in entries:
            problem = verify_model(entry)
            problems += problem is not None
            typer.echo(f"{entry.title}  {'ok' if problem is None else 'damaged'}")
            if problem is not None:
                say(f"{entry.title}: {_safe(problem)}")
        if problems:
            raise EnvironmentProblemError(f"{problems} of {len(entries)} models are not what they should be")


@models.command("path")
def path(model: Name = None) -> None:
    """Print the path of a model; nothing is fetched."""
    with _shell():
        from mtqscore.models import find_model

        entry = find_model(model)
        if not entry.is_here:
            fix = "reinstall mtqscore" if entry.hub is None else f"mtqscore models fetch {entry.title}"
            raise EnvironmentProblemError(f"model {entry.title} is not on this machine: {fix}")
        sys.stdout.buffer.write(os.fsencode(entry.path) + b"\n")
        sys.stdout.buffer.flush()


@models.command("remove")
def remove(names: Names = None) -> None:
    """Remove models that were fetched from the Hub."""
    with _shell():
        from mtqscore.models import remove_model

        if not names:
            raise UsageError("name a model to remove; mtqscore models list shows those that were fetched")
        for name in names:
            say(f"removed {name}: {_megabytes(remove_model(name))} are free again")


@models.command("publish")
def publish(
    source: Annotated[str, typer.Argument(metavar="DIR|FILE.onnx", help="What mtqscore export wrote.")],
    repository: Annotated[str, typer.Option("--repo", metavar="OWNER/NAME", help="Repository; made if need be.")],
    private: Annotated[bool, typer.Option("--private", metavar="", help="Make a new repository private.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", metavar="", help="Prepare the repository, and upload nothing.")
    ] = False,
) -> None:
    """Put an exported model on the Hub, and print the reference that others give to --model."""
    with _shell():
        from mtqscore.models.publish import check_repository, prepare
        from mtqscore.models.publish import publish as upload
        from mtqscore.scoring.session import Scorer

        check_repository(repository)
        prepared = prepare(Path(source), lambda model: Scorer(model, "cpu").info)
        say(f"prepared {prepared.entry.label} in {_safe(str(prepared.folder))}: {', '.join(prepared.files)}")
        if dry_run:
            say(f"nothing was uploaded; without --dry-run this goes to {repository}")
            return
        typer.echo(str(upload(prepared, repository, private=private, notify=say)))


# --- output ---------------------------------------------------------------------------------------------------


def _safe(text: str) -> str:

    return printable(text)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB"


def _state(entry: ModelEntry) -> str:
    if entry.hub is not None:
        return "cached" if entry.is_here else "not fetched"
    if not entry.is_here:
        return "missing"
    return "bundled" if entry.bundled else "own"


def _as_json(entry: ModelEntry, default: str) -> dict[str, Any]:
    return {
        "model": entry.title,
        "default": entry.title == default,
        "state": _state(entry),
        "source": entry.source,
        "path": str(entry.path) if entry.is_here else None,
        **entry.description(),
    }


def _lcc(entry: ModelEntry) -> str:
    from mtqscore.targets import SUPERVISED

    best = entry.accuracy[0].lcc if entry.accuracy else {}
    return ", ".join(f"{best[item.name]:.3f}" if item.name in best else "–" for item in SUPERVISED)


def _write_table(entries: list[ModelEntry], default: str) -> None:

    rows = [["model", "where", "size", "licence", "conformance", "LCC S, N, G", ""]]
    for entry in entries:
        note = "default" if entry.title == default else "" if entry.hub is None else entry.source
        cells = [entry.label, _state(entry), _megabytes(entry.size), entry.licence, entry.conformance, _lcc(entry)]
        rows.append([*cells, note])
    typer.echo("\n".join(text_table(rows, left=rows[0])))


def _show(entry: ModelEntry, default: str) -> None:
    from mtqscore.models.card import accuracy_table

    card = entry.path.with_suffix(".md")
    facts = {
        "model": entry.label + (" (default)" if entry.title == default else ""),
        "source": entry.source,
        "page": entry.hub.url if entry.hub is not None else "",
        "where": _state(entry),
        "file": _safe(str(entry.path)) if entry.is_here else entry.file,
        "card": _safe(str(card)) if entry.hub is None and card.is_file() else "",
        "size": f"{_megabytes(entry.size)} ({entry.size} bytes)",
        "sha256": entry.sha256,
        "licence": entry.licence,
        "conformance": entry.conformance,
    }
    for name, text in facts.items():
        if text:
            typer.echo(f"{name:<12} {text}")
    for line in ["", *accuracy_table(entry.accuracy)] if entry.accuracy else []:
        typer.echo(line)
