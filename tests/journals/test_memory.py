"""The journal in memory fulfils the contract, and remembers a limited number of events."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.core.errors import JournalError
from broadcast.core.events import Stored
from broadcast.core.search_query import parse_query
from broadcast.journals import memory
from broadcast.journals.memory import MemoryJournal
from tests.journals.contract import Harness, JournalContract, message, open_journal, seqs


def open_memory(limit: int = 100) -> AbstractContextManager[Harness]:
    return open_journal(lambda call_soon: MemoryJournal(call_soon, limit))


class TestMemoryJournal(JournalContract):
    def fresh(self) -> AbstractContextManager[Harness]:
        return open_journal(MemoryJournal)


@given(limit=st.integers(1, 8), count=st.integers(0, 30), first=st.integers(-2, 32), last=st.integers(-2, 32))
def test_journal_remembers_the_most_recent_events_up_to_its_limit(
    limit: int, count: int, first: int, last: int
) -> None:
    with open_memory(limit) as run:
        stored = run.append_texts(str(number) for number in range(1, count + 1))
        assert stored == [message(str(number), number) for number in range(1, count + 1)]
        expected = [seq for seq in range(max(1, count - limit + 1), count + 1) if first <= seq <= last]
        assert [(event.seq, event.text) for event in run.read(first, last)] == [(seq, str(seq)) for seq in expected]


@given(count=st.integers(0, 12), later=st.integers(0, 12))
def test_search_in_several_turns_covers_what_is_still_remembered(count: int, later: int) -> None:
    with pytest.MonkeyPatch.context() as patch, open_memory(limit=8) as run:
        patch.setattr(memory, "SEARCH_ROWS_PER_TURN", 3)
        run.append_texts(f"line {number}" for number in range(1, count + 1))
        assert run.matches("line") == list(range(max(1, count - 7), count + 1))
        assert run.matches("line", limit=4) == list(range(max(1, count - 3), count + 1))
        answers: list[Sequence[Stored] | JournalError] = []
        run.log.search(parse_query("line"), 99, 99, answers.append)
        if not run.calls.queue.empty():
            run.calls.queue.get(timeout=60)()
        run.append_texts(["later"] * later)  # the journal forgets events while the search is running
        run.calls.run_until(lambda: bool(answers))
        assert not isinstance(answers[0], JournalError)
        found = seqs(answers[0])
        assert found == list(range(count - len(found) + 1, count + 1))


def test_each_turn_runs_one_step_of_one_query() -> None:
    with pytest.MonkeyPatch.context() as patch, open_memory() as run:
        patch.setattr(memory, "SEARCH_ROWS_PER_TURN", 2)
        run.append_texts(["line"] * 3)
        order: list[str] = []
        run.log.search(parse_query("line"), 99, 99, lambda _: order.append("first"))
        run.log.search(parse_query("line"), 99, 99, lambda _: order.append("second"))
        run.log.read(1, 1, lambda _: order.append("read"))
        turns = 0
        while len(order) < 3:
            assert run.calls.queue.qsize() == 1
            run.calls.queue.get(timeout=60)()
            turns += 1
        assert (order, turns) == (["read", "first", "second"], 5)


def test_error_of_one_query_does_not_stop_the_others() -> None:
    with open_memory() as run:
        answers: list[object] = []

        def fail(_result: object) -> None:
            raise LookupError

        run.log.read(1, 1, fail)
        run.log.read(1, 1, answers.append)
        with pytest.raises(LookupError):
            run.calls.queue.get(timeout=60)()
        run.calls.queue.get(timeout=60)()
        assert answers == [[]]


def test_limit_below_one_is_rejected() -> None:
    with pytest.raises(ValueError, match="at least one event, not 0"):
        MemoryJournal(print, limit=0)


def test_limit_applies_to_all_rooms_together() -> None:
    with open_memory(limit=3) as run:
        room = run.open_room("kitchen")
        run.append_texts("ab")
        room.append_texts("cd")
        assert (seqs(run.read(1, 9)), seqs(room.read(1, 9))) == ([2], [1, 2])
        room.log.close()
        run.append_texts("efg")
        room = run.open_room("kitchen", tail=5)
        assert (room.last_seq, room.tail, seqs(run.read(1, 9))) == (2, [], [3, 4, 5])


def test_closed_room_receives_nothing() -> None:
    with open_memory() as run:
        room = run.open_room("kitchen")
        room.log.append(message("a"))
        room.log.close()
        run.calls.run_pending()
        assert room.delivered == []
