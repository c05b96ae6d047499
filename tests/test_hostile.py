"""Hostile input on the line door, sent whole, byte by byte, and cut between CR and LF.

The sender reads the documented answer, the others read nothing that could harm them, and both go on.
"""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from broadcast.doors.line.telnet import MAX_REFUSALS
from tests.cuts import WAYS, Way
from tests.harness import Person, World, logged

LONG = bool(os.environ.get("BROADCAST_LONG"))
CHUNKS_WITHOUT_NEWLINE = 16_384 if LONG else 1_024
"""Number of chunks of 64 KiB. 1 GiB takes five seconds, and 64 MiB show the same."""
STORM = 10_000 if LONG else 2_000
"""Number of repetitions of a telnet command."""
CONNECTIONS = 10_000 if LONG else 1_000
"""Number of connections that wait for a nickname."""

PROMPT = "Nickname: "
TOO_LONG = "-> Error: a line holds at most 4096 bytes.\r\n"
TOO_LONG_A_NICKNAME = "-> Error: a line holds at most 512 bytes.\r\n"
BAD_CHARACTERS = "-> Error: a nickname holds only ASCII letters, digits, _, - and .\r\n"
CONTROL_CHARACTERS = "-> Error: a nickname holds no control characters, such as those that arrow keys send.\r\n"
SCOTLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"


@pytest.fixture(params=WAYS.values(), ids=list(WAYS))
def cut(request: pytest.FixtureRequest) -> Way:
    """A way of cutting bytes into chunks. The server has handled each chunk before the next one comes."""
    way: Way = request.param
    return way


@pytest.fixture(autouse=True)
def _no_errors() -> Iterator[None]:
    with logged():
        yield


@pytest.fixture
def world() -> World:
    """A server."""
    return World()


@pytest.fixture
def stranger(world: World, ann: Person) -> Person:
    """The sender, asked for a nickname."""
    person = world.connect()
    person.read()
    return person


def type_in(person: Person, chunks: list[bytes]) -> None:
    """Send *chunks* one after the other."""
    for chunk in chunks:
        person.send(chunk)


# Sent in the room


class Row(NamedTuple):
    """Bytes that bob sends, and the result."""

    name: str
    data: bytes
    others: str = ""
    """What ann reads."""
    answer: str = ""
    """What bob reads."""


def said(name: str, text: bytes | str, shown: str, end: bytes = b"\r\n") -> Row:
    """Return the row of a line that ann reads as *shown*."""
    raw = text.encode() if isinstance(text, str) else text
    return Row(name, raw + end, f"bob: {shown}\r\n")


FRAMING = [
    said("exactly the limit", b"x" * 4096, "x" * 4096),
    Row("far over the limit", b"x" * 9000 + b"\r\n", "", TOO_LONG),
    Row("resync after too long a line", b"x" * 5000 + b"\r\nhi\r\n", "bob: hi\r\n", TOO_LONG),
    Row("resync at a bare CR", b"x" * 5000 + b"\rhi\r", "bob: hi\r\n", TOO_LONG),
    Row("4 KiB of LF", b"\n" * 4096),
    Row("all four line ends", b"1\r\n2\n3\r4\r\0", "".join(f"bob: {n}\r\n" for n in (1, 2, 3, 4))),
    said("NUL bytes", b"\0a\0\0b\0", "ab"),
    Row("nothing but NUL bytes", b"\0" * 4096 + b"\r\n"),
    said("U+0085, U+2028 and U+2029", "a\x85b\u2028c\u2029d", "a b c d"),
    said("vertical tab, form feed, separators", "a\x0bb\x0cc\x1cd\x1de\x1ef", "abcdef"),
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
    said("cut off after three of four bytes", b"a\xf0\x9f\x98", "a\ufffd"),
    said("a character that just fits", b"x" * 4094 + "é".encode(), "x" * 4094 + "é"),
    Row("cut at the limit in mid-codepoint", b"x" * 4095 + "é".encode() + b"\r\n", "", TOO_LONG),
    said("a lone C1 byte", b"a\x9b31m\x9d0;x\x9cb", "a\ufffd31m\ufffd0;x\ufffdb"),
]

