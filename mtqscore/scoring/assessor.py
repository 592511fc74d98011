"""The pipeline: recordings in, assessments out, in the same order, in bounded memory."""

from __future__ import annotations

import copy
import math
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from mtqscore.audio.decoding import DecodingConfig
from mtqscore.audio.inputs import Input
from mtqscore.audio.sources import ArraySource
from mtqscore.audio.windows import Window, join_frames, level_weights, pool_scores
from mtqscore.base.machine import usable_cores
from mtqscore.config import AssessConfig
from mtqscore.errors import UsageError
from mtqscore.models import load_model
from mtqscore.scores import Assessment, FrameScores, Scores, Status, UnscorableError
from mtqscore.scoring.batching import Batches
from mtqscore.scoring.engine import LoadedModel, as_inputs
from mtqscore.scoring.reading import Recording, read_ahead
from mtqscore.scoring.session import Scorer
from mtqscore.targets import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray


class _Pending:
    """One recording whose windows are not all scored yet; its lists have an entry a window, by channel stream."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.lengths: dict[int, list[int]] = {}
        self.levels_db: dict[int, list[float]] = {}
        self.scores: dict[int, dict[int, NDArray[np.float32]]] = {}
        self.frames: dict[int, dict[int, NDArray[np.float32]]] = {}
        self._waiting = 0

    def add(self, window: Window) -> _Place:
        """Note a window and return its place."""
        lengths = self.lengths.setdefault(window.stream, [])
        lengths.append(len(window.samples))
        self.levels_db.setdefault(window.stream, []).append(window.level_db)
        self._waiting += window.has_sound
        return self, window.stream, len(lengths) - 1

    def note(self, stream: int, position: int, scores: NDArray[np.float32], frames: NDArray[np.float32] | None) -> None:
        """Put the scores of a window where they belong."""
        self.scores.setdefault(stream, {})[position] = scores
        self._waiting -= 1
        if frames is not None:
            self.frames.setdefault(stream, {})[position] = frames

    @property
    def complete(self) -> bool:
        """True once it was read to its end and all its windows are scored."""
        return bool(self.recording.results) and not self._waiting


_Place = tuple[_Pending, int, int]
"""Recording, channel stream and position of a window."""


class Assessor:
    """Scores recordings with one model; hold it to score many without loading the model again.

    Threads may share one: it keeps nothing between calls but the model.

    Args:
        config: the options; None is all defaults.
        notify: takes messages while a model is fetched from the Hub; None fetches in silence.

    Attributes:
        model: name@version of the model.
        model_sha256: checksum of its file, hexadecimal.
        provider: the execution provider that really runs it.
        device_note: why ``auto`` left a GPU idle; empty when it did not.
        targets: names of the scores.
        loaded: all these, as every engine has them.
        scorer: the loaded model, for what scores pieces of its own.
        threads: that decode, and as many that score on the CPU.

    Raises:
        UsageError: the model is unknown or not a model of mtqscore.
        EnvironmentProblemError: the device does not work, or a bundled model is damaged.

    Example:
        >>> import numpy as np
        >>> assessor = Assessor()
        >>> noise = np.random.default_rng(0).standard_normal(32_000) * 0.05
        >>> result = assessor.assess_array(noise, 16_000)
        >>> result.status
        <Status.OK: 'ok'>
        >>> 1 <= result.scores.n_mos <= 5
        True
    """

    def __init__(self, config: AssessConfig | None = None, notify: Callable[[str], None] | None = None) -> None:
        config = config or AssessConfig()
        self._begin(Scorer(load_model(config.model, notify), config.device, config.precision), config)

    @classmethod
    def over(cls, scorer: Scorer, config: AssessConfig) -> Assessor:
        """Return an assessor over a model that is loaded already, on whatever device; the rest by ``config``."""
        assessor = cls.__new__(cls)
        assessor._begin(scorer, config)
        return assessor

    def _begin(self, scorer: Scorer, config: AssessConfig) -> None:
        info = scorer.info
        self.config, self.scorer = config, scorer
        self.loaded = LoadedModel(info.label, scorer.sha256, scorer.provider, scorer.device_note, info.targets)
        self.model, self.model_sha256, self.provider, self.device_note, self.targets = self.loaded
        self.threads = config.threads or usable_cores()
        self._decoding = DecodingConfig(config.channels, info.window_samples, info.frame_hop_samples, info.min_samples)

    def with_threads(self, threads: int) -> Assessor:
        """Return an assessor with the same model and options that uses so many threads."""
        other = copy.copy(self)
        other.threads = threads
        return other

    def assess_file(self, path: str | os.PathLike[str]) -> Assessment:
        """Score one file.

        Args:
            path: any format, rate, channel count and length that libsndfile reads.

        Returns:
            Its assessment. A file that cannot be scored has a status other than ``ok``; it raises nothing.

        Raises:
            UsageError: the channels are ``each``, which gives several results; use ``assess_files``.
        """
        self._refuse_each()
        return next(self.assess_files([path]))

    def assess_array(self, samples: NDArray[Any], sample_rate_hz: int) -> Assessment:
        """Score samples in memory; the result is that of a file with the same samples.

        Args:
            samples: (samples,) or (samples, channels), floats at full scale ±1 or signed integers.
            sample_rate_hz: their rate.

        Returns:
            Its assessment, without a path.

        Raises:
            UsageError: the channels are ``each``, or the array is not audio.
        """
        self._refuse_each()
        try:
            source = ArraySource(samples, sample_rate_hz)
        except UnscorableError as error:
            raise UsageError(error.reason) from error
        return next(self._assess([source]))

    def assess_files(
        self, paths: Iterable[str | os.PathLike[str] | Input], progress: Callable[[float], None] | None = None
    ) -> Iterator[Assessment]:
        """Score many files in batches; files are read ahead, rows come in the order of the paths.

        Args:
            paths: files, or what ``find_inputs`` returned for folders and patterns.
            progress: called from time to time with the seconds of audio that were scored since the last call.

        Yields:
            One assessment a file, or one a channel with channels ``each``.

        Raises:
            EnvironmentProblemError: the model failed while it ran.
        """
        yield from self._assess(as_inputs(paths), progress)

    def _refuse_each(self) -> None:
        if self.config.channels == "each":
            raise UsageError("channels 'each' gives one result a channel; use assess_files")

    def _assess(
        self, items: Iterable[Input | ArraySource], progress: Callable[[float], None] | None = None
    ) -> Iterator[Assessment]:
        """Sources → windows → batches → session → rows, in order."""
        workers = self.threads if self.scorer.on_cpu else 1
        pending: deque[_Pending] = deque()
        with _pool(self.threads, "decode") as decoding, _pool(workers, "score") as scoring:
            batches: Batches[_Place] = Batches(self.scorer, self.config.batch_s, workers, scoring)
            with closing(read_ahead(items, self._decoding, decoding)) as recordings:
                for scored in batches.score(_windows(recordings, pending)):
                    for (place, stream, position), scores, frames in scored:
                        # A copy, since a view would keep the whole batch in memory.
                        place.note(stream, position, scores, frames.copy() if self.config.frames else None)
                        if progress is not None:
                            progress(place.lengths[stream][position] / SAMPLE_RATE_HZ)
                    while pending and pending[0].complete:
                        yield from self._finish(pending.popleft())

    def _finish(self, done: _Pending) -> Iterator[Assessment]:
        """Yield the rows of a recording."""
        recording = done.recording
        for stream, result in enumerate(recording.results):
            status, reason, scores, frames = result.status, result.reason, None, None
            if status is Status.OK:
                lengths, scored = done.lengths[stream], done.scores[stream]
                weights = np.asarray(lengths) * level_weights(done.levels_db[stream])
                pooled = pool_scores([scored[at] for at in scored], [weights[at] for at in scored])
                if np.isfinite(pooled).all():
                    scores = self._name_scores(pooled)
                    frames = self._join(done, stream) if self.config.frames else None
                else:
                    status, reason = Status.NON_FINITE, "the model found no finite score for it"
            yield Assessment(
                path=recording.path,
                channel=result.channel,
                duration_s=result.duration_s,
                sample_rate_hz=result.sample_rate_hz,
                status=status,
                reason=reason,
                flags=result.flags,
                scores=scores,
                frames=frames,
                model=self.model,
                model_sha256=self.model_sha256,
                provider=self.provider,
                options=self.config,
                precision=self.config.precision,
                size_bytes=recording.stamp.size_bytes,
                modified_ns=recording.stamp.modified_ns,
                etag=recording.stamp.etag,
                channel_count=recording.channel_count,
            )

    def _name_scores(self, pooled: NDArray[np.float64]) -> Scores:
        named = {name: float(value) for name, value in zip(self.targets, pooled, strict=True)}
        # A model of other targets is no scorer, but may be a teacher in training.
        s_mos, n_mos, g_mos = (named.pop(name, math.nan) for name in ("s_mos", "n_mos", "g_mos"))
        return Scores(s_mos, n_mos, g_mos, named)

    def _join(self, done: _Pending, stream: int) -> FrameScores:
        lengths, hop = done.lengths[stream], self._decoding.hop_samples
        known = done.frames.get(stream, {})
        values = join_frames([known.get(at) for at in range(len(lengths))], lengths, hop, len(self.targets))
        return FrameScores(hop / SAMPLE_RATE_HZ, self.targets, values)


def _windows(
    recordings: Iterable[tuple[Recording, Iterator[list[Window]]]], pending: deque[_Pending]
) -> Iterator[list[tuple[_Place, NDArray[np.float32]]]]:
    """Yield the windows that are to be scored, some at a time, and note the recordings that they are of."""
    for recording, steps in recordings:
        noted = _Pending(recording)
        pending.append(noted)
        for windows in steps:
            places = [(noted.add(window), window) for window in windows]
            yield [(place, window.samples) for place, window in places if window.has_sound]


@contextmanager
def _pool(threads: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Threads whose work ends with this context; what has not begun by then is not done any more."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@lru_cache(maxsize=2)
def loaded_assessor(config: AssessConfig) -> Assessor:
    """Return an assessor with these options; the last two stay loaded."""
    return Assessor(config)


def assess_file(path: str | os.PathLike[str], config: AssessConfig | None = None) -> Assessment:
    """Score one file; the model stays loaded for the next call with the same options.

    Args:
        path: any format, rate, channel count and length that libsndfile reads.
        config: the options; None is all defaults.

    Returns:
        Its assessment. A file that cannot be scored has a status other than ``ok``; it raises nothing.

    Raises:
        UsageError: the model is unknown, or the channels are ``each``.
        EnvironmentProblemError: the device or the model does not work.

    Example:
        >>> assess_file("no-such-file.wav").status
        <Status.NOT_FOUND: 'not_found'>
    """
    return loaded_assessor(config or AssessConfig()).assess_file(path)


def assess_array(samples: NDArray[Any], sample_rate_hz: int, config: AssessConfig | None = None) -> Assessment:
    """Score samples in memory; the model stays loaded for the next call with the same options.

    Args:
        samples: (samples,) or (samples, channels), floats at full scale ±1 or signed integers.
        sample_rate_hz: their rate.
        config: the options; None is all defaults.

    Returns:
        Its assessment, without a path.

    Raises:
        UsageError: the array is not audio, the model is unknown, or the channels are ``each``.
        EnvironmentProblemError: the device or the model does not work.

    Example:
        >>> import numpy as np
        >>> assess_array(np.zeros(16_000, dtype=np.int16), 16_000).status
        <Status.SILENT: 'silent'>
    """
    return loaded_assessor(config or AssessConfig()).assess_array(samples, sample_rate_hz)
