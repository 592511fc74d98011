"""Files and arrays as blocks of float32 samples, in bounded memory; faults of files as statuses."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import deque
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from mtqscore.audio.inputs import Stamp
from mtqscore.base.libraries import load_library
from mtqscore.scores import Status, UnscorableError
from mtqscore.targets import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

BLOCK_VALUES = 131_072
"""Samples of all channels together that are decoded at once: 512 KiB, which stays in a core's cache."""

RESCUE_FRAMES = 256
"""Block size with which the last good samples before a break in the stream are fetched."""

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1_000, 1_536_000
"""A header that claims a rate outside this range is wrong, and following it would cost unbounded time."""

MISSING_S = 0.1
"""A file that delivers this much less than its header announces counts as truncated."""

IDLE_STREAMS = 16
"""Resamplers of one rate that are kept for the next recordings; there is one a voice."""

_FULL_SCALE = {"PCM_S8": 127 / 128, "PCM_U8": 127 / 128, "ALAW": 32_256 / 32_768, "ULAW": 32_124 / 32_768}
_SHORTENED = re.compile(r"^\s*(?:data|riff|Data Size)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
_UNKNOWN_SIZE = 0x7FFFF000
"""Sizes from here on are what programs write that stream into a pipe and do not know the length."""
_BREAK_SIGNS = (
    "seems to be truncated",
    "not equal to frame count",
    "does not match value from 'ds64'",
    "lacks an end-of-stream bit",
)


class Source(Protocol):
    """Samples that come in blocks."""

    sample_rate_hz: int
    channels: int
    full_scale: float
    """Value of the largest sample that the encoding can hold; infinite where there is none."""

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield all samples from the start, float32 (frames, channels)."""

    @property
    def truncated(self) -> bool:
        """True if samples were missing at the end; final once ``blocks`` has ended."""


class FileSource:
    """An audio file in any format that libsndfile reads.

    Args:
        path: the file; bytes that are no text are surrogates, as ``os.fsdecode`` makes them.

    Raises:
        UnscorableError: the file cannot be opened as audio.
    """

    _has_name = True

    def __init__(self, path: str) -> None:
        self._handle, self._before = self._open(path)
        try:
            self._path = path
            self._sound = self._open_sound()
        except BaseException:
            os.close(self._handle)
            raise
        self.sample_rate_hz = int(self._sound.samplerate)
        self.channels = int(self._sound.channels)
        self.container = str(self._sound.format)
        self.subtype = str(self._sound.subtype)
        self.full_scale = _FULL_SCALE.get(self.subtype, 1.0)
        self._truncated = _log_says_truncated(self._sound.extra_info)
        self._begun = False

    def _open(self, path: str) -> tuple[int, os.stat_result]:
        return _open_regular(path)

    def _open_sound(self) -> Any:
        soundfile = load_library("soundfile")

        if self._before.st_size == 0:
            raise UnscorableError(Status.EMPTY, "the file has no bytes")
        try:
            sound = _reader()(self._readable(), closefd=False)
        except soundfile.LibsndfileError as error:
            detail = error.error_string.rstrip(".")
            raise UnscorableError(Status.UNREADABLE, f"no audio format that can be decoded ({detail})") from error
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise UnscorableError(Status.UNREADABLE, f"cannot be decoded ({error})") from error
        if not LOWEST_RATE_HZ <= sound.samplerate <= HIGHEST_RATE_HZ:
            sound.close()
            raise UnscorableError(Status.UNREADABLE, f"its header claims a sample rate of {sound.samplerate} Hz")
        return sound

    def _readable(self) -> Any:
        # By descriptor, so that the extension decides nothing; on Windows C libraries do not share those.
        if os.name != "nt":
            return self._handle
        return self._path if self._has_name else open(self._handle, "rb", closefd=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sound.close()
        os.close(self._handle)

    @property
    def truncated(self) -> bool:
        """True if the file ends before its header says, or broke while it was read."""
        return self._truncated

    @property
    def stamp(self) -> Stamp:
        """State of the file when it was opened."""
        return stamp_of(self._before)

    @property
    def changed(self) -> bool:
        """True if the file was written to since it was opened."""
        after = os.fstat(self._handle)
        return (after.st_size, after.st_mtime_ns) != (self._before.st_size, self._before.st_mtime_ns)

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield all samples from the start, float32 (frames, channels).

        Raises:
            UnscorableError: nothing at all could be decoded although the header announces samples.
        """
        soundfile = load_library("soundfile")

        block_frames = max(1, BLOCK_VALUES // self.channels)
        announced = int(self._sound.frames)
        delivered = 0
        detail = ""
        try:
            if self._begun and self._sound.can_go_back:
                self._sound.seek(0)
            self._begun = True
            while True:
                block = self._sound.read(block_frames, dtype="float32", always_2d=True)
                if not len(block):
                    break
                delivered += len(block)
                yield block
        except soundfile.SoundFileError as error:
            detail = str(error)
            self._truncated = True
            for block in self._rescue(delivered, block_frames):
                delivered += len(block)
                yield block
        if announced - delivered > MISSING_S * self.sample_rate_hz:
            self._truncated = True
        if not delivered and (detail or announced > 0):
            raise UnscorableError(
                Status.UNREADABLE, f"no sample could be decoded {f'({detail})' if detail else ''}".strip()
            )

    def _rescue(self, position: int, block_frames: int) -> Iterator[NDArray[np.float32]]:
        """Yield what stands between the last whole block and the place where the stream broke."""
        soundfile = load_library("soundfile")

        # A decoder that has failed may refuse to go back; a fresh one stops no earlier than the fault itself.
        self._sound.close()
        os.lseek(self._handle, 0, os.SEEK_SET)
        try:
            self._sound = self._open_sound()
            self._sound.seek(position)
            for _ in range(0, block_frames, RESCUE_FRAMES):
                block = self._sound.read(RESCUE_FRAMES, dtype="float32", always_2d=True)
                if not len(block):
                    return
                yield block
        except (soundfile.SoundFileError, UnscorableError):
            return


class ArraySource:
    """Samples in memory.

    Args:
        samples: (samples,) or (samples, channels), floating point at full scale ±1 or signed integers.
        sample_rate_hz: their rate.

    Raises:
        UnscorableError: the array is not audio.
    """

    full_scale = 1.0
    truncated = False

    def __init__(self, samples: NDArray[Any], sample_rate_hz: int) -> None:
        array = np.asarray(samples)
        if array.ndim == 1:
            array = array[:, np.newaxis]
        if array.ndim != 2 or array.shape[1] == 0:
            raise UnscorableError(
                Status.UNREADABLE,
                f"samples of shape {np.shape(samples)} are not (samples,) or (samples, channels)",
            )
        if array.dtype.kind not in "fi":
            raise UnscorableError(
                Status.UNREADABLE, f"samples of type {array.dtype} are neither floats nor signed integers"
            )
        if not LOWEST_RATE_HZ <= sample_rate_hz <= HIGHEST_RATE_HZ:
            raise UnscorableError(Status.UNREADABLE, f"a sample rate of {sample_rate_hz} Hz is not possible")
        self._array = array
        self._gain = 1.0 if array.dtype.kind == "f" else 1.0 / -float(np.iinfo(array.dtype).min)
        self.sample_rate_hz = int(sample_rate_hz)
        self.channels = array.shape[1]

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield all samples from the start, float32 (frames, channels)."""
        block_frames = max(1, BLOCK_VALUES // self.channels)
        for start in range(0, len(self._array), block_frames):
            block = self._array[start : start + block_frames]
            if self._gain != 1.0:
                block = block * self._gain
            with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite, and is then reported
                yield np.ascontiguousarray(block, dtype=np.float32)


class Resampler:
    """A stream at one rate turned into a stream at the model's rate."""

    def __init__(self, sample_rate_hz: int, target_rate_hz: int = SAMPLE_RATE_HZ) -> None:
        self._stream: Any = None
        if sample_rate_hz != target_rate_hz:
            self._idle = _idle_streams(sample_rate_hz, target_rate_hz)
            try:
                self._stream = self._idle.pop()
            except IndexError:
                soxr = load_library("soxr")

                self._stream = soxr.ResampleStream(sample_rate_hz, target_rate_hz, 1, dtype="float32", quality="HQ")

    def push(self, samples: NDArray[np.float32], *, last: bool = False) -> NDArray[np.float32]:
        """Return what is ready, float32 (samples,), after more samples (samples,) came in; none may after the last."""
        if self._stream is None:
            return samples
        resampled: NDArray[np.float32] = self._stream.resample_chunk(np.ascontiguousarray(samples), last=last)
        if last:
            self._stream.clear()
            self._idle.append(self._stream)
            del self._stream
        return resampled


@lru_cache(maxsize=8)
def _idle_streams(sample_rate_hz: int, target_rate_hz: int) -> deque[Any]:  # noqa: ARG001 - the key
    """Streams that have come to their end, as good as new: their filters and memory need not be made again."""
    return deque(maxlen=IDLE_STREAMS)


@cache
def _reader() -> Any:
    """Class of libsndfile's readers for who reads from the start to the end.

    soundfile seeks to where it already stands before and after every block of a file that it can seek in, and there
    the decoder of MP3 loses a piece.
    """
    soundfile = load_library("soundfile")

    class Reader(soundfile.SoundFile):  # type: ignore[misc, name-defined]  # a library that is loaded when it is needed
        @property
        def can_go_back(self) -> bool:
            return bool(super().seekable())

        def seekable(self) -> bool:
            return False

    return Reader


def stamp_of(status: os.stat_result) -> Stamp:
    """Size in bytes and time of the last change, in nanoseconds since 1970 as far as 64 bits reach."""
    return Stamp(status.st_size, max(-(2**63), min(status.st_mtime_ns, 2**63 - 1)))


def path_stamp(path: str | None) -> Stamp | None:
    """`stamp_of` the file of that name; None where there is none."""
    try:
        return None if path is None else stamp_of(os.stat(path))  # noqa: PTH116 - the name stays as it was typed
    except (OSError, ValueError):
        return None


def _open_regular(path: str) -> tuple[int, os.stat_result]:
    """Open a regular file without ever waiting for one that is something else."""
    try:
        # Looked at before it is opened: opening a device can have effects, opening a pipe can wait for ever.
        _refuse_irregular(os.stat(path))  # noqa: PTH116 - a name with a zero byte must reach the handler
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise _unscorable(error) from error
    try:
        status = os.fstat(handle)
        _refuse_irregular(status)
    except BaseException:
        os.close(handle)
        raise
    return handle, status


def _refuse_irregular(status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    kinds = {
        stat.S_IFIFO: "a named pipe",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFSOCK: "a socket",
    }
    kind = kinds.get(stat.S_IFMT(status.st_mode), "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file")
    raise UnscorableError(Status.NOT_A_FILE, f"{kind}, not a recording")


def _unscorable(error: OSError | ValueError) -> UnscorableError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return UnscorableError(Status.NOT_FOUND, "no such file")
    if isinstance(error, PermissionError):
        return UnscorableError(Status.NO_PERMISSION, "no permission to read it")
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return UnscorableError(Status.NOT_FOUND, "a symbolic link that leads to itself")
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    # A name that no file system can hold (too long, a zero byte) names nothing.
    nameless = isinstance(error, ValueError) or error.errno in (errno.ENAMETOOLONG, errno.EINVAL)
    return UnscorableError(Status.NOT_FOUND if nameless else Status.UNREADABLE, text)


def _log_says_truncated(log: str) -> bool:
    """Look in libsndfile's notes for signs that a file holds less than it announces."""
    if any(sign in log for sign in _BREAK_SIGNS):
        return True
    sizes = [(int(claimed), int(real)) for claimed, real in _SHORTENED.findall(log)]
    return any(real < claimed < _UNKNOWN_SIZE for claimed, real in sizes)