TERMINAL = [
    said("ESC [2J", "\x1b[2Ja", "a"),
    said("OSC 0, a title", "\x1b]0;root@here\x07a", "a"),
    said("OSC 8, a link", "\x1b]8;;http://evil\x1b\\a\x1b]8;;\x1b\\", "a"),
    said("OSC 52, the clipboard", "\x1b]52;c;cm0gLXJmIH4=\x07a", "a"),
    said("DCS, SOS, PM, APC", "\x1bP+q544e\x1b\\a\x1bXb\x1b\\c\x1b^d\x1b\\e\x1b_f\x1b\\g", "aceg"),
    said("C1 CSI, OSC and DCS", "\u009b2Ja\u009d0;b\u009cc\u0090d\u009ce", "ace"),
    said("OSC without its end", "a\x1b]0;b\x9b", "a"),
    Row("OSC ends with its line", b"a\x1b]0;b\r\nc\x07d\r\n", "bob: a\r\nbob: cd\r\n"),
    Row("nothing but an OSC", b"\x1b]0;title\x07\r\n"),
    said("ESC alone", "a\x1bb\x1b", "ab"),
    said("flags of regions stay", f"{SCOTLAND}!", f"{SCOTLAND}!"),
    said("a text in tags", f"a{SCOTLAND[1:]}b", "ab"),
    said("a storm of BEL with a word in it", b"\x07" * 2000 + b"hi" + b"\x07" * 2000, "hi"),
    said("bidi embeddings and overrides", "a\u202ab\u202bc\u202cd\u202de\u202ef", "abcdef"),
    said("ZWNJ and ZWJ stay", "می\u200cخواهم 👩\u200d💻", "می\u200cخواهم 👩\u200d💻"),
    said("two thousand marks on one letter", "x" + "\u0301" * 2000 + "y", "x" + "\u0301" * 8 + "y"),
    Row("three thousand marks on one letter", ("x" + "\u0301" * 3000).encode() + b"\r\n", "", TOO_LONG),
]

KEYS = [
    said("Backspace as BS", "hello wroldo\b\b\b\b\borld", "hello world"),
    said("Backspace as DEL", "hello wroldo\x7f\x7f\x7f\x7f\x7forld", "hello world"),
    said("Backspace over a letter of several bytes", "aé\x7f€\x7f😀\bb", "ab"),
    said("Backspace over a letter with marks", "ae\u0301\u0323\x7fb", "ab"),
    said("Backspace over emoji", f"a👩\u200d💻\x7f👋🏽\x7f🇩🇪🇫🇷\x7f\x7f1\ufe0f\u20e3\x7f{SCOTLAND}\x7fb", "ab"),
    said("Backspace at the beginning of a line", "\b\x7fa\b\b\b\bb", "b"),
    Row("Backspace after a line", b"a\r\n\bb\r\n", "bob: a\r\nbob: b\r\n"),
    said("Backspace as Erase Character", b"ab\xff\xf7\bc", "c"),
    said("Ctrl-U", "regretted\x15better", "better"),
    said("Ctrl-W", "one two  \x17three", "one three"),
    Row("a line that is erased", b"a\x7f\r\nb c\x15\r\nd\x17\r\n"),
    Row("erased after a line too long", b"x" * 5000 + b"\x15hi\r\n", "bob: hi\r\n", TOO_LONG),
    Row("Backspace in a line too long", b"x" * 5000 + b"\b\x17hi\r\n", "", TOO_LONG),
    said("exactly the limit after erasing", b"x" * 4096 + b"\b\by", "x" * 4094 + "y"),
    said("arrow keys and function keys", "\x1b[Aa\x1b[Db\x1bOPc\x1b[15~d\x1b[1;5Ce\x1b[[Af", "abcdef"),
    said("Backspace over an arrow key", "ab\x1b[D\x7fc", "abc"),
    said("pasted text", "\x1b[200~a b\x1b[201~", "a b"),
    Row("pasted lines", b"\x1b[200~a\rb\r\x1b[201~c\r", "bob: a\r\nbob: b\r\nbob: c\r\n"),
    Row("a pasted command", b"\x1b[200~/ping\x1b[201~\r\n", "", "-> pong\r\n"),
    said("Ctrl-D inside a line", "a\x04b", "ab"),
    said("Suspend and Abort", b"a\xff\xed\xff\xeeb", "ab"),
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


@pytest.mark.parametrize("row", FRAMING + ENCODING + TERMINAL + KEYS + TELNET, ids=lambda row: row.name)
def test_bytes_sent_in_the_room_harm_nobody_and_both_go_on(ann: Person, bob: Person, row: Row, cut: Way) -> None:
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
        (b"\b\x7f", b""),
        (b"x\x17", b""),
        (b"x\xff\xf4", b""),
        (b"\xff\xfa\x1f\0\0\0\0\xff\xf0", b""),
    ],
    ids=["DO TIMING-MARK", "DO", "WILL", "AYT", "WONT", "DONT", "EC", "EL", "Backspace", "Ctrl-W", "IP", "NAWS"],
)
def test_telnet_storm_gets_a_bounded_answer(ann: Person, bob: Person, storm: bytes, answers: bytes, cut: Way) -> None:
    type_in(bob, cut(storm * STORM + b"hi\r\n"))
    assert bob.transport.sent == answers
    assert ann.read() == "bob: hi\r\n"


