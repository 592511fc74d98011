"""Rows of labels, made in processes of their own. Loads neither SciPy nor P.862."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec

from mtqscore.base.machine import usable_cores
from mtqscore.base.processes import WorkerPool
from mtqscore.errors import InputError, MissingExtraError
from mtqscore.labels.pairs import ReferenceTriple

BANDWIDTHS = ("auto", "wide", "narrow")
Record = dict[str, object]


def label_records(triples: Sequence[ReferenceTriple], *, bandwidth: str = "auto") -> Iterator[Record]:
    """Label recordings in processes of their own, since the C code of P.862 may end one.

    Args:
        triples: the files of each recording.
        bandwidth: one of `BANDWIDTHS`; see `reference_files.label_files`.

    Yields:
        A row for each, in order: path, labels and measures, and ``status``: ``ok``, or the reason why there are none.

    Raises:
        MissingExtraError: the extra train is not installed.
    """
    for module in ("scipy", "pesq", "pystoi"):
        if find_spec(module) is None:
            raise MissingExtraError("mtqscore label", "train", module)
    position = 0
    while position < len(triples):
        with WorkerPool(min(usable_cores(), len(triples) - position)) as pool:
            futures = [pool.submit(_label, triple, bandwidth) for triple in triples[position:]]
            for future in futures:
                if isinstance(future.exception(), BrokenProcessPool):
                    break
                yield future.result()
                position += 1
            else:
                return
        yield _label_alone(triples[position], bandwidth)
        position += 1


def _label(triple: ReferenceTriple, bandwidth: str) -> Record:
    from mtqscore.labels.reference_files import label_files  # SciPy and P.862, in the worker alone

    try:
        return {**label_files(triple, bandwidth=bandwidth).as_record(), "status": "ok"}
    except InputError as error:
        return {"path": str(triple.processed), "status": str(error)}


def _label_alone(triple: ReferenceTriple, bandwidth: str) -> Record:
    """Label a recording that may have ended a process."""
    with WorkerPool(1) as pool:
        future: Future[Record] = pool.submit(_label, triple, bandwidth)
        if isinstance(future.exception(), BrokenProcessPool):
            return {"path": str(triple.processed), "status": f"{triple.processed}: a measure ended its process"}
        return future.result()
