"""Work that may block runs on threads, and its results arrive in turns of the reactor."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from queue import SimpleQueue
from threading import get_native_id

import pytest

from broadcast.threads import WorkerThreads

NICENESS = 15
Turns = SimpleQueue[Callable[[], None]]


def run(work: Callable[[], object]) -> object:
    """Return the result of *work* on the threads."""
    turns: Turns = SimpleQueue()
    threads = WorkerThreads(turns.put, "test", 2, NICENESS)
    results: list[object] = []
    threads.run(work, results.append)
    turns.get(timeout=60)()
    threads.close()
    return results[0]


def test_results_and_exceptions_arrive_in_a_later_turn() -> None:
    assert run(lambda: 7) == 7
    error = ValueError("no")

    def fail() -> None:
        raise error

    assert run(fail) is error


def test_work_runs_on_other_threads() -> None:
    assert run(get_native_id) != get_native_id()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the priority belongs to the process")
def test_the_reactor_has_precedence() -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    assert run(lambda: os.getpriority(os.PRIO_PROCESS, get_native_id())) == max(NICENESS, before)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_nothing_is_delivered_after_the_close() -> None:
    turns: Turns = SimpleQueue()
    threads = WorkerThreads(turns.put, "test", 2, NICENESS)
    results: list[object] = []
    threads.run(lambda: 1, results.append)
    deliver = turns.get(timeout=60)
    threads.close()
    deliver()
    assert results == []
