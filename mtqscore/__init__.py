"""Reference-free S-MOS, N-MOS and G-MOS for speech recordings.

Nothing heavy is imported before a name is used.

Example:
    >>> from mtqscore import assess_file
    >>> assess_file("no-such-file.wav").status
    <Status.NOT_FOUND: 'not_found'>
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtqscore.assess import Assessor, assess_array, assess_file
    from mtqscore.config import AssessConfig
    from mtqscore.errors import EnvironmentProblemError, InputError, MtqscoreError, UsageError
    from mtqscore.inputs import find_inputs
    from mtqscore.scores import Assessment, Flag, FrameScores, Scores, Status

__version__ = "0.1.0"

_HOMES = {
    "Assessor": "assess",
    "assess_array": "assess",
    "assess_file": "assess",
    "AssessConfig": "config",
    "EnvironmentProblemError": "errors",
    "InputError": "errors",
    "MtqscoreError": "errors",
    "UsageError": "errors",
    "find_inputs": "inputs",
    "Assessment": "scores",
    "Flag": "scores",
    "FrameScores": "scores",
    "Scores": "scores",
    "Status": "scores",
}

__all__ = [
    "AssessConfig",
    "Assessment",
    "Assessor",
    "EnvironmentProblemError",
    "Flag",
    "FrameScores",
    "InputError",
    "MtqscoreError",
    "Scores",
    "Status",
    "UsageError",
    "__version__",
    "assess_array",
    "assess_file",
    "find_inputs",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
