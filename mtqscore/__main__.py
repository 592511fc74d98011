"""``python -m mtqscore`` is the command ``mtqscore``."""

from mtqscore.cli import main

if __name__ == "__main__":
    main()
