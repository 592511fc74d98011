"""The command line: one file a command."""

from __future__ import annotations

import atexit
import gc


def main() -> None:
    """Run the command line; every expected failure ends in one line on stderr and its exit code."""
    # What a command loads stays to its end; going through all of it again and again is a tenth of a short run.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    from mtqscore.cli.app import run

    run()
