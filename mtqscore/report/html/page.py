"""The page itself: template, style and scripts put together, under a policy that lets nothing else run."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from mtqscore.base.text import TITLES, clock, display_name, moment, printable
from mtqscore.report.html.config import HtmlConfig
from mtqscore.report.html.detail import Detail
from mtqscore.report.html.distribution import distributions
from mtqscore.report.html.rows import GateFilter, Rows
from mtqscore.report.summary import RunSummary
from mtqscore.results.run import Run
from mtqscore.scores import FLAG_MEANING, Flag

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = Path(__file__).parent
STYLES = ("report.css",)
SCRIPTS = ("table.js", "player.js")

STATIC_ROWS = 100
"""Rows that stand in the page itself, and rows of one page of the table."""


@dataclass(frozen=True, eq=False)
class Page:
    """Content of the page.

    Args:
        run: what all rows have in common.
        config: size of the report.
        summary: counts, means, gates and comparison.
        rows: all rows.
        details: recordings to hear and see, worst first.
        left_out: recordings for whose sound there was no room.
        gates: rows that fail gates.
    """

    run: Run
    config: HtmlConfig
    summary: RunSummary
    rows: Rows
    details: Sequence[Detail]
    left_out: int
    gates: Sequence[GateFilter]

    @property
    def title(self) -> str:
        """Title of the page, with the number of its rows."""
        count = self.summary.rows
        each = self.run.options is not None and self.run.options.channels == "each"
        unit = "channel of a recording" if each else "recording"
        units = "channels of recordings" if each else "recordings"
        return f"Speech quality of {count:,} {unit if count == 1 else units}"

    @property
    def with_channel(self) -> bool:
        """True if rows need their channel to be told apart."""
        return self.run.options is None or self.run.options.channels != "mean"

    @property
    def scored_alone(self) -> bool:
        """True if the curves are seconds that the model scored alone."""
        return any(detail.excerpt.alone for detail in self.details)


def write_page(stream: TextIO, page: Page) -> None:
    """Write the page piece by piece."""
    from markupsafe import Markup

    style = _joined(STYLES)
    script = _joined(SCRIPTS)
    element_of = {detail.chosen.index: detail.element for detail in page.details}
    template = _environment().get_template("report.html.jinja")
    pieces = template.generate(
        page=page,
        policy=content_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        distributions=distributions(page.rows),
        shown=page.rows.first(STATIC_ROWS),
        element_of=element_of,
        rows_json=Markup(page.rows.as_json(element_of, page.gates)),
        flags=[(flag, page.summary.flags[flag], FLAG_MEANING[flag]) for flag in Flag if page.summary.flags[flag]],
        meaning=FLAG_MEANING,
        titles=TITLES,
    )
    for piece in pieces:
        stream.write(piece)


def _joined(names: Sequence[str]) -> str:
    return "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in names)


def content_policy(style: str, script: str) -> str:
    """Content security policy of a page whose only style and script are these two: no network, no inline handler."""
    style_hash, script_hash = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)
    )
    return (
        f"default-src 'none'; style-src 'sha256-{style_hash}'; script-src 'sha256-{script_hash}'; "
        "img-src data:; media-src blob:; base-uri 'none'; form-action 'none'"
    )


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "name": display_name,
        "plain": printable,
        "clock": clock,
        "moment": moment,
        "places": places,
        "signed": signed,
        "meter": meter,
        "khz": lambda value: f"{value / 1000:g} kHz",
    }
    return environment


def places(value: float | None, decimals: int) -> str:
    """Write a number, or a dash where there is none.

    Example:
        >>> places(2.6673, 2), places(None, 2)
        ('2.67', '–')
    """
    return "–" if value is None or math.isnan(value) else f"{value:.{decimals}f}"


def signed(value: float | None, decimals: int) -> str:
    """Write a difference with its sign, or a dash where there is none.

    Example:
        >>> signed(-0.25, 2), signed(0.1, 3)
        ('−0.25', '+0.100')
    """
    if value is None or math.isnan(value):
        return "–"
    return f"{'−' if value < 0 else '+'}{abs(value):.{decimals}f}"


def meter(value: float | None) -> str:
    """Class of the bar under a score: its length in twentieths of the scale."""
    return "" if value is None else f"w{min(20, max(0, round((value - 1) * 5)))}"
