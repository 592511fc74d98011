"""Assertions on speech quality, and the pytest plugin."""

from __future__ import annotations

from typing import Any

__all__ = ["assert_quality"]


def __getattr__(name: str) -> Any:  # lazily: pytest imports this package for the plugin in every run
    if name != "assert_quality":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mtqscore.testing.quality import assert_quality

    return assert_quality
