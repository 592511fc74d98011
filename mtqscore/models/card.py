"""Model cards: for people below, for the Hub's search at the head."""

from __future__ import annotations

import json
from collections.abc import Sequence

from mtqscore.models.entry import Accuracy, ModelEntry
from mtqscore.targets import SUPERVISED, TARGETS, Target

SHORT_NAMES = {"s_mos": "S", "n_mos": "N", "g_mos": "G", "pesq": "PESQ", "stoi": "STOI", "sdi": "SDI"}
NOT_STATED = "not stated"

# Identifiers that the Hub knows; anything else is "other" with the name beside it.
_HUB_LICENCES: tuple[str, ...] = (
    *("mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "isc", "zlib", "unlicense", "mpl-2.0"),
    *("cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0"),
)
_TAGS = ("speech-quality", "speech-quality-assessment", "no-reference", "mos", "itu-t-p835", "onnx")
CARD = """# {{ entry.name }}, version {{ entry.version }}

{% if is_scorer %}
Scores speech recordings without a reference: S, N, G from 1 to 5.
{%- else %}
Estimates {% for target in targets %}{{ names[target.name] }}{{ ", " if not loop.last }}{% endfor %} \
of speech recordings without a reference, as a teacher for training.
{%- endif %}
 {{ "%.2f" | format(entry.size / 1e6) }} MB as ONNX, for [mtqscore](https://github.com/mtqscore/mtqscore).

{% for target in targets %}
- {{ names[target.name] }}{{ "-MOS" if target in supervised }}, {{ target.meaning }}
{% endfor %}

## Use

```
{% if is_scorer %}
mtqscore assess --model {{ entry.file }} recordings/
{% else %}
mtqscore train --data corpus --teacher {{ entry.file }}
{% endif %}
```

## Training

- **Corpora**: {{ corpora }}
- **Labels**: {{ meaning }}
- **Command**:

```
{{ command }}
```

## Accuracy

{{ accuracy or "Not measured: no predictions lie beside the checkpoint." }}

## Limits

- Recordings are scored at 16 kHz; what lies above 8 kHz does not count.
- Nothing is known about talkers, noises and processing that the table above does not cover.

## File

- `{{ entry.file }}`, sha256 `{{ entry.sha256 }}`
- licence: {{ entry.licence }}; conformance number {{ entry.conformance }}
{% for check in checks %}
- {{ check }}
{% endfor %}
"""


def card(
    entry: ModelEntry,
    *,
    meaning: str,
    corpora: str,
    command: str,
    checks: Sequence[str],
    targets: Sequence[Target] = SUPERVISED,
) -> str:
    """Write the card of an exported model; what it cannot know is for its author to add.

    Args:
        entry: the model.
        meaning: of its scores.
        corpora: what it learned from.
        command: the command line that made the file.
        checks: of the file, a line each.
        targets: what it estimates.
    """
    from jinja2 import Environment

    template = Environment(keep_trailing_newline=True, trim_blocks=True).from_string(
        CARD
    )  # Markdown: nothing to escape
    return template.render(
        entry=entry,
        is_scorer=all(target in targets for target in SUPERVISED),
        targets=targets,
        names=SHORT_NAMES,
        supervised=SUPERVISED,
        corpora=corpora,
        meaning=meaning,
        command=command,
        accuracy="\n".join(accuracy_table(entry.accuracy)),
        checks=checks,
    )


def accuracy_table(accuracy: Sequence[Accuracy]) -> list[str]:
    """Lines of a Markdown table of correlation and error; none if nothing is known."""
    if not accuracy:
        return []
    measured = {name for item in accuracy for name in (*item.lcc, *item.rmse)}
    usual = {target.name for target in SUPERVISED}
    shown = measured | usual if measured & usual or not measured else measured
    names = [target.name for target in TARGETS if target.name in shown]
    titles = ["data", "recordings"]
    titles += [f"{SHORT_NAMES[name]} {measure}" for measure in ("LCC", "RMSE") for name in names]
    lines = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    for item in accuracy:
        cells = [item.data.replace("|", "\\|"), f"{item.recordings}"]
        cells += [_figure(item.lcc.get(name), 3) for name in names]
        cells += [_figure(item.rmse.get(name), 2) for name in names]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _figure(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def hub_head(entry: ModelEntry) -> str:
    """Write the metadata that the Hub reads at the head of a card, in YAML.

    Every value is written as JSON, which YAML takes as it is, so that no name can break out of its place.
    """
    licence = entry.licence.lower()
    known = licence in _HUB_LICENCES
    fields: dict[str, object] = {"license": licence if known else "other"}
    if not known:
        fields["license_name"] = entry.licence
    fields |= {"library_name": "mtqscore", "tags": list(_TAGS), "metrics": ["pearsonr", "rmse"]}
    if entry.accuracy:
        fields["model-index"] = [{"name": entry.label, "results": [_result(item) for item in entry.accuracy]}]
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in fields.items()), "---", ""])


def _result(item: Accuracy) -> dict[str, object]:
    measures = [("pearsonr", "LCC", item.lcc), ("rmse", "RMSE", item.rmse)]
    return {
        "task": {"type": "speech-quality-assessment", "name": "Speech quality without a reference"},
        "dataset": {"type": "speech", "name": item.data},
        "metrics": [
            {"type": kind, "name": f"{target} {name}", "value": value}
            for kind, name, values in measures
            for target, value in values.items()
        ],
    }