# Sent in place of a nickname


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"\xff\xff\r\n", BAD_CHARACTERS),
        (b"\xc0\xaf\r\n", BAD_CHARACTERS),
        ("\u0430nn\r\n".encode(), BAD_CHARACTERS),
        ("\u202eann\r\n".encode(), "-> Error: ann is taken.\r\n"),
        *((data + b"\r\n", CONTROL_CHARACTERS) for data in (b"\x1b[Dbob", b"version\x04bind", b"\x07bind", b"b\x01ob")),
        ("b\u009b31mob\r\n".encode(), CONTROL_CHARACTERS),
        (b"anny\x7f\r\n", "-> Error: ann is taken.\r\n"),
        (b"Server\r\n", "-> Error: Server is reserved.\r\n"),
        (b" \t \r\n", "-> Error: a nickname cannot be empty.\r\n"),
        (b"x" * 512 + b"\r\n", "-> Error: a nickname has at most 24 characters.\r\n"),
        (b"x" * 513 + b"\r\n", TOO_LONG_A_NICKNAME),
        (b"x" * 5000 + b"\r\n", TOO_LONG_A_NICKNAME),
    ],
)
def test_bytes_that_are_no_nickname_are_rejected(
    ann: Person, stranger: Person, data: bytes, error: str, cut: Way
) -> None:
    type_in(stranger, cut(data))
    assert stranger.read() == error + PROMPT
    stranger.say("not a nickname", "GET / HTTP/1.1")
    assert stranger.read() == (BAD_CHARACTERS + PROMPT) * 2, "only the first line may be of another protocol"
    stranger.say("bob")
    assert ann.read() == " * bob joined.\r\n"


@pytest.mark.parametrize(
    ("data", "spoken"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost:5555\r\nUser-Agent: x\r\n\r\n", "HTTP"),
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\nann\r\nI was made to say this\r\n", "HTTP"),
        (b"CONNECT example.com:443 HTTP/1.1\r\n\r\n", "HTTP"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP"),
        (b"GET /" + b"x" * 9999 + b" HTTP/1.1\r\n\r\n", "HTTP"),
        (b"PUT /x", "HTTP"),
        (b"b\0ob\r\n", "binary data"),
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\nann\r\n\xff\xfd\n" + bytes(range(256)), "TLS"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n\0\0\x05\xdc\r\n", "SSH"),
    ],
)
def test_client_of_another_protocol_reads_so_and_never_joins(
    ann: Person, stranger: Person, data: bytes, spoken: str, cut: Way
) -> None:
    type_in(stranger, cut(data))
    stranger.say("bob", "hi")
    assert stranger.lines() == [f" * This port speaks plain lines of text, not {spoken}: connect with telnet or nc."]
    stranger.hang_up()
    assert ann.read() == ""


