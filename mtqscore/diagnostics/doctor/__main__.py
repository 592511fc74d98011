"""``python -m mtqscore.diagnostics.doctor``: for when the command line itself does not start."""

from __future__ import annotations

import sys

from mtqscore.diagnostics.doctor.show import examination

if __name__ == "__main__":
    text, code = examination(as_json="--json" in sys.argv[1:])
    # A path may hold what the terminal cannot show.
    print(text.encode(sys.stdout.encoding, "backslashreplace").decode(sys.stdout.encoding))
    sys.exit(code)
