"""What commands that score have in common: names become recordings, and progress is shown."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeAlias

    from mtqscore.assess import Assessor
    from mtqscore.assess_config import AssessConfig
    from mtqscore.engines.base import Engine
    from mtqscore.engines.ray import Cluster
    from mtqscore.inputs import Input
    from mtqscore.run import Run
    from mtqscore.scores import Assessment
    from mtqscore.shards import Shard

    Scoring: TypeAlias = Assessor | Engine

MOST_WORKERS = 1024


def read_names(paths: Sequence[str], from_list: str | None) -> list[str]:
    """Names in their order: those of the list on stdin where ``-`` stands, those of ``from_list`` last.

    Raises:
        UsageError: the list cannot be read.
    """
    import sys
    from pathlib import Path

    from mtqscore.errors import UsageError
    from mtqscore.inputs import read_list

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


def describe_run(assessor: Scoring, *, frames: bool = False, shard: Shard | None = None) -> Run:
    """What all rows of a run have in common.

    Args:
        assessor: scores them.
        frames: whether results get the curves along time.
        shard: the part of the list that is scored.
    """
    import mtqscore
    from mtqscore.run import Run

    return Run(
        version=mtqscore.__version__,
        model=assessor.model,
        model_sha256=assessor.model_sha256,
        provider=assessor.provider,
        targets=assessor.targets,
        options=assessor.config,
        frames=frames,
        shard=shard,
    )


def load_assessor(config: AssessConfig, *, quiet: bool = False) -> Assessor:
    """Load the model; where it must be fetched, say so on stderr unless ``quiet``."""
    from mtqscore.assess import Assessor
    from mtqscore.cli.console import say

    return Assessor(config, None if quiet else say)


def choose_cluster(engine: str, address: str | None, workers: int | None) -> Cluster | None:
    """Where ``--engine`` scores; None is this machine, without Ray.

    Raises:
        UsageError: there is no such engine, or options do not go with it.
    """
    from mtqscore.errors import UsageError

    if engine == "ray":
        from mtqscore.engines.ray import Cluster

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
) -> Iterator[Scoring]:
    """Load the model here, in some processes, or on a cluster; what is not here is left in the end.

    Args:
        config: the options.
        cluster: None is this machine, without Ray.
        workers: processes on this machine; None is as many as pay.
        inputs: what is to be scored.
        quiet: no messages.
    """
    from mtqscore.cli.console import say
    from mtqscore.engines.worth import worth_processes

    if cluster is not None:
        from mtqscore.engines.ray import RayEngine

        with RayEngine(config, cluster, None if quiet else say) as on_cluster:
            yield on_cluster
        return
    processes = workers or worth_processes(config, inputs)
    if processes == 1:
        yield load_assessor(config, quiet=quiet)
        return
    from mtqscore.engines.process_worker import keep_one_arena
    from mtqscore.engines.processes import ProcessEngine

    keep_one_arena()
    with ProcessEngine(config, processes, None if quiet else say) as here:
        yield here


def score(assessor: Scoring, inputs: list[Input], *, quiet: bool) -> Iterator[Assessment]:
    """Score recordings and show how far the work is."""
    import time

    from mtqscore.cli.console import progress_bar

    started_s = time.monotonic()
    done, audio_s = 0, 0.0

    def hear(more_s: float) -> None:
        nonlocal audio_s
        audio_s += more_s
        note = f"{audio_s / max(time.monotonic() - started_s, 1e-9):,.0f} × real time"
        advance(done, len(inputs), note)

    with progress_bar("scoring", "recordings", quiet=quiet) as advance:
        for assessment in assessor.assess_files(inputs, hear):
            yield assessment
            done += assessment.begins_recording
            hear(0.0)  # what cannot be scored is done as well
