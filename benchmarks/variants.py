"""Whether a variant of a model in fp16 or int8 is worth shipping: bytes, movement of the scores, processor time.

    python benchmarks/variants.py [--model NAME|FILE.onnx] [--set TITLE=MANIFEST[:SPLIT]] [--rounds 15]

Scores are compared with those of float32 on the bundled recordings, the known clips and every --set: each recording
alone and up to the model's longest window, and the first ones once more in one padded batch. Times are processor time
of onnxruntime on batches of 8 x 5 s in parts of float32's, medians of rounds in which every variant has its turn: one
batch at a time, and two at once in a thread each. Static int8 takes its ranges from the bundled recordings, which
favours it there.

A variant ships if `mtqscore assess` takes it, no score of any recording moves by more than 0.02 or depends on the batch
by more than 0.0001, and it takes at most 0.95 of the time, with one thread and with two.
"""

from __future__ import annotations

import argparse
import logging
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from processes import EXAMPLES, bundled_speech, rolled
from variant_graphs import VARIANTS, Feeds

from mtqscore.analysis import statistics as stats
from mtqscore.audio.decoding import open_recording
from mtqscore.audio.sources import Resampler
from mtqscore.diagnostics.conformance.known import clip_paths
from mtqscore.errors import InputError, MtqscoreError, UsageError
from mtqscore.labels.table import LabelledRecording, read_label_table
from mtqscore.models import ModelFile, ModelInfo, load_model
from mtqscore.scoring.session import Scorer

MOST_MOVEMENT = 0.02
"""What a score may move by, in points of the scale."""

MOST_DEPENDENCE = 1e-4
"""What a score may depend on the rest of its batch by: the contract of every model."""

MOST_TIME = 0.95
"""Of the time of float32; the row of float32 once more shows how far two measurements of one file differ."""

CLIP_S, BATCH = 5.0, 8
"""40 s of audio at once, two batches of `assess`."""

CALIBRATION_CLIPS = 24
TOGETHER = 16
"""Recordings of the padded batch."""

BUNDLED = "bundled"
FLOAT32 = "float32"
KINDS = (".wav", ".flac", ".ogg", ".mp3")
THREADS = (1, 2)

Samples = NDArray[np.float32]
Scores = NDArray[np.float64]
Run = Callable[[Feeds], Scores]


@dataclass(frozen=True)
class Recordings:
    """Recordings of one source.

    Args:
        title: for people.
        rows: what is known of them.
        samples: at 16 kHz, (samples,) each.
    """

    title: str
    rows: Sequence[LabelledRecording]
    samples: Sequence[Samples]


@dataclass(frozen=True)
class Variant:
    """A model that was made and opened.

    Args:
        content: the ONNX file.
        run: scores a batch: (batch, targets).
        refusal: why `assess` does not take it; empty if it does.
    """

    content: bytes
    run: Run
    refusal: str


@dataclass(frozen=True)
class Found:
    """What was measured of a variant.

    Args:
        moves: by title of the recordings: its scores minus those of float32, (recordings, targets).
        dependence: largest difference between a score alone and in the padded batch.
        times: time in parts of float32's, by the number of threads.
        refusal: as in `Variant`.
    """

    moves: Mapping[str, Scores]
    dependence: float
    times: Mapping[int, float]
    refusal: str

    def objections(self) -> list[str]:
        """Everything that speaks against shipping it."""
        largest = np.max([np.abs(moves).max() for moves in self.moves.values()])  # NaN if one is
        found = [self.refusal] if self.refusal else []
        if not largest <= MOST_MOVEMENT:
            found.append(f"moves a score by {largest:.3f}")
        if not self.dependence <= MOST_DEPENDENCE:
            found.append("depends on the batch")
        if not max(self.times.values()) <= MOST_TIME:
            found.append("not faster")
        return found


# --- what is measured -----------------------------------------------------------------------------------------


def feeds_of(clips: Sequence[Samples]) -> Feeds:
    """Make a batch, with zeros after the ends."""
    lengths = np.array([len(clip) for clip in clips])
    return {"waveform": np.stack([np.pad(clip, (0, lengths.max() - len(clip))) for clip in clips]), "lengths": lengths}


