"""Processes that read for one session, as for a GPU; here the processor stands in for it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from multiprocessing import Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mtqscore import Assessment, Assessor
from mtqscore.config import AssessConfig
from mtqscore.errors import EnvironmentProblemError, UsageError
from mtqscore.scoring import processes
from mtqscore.scoring.processes import ProcessEngine
from mtqscore.scoring.remote_session import FarScorer, ScorerFacts, answer_batches
from mtqscore.scoring.session import Scorer
from tests.signals import RATE_HZ, speechlike, write

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNT = 48


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Recordings of several lengths, rates and channels, and what is none."""
    made = [tmp_path / "no.wav"]
    made[0].write_bytes(b"no audio")
    for number in range(COUNT):
        rate_hz = (RATE_HZ, 48_000)[number % 2]
        made.append(tmp_path / f"{number:02}.{('wav', 'flac')[number % 2]}")
        write(made[-1], speechlike(0.5 + 0.3 * (number % 7), rate_hz, seed=number, channels=1 + number % 3), rate_hz)
    return made


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the session of this process pass for that of a GPU; the list names the thread of every batch it scores."""
    threads: list[str] = []
    score = Scorer.score

    def noted(scorer: Scorer, *batch: Any) -> Any:
        threads.append(threading.current_thread().name)
        return score(scorer, *batch)

    monkeypatch.setattr(Scorer, "on_cpu", property(lambda _: False))
    monkeypatch.setattr(Scorer, "score", noted)
    return threads


def same(rows: list[Assessment], others: list[Assessment]) -> None:
    """Rows differ by what a batch of another make-up may change, and by nothing else."""
    assert len(rows) == len(others)
    for row, other in zip(rows, others, strict=True):
        for name in ("path", "status", "reason", "flags", "duration_s", "model", "model_sha256", "provider", "options"):
            assert getattr(row, name) == getattr(other, name)
        assert (row.scores is None) == (other.scores is None)
        if row.scores and other.scores:
            assert row.scores.g_mos == pytest.approx(other.scores.g_mos, abs=1e-4)
        assert (row.frames is None) == (other.frames is None)
        if row.frames and other.frames:
            np.testing.assert_allclose(row.frames.values, other.frames.values, atol=2e-4)


@pytest.mark.parametrize("options", [{}, {"channels": "each"}, {"frames": True}, {"batch_s": 1.0}])
def test_rows_are_those_of_one_process(paths: list[Path], gpu: list[str], options: dict[str, Any]) -> None:
    config = AssessConfig(device="auto", **options)
    with ProcessEngine(config, 3) as engine:
        rows = list(engine.assess_files(paths))
        assert set(gpu) == {"score for others"}
    same(rows, list(Assessor(config).assess_files(paths)))
    assert sum(row.ok for row in rows) >= COUNT


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for libraries in /proc")
@pytest.mark.usefixtures("gpu")
def test_who_reads_has_no_model(paths: list[Path], fake_model: str) -> None:
    with ProcessEngine(AssessConfig(model=fake_model), 2) as engine:
        rows = engine.assess_files(paths * 40)
        next(rows)
        (reader,) = (worker.process for worker in engine._workers if worker.process is not None)
        libraries = Path(f"/proc/{reader.pid}/maps").read_text()
        assert "sndfile" in libraries
        assert "onnxruntime_pybind" not in libraries


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills a process")
def test_a_reader_that_is_killed_costs_no_row(paths: list[Path], fake_model: str, gpu: list[str]) -> None:
    told: list[str] = []
    with ProcessEngine(AssessConfig(model=fake_model), 2, told.append) as engine:
        rows = engine.assess_files(paths * 60)
        found = [next(rows)]
        (reader,) = (worker.process for worker in engine._workers if worker.process is not None)
        assert reader.pid is not None
        os.kill(reader.pid, signal.SIGKILL)
        found += rows
    assert [row.path for row in found] == [str(path) for path in paths * 60]
    assert sum(row.ok for row in found) == 60 * COUNT
    assert len(told) == 1
    assert set(gpu) == {"score for others"}


@pytest.mark.usefixtures("gpu")
def test_a_model_that_fails_ends_the_run(paths: list[Path], fake_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise EnvironmentProblemError("no room on the GPU")

    with ProcessEngine(AssessConfig(model=fake_model), 3) as engine:
        monkeypatch.setattr(Scorer, "score", fail)
        with pytest.raises(EnvironmentProblemError, match="no room on the GPU"):
            list(engine.assess_files(paths))


def test_where_no_process_can_be_started(
    paths: list[Path], fake_model: str, gpu: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "start_process", lambda: None)
    with ProcessEngine(AssessConfig(model=fake_model), 3) as engine:
        assert sum(row.ok for row in engine.assess_files(paths)) == COUNT
    assert "score for others" not in gpu


# --- the scorer ------------------------------------------------------------------------------------------------------


@pytest.fixture
def far(fake_model: str) -> Iterator[tuple[FarScorer, Scorer]]:
    scorer = Assessor(AssessConfig(model=fake_model)).scorer
    near, there = Pipe()
    thread = threading.Thread(target=answer_batches, args=(there, scorer, threading.Lock()))
    thread.start()
    yield FarScorer(near, ScorerFacts.of(scorer)), scorer
    near.close()
    thread.join(10)
    assert not thread.is_alive()


def test_a_batch_comes_back_as_it_is_scored_there(far: tuple[FarScorer, Scorer]) -> None:
    waveform = np.random.default_rng(0).standard_normal((3, 32_000)).astype(np.float32)
    lengths = np.array([32_000, 20_000, 16_001])
    for batch in (waveform, waveform[:, ::2]):  # also one that does not lie in one piece
        for found, wanted in zip(far[0].score(batch, lengths // 2), far[1].score(batch, lengths // 2), strict=True):
            np.testing.assert_array_equal(found, wanted)
    for name in ("label", "sha256", "info", "provider", "on_cpu", "padded_samples"):
        assert getattr(far[0], name) == getattr(far[1], name)


def test_what_goes_wrong_there_is_told(far: tuple[FarScorer, Scorer], monkeypatch: pytest.MonkeyPatch) -> None:
    batch = np.zeros((1, 16_000), np.float32), np.array([16_000])
    for failure in (EnvironmentProblemError("no room"), UsageError("no scores")):

        def fail(*_: Any, failure: Exception = failure) -> None:
            raise failure

        monkeypatch.setattr(far[1], "score", fail)
        with pytest.raises(type(failure), match=str(failure)):
            far[0].score(*batch)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_nobody_expects_there_is_waited_for_by_nobody(
    far: tuple[FarScorer, Scorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(far[1], "score", fail)
    with pytest.raises(EnvironmentProblemError, match="the process that holds the model has ended"):
        far[0].score(np.zeros((1, 16_000), np.float32), np.array([16_000]))


def test_who_holds_the_model_may_end(fake_model: str) -> None:
    near, there = Pipe()
    lonely = FarScorer(near, ScorerFacts.of(Assessor(AssessConfig(model=fake_model)).scorer))
    there.close()
    with pytest.raises(EnvironmentProblemError, match="the process that holds the model has ended"):
        lonely.score(np.zeros((1, 16_000), np.float32), np.array([16_000]))
