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

from mtqscore.base.version import VERSION

if TYPE_CHECKING:
    from mtqscore.analysis.compare import CompareConfig, compare_results
    from mtqscore.analysis.explain import explain_file
    from mtqscore.analysis.gate_grammar import parse_gate
    from mtqscore.analysis.gates import judge
    from mtqscore.audio.discovery import find_inputs
    from mtqscore.config import AssessConfig
    from mtqscore.errors import EnvironmentProblemError, InputError, MtqscoreError, UsageError
    from mtqscore.results.reading import read_results
    from mtqscore.scores import Assessment, Flag, FrameScores, Scores, Status
    from mtqscore.scoring.assessor import Assessor, assess_array, assess_file
    from mtqscore.testing.quality import assert_quality

__version__ = VERSION

_HOMES = {
    "Assessor": "scoring.assessor",
    "assess_array": "scoring.assessor",
    "assess_file": "scoring.assessor",
    "AssessConfig": "config",
    "CompareConfig": "analysis.compare",
    "compare_results": "analysis.compare",
    "EnvironmentProblemError": "errors",
    "InputError": "errors",
    "MtqscoreError": "errors",
    "UsageError": "errors",
    "explain_file": "analysis.explain",
    "judge": "analysis.gates",
    "parse_gate": "analysis.gate_grammar",
    "read_results": "results.reading",
    "Assessment": "scores",
    "Flag": "scores",
    "FrameScores": "scores",
    "Scores": "scores",
    "Status": "scores",
    "find_inputs": "audio.discovery",
    "assert_quality": "testing.quality",
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
