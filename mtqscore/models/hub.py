"""Files of the Hugging Face Hub: fetched, removed and published by huggingface_hub, which only this module imports.

Downloads, their resumption, retries and the cache are the library's; sizes, checksums and one-line errors are ours.
"""

from __future__ import annotations

import errno
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mtqscore.base.libraries import load_library
from mtqscore.base.text import printable
from mtqscore.errors import EnvironmentProblemError, MtqscoreError, UsageError
from mtqscore.models.reference import HubReference, cache_folder, endpoint, is_offline, shown_endpoint

Notify = Callable[[str], None]
"""Takes one message for the user."""

TIMEOUT_S = 10.0
"""Longest silence of the Hub before it counts as away."""

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
    notify: Notify | None = None,
) -> Path:
    """Fetch one file into the Hub's cache, whole or not at all, and return its path.

    Args:
        reference: repository and revision.
        file: its name there.
        size: its length in bytes, if that is known; another is refused before anything is fetched.
        most_bytes: largest length that is taken when ``size`` is not known.
        notify: takes messages; None fetches in silence.

    Raises:
        UsageError: the repository has no such file.
        EnvironmentProblemError: it cannot be fetched, or its length is not what it should be.
    """
    if is_offline():
        raise EnvironmentProblemError(f"{reference} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it")
    if notify is not None:
        length = "" if size is None else f", {size / 1e6:.1f} MB"
        notify(f"fetching {reference} from {shown_endpoint()}: {file}{length}")
    with _library(reference) as library:
        found = _size_of(library, reference, file, notify)
        if found is None or (found != size if size is not None else found > most_bytes):
            wanted = f"{size}" if size is not None else f"at most {most_bytes}"
            raise EnvironmentProblemError(f"{reference}: {file} has {found} bytes, not {wanted}; it was not fetched")
        # Endpoint and cache are named at every call: the library reads the environment only when it is imported.
        place = library.hf_hub_download(
            reference.repository,
            file,
            revision=reference.revision,
            endpoint=endpoint(),
            cache_dir=cache_folder(),
            etag_timeout=TIMEOUT_S,
        )
    if not os.path.isfile(place):  # noqa: PTH113 - the library takes whatever has this name for the file
        raise EnvironmentProblemError(f"{place} is no file: mtqscore models remove {reference}, and fetch it again")
    return Path(place)


def current_revision(repository: str, branch: str) -> HubReference:
    """Ask the Hub where a branch or tag (the main branch if empty) points to: once, only to help with a refusal.

    Raises:
        EnvironmentProblemError: the Hub cannot be asked, or does not know it.
    """
    if is_offline():
        raise EnvironmentProblemError("HF_HUB_OFFLINE is set")
    with _library(HubReference(repository, branch or "main")) as library:
        found = library.HfApi(endpoint()).model_info(repository, revision=branch or None, timeout=TIMEOUT_S / 2)
    return HubReference(repository, str(found.sha))


def remove(reference: HubReference) -> int:
    """Remove one revision from the Hub's cache, but no files that others share; return the bytes that are free again.

    Raises:
        EnvironmentProblemError: the cache cannot be changed.
    """
    with _library(reference) as library:
        try:
            cache = library.scan_cache_dir(cache_folder())
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
    return int(strategy.expected_freed_size)


def upload(
    repository: str, files: Mapping[str, Path], message: str, *, private: bool = False, notify: Notify | None = None
) -> HubReference:
    """Put files, by their names there, into a repository with one commit; it is made if there is none.

    Raises:
        EnvironmentProblemError: no token is known, or the Hub cannot be reached or refuses.
    """
    if is_offline():
        raise EnvironmentProblemError("HF_HUB_OFFLINE forbids to publish")
    with _library(HubReference(repository, "main")) as library:
        if library.get_token() is None:
            raise EnvironmentProblemError("no token for the Hub is known; log in with: hf auth login, or set HF_TOKEN")
        if notify is not None:
            size = sum(path.stat().st_size for path in files.values())
            notify(f"publishing to {repository} on {shown_endpoint()}: {len(files)} files, {size / 1e6:.1f} MB")
        hub = library.HfApi(endpoint())
        hub.create_repo(repository, private=private or None, exist_ok=True)
        # One commit and not upload_folder, which may make several: the revision must hold everything.
        commit = hub.create_commit(
            repository,
            [library.CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in files.items()],
            commit_message=message,
        )
    return HubReference(repository, str(commit.oid))


