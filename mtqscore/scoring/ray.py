"""Scoring on a Ray cluster: a pool of workers, each with an assessor of its own, and the rows of one process."""

from __future__ import annotations

import logging
import math
import os
import pickle
import signal
import socket
import threading
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from mtqscore.base.devices import CPU_PROVIDER
from mtqscore.base.machine import usable_cores
from mtqscore.config import AssessConfig
from mtqscore.errors import EnvironmentProblemError, MissingExtraError, MtqscoreError, UsageError
from mtqscore.scoring.assessor import Assessor
from mtqscore.scoring.engine import LOSSES, as_inputs, lost_row, one_by_one
from mtqscore.scoring.ray_worker import Job, Ledger, Rescuer, Worker, try_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from mtqscore.audio.inputs import Input
    from mtqscore.scores import Assessment

RECORDINGS_A_TASK = 64
"""Recordings that a worker gets at once, and that are scored again when it is lost."""

TASKS_A_WORKER = 4
"""A short list is cut into at least so many tasks a worker, so that all end at about the same time."""

OBJECT_STORE_BYTES = 256 * 2**20
"""Shared memory of a cluster of our own; names and rows are all that passes through it."""

PATIENCE_S = 10.0
"""How long the thread that feeds the workers may take to end."""

REACH_S = 10.0
"""How long an address may take to answer."""

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_DISABLE_IMPORT_WARNING": "1",
}
"""Settings under which Ray calls nobody and prints nothing; those of the user go before."""


@dataclass(frozen=True)
class Cluster:
    """Where to score.

    Args:
        address: of a cluster that runs, as Ray has it: ``auto``, ``host:port`` or ``ray://host:port``; None is that of
            the variable ``RAY_ADDRESS``, and without one a cluster on this machine, started and ended by us.
        workers: at most so many; None is as many as fit.

    Raises:
        UsageError: there cannot be so many workers.
    """

    address: str | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"--workers {self.workers} is not at least 1")


