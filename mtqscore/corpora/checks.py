"""Checks of a corpus before training: headers, sample rates, one recording in two splits."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, islice
from pathlib import Path
from typing import TypeVar

from mtqscore.audio.sources import HIGHEST_RATE_HZ, LOWEST_RATE_HZ
from mtqscore.base.libraries import load_library
from mtqscore.base.text import printable
from mtqscore.corpora.corpus import Advance
from mtqscore.labels.table import SPLITS, Fault, LabelledRecording
from mtqscore.targets import SAMPLE_RATE_HZ, STFT_SAMPLES, TARGETS

Result = TypeVar("Result")

THREADS = 8
_PIECE_BYTES = 4096


def check_headers(recordings: Sequence[LabelledRecording], advance: Advance) -> tuple[list[Fault], list[str]]:
    """Open every recording in threads, without decoding it; return faults of some, and notes on the others."""
    faults: list[Fault] = []
    rates: Counter[int] = Counter()
    for done, (recording, (rate_hz, problem)) in enumerate(_in_threads(_header, recordings), start=1):
        if problem:
            faults.append(Fault(recording.line, f"{recording.path}: {problem}"))
        elif rate_hz:
            rates[rate_hz] += 1
        advance(done, len(recordings))
    others = {rate_hz: count for rate_hz, count in sorted(rates.items()) if rate_hz != SAMPLE_RATE_HZ}
    if not others:
        return faults, []
    listed = ", ".join(f"{count:,} at {rate_hz} Hz" for rate_hz, count in others.items())
    return faults, [f"{listed}: resampled to {SAMPLE_RATE_HZ} Hz when they are read"]


def _header(recording: LabelledRecording) -> tuple[int, str]:
    """Sample rate of a recording, and what is wrong with it."""
    soundfile = load_library("soundfile")
    try:
        found = os.stat(recording.path)  # noqa: PTH116 - as in the manifest
        regular = stat.S_ISREG(found.st_mode)
        if not regular or not found.st_size:
            return 0, "the file has no bytes" if regular else "not a regular file"
        # As a stream, since the library takes no names with bytes that are no text.
        with recording.path.open("rb") as stream:
            info = soundfile.info(stream)
    except soundfile.LibsndfileError as error:
        return 0, f"no audio format that can be decoded ({error.error_string.rstrip('.')})"
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        return 0, f"cannot be opened ({getattr(error, 'strerror', None) or error})"
    rate_hz = int(info.samplerate)
    if not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
        return rate_hz, f"its header claims a sample rate of {rate_hz} Hz"
    if info.frames * SAMPLE_RATE_HZ < STFT_SAMPLES * rate_hz:
        return rate_hz, f"{info.frames / rate_hz:.3f} s is too short; {STFT_SAMPLES / SAMPLE_RATE_HZ:g} s at least"
    return rate_hz, ""


def describe(recordings: Sequence[LabelledRecording]) -> list[str]:
    """Count the recordings and labels of each split."""
    counts = Counter(recording.split for recording in recordings)
    notes = [
        f"{len(recordings):,} recordings: " + ", ".join(f"{counts[name]:,} {name}" for name in SPLITS if counts[name])
    ]
    named = Counter(name for recording in recordings for name in recording.labels)
    labelled = ", ".join(f"{named[target.name]:,} {target.name}" for target in TARGETS if named[target.name])
    notes[0] += f"; labels: {labelled or 'none'}"
    bare = sum(not recording.labels for recording in recordings)
    if bare:
        notes.append(f"{bare:,} of {len(recordings):,} recordings carry no label at all")
    return notes


def find_leaks(recordings: Sequence[LabelledRecording]) -> list[str]:
    """Warn of recordings with the same content in two splits, and of test speakers who are in training.

    Only files of the same length in bytes are compared: three short pieces of each first, all of it where these agree.
    What cannot be read is passed over.
    """
    notes = []
    content = _same_content(recordings)
    for one, other in combinations(SPLITS, 2):
        shared = [paths for paths in content if paths.keys() >= {one, other}]
        if shared:
            example = " is ".join(printable(str(shared[0][split])) for split in (other, one))
            notes.append(f"leakage: recordings of {other} that are in {one} too: {len(shared):,}, such as {example}")
    speakers: dict[str, set[str]] = defaultdict(set)
    for recording in recordings:
        speakers[recording.split].add(recording.extra.get("speaker", ""))
    common = (speakers["train"] & speakers["test"]) - {""}
    if common:
        of_all = len(speakers["test"] - {""})
        notes.append(f"leakage: speakers of test that are in train too: {len(common):,} of {of_all:,}")
    return notes


def _same_content(recordings: Sequence[LabelledRecording]) -> list[dict[str, Path]]:
    """Recordings that are equal byte by byte and not all in one split: for each its file in each split."""
    groups: list[list[LabelledRecording]] = [list(recordings)]
    for trait in (_size, _pieces, _whole):
        divided: dict[object, list[LabelledRecording]] = defaultdict(list)
        numbers = (number for number, group in enumerate(groups) for _ in group)
        members = (recording for group in groups for recording in group)
        for number, (recording, value) in zip(numbers, _in_threads(_or_none(trait), members), strict=True):
            if value is not None:
                divided[number, value].append(recording)
        groups = [group for group in divided.values() if len({recording.split for recording in group}) > 1]
    return [{recording.split: recording.path for recording in reversed(group)} for group in groups]


def _in_threads(
    function: Callable[[LabelledRecording], Result], recordings: Iterable[LabelledRecording]
) -> Iterator[tuple[LabelledRecording, Result]]:
    """Yield each recording with the result of a function; in slices, so that no queue grows with the corpus."""
    todo = iter(recordings)
    with ThreadPoolExecutor(THREADS) as pool:
        while some := list(islice(todo, 4096)):
            yield from zip(some, pool.map(function, some), strict=True)


def _or_none(trait: Callable[[Path], Result]) -> Callable[[LabelledRecording], Result | None]:
    def of_recording(recording: LabelledRecording) -> Result | None:
        try:
            return trait(recording.path)
        except (OSError, ValueError):
            return None

    return of_recording


def _size(path: Path) -> int:
    return os.stat(path).st_size  # noqa: PTH116 - as in the manifest


def _pieces(path: Path) -> bytes:
    with path.open("rb") as stream:
        end = os.fstat(stream.fileno()).st_size
        digest = hashlib.blake2b(digest_size=16)
        for place in (0, end // 2, max(0, end - _PIECE_BYTES)):
            stream.seek(place)
            digest.update(stream.read(_PIECE_BYTES))
    return digest.digest()


def _whole(path: Path) -> bytes:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
