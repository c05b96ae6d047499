"""What the line door does with hostile input: each row whole, byte by byte, and cut between CR and LF.

Whoever sends it reads exactly what PROTOCOL.md says, the others read nothing that could harm them, and both go on.
"""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.logger import eventAsText

from broadcast.core.hub import Settings
from broadcast.doors.line.telnet import MAX_REFUSALS
from tests.cuts import WAYS, Way
from tests.harness import Person, World, logged

LONG = bool(os.environ.get("BROADCAST_LONG"))
CHUNKS_WITHOUT_NEWLINE = 16_384 if LONG else 1_024
"""Of 64 KiB: 1 GiB takes five seconds, and 64 MiB show the same."""
STORM = 10_000 if LONG else 2_000
"""How often a telnet command is repeated."""

PROMPT = "Nickname: "
TOO_LONG = "-> Error: a line holds at most 4096 bytes.\r\n"
TOO_LONG_A_NICKNAME = "-> Error: a line holds at most 512 bytes.\r\n"
BAD_CHARACTERS = "-> Error: a nickname holds only ASCII letters, digits, _, - and .\r\n"


@pytest.fixture(params=WAYS.values(), ids=list(WAYS))
def cut(request: pytest.FixtureRequest) -> Way:
    """A way of cutting bytes into chunks; for each, everything that it leads to happens before the next comes."""
    way: Way = request.param
    return way


@pytest.fixture(autouse=True)
def _no_errors() -> Iterator[None]:
    with logged():
        yield


def type_in(person: Person, chunks: list[bytes]) -> None:
    """Send *chunks* one after the other."""
    for chunk in chunks:
        person.send(chunk)


# Said by somebody who is in the room: what they read, and what the others read


class Row(NamedTuple):
    """Bytes that bob sends, and what becomes of them."""

    name: str
    data: bytes
    others: str = ""
    """What ann reads."""
    answer: str = ""
    """What bob reads."""


def said(name: str, text: bytes | str, shown: str, end: bytes = b"\r\n") -> Row:
    """A line that ann reads as *shown*."""
    raw = text.encode() if isinstance(text, str) else text
    return Row(name, raw + end, f"bob: {shown}\r\n")


FRAMING = [
    said("exactly the limit", b"x" * 4096, "x" * 4096),
    Row("the limit + 1", b"x" * 4097 + b"\r\n", "", TOO_LONG),
    Row("far over the limit", b"x" * 65536 + b"\r\n", "", TOO_LONG),
    Row("resync after too long a line", b"x" * 5000 + b"\r\nhi\r\n", "bob: hi\r\n", TOO_LONG),
    Row("resync at a bare CR", b"x" * 5000 + b"\rhi\r", "bob: hi\r\n", TOO_LONG),
    Row("16 KiB of LF", b"\n" * 16384),
    Row("16 KiB of CR", b"\r" * 16384),
    Row("bare CR", b"one\rtwo\r", "bob: one\r\nbob: two\r\n"),
    Row("CR NUL", b"one\r\0two\r\0", "bob: one\r\nbob: two\r\n"),
    Row("all four line ends", b"1\r\n2\n3\r4\r\0", "".join(f"bob: {n}\r\n" for n in (1, 2, 3, 4))),
    said("NUL bytes", b"\0a\0\0b\0", "ab"),
    Row("nothing but NUL bytes", b"\0" * 4096 + b"\r\n"),
    said("U+0085, U+2028 and U+2029", "a\x85b\u2028c\u2029d", "a b c d"),
    Row("nothing but U+2028", "\u2028\u2028\r\n".encode()),
    said("vertical tab, form feed, separators", "a\x0bb\x0cc\x1cd\x1de\x1ef", "abcdef"),
    said("an HTTP request that is no first line", b"GET / HTTP/1.1", "GET / HTTP/1.1"),
    said("an SSH banner that is no first line", b"SSH-2.0-x", "SSH-2.0-x"),
    said("a TLS hello that is no first line", b"\x16\x03\x01\x02\x00\x01Hello", "Hello"),
]