class RayEngine:
    """Scores as an `Assessor` does, with workers on one machine or many.

    Args:
        config: the options; ``threads`` are those of each worker, 1 if they are None.
        cluster: where to score.
        notify: takes messages; None is silence.

    Raises:
        UsageError: the model is unknown, or the device cannot be shared out.
        EnvironmentProblemError: there is no such cluster, or its workers cannot score.

    Example:
        with RayEngine(AssessConfig(), Cluster(workers=2)) as engine:
            rows = list(engine.assess_files(find_inputs(["recordings/"])))
    """

    def __init__(self, config: AssessConfig, cluster: Cluster, notify: Callable[[str], None] | None = None) -> None:
        if config.device not in ("auto", "cpu", "cuda"):
            raise UsageError(f"--engine ray knows --device auto, cpu and cuda (a GPU a worker), not {config.device}")
        self.config = config
        # What describes a run needs the model here as well, but no GPU.
        here = Assessor(AssessConfig(model=config.model, device="cpu"), notify)
        self.scorer, self.loaded = here.scorer, here.loaded
        self._threads = config.threads or 1
        address = cluster.address or os.environ.get("RAY_ADDRESS") or None
        if address is not None:
            _reach(address)
        self._ray = _import_ray()
        self._is_guest = self._ray.is_initialized()
        self._on_termination = signal.getsignal(signal.SIGTERM)
        self._results: Generator[dict[str, Any], None, None] = (_ for _ in ())
        try:
            self._started = not self._is_guest and _connect(self._ray, address, self._threads)
            # Ray's own handler aborts in the middle of a call; what Ctrl-C raises is taken well everywhere.
            _handle(signal.SIGTERM, signal.default_int_handler)
            self._gpus = int(config.device != "cpu" and self._most("GPU") >= 1)
            self._job = self._agree()
            self._workers = self._count(cluster.workers)
        except BaseException:
            self.__exit__()
            raise
        if notify is not None:
            where = "this machine" if self._started else _counted(len(self._nodes()), "machine")
            notify(f"ray: {_counted(self._workers, 'worker')} on {where}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the cluster, unless the program had joined it; one of our own ends, whatever is pressed meanwhile."""
        on_interrupt = signal.getsignal(signal.SIGINT)
        _handle(signal.SIGINT, signal.SIG_IGN)
        _handle(signal.SIGTERM, signal.SIG_IGN)
        self._end_iteration()
        if not self._is_guest:
            self._ray.shutdown()
        _handle(signal.SIGTERM, self._on_termination)
        _handle(signal.SIGINT, on_interrupt)

    def _end_iteration(self) -> None:
        """End the thread that feeds the workers: if it asks Ray once Ray has shut down, Ray ends the process with 1."""
        self._results.close()
        for thread in threading.enumerate():
            if type(thread).__module__.startswith("ray.data."):
                thread.join(PATIENCE_S)

    def assess_files(
        self, paths: Iterable[str | os.PathLike[str] | Input], progress: Callable[[float], None] | None = None
    ) -> Iterator[Assessment]:
        """Score many files, as `Engine.assess_files` does.

        Tasks of a worker that is lost are done by another. The recordings of a task that has lost several are scored
        one by one, and one that ends its worker again is ``unreadable``.
        """
        for row in one_by_one(self._in_order(list(as_inputs(paths))), progress):
            yield replace(row, options=self.config)

    def _in_order(self, inputs: list[Input]) -> Iterator[list[Assessment]]:
        """The rows of every recording."""
        if not inputs:
            return
        done = 0
        try:
            self._results = self._iterate(self._dataset(inputs))
            for record in self._results:
                yield from self._one_by_one(inputs[done : record["position"]])
                yield pickle.loads(record["rows"])
                done = record["position"] + 1
            yield from self._one_by_one(inputs[done:])
        except Exception as error:  # Ray's, which have no base in common
            raise _problem(error) from error

    def _iterate(self, dataset: Any) -> Generator[dict[str, Any], None, None]:
        """What `Dataset.iter_rows` yields, without its threads, which do not end when the iteration is left."""
        for bundle in dataset.iter_internal_ref_bundles():
            for block in bundle.block_refs:
                yield from self._ray.get(block).to_pylist()

    def _dataset(self, inputs: list[Input]) -> Any:
        """The run as Ray Data has it: blocks of one task each, through a pool of workers, in their order."""
        import pyarrow
        from ray.data import ActorPoolStrategy, from_arrow

        ledger = self._ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Ledger).remote()
        size = min(RECORDINGS_A_TASK, math.ceil(len(inputs) / (self._workers * TASKS_A_WORKER)))
        # Names as bytes: Arrow's text takes no name that is no text.
        tasks = [
            pyarrow.table({"task": [pickle.dumps((start, inputs[start : start + size]))]})
            for start in range(0, len(inputs), size)
        ]
        workers = min(self._workers, len(tasks))
        dataset = from_arrow(tasks).map_batches(
            Worker,
            fn_constructor_args=(self._job, ledger),
            batch_size=1,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(min_size=workers, max_size=workers, max_tasks_in_flight_per_actor=2),
            num_cpus=self._threads,
            num_gpus=self._gpus,
        )
        dataset.context.execution_options.preserve_order = True
        dataset.context.enable_progress_bars = False
        return dataset

    def _one_by_one(self, inputs: Sequence[Input]) -> Iterator[list[Assessment]]:
        """Score what a lost task leaves behind, each recording in a worker that it may end."""
        # Beside the pool, which holds all that the cluster has; on the processor, since a GPU has its worker.
        job = replace(self._job, config=replace(self._job.config, device="cpu", precision="fp32"))
        remote = self._ray.remote(num_cpus=0)(Rescuer)
        rescuer = None
        for item in inputs:
            for _attempt in range(LOSSES):
                rescuer = rescuer or remote.remote(job)
                try:
                    yield self._ray.get(rescuer.score.remote(item))
                    break
                except (self._ray.exceptions.RayActorError, self._ray.exceptions.OutOfMemoryError):
                    rescuer = None
            else:
                yield [lost_row(self, item)]
        if rescuer is not None:
            self._ray.kill(rescuer)

    # --- the cluster --------------------------------------------------------------------------------------------

    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _most(self, resource: str) -> float:
        """What the best machine of the cluster has."""
        return max((node.get(resource, 0.0) for node in self._nodes()), default=0.0)

    def _count(self, most: int | None) -> int:
        """Workers that fit."""
        fitting = 0
        for node in self._nodes():
            here = int(node.get("CPU", 0) // self._threads)
            fitting += min(here, int(node.get("GPU", 0))) if self._gpus else here
        return max(1, fitting if most is None else min(most, fitting))

    def _agree(self) -> Job:
        """Let one worker load the model, so that what cannot work ends the run before it begins.

        Raises:
            EnvironmentProblemError: no machine has so many cores, or the worker cannot score.
        """
        from mtqscore.base.version import VERSION

        if self._most("CPU") < self._threads:
            raise EnvironmentProblemError(
                f"no machine of the cluster has {self._threads} cores: --threads is {self._most('CPU'):g} at most"
            )
        job = Job(replace(self.config, threads=self._threads), self.loaded.model_sha256, os.getcwd())  # noqa: PTH109
        try:
            remote = self._ray.remote(num_cpus=self._threads, num_gpus=self._gpus)(try_worker)
            version, provider = self._ray.get(remote.remote(job))
        except Exception as error:  # Ray's, which have no base in common
            raise _problem(error) from error
        if version != VERSION:
            raise EnvironmentProblemError(f"the workers have mtqscore {version}, this is {VERSION}: install the same")
        self.loaded = self.loaded._replace(provider=provider)
        if provider == CPU_PROVIDER:
            self._gpus, job = 0, replace(job, config=replace(job.config, device="cpu"))
        return job


def _import_ray() -> Any:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import pyarrow  # noqa: F401
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("assess --engine ray", "ray", error.name or "ray") from error
    # Ray writes its log into files of its own; ray.data has a handler beside that of ray.
    for handler in list(logging.getLogger("ray.data").handlers):
        if isinstance(handler, logging.StreamHandler):
            logging.getLogger("ray.data").removeHandler(handler)
    # What befalls workers it prints to stdout, and knows no other way to keep that clean.
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    return ray


def _connect(ray: Any, address: str | None, threads: int) -> bool:
    """Join a cluster, or start one; whether it was started.

    Raises:
        EnvironmentProblemError: it cannot be reached, or not be started.
    """
    options: dict[str, Any] = {"address": address}
    if address is None:
        options = {"address": "local", "num_cpus": max(threads, usable_cores()), "include_dashboard": False}
        options["object_store_memory"] = OBJECT_STORE_BYTES
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(**options, log_to_driver=False, logging_level=logging.CRITICAL)
    except Exception as error:  # Ray's, which have no base in common
        where = "a Ray cluster on this machine" if address is None else f"the Ray cluster {address!r}"
        done = "start" if address is None else "join"
        raise EnvironmentProblemError(f"cannot {done} {where}: {_one_line(error)}") from error
    return address is None


def _handle(number: signal.Signals, handler: Any) -> None:
    if threading.current_thread() is threading.main_thread():  # no other may
        signal.signal(number, handler)


def _reach(address: str) -> None:
    """Knock first: Ray waits for minutes, and may end the process, where nobody answers."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdigit():  # auto, or a name that Ray knows
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_S).close()
    except (OSError, OverflowError, UnicodeError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise EnvironmentProblemError(f"cannot reach the Ray cluster {address!r}: {said}; is it running?") from error


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count != 1 else ''}"


def _problem(error: Exception) -> MtqscoreError:
    """What an exception of Ray's says, in one line; one of our own that a worker raised is itself again."""
    cause: BaseException | None = error
    while cause is not None:
        inner = getattr(cause, "cause", None)  # what Ray raises is also of the kind that it holds
        if isinstance(cause, MtqscoreError) and inner is None:
            return cause
        cause = inner or cause.__cause__
    if "No module named 'mtqscore" in str(error):
        return EnvironmentProblemError("the cluster's workers have no mtqscore: install it on every machine")
    return EnvironmentProblemError(f"the Ray cluster failed: {_one_line(error)}")


def _one_line(error: Exception) -> str:
    """The last thing that an exception says: Ray's begin with what happened elsewhere."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
