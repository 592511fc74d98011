"""The one place of numbers: what a sample, a frame, a target and a scale are everywhere in mtqscore."""

from __future__ import annotations

from dataclasses import dataclass

SAMPLE_RATE_HZ = 16_000
"""Rate at which every model listens."""

STFT_SAMPLES = 512
"""Analysis window of the power spectrum (PS): 32 ms."""

HOP_SAMPLES = 256
"""Step between analysis windows: 16 ms."""

BINS = STFT_SAMPLES // 2 + 1
"""Frequency bins of the power spectrum, 31.25 Hz apart."""

NARROWBAND_HZ = 4_000
"""Recordings without content above this frequency are judged as telephone-band speech."""

MOS_LOW, MOS_HIGH = 1.0, 5.0
"""Ends of the ITU-T P.835 scales."""

DECIMALS = 4
"""Scores and times in files, and what gates judge: finer than any difference that batching can make."""


@dataclass(frozen=True)
class Target:
    """One quantity that a model estimates.

    Args:
        name: column name in manifests and results.
        low: lowest value that the scale allows.
        high: highest value that the scale allows.
        meaning: one phrase for legends and tables.
    """

    name: str
    low: float
    high: float
    meaning: str


S_MOS = Target("s_mos", MOS_LOW, MOS_HIGH, "speech: 5 not distorted, 1 very distorted")
N_MOS = Target("n_mos", MOS_LOW, MOS_HIGH, "background noise: 5 not noticeable, 1 very intrusive")
G_MOS = Target("g_mos", MOS_LOW, MOS_HIGH, "overall: 5 excellent, 1 bad")
PESQ = Target("pesq", -0.5, 4.5, "raw P.862 value against the clean reference")
STOI = Target("stoi", 0.0, 1.0, "short-time objective intelligibility against the clean reference")
SDI = Target("sdi", 0.0, 1.5, "speech distortion index, error energy over clean energy, limited to 1.5")

SUPERVISED = (S_MOS, N_MOS, G_MOS)
"""The targets that users see, in the order of the ONNX output."""

PSEUDO = (PESQ, STOI, SDI)
"""The targets that only help training (MPL's pseudo-labels); their heads are dropped at export."""

TARGETS = SUPERVISED + PSEUDO
"""All six tasks, in the order of the training network's output."""
