"""Recordings in object stores and on web servers, through fsspec: what is there, and what their errors mean."""

from __future__ import annotations

import logging
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from mtqscore.audio.inputs import Input, Stamp, is_audio_name
from mtqscore.errors import EnvironmentProblemError, MissingExtraError
from mtqscore.scores import Status, UnscorableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ASKED_AT_ONCE = 8
"""Files that a store is asked for at the same time: it answers many as fast as one."""

LONGEST_REASON = 200

_EXTRA = {"s3", "s3a", "gs", "gcs", "http", "https"}
"""Schemes whose libraries the extra brings."""

_TALKATIVE = ("fsspec", "s3fs", "gcsfs", "aiobotocore", "asyncio", "google", "huggingface_hub")

_TAGS = ("ETag", "etag", "blob_id", "md5Hash", "Content-MD5", "sha")
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "modified", "Last-Modified", "created")

_OUT_OF_REACH = re.compile(
    r"EndpointConnectionError|ConnectTimeoutError|ReadTimeoutError|ClientConnect(ion|or)\w*Error|ConnectionError"
    r"|ConnectError|ConnectTimeout|ReadTimeout|ServerTimeoutError|gaierror"
)
"""Exceptions of the stores' libraries that say that nobody answered; they have no base in common."""

_NO_CREDENTIALS = re.compile(r"(NoCredentials|PartialCredentials|TokenRetrieval|DefaultCredentials|RefreshE)\w*")


def is_web(name: str) -> bool:
    """Check for an address of the web, where there are neither folders nor patterns: ? begins a query."""
    return name.lower().startswith(("http://", "https://"))


def _has_magic(text: str) -> bool:
    return any(sign in text for sign in "*?[")


def find_remote(name: str) -> list[Input]:
    """Expand a name with a scheme: a file, a folder that is searched to any depth, or a pattern.

    A name that ends like a recording is one, and nothing is asked; so a long list of names costs no time. Hidden
    entries are left out, matches are sorted.

    Args:
        name: such as ``s3://bucket/key.wav``, ``gs://bucket/calls/`` or ``hf://datasets/owner/name/**/*.flac``.

    Returns:
        One input for every row of the result; none for a pattern that matches nothing.

    Raises:
        EnvironmentProblemError: the store does not answer, or its library is missing.
    """
    is_pattern = not is_web(name) and _has_magic(name)
    try:
        locate(name)  # so that a missing library is reported before anything is scored
        if is_web(name) or (is_audio_name(name) and not is_pattern):
            return [Input(name)]
        return list(_expand(name, is_pattern=is_pattern))
    except Exception as error:  # stores raise whatever their libraries do
        fault = fault_of(error, name, "searched")
        return [Input(name, fault.status, fault.reason)]


def stamps(names: Iterable[str]) -> dict[str, Stamp | None]:
    """Ask for size and time of change of many files at once; None where there is none, or no telling.

    Raises:
        EnvironmentProblemError: the store does not answer, or its library is missing.
    """

    def ask(name: str) -> Stamp | None:
        try:
            store, path = locate(name)
            return stamp_of_info(store.info(path))
        except Exception as error:  # stores raise whatever their libraries do
            fault_of(error, name)
            return None

    listed = list(names)
    if not listed:
        return {}
    with ThreadPoolExecutor(ASKED_AT_ONCE, thread_name_prefix="stamp") as pool:
        return dict(zip(listed, pool.map(ask, listed), strict=True))


# --- stores -----------------------------------------------------------------------------------------------------


@cache
def _store(scheme: str) -> Any:
    """The file system behind a scheme; one for all threads, since each has connections of its own."""
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtraError(f"{scheme}://", "remote", "fsspec") from error
    for library in _TALKATIVE:  # errors stand in rows; a program with handlers of its own still gets them
        logging.getLogger(library).addHandler(logging.NullHandler())
    if scheme not in fsspec.available_protocols():
        raise UnscorableError(Status.NOT_FOUND, f"no kind of store is called {scheme}://")
    try:
        return fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError as error:
        if scheme in _EXTRA:
            lacking = getattr(error.__cause__, "name", None) or "fsspec"
            raise MissingExtraError(f"{scheme}://", "remote", lacking) from error
        raise EnvironmentProblemError(f"{scheme}:// cannot be read: {_one_line(error)}") from error


def locate(name: str) -> tuple[Any, str]:
    """The store that has a file, and what the store calls it; never a chain of stores, whatever the name holds."""
    scheme, _, rest = name.partition("://")
    store = _store(scheme.lower())
    return store, store._strip_protocol(f"{scheme.lower()}://{rest}")


