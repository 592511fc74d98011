"""From recordings to windows for a model: read, judge, mix, resample, cut; many files ahead, in threads."""

from __future__ import annotations

import math
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mtqscore.audio import ArraySource, FileSource, Resampler, Source
from mtqscore.errors import EnvironmentProblemError
from mtqscore.inputs import Input, is_remote
from mtqscore.judgement import NARROWBAND_RATE_HZ, BandJudge, RawJudge, has_sound, sound_level_db
from mtqscore.scores import Flag, Status, UnscorableError
from mtqscore.spec import SAMPLE_RATE_HZ
from mtqscore.windows import SoundWindower, level_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mtqscore.crew import Crew
    from mtqscore.fetch import Download, FetchAhead

VOICES_AT_ONCE = 16
"""Channels that are followed in one pass over a file; more take more passes, not more memory."""

LONG_SILENCE_SAMPLES = SAMPLE_RATE_HZ
"""Less than a second that is left out is not worth a flag."""

TOGETHER = 16
"""Recordings that are handed out at a time: to take each one as it comes would interrupt those who read the next."""

GATHER_S = 0.2
"""So long they are waited for at most, lest rows come late where files come slowly."""

WINDOWS_AHEAD = 3
"""Windows of one recording that may wait for the model; 2 MB at 10 s a window."""


def open_recording(path: str) -> FileSource:
    """Open a file of this machine, or one with a scheme such as ``s3://``.

    Raises:
        UnscorableError: it cannot be opened as audio.
        EnvironmentProblemError: a store does not answer, or its library is missing.
    """
    if is_remote(path):
        from mtqscore.fetch import RemoteSource

        return RemoteSource(path)
    return FileSource(path)


@dataclass(frozen=True)
class Plan:
    """What decoding needs to know of the model and the options.

    Args:
        channels: mean, each, or a number from 1.
        window_samples: longest window, at the model's rate.
        hop_samples: step between the model's frames.
        min_samples: shortest recording that the model judges, at the model's rate.
    """

    channels: str
    window_samples: int
    hop_samples: int
    min_samples: int


@dataclass(frozen=True, eq=False)
class Window:
    """A piece of one voice.

    Args:
        voice: index of the voice in its recording, in the order of the result.
        samples: float32 (samples,) at the model's rate.
        level_db: level of what sounds in it, in dBFS; minus infinity when nothing does.
    """

    voice: int
    samples: NDArray[np.float32]
    level_db: float

    @property
    def sound(self) -> bool:
        """Whether there is anything to judge."""
        return math.isfinite(self.level_db)


@dataclass(frozen=True)
class Heard:
    """What is known of one voice of a recording after it was read to its end.

    Args:
        channel: ``mean``, a channel number from 1, or empty.
        duration_s: length of what was read.
        sample_rate_hz: the recording's own rate.
        status: ``ok`` if its windows can be scored.
        reason: the fault in words.
        flags: see ``Flag``.
    """

    channel: str
    duration_s: float | None = None
    sample_rate_hz: int | None = None
    status: Status = Status.OK
    reason: str = ""
    flags: tuple[Flag, ...] = ()


Emit = Callable[[Window], None]


