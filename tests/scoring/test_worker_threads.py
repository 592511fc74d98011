"""The crew: what is due goes before reading, waiting readers help, and nothing is lost or left behind."""

from __future__ import annotations

import threading
import time

import pytest

from mtqscore.scoring.worker_threads import Crew

PATIENCE_S = 20.0


def crew_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "crew"]


def test_what_is_due_goes_before_reading() -> None:
    done: list[str] = []
    begun, go = threading.Event(), threading.Event()

    def first() -> None:
        begun.set()
        assert go.wait(PATIENCE_S)

    crew = Crew(1)
    crew.read(first)
    assert begun.wait(PATIENCE_S)
    crew.read(lambda: done.append("read"))
    future = crew.submit(done.append, "scored")
    go.set()
    future.result(PATIENCE_S)
    crew.shutdown()
    assert done == ["scored", "read"]
    assert not crew_threads()


def test_readers_that_wait_do_what_is_due() -> None:
    """Both threads read what nobody takes yet; the answer that frees them can only come from themselves."""
    taken = threading.Event()
    waiting = [threading.Event(), threading.Event()]
    crew = Crew(2)
    for event in waiting:

        def read(event: threading.Event = event) -> None:
            event.set()
            crew.wait_until(taken.is_set)

        crew.read(read)
    assert all(event.wait(PATIENCE_S) for event in waiting)
    answers = [crew.submit(pow, 2, number) for number in range(20)]
    assert [answer.result(PATIENCE_S) for answer in answers] == [2**number for number in range(20)]
    taken.set()
    crew.nudge()
    crew.shutdown()
    assert not crew_threads()


def test_a_nudge_is_not_lost() -> None:
    """A waiting reader looks again at once, not when it would have looked anyway."""
    crew = Crew(1)
    room, turns = threading.Semaphore(0), 300

    def read() -> None:
        for _ in range(turns):
            crew.wait_until(lambda: room.acquire(blocking=False))

    finished = threading.Event()
    crew.read(read)
    crew.read(finished.set)
    start_s = time.monotonic()
    for _ in range(turns):
        room.release()
        crew.nudge()
    assert finished.wait(PATIENCE_S)
    assert time.monotonic() - start_s < turns * 0.2 / 4
    crew.shutdown()


def test_a_failure_arrives_where_it_was_asked() -> None:
    crew = Crew(2)
    failed, good = crew.submit(int, "no number"), crew.submit(int, "7")
    with pytest.raises(ValueError, match="no number"):
        failed.result(PATIENCE_S)
    assert good.result(PATIENCE_S) == 7
    crew.shutdown()


def test_what_nobody_wants_any_more_is_cancelled() -> None:
    begun, go = threading.Event(), threading.Event()
    crew = Crew(1)

    def long() -> None:
        begun.set()
        assert go.wait(PATIENCE_S)

    crew.read(long)
    assert begun.wait(PATIENCE_S)
    future = crew.submit(int, "7")
    ending = threading.Thread(target=lambda: crew.shutdown(cancel_futures=True))
    ending.start()
    while not future.cancelled():
        time.sleep(0.01)
    go.set()
    ending.join(PATIENCE_S)
    assert not crew_threads()


def test_no_more_threads_than_work() -> None:
    crew = Crew(8)
    crew.submit(int, "1").result(PATIENCE_S)
    assert len(crew_threads()) == 1
    crew.shutdown()
