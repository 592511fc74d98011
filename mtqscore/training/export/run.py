"""A whole export: from a run or checkpoint to the ONNX file and the files beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mtqscore.errors import InputError
from mtqscore.labels.table import found_under, read_table
from mtqscore.targets import SUPERVISED, Target
from mtqscore.training.export.calibration import Calibration, fit_from_predictions, from_points, read_calibration
from mtqscore.training.export.config import ExportConfig, ModelIdentity
from mtqscore.training.export.exporter import TrainedNetwork, export_model, open_trained
from mtqscore.training.export.parity import Clip, Parity, read_clips, recordings_in, synthetic_clips
from mtqscore.training.export.release import check_release, measure_run, write_release

LABEL_DEFINITION = (
    "3QUEST-style S-MOS, N-MOS and G-MOS on the ITU-T P.835 scale, from the open reference-based labels of "
    "`mtqscore label`; not results of a licensed 3QUEST tool"
)


@dataclass(frozen=True)
class Exported:
    """Targets of an exported file, its differences from torch, and whether its card is new."""

    targets: Sequence[Target]
    parity: Parity
    card_is_new: bool

    @property
    def scores(self) -> bool:
        """True if `mtqscore assess` takes the file."""
        return all(target in self.targets for target in SUPERVISED)


def export_run(
    source: Path, out: Path, identity: ModelIdentity, config: ExportConfig, notify: Callable[[str], None]
) -> Exported:
    """Write a trained network as one ONNX file, with its weights, its description and its card beside it.

    Args:
        source: run folder, of which the best epoch is taken, or checkpoint.
        out: the ONNX file to make.
        identity: for the metadata; without a definition of the labels it gets one.
        config: the options.
        notify: gets messages.

    Raises:
        MtqscoreError: onnxruntime and torch disagree, something cannot be read or written, or a name is not allowed.
    """
    opened = open_trained(source, config.targets)
    targets = opened.network.targets
    if not identity.label_definition:
        scores = all(target in targets for target in SUPERVISED)
        meanings = "; ".join(f"{target.name}: {target.meaning}" for target in targets)
        identity = replace(identity, label_definition=LABEL_DEFINITION if scores else meanings)
    check_release(out, identity, opened.checkpoint.path)
    table = (source if source.is_dir() else source.parent) / "predictions_val.csv"
    calibration = _calibration(config.calibration, table, targets)
    accuracy = measure_run(source, calibration)
    parity = export_model(opened, out, identity, calibration, _clips(config, table, opened, notify))
    _, card_is_new = write_release(out, identity, accuracy, parity, targets)
    return Exported(targets, parity, card_is_new)


def _calibration(choice: str, table: Path, targets: Sequence[Target]) -> Calibration:
    if choice == "none":
        return from_points({}, targets)
    return fit_from_predictions(table, targets) if choice == "val" else read_calibration(Path(choice), targets)


def _clips(config: ExportConfig, table: Path, source: TrainedNetwork, notify: Callable[[str], None]) -> list[Clip]:
    if config.clips is not None:
        return read_clips(recordings_in(Path(config.clips), config.clip_count), source.window_samples)
    try:
        recordings = [found_under(table.parent, record["path"]) for record in read_table(table, ("path",))]
        return read_clips(recordings[: config.clip_count], source.window_samples)
    except InputError as error:
        notify(f"the recordings of the run are not at hand ({error}); comparing on synthetic ones")
        return synthetic_clips(config.clip_count)
