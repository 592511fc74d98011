"""Scoring on a Ray cluster: a pool of workers, each with the model, and the rows of one process."""

from __future__ import annotations

import io
import logging
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from mtqscore.base.devices import CPU_PROVIDER
from mtqscore.base.machine import usable_cores
from mtqscore.base.version import VERSION
from mtqscore.config import AssessConfig
from mtqscore.errors import EnvironmentProblemError, MissingExtraError, MtqscoreError, UsageError
from mtqscore.scoring.assessor import Assessor
from mtqscore.scoring.engine import LoadedModel
from mtqscore.scoring.pooled import PooledEngine, Worker
from mtqscore.scoring.ray_worker import Job, RayWorker

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mtqscore.audio.inputs import Input
    from mtqscore.scores import Assessment

OBJECT_STORE_BYTES = 256 * 2**20
"""Shared memory of a cluster of our own; names and rows are all that passes through it."""

REACH_S = 10.0
"""Time that an address may take to answer."""

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
}
"""Settings under which Ray calls nobody and prints nothing; those of the user go before."""


@dataclass(frozen=True)
class Cluster:
    """Place to score.

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


class _Actor(Worker):
    """An actor of the cluster."""

    def __init__(self, ray: Any, job: Job, resources: dict[str, int]) -> None:
        self._ray = ray
        self._actor = ray.remote(**resources)(RayWorker).remote(job)
        self.load: Future[LoadedModel] = Future()
        self._actor.load.remote().future().add_done_callback(self._note_load)

    def _note_load(self, load: Future[tuple[LoadedModel, str]]) -> None:
        try:
            loaded, version = load.result()
            if version != VERSION:
                raise EnvironmentProblemError(
                    f"the workers have mtqscore {version}, this is {VERSION}: install the same"
                )
        except BaseException as error:  # it is for who waits for the model
            self.load.set_exception(error)
        else:
            self.load.set_result(loaded)

    def score(self, inputs: list[Input]) -> Future[list[list[Assessment]]]:
        """Begin to score; the rows of each recording."""
        return cast("Future[list[list[Assessment]]]", self._actor.score.remote(inputs).future())

    def end(self) -> None:
        """End it at once, whatever it does."""
        self._ray.kill(self._actor)


class RayEngine(PooledEngine):
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
        super().__init__(config, None)  # what befalls workers stands in Ray's log
        self._threads = config.threads or 1
        address = cluster.address or os.environ.get("RAY_ADDRESS") or None
        if address is not None:
            _reach(address)
        self._ray = _import_ray()
        errors = self._ray.exceptions
        self.lost_errors = (errors.RayActorError, errors.OutOfMemoryError)
        self._is_guest = self._ray.is_initialized()
        self._on_termination = signal.getsignal(signal.SIGTERM)
        self._stdout = redirect_stdout(cast("io.TextIOBase", _WithoutRay(sys.stdout)))
        self._stdout.__enter__()
        try:
            started = not self._is_guest and _connect(self._ray, address, self._threads)
            # Ray's own handler aborts in the middle of a call; what Ctrl-C raises is taken well everywhere.
            _handle(signal.SIGTERM, signal.default_int_handler)
            self._job = Job(replace(config, threads=self._threads), self._here.model_sha256, os.getcwd())  # noqa: PTH109
            self._agree()
            for _ in range(self._count(cluster.workers) - len(self._workers)):
                self._start()
        except BaseException:
            self.__exit__()
            raise
        if notify is not None:
            where = "this machine" if started else _counted(len(self._nodes()), "machine")
            notify(f"ray: {_counted(len(self._workers), 'worker')} on {where}")

    def __exit__(self, *_: object) -> None:
        """Leave the cluster, unless the program had joined it; one of our own ends, whatever is pressed meanwhile."""
        on_interrupt = signal.getsignal(signal.SIGINT)
        _handle(signal.SIGINT, signal.SIG_IGN)
        _handle(signal.SIGTERM, signal.SIG_IGN)
        super().__exit__()
        if not self._is_guest:
            with redirect_stdout(io.StringIO()):  # it prints what it held back
                self._ray.shutdown()
        self._stdout.__exit__(None, None, None)
        _handle(signal.SIGTERM, self._on_termination)
        _handle(signal.SIGINT, on_interrupt)

    @cached_property
    def _here(self) -> Assessor:
        """The model in this process, without a GPU."""
        return Assessor(AssessConfig(model=self.config.model, channels=self.config.channels, device="cpu"))

    def assess_files(
        self, paths: Iterable[str | os.PathLike[str] | Input], progress: Callable[[float], None] | None = None
    ) -> Iterator[Assessment]:
        """Score many files, as `Engine.assess_files` does."""
        try:
            for row in super().assess_files(paths, progress):
                yield replace(row, options=self.config)
        except Exception as error:  # Ray's, which have no base in common
            raise _problem(error) from error

    # --- the cluster --------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._workers.append(_Actor(self._ray, self._job, self._resources))

    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _most(self, resource: str) -> float:
        """Return what the best machine of the cluster has."""
        return max((node.get(resource, 0.0) for node in self._nodes()), default=0.0)

    def _count(self, most: int | None) -> int:
        """Count the workers that fit."""
        fitting = 0
        for node in self._nodes():
            here = int(node.get("CPU", 0) // self._threads)
            fitting += min(here, int(node.get("GPU", 0))) if self._resources["num_gpus"] else here
        return max(1, fitting if most is None else min(most, fitting))

    def _agree(self) -> None:
        """Let one worker load the model, so that what cannot work ends the run before it begins."""
        if self._most("CPU") < self._threads:
            raise EnvironmentProblemError(
                f"no machine of the cluster has {self._threads} cores: --threads is {self._most('CPU'):g} at most"
            )
        gpus = int(self.config.device != "cpu" and self._most("GPU") >= 1)
        self._resources = {"num_cpus": self._threads, "num_gpus": gpus}
        self._start()
        try:
            self.loaded = self._workers[0].load.result()
        except Exception as error:  # Ray's, which have no base in common
            raise _problem(error) from error
        if self.loaded.provider == CPU_PROVIDER:
            self._job = self._job._replace(config=replace(self._job.config, device="cpu"))
            if gpus:  # it has one for nothing
                self._workers.pop().end()
                self._resources["num_gpus"] = 0


class _WithoutRay:
    """Stdout without what Ray prints there of its workers, in threads of its own; it knows no way to be quiet."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, unless Ray does."""
        own = not threading.current_thread().name.startswith("ray_")
        return int(self._stream.write(text)) if own else len(text)


def _import_ray() -> Any:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("assess --engine ray", "ray", error.name or "ray") from error
    return ray


def _connect(ray: Any, address: str | None, threads: int) -> bool:
    """Join a cluster, or start one; whether it was started."""
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
        reason = getattr(error, "strerror", None) or str(error)
        raise EnvironmentProblemError(f"cannot reach the Ray cluster {address!r}: {reason}; is it running?") from error


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count != 1 else ''}"


def _problem(error: Exception) -> MtqscoreError:
    """An exception of Ray's in one line; one of our own that a worker raised is itself again."""
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
    """The last line of an exception: Ray's begin with what happened elsewhere."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
