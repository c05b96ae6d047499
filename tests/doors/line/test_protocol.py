"""The line door: what a connection does and when, the pulled codec, the reading that pauses, and its end."""

from __future__ import annotations

import re
from itertools import count
from unittest import mock

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.logger import capturedLogs, formatEvent
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from broadcast.core.interfaces import View
from broadcast.core.limits import DEFAULTS
from broadcast.core.time_slice import SLICE_SECONDS
from broadcast.delivery.private_queue import CHUNK_OVERHEAD
from broadcast.doors.line.codec import COMMANDS_PER_LINE
from broadcast.doors.line.protocol import LINES_PER_TURN, BroadcastFactory, BroadcastProtocol
from broadcast.doors.line.telnet import AYT_REPLY
from tests.harness import Counted, DirectWorld, Person, World


@pytest.fixture(params=[World, DirectWorld])
def world(request: pytest.FixtureRequest) -> World:
    """A server with nobody in it, over each kind of outlet."""
    world = request.param()
    assert isinstance(world, World)
    return world


@pytest.fixture
def ann(world: World) -> Person:
    """Somebody in it."""
    return world.join("ann")[0]


@pytest.fixture
def bob(world: World, ann: Person) -> Person:
    """Somebody who sees what she does."""
    (bob,) = world.join("bob")
    ann.read()
    return bob


def fired(deferred: Deferred[None] | Deferred[list[tuple[bool, None]]]) -> list[object]:
    """Something that is there once *deferred* has fired."""
    results: list[object] = []
    deferred.addCallback(results.append)
    return results


def is_read_from(person: Person) -> bool:
    return person.transport.reading


def test_a_connection_is_what_twisted_takes_it_for(ann: Person) -> None:
    assert isinstance(ann.protocol, LineReceiver)
    assert DEFAULTS.line_bytes == ann.protocol.MAX_LENGTH
    assert verifyObject(IHalfCloseableProtocol, ann.protocol)


def test_the_factory_makes_protocols_and_holds_the_connected_ones(world: World) -> None:
    assert isinstance(world.factory, BroadcastFactory)
    ann, bob = world.connect(), world.connect()
    assert isinstance(ann.protocol, BroadcastProtocol)
    assert set(world.connections) == {ann.protocol, bob.protocol}
    bob.vanish()
    assert set(world.connections) == {ann.protocol}


def test_readers_with_the_same_view_share_one_wire(world: World) -> None:
    assert world.factory.encoder_for(View()) is world.factory.encoder_for(View())
    assert world.factory.encoder_for(View(times=True)) is not world.factory.encoder_for(View())


def test_a_line_handed_over_without_its_end_is_a_line(bob: Person, ann: Person) -> None:
    bob.protocol.lineReceived(b"hi")
    bob.world.settle()
    assert ann.lines() == ["bob: hi"]


# The heartbeat


def test_whatever_comes_is_a_sign_of_life(ann: Person) -> None:
    ann.protocol.heard_from = False
    ann.put("no line yet")
    assert ann.protocol.heard_from


def test_a_telnet_is_sent_what_it_does_not_show(ann: Person) -> None:
    ann.send(b"\xff\xfb\x18")  # IAC WILL TERMINAL-TYPE
    ann.transport.sent.clear()
    ann.protocol.send_noop()
    assert ann.transport.sent == b"\xff\xf1"


def test_netcat_is_not(ann: Person) -> None:
    ann.send(b"hi\xff\xff\r\n")
    ann.protocol.send_noop()
    assert ann.transport.sent == b""


def test_who_does_not_read_is_not_sent_more_of_it(world: World, ann: Person, bob: Person) -> None:
    bob.send(b"\xff\xfb\x18")
    bob.transport.sent.clear()
    bob.transport.takes = False
    for _ in range(2):
        ann.say(*["x" * DEFAULTS.line_bytes] * 20)
    for _ in range(100):
        bob.protocol.send_noop()
    bob.transport.take_again()
    world.settle()
    assert b"\xff" not in bob.transport.sent
    assert bob.transport.sent.count(b"\r\n") == 40


def test_who_has_left_is_sent_nothing(ann: Person) -> None:
    ann.send(b"\xff\xfb\x18")
    ann.say("quit")
    ann.transport.sent.clear()
    ann.protocol.send_noop()
    assert ann.transport.sent == b""


