"""Drift table of a model card: moves of the scores of the known clips by changes that should not matter.

python benchmarks/release/drift.py --model mtqnet-s@6
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from mtqscore import AssessConfig, Assessment, Assessor
from mtqscore.diagnostics.conformance.known import clip_paths
from mtqscore.scores import Flag
from mtqscore.targets import SAMPLE_RATE_HZ, SUPERVISED

Samples = NDArray[np.float64]
"""(samples,) or (samples, channels), full scale ±1."""


@dataclass(frozen=True)
class Change:
    """One change that should not matter, or should matter little.

    Args:
        name: for the table.
        bound: largest change of any score of any clip that the test lets through.
        make: the change of the samples at 16 kHz.
        rate_hz: sample rate of the file.
        subtype: sample format or codec of the file.
        container: format of the file.
        narrowband: whether it is for telephone-band clips only; None is for all.
    """

    name: str
    bound: float
    make: Callable[[Samples], Samples] = lambda samples: samples
    rate_hz: int = SAMPLE_RATE_HZ
    subtype: str = "PCM_16"
    container: str = "WAV"
    narrowband: bool | None = None


@dataclass(frozen=True)
class Drift:
    """Moves of the scores by a change.

    Args:
        change: the change.
        moves: new minus old scores, (clips, targets), in the order of the supervised targets.
    """

    change: Change
    moves: NDArray[np.float64]

    @property
    def largest(self) -> float:
        """Largest change of any score of any clip."""
        return float(np.abs(self.moves).max())


def resampled(rate_hz: int) -> Callable[[Samples], Samples]:
    """Return a change of sample rate."""
    return lambda samples: np.asarray(soxr.resample(samples, SAMPLE_RATE_HZ, rate_hz))


def peak_at(level_db: float) -> Callable[[Samples], Samples]:
    """Return a change of level to a peak of ``level_db`` dBFS."""
    return lambda samples: samples * (min(10 ** (level_db / 20), 32_767 / 32_768) / np.abs(samples).max())


def padded(before_s: float, after_s: float) -> Callable[[Samples], Samples]:
    """Return an addition of digital silence."""
    before, after = (round(length_s * SAMPLE_RATE_HZ) for length_s in (before_s, after_s))
    return lambda samples: np.pad(samples, (before, after))


def beside(gain: float) -> Callable[[Samples], Samples]:
    """Return a second channel: the first with a gain."""
    return lambda samples: np.stack([samples, gain * samples], axis=1)


def cut(share: float) -> Callable[[Samples], Samples]:
    """Return the first part of a recording."""
    return lambda samples: samples[: int(share * len(samples))]


def at_speed(speed: float) -> Callable[[Samples], Samples]:
    """Return another voice: pitch, formants and tempo times ``speed``."""
    return lambda samples: np.asarray(soxr.resample(samples, SAMPLE_RATE_HZ * speed, SAMPLE_RATE_HZ))


def repeated(times: int) -> Callable[[Samples], Samples]:
    """Return a recording played several times."""
    return lambda samples: np.tile(samples, times)


CHANGES = (
    Change("at 8 kHz, telephone-band clips", 0.25, resampled(8_000), 8_000, narrowband=True),
    Change("at 8 kHz, other clips: without 4 to 8 kHz", 1.0, resampled(8_000), 8_000, narrowband=False),
    Change("at 44.1 kHz", 0.3, resampled(44_100), 44_100),
    Change("at 48 kHz", 0.3, resampled(48_000), 48_000),
    Change("16-bit WAV", 0.001),
    Change("24-bit WAV", 0.001, subtype="PCM_24"),
    Change("float WAV", 0.001, subtype="FLOAT"),
    Change("24-bit FLAC", 0.001, subtype="PCM_24", container="FLAC"),
    Change("Ogg Opus", 1.0, subtype="OPUS", container="OGG"),
    Change("Ogg Vorbis", 0.7, subtype="VORBIS", container="OGG"),
    Change("MP3", 0.6, subtype="MPEG_LAYER_III", container="MP3"),
    Change("stereo, twice the same", 0.001, beside(1.0)),
    Change("stereo, one channel silent", 0.001, beside(0.0)),
    *(
        Change(f"peak at {level_db} dBFS, 16 bit", bound, peak_at(level_db))
        for level_db, bound in ((-50, 0.7), (-40, 0.35), (-30, 0.25), (-20, 0.1), (-10, 0.05), (0, 0.05))
    ),
    *(Change(f"{length_s} s of silence before", 0.001, padded(length_s, 0)) for length_s in (1, 3)),
    *(Change(f"{length_s} s of silence after", 0.001, padded(0, length_s)) for length_s in (1, 3, 10)),
    Change("3 s of silence before and after", 0.001, padded(3, 3)),
    *(Change(f"first {share:.0%} of the recording", 1.4, cut(share)) for share in (0.25, 0.5, 0.75)),
    *(Change(f"played {times} times", 0.6, repeated(times)) for times in (2, 4)),
    *(Change(f"at {speed:g} of its speed, as another voice", 1.6, at_speed(speed)) for speed in (0.85, 1.15)),
)


def measure(assessor: Assessor) -> list[Drift]:
    """Write every clip with every change to a file, and score it.

    Args:
        assessor: the model.
    """
    paths = clip_paths()
    before = list(assessor.assess_files(paths))
    clips = [soundfile.read(path)[0] for path in paths]
    chosen = [
        [index for index, result in enumerate(before) if change.narrowband in (None, Flag.NARROWBAND in result.flags)]
        for change in CHANGES
    ]
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for change, indices in zip(CHANGES, chosen, strict=True):
            for index in indices:
                files.append(Path(folder) / f"{len(files)}.{change.container.lower()}")
                samples = change.make(clips[index])
                soundfile.write(files[-1], samples, change.rate_hz, change.subtype, format=change.container)
        after = assessor.assess_files(files)
        return [
            Drift(change, np.array([_scores(next(after)) - _scores(before[index]) for index in indices]))
            for change, indices in zip(CHANGES, chosen, strict=True)
        ]


def print_drift(assessor: Assessor) -> None:
    """Print the table."""
    print(f"Over the {len(clip_paths())} known clips: mean and largest change of a score.\n")
    print("| change | S | N | G |\n|---|---|---|---|")
    for drift in measure(assessor):
        columns = zip(drift.moves.mean(axis=0), np.abs(drift.moves).max(axis=0), strict=True)
        cells = " | ".join(f"{mean:+.2f} (max {largest:.2f})" for mean, largest in columns)
        print(f"| {drift.change.name} | {cells} |")


def _scores(result: Assessment) -> NDArray[np.float64]:
    if result.scores is None:
        raise SystemExit(f"{result.path}: {result.status}: {result.reason}")
    return np.array([getattr(result.scores, target.name) for target in SUPERVISED])


def main() -> None:
    """Print the table of one model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    print_drift(Assessor(AssessConfig(model=parser.parse_args().model)))


if __name__ == "__main__":
    main()
