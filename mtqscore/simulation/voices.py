"""Voices that a corpus lacks: speech played faster or slower, and pauses that a gate has silenced.

What comes out is the clean reference. A talker at another speed is another talker: pitch, formants and tempo move
together. Conference tools and careful editing silence pauses, so that speech stands in digital silence.
"""

from __future__ import annotations

import numpy as np
import soxr

from mtqscore.audio.levels import FRAME_S, Signal, active_level_db, frame_powers

SPEEDS = (0.8, 1.2)
"""From a deeper to a more childlike voice."""

GATE_SHARE = 0.25
QUIET_DB = -42.0
"""A gate takes away what is this far below the speech, and so hardly heard: more would be a distortion."""


def vary(clean: Signal, rate_hz: int, rng: np.random.Generator) -> Signal:
    """Make another voice of clean speech; now and then with gated pauses."""
    speed = float(np.exp(rng.uniform(*np.log(SPEEDS))))
    clean = np.asarray(soxr.resample(clean, rate_hz * speed, rate_hz), dtype=np.float64)
    if rng.random() < GATE_SHARE:
        clean = gated(clean, rate_hz, float(rng.uniform(20, 100)), float(10 ** rng.uniform(-2.3, -1.0)))
    return clean


def gated(clean: Signal, rate_hz: int, depth_db: float, release_s: float) -> Signal:
    """Turn down what lies between the words."""
    powers = frame_powers(clean, rate_hz)
    is_open = powers > 10 ** ((active_level_db(clean, rate_hz) + QUIET_DB) / 10)
    is_open = is_open | np.append(is_open[1:], is_open[-1]) | np.append(is_open[0], is_open[:-1])
    decay = float(np.exp(-FRAME_S / release_s))
    state, states = 1.0, []
    for one in is_open:
        state = 1.0 if one else state * decay
        states.append(state)
    closed = 10 ** (-depth_db / 20)
    size = int(FRAME_S * rate_hz)
    middles = (np.arange(len(states)) + 0.5) * size
    gain = np.interp(np.arange(len(clean)), middles, closed + (1 - closed) * np.array(states))
    return np.asarray(clean * gain)
