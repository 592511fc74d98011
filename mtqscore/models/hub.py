"""The one room that knows huggingface_hub: what is fetched, what is removed, and how its failures read."""

from __future__ import annotations

import errno
import logging
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from mtqscore.errors import EnvironmentProblemError, MtqscoreError, UsageError
from mtqscore.models.reference import HubReference, cache_folder, endpoint, is_offline, shown_endpoint

Tell = Callable[[str], None]
Answer = TypeVar("Answer")

TIMEOUT_S = 10.0
"""Longest silence of the Hub before it is asked again."""

WAITS_S = (1.0, 3.0)
"""Pauses before the Hub is asked once more; after the last the refusal stands."""

LONGEST_WAIT_S = 30.0
"""A Hub that wants to be left alone for longer is not waited for."""

_BUSY = (408, 429, 500, 502, 503, 504)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def fetch(
    reference: HubReference,
    file: str,
    *,
    size: int | None = None,
    most_bytes: int = 0,
    tell: Tell | None = None,
) -> Path:
    """Fetch one file into the Hub's cache, whole or not at all.

    Args:
        reference: repository and revision.
        file: its name there.
        size: its length in bytes, if that is known; another is refused before anything is fetched.
        most_bytes: largest length that is taken when ``size`` is not known.
        tell: takes messages; None fetches in silence.

    Returns:
        Where it lies.

    Raises:
        UsageError: the repository has no such file.
        EnvironmentProblemError: it cannot be fetched, or its length is not what it should be.
    """
    if is_offline():
        raise EnvironmentProblemError(f"{reference} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it")
    with _library(tell):
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

        # Named at every call: the library reads the environment only when it is imported.
        url = hf_hub_url(reference.repository, file, revision=reference.revision, endpoint=endpoint())
        if tell is not None:
            length = "" if size is None else f", {size / 1e6:.1f} MB"
            tell(f"fetching {reference} from {shown_endpoint()}: {file}{length}")
        found = _patiently(reference, lambda: get_hf_file_metadata(url, timeout=TIMEOUT_S).size, tell)
        if found is None or (found != size if size is not None else found > most_bytes):
            wanted = f"{size}" if size is not None else f"at most {most_bytes}"
            raise EnvironmentProblemError(f"{reference}: {file} has {found} bytes, not {wanted}; it was not fetched")
        place = _patiently(
            reference,
            lambda: hf_hub_download(
                reference.repository,
                file,
                revision=reference.revision,
                endpoint=endpoint(),
                cache_dir=cache_folder(),
                etag_timeout=TIMEOUT_S,
            ),
            tell,
        )
    if not os.path.isfile(place):  # noqa: PTH113 - the library takes whatever has this name for the file
        raise EnvironmentProblemError(f"{place} is no file: mtqscore models remove {reference}, and fetch it again")
    return Path(place)


def current_revision(repository: str, branch: str) -> HubReference:
    """Ask the Hub where a branch points to: once, since it is only to help with a refusal.

    Args:
        repository: ``owner/name``.
        branch: a branch or tag; empty for the main branch.

    Raises:
        EnvironmentProblemError: the Hub cannot be asked, or does not know it.
    """
    if is_offline():
        raise EnvironmentProblemError("HF_HUB_OFFLINE is set")
    with _library(None):
        from huggingface_hub import HfApi

        asked = HubReference(repository, branch or "main")
        hub = HfApi(endpoint())
        found = _patiently(
            asked,
            lambda: hub.model_info(repository, revision=branch or None, timeout=TIMEOUT_S / 2).sha,
            None,
            waits_s=(),
        )
    return HubReference(repository, str(found))


def remove(reference: HubReference) -> int:
    """Remove one revision from the Hub's cache.

    Returns:
        Bytes that are free again; files that other revisions share stay.

    Raises:
        EnvironmentProblemError: the cache cannot be changed.
    """
    import shutil

    with _library(None):
        from huggingface_hub import scan_cache_dir

        try:
            cache = scan_cache_dir(cache_folder())
            # The commits of a copied repository are those of the first: only this one is meant.
            ours = frozenset(
                repo for repo in cache.repos if (repo.repo_type, repo.repo_id) == ("model", reference.repository)
            )
            strategy = replace(cache, repos=ours).delete_revisions(reference.revision)
            strategy.execute()
            if reference.snapshot.exists():  # too damaged for the library to know it
                shutil.rmtree(reference.snapshot)
        except OSError as error:
            raise EnvironmentProblemError(f"cannot remove {reference.snapshot}: {error.strerror or error}") from error
    freed: int = strategy.expected_freed_size
    return freed


def upload(
    repository: str, files: Mapping[str, Path], message: str, *, private: bool = False, tell: Tell | None = None
) -> HubReference:
    """Put files into a repository with one commit; the repository is made if there is none.

    Args:
        repository: ``owner/name``.
        files: where they lie, by their names there.
        message: of the commit.
        private: make a new repository private.
        tell: takes messages.

    Returns:
        The revision that holds them.

    Raises:
        EnvironmentProblemError: no token is known, or the Hub cannot be reached or refuses.
    """
    if is_offline():
        raise EnvironmentProblemError("HF_HUB_OFFLINE forbids to publish")
    with _library(tell):
        from huggingface_hub import CommitOperationAdd, HfApi, get_token

        if get_token() is None:
            raise EnvironmentProblemError("no token for the Hub is known; log in with: hf auth login, or set HF_TOKEN")
        asked = HubReference(repository, "main")
        hub = HfApi(endpoint())
        if tell is not None:
            size = sum(path.stat().st_size for path in files.values())
            tell(f"publishing to {repository} on {shown_endpoint()}: {len(files)} files, {size / 1e6:.1f} MB")
        _patiently(asked, lambda: hub.create_repo(repository, private=private or None, exist_ok=True), tell)
        # One commit and not upload_folder, which may make several: the revision must hold everything.
        commit = _patiently(
            asked,
            lambda: hub.create_commit(
                repository,
                [CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in files.items()],
                commit_message=message,
            ),
            tell,
        )
    return HubReference(repository, str(commit.oid))


