"""The line door: reading pauses and resumes, connections close, and the server drains them."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from itertools import count
from typing import Any
from weakref import ref

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.logger import Logger, LogPublisher, capturedLogs, formatEvent
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from broadcast.core.interfaces import View
from broadcast.core.limits import DEFAULTS, Limits
from broadcast.core.time_slice import SLICE_SECONDS
from broadcast.delivery.private_queue import CHUNK_OVERHEAD
from broadcast.doors.line.codec import COMMANDS_PER_LINE
from broadcast.doors.line.protocol import BroadcastProtocol
from broadcast.doors.line.telnet import AYT_REPLY
from broadcast.net.input_loop import LINES_PER_TURN, READ_AHEAD_BYTES
from tests.harness import DirectWorld, Person, World, is_read_from

WILL_TERMINAL_TYPE = b"\xff\xfb\x18"
WHERE = "127.0.0.1 port 40000"


@pytest.fixture(params=[World, DirectWorld])
def world(request: pytest.FixtureRequest) -> World:
    """A server with nobody in it, over each kind of writer."""
    world = request.param()
    assert isinstance(world, World)
    return world


def is_closed(person: Person) -> bool:
    """Return whether the connection of *person* is closed in both directions."""
    return person.transport.closed


def has_fired(deferred: Deferred[Any]) -> bool:
    """Return whether *deferred* has fired."""
    return bool(deferred.called)


def choke(person: Person) -> None:
    """Let *person* ask for more than they read, until the server does not read from them either."""
    person.transport.takes = False
    while is_read_from(person):
        person.put("/help\r\n")


def queued(person: Person) -> int:
    """Return the number of bytes that the server holds for *person* alone, without those in the transport."""
    return person.protocol.peer._subscriber._queue.size


def test_connection_is_a_line_receiver_that_may_be_half_closed(bob: Person, ann: Person) -> None:
    assert isinstance(bob.protocol, LineReceiver)
    assert DEFAULTS.line_bytes == bob.protocol.MAX_LENGTH
    assert verifyObject(IHalfCloseableProtocol, bob.protocol)
    bob.protocol.lineReceived(b"hi")
    bob.world.settle()
    assert ann.lines() == ["bob: hi"]


def test_factory_holds_open_connections_and_shares_encoders(world: World) -> None:
    ann, bob = world.connect(), world.connect()
    assert set(world.connections) == {ann.protocol, bob.protocol}
    bob.vanish()
    assert set(world.connections) == {ann.protocol}
    assert world.factory.encoder_for(View()) is world.factory.encoder_for(View())
    assert world.factory.encoder_for(View(times=True)) is not world.factory.encoder_for(View())


def test_all_lines_of_people_are_counted(world: World) -> None:
    ann = world.connect()
    ann.send("no nickname\r\nann\r\nhi\r\n/ping\r\n" + "x" * 5000 + "\r\n\r\nunfin")
    assert world.connections.lines_received == 6
    ann.send("ished\r\n" + "\n" * LINES_PER_TURN * 2 + "quit\r\n", cuts=(3, 100))
    assert world.connections.lines_received == 8 + LINES_PER_TURN * 2


def test_log_entries_have_fields_of_their_own(world: World, bob: Person) -> None:
    stranger = world.connect()
    with capturedLogs() as events:
        bob.say("/nick rob", "/quit tired")
        stranger.vanish()
        world.join("eve")
    assert [{key: event[key] for key in ("nick", "came_as", "why", "where") if key in event} for event in events] == [
        {"nick": "rob", "came_as": "bob", "why": "tired", "where": WHERE},
        {"nick": "", "came_as": "", "why": "connection lost", "where": WHERE},
        {"nick": "eve", "where": WHERE},
    ]


# Liveness probes


def test_any_bytes_are_a_sign_of_life(ann: Person) -> None:
    ann.protocol.heard_from = False
    ann.put("no line yet")
    assert ann.protocol.heard_from


@pytest.mark.parametrize(
    ("sent", "probe"),
    [(WILL_TERMINAL_TYPE, b"\xff\xf1"), (b"hi\xff\xff\r\n", b""), (WILL_TERMINAL_TYPE + b"quit\r\n", b"")],
    ids=["telnet", "netcat", "after leaving"],
)
def test_probe_is_sent_only_to_a_telnet_client_that_has_not_left(ann: Person, sent: bytes, probe: bytes) -> None:
    ann.send(sent)
    ann.transport.sent.clear()
    ann.protocol.send_noop()
    assert ann.transport.sent == probe


def test_probe_is_not_sent_to_a_client_that_does_not_read(world: World, ann: Person, bob: Person) -> None:
    bob.send(WILL_TERMINAL_TYPE)
    bob.transport.sent.clear()
    bob.transport.takes = False
    for _ in range(2):
        ann.say(*["x" * DEFAULTS.line_bytes] * 20)
    for _ in range(100):
        bob.protocol.send_noop()
    bob.transport.take_again()
    world.settle()
    assert len(bob.lines()) == 40


# One line at a time


def test_nothing_is_read_while_input_waits_for_a_reply_or_the_join(world: World, bob: Person, ann: Person) -> None:
    eve = world.connect()
    eve.put("eve\r\n")
    assert is_read_from(eve)
    eve.put("h")
    bob.put("one\r\n/history\r\ntwo\r\n")
    assert not is_read_from(eve)
    assert not is_read_from(bob)
    world.turn()
    assert ann.lines() == [" * eve joined.", "bob: one"]
    world.settle()
    assert is_read_from(eve)
    assert is_read_from(bob)
    assert bob.lines() == [" * eve joined.", "-> #1 [12:00] bob: one"]
    assert ann.lines() == ["bob: two"]


def test_others_have_their_turn_after_many_lines_and_a_late_chunk_waits(bob: Person, ann: Person) -> None:
    """A transport may still deliver what it had read before it was paused."""
    bob.put("x\r\n" * (LINES_PER_TURN * 2 + 10))
    assert not is_read_from(bob)
    bob.put("y\r\n")
    turns = []
    while bob.world.turn():
        turns.append(ann.lines())
    assert [line for lines in turns for line in lines] == ["bob: x"] * (LINES_PER_TURN * 2 + 10) + ["bob: y"]
    assert max(map(len, turns)) <= LINES_PER_TURN
    assert is_read_from(bob)


@pytest.mark.parametrize(
    "storm",
    [
        *(b"\xff\xfd\x06", b"\xff\xfb\x1f", b"\xff\xf6", b"\xff\xf7", b"\xff\xf8", b"\xff\xfa\xff\xf0"),
        *(b"x\xff\xf1", b"\xff\xf7\xff\xf1", b"\xff\xff\xff\xf1", b"\xff\xf1\n", b"\xff\xf1\xff\xf7"),
    ],
)
def test_others_have_their_turn_after_many_telnet_commands(bob: Person, ann: Person, storm: bytes) -> None:
    """16 KiB hold 8,192 commands, and none of them needs to be a line."""
    commands = 16_384 // len(storm)
    bob.put(storm * commands + b"\nhi\n")
    turns = 1
    while not is_read_from(bob):
        assert bob.world.turn()
        turns += 1
    assert turns >= commands / (LINES_PER_TURN * COMMANDS_PER_LINE)
    bob.world.settle()
    assert ann.lines()[-1] == "bob: hi"


def test_telnet_commands_without_end_are_rate_limited_like_lines() -> None:
    limits = Limits(paste_lines=3, lines_per_second=2)
    world = World(limits=limits)
    (ann,) = world.join("ann")
    world.clock.advance(60)
    for person in (ann, world.connect()):
        person.send(b"\xff\xf7" * (COMMANDS_PER_LINE * limits.paste_lines - 1))
        assert is_read_from(person)
        person.send(b"\xff\xf7" * (COMMANDS_PER_LINE * limits.paste_lines + READ_AHEAD_BYTES // 2))
        assert not is_read_from(person)
    for _ in range(600):
        world.clock.advance(1)
        world.settle()
    assert is_read_from(ann)
    ann.say("/ping")
    assert ann.lines() == ["-> pong"]


@pytest.mark.parametrize("last", ["/ping", "quit"])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_view_that_changes_during_delivery_keeps_the_order_of_answers(last: str, turns: int) -> None:
    """The change moves the private lines and makes room for more, but the next line has to wait."""
    world = DirectWorld()
    ann, bob, carol = world.join("ann", "bob", "carol")
    carol.say("one")
    ticks = count(0.0, SLICE_SECONDS)
    world.dispatcher._delivery_steps._slice._now = lambda: next(ticks)
    ann.put("/msg bob x\r\n" * 256)
    carol.put("two\r\n")
    for _ in range(turns):
        world.turn()
    bob.put(f"/timestamp on\r\n/history\r\n{last}\r\n")
    world.settle()
    answers = [re.sub(r"\[..:..\] ", "", line) for line in bob.lines() if line[:3] in {"-> ", " * "}]
    assert answers[-4:-1] == ["-> timestamps are on.", "-> #1 carol: one", "-> #2 carol: two"]
    assert answers[-1] == ("-> pong" if last == "/ping" else " * Goodbye, bob.")


@pytest.mark.parametrize("cuts", [(), range(1, 200), (7, 8)])
def test_answers_of_telnet_keep_their_place_however_the_bytes_are_cut(
    world: World, ann: Person, cuts: range | tuple[int, ...]
) -> None:
    eve = world.connect()
    eve.send(b"eve\r\nh\xc3\xa9llo\r\n/ping\r\n\xff\xfd\x01\xff\xf6/me waves\r\nquit\r\n", cuts)
    assert ann.lines() == [" * eve joined.", "eve: héllo", "** eve waves", " * eve left."]
    assert eve.transport.sent.endswith(b"-> pong\r\n\xff\xfc\x01[yes]\r\n * Goodbye, eve.\r\n")


# A client that does not read


@pytest.mark.parametrize("asked", [b"\xff\xf6", b"\xff\xfd\x06"], ids=["AYT", "DO TIMING-MARK"])
@pytest.mark.parametrize("often", [1, 20_000])
def test_client_that_does_not_read_answers_of_telnet_is_not_read_from(bob: Person, asked: bytes, often: int) -> None:
    bob.transport.takes = False
    sent = 0
    while is_read_from(bob):
        bob.put(asked * often)
        bob.world.settle()
        sent += often
        assert sent < 200_000
    assert queued(bob) < DEFAULTS.private_queue_bytes + CHUNK_OVERHEAD + COMMANDS_PER_LINE * len(AYT_REPLY)
    bob.transport.take_again()
    bob.world.settle()
    assert is_read_from(bob)
    assert len(bob.transport.sent) == sent * (len(AYT_REPLY) if asked == b"\xff\xf6" else 3)


def test_reply_that_comes_while_the_client_is_congested_does_not_resume_reading(bob: Person, ann: Person) -> None:
    ann.say("hi")
    bob.transport.takes = False
    bob.put("/help\r\n" * 1000 + "/history\r\n")
    bob.world.settle()
    assert not is_read_from(bob)
    bob.transport.take_again()
    bob.world.settle()
    assert is_read_from(bob)
    assert bob.lines()[-1].endswith(" ann: hi")


def test_long_history_is_made_as_it_is_read(world: World, bob: Person, ann: Person) -> None:
    bob.say(*(f"{number} " + "x" * 4000 for number in range(1, 501)))
    ann.read()
    bob.transport.takes = False
    bob.put("/history 500\r\nhi\r\n")
    drained = bob.protocol.drain()
    assert not has_fired(drained)
    world.settle()
    assert has_fired(drained), "the end of the server does not wait for somebody who does not read"
    most = 0
    while not (said := ann.read()):
        most = max(most, len(bob.transport.held) + queued(bob))
        bob.transport.take_again(100_000)
        world.settle()
    bob.transport.take_again()
    assert said == "bob: hi\r\n"
    assert [line.partition(" [12:00] ")[0] for line in bob.lines()] == [f"-> #{number}" for number in range(1, 501)]
    assert most < 4 * 64 * 1024


def test_client_that_is_lost_in_the_middle_of_a_long_history_has_left(bob: Person, ann: Person) -> None:
    bob.say(*["x" * 4000] * 100)
    ann.read()
    bob.transport.takes = False
    bob.put("/history 100\r\nlast words\r\n")
    bob.world.settle()
    bob.vanish()
    assert ann.lines() == ["bob: last words", " * bob left: connection lost"]


# The end of a connection


def test_connection_closes_when_both_directions_are_closed(world: World, ann: Person, bob: Person) -> None:
    ann.say("quit")
    ann.protocol.writeConnectionLost()
    assert not is_closed(ann)
    ann.protocol.readConnectionLost()
    assert is_closed(ann)
    bob.put("/ping\n/ping")
    bob.protocol.readConnectionLost()
    world.settle()
    assert bob.lines()[-3:] == ["-> pong", "-> pong", " * Goodbye, bob."]
    assert not is_closed(bob)
    bob.protocol.writeConnectionLost()
    assert is_closed(bob)


def test_client_that_closes_only_its_own_direction_is_aborted_after_ten_seconds(bob: Person) -> None:
    bob.say("quit")
    bob.protocol.readConnectionLost()
    assert not is_closed(bob)
    bob.world.clock.advance(10)
    assert bob.transport.aborted
    bob.vanish()
    assert not bob.world.clock.getDelayedCalls()


def test_clean_close_is_no_loss_and_neither_is_a_loss_after_the_end_of_input(
    world: World, ann: Person, bob: Person
) -> None:
    (carol,) = world.join("carol")
    ann.read()
    bob.put("hi")
    bob.protocol.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]  # not annotated
    carol.put("/history\r\nhi")
    carol.protocol.readConnectionLost()
    carol.vanish()
    assert sorted(ann.lines()) == [" * bob left.", " * carol left.", "bob: hi", "carol: hi"]


# The end of the server


@pytest.mark.parametrize(
    ("typed", "answers"),
    [("/history\r\n/ping\r\n", ["-> nothing was said yet.", "-> pong"]), ("quit\r\n", [" * Goodbye, bob."])],
)
def test_connection_drains_when_every_line_was_taken(bob: Person, typed: str, answers: list[str]) -> None:
    bob.put(typed)
    drained = bob.protocol.drain()
    assert not has_fired(drained)
    bob.world.settle()
    assert has_fired(drained)
    assert bob.lines() == answers


def test_connection_that_is_over_or_congested_has_drained(world: World, bob: Person, ann: Person) -> None:
    eve = world.connect()
    ann.say("quit")
    choke(bob)
    bob.put("/ping\r\n")
    assert has_fired(ann.protocol.drain())
    assert has_fired(bob.protocol.drain())
    assert has_fired(world.connections.drain())
    assert not is_read_from(eve)
    bob.transport.take_again()
    world.settle()
    assert not is_read_from(bob), "nothing is read while the server stops"


def test_connection_that_becomes_congested_has_drained(world: World, bob: Person, ann: Person) -> None:
    bob.transport.takes = False
    bob.put("/history\r\n")
    drained = bob.protocol.drain()
    for number in range(40):
        ann.put(f"/msg bob {number} " + "x" * 4000 + "\r\n")
    bob.put("/ping\r\n" * 20_000)
    assert not has_fired(drained)
    world.settle()
    assert has_fired(drained)


def test_disconnecting_closes_all_connections_and_says_no_unfinished_line(
    world: World, bob: Person, ann: Person
) -> None:
    bob.put("not finished")
    with capturedLogs() as events:
        gone = world.connections.disconnect()
        bob.protocol.close()
        assert bob.transport.finished
        bob.hang_up()
        assert not has_fired(gone)
        ann.hang_up()
    assert has_fired(gone)
    assert bob.read() == ann.read() == ""
    assert world.hub.lobby.last_seq == 0
    assert sorted(map(formatEvent, events)) == [f"ann left ({WHERE})", f"bob left ({WHERE})"]
    assert has_fired(world.connections.disconnect())


def leave_by_quit(person: Person) -> None:
    person.say("quit")
    person.hang_up()


def leave_while_nothing_is_read(person: Person) -> None:
    choke(person)
    person.vanish()


def leave_with_a_backlog(person: Person) -> None:
    person.put("".join(f"/ping {number}\r\n" for number in range(2 * LINES_PER_TURN)))
    person.vanish()


def stay_until_the_time_out(person: Person) -> None:
    person.world.clock.advance(DEFAULTS.linger_seconds)
    person.vanish()


@pytest.mark.parametrize("typed", ["", "carol\r\n", "carol\r\n/history\r\n/search x\r\n/names\r\n/me waves\r\n"])
@pytest.mark.parametrize(
    "leave",
    [
        leave_by_quit,
        Person.end_input,
        Person.vanish,
        leave_while_nothing_is_read,
        leave_with_a_backlog,
        stay_until_the_time_out,
    ],
)
def test_visit_that_is_over_is_freed_without_the_garbage_collector(
    world: World, ann: Person, typed: str, leave: Callable[[Person], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Before logging begins, Twisted holds the events, and with them the protocols that have logged them.
    monkeypatch.setattr(BroadcastProtocol, "_log", Logger(observer=LogPublisher()))
    if not typed and leave is leave_while_nothing_is_read:
        pytest.skip("there are no commands before the nickname")
    person = world.connect()
    person.send(typed)
    parts = [ref(part) for part in (person.protocol, person.protocol.session, person.protocol.peer)]
    gc.disable()
    try:
        leave(person)
        del person
        assert [part() for part in parts] == [None] * 3
    finally:
        gc.enable()


def test_lost_connection_is_freed_when_its_delayed_input_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BroadcastProtocol, "_log", Logger(observer=LogPublisher()))
    world = World(limits=Limits(paste_lines=3, lines_per_second=2))
    person = world.connect()
    person.put(b"\xff\xf7" * COMMANDS_PER_LINE * 6)  # so many telnet commands count as six lines
    person.vanish()
    protocol = ref(person.protocol)
    del person
    assert protocol() is not None, "its input waits for the rate limit"
    for _ in range(10):
        world.clock.advance(0.5)
        world.settle()
    assert protocol() is None