ENCODING = [
    said("an overlong slash", b"a\xc0\xafb", "a\ufffd\ufffdb"),
    said("a surrogate", b"a\xed\xa0\x80b", "a\ufffd\ufffd\ufffdb"),
    said("past U+10FFFF", b"a\xf5\x80\x80\x80b", "a\ufffd\ufffd\ufffd\ufffdb"),
    said("FF FE is telnet's DONT", b"a\xff\xfebc", "ac"),
    said("FF FE at the end of a line takes its CR as the option", b"a\xff\xfe", "a"),
    said("FF FF is one byte that is no UTF-8", b"a\xff\xffb", "a\ufffdb"),
    said("cut off after one of two bytes", b"a\xc3", "a\ufffd"),
    said("cut off after two of three bytes", b"a\xe2\x82", "a\ufffd"),
    said("cut off after three of four bytes", b"a\xf0\x9f\x98", "a\ufffd"),
    said("a continuation byte alone", b"\x80a", "\ufffda"),
    said("a character that just fits", b"x" * 4094 + "é".encode(), "x" * 4094 + "é"),
    Row("cut at the limit in mid-codepoint", b"x" * 4095 + "é".encode() + b"\r\n", "", TOO_LONG),
    said("a lone C1 byte", b"a\x9b31m\x9d0;x\x9cb", "a\ufffd31m\ufffd0;x\ufffdb"),
]

TERMINAL = [
    said("TAB", "a\tb", "a b"),
    said("ESC [2J", "\x1b[2Ja", "[2Ja"),
    said("OSC 0, a title", "\x1b]0;root@here\x07a", "]0;root@herea"),
    said("OSC 8, a link", "\x1b]8;;http://evil\x1b\\a\x1b]8;;\x1b\\", "]8;;http://evil\\a]8;;\\"),
    said("OSC 52, the clipboard", "\x1b]52;c;cm0gLXJmIH4=\x07a", "]52;c;cm0gLXJmIH4=a"),
    said("DCS", "\x1bP+q544e\x1b\\a", "P+q544e\\a"),
    said("C1 CSI", "\u009b2Ja", "2Ja"),
    said("C1 OSC", "\u009d0;root\u009ca", "0;roota"),
    said("backspaces", "bad\b\b\bgood\x7f", "badgood"),
    Row("a storm of BEL", b"\x07" * 4096 + b"\r\n"),
    said("a storm of BEL with a word in it", b"\x07" * 2000 + b"hi" + b"\x07" * 2000, "hi"),
    said("bidi embeddings and overrides", "a\u202ab\u202bc\u202cd\u202de\u202ef", "abcdef"),
    said("bidi isolates", "a\u2066b\u2067c\u2068d\u2069e", "abcde"),
    said("bidi marks", "a\u200eb\u200fc\u061cd", "abcd"),
    said("no width", "a\u200bb\ufeffc\u2060d", "abcd"),
    said("ZWNJ and ZWJ stay", "می\u200cخواهم 👩\u200d💻", "می\u200cخواهم 👩\u200d💻"),
    said("tags", "a" + "".join(chr(0xE0000 + ord(letter)) for letter in "hidden") + "b", "ab"),
    said("two thousand marks on one letter", "x" + "\u0301" * 2000 + "y", "x" + "\u0301" * 8 + "y"),
    Row("ten thousand marks on one letter", ("x" + "\u0301" * 10_000).encode() + b"\r\n", "", TOO_LONG),
    said("right to left", "שלום a", "שלום a"),
    said("not NFC", "e\u0301", "é"),
]

