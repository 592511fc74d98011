"""References to models on the Hub, and where the Hub's own cache keeps what was fetched.

The layout of the cache is documented by huggingface_hub; to look there needs neither that library, which is slow to
import, nor a network.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from mtqscore.errors import UsageError

PREFIX = "hf:"
PUBLIC_HUB = "https://huggingface.co"
REVISION = re.compile(r"[0-9a-f]{40}")
_PART = r"(?!\.)(?!.*(?:--|\.\.))[A-Za-z0-9_.-]{1,96}(?<![.-])"
REPOSITORY = re.compile(rf"{_PART}/{_PART}")


@dataclass(frozen=True)
class HubReference:
    """A repository of the Hub (``owner/name``) at one revision, the 40 digits of a commit, which can never change."""

    repository: str
    revision: str

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}@{self.revision}"

    @property
    def url(self) -> str:
        """Page of this revision for people."""
        return f"{shown_endpoint()}/{self.repository}/tree/{self.revision}"

    @property
    def snapshot(self) -> Path:
        """Folder of the cache for the files of this revision, be it there or not."""
        return cache_folder() / ("models--" + self.repository.replace("/", "--")) / "snapshots" / self.revision

    def cached(self, file: str) -> Path:
        """Path in the cache of a file of this revision, be it there or not."""
        return self.snapshot / file


def parse_reference(model: str) -> HubReference:
    """Read ``hf:owner/name@revision``.

    Raises:
        UsageError: it is something else; without a full revision the error is an ``UnpinnedError``.
    """
    repository, _, revision = model.removeprefix(PREFIX).partition("@")
    if not model.startswith(PREFIX) or not REPOSITORY.fullmatch(repository):
        raise UsageError(f"model {model!r} is not hf:owner/name@revision")
    if not REVISION.fullmatch(revision.lower()):
        raise UnpinnedError(repository, revision)
    return HubReference(repository, revision.lower())


class UnpinnedError(UsageError):
    """A reference that names no revision, or a branch (perhaps empty), whose content can change."""

    def __init__(self, repository: str, branch: str, advice: str = "") -> None:
        self.repository = repository
        self.branch = branch
        named = f"{branch!r} can change" if branch else "it names no revision"
        advice = advice or f"give the 40 digits of a commit: {PREFIX}{repository}@<revision>"
        super().__init__(f"model {PREFIX}{repository}: {named}; {advice}")


def endpoint() -> str:
    """Address of the Hub, without a slash at its end."""
    return (os.environ.get("HF_ENDPOINT") or PUBLIC_HUB).rstrip("/")


def shown_endpoint() -> str:
    """The address for messages, without the user and password that one of a company may hold."""
    scheme, separator, rest = endpoint().partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}{separator}{place.rpartition('@')[2]}{slash}{path}"


def cache_folder() -> Path:
    """Folder of the Hub's cache, found from the environment as huggingface_hub does."""
    environment = os.environ
    base = environment.get("XDG_CACHE_HOME", "~/.cache")
    home = environment.get("HF_HOME", f"{base}/huggingface")
    older = environment.get("HUGGINGFACE_HUB_CACHE", f"{home}/hub")
    # As the library does: a ~ that means nobody stays, where Path.expanduser would raise.
    return Path(os.path.expandvars(os.path.expanduser(environment.get("HF_HUB_CACHE", older))))  # noqa: PTH111


def is_offline() -> bool:
    """True if the user forbids to ask the Hub."""
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.upper() in ("1", "ON", "YES", "TRUE")
