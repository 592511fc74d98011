"""Distillation (arXiv 2502.05356): a student learns what teachers say of unlabelled speech, as a whole and along time.

Clips of the speech, degraded by the simulation or as they are, are judged by the teachers and learned from at once, in
the loop of every other training. Where scores are there already, recordings are used as they are.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from mtqscore.analysis import statistics as stats
from mtqscore.base.machine import usable_cores
from mtqscore.base.schema import to_plain
from mtqscore.base.text import printable
from mtqscore.errors import InputError, UsageError
from mtqscore.labels.table import LabelledRecording, read_label_table, write_table
from mtqscore.simulation.recipe import check_hold_out
from mtqscore.simulation.sampler import list_files
from mtqscore.targets import DECIMALS, SAMPLE_RATE_HZ, Target
from mtqscore.training import checkpoint as store
from mtqscore.training.compute.distributed import Ranks, local_processes
from mtqscore.training.compute.precision import training_device
from mtqscore.training.compute.resources import run_file, write_json
from mtqscore.training.config import DistillConfig, TrainConfig
from mtqscore.training.data.dataset import Recordings, decode
from mtqscore.training.distillation.dataset import HELD_OUT, ClipCache, ClipMaker, DistillationDataset, made
from mtqscore.training.distillation.ensemble import TeacherEnsemble, open_ensemble
from mtqscore.training.distillation.unlabelled import MADE_HERE, Source, Stock, divide, list_sources
from mtqscore.training.loop import FREE_SETTINGS, Data, Watch
from mtqscore.training.recipes import is_first, transfer
from mtqscore.training.run import Material, carry_out_run, load_split, make_folder
from mtqscore.training.teachers.teacher import TeacherEstimate, full_scale
from mtqscore.training.validation import MEASURES
from mtqscore.training.weights import LAST_FILE

VALIDATION_FOLDER = "validation"
CURVES_FILE = "curves.npz"
JUDGED_AT_ONCE = 32

Say = Callable[[str], None]
Advance = Callable[[int, int], None]


@dataclass(frozen=True)
class DistillationInputs:
    """What a student hears, besides its settings.

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


def distill(
    hearing: DistillationInputs, folder: Path, config: TrainConfig, watch: Watch, targets: Sequence[str] | None = None
) -> dict[str, Any]:
    """Train a student, or go on with an interrupted run in the same folder.

    Args:
        hearing: what it hears.
        folder: run folder; made if needed.
        config: settings, with ``distillation``.
        watch: who is told of the progress.
        targets: what it estimates; None for all that the teachers judge.

    Returns:
        What ``results.json`` holds.

    Raises:
        UsageError: the teachers judge none of the targets, or the folder holds another run.
        InputError: speech, a teacher or a table is faulty.
        EnvironmentProblemError: memory, room on the disk or a device is missing.
    """
    settings = config.distillation or DistillConfig()
    ensemble = open_ensemble(settings.teachers, hearing.base, training_device(config.device))
    panel = ensemble if targets is None else ensemble.restricted(targets)
    config = dataclasses.replace(config, targets=tuple(target.name for target in panel.targets))
    config, initial = _initial(hearing.init, config, folder, watch.message)
    if panel.tables:
        for name in ("noise", "cache", "labelled"):
            if getattr(hearing, name) is not None:
                raise UsageError(f"--{name}: with a table of scores, recordings are used as they are")
        results = carry_out_run(hearing.data, folder, config, watch, initial, _as_they_are(hearing, folder, panel))
    else:
        with _clips(hearing, folder, panel, config, watch) as read:
            results = carry_out_run(hearing.data, folder, config, watch, initial, read)
    results["teachers"] = [to_plain(choice) for choice in settings.teachers]
    if hearing.labels is not None and not panel.tables:
        results["teacher_labels"] = _teachers_own(panel, hearing.labels, watch)
    if is_first():
        write_json(folder / "results.json", results)
    return results


Read = Callable[[TrainConfig, Watch, Ranks], Material]


# --- clips made as they are wanted ----------------------------------------------------------------------------