def read(path: Path, info: ModelInfo) -> Samples:
    """Read the beginning of a recording as mono at 16 kHz.

    Raises:
        InputError: it cannot be read, or is too short for the model.
    """
    with open_recording(str(path)) as source:
        mono = np.concatenate([np.zeros(0, np.float32), *(block.mean(axis=1) for block in source.blocks())])
        samples = Resampler(source.sample_rate_hz).push(mono, last=True)
    if len(samples) < info.min_samples:
        raise InputError(f"{path}: {len(samples)} samples at 16 kHz; the model needs {info.min_samples}")
    return samples[: info.window_samples]


def bundled(info: ModelInfo) -> Recordings:
    """Read the bundled recordings and the known clips."""
    paths = [*sorted(path for path in EXAMPLES.iterdir() if path.suffix in KINDS), *clip_paths()]
    return Recordings(BUNDLED, [LabelledRecording(path) for path in paths], [read(path, info) for path in paths])


def labelled(text: str, info: ModelInfo) -> Recordings:
    """Read a set of the command line, TITLE=MANIFEST[:SPLIT].

    Raises:
        UsageError: it names no recording.
        InputError: the table or a recording cannot be read.
    """
    title, _, place = text.partition("=")
    manifest, _, split = place.partition(":")
    if not title or not manifest:
        raise UsageError(f"--set {text}: write TITLE=MANIFEST or TITLE=MANIFEST:SPLIT")
    rows = [row for row in read_label_table(Path(manifest)) if not split or row.split == split]
    if not rows:
        raise UsageError(f"--set {text}: no recording of the split {split}" if split else f"--set {text}: no recording")
    return Recordings(title, rows, [read(row.path, info) for row in rows])


