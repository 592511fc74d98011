"""Small labelled corpora, made once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training_kit import write_corpus


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 16 recordings, 12 of them to train on."""
    return write_corpus(tmp_path_factory.mktemp("corpus"), 16)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 24 recordings, 18 of them to train on."""
    return write_corpus(tmp_path_factory.mktemp("corpus"), 24)
