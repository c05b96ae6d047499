"""Several servers with one database deliver one order of events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest

from broadcast.core.events import (
    Announced,
    AwayChanged,
    Event,
    Joined,
    Left,
    Message,
    Renamed,
    Repeated,
    StoreFailed,
    TopicChanged,
)
from tests.journals.contract import RoomHarness, message, seqs
from tests.journals.postgres.support import NodeHarness, open_postgres


class Nodes:
    """Servers with one database. A test opens them one by one."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        self._url = url
        self._stack = stack
        self.open: list[NodeHarness] = []

    def start(self, node: str) -> NodeHarness:
        """Start the server *node*, and open the lobby."""
        self.open.append(self._stack.enter_context(open_postgres(self._url, node)))
        return self.open[-1]


@pytest.fixture
def nodes(postgres_url: str) -> Iterator[Nodes]:
    with ExitStack() as stack:
        yield Nodes(postgres_url, stack)


def wait_for(run: RoomHarness, count: int) -> Sequence[Event]:
    """Wait until so many events were delivered to *run*, and return them."""
    run.calls.run_until(lambda: len(run.delivered) >= count)
    return run.delivered


def test_line_of_one_server_reaches_the_other_ones(nodes: Nodes) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    assert one.append(message("a")) == [message("a", 1)]
    assert wait_for(two, 1) == [message("a", 1)]
    assert two.append(message("b")) == [message("b", 2)]
    assert wait_for(one, 2) == [message("a", 1), message("b", 2)]
    assert (one.foreign, two.foreign) == ([message("b", 2)], [message("a", 1)])


def test_events_without_a_number_keep_their_place_among_the_lines(nodes: Nodes) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    events: list[Event] = [
        Joined(1, "ann"),
        message("a"),
        Renamed(1, "ann", "anna", unasked=True),
        AwayChanged(1, "anna", away=True, reason="lunch \0 \x1a"),
        message("b"),
        TopicChanged(1, "anna", "tea"),
        Announced("closing"),
        Announced("closing", is_local=True),
        Left(1, "anna", "tired", "bob"),
        message("c"),
    ]
    one.append(*events)
    assert one.delivered == events
    del events[7]
    assert wait_for(two, len(events)) == events
    assert seqs(two.delivered) == [1, 2, 3]


def test_servers_deliver_the_same_events_in_the_same_order(nodes: Nodes) -> None:
    runs = [nodes.start(name) for name in ("one", "two", "three")]
    count = 300
    for number in range(count):
        for session, run in enumerate(runs):
            run.log.append(Message(session, "ann", str(number), 1.0))
            if number % 7 == session:
                run.log.append(Joined(session, str(number)))
        if number % 10 == 9:
            for run in runs:
                run.calls.run_pending()
    total = sum(1 for number in range(count) for session in range(3) if number % 7 == session) + 3 * count
    first, *others = [wait_for(run, total) for run in runs]
    assert seqs(first) == [*range(1, 3 * count + 1)]
    for other in others:
        assert other == first
    for session in range(3):
        numbers = [
            int(event.nick if isinstance(event, Joined) else event.text)
            for event in first
            if isinstance(event, Joined | Message) and event.session == session
        ]
        assert numbers == sorted(numbers)


def test_rooms_that_are_not_open_are_not_read(nodes: Nodes) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    kitchen = one.open_room("kitchen")
    kitchen.append_texts("ab")
    one.append_texts("c")
    assert wait_for(two, 1) == [message("c", 1)]
    room = two.open_room("kitchen", tail=1)
    assert (room.last_seq, room.tail) == (2, [message("b", 2)])
    kitchen.append_texts("d")
    assert wait_for(room, 1) == [message("d", 3)]
    room.log.close()
    kitchen.append_texts("e")
    one.append_texts("f")
    assert wait_for(two, 2)[-1] == message("f", 2)
    assert room.delivered == [message("d", 3)]


def test_opened_room_begins_with_the_people_on_other_servers(nodes: Nodes) -> None:
    one = nodes.start("one")
    one.append(Joined(1, "ann"), Joined(2, "bob"), AwayChanged(1, "ann", away=True, reason="tea"), Left(2, "bob"))
    one.append(Joined(3, "cid"), Renamed(3, "cid", "dan"))
    two = nodes.start("two")
    assert wait_for(two, 3) == [Joined(1, "ann"), AwayChanged(1, "ann", away=True, reason="tea"), Joined(3, "dan")]
    assert two.foreign == two.delivered
    one.append(Left(1, "ann"))
    assert wait_for(two, 4)[-1] == Left(1, "ann")


def test_people_of_a_server_that_starts_again_leave(nodes: Nodes) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    one.append(Joined(1, "ann"), message("a"), Joined(2, "bob"))
    wait_for(two, 3)
    again = nodes.start("one")
    assert wait_for(two, 5)[3:] == [Left(1, "ann", "connection lost"), Left(2, "bob", "connection lost")]
    one.log.append(message("b"))
    one.calls.run_until(lambda: any(isinstance(event, StoreFailed) for event in one.delivered))
    (failure,) = [event for event in one.delivered if isinstance(event, StoreFailed)]
    assert failure.reason == "this server has lost its lease"
    assert again.append(message("c")) == [message("c", 2)]


def test_uid_that_another_server_has_stored_is_not_stored_again(nodes: Nodes) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    line = Message(1, "ann", "a", 1.0, uid="u")
    assert seqs(one.append(line, message("b"))) == [1, 2]
    wait_for(two, 2)
    stored = two.append(message("c"), Message(1, "ann", "a", 1.0, uid="u"), message("d"))
    assert stored == [message("c", 3), Repeated(Message(1, "ann", "a", 1.0, uid="u"), 1), message("d", 4)]
