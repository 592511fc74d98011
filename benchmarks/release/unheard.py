"""Accuracy on what a simulated corpus kept out of training, beside that on the like that training heard.

What `mtqscore simulate --hold-out` kept out stands in the corpus's simulation.json. Families of noise are kept out by
the table of noise, where all of their recordings are of the split test. Rows about noise and rows of what training
heard have nothing that was held out by name. Talkers and recordings of noise are unheard in all rows: those of the
split test.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mtqscore.analysis.evaluate import Agreement, Estimates, evaluate
from mtqscore.errors import InputError
from mtqscore.labels.table import LabelledRecording, read_table
from mtqscore.simulation.degradations.codecs import FORMATS
from mtqscore.simulation.recipe import DISTORTIONS, ENHANCERS
from mtqscore.targets import SUPERVISED

SMALL = 200
"""Groups of fewer recordings are shown with 95 % intervals."""

KINDS: Mapping[str, Mapping[str, object]] = {"codec": FORMATS, "enhancer": ENHANCERS, "distortion": DISTORTIONS}
"""Processing that can be held out by name; what is both enhancer and distortion counts as an enhancer."""


class Group(NamedTuple):
    """Recordings with something in common, and the word of the table for whether training had the like."""

    name: str
    heard: str
    rows: list[LabelledRecording]


class Chain(NamedTuple):
    """Names of the steps and codecs of a recording, and the kind of its added noise; empty for none."""

    row: LabelledRecording
    names: frozenset[str]
    noise: str

    def has(self, kind: str) -> bool:
        """Check for a kind of step; an enhancer is one where there is noise, else it just distorts."""
        return not self.names.isdisjoint(KINDS[kind]) and (kind != "enhancer" or self.noise != "")


class Noise(NamedTuple):
    """Family of each noise recording by file name, and the families of the split test alone."""

    families: Mapping[str, str]
    unheard: Sequence[str]


def read_chain(row: LabelledRecording) -> Chain:
    """Read the steps of a recording of a simulated corpus."""
    steps = json.loads(row.extra["chain"])
    names = {step["name"] for step in steps} | {step["codec"] for step in steps if "codec" in step}
    return Chain(row, frozenset(names), next((step["kind"] for step in steps if step["name"] == "noise"), ""))


def read_noise(table: Path) -> Noise:
    """Read the table of noise that a corpus was made with.

    Raises:
        InputError: it cannot be read, or recordings of one name are of two families.
    """
    records = read_table(table, ("path", "family", "split"))
    families: dict[str, str] = {}
    for record in records:
        name, family = Path(record["path"]).name, record["family"]
        if families.setdefault(name, family) != family:
            raise InputError(f"{table}: {name} is of the families {families[name]} and {family}")
    heard = {record["family"] for record in records if record["split"] != "test"}
    return Noise(families, sorted({*families.values()} - heard))


def held_out_of(manifest: Path) -> list[str]:
    """Names that a simulated corpus kept out of training; none for another corpus."""
    settings = (manifest if manifest.is_dir() else manifest.parent) / "simulation.json"
    return list(json.loads(settings.read_text(encoding="utf-8")).get("hold_out", [])) if settings.is_file() else []


def groups_by_name(chains: Sequence[Chain], held_out: Sequence[str]) -> list[Group]:
    """Groups of what was held out by name, and after each kind the others of that kind."""
    groups = []
    for kind in KINDS:
        names = [name for name in held_out if kind == next(kind for kind, known in KINDS.items() if name in known)]
        groups += [Group(f"{kind} {name}", "no", [one.row for one in chains if name in one.names]) for name in names]
        if names:
            others = [one.row for one in chains if one.has(kind) and one.names.isdisjoint(held_out)]
            groups.append(Group(f"other {kind}s", "yes", others))
    return groups


def groups_by_noise(chains: Sequence[Chain], noise: Noise) -> list[Group]:
    """Divide by the noise that was added.

    Raises:
        InputError: a recording of noise is not in the table.
    """
    parts: dict[str, list[LabelledRecording]] = {
        "": [],
        "recorded": [],
        "made": [],
        **{family: [] for family in noise.unheard},
    }
    for chain in chains:
        part = "made" if chain.noise else ""
        if chain.noise == "recorded":
            name = chain.row.extra["noise"]
            if name not in noise.families:
                raise InputError(f"{chain.row.path}: its noise {name!r} is not in the table of noise")
            part = noise.families[name] if noise.families[name] in noise.unheard else "recorded"
        parts[part].append(chain.row)
    return [
        *(Group(f"noise: {family}", "no", parts[family]) for family in noise.unheard),
        Group("noise of other families", "other recordings", parts["recorded"]),
        Group("made noise and babble", "yes", parts["made"]),
        Group("no noise", "yes", parts[""]),
    ]


def print_unheard(
    rows: Sequence[LabelledRecording], estimates: Mapping[Path, Estimates], held_out: Sequence[str], noise: Noise | None
) -> None:
    """Print the table of the recordings of the split test.

    Args:
        rows: recordings of a simulated corpus.
        estimates: scores by recording; a recording without any is left out.
        held_out: names that training never heard.
        noise: the table of noise, if there is one.
    """
    chains = [read_chain(row) for row in rows if row.split == "test" and row.path in estimates]
    groups = groups_by_name(chains, held_out)
    if noise is not None:
        groups += groups_by_noise([one for one in chains if one.names.isdisjoint(held_out)], noise)
    heads = " | ".join(f"{target.name[0].upper()} LCC | {target.name[0].upper()} RMSE" for target in SUPERVISED)
    print(f"\n| never heard in training, and the like | heard | recordings | {heads} |")
    print(f"|{'---|' * (3 + 2 * len(SUPERVISED))}")
    for group in groups:
        found = evaluate(group.rows, estimates, []) if group.rows else []
        cells = [_cell(item, measure) for item in found for measure in ("lcc", "rmse")]
        print(f"| {' | '.join([group.name, group.heard, str(len(group.rows)), *cells])} |")


def _cell(item: Agreement, measure: str) -> str:
    value, ends = item.values[measure], item.intervals[measure]
    if math.isnan(value):
        return "–"
    has_interval = item.pairs < SMALL and not math.isnan(ends.low)
    return f"{value:.2f} ({ends.low:.2f} to {ends.high:.2f})" if has_interval else f"{value:.2f}"