def _expand(name: str, *, is_pattern: bool) -> Iterator[Input]:
    store, path = locate(name)
    scheme = name.partition("://")[0]

    def named(found: str) -> str:
        return f"{scheme}://{found}"

    try:
        info = store.info(path)
    except FileNotFoundError:
        info = None
    if info is not None:
        if info["type"] == "directory":
            recordings = list(_search(store, path, named))
            yield from recordings or [Input(name, Status.NO_AUDIO, "no recording in this folder")]
        else:
            yield Input(name, stamp=stamp_of_info(info))
        return
    if not is_pattern:
        yield Input(name, Status.NOT_FOUND, "no such file")
        return
    last = PurePosixPath(path)
    # A pattern that spells an extension means it; `*` alone in a folder of sound and text means the sound.
    asked_for = bool(last.suffix) and not _has_magic(last.suffix)
    shows_hidden = "/." in path
    matches = store.glob(path, detail=True)
    for found in sorted(matches):
        if "/." in found and not shows_hidden:
            continue
        if matches[found]["type"] == "directory":
            if last.name != "**":
                yield from _search(store, found, named)
        elif asked_for or is_audio_name(found):
            yield Input(named(found), stamp=stamp_of_info(matches[found]))


def _search(store: Any, folder: str, named: Callable[[str], str]) -> Iterator[Input]:
    """Yield the recordings below a folder, by the names of folders and files."""
    found = store.find(folder, detail=True)
    for path in sorted(found, key=lambda path: path.split("/")):
        if is_audio_name(path) and "/." not in path[len(folder) :]:
            yield Input(named(path), stamp=stamp_of_info(found[path]))


def stamp_of_info(info: dict[str, Any]) -> Stamp | None:
    """State of a file as its store has it; None where that is too little for comparisons."""
    size_bytes = info.get("size")
    etag = next((str(info[key]) for key in _TAGS if info.get(key)), None)
    changed_ns = next((_nanoseconds(info[key]) for key in _TIMES if info.get(key)), None)
    if size_bytes is None or (etag is None and changed_ns is None):
        return None
    if etag is not None and changed_ns is not None:
        changed_ns -= changed_ns % 10**9
    return Stamp(int(size_bytes), changed_ns, etag)


def _nanoseconds(time: object) -> int | None:
    """A time of change as stores give it, in nanoseconds since 1970."""
    if isinstance(time, str):
        try:
            time = datetime.fromisoformat(time)
        except ValueError:
            try:
                time = parsedate_to_datetime(str(time))
            except ValueError:
                return None
    seconds = time.timestamp() if isinstance(time, datetime) else time
    return round(seconds * 1_000_000) * 1000 if isinstance(seconds, int | float) else None


def fault_of(error: Exception, name: str, done: str = "fetched") -> UnscorableError:
    """Fault of a file by an exception of its store's library.

    Args:
        error: the exception.
        name: the file, with its scheme.
        done: what could not be done to it.

    Raises:
        EnvironmentProblemError: the store does not answer, which is the fault of no file.
    """
    if isinstance(error, EnvironmentProblemError):
        raise error
    if isinstance(error, UnscorableError):
        return error
    scheme = name.partition("://")[0]
    # For a web server fsspec reports that there is no such file, whatever the reason.
    causes = list(_causes(error))[is_web(name) and isinstance(error, FileNotFoundError) :] or [error]
    kinds = [kind.__name__ for cause in causes for kind in type(cause).__mro__]
    if any(map(_OUT_OF_REACH.fullmatch, kinds)) and not is_web(name):
        raise EnvironmentProblemError(
            f"{scheme}:// does not answer ({_one_line(error)}): check the network and the endpoint, then go on with "
            "--resume"
        )
    status, reason = Status.UNREADABLE, f"cannot be {done} ({_one_line(causes[0])})"
    if any(map(_NO_CREDENTIALS.fullmatch, kinds)):
        status, reason = Status.NO_PERMISSION, f"no credentials for {scheme}:// ({_one_line(error)})"
    elif isinstance(causes[0], FileNotFoundError) or getattr(causes[0], "status", None) in (404, 410):
        status, reason = Status.NOT_FOUND, "no such file"
    elif isinstance(causes[0], PermissionError) or getattr(causes[0], "status", None) in (401, 403):
        status, reason = Status.NO_PERMISSION, f"no permission ({_one_line(causes[0])})"
    elif isinstance(error, IsADirectoryError):
        status, reason = Status.NOT_A_FILE, "a folder, not a recording"
    elif isinstance(error, UnicodeError):
        status, reason = Status.NOT_FOUND, "no store can hold a name that is no text"
    return UnscorableError(status, reason)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _one_line(error: BaseException) -> str:
    """Text of an exception, in one line without a name of some hundred characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}…"
