"""Assertions on speech quality, and the pytest plugin."""

from mtqscore.testing.quality import assert_quality

__all__ = ["assert_quality"]
