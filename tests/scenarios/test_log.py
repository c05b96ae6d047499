"""The log: who came from where, who left and why, a line each, which nothing can break."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from tests.harness import World
from tests.scenarios.conftest import Log

HERE = "127.0.0.1 port 40000"


def test_the_log_says_who_came_from_where_and_who_left_and_why_a_line_each(world: World, log: Log) -> None:
    ann, bob, carol = world.join("ann", "bob", "carol")
    ann.say("hi", "quit")
    bob.say("/nick rob", "/quit tired {of} it")
    carol.vanish()
    ann.hang_up()
    bob.hang_up()
    assert list(log) == [
        f"ann joined from {HERE}",
        f"bob joined from {HERE}",
        f"carol joined from {HERE}",
        f"ann left ({HERE})",
        f"rob, who came as bob, left: tired {{of}} it ({HERE})",
        f"carol left: connection lost ({HERE})",
    ]


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        (b"quit\r\n", ""),
        (b"GET / HTTP/1.1\r\n", ": This port speaks plain lines of text, not HTTP: connect with telnet or nc."),
        (b"not a nickname\r\n" * 10, ": no nickname in 10 tries"),
    ],
)
def test_the_log_says_why_somebody_left_who_had_no_nickname(world: World, log: Log, typed: bytes, why: str) -> None:
    person = world.connect()
    person.send(typed)
    person.hang_up()
    assert list(log) == [f"somebody without a nickname left{why} ({HERE})"]


def test_the_log_tells_of_time_outs_and_losses_before_a_nickname(world: World, log: Log) -> None:
    slow, lost = world.connect(), world.connect()
    lost.vanish()
    world.clock.advance(60)
    slow.hang_up()
    assert list(log) == [
        f"somebody without a nickname left: connection lost ({HERE})",
        f"somebody without a nickname left: No nickname in 60 seconds. ({HERE})",
    ]


def test_nothing_that_people_type_can_break_a_line_of_the_log(world: World, log: Log) -> None:
    person = world.connect(IPv6Address("TCP", "::1\r\nforged\x1b[2J", 7))
    person.say("a\x1bnn\x85\u2028", "/quit \x1b[2J\u2028tired\x85\u2029of\x0bit\x0c")
    assert list(log) == [
        "ann joined from ::1forged[2J port 7",
        "ann left: [2J tired  ofit (::1forged[2J port 7)",
    ]


@pytest.mark.parametrize(
    ("address", "where"),
    [
        (IPv4Address("TCP", "10.0.0.7", 40001), "10.0.0.7 port 40001"),
        (IPv6Address("TCP", "2001:db8::1", 40001), "2001:db8::1 port 40001"),
        (UNIXAddress(b"/tmp/x\nforged"), "a local socket"),
        (UNIXAddress(None), "a local socket"),
    ],
)
def test_the_log_says_where_somebody_came_from(world: World, log: Log, address: object, where: str) -> None:
    assert isinstance(address, IPv4Address | IPv6Address | UNIXAddress)
    world.connect(address).say("ann")
    assert list(log) == [f"ann joined from {where}"]


def test_what_people_say_is_not_in_the_log(world: World, log: Log) -> None:
    ann, _bob = world.join("ann", "bob")
    ann.say("secret", "/me secret", "/msg bob secret", "/x secret", "/away secret")
    assert "secret" not in "".join(log)


def test_everybody_leaves_the_log_once_whatever_comes_together(world: World, log: Log) -> None:
    ann, bob = world.join("ann", "bob")
    ann.say("quit")
    world.connections.drain()
    world.hub.close(lambda: None)
    world.settle()
    world.connections.disconnect()
    ann.hang_up()
    bob.hang_up()
    assert [line for line in log if "left" in line] == [f"ann left ({HERE})", f"bob left ({HERE})"]
