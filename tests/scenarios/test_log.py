"""The log: one entry for each person who comes, and one for each who leaves and why."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from tests.harness import Person, World

HERE = "127.0.0.1 port 40000"
NOT_HTTP = ": This port speaks plain lines of text, not HTTP: connect with telnet or nc."


def test_log_names_who_came_from_where_and_who_left_and_why(world: World, log: list[str]) -> None:
    ann, bob, carol = world.join("ann", "bob", "carol")
    ann.say("hi", "quit")
    bob.say("/nick rob", "/quit tired {of} it")
    carol.vanish()
    ann.hang_up()
    bob.hang_up()
    assert log == [
        *(f"{nick} joined from {HERE}" for nick in ("ann", "bob", "carol")),
        f"ann left ({HERE})",
        f"rob, who came as bob, left: tired {{of}} it ({HERE})",
        f"carol left: connection lost ({HERE})",
    ]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["quit"], ""),
        (["GET / HTTP/1.1"], NOT_HTTP),
        (["not a nickname"] * 10, ": no nickname in 10 tries"),
        ([], ": No nickname in 60 seconds."),
        (None, ": connection lost"),
    ],
)
def test_log_says_why_a_connection_without_nickname_ended(
    world: World, log: list[str], lines: list[str] | None, why: str
) -> None:
    person = world.connect()
    if lines is None:
        person.vanish()
    else:
        person.say(*lines)
        world.clock.advance(60)
        person.hang_up()
    assert log == [f"somebody without a nickname left{why} ({HERE})"]


@pytest.mark.parametrize(
    ("address", "where"),
    [
        (IPv4Address("TCP", "10.0.0.7", 40001), "10.0.0.7 port 40001"),
        (IPv6Address("TCP", "2001:db8::1", 40001), "2001:db8::1 port 40001"),
        (IPv6Address("TCP", "::1\r\nforged\x1b[2J", 7), "::1forged port 7"),
        (UNIXAddress(b"/tmp/x\nforged"), "a local socket"),
        (UNIXAddress(None), "a local socket"),
    ],
)
def test_log_entry_is_one_line_whatever_people_type_and_wherever_they_come_from(
    world: World, log: list[str], address: IAddress, where: str
) -> None:
    person = world.connect(address)
    person.say("a\u202enn\x85\u2028", "/quit \x1b[2J\u2028tired\x85\u2029of\x0bit\x0c {who} %s")
    assert log == [f"ann joined from {where}", f"ann left: tired  ofit {{who}} %s ({where})"]


def test_client_that_comes_in_a_loop_is_logged_in_a_summary(world: World, log: list[str]) -> None:
    for number in range(100):
        (person,) = world.join(f"p{number}")
        person.say("quit")
        person.hang_up()
    world.connect().vanish()
    assert len(log) == 60
    world.clock.advance(60)
    assert log[60:] == ["70 joins, 70 leaves and 1 visit without a nickname from 127.0.0.1 in the last 60 s"]


def test_log_does_not_hold_lines_of_people(ann: Person, bob: Person, log: list[str]) -> None:
    ann.say("secret", "/me secret", "/msg bob secret", "/x secret", "/away secret")
    assert "secret" not in "".join(log)
