"""From one recording to windows for a model: read, judge, mix, resample, cut."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mtqscore.audio.checks import NARROWBAND_RATE_HZ, BandJudge, RawJudge, has_sound, sound_level_db
from mtqscore.audio.inputs import is_remote
from mtqscore.audio.sources import FileSource, Resampler, Source
from mtqscore.audio.windows import SoundWindower, level_weights
from mtqscore.scores import Flag, Status, UnscorableError
from mtqscore.targets import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from numpy.typing import NDArray

VOICES_AT_ONCE = 16
"""Channels that are followed in one pass over a file; more take more passes, not more memory."""

LONG_SILENCE_SAMPLES = SAMPLE_RATE_HZ
"""Less than a second that is left out is not worth a flag."""


def open_recording(path: str) -> FileSource:
    """Open a file of this machine, or one with a scheme such as ``s3://``.

    Raises:
        UnscorableError: it cannot be opened as audio.
        EnvironmentProblemError: a store does not answer, or its library is missing.
    """
    if is_remote(path):
        from mtqscore.audio.download import RemoteSource

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
