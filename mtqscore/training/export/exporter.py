"""From a checkpoint to a scorer: one ONNX file that keeps the contract, proven against torch before it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from mtqscore.base.files import replacing
from mtqscore.errors import EnvironmentProblemError, InputError, MtqscoreError
from mtqscore.targets import SAMPLE_RATE_HZ, SUPERVISED, Target
from mtqscore.training.checkpoint import load_network, read_checkpoint
from mtqscore.training.data.dataset import decode
from mtqscore.training.export.calibration import Calibration
from mtqscore.training.export.graph import MIN_SAMPLES, build_graph
from mtqscore.training.networks import Network

WINDOW_SAMPLES = 10 * SAMPLE_RATE_HZ
"""Longest audio that a model should hear at once, which bounds the memory; less if training never went so far."""

TOLERANCE = 1e-3
"""Largest difference between onnxruntime and torch that is let through, in points of the scale."""

PARITY_BATCH = 8

Clip = NDArray[np.float32]


@dataclass(frozen=True)
class ModelIdentity:
    """What the metadata of a released file says about where it comes from.

    Args:
        name: what users type.
        version: release of this name.
        conformance: number that is raised whenever scores move.
        label_definition: what the scores mean.
        training_corpora: what it learned from, with versions.
        licence: SPDX expression of the weights.
        producing_command: the command line.
    """

    name: str
    version: str
    conformance: str
    label_definition: str
    training_corpora: str
    licence: str
    producing_command: str


@dataclass(frozen=True)
class Parity:
    """How far onnxruntime and torch were apart.

    Args:
        clips: number of recordings compared.
        scores: largest difference of an utterance score.
        frame_scores: largest difference of a frame score.
        batching: largest difference between an utterance scored alone and in a padded batch, in onnxruntime.
    """

    clips: int
    scores: float
    frame_scores: float
    batching: float

    @property
    def worst(self) -> float:
        """The largest of all differences."""
        return max(self.scores, self.frame_scores, self.batching)


@dataclass(frozen=True)
class Source:
    """A trained network with the heads that are exported.

    Args:
        network: in evaluation mode.
        window_samples: longest audio that it should hear at once.
    """

    network: Network
    window_samples: int


def open_source(path: Path, names: Sequence[str] | None = None) -> Source:
    """Load what is to be exported.

    Args:
        path: checkpoint, or run folder, of which the best epoch is taken.
        names: targets of the file; None for those of S, N and G that the network has, or all if it has none of them.

    Raises:
        InputError: the path is no checkpoint.
        UsageError: the network has no such target.
        EnvironmentProblemError: a pretrained front end cannot be fetched.
    """
    checkpoint = read_checkpoint(path)
    network = load_network(checkpoint)
    if names is None:
        supervised = [target.name for target in network.targets if target in SUPERVISED]
        names = supervised or [target.name for target in network.targets]
    trained_samples = int(checkpoint.config.max_clip_s * SAMPLE_RATE_HZ)
    return Source(network.with_targets(names), max(2 * MIN_SAMPLES, min(WINDOW_SAMPLES, trained_samples)))


def export_model(
    source: Source, out: Path, identity: ModelIdentity, calibration: Calibration, clips: Sequence[Clip]
) -> Parity:
    """Write a network as an ONNX file, which appears only when it agrees with torch.

    Args:
        source: the network.
        out: the ONNX file to make or replace.
        identity: for the metadata.
        calibration: monotone map a target.
        clips: recordings to compare on, one or more, float32 (samples,) each at 16 kHz.

    Returns:
        What the comparison found.

    Raises:
        MtqscoreError: onnxruntime and torch disagree.
        UsageError: the network is too large for one file.
        EnvironmentProblemError: the file cannot be written.
    """
    network = source.network
    model = build_graph(network, calibration, identity.name)
    metadata = {
        "name": identity.name,
        "version": identity.version,
        "conformance": identity.conformance,
        "targets": ",".join(target.name for target in network.targets),
        "scale": _scale(network.targets),
        "sample_rate_hz": str(SAMPLE_RATE_HZ),
        "frame_hop_samples": str(network.grid_hop_samples),
        "window_samples": str(source.window_samples),
        "min_samples": str(MIN_SAMPLES),
        "label_definition": identity.label_definition,
        "training_corpora": identity.training_corpora,
        "licence": identity.licence,
        "producing_command": identity.producing_command,
    }
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    content = model.SerializeToString(deterministic=True)
    parity = compare(network, calibration, content, clips)
    if not parity.worst <= TOLERANCE:
        raise MtqscoreError(
            f"{out}: not written: onnxruntime and torch differ by {parity.scores:.1e} (scores), "
            f"{parity.frame_scores:.1e} (frames), {parity.batching:.1e} (batching); {TOLERANCE:g} is allowed"
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise EnvironmentProblemError(f"{out}: cannot write the model: {error.strerror or error}") from error
    return parity


def _scale(targets: Sequence[Target]) -> str:
    """Spell the ends of the scale, target by target where they differ."""
    scales = [f"{target.low:g}-{target.high:g}" for target in targets]
    return scales[0] if len(set(scales)) == 1 else ",".join(scales)


def compare(network: Network, calibration: Calibration, content: bytes, clips: Sequence[Clip]) -> Parity:
    """Score recordings with the ONNX file and with torch, alone and in padded batches.

    Args:
        network: the network in evaluation mode.
        calibration: the one that is in the file.
        content: the ONNX file.
        clips: one or more, float32 (samples,) each at 16 kHz.
    """
    if not clips:
        raise ValueError("nothing to compare on")
    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    calibration = calibration.ordered(network.targets)
    scores = frame_scores = batching = 0.0
    for start in range(0, len(clips), PARITY_BATCH):
        group = list(clips[start : start + PARITY_BATCH])
        waveform, lengths = pad(group)
        found, found_frames = session.run(None, {"waveform": waveform, "lengths": lengths})
        with torch.inference_mode():
            raw, raw_frames, _ = network(torch.from_numpy(waveform), torch.from_numpy(lengths))
        scores = max(scores, _gap(found, calibration(raw.numpy())))
        frames = calibration(raw_frames.numpy())
        for item, length in enumerate(lengths):
            places = nearest_frames(network, int(length))
            frame_scores = max(frame_scores, _gap(found_frames[item, : len(places)], frames[item, places]))
            alone, _ = session.run(None, {"waveform": group[item][None], "lengths": lengths[item : item + 1]})
            batching = max(batching, _gap(alone[0], found[item]))
    return Parity(len(clips), scores, frame_scores, batching)


def nearest_frames(network: Network, samples: int) -> NDArray[np.int64]:
    """Say which of the network's frames stands nearest to each frame of the contract, int64 (frames,).

    Of frames at the same place the first one counts: that of the spectrum, where streams are joined.

    Args:
        network: the network.
        samples: length of the recording.
    """
    hop = network.grid_hop_samples
    places = hop * np.arange(samples // hop + 1)
    nearest: NDArray[np.int64] = np.abs(network.frame_positions(samples).numpy() - places[:, None]).argmin(axis=1)
    return nearest


def pad(clips: Sequence[Clip]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Put recordings into one batch, with zeros behind the shorter ones: waveform and lengths."""
    lengths = np.array([len(clip) for clip in clips], dtype=np.int64)
    waveform = np.zeros((len(clips), int(lengths.max())), dtype=np.float32)
    for row, clip in zip(waveform, clips, strict=True):
        row[: len(clip)] = clip
    return waveform, lengths


