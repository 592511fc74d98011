"""Whole recordings as mono arrays, for what needs all samples at once; scoring reads streams instead."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mtqscore.base.libraries import load_library
from mtqscore.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def load_mono(path: Path | str, rate_hz: int | None = None) -> tuple[NDArray[np.float32], int]:
    """Read a whole recording, mix its channels by their mean, and resample it.

    Args:
        path: any format that libsndfile reads.
        rate_hz: sample rate of the result; None keeps that of the recording.

    Returns:
        Samples, float32 (samples,), and their rate.

    Raises:
        InputError: it cannot be decoded, or holds samples that are not numbers.
    """
    soundfile = load_library("soundfile")
    try:
        # As a stream, since the library takes no names with bytes that are no text.
        with Path(path).open("rb") as stream:
            audio, found_hz = soundfile.read(stream, dtype="float32", always_2d=True)
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: cannot be decoded: {reason}") from error
    if not np.isfinite(audio).all():
        raise InputError(f"{path}: holds samples that are not numbers")
    mono = audio[:, 0] if audio.shape[1] == 1 else audio.mean(axis=1)
    if rate_hz is not None and rate_hz != found_hz:
        mono = load_library("soxr").resample(mono, found_hz, rate_hz)
    return np.ascontiguousarray(mono), rate_hz or int(found_hz)
