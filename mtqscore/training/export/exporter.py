"""From a checkpoint to a scorer: one ONNX file, proven against torch before it is kept, and its weights beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mtqscore.base.files import replacing
from mtqscore.errors import EnvironmentProblemError, MtqscoreError
from mtqscore.targets import SAMPLE_RATE_HZ, SUPERVISED, Target
from mtqscore.training.checkpoint import Checkpoint, load_network, read_checkpoint, write_checkpoint
from mtqscore.training.config import TrainConfig
from mtqscore.training.export.calibration import Calibration
from mtqscore.training.export.config import ModelIdentity
from mtqscore.training.export.graph import MIN_SAMPLES, build_graph
from mtqscore.training.export.parity import Clip, Parity, compare
from mtqscore.training.networks import Network

WINDOW_SAMPLES = 10 * SAMPLE_RATE_HZ
"""Longest window that a model gets at once, which bounds the memory; less if training never went so far."""

TOLERANCE = 1e-3
"""Largest difference between onnxruntime and torch that is let through, in points of the scale."""

RELEASED = "released"
"""State of a checkpoint beside an exported file: the model that it belongs to."""


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network with the heads that are exported.

    Args:
        network: in evaluation mode.
        checkpoint: all weights, those of other heads too.
        window_samples: longest window that it should get at once.
    """

    network: Network
    checkpoint: Checkpoint
    window_samples: int


def open_trained(path: Path, names: Sequence[str] | None = None) -> TrainedNetwork:
    """Load a network to export from a checkpoint, or from the best epoch of a run folder.

    Without names its heads are those of S, N and G that the network has, or all if it has none of them.

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
    window_samples = max(2 * MIN_SAMPLES, min(WINDOW_SAMPLES, trained_samples))
    return TrainedNetwork(network.with_targets(names), checkpoint, window_samples)


def export_model(
    trained: TrainedNetwork, out: Path, identity: ModelIdentity, calibration: Calibration, clips: Sequence[Clip]
) -> Parity:
    """Write a network as an ONNX file, which appears only when it agrees with torch, and its weights beside it.

    Args:
        trained: the network.
        out: the ONNX file to make or replace.
        identity: for the metadata.
        calibration: monotone map a target.
        clips: recordings to compare on, one or more, float32 (samples,) each at 16 kHz.

    Returns:
        The differences found.

    Raises:
        MtqscoreError: onnxruntime and torch disagree.
        UsageError: the network is too large for one file.
        EnvironmentProblemError: a file cannot be written.
    """
    network = trained.network
    model = build_graph(network, calibration, identity.name)
    metadata = {
        "name": identity.name,
        "version": identity.version,
        "conformance": identity.conformance,
        "targets": ",".join(target.name for target in network.targets),
        "scale": _scale(network.targets),
        "sample_rate_hz": str(SAMPLE_RATE_HZ),
        "frame_hop_samples": str(network.grid_hop_samples),
        "window_samples": str(trained.window_samples),
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
    _write_weights(trained.checkpoint, weights_beside(out), f"{identity.name}@{identity.version}")
    return parity


def weights_beside(out: Path) -> Path:
    """Name the checkpoint beside an exported file, from which training goes on."""
    return out.with_suffix(".safetensors")


def _write_weights(checkpoint: Checkpoint, place: Path, label: str) -> None:
    """Write the averaged weights with no more of the run's settings than describe the network."""
    if place.exists() and place.samefile(checkpoint.path):
        return
    trained = checkpoint.config
    config = TrainConfig(
        recipe="scratch",
        teacher="none",
        targets=trained.targets,
        network=trained.network,
        max_clip_s=trained.max_clip_s,
    )
    state = {key: value for key, value in checkpoint.state.items() if key == "front_end"}
    write_checkpoint(place, config, {"average": checkpoint.part("average")}, state | {RELEASED: label})


def _scale(targets: Sequence[Target]) -> str:
    """Spell the ends of the scale, target by target where they differ."""
    scales = [f"{target.low:g}-{target.high:g}" for target in targets]
    return scales[0] if len(set(scales)) == 1 else ",".join(scales)
