"""The command line: one file a command."""

from __future__ import annotations

import atexit
import gc
import sys


def main() -> None:
    """Run the command line; every expected failure ends in one line on stderr and its exit code."""
    # What a command loads stays to its end; going through all of it again and again is a tenth of a short run.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    try:
        from mtqscore.cli.app import run
    except ImportError:  # typer or rich cannot be imported: the doctor needs neither, and names the fix
        if sys.argv[1:2] != ["doctor"]:
            raise
        from mtqscore.diagnostics.doctor.examine import examination

        text, code = examination(as_json="--json" in sys.argv)
        print(text)
        sys.exit(code)
    run()