class _Voice:
    """One row in the making: a mixdown or a single channel, from raw blocks to windows."""

    def __init__(self, index: int, channel: str, columns: list[int] | None, source: Source, plan: Plan) -> None:
        self._index = index
        self._channel = channel
        self._columns = columns
        self._rate_hz = source.sample_rate_hz
        self._min_samples = plan.min_samples
        self._raw = RawJudge(source.sample_rate_hz, source.full_scale)
        self._band = BandJudge()
        self._resampler = Resampler(source.sample_rate_hz)
        self._windower = SoundWindower(plan.window_samples, plan.hop_samples, plan.min_samples)
        self._lengths: list[int] = []
        self._levels_db: list[float] = []
        self._cancelled = False  # whether the mixdown of sounding channels was silent somewhere
        self.problem: UnscorableError | None = None

    def push(self, block: NDArray[np.float32], emit: Emit) -> None:
        chosen = block if self._columns is None else block[:, self._columns]
        try:
            self._raw.hear(chosen)
        except UnscorableError as error:
            self.problem = error
            return
        mono = np.ascontiguousarray(chosen[:, 0]) if chosen.shape[1] == 1 else chosen.mean(axis=1)
        if not self._cancelled and chosen.shape[1] > 1:
            self._cancelled = has_sound(chosen[:, 0]) and not has_sound(mono)
        for window in self._windower.push(self._resampler.push(mono)):
            self._hand_on(window, emit)

    def finish(self, emit: Emit) -> None:
        rest = self._resampler.push(np.empty(0, np.float32), last=True)
        windows = [*self._windower.push(rest), *self._windower.finish()]
        if self._windower.total_samples >= self._min_samples:
            for window in windows:
                self._hand_on(window, emit)

    def _hand_on(self, window: NDArray[np.float32], emit: Emit) -> None:
        level_db = sound_level_db(window)
        self._lengths.append(len(window))
        self._levels_db.append(level_db)
        if math.isfinite(level_db):
            self._band.hear(window)
        emit(Window(self._index, window, level_db))

    def verdict(self, *, truncated: bool) -> Heard:
        frames = self._raw.frames
        status, reason = self._fault(frames)
        flags = [
            (Flag.UPSAMPLED, self._rate_hz < SAMPLE_RATE_HZ),
            (
                Flag.NARROWBAND,
                status is Status.OK and (self._rate_hz <= NARROWBAND_RATE_HZ or self._band.narrowband),
            ),
            (Flag.CLIPPED, self._raw.clipped),
            (Flag.TRUNCATED, truncated),
            (Flag.SILENT_PARTS, status is Status.OK and self._left_out_samples() >= LONG_SILENCE_SAMPLES),
        ]
        present = tuple(flag for flag, holds in flags if holds)
        return Heard(self._channel, frames / self._rate_hz, self._rate_hz, status, reason, present)

    def _left_out_samples(self) -> int:
        weights = level_weights(self._levels_db)
        return sum(length for length, weight in zip(self._lengths, weights, strict=True) if weight == 0)

    def _fault(self, frames: int) -> tuple[Status, str]:
        if self.problem is not None:
            return self.problem.status, self.problem.reason
        if frames == 0:
            return Status.EMPTY, "no samples"
        if self._windower.total_samples < self._min_samples:
            length_s, least_s = frames / self._rate_hz, self._min_samples / SAMPLE_RATE_HZ
            return (
                Status.TOO_SHORT,
                f"{length_s:.3g} s is shorter than the {least_s:.3g} s that the model needs",
            )
        if not any(map(math.isfinite, self._levels_db)):
            if self._cancelled:
                return Status.SILENT, "the channels cancel each other out; score them with --channels each"
            return Status.SILENT, "no sound above -80 dBFS"
        return Status.OK, ""


def decode(source: Source, plan: Plan, emit: Emit, stopped: Callable[[], bool]) -> list[Heard]:
    """Read one recording to its end.

    Args:
        source: the samples.
        plan: how to cut them.
        emit: takes each window; may wait.
        stopped: asked between blocks whether nobody wants the rest.

    Returns:
        One verdict a voice, in the order of the result.
    """
    voices = _choose_voices(source, plan)
    heard: list[Heard] = []
    for start in range(0, len(voices), VOICES_AT_ONCE):
        group = [
            _Voice(start + offset, channel, columns, source, plan)
            for offset, (channel, columns) in enumerate(voices[start : start + VOICES_AT_ONCE])
        ]
        try:
            for block in source.blocks():
                active = [voice for voice in group if voice.problem is None]
                if stopped() or not active:
                    break
                for voice in active:
                    voice.push(block, emit)
        except UnscorableError as error:
            for voice in group:
                voice.problem = voice.problem or error
        for voice in group:
            if voice.problem is None and not stopped():
                voice.finish(emit)
        heard += [voice.verdict(truncated=source.truncated) for voice in group]
    return heard


def _choose_voices(source: Source, plan: Plan) -> list[tuple[str, list[int] | None]]:
    if plan.channels == "mean":
        return [("mean", None)]
    if plan.channels == "each":
        return [(str(column + 1), [column]) for column in range(source.channels)]
    number = int(plan.channels)
    if number > source.channels:
        counted = "1 channel" if source.channels == 1 else f"{source.channels} channels"
        raise UnscorableError(Status.NO_CHANNEL, f"channel {number} was asked for, the recording has {counted}")
    return [(plan.channels, [number - 1])]


