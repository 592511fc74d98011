"""The one family of exceptions, and the one place of exit codes."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the command line. When several hold: wrong use, environment, input, failed gate."""

    OK = 0
    GATE_FAILED = 1
    """A gate failed, or a comparison did."""
    WRONG_USE = 2
    INPUT = 3
    """Some input could not be read or scored."""
    ENVIRONMENT = 4
    """The machine is not ready, or a result cannot be written."""
    INTERRUPTED = 130
    """Exit code of a program that Ctrl-C ended, as shells report it: 128 + SIGINT."""
    CLOSED_PIPE = 141
    """Exit code of a program whose reader has gone, as shells report it: 128 + SIGPIPE."""


class MtqscoreError(Exception):
    """Base of every error that mtqscore raises on purpose; its text is one line: what, where, what to do."""

    exit_code = ExitCode.INPUT


class UsageError(MtqscoreError):
    """Wrong use: an unknown option value, metric or model name, or nothing that matched."""

    exit_code = ExitCode.WRONG_USE


class InputError(MtqscoreError):
    """Some input could not be read, or is not what it should be."""


class EnvironmentProblemError(MtqscoreError):
    """The machine is not ready: device, download, checksum, missing extra, no space left."""

    exit_code = ExitCode.ENVIRONMENT


class MissingExtraError(EnvironmentProblemError):
    """A command needs an optional extra that is not installed.

    Args:
        command: what the user wanted to do, for example ``mtqscore train``.
        extra: the extra that brings what is missing, for example ``train``.
        module: the module that could not be imported.
    """

    def __init__(self, command: str, extra: str, module: str) -> None:
        super().__init__(f"{command} needs the module {module}; install it with: pip install 'mtqscore[{extra}]'")
