"""What is within the limits passes at once; past them people are read more slowly, and connections are refused."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from broadcast.core.limits import DEFAULTS, Limits
from broadcast.doors.line.codec import COMMANDS_PER_LINE
from broadcast.net.connections import MAX_REJECTED
from tests.harness import Person, World
from tests.scenarios.conftest import Log, Opens

FAST = Limits(paste_lines=3, lines_per_second=2)


@pytest.fixture
def limited(open_world: Opens) -> World:
    """A server with its default limits."""
    return open_world(limits=DEFAULTS)


def advance(world: World, seconds: float) -> None:
    """Time passes, and everything happens in it."""
    world.clock.advance(seconds)
    world.settle()


# Lines


def test_forty_lines_at_once_are_no_flood(limited: World) -> None:
    ann, bob = limited.join("ann", "bob")
    ann.read()
    advance(limited, 60)
    bob.put("".join(f"line {number}\r\n" for number in range(40)))
    limited.settle()
    assert ann.lines() == [f"bob: line {number}" for number in range(40)]


def test_neither_are_forty_lines_behind_a_nickname(limited: World) -> None:
    (ann,) = limited.join("ann")
    bob = limited.connect()
    bob.put("bob\r\n" + "x\r\n" * 41)
    limited.settle()
    assert ann.lines() == [" * bob joined.", *["bob: x"] * 40]


def test_what_is_more_comes_two_a_second_and_nothing_of_it_is_dropped(limited: World) -> None:
    ann, bob = limited.join("ann", "bob")
    ann.read()
    advance(limited, 60)
    bob.put("".join(f"line {number}\r\n" for number in range(50)))
    limited.settle()
    came = [len(ann.lines())]
    reading = [bob.transport.reading]
    for _ in range(6):
        advance(limited, 1.0)
        came.append(len(ann.lines()))
    assert came == [40, 2, 2, 2, 2, 2, 0]
    assert limited.connections.throttle_count >= 5
    assert [*reading, bob.transport.reading] == [False, True]
    assert not bob.transport.finished


def test_the_others_are_not_held_up_by_it(open_world: Opens) -> None:
    world = open_world(limits=FAST)
    ann, bob = world.join("ann", "bob")
    advance(world, 60)
    ann.read()
    bob.put("x\r\n" * 10)
    world.settle()
    assert ann.lines() == ["bob: x"] * 3
    ann.say("hi")
    assert bob.lines() == ["ann: hi"]


def test_every_line_counts_and_so_does_one_that_is_too_long(open_world: Opens) -> None:
    world = open_world(limits=FAST)
    (ann,) = world.join("ann")
    advance(world, 60)
    ann.put("/ping\r\n" + "x" * 5000 + "\r\n\r\n/ping\r\n")
    world.settle()
    assert ann.lines() == ["-> pong", "-> Error: a line holds at most 4096 bytes."]
    advance(world, 0.6)
    assert ann.lines() == ["-> pong"]


def test_telnet_commands_without_end_count_too_with_a_nickname_or_without(open_world: Opens) -> None:
    world = open_world(limits=FAST)
    (ann,) = world.join("ann")
    advance(world, 60)
    for person in (ann, world.connect()):
        person.send(b"\xff\xf7" * (COMMANDS_PER_LINE * FAST.paste_lines - 1))
        reading = [person.transport.reading]
        person.send(b"\xff\xf7" * (COMMANDS_PER_LINE * FAST.paste_lines))
        assert [*reading, person.transport.reading] == [True, False]
    advance(world, 2)
    assert ann.transport.reading
    ann.put("/ping\r\n")
    world.settle()
    assert ann.lines() == ["-> pong"]


def test_the_end_of_the_input_waits_for_the_lines_before_it(open_world: Opens) -> None:
    world = open_world(limits=FAST)
    ann, bob = world.join("ann", "bob")
    advance(world, 60)
    ann.read()
    bob.put("1\r\n2\r\n3\r\n4\r\n5")
    bob.protocol.readConnectionLost()
    world.settle()
    assert ann.lines() == ["bob: 1", "bob: 2", "bob: 3"]
    advance(world, 0.5)
    assert ann.lines() == ["bob: 4"]
    advance(world, 0.5)
    advance(world, 0.5)
    assert ann.lines() == ["bob: 5", " * bob left."]
    assert bob.lines()[-1] == " * Goodbye, bob."


def lost_in_mid_flood(world: World, lines: int) -> Person:
    """Ann, who reads what bob said before his connection was lost."""
    ann, bob = world.join("ann", "bob")
    advance(world, 60)
    ann.read()
    bob.put("x\r\n" * lines)
    bob.vanish()
    return ann


def test_what_was_sent_before_the_connection_was_lost_is_said_at_the_same_pace(open_world: Opens) -> None:
    world = open_world(limits=FAST)
    ann = lost_in_mid_flood(world, 6)
    came = [len(ann.lines())]
    for _ in range(3):
        advance(world, 0.5)
        came.append(len(ann.lines()))
    assert came == [3, 1, 1, 1]
    advance(world, 0.5)
    assert ann.lines() == [" * bob left: connection lost"]
    assert world.connections.limiter.total == 1
    assert not world.connections.backlogged


def test_but_nobody_waits_for_ever_for_who_is_gone(open_world: Opens, log: Log) -> None:
    world = open_world(limits=FAST)
    ann = lost_in_mid_flood(world, 10_000)
    seen = []
    for _ in range(151):
        advance(world, 1)
        seen += ann.lines()
    assert seen[-1] == " * bob left: connection lost"
    assert 250 < len(seen) < 310
    assert "bob was not heard to the end: too many lines." in log
    assert world.connections.limiter.total == 1
    assert not world.connections.backlogged
    assert len(world.clock.getDelayedCalls()) == 0


def test_not_even_for_who_was_gone_before_they_had_come(open_world: Opens) -> None:
    world = open_world(limits=FAST)
    world.join("ann")
    bob = world.connect()
    bob.put("bob\r\n" + "x\r\n" * 10_000)
    bob.vanish()
    for _ in range(151):
        advance(world, 1)
    assert [member.nick for member in world.hub.room.members.values()] == ["ann"]
    assert world.connections.limiter.total == 1
    assert not world.connections.backlogged
    assert len(world.clock.getDelayedCalls()) == 0


def test_at_the_end_of_the_server_everything_that_came_in_is_said_at_once(open_world: Opens) -> None:
    world = open_world(limits=FAST)
    ann, bob, carol = world.join("ann", "bob", "carol")
    advance(world, 60)
    ann.read()
    bob.put("".join(f"{number}\r\n" for number in range(100)))
    carol.put("x\r\n" * 100)
    carol.vanish()
    drained: list[object] = []
    world.connections.drain().addCallback(drained.append)
    world.settle()
    assert len(drained) == 1
    lines = ann.lines()
    assert [line for line in lines if line.startswith("bob")] == [f"bob: {number}" for number in range(100)]
    assert lines.count("carol: x") == 100


def test_without_limits_a_thousand_lines_come_at_once(open_world: Opens) -> None:
    world = open_world(limits=DEFAULTS.without_client_limits())
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.put("x\r\n" * 1000)
    world.settle()
    assert len(ann.lines()) == 1000


# Connections


def come(world: World, host: str, count: int) -> list[Person]:
    """So many connections from *host*."""
    return [world.connect(IPv4Address("TCP", host, 1000 + number)) for number in range(count)]


def test_64_connections_of_one_address_are_taken_and_the_next_is_told_why_not(limited: World) -> None:
    people = come(limited, "192.0.2.1", 64)
    assert {person.read() for person in people} == {"Welcome to Broadcast.\r\nNickname: "}
    (refused,) = come(limited, "192.0.2.1", 1)
    assert refused.lines() == [" * Too many connections from 192.0.2.1: this server takes 64 from one address."]
    assert refused.transport.closed
    refused.vanish(clean=True)
    (other,) = come(limited, "192.0.2.2", 1)
    assert other.read() == "Welcome to Broadcast.\r\nNickname: "
    people[0].vanish()
    (again,) = come(limited, "192.0.2.1", 1)
    assert again.read() == "Welcome to Broadcast.\r\nNickname: "


def test_an_ipv6_network_of_64_bits_is_one_address(open_world: Opens) -> None:
    world = open_world(limits=Limits(address_connections=1))
    one = world.connect(IPv6Address("TCP", "2001:db8::1", 1000))
    two = world.connect(IPv6Address("TCP", "2001:db8::2", 1000))
    assert one.read() == "Welcome to Broadcast.\r\nNickname: "
    assert two.lines() == [" * Too many connections from 2001:db8::/64: this server takes 1 from one address."]


def test_this_machine_may_have_any_number(open_world: Opens) -> None:
    world = open_world(limits=Limits(address_connections=1))
    people = come(world, "127.0.0.1", 5) + [world.connect(UNIXAddress("/run/chat.sock")) for _ in range(5)]
    assert {person.read() for person in people} == {"Welcome to Broadcast.\r\nNickname: "}


def test_a_full_server_says_so_and_the_others_do_not_notice(open_world: Opens) -> None:
    world = open_world(limits=Limits(connections=2))
    ann, bob = world.join("ann", "bob")
    ann.read()
    late = world.connect()
    assert late.lines() == [" * This server is full. Try again later."]
    assert late.transport.closed
    late.send("eve\r\nhi\r\n")
    late.vanish(clean=True)
    bob.say("hi")
    assert ann.lines() == ["bob: hi"]
    bob.say("quit")
    bob.hang_up()
    assert world.connect().read() == "Welcome to Broadcast.\r\nNickname: "


def test_refused_connections_do_not_fill_the_log(open_world: Opens, log: Log) -> None:
    world = open_world(limits=Limits(connections=1))
    world.join("ann")
    for _ in range(100):
        world.connect().vanish(clean=True)
    assert len([line for line in log if "refused" in line]) == 1
    advance(world, 10)
    advance(world, 10)
    assert [line for line in log if "refused" in line] == [
        "Connections refused: 1, the last one: This server is full. Try again later.",
        "Connections refused: 99, the last one: This server is full. Try again later.",
    ]
    assert len(log) == 3


def test_those_who_are_refused_and_do_not_let_go_are_few(open_world: Opens) -> None:
    """As over TLS, where nobody can be told before the handshake has ended."""
    world = open_world(limits=Limits(connections=1))
    world.join("ann")
    refused = [world.connect() for _ in range(MAX_REJECTED + 2)]
    assert [person.transport.aborted for person in refused] == [False] * MAX_REJECTED + [True] * 2
    for person in refused:
        person.vanish(clean=True)
    assert not world.connect().transport.aborted


# Time to a nickname, and the length of a line


def test_the_time_to_a_nickname_is_an_option(open_world: Opens) -> None:
    world = open_world(limits=Limits(nickname_seconds=2.5))
    person = world.connect()
    person.read()
    advance(world, 2.4)
    assert person.read() == ""
    advance(world, 0.2)
    assert person.lines() == [" * No nickname in 2.5 seconds."]


def test_the_longest_line_is_an_option(open_world: Opens) -> None:
    world = open_world(limits=Limits(line_bytes=200, nickname_bytes=30))
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.say("x" * 200, "y" * 201)
    assert ann.lines() == ["bob: " + "x" * 200]
    assert bob.lines() == ["-> Error: a line holds at most 200 bytes."]
    eve = world.connect()
    eve.say("x" * 31)
    assert "-> Error: a line holds at most 30 bytes." in eve.read()
