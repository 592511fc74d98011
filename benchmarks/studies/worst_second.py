"""Hit rate of the worst second that `mtqscore explain` finds, where one second was spoiled.

    python benchmarks/studies/worst_second.py [MODEL]

One second of a bundled recording is spoiled, at many places and in four ways. A hit is a lowest G whose middle lies in
that second. Compared are pieces heard alone, of several lengths, and the model's own frame scores, smoothed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from mtqscore import AssessConfig, Assessor
from mtqscore.analysis.segments import Segments, SegmentScorer
from mtqscore.audio.sources import Resampler
from mtqscore.targets import SAMPLE_RATE_HZ

EXAMPLES = Path(__file__).parents[2] / "examples"
SPOILED = ("clean.flac", "noisy-15db.flac", "clean-telephone.wav", "coded-gsm.wav")
FIRST_S, STEP_S = 0.2, 0.7
"""Places of the spoiled second, which so never begins with a piece."""

PIECES_S = (0.5, 1.0, 1.5, 2.0)
SMOOTHINGS_S = (0.5, 1.0)
USUAL_RMS = 10 ** (-22 / 20)
Audio = NDArray[np.float32]
Spoil = Callable[[Audio, np.random.Generator], Audio]


def add_noise(second: Audio, rng: np.random.Generator) -> Audio:
    """Add white noise 10 dB below the usual level of the bundled recordings."""
    return second + rng.standard_normal(len(second)) * USUAL_RMS * 10 ** (-10 / 20)


def drop_out(second: Audio, rng: np.random.Generator) -> Audio:
    """Silence 30 % of the stretches of 20 ms."""
    packets = np.arange(len(second)) * 50 // len(second)
    return second * (rng.random(50) >= 0.3)[packets]


def clip(second: Audio, _: np.random.Generator) -> Audio:
    """Cut off at half of the usual level."""
    return np.clip(second, -USUAL_RMS / 2, USUAL_RMS / 2)


def modulate(second: Audio, rng: np.random.Generator) -> Audio:
    """Add noise that follows the speech, 10 dB below (MNRU)."""
    return second * (1 + rng.standard_normal(len(second)) * 10 ** (-10 / 20))


SPOILS: dict[str, Spoil] = {"noise": add_noise, "dropouts": drop_out, "clipping": clip, "modulated noise": modulate}


def at_model_rate(audio: Audio, rate_hz: int) -> Audio:
    """Resample as the product does."""
    return Resampler(rate_hz).push(np.ascontiguousarray(audio, dtype=np.float32), last=True)


def scored_alone(assessor: Assessor, samples: Audio, length_s: float) -> Segments:
    """Score the pieces of a recording as the product does."""
    pieces = SegmentScorer(assessor.scorer, round(length_s * SAMPLE_RATE_HZ))
    pieces.push(samples)
    return pieces.finish()


def lowest_alone(segments: Segments) -> float:
    """Find the middle of the lowest piece."""
    return float(segments.starts_s[np.nanargmin(segments.of("g_mos"))] + segments.length_s / 2)


def lowest_frames(assessor: Assessor, samples: Audio, smoothing_s: float) -> float:
    """Find the middle of the lowest stretch of the model's frame scores."""
    frames = assessor.assess_array(samples, SAMPLE_RATE_HZ).frames
    assert frames is not None
    count = round(smoothing_s / frames.hop_s)
    smooth = np.convolve(frames.values[:, frames.targets.index("g_mos")], np.ones(count) / count, mode="valid")
    return float((np.argmin(smooth) + (count - 1) / 2) * frames.hop_s)


def spoiled_recordings() -> Iterator[tuple[str, float, float, Audio]]:
    """Yield the kind of fault, where its second begins, the length in seconds, and the samples."""
    rng = np.random.default_rng(0)
    for name in SPOILED:
        audio, rate_hz = soundfile.read(EXAMPLES / name, dtype="float32")
        duration_s = len(audio) / rate_hz
        for kind, spoil in SPOILS.items():
            for start_s in np.arange(FIRST_S, duration_s - 1, STEP_S):
                spoiled = audio.copy()
                second = slice(round(start_s * rate_hz), round(start_s * rate_hz) + rate_hz)
                spoiled[second] = spoil(audio[second], rng)
                yield kind, float(start_s), duration_s, at_model_rate(spoiled, rate_hz)


def main() -> None:
    """Print hit rates by method and kind of fault."""
    assessor = Assessor(AssessConfig(sys.argv[1] if len(sys.argv) > 1 else None, frames=True))
    hits: dict[str, dict[str, list[bool]]] = {}
    chances: list[float] = []
    for kind, start_s, duration_s, samples in spoiled_recordings():
        found = {f"frame scores over {s} s": lowest_frames(assessor, samples, s) for s in SMOOTHINGS_S}
        found |= {f"pieces of {s} s alone": lowest_alone(scored_alone(assessor, samples, s)) for s in PIECES_S}
        for method, at_s in found.items():
            hits.setdefault(method, {}).setdefault(kind, []).append(start_s <= at_s <= start_s + 1)
        chances.append(1 / duration_s)
    print(f"{len(chances)} spoiled recordings; blind chance {np.mean(chances):.0%}\n")
    print("| lowest G by | " + " | ".join(SPOILS) + " | all |\n" + "|---" * (len(SPOILS) + 2) + "|")
    for method, kinds in hits.items():
        rates = [*(kinds[kind] for kind in SPOILS), [hit for found in kinds.values() for hit in found]]
        print(f"| {method} | " + " | ".join(f"{np.mean(rate):.0%}" for rate in rates) + " |")


if __name__ == "__main__":
    main()