# --- the library ----------------------------------------------------------------------------------------------


@contextmanager
def _library(tell: Tell | None) -> Iterator[None]:
    """Let huggingface_hub speak through ``tell``: its warnings as messages, its progress only if anybody listens.

    Xet, the Hub's other way to move large files, stays off: models are small, plain HTTP and LFS serve every file too,
    and what is stored once for several repositories would come back as it was when a damaged file is removed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from huggingface_hub import constants
        from huggingface_hub.utils.logging import get_logger
        from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

        logger = get_logger()  # with the handler that the library gives it as it loads
        kept = (logger.handlers[:], logger.propagate)
        logger.handlers, logger.propagate = [_Messages(tell)], False
        xet_was_off, constants.HF_HUB_DISABLE_XET = getattr(constants, "HF_HUB_DISABLE_XET", False), True
        showed = not are_progress_bars_disabled()
        if tell is None:
            disable_progress_bars()
        try:
            yield
        finally:
            logger.handlers, logger.propagate = kept
            constants.HF_HUB_DISABLE_XET = xet_was_off
            if tell is None and showed:
                enable_progress_bars()


class _Messages(logging.Handler):
    def __init__(self, tell: Tell | None) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = _first_line(record.getMessage())
        # The library waits as long as a server wants, and only says so: here is the place to refuse.
        wait = re.search(r"Waiting ([0-9]+(?:\.[0-9]+)?) ?s", text)
        if wait and float(wait[1]) > LONGEST_WAIT_S:
            raise EnvironmentProblemError(f"{shown_endpoint()}: too many requests for now; try again later")
        if self._tell is not None and text not in self._told:
            self._told.add(text)
            self._tell(f"the Hub: {text}")


def _patiently(
    reference: HubReference, ask: Callable[[], Answer], tell: Tell | None, waits_s: Sequence[float] | None = None
) -> Answer:
    """Ask the Hub, again after a pause if it is busy or away.

    Raises:
        MtqscoreError: it did not answer in time, or refused; in one line.
    """
    for pause_s in (*(WAITS_S if waits_s is None else waits_s), None):
        try:
            return ask()
        except MtqscoreError:
            raise
        except Exception as error:  # the library raises exceptions of three HTTP libraries, by its version
            refusal, retry_after_s = _refusal(reference, error)
            if retry_after_s is None:
                raise refusal from error
            if pause_s is None or retry_after_s > LONGEST_WAIT_S:
                raise EnvironmentProblemError(f"{refusal}; try again later") from error
            wait_s = max(pause_s, retry_after_s)
            if tell is not None:
                tell(f"{refusal}; trying again in {wait_s:.0f} s")
            time.sleep(wait_s)
    raise AssertionError("the last try returns or raises")


def _refusal(reference: HubReference, error: Exception) -> tuple[MtqscoreError, float | None]:
    """Say in one line why the Hub or the cache refused, and after how long it is worth while to ask again."""
    from huggingface_hub import errors

    while isinstance(error, errors.LocalEntryNotFoundError | RuntimeError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # what the library wraps says more
    where = f"{reference.repository} on {shown_endpoint()}"
    response: Any = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    again_s: float | None = None
    if isinstance(error, errors.GatedRepoError) or status == 403:
        text = f"{where}: access is not granted; ask for it on its page, and log in: hf auth login"
    elif isinstance(error, errors.RepositoryNotFoundError) or status == 401:
        text = f"{where}: no such repository, or a private one; for those log in: hf auth login"
    elif isinstance(error, errors.RevisionNotFoundError):
        text = f"{where} has no revision {reference.revision!r}"
    elif isinstance(error, errors.EntryNotFoundError):
        return UsageError(f"{reference}: not a model of mtqscore: {_first_line(str(error))}"), None
    elif status is not None:
        text = f"{where}: the Hub answers {'too many requests' if status == 429 else f'with error {status}'}"
        again_s = _retry_after_s(response) if status in _BUSY else None
    elif isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
        fix = "make room there" if error.errno in _FULL else "set HF_HOME to a folder that can be written to"
        text = f"cannot write the cache {cache_folder()}: {error.strerror}; {fix}"
    elif isinstance(error, (errors.FileMetadataError, LookupError, TypeError, ValueError)):
        said = f"{type(error).__name__}: {_first_line(str(error))}"
        text = f"{where}: this does not answer as a Hub does ({said[:100]}); check HF_ENDPOINT and the network"
    elif "Timeout" in type(error).__name__:
        text, again_s = f"{where}: no answer within {TIMEOUT_S:.0f} s; check the network", 0.0
    else:
        text, again_s = (
            f"{where}: cannot be reached ({_first_line(str(error)) or type(error).__name__}); check the network",
            0.0,
        )
    return EnvironmentProblemError(text), again_s


def _retry_after_s(response: Any) -> float:
    text = str(response.headers.get("Retry-After") or "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0.0


def _first_line(text: str) -> str:
    """First line of what a library or a server says, safe for a terminal."""
    from mtqscore.base.text import printable

    lines = text.strip().splitlines()
    return printable(lines[0])[:300] if lines else ""
