"""What goes to stderr, and how: messages, one-line refusals, progress on a terminal only."""

from __future__ import annotations

import sys

from mtqscore.errors import MtqscoreError


def say(text: str) -> None:
    """Write one message to stderr; stdout carries data only."""
    print(text, file=sys.stderr, flush=True)


def fail(error: MtqscoreError) -> None:
    """Write the one line that a refused command ends with."""
    say(f"mtqscore: {error}")