def _size_of(library: Any, reference: HubReference, file: str, notify: Notify | None) -> int | None:
    """Ask for the length of a file; a busy Hub is asked again by the library, unless it wants a long pause."""
    url = library.hf_hub_url(reference.repository, file, revision=reference.revision, endpoint=endpoint())
    try:
        found = library.get_hf_file_metadata(url, timeout=TIMEOUT_S).size
    except library.errors.HfHubHTTPError as error:
        wait_s = _retry_after_s(error.response) if error.response.status_code in _BUSY else None
        if wait_s is None or wait_s > LONGEST_WAIT_S:
            raise
        if notify is not None:
            notify(f"{_refusal(reference, error)}; trying again")
        found = library.get_hf_file_metadata(url, timeout=TIMEOUT_S, retry_on_errors=True).size
    return None if found is None else int(found)


@contextmanager
def _library(reference: HubReference) -> Iterator[Any]:
    """Import huggingface_hub, and turn what it raises into one line.

    Xet, the Hub's other way to move large files, stays off unless the environment or the program around wants it:
    models are small, and what Xet keeps for all repositories would come back when a damaged file is removed.
    """
    for name in ("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_PROGRESS_BARS"):
        os.environ.setdefault(name, "1")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the library about its own libraries
            yield load_library("huggingface_hub")
    except MtqscoreError:
        raise
    except Exception as error:  # the library raises exceptions of three HTTP libraries, by its version
        raise _refusal(reference, error) from error


def _refusal(reference: HubReference, error: Exception) -> MtqscoreError:
    """Turn what the library raised into one line: why the Hub or the cache refused, and what to do."""
    from huggingface_hub import errors

    while isinstance(error, errors.LocalEntryNotFoundError | RuntimeError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # what the library wraps says more
    where = f"{reference.repository} on {shown_endpoint()}"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError) or status == 403:
        text = f"{where}: access is not granted; ask for it on its page, and log in: hf auth login"
    elif isinstance(error, errors.RepositoryNotFoundError) or status == 401:
        text = f"{where}: no such repository, or a private one; for those log in: hf auth login"
    elif isinstance(error, errors.RevisionNotFoundError):
        text = f"{where} has no revision {reference.revision!r}"
    elif isinstance(error, errors.EntryNotFoundError):
        return UsageError(f"{reference}: not a model of mtqscore: {_first_line(error)}")
    elif status is not None:
        again = "; try again later" if status in _BUSY else ""
        text = f"{where}: the Hub answers {'too many requests' if status == 429 else f'with error {status}'}{again}"
    elif isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
        fix = "make room there" if error.errno in _FULL else "set HF_HOME to a folder that can be written to"
        text = f"cannot write the cache {cache_folder()}: {error.strerror}; {fix}"
    elif isinstance(error, (errors.FileMetadataError, LookupError, TypeError, ValueError)):
        said = f"{type(error).__name__}: {_first_line(error)}"[:100]
        text = f"{where}: this does not answer as a Hub does ({said}); check HF_ENDPOINT and the network"
    elif "Timeout" in type(error).__name__:
        text = f"{where}: no answer within {TIMEOUT_S:.0f} s; check the network; try again later"
    else:
        said = _first_line(error) or type(error).__name__
        text = f"{where}: cannot be reached ({said}); check the network; try again later"
    return EnvironmentProblemError(text)


def _retry_after_s(response: Any) -> float:
    text = str(response.headers.get("Retry-After") or "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0.0


def _first_line(error: Exception) -> str:
    """First line of what a library or a server says, safe for a terminal."""
    lines = str(error).strip().splitlines()
    return printable(lines[0])[:300] if lines else ""
