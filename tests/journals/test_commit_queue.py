"""What comes back is told once, in order, and not after the end."""

from __future__ import annotations

from collections.abc import Sequence

from broadcast.core.events import Event
from broadcast.journals.commit_queue import CommittedQueue, why_unstorable
from tests.journals.contract import Turns, said


def test_batches_that_come_before_the_reactor_gets_to_them_are_told_as_one() -> None:
    turns = Turns()
    told: list[Sequence[Event]] = []
    returns = CommittedQueue(turns.wake)
    returns.subscribe(told.append)
    returns.add([said("a")])
    returns.add([said("b"), said("c")])
    assert turns.calls.qsize() == 1
    turns.settle()
    assert told == [[said("a"), said("b"), said("c")]]


def test_nothing_is_told_after_stop_not_even_what_was_on_its_way() -> None:
    turns = Turns()
    told: list[Sequence[Event]] = []
    returns = CommittedQueue(turns.wake)
    returns.subscribe(told.append)
    returns.add([said("a")])
    returns.stop()
    returns.add([said("b")])
    assert turns.calls.qsize() == 1
    turns.settle()
    assert told == []


def test_only_surrogates_cannot_be_kept() -> None:
    assert why_unstorable(said("a\0\U0001f600")) == ""
    assert why_unstorable(said("a\udc80")) != ""
