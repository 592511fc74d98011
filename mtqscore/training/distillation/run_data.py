"""Data of a distillation run: clips that are made and scored as they are wanted, or recordings with scores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from mtqscore.base.machine import usable_cores
from mtqscore.base.schema import to_plain
from mtqscore.base.text import printable
from mtqscore.errors import InputError, UsageError
from mtqscore.labels.table import LabelledRecording, read_label_table, write_table
from mtqscore.simulation.recipe import check_hold_out
from mtqscore.simulation.sampler import list_files
from mtqscore.targets import DECIMALS, SAMPLE_RATE_HZ, Target
from mtqscore.training import checkpoint as store
from mtqscore.training.compute.distributed import ProcessGroup, local_processes
from mtqscore.training.compute.resources import run_file
from mtqscore.training.config import DistillConfig, TrainConfig
from mtqscore.training.data.dataset import Dataset, decode
from mtqscore.training.data.frame_labels import Curve
from mtqscore.training.distillation.dataset import HELD_OUT, ClipCache, ClipMaker, DistillationDataset, made
from mtqscore.training.distillation.ensemble import TeacherEnsemble
from mtqscore.training.distillation.unlabelled import CLIPS_NOTE, SpeechFile, StretchSampler, divide, list_speech
from mtqscore.training.loop import FREE_SETTINGS, RunData, Watch
from mtqscore.training.run import GIGABYTE, load_split, make_folder
from mtqscore.training.teachers.teacher import TeacherEstimate, full_scale
from mtqscore.training.weights import LAST_FILE

VALIDATION_FOLDER = "validation"
CURVES_FILE = "curves.npz"
CLIPS_AT_ONCE = 32
"""Recordings that the teachers get at once."""

Read = Callable[[TrainConfig, Watch, ProcessGroup], RunData]


@dataclass(frozen=True)
class DistillationInputs:
    """Files of a distillation, besides its settings.

    Args:
        data: folder, or table, of unlabelled speech.
        noise: folder, or table, of noise; None for made noise only.
        cache: folder that keeps the clips of the first pass; None for new ones in every epoch.
        labelled: label table whose recordings are mixed in, or None.
        labels: label table that the student is compared with in the end, or None.
        init: run folder or checkpoint whose weights to begin with, or None.
        workers: processes that make clips; 0 for one a core.
    """

    data: Path
    noise: Path | None = None
    cache: Path | None = None
    labelled: Path | None = None
    labels: Path | None = None
    init: Path | None = None
    workers: int = 0

    @property
    def base(self) -> Path:
        """Folder of the speech."""
        return self.data if self.data.is_dir() else self.data.parent


@contextmanager
def made_clips(
    inputs: DistillationInputs, folder: Path, ensemble: TeacherEnsemble, config: TrainConfig, watch: Watch
) -> Iterator[Read]:
    """Give the reader of a run on clips; the processes that make them end with the context."""
    settings = config.distillation or DistillConfig()
    check_hold_out(settings.hold_out)
    own = [folder, *([inputs.cache] if inputs.cache is not None else [])]
    learned, held = divide(_listed(inputs.data, own, watch), settings.val_share, config.seed)
    noise = _listed(inputs.noise, own, watch) if inputs.noise is not None else []
    noise_learned, noise_held = divide(noise, settings.val_share, config.seed) if len(noise) > 1 else (noise, noise)
    watch.message(f"{inputs.data}: {len(learned):,} recordings to learn from, {len(held):,} held out")
    content = [_digest(part, inputs.base) for part in (learned, held, noise_learned, noise_held)]
    clips_of = [ensemble.fingerprint, config.seed, *content]
    samplers = StretchSampler(learned, noise_learned), StretchSampler(held, noise_held)
    workers = inputs.workers or max(1, usable_cores() // local_processes())

    def read(config: TrainConfig, watch: Watch, group: ProcessGroup) -> RunData:
        make_folder(folder)
        begun = folder / LAST_FILE
        if begun.is_file():  # before anything of it is made anew
            store.check_same_config(store.read_checkpoint(begun).config, config, folder, FREE_SETTINGS)
        labelled = _labelled(inputs.labelled, ensemble.targets, config, watch)
        cache = None
        if inputs.cache is not None:
            decides = to_plain(settings) | {"teachers": [], "val_clips": 0, "label_share": 0}
            cache = ClipCache(inputs.cache, _sha256([decides, clips_of]))
        identity = _sha256([to_plain(settings), clips_of])
        rows, curves = _validation(folder, maker, ensemble, identity, group, watch)
        val = _dataset(rows, curves, ensemble, config)
        fingerprint = _sha256([clips_of, cache is not None, _labels_digest(labelled)])
        train = DistillationDataset(maker, ensemble, cache, labelled)
        counts = {"train": len(learned), "val": len(held), "noise": len(noise)}
        evaluated = _evaluated(val, inputs.labels, config, watch)
        return RunData(train, val, fingerprint, evaluated, {"recordings": counts})

    with closing(ClipMaker(*samplers, settings, config.seed, workers)) as maker:
        yield read


def scored_recordings(inputs: DistillationInputs, folder: Path, ensemble: TeacherEnsemble) -> Read:
    """Give the reader of a run on recordings whose scores stand in tables."""

    def read(config: TrainConfig, watch: Watch, _group: ProcessGroup) -> RunData:
        settings = config.distillation or DistillConfig()
        make_folder(folder)
        if missing := sum(table.missing for _, table in ensemble.tables):
            watch.message(f"{missing:,} recordings with scores are not in {inputs.data}")
        base, splits = inputs.base.resolve(), _splits(inputs.data)
        files = [
            SpeechFile(path, 1, str(path if path.parent == base else path.parent), splits.get(path, ""))
            for path in sorted({path for _, table in ensemble.tables for path in table.scores})
            if splits.get(path) != "test"
        ]
        parts: list[Dataset] = []
        for split, part in zip(("train", "val"), divide(files, settings.val_share, config.seed), strict=True):
            estimates = estimate_files(ensemble, [file.path for file in part], watch)
            rows = [
                LabelledRecording(file.path, split, {name: float(text) for name, text in cells.items()})
                for file, cells in zip(part, (_cells(one, ensemble.targets) for one in estimates), strict=True)
            ]
            parts.append(_dataset(rows, [one.curve for one in estimates], ensemble, config))
        train, val = parts
        watch.message(f"{inputs.data}: {len(train):,} recordings to learn from, {len(val):,} held out")
        content = [(str(row.path), row.split, row.labels) for part in parts for row in part.rows]
        fingerprint = _sha256([ensemble.fingerprint, content])
        counts = {"train": len(train), "val": len(val)}
        evaluated = _evaluated(val, inputs.labels, config, watch)
        return RunData(train, val, fingerprint, evaluated, {"recordings": counts})

    return read


def estimate_files(ensemble: TeacherEnsemble, paths: Sequence[Path], watch: Watch) -> list[TeacherEstimate]:
    """Score whole recordings with the teachers."""
    found: list[TeacherEstimate] = []
    for start in range(0, len(paths), CLIPS_AT_ONCE):
        watch.step(start, len(paths), "scoring with the teachers")
        some = [path.resolve() for path in paths[start : start + CLIPS_AT_ONCE]]
        found += ensemble.estimate([full_scale(decode(path)) for path in some], some)
    return found


def held_out_rows(table: Path) -> list[LabelledRecording]:
    """Recordings of a table that nobody learned from: those of the split test if it has any, else all."""
    rows = read_label_table(table)
    return [row for row in rows if row.split == "test"] or rows


def _listed(where: Path, own: Sequence[Path], watch: Watch) -> list[SpeechFile]:
    files, left_out = list_speech(where, own, lambda done, total: watch.step(done, total, "reading headers"))
    if left_out:
        watch.message(f"{where}: {len(left_out):,} recordings are left out, such as {printable(left_out[0])}")
    return files


def _dataset(
    rows: Sequence[LabelledRecording], curves: Sequence[Curve | None], ensemble: TeacherEnsemble, config: TrainConfig
) -> Dataset:
    return Dataset(rows, config.memory_limit_gb * GIGABYTE, usable_cores(), ensemble.targets, curves)


def _evaluated(
    val: Dataset, labels: Path | None, config: TrainConfig, watch: Watch
) -> Mapping[str, Callable[[], Dataset]]:
    """Datasets that the best epoch is evaluated on, by name."""
    found: dict[str, Callable[[], Dataset]] = {"val": lambda: val}
    if labels is not None:
        found["labels"] = lambda: load_split(held_out_rows(labels), config, watch)
    return found


def _labelled(table: Path | None, targets: Sequence[Target], config: TrainConfig, watch: Watch) -> Dataset | None:
    """Recordings with labels that are learned beside the clips: those of the split train."""
    if table is None:
        return None
    names = {target.name for target in targets}
    rows = [row for row in read_label_table(table) if row.split == "train" and names & row.labels.keys()]
    if not rows:
        raise InputError(f"{table}: no training recording has a label of {', '.join(sorted(names))}")
    return load_split(rows, config, watch)


def _validation(
    folder: Path, maker: ClipMaker, ensemble: TeacherEnsemble, identity: str, group: ProcessGroup, watch: Watch
) -> tuple[list[LabelledRecording], list[Any]]:
    """Make and score the clips of the validation, or read those of an earlier call.

    They are ordinary recordings with a label table, so that anything can be compared on them.
    """
    place = folder / VALIDATION_FOLDER
    table, note = place / "manifest.csv", place / CLIPS_NOTE
    if group.is_first and not (table.is_file() and note.is_file() and note.read_text(encoding="ascii") == identity):
        if (folder / LAST_FILE).is_file():
            raise UsageError(f"{folder}: holds a run on other recordings or teachers; choose another --out")
        make_folder(place)
        note.unlink(missing_ok=True)
        _make_validation(place, table, maker, ensemble, watch)
        with run_file(note) as partial:
            partial.write_text(identity, encoding="ascii")
    group.wait()
    rows = read_label_table(table)
    with np.load(place / CURVES_FILE, allow_pickle=False) as kept:
        return rows, [kept.get(row.path.name) for row in rows]


def _make_validation(place: Path, table: Path, maker: ClipMaker, ensemble: TeacherEnsemble, watch: Watch) -> None:
    drafts = maker.drafts(HELD_OUT, 0)
    records: list[dict[str, object]] = []
    curves: dict[str, Curve] = {}
    for start in range(0, len(drafts), CLIPS_AT_ONCE):
        watch.step(start, len(drafts), "making clips for the validation")
        futures = [maker.submit(draft) for draft in drafts[start : start + CLIPS_AT_ONCE]]
        clips = [made(future) for future in futures]
        for clip, estimate in zip(clips, ensemble.estimate([full_scale(clip) for clip in clips]), strict=True):
            name = f"{len(records):06d}.flac"
            with run_file(place / name) as partial:
                soundfile.write(partial, clip, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
            records.append({"path": name, "split": "val", **_cells(estimate, ensemble.targets)})
            if estimate.curve is not None:
                curves[name] = estimate.curve
    with run_file(place / CURVES_FILE) as partial, partial.open("wb") as stream:
        np.savez(stream, **curves)  # type: ignore[arg-type]
    with run_file(table) as partial:
        write_table(partial, ["path", "split", *(target.name for target in ensemble.targets)], records)


def _cells(estimate: TeacherEstimate, targets: Sequence[Target]) -> dict[str, str]:
    scores = zip(targets, estimate.scores, strict=True)
    return {target.name: f"{score:.{DECIMALS}f}" for target, score in scores if np.isfinite(score)}


def _splits(data: Path) -> dict[Path, str]:
    """Splits of the recordings of a table; a folder gives none."""
    return {} if data.is_dir() else {one.path.resolve(): one.split for one in list_files(data, {}, 0)}


def _digest(files: Sequence[SpeechFile], base: Path) -> str:
    """Digest of recordings by their place and length; where the whole folder lies does not matter."""
    root = base.resolve()
    paths = [(one.path.resolve(), one.samples) for one in files]
    return _sha256([(str(path.relative_to(root) if path.is_relative_to(root) else path), size) for path, size in paths])


def _labels_digest(labelled: Dataset | None) -> str:
    if labelled is None:
        return ""
    names = [(row.path.name, int(length)) for row, length in zip(labelled.rows, labelled.lengths, strict=True)]
    return _sha256([names, hashlib.sha256(labelled.labels.tobytes()).hexdigest()])


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