IDENTITY = [
    said("what looks like a leave", b" * bob left.", " * bob left."),
    said("what looks like a whisper", b"[ann] psst", "[ann] psst"),
    said("what looks like an answer", b"-> Error: your password?", "-> Error: your password?"),
    Row("an act that looks like a line", b"/me \x1b[1Aann: hi\r\n", "** bob [1Aann: hi\r\n"),
    Row("/nick server", b"/nick SERVER\r\n", "", "-> Error: SERVER is reserved.\r\n"),
    Row("/nick of somebody", b"/nick  ANN \r\n", "", "-> Error: ANN is taken.\r\n"),
    Row("/nick of somebody in other letters", "/nick \u0430nn\r\n".encode(), "", BAD_CHARACTERS),
    Row("/nick with something invisible", "/nick a\u200bnn\r\n".encode(), "", "-> Error: ann is taken.\r\n"),
    Row(
        "an unknown command with escapes", b"/\x1b[2J\r\n", "", "-> Error: unknown command /[2J. /help lists them.\r\n"
    ),
    Row("a name with escapes", b"/msg \x1b[2J hi\r\n", "", "-> Error: [2J is not here.\r\n"),
    Row("a reason with escapes", b"/away \x1b]0;x\x07\xc2\x85y\r\n", "", "-> You are away: ]0;x y\r\n"),
]

TELNET = [
    Row("IAC with what is no command", b"a\xff\x01\xff\xefb\r\n", "bob: ab\r\n"),
    Row("Are You There", b"a\xff\xf6b\r\n", "bob: ab\r\n", "[yes]\r\n"),
    Row("Interrupt Process", b"a\xff\xf4b\r\n", "bob: b\r\n"),
    Row("Erase Character", "aé".encode() + b"\xff\xf7b\r\n", "bob: ab\r\n"),
    Row("Erase Line", b"a\xff\xf8b\r\n", "bob: b\r\n"),
    Row("window sizes", b"\xff\xfa\x1f\0\0\0\0\xff\xf0\xff\xfa\x1f" + b"\xff" * 8 + b"\xff\xf0b\r\n", "bob: b\r\n"),
    Row("line ends in a subnegotiation", b"a\xff\xfa\x18\r\nquit\r\n\xff\xf0b\r\n", "bob: ab\r\n"),
    Row("IAC IAC in a subnegotiation", b"a\xff\xfa\x18\xff\xff\xf0\xff\xf0b\r\n", "bob: ab\r\n"),
    Row("answers keep their place", b"/ping\r\n\xff\xf6/ping\r\n", "", "-> pong\r\n[yes]\r\n-> pong\r\n"),
]


@pytest.mark.parametrize("row", FRAMING + ENCODING + TERMINAL + IDENTITY + TELNET, ids=lambda row: row.name)
def test_what_is_sent_in_the_room_harms_nobody_and_everybody_goes_on(row: Row, cut: Way) -> None:
    ann, bob = World().join("ann", "bob")
    ann.read()
    type_in(bob, cut(row.data))
    assert (ann.read(), bob.read()) == (row.others, row.answer)
    bob.say("/ping", "still here")
    assert (ann.read(), bob.read()) == ("bob: still here\r\n", "-> pong\r\n")


@pytest.mark.parametrize(
    ("storm", "answers"),
    [
        (b"\xff\xfd\x06", b"\xff\xfc\x06" * STORM),
        (b"\xff\xfd\x1f", b"\xff\xfc\x1f" * MAX_REFUSALS),
        (b"\xff\xfb\x1f", b"\xff\xfe\x1f" * MAX_REFUSALS),
        (b"\xff\xf6", b"[yes]\r\n" * STORM),
        (b"\xff\xfc\x01", b""),
        (b"\xff\xfe\x01", b""),
        (b"\xff\xf7", b""),
        (b"\xff\xf8", b""),
        (b"x\xff\xf4", b""),
        (b"\xff\xfa\x1f\0\0\0\0\xff\xf0", b""),
    ],
    ids=["DO TIMING-MARK", "DO", "WILL", "AYT", "WONT", "DONT", "EC", "EL", "IP", "NAWS"],
)
def test_a_telnet_storm_is_answered_as_far_as_it_must_be(storm: bytes, answers: bytes, cut: Way) -> None:
    ann, bob = World().join("ann", "bob")
    ann.read()
    type_in(bob, cut(storm * STORM + b"hi\r\n"))
    assert bob.transport.sent == answers
    assert ann.read() == "bob: hi\r\n"


