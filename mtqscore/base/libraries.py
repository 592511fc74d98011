"""Libraries of native code, loaded at their first use; one that does not load is the fault of no recording."""

from __future__ import annotations

import importlib
from typing import Any

from mtqscore.errors import EnvironmentProblemError


def load_library(name: str) -> Any:
    """Import a library that every installation has.

    Raises:
        EnvironmentProblemError: it is missing or not whole.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: the module is there, its C library is not
        raise unloadable(name, error) from error


def unloadable(name: str, error: Exception) -> EnvironmentProblemError:
    """Say in one line that a library does not load."""
    said = (str(error).splitlines() or [type(error).__name__])[0]
    return EnvironmentProblemError(f"{name} does not load ({said}); mtqscore doctor names the fix")