def open_variant(title: str, content: bytes) -> Variant:
    """Open a file as `assess` does, even if `assess` would refuse it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    try:
        Scorer(ModelFile(title, content, ""), "cpu")
        refusal = ""
    except UsageError as error:
        refusal = str(error).removeprefix(f"{title}: ")
    return Variant(content, lambda feeds: session.run(["scores"], feeds)[0].astype(np.float64), refusal)


def make_variants(model: bytes) -> dict[str, Variant | str]:
    """Make and open every variant; a text says why there is none."""
    speech = bundled_speech()
    calibration = [feeds_of([rolled(speech, CLIP_S, number)]) for number in range(CALIBRATION_CLIPS)]
    made: dict[str, Variant | str] = {}
    for title, make in VARIANTS.items():
        try:
            variant = open_variant(title, make(onnx.load_from_string(model), calibration).SerializeToString())
            variant.run(calibration[0])
            made[title] = variant
        except Exception as error:  # the tools and onnxruntime raise what they like
            made[title] = str(error).splitlines()[0][:100]
    return made


def alone(run: Run, recordings: Recordings) -> Scores:
    """Score every recording on its own: (recordings, targets)."""
    return np.concatenate([run(feeds_of([samples])) for samples in recordings.samples])


def relative_times(runs: Mapping[str, Run], threads: int, rounds: int) -> dict[str, float]:
    """Time all, float32 among them, in parts of its time: medians over rounds in which each has its turn."""
    speech = bundled_speech()
    feeds = feeds_of([rolled(speech, CLIP_S, number) for number in range(BATCH)])
    turns = random.Random(0)
    ratios: dict[str, list[float]] = {title: [] for title in runs}
    with ThreadPoolExecutor(threads) as pool:
        for number in range(rounds + 1):
            times_s = {}
            for title in turns.sample(list(runs), len(runs)):  # who ran before leaves traces in the caches
                start_s = time.process_time()
                for running in [pool.submit(runs[title], feeds) for _ in range(threads)]:
                    running.result()
                times_s[title] = time.process_time() - start_s
            if number:  # the first one fills caches
                for title, taken_s in times_s.items():
                    ratios[title].append(taken_s / times_s[FLOAT32])
    return {title: statistics.median(found) for title, found in ratios.items()}


# --- what is printed ------------------------------------------------------------------------------------------


def print_movement(made: Mapping[str, Variant | str], found: Mapping[str, Found], targets: Sequence[str]) -> None:
    """Print the main table: movement on the bundled recordings, times, and what speaks against a variant."""
    names = [target[0].upper() for target in targets]
    heads = " | ".join(f"{name} largest | {name} RMS" for name in names)
    print(f"| variant | bytes | {heads} | by the batch | time, 1 thread | time, 2 threads | against it |")
    print(f"|---|---|{'---|---|' * len(names)}---|---|---|---|")
    for title, variant in made.items():
        if isinstance(variant, str):
            print(f"| {title} |{' |' * (2 * len(names) + 4)} {variant} |")
            continue
        item = found[title]
        moves = " | ".join(
            f"{np.abs(move).max():.4f} | {np.sqrt(np.mean(move**2)):.4f}" for move in item.moves[BUNDLED].T
        )
        times = " | ".join(f"{item.times[threads]:.2f}" for threads in THREADS)
        against = "; ".join(item.objections()) or "nothing"
        print(f"| {title} | {len(variant.content):,} | {moves} | {item.dependence:.5f} | {times} | {against} |")


def print_agreement(recordings: Recordings, exact: Scores, found: Mapping[str, Found], targets: Sequence[str]) -> None:
    """Print the agreement with the labels of one set, and the largest movement on it."""
    names = [target[0].upper() for target in targets]
    print(f"\n### {recordings.title}\n\n{len(recordings.rows)} recordings.\n")
    print(f"| variant | {' | '.join(f'{name} LCC | {name} RMSE | {name} largest' for name in names)} |")
    print(f"|---|{'---|---|---|' * len(names)}")
    for title, item in found.items():
        moves = item.moves[recordings.title]
        cells = []
        for target, score, move in zip(targets, (exact + moves).T, moves.T, strict=True):
            labels = [row.labels.get(target, np.nan) for row in recordings.rows]
            cells.append(f"{stats.lcc(labels, score):.3f} | {stats.rmse(labels, score):.3f} | {np.abs(move).max():.4f}")
        print(f"| {title} | {' | '.join(cells)} |")


def print_verdict(found: Mapping[str, Found]) -> None:
    """Name the fastest variant against which nothing speaks."""
    fit = {title: max(item.times.values()) for title, item in found.items() if not item.objections()}
    if fit:
        best = min(fit, key=lambda title: fit[title])
        print(f"\nShips: {best}, at {fit[best]:.2f} of the time.")
    else:
        print("\nNone ships.")


def measure(model: ModelFile, sets: Sequence[str], rounds: int) -> None:
    """Measure everything and print it.

    Raises:
        MtqscoreError: the model or a set cannot be read.
    """
    info = Scorer(model, "cpu").info
    recordings = [bundled(info), *(labelled(text, info) for text in sets)]
    if len({part.title for part in recordings}) < len(recordings):
        raise UsageError(f"--set: titles must differ from each other and from {BUNDLED}")
    exact = open_variant(model.label, model.content)
    made = make_variants(model.content)
    variants = {title: variant for title, variant in made.items() if isinstance(variant, Variant)}
    runs = {FLOAT32: exact.run, **{title: variant.run for title, variant in variants.items()}}
    times = {threads: relative_times(runs, threads, rounds) for threads in THREADS}
    expected = {part.title: alone(exact.run, part) for part in recordings}
    found = {}
    for title, variant in variants.items():
        scores = {part.title: alone(variant.run, part) for part in recordings}
        together = variant.run(feeds_of(recordings[0].samples[:TOGETHER]))
        found[title] = Found(
            {name: scores[name] - expected[name] for name in scores},
            float(np.abs(together - scores[BUNDLED][:TOGETHER]).max()),
            {threads: times[threads][title] for threads in THREADS},
            variant.refusal,
        )
    print(f"{info.label}, {len(model.content):,} bytes; {len(recordings[0].rows)} bundled recordings\n")
    print_movement(made, found, info.targets)
    for part in recordings[1:]:
        print_agreement(part, expected[part.title], found, info.targets)
    print_verdict(found)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", metavar="NAME|FILE.onnx")
    parser.add_argument("--set", action="append", default=[], metavar="TITLE=MANIFEST[:SPLIT]")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds: at least 1")
    logging.disable(logging.WARNING)  # the tools recommend preparations that these graphs do not need
    try:
        measure(load_model(options.model), options.set, options.rounds)
    except MtqscoreError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