@pytest.mark.parametrize("unfinished", [b"\xff", b"\xff\xfd", b"\xff\xfa", b"\xff\xfa\x18\r\nquit\r\n" + b"x" * 9999])
def test_what_stood_before_a_telnet_command_without_its_end_still_counts(unfinished: bytes, cut: Way) -> None:
    ann, bob = World().join("ann", "bob")
    ann.read()
    type_in(bob, cut(b"hi" + unfinished))
    bob.end_input()
    assert ann.read() == "bob: hi\r\n * bob left.\r\n"


# Sent where a nickname is asked for


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        (b"server\r\n", "-> Error: server is reserved.\r\n"),
        (b"Admin\r\n", "-> Error: Admin is reserved.\r\n"),
        (b"\r\n", "-> Error: a nickname cannot be empty.\r\n"),
        (b" \t \r\n", "-> Error: a nickname cannot be empty.\r\n"),
        ("\u200b\r\n".encode(), "-> Error: a nickname cannot be empty.\r\n"),
        (b"ANN\r\n", "-> Error: ANN is taken.\r\n"),
        (b"ann \r\n", "-> Error: ann is taken.\r\n"),
        ("\ufeffann\r\n".encode(), "-> Error: ann is taken.\r\n"),
        ("\u202eann\r\n".encode(), "-> Error: ann is taken.\r\n"),
        ("\u0430nn\r\n".encode(), BAD_CHARACTERS),
        ("דוד\r\n".encode(), BAD_CHARACTERS),
        (b"a nn\r\n", BAD_CHARACTERS),
        (b"\xff\xff\r\n", BAD_CHARACTERS),
        (b"\xc0\xaf\r\n", BAD_CHARACTERS),
        (b"x" * 25 + b"\r\n", "-> Error: a nickname has at most 24 characters.\r\n"),
        (b"x" * 512 + b"\r\n", "-> Error: a nickname has at most 24 characters.\r\n"),
        (b"x" * 513 + b"\r\n", TOO_LONG_A_NICKNAME),
        (b"x" * 65536 + b"\r\n", TOO_LONG_A_NICKNAME),
    ],
)
def test_what_is_no_nickname_is_refused_and_asked_for_again(data: bytes, refusal: str, cut: Way) -> None:
    world = World()
    (ann,) = world.join("ann")
    bob = world.connect()
    bob.read()
    type_in(bob, cut(data))
    assert bob.read() == refusal + PROMPT
    bob.say("bob")
    assert bob.lines()[0].startswith(" * You are bob. 1 other is here: ann.")
    assert ann.read() == " * bob joined.\r\n"


@pytest.mark.parametrize(
    ("data", "nick"),
    [(b"bob.\r\n", "bob."), (b"  bob  \r\n", "bob"), (b"b\x1bo\x07b\r\n", "bob"), ("bob\u202e\r\n".encode(), "bob")],
)
def test_what_is_accepted_is_shown_as_the_nickname_that_it_is(data: bytes, nick: str, cut: Way) -> None:
    world = World()
    (ann,) = world.join("ann")
    bob = world.connect()
    type_in(bob, cut(data))
    bob.say("hi")
    assert ann.read() == f" * {nick} joined.\r\n{nick}: hi\r\n"


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        ("\u0430nn\r\n", "-> Error: \u0430nn looks too much like ann, who is here.\r\n"),
        ("ann\u202e\r\n", "-> Error: ann is taken.\r\n"),
        ("ＡＮＮ\r\n", "-> Error: ＡＮＮ is taken.\r\n"),
        ("שadmin\r\n", "-> Error: a nickname reads in one direction.\r\n"),
        ("s\u0435rver\r\n", "-> Error: s\u0435rver is reserved.\r\n"),
    ],
)
def test_where_any_script_may_be_used_none_may_deceive(data: str, refusal: str, cut: Way) -> None:
    world = World(Settings(unicode_nicknames=True))
    world.join("ann")
    bob = world.connect()
    bob.read()
    type_in(bob, cut(data.encode()))
    assert bob.read() == refusal + PROMPT


def test_a_nickname_may_read_from_right_to_left_where_any_script_may_be_used(cut: Way) -> None:
    world = World(Settings(unicode_nicknames=True))
    (ann,) = world.join("ann")
    david = world.connect()
    type_in(david, cut("דוד\r\nשלום\r\n".encode()))
    assert ann.read() == " * דוד joined.\r\nדוד: שלום\r\n"


