"""Clients that want the same page of stored lines at the same time share one read of the journal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import msgspec
import pytest
from twisted.internet.task import Clock

from broadcast.core.errors import JournalError
from broadcast.core.events import Message, Stored
from broadcast.core.room import Room
from broadcast.doors.jsonrpc.encoder import RoomEncoder, SessionIds
from broadcast.doors.jsonrpc.pages import KEPT_PAGES, PAGE_LINES, Line, PageReader

OnLines = Callable[[Sequence[Stored] | JournalError], None]


class FakeRoom:
    """A room whose journal answers when the test lets it."""

    def __init__(self, last_seq: int) -> None:
        self.last_seq = last_seq
        self.reads: list[tuple[int, int, OnLines]] = []

    def history(self, first: int, last: int, on_result: OnLines) -> None:
        self.reads.append((first, last, on_result))

    def answer(self) -> tuple[int, int]:
        """Answer the oldest read, and return what it asked for."""
        first, last, on_result = self.reads.pop(0)
        on_result([Message(0, "ann", f"line {seq}", 1.0, seq) for seq in range(first, last + 1)])
        return first, last


class Reading:
    """A page reader and what its clients received."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.room = FakeRoom(PAGE_LINES + 10)
        self.calls: list[Callable[[], None]] = []
        self.pages = PageReader(self.calls.append, self.clock.seconds)
        self.encoder = RoomEncoder("lobby", SessionIds("x"), self.clock.seconds)
        self.received: dict[str, Sequence[Line] | JournalError] = {}

    def read(self, client: str, start: int, last: int) -> None:
        self.pages.read(cast(Room, self.room), self.encoder, start, last, partial(self.received.__setitem__, client))

    def turn(self) -> None:
        calls, self.calls[:] = self.calls[:], []
        for call in calls:
            call()

    def numbers(self, client: str) -> list[int]:
        page = self.received[client]
        assert not isinstance(page, JournalError)
        return [line.seq for line in page]


@pytest.fixture
def reading() -> Reading:
    return Reading()


def test_clients_that_wait_for_a_page_share_one_read(reading: Reading) -> None:
    for client in ("ann", "bob", "carol"):
        reading.read(client, 0, PAGE_LINES)
    assert len(reading.room.reads) == 1
    assert reading.room.answer() == (1, PAGE_LINES)
    assert reading.received.keys() == {"ann"}
    reading.turn()
    assert reading.numbers("ann") == list(range(1, PAGE_LINES + 1))
    assert reading.received["ann"] is reading.received["bob"] is reading.received["carol"]


def test_page_that_was_read_stays_in_memory(reading: Reading) -> None:
    reading.read("ann", 0, PAGE_LINES)
    reading.room.answer()
    reading.read("bob", 0, 5)
    assert not reading.room.reads
    assert reading.received["bob"] is reading.received["ann"]


def test_line_is_encoded_as_an_event(reading: Reading) -> None:
    reading.read("ann", 0, 1)
    reading.room.answer()
    page = reading.received["ann"]
    assert not isinstance(page, JournalError)
    assert msgspec.json.decode(page[0].event)["text"] == "line 1"


def test_unfinished_page_is_read_again_for_newer_lines(reading: Reading) -> None:
    reading.read("ann", PAGE_LINES, PAGE_LINES + 10)
    reading.room.last_seq += 2
    reading.read("bob", PAGE_LINES, PAGE_LINES + 12)
    assert reading.room.answer() == (PAGE_LINES + 1, PAGE_LINES + 10)
    assert reading.room.answer() == (PAGE_LINES + 1, PAGE_LINES + 12)
    reading.turn()
    assert reading.numbers("ann")[-1] == PAGE_LINES + 10
    assert reading.numbers("bob")[-1] == PAGE_LINES + 12
    reading.read("carol", PAGE_LINES, PAGE_LINES + 11)
    assert not reading.room.reads


def test_every_waiting_client_learns_of_an_error_and_the_next_one_reads_again(reading: Reading) -> None:
    error = JournalError("it is closed")
    reading.read("ann", 0, 1)
    reading.read("bob", 0, 1)
    reading.room.reads.pop()[2](error)
    reading.turn()
    assert reading.received == {"ann": error, "bob": error}
    reading.read("carol", 0, 1)
    assert len(reading.room.reads) == 1


def test_least_recently_used_page_is_forgotten(reading: Reading) -> None:
    reading.room.last_seq = PAGE_LINES * (KEPT_PAGES + 1)
    for page in range(KEPT_PAGES):
        reading.read("ann", page * PAGE_LINES, page * PAGE_LINES + 1)
        reading.room.answer()
    reading.read("ann", 0, 1)
    reading.read("ann", KEPT_PAGES * PAGE_LINES, KEPT_PAGES * PAGE_LINES + 1)
    reading.room.answer()
    reading.read("ann", 0, 1)
    assert not reading.room.reads
    reading.read("ann", PAGE_LINES, PAGE_LINES + 1)
    assert len(reading.room.reads) == 1


def test_many_clients_are_served_in_several_turns(reading: Reading) -> None:
    served: list[int] = []

    def serve(number: int, _page: Sequence[Line] | JournalError) -> None:
        reading.clock.rightNow += 0.001
        served.append(number)

    for number in range(20):
        reading.pages.read(cast(Room, reading.room), reading.encoder, 0, 1, partial(serve, number))
    reading.room.answer()
    assert served == [0]
    reading.turn()
    assert 1 < len(served) < 20
    for _ in range(20):
        reading.turn()
    assert served == list(range(20))


def test_fault_of_one_client_does_not_keep_others_from_their_page(reading: Reading) -> None:
    def fail(_page: Sequence[Line] | JournalError) -> None:
        raise ZeroDivisionError

    reading.read("ann", 0, 1)
    reading.pages.read(cast(Room, reading.room), reading.encoder, 0, 1, fail)
    reading.read("bob", 0, 1)
    reading.room.answer()
    with pytest.raises(ZeroDivisionError):
        reading.turn()
    reading.turn()
    assert reading.received.keys() == {"ann", "bob"}
