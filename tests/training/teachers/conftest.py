"""A labelled corpus and a small network that all tests of teachers read."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtqscore.labels.table import LabelledRecording, read_label_table
from mtqscore.training.checkpoint import write_checkpoint
from tests.training_kit import small_config, small_network


@pytest.fixture(scope="session")
def rows(small_corpus) -> list[LabelledRecording]:
    """Ten recordings with labels; do not change them."""
    return read_label_table(small_corpus)[:10]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """A teacher of all six targets whose estimates differ from recording to recording."""
    path = tmp_path_factory.mktemp("teacher") / "best.safetensors"
    write_checkpoint(path, small_config(max_clip_s=1.0), {"average": small_network(3).state_dict()}, {})
    return path