# The end of the input


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        *((b"bob\r\nhi" + end, ["bob: hi", " * bob left."]) for end in (b"", b"\r", b"\n", b"\r\n")),
        *((b"bob\nhi" + telnet, ["bob: hi", " * bob left."]) for telnet in (b"\xff", b"\xff\xfd", b"\xff\xfa")),
        (b"bob\nhi\xff\xfa\x18\r\nquit\r\n" + b"x" * 9999, ["bob: hi", " * bob left."]),
        (b"bob\r\n\xe2\x82", ["bob: \ufffd", " * bob left."]),
        (b"bob\r\nhi\r\nquit", ["bob: hi", " * bob left."]),
        (b"bob\r\n/quit tired", [" * bob left: tired"]),
        *((b"bob" + rest, [" * bob left."]) for rest in (b"", b"\r\n", b"\r\n/history", b"\r\n" + b"x" * 4097)),
        (b"bob\r\n" + b"x" * 4096 + b"\xff\xff", [" * bob left."]),
        *((data, []) for data in (b"", b"quit")),
    ],
)
def test_unfinished_line_counts_at_the_end_of_input(
    ann: Person, stranger: Person, data: bytes, lines: list[str], cut: Way
) -> None:
    type_in(stranger, cut(data))
    stranger.end_input()
    assert stranger.transport.closed
    assert not stranger.transport.aborted
    assert stranger.lines()[-1] == (" * Goodbye, bob." if lines else " * Goodbye.")
    assert ann.lines() == ([" * bob joined.", *lines] if lines else [])


@pytest.mark.parametrize("after", [b"", b"\r\n", b"\r\nquit\r\nlate\r\n\xff\xf6"])
@pytest.mark.parametrize(
    ("data", "lines"),
    [
        *((b"bob\r\nhi" + end, ["bob: hi", " * bob left."]) for end in (b"\xff\xec", b"\r\n\xff\xec", b"\r\n\x04")),
        *((b"bob\r\n" + erased + b"\x04", [" * bob left."]) for erased in (b"", b"\r\n", b"x\b", b"x y\x15", b"x\x17")),
        *((b"bob" + end, [" * bob left."]) for end in (b"\r\n\x04", b"\xff\xec")),
        *((data, []) for data in (b"\x04", b"\xff\xec", b"quit\xff\xec")),
    ],
)
def test_client_that_ends_its_input_leaves(
    ann: Person, stranger: Person, data: bytes, lines: list[str], after: bytes, cut: Way
) -> None:
    type_in(stranger, cut(data + after))
    assert stranger.transport.finished
    assert stranger.lines()[-1] == (" * Goodbye, bob." if lines else " * Goodbye.")
    stranger.hang_up()
    assert ann.lines() == ([" * bob joined.", *lines] if lines else [])


def test_unfinished_line_counts_when_the_connection_is_lost(ann: Person, bob: Person, cut: Way) -> None:
    type_in(bob, cut(b"one\r\ntw"))
    bob.vanish()
    assert ann.read() == "bob: one\r\nbob: tw\r\n * bob left: connection lost\r\n"


# Much, and slowly


@pytest.mark.parametrize("joined", [True, False])
def test_input_without_a_newline_takes_next_to_no_memory(world: World, ann: Person, joined: bool) -> None:
    bob = world.join("bob")[0] if joined else world.connect()
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
    assert bob.read() == (TOO_LONG if joined else TOO_LONG_A_NICKNAME + PROMPT)
    bob.say("", "rob")
    assert ann.read() == ("bob: rob\r\n" if joined else " * rob joined.\r\n")


def test_one_byte_every_30_seconds_makes_a_line_but_no_nickname(
    world: World, ann: Person, bob: Person, stranger: Person
) -> None:
    for byte in b"slow\r\n":
        world.clock.advance(30)
        bob.send(bytes((byte,)))
        if not stranger.transport.finished:
            stranger.send(bytes((byte,)))
    assert ann.read() == "bob: slow\r\n"
    assert stranger.read() == " * No line end (\\n) came in 60 seconds.\r\n"


def test_connections_without_nickname_are_closed_after_60_seconds(world: World, ann: Person) -> None:
    # The clock sorts its calls with each new one. Here they come in the order of their times.
    world.clock._sortCalls = lambda: None  # type: ignore[method-assign]
    silent = [world.connect() for _ in range(CONNECTIONS)]
    world.clock.advance(59)
    assert not any(person.transport.finished for person in silent)
    world.clock.advance(1)
    *others, stuck = silent
    for person in others:
        assert person.read().endswith(PROMPT + " * No nickname in 60 seconds.\r\n")
        person.hang_up()
    del world.clock._sortCalls  # the timer of the log's summary is among the others
    aborted = []
    for seconds in (9, 1):
        world.clock.advance(seconds)
        aborted.append(stuck.transport.aborted)
    assert aborted == [False, True]
    stuck.vanish()
    assert set(world.connections) == {ann.protocol}
    world.clock.advance(60)  # the log's summary
    assert not world.clock.getDelayedCalls()
    assert ann.read() == ""
