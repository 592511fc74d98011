"""Version of mtqscore."""

VERSION = "0.1.0"
