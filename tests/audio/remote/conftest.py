"""Stores: an S3 server on loopback, and one in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import fsspec
import pytest

from mtqscore.config import AssessConfig
from mtqscore.scoring.assessor import Assessor
from tests.audio.remote.kit import KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A client of an S3 server on loopback, which this process and those that it starts find by their environment."""
    boto3 = pytest.importorskip("boto3")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
            environment.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="calls")
        yield client
        client.close()
    server.stop()


@pytest.fixture
def assessor(fake_model: str) -> Assessor:
    return Assessor(AssessConfig(model=fake_model, device="cpu"))


@pytest.fixture
def memory() -> Iterator[Any]:
    """The store of fsspec that lives in this process."""
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    yield store
    store.store.clear()
