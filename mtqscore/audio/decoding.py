"""One recording as windows for a model: read, check, mix, resample, cut."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mtqscore.audio.checks import NARROWBAND_RATE_HZ, BandwidthDetector, ClippingDetector, has_sound, sound_level_db
from mtqscore.audio.inputs import is_remote
from mtqscore.audio.sources import FileSource, Resampler, Source
from mtqscore.audio.windows import SoundWindower, Window, level_weights
from mtqscore.scores import Flag, Status, UnscorableError
from mtqscore.targets import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mtqscore.audio.download import Download

CHANNELS_AT_ONCE = 16
"""Channels that are followed in one pass over a file; more take more passes, not more memory."""

WINDOWS_A_STEP = 4
"""Windows of one recording that are handed on together; 2.5 MB at 10 s a window."""

BLOCKS_A_STEP = 16
"""Blocks that are decoded at once even if no window comes of them, as of silence: so long an end waits at most."""

LONG_SILENCE_SAMPLES = SAMPLE_RATE_HZ
"""Less than a second that is left out is not worth a flag."""


def open_recording(path: str, download: Download | None = None) -> FileSource:
    """Open a file of this machine, or one with a scheme such as ``s3://``, which may be under way already.

    Raises:
        UnscorableError: it cannot be opened as audio.
        EnvironmentProblemError: a store does not answer, or its library is missing.
    """
    if is_remote(path):
        from mtqscore.audio.download import RemoteSource  # fsspec and its connections only where they are needed

        return RemoteSource(path, download)
    return FileSource(path)


@dataclass(frozen=True)
class DecodingConfig:
    """Options of decoding, from those of the assessment and the model.

    Args:
        channels: mean, each, or a number from 1.
        window_samples: longest window, at the model's rate.
        hop_samples: step between the model's frames.
        min_samples: shortest recording that the model scores, at the model's rate.
    """

    channels: str
    window_samples: int
    hop_samples: int
    min_samples: int


@dataclass(frozen=True)
class ChannelResult:
    """Findings on one channel of a recording, or its mixdown, after it was read to its end.

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


