"""Small labelled corpora and a finished run, made once a session; do not change them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtqscore.training.run import train_run
from tests.training_kit import QUIET, careful_config, write_corpus


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 16 recordings, 12 of them to train on."""
    return write_corpus(tmp_path_factory.mktemp("corpus"), 16)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 24 recordings, 18 of them to train on."""
    return write_corpus(tmp_path_factory.mktemp("corpus"), 24)


@pytest.fixture(scope="session")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs of three steps without a stop."""
    folder = tmp_path_factory.mktemp("run")
    train_run(corpus, folder, careful_config(), QUIET)
    return folder
