"""The one family of exceptions, each with the exit code that the command line gives it."""

from __future__ import annotations


class MtqscoreError(Exception):
    """Base of every error that mtqscore raises on purpose; its text is one line: what, where, what to do."""

    exit_code = 3


class UsageError(MtqscoreError):
    """Wrong use: an unknown option value, metric or model name, or nothing that matched."""

    exit_code = 2


class InputError(MtqscoreError):
    """Some input could not be read, or is not what it should be."""

    exit_code = 3


class EnvironmentProblemError(MtqscoreError):
    """The machine is not ready: device, download, checksum, missing extra, no space left."""

    exit_code = 4


class MissingExtraError(EnvironmentProblemError):
    """A command needs an optional extra that is not installed.

    Args:
        command: what the user wanted to do, for example ``mtqscore train``.
        extra: the extra that brings what is missing, for example ``train``.
        module: the module that could not be imported.
    """

    def __init__(self, command: str, extra: str, module: str) -> None:
        super().__init__(f"{command} needs the module {module}; install it with: pip install 'mtqscore[{extra}]'")