class ChannelStream:
    """A mixdown or a single channel on its way from blocks to windows."""

    def __init__(
        self, index: int, channel: str, columns: list[int] | None, source: Source, config: DecodingConfig
    ) -> None:
        self._index = index
        self._channel = channel
        self._columns = columns
        self._rate_hz = source.sample_rate_hz
        self._min_samples = config.min_samples
        self._clipping = ClippingDetector(source.sample_rate_hz, source.full_scale)
        self._bandwidth = BandwidthDetector()
        self._resampler = Resampler(source.sample_rate_hz)
        self._windower = SoundWindower(config.window_samples, config.hop_samples, config.min_samples)
        self._lengths: list[int] = []
        self._levels_db: list[float] = []
        self._cancelled = False  # whether the mixdown of sounding channels was silent somewhere
        self.fault: UnscorableError | None = None

    def push(self, block: NDArray[np.float32]) -> Iterator[Window]:
        """Take a block (frames, channels) and yield the windows that are then certain."""
        chosen = block if self._columns is None else block[:, self._columns]
        try:
            self._clipping.update(chosen)
        except UnscorableError as error:
            self.fault = error
            return
        mono = np.ascontiguousarray(chosen[:, 0]) if chosen.shape[1] == 1 else chosen.mean(axis=1)
        if not self._cancelled and chosen.shape[1] > 1:
            self._cancelled = has_sound(chosen[:, 0]) and not has_sound(mono)
        yield from self._measured(self._windower.push(self._resampler.push(mono)))

    def finish(self) -> Iterator[Window]:
        """Yield the windows that are left."""
        rest = self._resampler.push(np.empty(0, np.float32), last=True)
        windows = [*self._windower.push(rest), *self._windower.finish()]
        if self._windower.total_samples >= self._min_samples:
            yield from self._measured(windows)

    def _measured(self, windows: Iterable[NDArray[np.float32]]) -> Iterator[Window]:
        for samples in windows:
            window = Window(self._index, samples, sound_level_db(samples))
            self._lengths.append(len(samples))
            self._levels_db.append(window.level_db)
            if window.has_sound:
                self._bandwidth.update(samples)
            yield window

    def result(self, *, truncated: bool) -> ChannelResult:
        """Findings at the end."""
        frames = self._clipping.frames
        status, reason = self._status(frames)
        is_ok = status is Status.OK
        flags = {
            Flag.UPSAMPLED: self._rate_hz < SAMPLE_RATE_HZ,
            Flag.NARROWBAND: is_ok and (self._rate_hz <= NARROWBAND_RATE_HZ or self._bandwidth.narrowband),
            Flag.CLIPPED: self._clipping.clipped,
            Flag.TRUNCATED: truncated,
            Flag.SILENT_PARTS: is_ok and self._left_out_samples() >= LONG_SILENCE_SAMPLES,
        }
        present = tuple(flag for flag, holds in flags.items() if holds)
        return ChannelResult(self._channel, frames / self._rate_hz, self._rate_hz, status, reason, present)

    def _left_out_samples(self) -> int:
        weights = level_weights(self._levels_db)
        return sum(length for length, weight in zip(self._lengths, weights, strict=True) if weight == 0)

    def _status(self, frames: int) -> tuple[Status, str]:
        if self.fault is not None:
            return self.fault.status, self.fault.reason
        if frames == 0:
            return Status.EMPTY, "no samples"
        if self._windower.total_samples < self._min_samples:
            length_s, least_s = frames / self._rate_hz, self._min_samples / SAMPLE_RATE_HZ
            return Status.TOO_SHORT, f"{length_s:.3g} s is shorter than the {least_s:.3g} s that the model needs"
        if not any(map(math.isfinite, self._levels_db)):
            if self._cancelled:
                return Status.SILENT, "the channels cancel each other out; score them with --channels each"
            return Status.SILENT, "no sound above -80 dBFS"
        return Status.OK, ""


def decode(
    source: Source, config: DecodingConfig
) -> Generator[list[Window], None, tuple[list[Window], list[ChannelResult]]]:
    """Read one recording to its end.

    Args:
        source: the samples.
        config: the channels, and the cut.

    Yields:
        From time to time the windows that are then certain, if there are any.

    Returns:
        The last windows, and one result a channel stream, in their order.
    """
    chosen = _choose_channels(source, config)
    results: list[ChannelResult] = []
    windows: list[Window] = []
    for start in range(0, len(chosen), CHANNELS_AT_ONCE):
        streams = [
            ChannelStream(start + offset, channel, columns, source, config)
            for offset, (channel, columns) in enumerate(chosen[start : start + CHANNELS_AT_ONCE])
        ]
        try:
            for number, block in enumerate(source.blocks(), start=1):
                active = [stream for stream in streams if stream.fault is None]
                if not active:
                    break
                windows += [window for stream in active for window in stream.push(block)]
                if len(windows) >= WINDOWS_A_STEP or number % BLOCKS_A_STEP == 0:
                    yield windows
                    windows = []
        except UnscorableError as error:
            for stream in streams:
                stream.fault = stream.fault or error
        windows += [window for stream in streams if stream.fault is None for window in stream.finish()]
        results += [stream.result(truncated=source.truncated) for stream in streams]
    return windows, results


def _choose_channels(source: Source, config: DecodingConfig) -> list[tuple[str, list[int] | None]]:
    """Name and columns of every channel stream."""
    if config.channels == "mean":
        return [("mean", None)]
    if config.channels == "each":
        return [(str(column + 1), [column]) for column in range(source.channels)]
    number = int(config.channels)
    if number > source.channels:
        counted = "1 channel" if source.channels == 1 else f"{source.channels} channels"
        raise UnscorableError(Status.NO_CHANNEL, f"channel {number} was asked for, the recording has {counted}")
    return [(config.channels, [number - 1])]
