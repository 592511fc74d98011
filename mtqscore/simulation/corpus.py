"""Build a labelled corpus: in parallel, resumable, and the same for the same seed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from mtqscore.audio.levels import Signal
from mtqscore.base.files import replacing
from mtqscore.base.journal import Journal
from mtqscore.base.processes import WorkerPool
from mtqscore.errors import EnvironmentProblemError, InputError, UsageError
from mtqscore.labels.mapping import floor_ratio_db, label_parts
from mtqscore.labels.table import write_table
from mtqscore.simulation.config import SimulationConfig
from mtqscore.simulation.degradations.colour import Recolour
from mtqscore.simulation.degradations.external import check_command
from mtqscore.simulation.degradations.noises import NoiseSampler
from mtqscore.simulation.recipe import Chain, check_hold_out, draw_chain
from mtqscore.simulation.sampler import SPEECH_RATE_HZ, SoundSampler, SourceFile, list_files
from mtqscore.simulation.scene import Degradation, Scene, describe, start_scene
from mtqscore.simulation.voices import vary
from mtqscore.targets import SAMPLE_RATE_HZ, TARGETS

COLUMNS = (
    "path", "split", "speaker", "duration_s", "bandwidth", "kind", *(target.name for target in TARGETS),
    "speech_pesq", "noise_ratio_db", "musical", "rest_db", "clean", "noise", "chain",
)  # fmt: skip
ATTEMPTS = 6
"""A draw that leaves no measurable speech is drawn again, this often."""


@dataclass(frozen=True)
class _Job:
    config: SimulationConfig
    speech: tuple[SourceFile, ...]
    noise: tuple[SourceFile, ...]
    folder: Path


_worker: dict[str, Any] = {}


def _start_worker(job: _Job) -> None:
    _worker["job"] = job
    _worker["sources"] = {}


def simulate_corpus(
    speech: Path,
    noise: Path,
    folder: Path,
    config: SimulationConfig,
    *,
    workers: int,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Path:
    """Build the corpus, finish one that was interrupted, or add to one.

    Args:
        speech: folder or table of clean speech.
        noise: folder or table of noise.
        folder: where recordings (FLAC, 16 kHz, mono), ``manifest.csv`` and ``simulation.json`` go.
        config: what to build.
        workers: processes.
        progress: called with the number of finished clips and of all clips.

    Returns:
        The manifest.

    Raises:
        UsageError: the folder holds another corpus or a larger one, a source does not exist, or nothing has a name of
            ``hold_out``.
        InputError: a source cannot be used.
        EnvironmentProblemError: nothing can be written, or an external enhancer fails.
    """
    for command in config.enhancers:
        check_command(command)
    check_hold_out(config.hold_out)
    shares = {"val": config.val_share, "test": config.test_share}
    job = _Job(
        config,
        tuple(list_files(speech, shares, config.seed)),
        tuple(list_files(noise, shares, config.seed)),
        folder,
    )
    for split in sorted({config.split_of(index) for index in range(config.clips)}):
        SoundSampler(list(job.speech), list(job.noise), split)  # refuses an empty split before any work
    try:
        with _prepare(job, speech, noise) as journal:
            wanted = [str(index) for index in range(config.clips)]
            missing = [key for key in wanted if key not in journal or not (folder / journal[key]["path"]).is_file()]
            progress(config.clips - len(missing), config.clips)
            for done, record in enumerate(_made(job, list(map(int, missing)), workers), start=1):
                journal.add(str(record["index"]), record)
                progress(config.clips - len(missing) + done, config.clips)
            manifest = folder / "manifest.csv"
            write_table(manifest, COLUMNS, (journal[key] for key in wanted))
    except OSError as error:
        raise EnvironmentProblemError(f"{folder}: cannot write the corpus: {error.strerror or error}") from error
    return manifest


def _prepare(job: _Job, speech: Path, noise: Path) -> Journal:
    """Make the folder, or check that it holds this very corpus, and open the journal of its finished recordings."""
    (job.folder / "audio").mkdir(parents=True, exist_ok=True)
    for left_by_a_kill in (job.folder / "audio").glob("*.partial"):
        left_by_a_kill.unlink()
    described = {"speech": str(speech), "noise": str(noise), **asdict(job.config)}
    described["enhancers"], described["hold_out"] = list(job.config.enhancers), sorted({*job.config.hold_out})
    note = job.folder / "simulation.json"
    found = json.loads(note.read_text(encoding="utf-8")) if note.exists() else {**described, "clips": 0}
    changed = sorted(key for key in described if key != "clips" and found.get(key) != described[key])
    if changed:
        raise UsageError(
            f"{job.folder}: holds a corpus made with other settings ({', '.join(changed)}); choose another --out"
        )
    # No clip depends on how many there are, so a corpus may grow.
    if job.config.clips < found["clips"]:
        raise UsageError(
            f"{job.folder}: holds a corpus of {found['clips']} clips; ask for as many or more, or for another --out"
        )
    if found["clips"] != job.config.clips:
        with replacing(note) as partial:
            partial.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    return Journal(job.folder / "rows.jsonl", "simulated recordings by number")


def _made(job: _Job, missing: list[int], workers: int) -> Iterator[dict[str, Any]]:
    if workers <= 1:
        _start_worker(job)
        yield from map(_make, missing)
        return
    pool = WorkerPool(workers, _start_worker, job)
    try:
        # Bounded look-ahead, so that an interruption is answered at once.
        yield from pool.map(_make, missing, chunksize=4)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _make(index: int) -> dict[str, Any]:
    job: _Job = _worker["job"]
    split = job.config.split_of(index)
    if split not in _worker["sources"]:
        _worker["sources"][split] = SoundSampler(list(job.speech), list(job.noise), split)
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([job.config.seed, index, attempt])
        config = replace(job.config, hold_out=(), voice_share=0.0) if split == "test" else job.config
        record = make_clip(rng, _worker["sources"][split], config, job.folder / "audio" / f"{index:06d}.flac")
        if record is not None:
            return {"index": index, "split": split, **record}
    raise InputError(f"clip {index}: {ATTEMPTS} draws left no measurable speech; check the speech recordings")


def make_clip(
    rng: np.random.Generator, sources: SoundSampler, config: SimulationConfig, path: Path
) -> dict[str, Any] | None:
    """Draw, degrade, label and write one recording.

    Returns:
        Its row of the manifest, or None when the draw left no measurable speech.
    """
    voices = rng.spawn(1)[0]  # apart, so that all else stays the same
    rate_hz = 8_000 if rng.random() < config.narrow_share else SPEECH_RATE_HZ
    samples = int(rng.uniform(config.min_s, config.max_s) * SPEECH_RATE_HZ)
    clean, talker, clean_path = sources.speech(rng, samples)
    if len(clean) < config.min_s * SPEECH_RATE_HZ * 0.75:
        return None
    if voices.random() < config.voice_share:
        clean = vary(clean, SPEECH_RATE_HZ, voices)
    floor_db = floor_ratio_db(clean, SPEECH_RATE_HZ)
    scene, chain, steps = degrade(
        _with_pauses(clean, rng),
        rng,
        sources,
        rate_hz,
        enhancers=config.enhancers,
        enhancer_share=config.enhancer_share,
        hold_out=config.hold_out,
    )
    labels = label_parts(
        scene.clean, scene.speech, scene.noise, scene.rate_hz, raw_noise=scene.raw_noise, floor_db=floor_db
    )
    if labels is None:
        return None
    scene, level_db = _at_random_level(scene.at_rate(SAMPLE_RATE_HZ), rng)
    with replacing(path, synced=False) as partial:
        soundfile.write(partial, scene.mix, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_24")
    described = [*(describe(step) for step in steps), {"name": "level", "peak_db": level_db}]
    return {
        "path": f"audio/{path.name}",
        "speaker": talker,
        "duration_s": round(len(scene.mix) / SAMPLE_RATE_HZ, 3),
        "kind": _kind(chain.kind, steps),
        "rest_db": round(scene.rest_db, 1),
        "clean": clean_path.name,
        "noise": " ".join(scene.noise_names),
        "chain": json.dumps(described),
        **labels.as_record(),
    }


def degrade(
    clean: Signal,
    rng: np.random.Generator,
    sampler: NoiseSampler,
    rate_hz: int,
    *,
    enhancers: tuple[str, ...] = (),
    enhancer_share: float = 0.5,
    hold_out: tuple[str, ...] = (),
) -> tuple[Scene, Chain, tuple[Degradation, ...]]:
    """Draw what happens to clean speech, and do it.

    Args:
        clean: speech at 16 kHz, shape (samples,).
        rng: the source of everything random.
        sampler: where noise and other talkers come from.
        rate_hz: 8000 for narrowband, else 16000.
        enhancers: external enhancement commands.
        enhancer_share: share of what is enhanced that goes through one of them.
        hold_out: names of what must not be done.

    Returns:
        The scene at that rate, the chain, and all steps with their parameters.
    """
    scene = start_scene(clean, SPEECH_RATE_HZ).at_rate(rate_hz)
    chain = draw_chain(rng, sampler, rate_hz, commands=enhancers, command_share=enhancer_share, hold_out=hold_out)
    steps = (Recolour.draw(rng, rate_hz), *chain.steps)
    for step in steps:
        scene = step.apply(scene, rng)
    return scene, chain, steps


def _with_pauses(clean: Signal, rng: np.random.Generator) -> Signal:
    """Put a pause before and after the speech of every other recording, where noise is heard alone."""
    if rng.random() < 0.5:
        return clean
    before, after = (int(seconds * SPEECH_RATE_HZ) for seconds in rng.uniform(0, 1.2, size=2))
    return np.pad(clean, (before, after))


def _at_random_level(scene: Scene, rng: np.random.Generator) -> tuple[Scene, float]:
    """Scale to a random peak level that does not clip."""
    peak_db = round(float(min(rng.uniform(-30, 0), -0.3)), 1)
    peak = max(float(np.max(np.abs(scene.mix))), 1e-9)
    return scene.scaled(10 ** (peak_db / 20) / peak), peak_db


def _kind(kind: str, steps: tuple[Any, ...]) -> str:
    """Name the chain for tables: single distortions and enhancers by their own name."""
    if kind not in ("distortion", "enhanced"):
        return kind
    step = next((item for item in steps if item.name not in ("recolour", "noise", "band_limit")), None)
    return "band_limit" if step is None else str(step.name)