# One line at a time


def test_nothing_is_read_while_an_answer_is_to_come(bob: Person, ann: Person) -> None:
    bob.put("one\r\n/history\r\ntwo\r\n")
    assert not is_read_from(bob)
    bob.world.turn()
    assert ann.lines() == ["bob: one"]
    bob.world.settle()
    assert is_read_from(bob)
    assert [line[-8:] for line in bob.lines()] == ["bob: one"]
    assert ann.lines() == ["bob: two"]


def test_the_limit_of_a_line_is_that_of_the_moment_when_it_is_taken_out(world: World, ann: Person) -> None:
    eve = world.connect()
    eve.put("eve\r\n" + "x" * DEFAULTS.line_bytes + "\r\n" + "y" * (DEFAULTS.line_bytes + 1) + "\r\n")
    world.settle()
    assert ann.lines() == [" * eve joined.", "eve: " + "x" * DEFAULTS.line_bytes]
    assert eve.lines()[-1] == "-> Error: a line holds at most 4096 bytes."


def test_after_many_lines_the_others_have_their_turn(bob: Person, ann: Person) -> None:
    bob.put("x\r\n" * (LINES_PER_TURN * 2 + 10))
    assert not is_read_from(bob)
    said = []
    while bob.world.turn():
        said.append(len(ann.lines()))
    assert sum(said) == LINES_PER_TURN * 2 + 10
    assert max(said) <= LINES_PER_TURN
    assert is_read_from(bob)


@pytest.mark.parametrize("last", ["/ping", "quit"])
def test_who_changes_their_view_in_mid_burst_gets_every_answer_and_in_their_order(last: str) -> None:
    """Their private lines are moved about then, and there is room for more: that is no time for the next line."""
    world = DirectWorld()
    ann, bob, carol = world.join("ann", "bob", "carol")
    carol.say("one")
    ticks = count(0.0, SLICE_SECONDS)
    world.fanout._delivery_slice._now = lambda: next(ticks)
    ann.put("/msg bob x\r\n" * 256)
    carol.put("two\r\n")
    world.until(lambda: bob.protocol._peer._subscriber in world.fanout._overridden)
    bob.put(f"/timestamp on\r\n/history\r\n{last}\r\n")
    world.settle()
    answers = [re.sub(r"\[..:..\] ", "", line) for line in bob.lines() if line[:3] in {"-> ", " * "}]
    assert answers[-4:-1] == ["-> timestamps are on.", "-> #1 carol: one", "-> #2 carol: two"]
    assert answers[-1] == ("-> pong" if last == "/ping" else " * Goodbye, bob.")