@contextmanager
def _clips(
    hearing: DistillationInputs, folder: Path, panel: TeacherEnsemble, config: TrainConfig, watch: Watch
) -> Iterator[Read]:
    """Give what reads the material of a run on clips; the processes that make them end with the context."""
    settings = config.distillation or DistillConfig()
    check_hold_out(settings.hold_out)
    own = [folder, *([hearing.cache] if hearing.cache is not None else [])]
    learned, held = divide(_listed(hearing.data, own, watch), settings.val_share, config.seed)
    noise = _listed(hearing.noise, own, watch) if hearing.noise is not None else []
    noise_learned, noise_held = divide(noise, settings.val_share, config.seed) if len(noise) > 1 else (noise, noise)
    watch.message(f"{hearing.data}: {len(learned):,} recordings to learn from, {len(held):,} held out")
    content = [_digest(part, hearing.base) for part in (learned, held, noise_learned, noise_held)]
    workers = hearing.workers or max(1, usable_cores() // local_processes())
    stocks = Stock(learned, noise_learned), Stock(held, noise_held)
    maker = ClipMaker(*stocks, settings, config.seed, workers)

    def read(config: TrainConfig, watch: Watch, ranks: Ranks) -> Material:
        make_folder(folder)
        begun = folder / LAST_FILE
        if begun.is_file():  # before anything of it is made anew
            store.check_same_config(store.read_checkpoint(begun).config, config, folder, FREE_SETTINGS)
        labelled = _labelled(hearing.labelled, panel.targets, config, watch)
        heard_of = [panel.fingerprint, config.seed, *content]
        cache = None
        if hearing.cache is not None:
            decides = to_plain(settings) | {"teachers": [], "val_clips": 0, "label_share": 0}
            cache = ClipCache(hearing.cache, _sha256([decides, heard_of]))
        dataset = DistillationDataset(maker, panel, cache, labelled)
        identity = _sha256([to_plain(settings), heard_of])
        rows, curves = _validation(folder, maker, panel, identity, ranks, watch)
        val = Recordings(rows, config.memory_limit_gb * 1e9, usable_cores(), panel.targets, curves)
        fingerprint = [heard_of, cache is not None, _labels_digest(labelled)]
        judged: dict[str, Callable[[], Recordings]] = {"val": lambda: val}
        if (table := hearing.labels) is not None:
            judged["labels"] = lambda: load_split(_evaluated(table), config, watch)
        facts = {"recordings": {"train": len(learned), "val": len(held), "noise": len(noise)}}
        return Material(Data(dataset, val, _sha256(fingerprint)), judged, facts)

    try:
        yield read
    finally:
        maker.close()


def _listed(where: Path, own: Sequence[Path], watch: Watch) -> list[Source]:
    sources, left_out = list_sources(where, own, lambda done, total: watch.step(done, total, "looking at recordings"))
    if left_out:
        watch.message(f"{where}: {len(left_out):,} recordings are left out, such as {printable(left_out[0])}")
    return sources


def _validation(
    folder: Path, maker: ClipMaker, panel: TeacherEnsemble, identity: str, ranks: Ranks, watch: Watch
) -> tuple[list[LabelledRecording], list[Any]]:
    """Make the clips of the validation and ask the teachers about them, or read what an earlier call made.

    They are ordinary recordings with a label table, so that anything can be compared on them.
    """
    place = folder / VALIDATION_FOLDER
    table, note = place / "manifest.csv", place / MADE_HERE
    if ranks.first and not (table.is_file() and note.is_file() and note.read_text(encoding="ascii") == identity):
        if (folder / LAST_FILE).is_file():
            raise UsageError(f"{folder}: holds a run on other recordings or teachers; choose another --out")
        make_folder(place)
        note.unlink(missing_ok=True)
        drafts = maker.drafts(HELD_OUT, 0)
        records: list[dict[str, object]] = []
        curves: dict[str, Any] = {}
        for start in range(0, len(drafts), JUDGED_AT_ONCE):
            watch.step(start, len(drafts), "making clips for the validation")
            futures = [maker.submit(draft) for draft in drafts[start : start + JUDGED_AT_ONCE]]
            clips = [made(future) for future in futures]
            for clip, judgement in zip(clips, panel.estimate([full_scale(clip) for clip in clips]), strict=True):
                name = f"{len(records):06d}.flac"
                with run_file(place / name) as partial:
                    soundfile.write(partial, clip, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
                records.append({"path": name, "split": "val", **_cells(judgement, panel.targets)})
                if judgement.curve is not None:
                    curves[name] = judgement.curve
        with run_file(place / CURVES_FILE) as partial, partial.open("wb") as stream:
            np.savez(stream, **curves)
        with run_file(table) as partial:
            write_table(partial, ["path", "split", *(target.name for target in panel.targets)], records)
        with run_file(note) as partial:
            partial.write_text(identity, encoding="ascii")
    ranks.wait()
    rows = read_label_table(table)
    with np.load(place / CURVES_FILE, allow_pickle=False) as kept:
        return rows, [kept.get(row.path.name) for row in rows]


def _cells(judgement: TeacherEstimate, targets: Sequence[Target]) -> dict[str, str]:
    scores = zip(targets, judgement.scores, strict=True)
    return {target.name: f"{score:.{DECIMALS}f}" for target, score in scores if np.isfinite(score)}


def _labelled(table: Path | None, targets: Sequence[Target], config: TrainConfig, watch: Watch) -> Recordings | None:
    """Recordings with labels that are learned beside the clips: those of the split train."""
    if table is None:
        return None
    names = {target.name for target in targets}
    rows = [row for row in read_label_table(table) if row.split == "train" and names & row.labels.keys()]
    if not rows:
        raise InputError(f"{table}: no training recording has a label of {', '.join(sorted(names))}")
    return load_split(rows, config, watch)


def _evaluated(table: Path) -> list[LabelledRecording]:
    """Recordings of a table that nobody learned from: those of the split test if it has any, else all."""
    rows = read_label_table(table)
    return [row for row in rows if row.split == "test"] or rows


def _teachers_own(panel: TeacherEnsemble, table: Path, watch: Watch) -> dict[str, dict[str, float]]:
    """How well the teachers agree with the labels that the student is compared with."""
    rows = _evaluated(table)
    said = _judgements(panel, [row.path for row in rows], watch)
    found = {}
    for place, target in enumerate(panel.targets):
        labels = np.array([row.labels.get(target.name, np.nan) for row in rows])
        scores = np.array([judgement.scores[place] for judgement in said])
        found[target.name] = {name: stats.METRICS[name](labels, scores) for name in MEASURES}
    words = [f"{name} LCC {values['lcc']:.3f} RMSE {values['rmse']:.3f}" for name, values in found.items()]
    watch.message(f"labels, by the teachers: {', '.join(words)}")
    return found


# --- scores that are there already ----------------------------------------------------------------------------


def _as_they_are(hearing: DistillationInputs, folder: Path, panel: TeacherEnsemble) -> Read:
    """Give what reads the material of a run on recordings whose scores stand in tables."""

    def read(config: TrainConfig, watch: Watch, _ranks: Ranks) -> Material:
        settings = config.distillation or DistillConfig()
        make_folder(folder)
        paths = sorted({path for _, table in panel.tables for path in table.scores})
        if missing := sum(table.missing for _, table in panel.tables):
            watch.message(f"{missing:,} recordings with scores are not in {hearing.data}")
        base, splits = hearing.base.resolve(), _splits(hearing.data)
        sources = [
            Source(path, 1, str(path if path.parent == base else path.parent), splits.get(path, ""))
            for path in paths
            if splits.get(path) != "test"
        ]
        learned, held = divide(sources, settings.val_share, config.seed)
        rows: dict[str, list[LabelledRecording]] = {}
        curves: dict[str, list[Any]] = {}
        for split, part in (("train", learned), ("val", held)):
            files = [source.path for source in part]
            said = _judgements(panel, files, watch)
            rows[split] = [
                LabelledRecording(
                    path, split, {name: float(text) for name, text in _cells(judgement, panel.targets).items()}
                )
                for path, judgement in zip(files, said, strict=True)
            ]
            curves[split] = [judgement.curve for judgement in said]
        train, val = (
            Recordings(rows[split], config.memory_limit_gb * 1e9, usable_cores(), panel.targets, curves[split])
            for split in ("train", "val")
        )
        watch.message(f"{hearing.data}: {len(train):,} recordings to learn from, {len(val):,} held out")
        judged: dict[str, Callable[[], Recordings]] = {"val": lambda: val}
        if (table := hearing.labels) is not None:
            judged["labels"] = lambda: load_split(_evaluated(table), config, watch)
        told = [(str(row.path), row.split, row.labels) for part in rows.values() for row in part]
        facts = {"recordings": {"train": len(train), "val": len(val)}}
        return Material(Data(train, val, _sha256([panel.fingerprint, told])), judged, facts)

    return read


def _splits(data: Path) -> dict[Path, str]:
    """Say which recordings a table gives to which split; a folder gives none."""
    if data.is_dir():
        return {}
    return {one.path.resolve(): one.split for one in list_files(data, {}, 0)}


def _judgements(panel: TeacherEnsemble, paths: Sequence[Path], watch: Watch) -> list[TeacherEstimate]:
    """Ask a panel about whole recordings."""
    said: list[TeacherEstimate] = []
    for start in range(0, len(paths), JUDGED_AT_ONCE):
        watch.step(start, len(paths), "asking the teachers")
        some = [path.resolve() for path in paths[start : start + JUDGED_AT_ONCE]]
        said += panel.estimate([full_scale(decode(path)) for path in some], some)
    return said


# --- what is common -------------------------------------------------------------------------------------------


def _initial(
    init: Path | None, config: TrainConfig, folder: Path, say: Say
) -> tuple[TrainConfig, store.Checkpoint | None]:
    """Weights to begin with, all that fit, and the network that they are of; a run that goes on has its own."""
    if init is None:
        return config, None
    begun = folder / LAST_FILE
    checkpoint = store.read_checkpoint(begun if begun.is_file() else init)
    config = dataclasses.replace(config, network=checkpoint.config.network)
    if begun.is_file():
        return config, None
    initial, taken = transfer(checkpoint, config, heads=True)
    say(f"{init}: begins with {', '.join(taken['taken'])}; fresh: {', '.join(taken['fresh']) or 'none'}")
    return config, initial


def _digest(sources: Sequence[Source], base: Path) -> str:
    """Digest of recordings by their place and length; where the whole folder lies does not matter."""
    roots = base.resolve()
    names = []
    for one in sources:
        path = one.path.resolve()
        names.append((str(path.relative_to(roots) if path.is_relative_to(roots) else path), one.samples))
    return _sha256(names)


def _labels_digest(labelled: Recordings | None) -> str:
    if labelled is None:
        return ""
    names = [(row.path.name, int(length)) for row, length in zip(labelled.rows, labelled.lengths, strict=True)]
    return _sha256([names, hashlib.sha256(labelled.labels.tobytes()).hexdigest()])


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
