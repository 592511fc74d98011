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
    from mtqscore.assess_config import AssessConfig
    from mtqscore.compare import CompareConfig, compare_results
    from mtqscore.errors import EnvironmentProblemError, InputError, MtqscoreError, UsageError
    from mtqscore.explain import explain_file
    from mtqscore.gate import judge
    from mtqscore.gate_grammar import parse_gate
    from mtqscore.results import read_results
    from mtqscore.scores import Assessment, Flag, FrameScores, Scores, Status
    from mtqscore.search import find_inputs
    from mtqscore.testing import assert_quality

__version__ = "0.1.0"

_HOMES = {
    "Assessor": "assess",
    "assess_array": "assess",
    "assess_file": "assess",
    "AssessConfig": "assess_config",
    "CompareConfig": "compare",
    "compare_results": "compare",
    "EnvironmentProblemError": "errors",
    "InputError": "errors",
    "MtqscoreError": "errors",
    "UsageError": "errors",
    "explain_file": "explain",
    "judge": "gate",
    "parse_gate": "gate_grammar",
    "read_results": "results",
    "Assessment": "scores",
    "Flag": "scores",
    "FrameScores": "scores",
    "Scores": "scores",
    "Status": "scores",
    "find_inputs": "search",
    "assert_quality": "testing",
}

__all__ = [
    "AssessConfig",
    "Assessment",
    "Assessor",
    "CompareConfig",
    "EnvironmentProblemError",
    "Flag",
    "FrameScores",
    "InputError",
    "MtqscoreError",
    "Scores",
    "Status",
    "UsageError",
    "__version__",
    "assert_quality",
    "assess_array",
    "assess_file",
    "compare_results",
    "explain_file",
    "find_inputs",
    "judge",
    "parse_gate",
    "read_results",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
