"""Split a processed recording into its speech and its noise part when only the signals themselves are known.

Black-box method of Fingscheidt and Suhadi (2007): the ratio of the processed to the unprocessed short-time spectrum
is a gain that is applied to clean speech and noise apart. The gain never exceeds one, so what a processor adds of
its own cannot be explained; that rest is reported, and counted where a listener hears it: as distortion while
somebody speaks, as noise in the pauses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter1d

from mtqscore.audio.levels import FRAME_S, Signal, active_frames, level_db
from mtqscore.labels.spectral import forward, inverse

_WINDOW_S = 0.032


@dataclass(frozen=True)
class Split:
    """The parts of a processed recording; speech + noise is the processed recording.

    Args:
        speech: speech part, shape (samples,), with the rest that falls on speech.
        noise: noise part, shape (samples,), with the rest that falls on pauses.
        rest_db: level of the unexplained rest relative to the processed recording.
    """

    speech: Signal
    noise: Signal
    rest_db: float


def _window(rate_hz: int) -> tuple[Signal, int]:
    size = int(_WINDOW_S * rate_hz)
    hop = size // 8
    window = np.blackman(size + 1)[:size]
    return window, hop


def split_black_box(speech: Signal, noise: Signal, processed: Signal, rate_hz: int) -> Split:
    """Split ``processed``, made from the recording ``speech + noise``.

    Args:
        speech: speech part of the unprocessed recording, shape (samples,).
        noise: its noise part, shape (samples,).
        processed: the result of the processing, aligned, shape (samples,).
        rate_hz: sample rate.
    """
    window, hop = _window(rate_hz)
    before = forward(speech + noise, window, hop)
    after = forward(processed, window, hop)
    size_before, size_after = np.abs(before), np.abs(after)
    quiet = 1e-6 * float(np.mean(size_before)) + 1e-12
    ratio = size_after / np.maximum(size_before, quiet)
    turn = after * np.conj(before) / np.maximum(size_after * size_before, 1e-20)
    gain = np.minimum(ratio, 1.0) * turn
    explained = [inverse(forward(part, window, hop) * gain, window, hop, len(part)) for part in (speech, noise)]
    rest = processed - explained[0] - explained[1]
    talking = speech_activity(speech, rate_hz)
    return Split(
        speech=explained[0] + rest * talking,
        noise=explained[1] + rest * (1 - talking),
        rest_db=level_db(rest) - level_db(processed),
    )


def speech_activity(speech: Signal, rate_hz: int) -> Signal:
    """Weight of speech activity from 0 to 1 for every sample, with soft edges of 64 ms, shape (samples,)."""
    active = np.repeat(active_frames(speech, rate_hz).astype(np.float64), int(FRAME_S * rate_hz))
    active = np.pad(active, (0, max(0, len(speech) - len(active))), mode="edge")[: len(speech)]
    return np.asarray(np.clip(2 * uniform_filter1d(active, int(0.064 * rate_hz)), 0, 1))
