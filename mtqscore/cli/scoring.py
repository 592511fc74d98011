"""Recordings from names, the engine that scores them, and progress, for the commands that score."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mtqscore.base.version import VERSION
from mtqscore.cli.console import progress_bar, say
from mtqscore.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mtqscore.audio.inputs import Input
    from mtqscore.config import AssessConfig
    from mtqscore.results.run import Run
    from mtqscore.results.shards import Shard
    from mtqscore.scores import Assessment
    from mtqscore.scoring.assessor import Assessor
    from mtqscore.scoring.engine import Engine
    from mtqscore.scoring.ray import Cluster

MOST_WORKERS = 1024


def read_names(paths: Sequence[str], from_list: str | None) -> list[str]:
    """Names in their order: those of the list on stdin where ``-`` stands, those of ``from_list`` last.

    Raises:
        UsageError: the list cannot be read.
    """

    from mtqscore.audio.inputs import read_list

    names: list[str] = []
    for path in paths:
        names += read_list(sys.stdin.buffer.read()) if path == "-" else [path]
    if from_list is not None:
        try:
            content = sys.stdin.buffer.read() if from_list == "-" else Path(from_list).read_bytes()
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot read the list {from_list!r}: {error}") from error
        names += read_list(content)
    return names


def describe_run(assessor: Engine, *, frames: bool = False, shard: Shard | None = None) -> Run:
    """Describe a run by what all its rows have in common; with ``frames`` results get the curves along time."""
    from mtqscore.results.run import Run

    return Run(
        version=VERSION,
        model=assessor.loaded.model,
        model_sha256=assessor.loaded.model_sha256,
        provider=assessor.loaded.provider,
        targets=assessor.loaded.targets,
        options=assessor.config,
        frames=frames,
        shard=shard,
    )


def load_assessor(config: AssessConfig, *, quiet: bool = False) -> Assessor:
    """Load the model; where it must be fetched, say so on stderr unless ``quiet``."""
    from mtqscore.scoring.assessor import Assessor

    return Assessor(config, None if quiet else say)


def choose_cluster(engine: str, address: str | None, workers: int | None) -> Cluster | None:
    """Choose the cluster of ``--engine``; None is this machine, without Ray.

    Raises:
        UsageError: there is no such engine, or options do not go with it.
    """

    if engine == "ray":
        from mtqscore.scoring.ray import Cluster

        return Cluster(address, workers)
    if engine != "local":
        raise UsageError(f"--engine {engine!r} is neither local nor ray")
    if address is not None:
        raise UsageError("--address goes with --engine ray")
    if workers is not None and not 1 <= workers <= MOST_WORKERS:
        raise UsageError(f"--workers {workers} is outside 1 to {MOST_WORKERS}")
    return None


@contextmanager
def open_engine(
    config: AssessConfig, cluster: Cluster | None, workers: int | None, inputs: Sequence[Input], *, quiet: bool = False
) -> Iterator[Engine]:
    """Load the model here, in some processes (None: as many as pay), or on a cluster, which is left in the end."""
    from mtqscore.base.machine import usable_cores
    from mtqscore.scoring.processes import ProcessEngine, worker_count

    if cluster is not None:
        from mtqscore.scoring.ray import RayEngine

        with RayEngine(config, cluster, None if quiet else say) as on_cluster:
            yield on_cluster
        return
    processes = min(workers, usable_cores()) if workers else worker_count(config, inputs)
    if processes == 1:
        yield load_assessor(config, quiet=quiet)
        return
    with ProcessEngine(config, processes, None if quiet else say) as here:
        yield here


def score(assessor: Engine, inputs: list[Input], *, quiet: bool) -> Iterator[Assessment]:
    """Score recordings and show how far the work is."""

    started_s = time.monotonic()
    done, audio_s = 0, 0.0

    def count(more_s: float) -> None:
        nonlocal audio_s
        audio_s += more_s
        note = f"{audio_s / max(time.monotonic() - started_s, 1e-9):,.0f} × real time"
        advance(done, len(inputs), note)

    with progress_bar("scoring", "recordings", quiet=quiet) as advance:
        for assessment in assessor.assess_files(inputs, count):
            yield assessment
            done += assessment.begins_recording
            count(0.0)  # what cannot be scored is done as well