def test_the_nickname_of_somebody_who_is_just_leaving_is_free_and_they_leave_first(cut: Way) -> None:
    world = World()
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.put(b"last words\r\nquit\r\n")
    other = world.connect()
    type_in(other, cut(b"bob\r\nfirst words\r\n"))
    assert ann.read() == "bob: last words\r\n * bob left.\r\n * bob joined.\r\nbob: first words\r\n"
    assert bob.read().endswith(" * Goodbye, bob.\r\n")


def test_of_two_who_ask_for_one_nickname_in_the_same_burst_the_first_gets_it() -> None:
    world = World()
    (ann,) = world.join("ann")
    first, second = world.connect(), world.connect()
    first.put(b"bob\r\nI am\r\n")
    second.put(b"Bob\r\nrob\r\nI was late\r\n")
    world.settle()
    assert "-> Error: Bob is taken.\r\nNickname:  * You are rob." in second.read()
    assert ann.read() == " * bob joined.\r\n * rob joined.\r\nbob: I am\r\nrob: I was late\r\n"


@pytest.mark.parametrize(
    ("data", "spoken"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost:5555\r\nUser-Agent: x\r\n\r\n", "HTTP"),
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\nann\r\nI was made to say this\r\n", "HTTP"),
        (b"CONNECT example.com:443 HTTP/1.1\r\n\r\n", "HTTP"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP"),
        (b"GET /" + b"x" * 9999 + b" HTTP/1.1\r\n\r\n", "HTTP"),
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\nann\r\n\xff\xfd\n" + bytes(range(256)), "TLS"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n\0\0\x05\xdc\r\n", "SSH"),
    ],
)
def test_a_program_of_another_protocol_is_told_so_and_never_becomes_anybody(data: bytes, spoken: str, cut: Way) -> None:
    world = World()
    (ann,) = world.join("ann")
    lost = world.connect()
    lost.read()
    type_in(lost, cut(data))
    assert lost.lines() == [f" * This port speaks plain lines of text, not {spoken}: connect with telnet or nc."]
    lost.hang_up()
    assert ann.read() == ""
    assert len(world.connections) == 1


# The end of the input


@pytest.mark.parametrize(
    ("data", "others"),
    [
        (b"bob\r\nhi\r\n", " * bob joined.\r\nbob: hi\r\n * bob left.\r\n"),
        (b"bob\r\nhi", " * bob joined.\r\nbob: hi\r\n * bob left.\r\n"),
        (b"bob\r\nhi\r", " * bob joined.\r\nbob: hi\r\n * bob left.\r\n"),
        (b"bob\r\n\xe2\x82", " * bob joined.\r\nbob: \ufffd\r\n * bob left.\r\n"),
        (b"bob", " * bob joined.\r\n * bob left.\r\n"),
        (b"bob\r\n" + b"x" * 4097, " * bob joined.\r\n * bob left.\r\n"),
        (b"bob\r\n" + b"x" * 4096 + b"\xff\xff", " * bob joined.\r\n * bob left.\r\n"),
        (b"bob\r\nhi\r\nquit", " * bob joined.\r\nbob: hi\r\n * bob left.\r\n"),
        (b"", ""),
    ],
)
def test_whoever_closes_their_direction_is_heard_answered_and_closed(data: bytes, others: str, cut: Way) -> None:
    world = World()
    (ann,) = world.join("ann")
    bob = world.connect()
    type_in(bob, cut(data))
    bob.end_input()
    assert bob.transport.closed
    assert not bob.transport.aborted
    assert bob.read().endswith(" * Goodbye, bob.\r\n" if data else PROMPT + " * Goodbye.\r\n")
    assert ann.read() == others


def test_a_reset_in_the_middle_of_a_line_still_lets_it_count(cut: Way) -> None:
    ann, bob = World().join("ann", "bob")
    ann.read()
    type_in(bob, cut(b"one\r\ntw"))
    bob.vanish()
    assert ann.read() == "bob: one\r\nbob: tw\r\n * bob left: connection lost\r\n"


# Much, and slowly