@pytest.mark.parametrize(
    "storm",
    [
        *(b"\xff\xfd\x06", b"\xff\xfb\x1f", b"\xff\xf6", b"\xff\xf7", b"\xff\xf8", b"\xff\xfa\xff\xf0"),
        *(b"x\xff\xf1", b"\xff\xf7\xff\xf1", b"\xff\xff\xff\xf1", b"\xff\xf1\n", b"\xff\xf1\xff\xf7"),
    ],
)
def test_however_many_telnet_commands_come_the_others_have_their_turn(bob: Person, ann: Person, storm: bytes) -> None:
    """64 KiB hold 32,768 commands, and none of them needs to be a line."""
    pieces = Counted(bob.protocol._codec._telnet.next_piece)
    with mock.patch.object(bob.protocol._codec._telnet, "next_piece", pieces):
        bob.put(storm * (65_536 // len(storm)) + b"\nhi\n")
        turns = 0
        while not is_read_from(bob):
            assert pieces.calls <= LINES_PER_TURN * COMMANDS_PER_LINE
            pieces.calls = 0
            assert bob.world.turn()
            turns += 1
    assert turns > 2
    bob.world.settle()
    assert ann.lines()[-1] == "bob: hi"


def test_a_chunk_that_comes_while_the_others_have_their_turn_waits(bob: Person, ann: Person) -> None:
    """A transport may still deliver what it had read before it was paused."""
    bob.put("x\r\n" * (LINES_PER_TURN + 1))
    bob.put("y\r\n")
    bob.world.settle()
    assert ann.lines() == ["bob: x"] * (LINES_PER_TURN + 1) + ["bob: y"]


@pytest.mark.parametrize("cuts", [(), range(1, 200), (7, 8)])
def test_it_makes_no_difference_how_the_bytes_were_cut(
    world: World, ann: Person, cuts: range | tuple[int, ...]
) -> None:
    eve = world.connect()
    eve.send(b"eve\r\nh\xc3\xa9llo\r\n/ping\r\n\xff\xfd\x01\xff\xf6/me waves\r\nquit\r\n", cuts)
    assert ann.lines() == [" * eve joined.", "eve: héllo", "** eve waves", " * eve left."]
    sent = bytes(eve.transport.sent)
    assert sent.endswith(b"-> pong\r\n\xff\xfc\x01[yes]\r\n * Goodbye, eve.\r\n")


# A peer that does not read


def choke(person: Person) -> None:
    """They ask for more than they read, until nothing is read from them either."""
    person.transport.takes = False
    while is_read_from(person):
        person.put("/help\r\n")


def test_who_does_not_read_their_answers_is_not_read_from(bob: Person, ann: Person) -> None:
    choke(bob)
    bob.put("hi\r\n")
    bob.world.settle()
    assert ann.lines() == []
    bob.transport.take_again()
    bob.world.settle()
    assert is_read_from(bob)
    assert ann.lines() == ["bob: hi"]


@pytest.mark.parametrize("asked", [b"\xff\xf6", b"\xff\xfd\x06"], ids=["AYT", "DO TIMING-MARK"])
@pytest.mark.parametrize("often", [1, 20_000])
def test_who_does_not_read_the_answers_of_telnet_is_not_read_from(bob: Person, asked: bytes, often: int) -> None:
    bob.transport.takes = False
    sent = 0
    while is_read_from(bob):
        bob.put(asked * often)
        bob.world.settle()
        sent += often
        assert sent < 200_000
    assert (
        bob.protocol._peer._subscriber._queue.size
        < DEFAULTS.private_queue_bytes + CHUNK_OVERHEAD + COMMANDS_PER_LINE * len(AYT_REPLY)
    )
    bob.transport.take_again()
    bob.world.settle()
    assert is_read_from(bob)
    assert len(bob.transport.sent) == sent * (len(AYT_REPLY) if asked == b"\xff\xf6" else 3)


def test_who_does_not_read_what_everybody_is_told_is_read_from(bob: Person, ann: Person) -> None:
    bob.transport.takes = False
    ann.say(*["x" * 4000] * 200)
    assert is_read_from(bob)
    bob.say("hi")
    assert ann.lines() == ["bob: hi"]


def test_who_is_choked_by_their_own_answers_gets_them_all(world: World, ann: Person) -> None:
    ann.transport.takes = False
    ann.put("/help\r\n" * 500)
    assert not is_read_from(ann)
    most = 0
    while not is_read_from(ann):
        most = max(most, len(ann.transport.held))
        ann.transport.take_again(20_000)
        world.settle()
    ann.transport.take_again()
    assert ann.read().count("/unignore NAME   shows it again") == 500
    assert most < 200_000


def test_an_answer_that_comes_while_choked_does_not_start_the_reading(bob: Person, ann: Person) -> None:
    ann.say("hi")
    bob.transport.takes = False
    bob.put("/help\r\n" * 1000 + "/history\r\n")
    bob.world.settle()
    assert not is_read_from(bob)
    bob.transport.take_again()
    bob.world.settle()
    assert is_read_from(bob)
    assert bob.lines()[-1].endswith(" ann: hi")


def test_a_long_history_waits_while_it_is_not_read(world: World, bob: Person, ann: Person) -> None:
    bob.say(*(f"{number} " + "x" * 4000 for number in range(1, 501)))
    bob.transport.takes = False
    bob.put("/history 500\r\nhi\r\n")
    world.settle()
    ann.read()
    assert not is_read_from(bob)
    most = 0
    while not is_read_from(bob):
        assert ann.read() == ""
        reader = bob.protocol._peer._subscriber
        most = max(most, len(bob.transport.held) + reader._queue.size)
        bob.transport.take_again(100_000)
        world.settle()
    bob.transport.take_again()
    assert [line.partition(" [12:00] ")[0] for line in bob.lines()] == [f"-> #{number}" for number in range(1, 501)]
    assert ann.lines() == ["bob: hi"]
    assert most < 4 * 64 * 1024


def test_who_is_lost_in_the_middle_of_a_long_history_has_left(world: World, bob: Person, ann: Person) -> None:
    bob.say(*["x" * 4000] * 100)
    ann.read()
    bob.transport.takes = False
    bob.put("/history 100\r\nlast words\r\n")
    world.settle()
    bob.vanish()
    assert ann.lines() == ["bob: last words", " * bob left: connection lost"]


def test_who_does_not_read_a_long_history_is_not_waited_for(world: World, bob: Person) -> None:
    bob.say(*["x" * 4000] * 200)
    bob.transport.takes = False
    bob.put("/history 200\r\n")
    drained = fired(bob.protocol.drain())
    assert not drained
    world.settle()
    assert drained


# The end of a connection


def test_a_peer_that_closes_its_direction_first_is_closed_when_everything_is_sent(bob: Person) -> None:
    bob.put("/ping\n/ping")
    bob.protocol.readConnectionLost()
    bob.world.settle()
    assert bob.lines() == ["-> pong", "-> pong", " * Goodbye, bob."]
    closed = [bob.transport.closed]
    bob.protocol.writeConnectionLost()
    closed.append(bob.transport.closed)
    assert closed == [False, True]


def test_a_peer_that_closes_its_direction_last_is_closed_then(bob: Person) -> None:
    bob.say("quit")
    closed = []
    bob.protocol.writeConnectionLost()
    closed.append(bob.transport.closed)
    bob.protocol.readConnectionLost()
    closed.append(bob.transport.closed)
    assert closed == [False, True]


def test_who_lingers_is_aborted(bob: Person) -> None:
    bob.say("quit")
    bob.protocol.readConnectionLost()
    bob.world.clock.advance(10)
    assert bob.transport.aborted
    bob.protocol.connectionLost(Failure(ConnectionAborted()))  # type: ignore[no-untyped-call]  # not annotated
    assert not bob.world.clock.getDelayedCalls()


def test_what_comes_after_the_end_is_dropped(bob: Person, ann: Person) -> None:
    bob.say("quit")
    ann.read()
    bob.put("hi\r\nGET / HTTP/1.1\r\n")
    bob.end_input()
    assert ann.lines() == []


def test_a_closed_connection_is_no_loss(bob: Person, ann: Person) -> None:
    bob.put("hi")
    bob.protocol.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]  # likewise
    bob.world.settle()
    assert ann.lines() == ["bob: hi", " * bob left."]


def test_the_end_of_input_counts_more_than_a_later_loss(bob: Person, ann: Person) -> None:
    bob.put("/history\r\nhi")
    bob.protocol.readConnectionLost()
    bob.vanish()
    assert ann.lines() == ["bob: hi", " * bob left."]


def test_a_loss_fires_and_leaves_no_timer_behind(world: World) -> None:
    person = world.connect()
    lost = fired(person.protocol.lost)
    assert not lost
    person.vanish()
    assert lost
    assert not world.clock.getDelayedCalls()


def test_a_loss_in_mid_turn_is_survived(bob: Person, ann: Person) -> None:
    bob.put("x\r\n" * (LINES_PER_TURN + 5))
    bob.protocol.connectionLost()
    bob.world.settle()
    assert ann.lines() == ["bob: x"] * (LINES_PER_TURN + 5) + [" * bob left."]


# Strangers


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x00", b"SSH-2.0-x\r\n", b"PUT /x"])
@pytest.mark.parametrize("cuts", [(), range(1, 20)])
def test_a_stranger_is_told_so_however_it_was_cut(world: World, start: bytes, cuts: range | tuple[int, ...]) -> None:
    person = world.connect()
    person.read()
    person.send(start, cuts)
    (line,) = person.lines()
    assert line.startswith(" * This port speaks plain lines of text, not ")
    assert person.transport.finished
    person.send(b"ann\r\n")
    assert person.read() == ""


def test_after_the_first_line_nobody_is_a_stranger(world: World) -> None:
    person = world.connect()
    person.send(b"not a nickname\r\n")
    person.read()
    person.send(b"GET / HTTP/1.1\r\n")
    assert person.read().startswith("-> Error: a nickname holds only")


# The end of the server


def test_a_connection_drains_when_every_line_was_taken(bob: Person) -> None:
    bob.put("/history\r\n/ping\r\n")
    drained = fired(bob.protocol.drain())
    assert not drained
    bob.world.settle()
    assert drained
    assert bob.lines() == ["-> nothing was said yet.", "-> pong"]


def test_a_connection_that_is_over_has_drained(world: World, bob: Person) -> None:
    bob.say("quit")
    assert fired(bob.protocol.drain())
    assert fired(world.connections.drain())


def test_a_connection_drains_by_leaving(bob: Person) -> None:
    bob.put("quit\r\n")
    drained = fired(bob.protocol.drain())
    assert not drained
    bob.world.settle()
    assert drained


def test_who_does_not_read_is_not_waited_for(bob: Person) -> None:
    choke(bob)
    bob.put("/ping\r\n")
    assert fired(bob.protocol.drain())


def test_who_is_full_when_an_answer_has_come_is_not_waited_for_any_more(world: World, bob: Person, ann: Person) -> None:
    bob.transport.takes = False
    bob.put("/history\r\n")
    drained = fired(bob.protocol.drain())
    for number in range(40):
        ann.put(f"/msg bob {number} " + "x" * 4000 + "\r\n")
    bob.put("/ping\r\n" * 20_000)
    assert not drained
    world.settle()
    assert drained


def test_while_the_server_stops_nothing_is_read(world: World, bob: Person) -> None:
    eve = world.connect()
    choke(bob)
    fired(world.connections.drain())
    assert not is_read_from(bob)
    assert not is_read_from(eve)
    bob.transport.take_again()
    world.settle()
    assert not is_read_from(bob)


def test_disconnecting_closes_everybody_and_fires_when_the_last_is_gone(world: World, bob: Person, ann: Person) -> None:
    gone = fired(world.connections.disconnect())
    assert bob.transport.finished
    bob.hang_up()
    assert not gone
    ann.hang_up()
    assert gone
    assert bob.read() == ann.read() == ""
    assert fired(world.connections.disconnect())


def test_who_is_disconnected_twice_is_logged_once(world: World, bob: Person) -> None:
    with capturedLogs() as events:
        bob.protocol.close()
        bob.protocol.close()
        bob.hang_up()
    assert [formatEvent(event) for event in events] == ["bob left (127.0.0.1 port 40000)"]


def test_the_log_tells_under_which_name_somebody_came(bob: Person) -> None:
    with capturedLogs() as events:
        bob.say("/nick rob", "/quit tired")
    assert [formatEvent(event) for event in events] == ["rob, who came as bob, left: tired (127.0.0.1 port 40000)"]


def test_an_unfinished_line_of_somebody_who_is_disconnected_is_not_said(world: World, bob: Person, ann: Person) -> None:
    bob.put("not finished")
    bob.protocol.close()
    bob.hang_up()
    assert ann.read() == ""
    assert world.hub.room.last_seq == 0


def test_the_lines_that_people_type_are_counted_whatever_they_are(world: World) -> None:
    ann = world.connect()
    ann.send("no nickname\r\nann\r\nhi\r\n/ping\r\n" + "x" * 5000 + "\r\n\r\nunfin")
    assert world.connections.lines_received == 6
    ann.send("ished\r\n" + "\n" * LINES_PER_TURN * 2, cuts=(3, 100))
    assert world.connections.lines_received == 7 + LINES_PER_TURN * 2
    ann.say("quit")
    assert world.connections.lines_received == 8 + LINES_PER_TURN * 2


def test_what_the_log_says_of_somebody_is_in_fields_of_its_own(world: World, bob: Person) -> None:
    stranger = world.connect()
    with capturedLogs() as events:
        bob.say("/nick rob", "/quit tired")
        stranger.vanish()
        world.join("eve")
    shown = [{key: event[key] for key in ("nick", "came_as", "why", "where") if key in event} for event in events]
    where = "127.0.0.1 port 40000"
    assert shown == [
        {"nick": "rob", "came_as": "bob", "why": "tired", "where": where},
        {"nick": "", "came_as": "", "why": "connection lost", "where": where},
        {"nick": "eve", "where": where},
    ]
