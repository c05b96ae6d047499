"""The commit queue delivers events once, in order, and not after it was stopped."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from broadcast.core.events import Event
from broadcast.core.time_slice import SLICE_SECONDS
from broadcast.journals.commit_queue import CommittedQueue, storage_problem
from tests.journals.contract import ReactorCalls, message


class Recorder:
    """A receiver that records the events, and fails if the test says so."""

    def __init__(self, error: Exception | None = None) -> None:
        self.delivered: list[Sequence[Event]] = []
        self._error = error

    def deliver(self, events: Sequence[Event]) -> None:
        self.delivered.append(events)
        if self._error:
            raise self._error


@pytest.fixture
def calls() -> ReactorCalls:
    return ReactorCalls()


def test_commits_are_delivered_together_until_the_queue_is_stopped(calls: ReactorCalls) -> None:
    queue: CommittedQueue[Recorder] = CommittedQueue(calls.queue.put, float)
    room, other = Recorder(), Recorder()
    queue.add([(room, [message("a")])])
    queue.add([(other, [message("x")]), (room, [message("b"), message("c")])])
    assert calls.queue.qsize() == 1
    calls.run_pending()
    assert (room.delivered, other.delivered) == ([[message("a"), message("b"), message("c")]], [[message("x")]])

    queue.add([(room, [message("d")])])
    queue.stop()
    queue.add([(room, [message("e")])])
    assert calls.queue.qsize() == 1
    calls.run_pending()
    assert len(room.delivered) == 1


def test_delivery_to_many_rooms_takes_several_turns(calls: ReactorCalls) -> None:
    times = iter(range(100))
    queue: CommittedQueue[Recorder] = CommittedQueue(calls.queue.put, lambda: next(times) * SLICE_SECONDS / 2)
    rooms = [Recorder() for _ in range(5)]
    queue.add((room, [message("a")]) for room in rooms)
    calls.queue.get(timeout=60)()
    assert [len(room.delivered) for room in rooms] == [0, 0, 1, 1, 1]
    queue.add((room, [message("b")]) for room in rooms)
    calls.queue.get(timeout=60)()
    assert [len(room.delivered) for room in rooms] == [1, 1, 1, 1, 1]
    calls.run_pending()
    assert [room.delivered for room in rooms] == [[[message("a")], [message("b")]]] * 5

    queue.add((room, [message("c")]) for room in rooms)
    calls.queue.get(timeout=60)()
    queue.stop()
    calls.run_pending()
    assert sum(len(room.delivered) == 3 for room in rooms) == 3


def test_error_of_one_room_does_not_stop_the_others(calls: ReactorCalls) -> None:
    queue: CommittedQueue[Recorder] = CommittedQueue(calls.queue.put, float)
    rooms = [Recorder(), Recorder(LookupError()), Recorder()]
    queue.add((room, [message("a")]) for room in rooms)
    with pytest.raises(LookupError):
        calls.run_pending()
    calls.run_pending()
    assert [len(room.delivered) for room in rooms] == [1, 1, 1]


def test_only_surrogates_cannot_be_stored() -> None:
    assert storage_problem(message("a\0\U0001f600")) == ""
    assert storage_problem(message("a\udc80")) != ""