class Recording:
    """One recording on its way: its windows can be taken while it is still being read.

    Args:
        item: the file, or the array with its rate.
        plan: how to cut it.
        stop: set when nobody wants the rest.
        crew: whose threads read it.
        stir: called when it is read, if it is ``awaited``, and when too many of its windows wait to be taken.
        download: of a file that is not on this machine.
    """

    def __init__(
        self,
        item: Input | ArraySource,
        plan: Plan,
        stop: threading.Event,
        crew: Crew,
        stir: Callable[[], None],
        download: Download | None = None,
    ) -> None:
        self.path = item.path if isinstance(item, Input) else None
        self.size_bytes: int | None = None
        self.modified_ns: int | None = None
        self.channel_count: int | None = None
        self._item = item
        self._plan = plan
        self._stop = stop
        self._crew = crew
        self._stir = stir
        self._download = download
        self.awaited = self.is_read = False
        # Windows and verdicts of short recordings, by the thousand: one hand-over each, and no lock of Python's own.
        self._ready: queue.SimpleQueue[tuple[Window | list[Heard], ...]] = queue.SimpleQueue()
        self._held: tuple[Window, ...] = ()
        self._given = self._taken = 0
        self._fault: EnvironmentProblemError | None = None

    def read(self) -> None:
        """Read it to its end, unless nobody wants it any more; runs in a thread and never raises."""
        if self._stop.is_set():
            return
        heard = [Heard(self._channel(), status=Status.UNREADABLE, reason="cannot be read")]
        try:
            heard = self._read()
        except UnscorableError as error:
            heard = [Heard(self._channel(), status=error.status, reason=error.reason)]
        except EnvironmentProblemError as error:
            heard, self._fault = [], error
        except Exception as error:  # one bad recording must not cost the others their rows
            reason = f"cannot be read ({type(error).__name__}: {error})"
            heard = [Heard(self._channel(), status=Status.UNREADABLE, reason=reason)]
        finally:  # whatever happens, for who takes the windows waits for their end
            held, self._held = self._held, ()  # nothing of it stays in memory here
            self._ready.put((*held, heard))
            self.is_read = True
            if self.awaited:
                self._stir()

    def take(self) -> Iterator[Window | list[Heard]]:
        """Yield its windows as they come, and at the end the verdicts.

        Raises:
            EnvironmentProblemError: no recording could be read on this machine.
        """
        while True:
            items = self._ready.get()
            self._taken += 1
            self._crew.nudge()
            if self._fault is not None:
                raise self._fault
            yield from items
            if isinstance(items[-1], list):
                return

    def _read(self) -> list[Heard]:
        if isinstance(self._item, ArraySource):
            self.channel_count = self._item.channels
            return decode(self._item, self._plan, self._emit, self._stop.is_set)
        if self._item.status is not Status.OK:
            raise UnscorableError(self._item.status, self._item.reason)
        with self._open(self._item.path) as source:
            self.size_bytes, self.modified_ns = source.stamp
            self.channel_count = source.channels
            heard = decode(source, self._plan, self._emit, self._stop.is_set)
            if source.changed:
                raise UnscorableError(Status.CHANGED, "the file was written to while it was read; score it again")
            return heard

    def _open(self, path: str) -> FileSource:
        if self._download is None:
            return FileSource(path)
        from mtqscore.fetch import RemoteSource

        return RemoteSource(path, self._download)

    def _channel(self) -> str:
        return "" if self._plan.channels == "each" else self._plan.channels

    def _emit(self, window: Window) -> None:
        """Hand on the window before this one, and wait where too many are not taken yet."""
        if self._held:
            if not self.has_room():
                self._stir()
                self._crew.wait_until(self.has_room)
            self._ready.put(self._held)
            self._given += 1
        self._held = (window,)

    def has_room(self) -> bool:
        """Whether it can be read on before some of it is taken."""
        return self._given - self._taken < WINDOWS_AHEAD or self._stop.is_set()


class DecodeAhead(AbstractContextManager["DecodeAhead"]):
    """Has recordings read, a bounded number ahead, and hands them out in order.

    Args:
        plan: how to cut them.
        crew: whose threads read.
        ahead: recordings that may be started or finished before they are wanted.
    """

    def __init__(self, plan: Plan, crew: Crew, ahead: int) -> None:
        self._plan = plan
        self._crew = crew
        self._ahead = ahead
        self._stop = threading.Event()
        self._stirred = threading.Event()
        self._fetch_ahead: FetchAhead | None = None

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._crew.nudge()
        if self._fetch_ahead is not None:
            self._fetch_ahead.close()

    def recordings(self, items: Iterable[Input | ArraySource]) -> Iterator[Recording]:
        """Yield the recordings in order; the first are being read already."""
        waiting: deque[Recording] = deque()
        for item in items:
            recording = Recording(item, self._plan, self._stop, self._crew, self._stirred.set, self._fetch(item))
            # Threads take them in this order, so the one that is wanted is never stuck behind a full queue.
            self._crew.read(recording.read)
            waiting.append(recording)
            if len(waiting) >= self._ahead + TOGETHER:
                self._gather([waiting[index] for index in range(TOGETHER)])
                for _ in range(TOGETHER):
                    yield waiting.popleft()
        yield from waiting

    def _gather(self, recordings: list[Recording]) -> None:
        """Wait until the last of some is read, or one of them waits to be taken."""
        self._stirred.clear()
        recordings[-1].awaited = True
        if not recordings[-1].is_read and all(one.has_room() for one in recordings):
            self._stirred.wait(GATHER_S)

    def _fetch(self, item: Input | ArraySource) -> Download | None:
        """Begin to fetch what is not on this machine."""
        if not isinstance(item, Input) or item.status is not Status.OK or not is_remote(item.path):
            return None
        if self._fetch_ahead is None:
            from mtqscore.fetch import FetchAhead

            self._fetch_ahead = FetchAhead(self._stop)
        return self._fetch_ahead.fetch(item.path)