@pytest.mark.parametrize("nicked", [True, False], ids=["in the room", "without a nickname"])
def test_however_much_comes_without_a_newline_next_to_nothing_is_held(nicked: bool) -> None:
    world = World()
    ann, bob = world.join("ann", "bob") if nicked else (*world.join("ann"), world.connect())
    bob.read()
    ann.read()
    chunk = b"x" * 65536
    tracemalloc.start()
    try:
        for _ in range(CHUNKS_WITHOUT_NEWLINE):
            bob.protocol.dataReceived(chunk)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16_384
    assert bob.read() == (TOO_LONG if nicked else TOO_LONG_A_NICKNAME + PROMPT)
    bob.say("", "rob")
    assert ann.read() == ("bob: rob\r\n" if nicked else " * rob joined.\r\n")


def test_one_byte_every_30_seconds_is_a_line_in_the_end() -> None:
    ann, bob = (world := World()).join("ann", "bob")
    ann.read()
    for byte in b"slow\r\n":
        world.clock.advance(30)
        bob.send(bytes((byte,)))
    assert ann.read() == "bob: slow\r\n"


def test_one_byte_every_30_seconds_is_no_nickname() -> None:
    world = World()
    bob = world.connect()
    bob.read()
    for byte in b"bob\r\n":
        bob.send(bytes((byte,)))
        world.clock.advance(30)
    assert bob.read() == " * No nickname in 60 seconds.\r\n"
    assert bob.transport.finished
    assert not world.hub.room.members


def test_ten_thousand_who_never_give_a_nickname_are_gone_after_60_seconds() -> None:
    world = World()
    (ann,) = world.join("ann")
    # The clock sorts its calls with each new one. Here they come in the order of their times.
    world.clock._sortCalls = lambda: None  # type: ignore[method-assign]
    silent = [world.connect() for _ in range(10_000)]
    world.clock.advance(59)
    assert not any(person.transport.finished for person in silent)
    world.clock.advance(1)
    for person in silent:
        assert person.read().endswith(PROMPT + " * No nickname in 60 seconds.\r\n")
        person.hang_up()
    assert set(world.connections) == {ann.protocol}
    assert not world.clock.getDelayedCalls()
    assert ann.read() == ""


def test_who_does_not_close_either_is_aborted_10_seconds_later() -> None:
    world = World()
    silent = world.connect()
    world.clock.advance(60)
    world.clock.advance(9)
    assert not silent.transport.aborted
    world.clock.advance(1)
    assert silent.transport.aborted


# The log


@pytest.mark.parametrize(
    "data",
    [
        b"bob\r\n/quit one\ntwo",
        b"bob\r\n/quit \x1b[2J\x1b]0;x\x07one\xc2\x85two\xe2\x80\xa8three {who} %s\r\n",
        b"bob\r\n/quit one\x0btwo\x0cthree\x1cfour\0\r\n",
        "bob\r\n/quit \u202eeno\r\n".encode(),
        b"bob\r\n/nick rob\r\n/quit \x1b[1A\r\n",
        b"\x1b[2J\r\nbob\x1b[2J\r\nbob\r\n/nick a\x85b\r\nquit\r\n",
        b"GET /\x1b[2J HTTP/1.1\r\n",
        b"quit\r\n",
    ],
)
@pytest.mark.parametrize(
    "address",
    [
        IPv4Address("TCP", "192.0.2.1", 1234),
        IPv4Address("TCP", "192.0.2.1\r\n\x1b[2Jadmin joined from 192.0.2.2", 1234),
        UNIXAddress("/tmp/a\nb"),  # noqa: S108
    ],
    ids=["plain", "line end in it", "unix"],
)
def test_nothing_that_anybody_sends_makes_a_second_line_in_the_log(data: bytes, address: IAddress, cut: Way) -> None:
    with logged() as events:
        world = World()
        person = world.connect(address)
        type_in(person, cut(data))
        if not person.transport.finished:
            person.end_input()
    lines = [eventAsText(event, includeTimestamp=False, includeSystem=False) for event in events]
    assert 1 <= len(lines) <= 2
    for line in lines:
        assert line
        assert line.isprintable()
