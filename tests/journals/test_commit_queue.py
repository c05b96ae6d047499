"""The commit queue delivers events once, in order, and not after it was stopped."""

from __future__ import annotations

from collections.abc import Sequence

from broadcast.core.events import Event
from broadcast.journals.commit_queue import CommittedQueue, storage_problem
from tests.journals.contract import ReactorCalls, message


def test_commits_are_delivered_together_until_the_queue_is_stopped() -> None:
    calls = ReactorCalls()
    delivered: list[Sequence[Event]] = []
    queue = CommittedQueue(calls.queue.put)
    queue.subscribe(delivered.append)
    queue.add([message("a")])
    queue.add([message("b"), message("c")])
    assert calls.queue.qsize() == 1
    calls.run_pending()
    assert delivered == [[message("a"), message("b"), message("c")]]

    queue.add([message("d")])
    queue.stop()
    queue.add([message("e")])
    assert calls.queue.qsize() == 1
    calls.run_pending()
    assert len(delivered) == 1


def test_only_surrogates_cannot_be_stored() -> None:
    assert storage_problem(message("a\0\U0001f600")) == ""
    assert storage_problem(message("a\udc80")) != ""
