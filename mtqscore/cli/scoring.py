"""What commands that score have in common: names become recordings, and progress is shown."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mtqscore.assess import Assessor
    from mtqscore.assess_config import AssessConfig
    from mtqscore.engine_ray import Cluster
    from mtqscore.inputs import Input
    from mtqscore.run import Run
    from mtqscore.runtime import Scorer
    from mtqscore.scores import Assessment
    from mtqscore.shards import Shard


class Scoring(Protocol):
    """What scores recordings: an `Assessor` in this process, or a cluster."""

    @property
    def config(self) -> AssessConfig:
        """Its options."""

    @property
    def model(self) -> str:
        """name@version of the model."""

    @property
    def model_sha256(self) -> str:
        """Checksum of the model's file, hexadecimal."""

    @property
    def provider(self) -> str:
        """The execution provider that really runs the model."""

    @property
    def device_note(self) -> str:
        """Why a GPU lies idle; empty when none does."""

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the scores."""

    @property
    def scorer(self) -> Scorer:
        """The model in this process."""

    def assess_files(
        self, paths: Iterable[str | os.PathLike[str] | Input], progress: Callable[[float], None] | None = None
    ) -> Iterator[Assessment]:
        """Score many files; rows come in the order of the paths."""


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
    """Where ``--engine`` scores; None is this process.

    Raises:
        UsageError: there is no such engine, or options do not go with it.
    """
    from mtqscore.errors import UsageError

    if engine == "ray":
        from mtqscore.engine_ray import Cluster

        return Cluster(address, workers)
    if engine != "local":
        raise UsageError(f"--engine {engine!r} is neither local nor ray")
    if address is not None or workers is not None:
        raise UsageError("--address and --workers go with --engine ray")
    return None


@contextmanager
def open_engine(config: AssessConfig, cluster: Cluster | None, *, quiet: bool = False) -> Iterator[Scoring]:
    """Load the model here, or on a cluster that is left in the end."""
    if cluster is None:
        yield load_assessor(config, quiet=quiet)
        return
    from mtqscore.cli.console import say
    from mtqscore.engine_ray import RayEngine

    with RayEngine(config, cluster, None if quiet else say) as engine:
        yield engine


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
