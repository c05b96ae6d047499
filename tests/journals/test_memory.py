"""The journal in memory keeps the contract, and forgets beyond its limit."""

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
from tests.journals.contract import Harness, JournalContract, Turns, opened, said


class TestMemoryJournal(JournalContract):
    def fresh(self) -> AbstractContextManager[Harness]:
        turns = Turns()
        return opened(MemoryJournal(turns.wake), turns)


@given(limit=st.integers(1, 8), count=st.integers(0, 30), first=st.integers(-2, 32), last=st.integers(-2, 32))
def test_it_remembers_just_the_limit_most_recent_events(limit: int, count: int, first: int, last: int) -> None:
    turns = Turns()
    with opened(MemoryJournal(turns.wake, limit=limit), turns) as run:
        run.append(*(said(str(number)) for number in range(1, count + 1)))
        remembered = range(max(1, count - limit + 1), count + 1)
        expected = [number for number in remembered if first <= number <= last]
        assert [event.seq for event in run.read(first, last)] == expected
        assert [event.text for event in run.read(first, last)] == [str(number) for number in expected]


def test_it_numbers_on_when_it_forgets() -> None:
    turns = Turns()
    with opened(MemoryJournal(turns.wake, limit=2), turns) as run:
        back = run.append(*(said("x") for _ in range(5)))
        assert back == [said("x").with_seq(number) for number in range(1, 6)]


@given(count=st.integers(0, 12), later=st.integers(0, 12))
def test_a_search_looks_through_what_is_remembered_some_lines_a_turn(count: int, later: int) -> None:
    turns = Turns()
    with pytest.MonkeyPatch.context() as patch, opened(MemoryJournal(turns.wake, limit=8), turns) as run:
        patch.setattr(memory, "SEARCH_ROWS_PER_TURN", 3)
        run.append(*(said(f"line {number}") for number in range(1, count + 1)))
        assert [event.seq for event in run.search("line")] == list(range(max(1, count - 7), count + 1))
        answers: list[Sequence[Stored] | JournalError] = []
        run.journal.search(parse_query("line"), 99, 99, answers.append)
        if not turns.calls.empty():
            turns.calls.get()()
        run.append(*(said("later") for _ in range(later)))  # and meanwhile it forgets
        turns.until(lambda: bool(answers))
        assert not isinstance(answers[0], JournalError)
        numbers = [event.seq for event in answers[0]]
        assert numbers == list(range(count - len(numbers) + 1, count + 1))


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one event, not 0"):
        MemoryJournal(Turns().wake, limit=0)
