"""The examination as text; needs no library, so that it works where the command line does not start."""

from __future__ import annotations

import json
import os
import sys

from mtqscore.base.version import VERSION
from mtqscore.diagnostics.doctor.examine import examine
from mtqscore.diagnostics.doctor.facts import as_text, failures, to_json
from mtqscore.errors import ExitCode


def examination(*, as_json: bool) -> tuple[str, int]:
    """Examine, and lay out what was found.

    Args:
        as_json: as one JSON document, else for people.

    Returns:
        What to print, and the exit code: 4 when something stops scoring, else 0.
    """
    sections = examine()
    code = ExitCode.ENVIRONMENT if failures(sections) else ExitCode.OK
    if as_json:
        return json.dumps(to_json(VERSION, sections), indent=2), code
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return as_text(VERSION, sections, colour=colour), code
