"""PROTOCOL.md, "Bad input": what becomes of it, as far as people see it."""

from __future__ import annotations

import pytest

from tests.harness import World


def test_a_line_of_4096_bytes_is_taken_and_one_more_is_refused(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.say("x" * 4096, "y" * 4097, "z")
    assert ann.lines() == ["bob: " + "x" * 4096, "bob: z"]
    assert bob.lines() == ["-> Error: a line holds at most 4096 bytes."]


def test_the_limit_is_counted_in_bytes(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.say("é" * 2048, "é" * 2049)
    assert ann.lines() == ["bob: " + "é" * 2048]
    assert bob.lines() == ["-> Error: a line holds at most 4096 bytes."]


def test_before_the_nickname_a_line_holds_512_bytes(world: World) -> None:
    person = world.connect()
    person.read()
    person.send("x" * 5000)
    assert person.read() == "-> Error: a line holds at most 512 bytes.\r\nNickname: "
    person.send("x" * 5000 + "\r\nann\r\n")
    assert person.read().startswith(" * You are ann.")


def test_overlong_lines_before_the_nickname_count_as_refusals(world: World) -> None:
    person = world.connect()
    person.say(*["x" * 513] * 10)
    assert person.lines()[-1] == " * Goodbye."
    assert person.transport.finished


def test_what_is_no_utf_8_is_replaced(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.send(b"caf\xe9 \xc0\xaf \xed\xa0\x80\r\n")
    assert ann.lines() == ["bob: caf\ufffd \ufffd\ufffd \ufffd\ufffd\ufffd"]


@pytest.mark.parametrize(
    ("typed", "seen"),
    [
        ("\x1b[2Jhi\x07", "[2Jhi"),
        ("\x9b2Jhi", "2Jhi"),
        ("a\x00b\x7fc", "abc"),
        ("\u202ehi\u2066", "hi"),
        ("a\u200bb\ufeffc\u200cd\u200de", "abc\u200cd\u200de"),
        ("hi\U000e0041", "hi"),
        ("a\u2028b\u2029c\x85d\te", "a b c d e"),
        ("e" + "\u0330" * 20, "\u1e1b" + "\u0330" * 7),
    ],
)
def test_what_is_unsafe_is_removed_before_anybody_sees_it(world: World, typed: str, seen: str) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.say(typed, f"/me {typed}", f"/msg ann {typed}", f"/quit {typed}")
    assert ann.lines() == [f"bob: {seen}", f"** bob {seen}", f"[bob] {seen}", f" * bob left: {seen}"]


def test_what_is_unsafe_in_a_nickname_is_removed_too(world: World) -> None:
    person = world.connect()
    person.read()
    person.say("a\x1bn\u202en")
    assert person.read().startswith(" * You are ann.")


@pytest.mark.parametrize(
    ("negotiation", "answer"),
    [
        (b"\xff\xfb\x1f", b"\xff\xfe\x1f"),  # WILL NAWS: DONT
        (b"\xff\xfd\x03", b"\xff\xfc\x03"),  # DO SUPPRESS-GO-AHEAD: WONT
        (b"\xff\xfc\x18\xff\xfe\x18\xff\xf1", b""),  # WONT, DONT, NOP
        (b"\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0", b""),  # a subnegotiation
    ],
)
def test_telnet_is_refused_politely_and_never_part_of_a_line(world: World, negotiation: bytes, answer: bytes) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.send(b"he" + negotiation + b"llo\r\n")
    assert ann.lines() == ["bob: hello"]
    assert bytes(bob.transport.sent) == answer
