"""Limits: a paste passes at once, more is read more slowly, and connections past a limit are rejected."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from broadcast.core.limits import DEFAULTS, Limits
from broadcast.net.connections import MAX_REJECTED
from broadcast.net.input_loop import NOTICE_SECONDS
from tests.cuts import WAYS
from tests.harness import Person, World
from tests.scenarios.conftest import Opens, at_once, newcomer

FAST = Limits(paste_lines=3, lines_per_second=2)
WELCOME = "Welcome to Broadcast. Type a nickname and press Enter.\r\nNickname: "
FULL = "This server is full. Try again later."


def rested(open_world: Opens, limits: Limits) -> tuple[World, Person, Person]:
    """Start a server with *limits*; return it with ann and bob, who may paste again."""
    world = open_world(limits=limits)
    ann, bob = world.join("ann", "bob")
    advance(world, 60)
    return world, ann, bob


def advance(world: World, seconds: float) -> None:
    """Let time pass, and everything happen in it."""
    world.clock.advance(seconds)
    world.settle()


def numbers_after(world: World, person: Person, steps: Sequence[float]) -> list[int]:
    """Return how many lines *person* reads now and after each of *steps* in seconds."""
    numbers = [len(person.lines())]
    for seconds in steps:
        advance(world, seconds)
        numbers.append(len(person.lines()))
    return numbers


# Lines


def test_forty_lines_pass_at_once_and_more_at_two_a_second(open_world: Opens) -> None:
    world, ann, bob = rested(open_world, DEFAULTS)
    at_once((bob, *(f"{number}" for number in range(40))))
    assert ann.lines() == [f"bob: {number}" for number in range(40)]
    advance(world, 60)
    at_once((bob, *["x"] * 50))
    assert numbers_after(world, ann, [1.0] * 6) == [40, 2, 2, 2, 2, 2, 0]
    assert not bob.transport.finished
    assert world.connections.throttle_count >= 5
    carol = newcomer(world)
    at_once((carol, "carol", *["x"] * 41))
    assert ann.lines() == [" * carol joined.", *["carol: x"] * 40]


def test_others_are_not_held_up_by_somebody_too_fast(open_world: Opens) -> None:
    _, ann, bob = rested(open_world, FAST)
    at_once((bob, *["x"] * 10))
    assert ann.lines() == ["bob: x"] * 3
    ann.say("hi")
    assert bob.lines() == ["ann: hi"]


def test_commands_blank_lines_and_overlong_lines_count_too(open_world: Opens) -> None:
    world, ann, _ = rested(open_world, FAST)
    at_once((ann, "/ping", "x" * 5000, "", "/ping"))
    assert ann.lines() == ["-> pong", "-> Error: a line holds at most 4096 bytes."]
    advance(world, 0.6)
    assert ann.lines() == ["-> 1 line is waiting; lines are said two a second.", "-> pong"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\0"])
def test_person_who_pastes_too_much_reads_once_how_many_lines_wait(open_world: Opens, way: str, end: str) -> None:
    world, ann, bob = rested(open_world, DEFAULTS)
    for piece in WAYS[way](f"line{end}".encode() * 80):
        bob.put(piece)
    bob.put("not finished")
    assert bob.read() == ""
    advance(world, NOTICE_SECONDS)
    assert bob.lines() == ["-> 40 lines are waiting; they are said two a second."]
    assert ann.lines() == ["bob: line"] * 40
    advance(world, 10)
    bob.put(f"more{end}")
    assert sum(numbers_after(world, ann, [0.5] * 43)) == 41
    assert bob.read() == ""
    at_once((bob, *["again"] * 50))
    advance(world, NOTICE_SECONDS)
    (notice,) = bob.lines()
    assert notice.endswith(" lines are waiting; they are said two a second."), "the next queue has its own"


@pytest.mark.parametrize(
    ("rate", "pace"),
    [
        *((1, "one a second"), (9.0, "nine a second"), (12, "12 a second"), (2.5, "2.5 a second")),
        *((0.5, "one every 2 seconds"), (0.3, "one every 3.3 seconds")),
    ],
)
def test_notice_about_waiting_lines_follows_the_options(open_world: Opens, rate: float, pace: str) -> None:
    world, ann, _ = rested(open_world, Limits(paste_lines=3, lines_per_second=rate))
    at_once((ann, *["x"] * 13))
    advance(world, NOTICE_SECONDS)
    waiting = 10 - int(NOTICE_SECONDS * rate)
    assert ann.lines() == [f"-> {waiting} lines are waiting; they are said {pace}."]


def test_client_that_has_ended_its_input_gets_no_notice_about_waiting_lines(open_world: Opens) -> None:
    world, ann, bob = rested(open_world, FAST)
    at_once((bob, *["x"] * 5))
    bob.end_input()
    advance(world, 60)
    assert bob.lines() == [" * Goodbye, bob."]
    at_once((ann, *["x"] * 5))
    ann.vanish()
    advance(world, 60)
    assert not world.clock.getDelayedCalls()


def test_end_of_input_waits_for_the_lines_before_it(open_world: Opens) -> None:
    world, ann, bob = rested(open_world, FAST)
    at_once((bob, *"12345"))
    bob.end_input()
    assert numbers_after(world, ann, [0.5] * 3) == [3, 1, 1, 1]
    assert bob.lines()[-1] == " * Goodbye, bob."


def test_lines_typed_before_a_loss_are_said_at_the_same_pace(open_world: Opens) -> None:
    world, ann, bob = rested(open_world, FAST)
    bob.put("x\r\n" * 6)
    bob.vanish()
    assert numbers_after(world, ann, [0.5] * 3) == [3, 1, 1, 1]
    advance(world, 0.5)
    assert ann.lines() == [" * bob left: connection lost"]
    assert not world.clock.getDelayedCalls()


@pytest.mark.parametrize("joined", [True, False])
def test_too_many_lines_typed_before_a_loss_are_dropped_after_150_seconds(
    open_world: Opens, log: list[str], joined: bool
) -> None:
    world = open_world(limits=Limits(connections=2, paste_lines=3, lines_per_second=2))
    (ann,) = world.join("ann")
    bob = world.join("bob")[0] if joined else newcomer(world)
    ann.read()
    bob.put(("" if joined else "bob\r\n") + "x\r\n" * 10_000)
    bob.vanish()
    assert world.connect().lines() == [f" * {FULL}"], "bob still has a place"
    seen = ann.lines()
    for _ in range(150):
        advance(world, 1)
        seen += ann.lines()
    assert seen[-1] == " * bob left: connection lost"
    assert 250 < len(seen) < 310
    assert "bob was not heard to the end: too many lines." in log
    assert world.connect().read() == WELCOME


def test_everything_typed_is_said_at_once_when_the_server_goes_down(open_world: Opens) -> None:
    world, ann, bob = rested(open_world, FAST)
    (carol,) = world.join("carol")
    ann.read()
    bob.put("".join(f"{number}\r\n" for number in range(100)))
    carol.put("x\r\n" * 100)
    carol.vanish()
    drained = world.connections.drain()
    world.settle()
    assert drained.called
    lines = ann.lines()
    assert [line for line in lines if line.startswith("bob")] == [f"bob: {number}" for number in range(100)]
    assert lines.count("carol: x") == 100


# Connections


def come(world: World, host: str, count: int) -> list[Person]:
    """Return *count* connections from *host*."""
    kind = IPv6Address if ":" in host else IPv4Address
    return [world.connect(kind("TCP", host, 1000 + number)) for number in range(count)]


@pytest.mark.parametrize(
    ("limits", "most", "hosts", "name"),
    [
        (DEFAULTS, 64, ["192.0.2.1"] * 2, "192.0.2.1"),
        (Limits(address_connections=1), 1, ["2001:db8::1", "2001:db8::2"], "2001:db8::/64"),
    ],
)
def test_connections_past_the_limit_of_an_address_are_rejected(
    open_world: Opens, limits: Limits, most: int, hosts: list[str], name: str
) -> None:
    world = open_world(limits=limits)
    people = come(world, hosts[0], most)
    assert {person.read() for person in people} == {WELCOME}
    (rejected,) = come(world, hosts[1], 1)
    assert rejected.lines() == [f" * Too many connections from {name}: this server takes {most} from one address."]
    assert rejected.transport.closed
    rejected.vanish(clean=True)
    assert come(world, "192.0.2.2", 1)[0].read() == WELCOME
    people[0].vanish()
    advance(world, 1)  # the rate of new connections has a limit, too
    assert come(world, hosts[1], 1)[0].read() == WELCOME


def test_client_that_connects_in_a_loop_is_rejected_above_its_rate(open_world: Opens) -> None:
    world = open_world(limits=DEFAULTS)
    for _ in range(64):
        come(world, "192.0.2.1", 1)[0].vanish()
    (rejected,) = come(world, "192.0.2.1", 1)
    assert rejected.lines() == [
        " * Too many new connections from 192.0.2.1: this server takes 20 a second from one address."
    ]
    assert rejected.transport.closed
    assert come(world, "192.0.2.2", 1)[0].read() == WELCOME
    advance(world, 0.05)
    assert come(world, "192.0.2.1", 1)[0].read() == WELCOME


def test_connections_from_this_machine_have_no_limit(open_world: Opens) -> None:
    world = open_world(limits=Limits(address_connections=1))
    people = come(world, "127.0.0.1", 5) + [world.connect(UNIXAddress("/run/chat.sock")) for _ in range(5)]
    assert {person.read() for person in people} == {WELCOME}


def test_full_server_rejects_connections_and_others_do_not_notice(open_world: Opens, log: list[str]) -> None:
    world = open_world(limits=Limits(connections=2))
    ann, bob = world.join("ann", "bob")
    for _ in range(100):
        late = world.connect()
        assert late.lines() == [f" * {FULL}"]
        assert late.transport.closed
        late.send("eve\r\nhi\r\n")
        late.vanish(clean=True)
    bob.say("hi")
    assert ann.lines() == ["bob: hi"]
    assert len([line for line in log if "refused" in line]) == 1
    advance(world, 20)
    assert [line for line in log if "joined" not in line] == [
        f"Connections refused: {number}, the last one: {FULL}" for number in (1, 99)
    ]
    bob.say("quit")
    bob.hang_up()
    assert world.connect().read() == WELCOME


def test_only_few_rejected_connections_may_stay_open(open_world: Opens) -> None:
    """As over TLS, where the reason can only be sent after the handshake."""
    world = open_world(limits=Limits(connections=1))
    world.join("ann")
    rejected = [world.connect() for _ in range(MAX_REJECTED + 2)]
    assert [person.transport.aborted for person in rejected] == [False] * MAX_REJECTED + [True] * 2
    for person in rejected:
        person.vanish(clean=True)
    assert not world.connect().transport.aborted