def read_clips(paths: Sequence[Path], window_samples: int = WINDOW_SAMPLES) -> list[Clip]:
    """Decode recordings for the comparison, cut to the model's window; those too short for a model are left out.

    Raises:
        InputError: one cannot be decoded, or none is long enough.
    """
    clips = (decode(path)[:window_samples].astype(np.float32) / 32768.0 for path in paths)
    found = [clip for clip in clips if len(clip) >= MIN_SAMPLES]
    if not found:
        raise InputError(f"none of {len(paths)} recordings is {MIN_SAMPLES / SAMPLE_RATE_HZ:g} s or longer")
    return found


def recordings_in(folder: Path, limit: int) -> list[Path]:
    """List recordings under a folder, sorted by name.

    Raises:
        InputError: there are none.
    """
    kinds = {".wav", ".flac", ".ogg", ".mp3"}
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in kinds)
    if not found:
        raise InputError(f"{folder}: no recordings to compare on")
    return found[:limit]


def synthetic_clips(count: int) -> list[Clip]:
    """Make tones in noise of many lengths and levels, with stretches of silence, for want of recordings."""
    rng = np.random.default_rng(0)
    clips = []
    for index in range(count):
        time_s = np.arange(int(rng.integers(MIN_SAMPLES, 5 * SAMPLE_RATE_HZ))) / SAMPLE_RATE_HZ
        tone = sum(np.sin(2.0 * np.pi * 140.0 * order * time_s) / order for order in range(1, 20))
        signal = tone * (np.sin(2.0 * np.pi * 2.5 * time_s) > 0)
        signal = signal + rng.standard_normal(len(time_s)) * 10.0 ** (-index / 4.0)
        clips.append((signal * 10.0 ** rng.uniform(-3.0, -1.0)).astype(np.float32))
    return clips


def _gap(found: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    """Largest difference; infinite where either holds a NaN, so that no comparison lets it pass."""
    gap = float(np.abs(np.asarray(found, dtype=np.float64) - expected).max())
    return gap if np.isfinite(gap) else float("inf")
