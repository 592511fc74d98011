"""Metadata of a scorer: its name, its targets and the lengths that it takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mtqscore.errors import UsageError
from mtqscore.targets import SAMPLE_RATE_HZ, SUPERVISED

LARGEST_MODEL_BYTES = 2 << 30
"""onnxruntime takes no more than this from memory."""

_LONGEST_WINDOW_SAMPLES = 600 * SAMPLE_RATE_HZ
_LONGEST_WORD = 64
_MOST_TARGETS = 32
_TARGET = re.compile(r"[a-z][a-z0-9_]{0,31}")
_TAKEN = {
    *("path", "channel", "duration_s", "sample_rate_hz", "status", "flags", "model", "reason", "model_sha256"),
    *("provider", "precision", "size_bytes", "modified_ns", "channel_count", "etag", "shard", "frames", "hop_s"),
    "extra",
}
"""Names that stand for something else in a row of results."""


@dataclass(frozen=True)
class ModelInfo:
    """Metadata of a scorer: how to feed it and how to read its answer.

    Args:
        name: the model's name.
        version: its version.
        conformance: number that is raised whenever scores move.
        targets: names of the scores, in the order of the output.
        frame_hop_samples: step between its frames.
        window_samples: longest input that it should get at once.
        min_samples: shortest input that it can score.
    """

    name: str
    version: str
    conformance: str
    targets: tuple[str, ...]
    frame_hop_samples: int
    window_samples: int
    min_samples: int

    @property
    def label(self) -> str:
        """name@version."""
        return f"{self.name}@{self.version}"


def parse_metadata(label: str, metadata: Mapping[str, str], *, any_targets: bool = False) -> ModelInfo:
    """Read the contract of a scorer from the metadata of its ONNX file.

    Args:
        label: the model, for messages.
        metadata: ``metadata_props`` of the file.
        any_targets: let a model pass that does not estimate S, N and G; it may be a teacher.

    Raises:
        UsageError: a key is missing or holds nonsense: the file is not a scorer made by ``mtqscore export``.
    """

    def number(key: str, low: int) -> int:
        text = word(key)
        if not (text.isascii() and text.isdigit() and len(text) <= 9 and low <= int(text) <= _LONGEST_WINDOW_SAMPLES):
            raise ValueError(f"{key} is {_shown(text)}")
        return int(text)

    def word(key: str) -> str:
        text = metadata[key]
        if not (0 < len(text) <= _LONGEST_WORD and text.isprintable()):
            raise ValueError(f"{key} is {_shown(text)}")
        return text

    try:
        targets = tuple(part.strip() for part in metadata["targets"].split(","))
        if number("sample_rate_hz", 1) != SAMPLE_RATE_HZ:
            raise ValueError(f"sample_rate_hz is not {SAMPLE_RATE_HZ}")
        strange = [target for target in targets if not _TARGET.fullmatch(target) or target in _TAKEN]
        meant = {target.removesuffix("_mos") for target in targets}  # in gates, g is g_mos
        if strange or len(meant) != len(targets) or len(targets) > _MOST_TARGETS:
            raise ValueError(f"targets are {_shown(metadata['targets'])}")
        hop_samples = number("frame_hop_samples", 1)
        info = ModelInfo(
            name=word("name"),
            version=word("version"),
            conformance=word("conformance"),
            targets=targets,
            frame_hop_samples=hop_samples,
            window_samples=number("window_samples", hop_samples),
            min_samples=number("min_samples", 1),
        )
        if info.min_samples * 2 > info.window_samples:
            raise ValueError(
                f"min_samples {info.min_samples} is more than half of window_samples {info.window_samples}"
            )
    except KeyError as error:
        raise UsageError(f"{label}: not a model of mtqscore: its metadata has no {error.args[0]!r}") from error
    except ValueError as error:
        raise UsageError(f"{label}: not a model of mtqscore: in its metadata, {error}") from error
    missing = [target.name for target in SUPERVISED if target.name not in targets]
    if missing and not any_targets:
        raise UsageError(
            f"{label}: its targets are {', '.join(targets)}: without {', '.join(missing)} it scores nothing; "
            "it can be a --teacher of mtqscore train"
        )
    return info


def _shown(text: str) -> str:
    return ascii(text) if len(text) <= _LONGEST_WORD else f"{text[:_LONGEST_WORD]!a} …"
