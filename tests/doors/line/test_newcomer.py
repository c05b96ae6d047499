"""A newcomer: other protocols get one line, and text without line ends gets a hint, however the bytes are cut."""

from __future__ import annotations

import pytest

from broadcast.core.limits import Limits
from broadcast.doors.line.newcomer import LINE_END_HINT, LINE_END_SECONDS
from tests.cuts import WAYS, Way
from tests.doors.line.test_protocol_sniffing import ANSWERS, LINES, NICKNAMES, PROXY, PROXY_V2, STARTS
from tests.harness import Person, World

HEADER_V2 = PROXY_V2 + b"\x21\x11\0\x0c" + bytes([192, 0, 2, 7, 192, 0, 2, 1, 15, 160, 21, 179]) + b"ann\r\nhi\r\n"
HEADER_V1 = b"PROXY TCP4 192.0.2.7 192.0.2.1 4000 5555\r\nann\r\nhi\r\n"
CTRL_D = 4
"""The end of the input, if it comes alone. SOCKS 4 begins with it."""
HINT = f"-> {LINE_END_HINT}"
EMPTY = "-> Error: a nickname cannot be empty."


@pytest.fixture(params=WAYS)
def cut(request: pytest.FixtureRequest) -> Way:
    """A way of cutting input into chunks."""
    return WAYS[request.param]


@pytest.fixture
def world() -> World:
    """A server where ann is."""
    world = World()
    world.join("ann")
    return world


@pytest.fixture
def newcomer(world: World) -> Person:
    """Somebody who was asked for a nickname, beside ann."""
    return newcomer_to(world)


def newcomer_to(world: World) -> Person:
    """Return somebody who was asked for a nickname."""
    person = world.connect()
    person.read()
    return person


def feed(person: Person, pieces: list[bytes]) -> None:
    """Send *pieces*, each as a chunk of its own, while the connection is open."""
    for piece in pieces:
        if not person.transport.finished:
            person.put(piece)
            person.world.settle()


def rest(person: Person, seconds: int) -> None:
    """Let time pass, and everything happen in it."""
    for _ in range(seconds):
        person.world.clock.advance(1)
        person.world.settle()


# Other protocols


FOREIGN = [
    *((line + b"\r\n", ANSWERS[spoken]) for spoken, lines in LINES.items() for line in lines),
    *((lines[0] + b"\n", ANSWERS[spoken]) for spoken, lines in LINES.items()),
    *((start, ANSWERS[spoken]) for spoken, starts in STARTS.items() for start in starts if start[0] != CTRL_D),
    (HEADER_V1, PROXY),
]
"""The first input of clients of other protocols, with the answers to it."""


def test_client_of_another_protocol_reads_one_line_and_never_joins(world: World, cut: Way) -> None:
    for data, answer in FOREIGN:
        person = newcomer_to(world)
        feed(person, cut(data + b"ann\r\nNICK\r\nbob\r\n"))
        assert (data, person.lines()) == (data, [f" * {answer}"])
        assert person.transport.finished
        assert len(world.hub.lobby.members) == 1
        person.hang_up()
        assert len(world.clock.getDelayedCalls()) <= 1, "only the log of many visits has a timer"


def test_irc_is_recognized_until_a_nickname_was_accepted(world: World, cut: Way) -> None:
    for first in (b"\r\n", b"ann\r\n", b"not a nickname\r\n"):
        for line in (b"NICK bob\r\n", b"USER bob 0 * :Bob\r\n", b"CAP END\r\n", b"PASS x\r\n"):
            person = newcomer_to(world)
            feed(person, cut(first + line))
            error, notice = person.read().replace("Nickname: ", "").splitlines()
            assert error.startswith("-> Error: ")
            assert (line, notice) == (line, f" * {ANSWERS['IRC']}")
            assert person.transport.finished


def test_people_may_say_lines_of_other_protocols(newcomer: Person, cut: Way) -> None:
    lines = ["NICK ann", "EHLO", "GET / HTTP/1.1", "USER a b c :d", "*1", "SSH-2.0-x"]
    feed(newcomer, cut("".join(f"{line}\r\n" for line in ["bob", *lines, "/history"]).encode()))
    assert [line.partition("bob: ")[2] for line in newcomer.lines()[1:]] == lines


def test_word_of_another_protocol_may_be_a_nickname(world: World, cut: Way) -> None:
    for name in (name.decode() for name in NICKNAMES if name.isalnum() and name not in (b"quit", b"ann")):
        person = newcomer_to(world)
        feed(person, cut(f"{name}\r\n/ping\r\nquit\r\n".encode()))
        welcome, pong, _goodbye = person.lines()
        assert welcome.startswith(f" * You are {name}. ")
        assert pong == "-> pong"


def test_binary_proxy_header_that_arrives_in_two_pieces_is_recognized(world: World) -> None:
    """A piece that ends with CRLF is also what telnet sends for Enter. That gets its answer first."""
    for at in range(1, len(HEADER_V2)):
        person = newcomer_to(world)
        feed(person, [HEADER_V2[:at], HEADER_V2[at:]])
        *errors, notice = person.read().replace("Nickname: ", "").splitlines()
        assert (at, errors) == (at, [EMPTY] * {1: 1, 2: 1, 4: 2}.get(at, 0))
        assert (at, notice) == (at, f" * {PROXY}")
        assert person.transport.finished


def test_text_proxy_header_that_arrives_in_two_pieces_is_recognized(world: World) -> None:
    for at in range(1, len(HEADER_V1)):
        person = newcomer_to(world)
        feed(person, [HEADER_V1[:at], HEADER_V1[at:]])
        assert (at, person.lines()) == (at, [f" * {PROXY}"])


def test_proxy_header_one_byte_at_a_time_is_no_nickname(newcomer: Person) -> None:
    feed(newcomer, WAYS["byte by byte"](HEADER_V2))
    assert newcomer.read().replace("Nickname: ", "").splitlines() == [EMPTY, EMPTY, f" * {PROXY}"]
    assert newcomer.transport.finished


def test_enter_is_answered_at_once(newcomer: Person) -> None:
    for _ in range(3):
        feed(newcomer, [b"\r\n"])
        assert newcomer.read() == f"{EMPTY}\r\nNickname: "
    feed(newcomer, [b"bob\r\n"])
    assert newcomer.lines()[0].startswith(" * You are bob.")


def test_end_of_input_within_a_proxy_header_is_the_end(newcomer: Person) -> None:
    feed(newcomer, [PROXY_V2[:3]])
    assert newcomer.read() == ""
    newcomer.end_input()
    assert newcomer.read().endswith(" * Goodbye.\r\n")


# No line end


@pytest.mark.parametrize("seconds", [60, 2.5])
def test_nickname_without_line_end_is_named_as_the_reason(cut: Way, seconds: float) -> None:
    world = World(limits=Limits(nickname_seconds=seconds))
    person = world.connect()
    person.read()
    feed(person, cut(b"ann"))
    feed(person, [b"hi"])
    assert person.read() == ""
    world.clock.advance(seconds)
    assert person.lines() == [f" * No line end (\\n) came in {seconds:g} seconds."]
    assert person.transport.finished


def test_endless_text_without_line_end_is_named_as_the_reason(newcomer: Person, cut: Way) -> None:
    feed(newcomer, cut(b"x" * 600))
    rest(newcomer, 60)
    assert newcomer.read().endswith(" * No line end (\\n) came in 60 seconds.\r\n")


@pytest.mark.parametrize("data", [b"", b"\n", b"not a nickname\r\n", b"not a nickname\r\nann", b"\xff\xfb\x18"])
def test_time_out_after_a_line_end_or_without_input_is_about_the_nickname(newcomer: Person, data: bytes) -> None:
    feed(newcomer, [data] if data else [])
    newcomer.transport.sent.clear()
    rest(newcomer, 60)
    assert newcomer.lines() == [" * No nickname in 60 seconds."]


@pytest.mark.parametrize("together", [True, False])
def test_text_in_the_room_without_line_end_gets_one_hint(newcomer: Person, cut: Way, together: bool) -> None:
    pieces = cut(b"bob\nhi") if together else [b"bob\n", *cut(b"hi")]
    feed(newcomer, pieces)
    newcomer.read()
    rest(newcomer, LINE_END_SECONDS - 30)
    feed(newcomer, [b"there"])
    rest(newcomer, 29)
    assert newcomer.read() == ""
    rest(newcomer, 1)
    assert newcomer.lines() == [HINT]
    feed(newcomer, [b"again"])
    rest(newcomer, 300)
    assert newcomer.read() == ""
    newcomer.say("", "/history")
    assert newcomer.lines() == ["-> #1 [12:06] bob: hithereagain"]
    assert not newcomer.world.clock.getDelayedCalls()


@pytest.mark.parametrize("data", [b"hi\n", b"\n", b"/ping\n", b"hi\nhalf a line"])
def test_person_who_has_ended_a_line_gets_no_hint(newcomer: Person, data: bytes) -> None:
    feed(newcomer, [b"bob\n", b"ha", data])
    newcomer.read()
    feed(newcomer, [b"thinking about the rest"])
    rest(newcomer, 300)
    assert newcomer.read() == ""
    assert not newcomer.world.clock.getDelayedCalls()


def test_person_who_erases_the_text_gets_no_hint(newcomer: Person) -> None:
    feed(newcomer, [b"bob\n", b"hi", b"\xff\xf8"])
    newcomer.read()
    rest(newcomer, 90)
    assert newcomer.read() == ""
    feed(newcomer, [b"hi"])
    rest(newcomer, 59)
    assert newcomer.read() == ""
    rest(newcomer, 1)
    assert newcomer.lines() == [HINT]


@pytest.mark.parametrize("end", ["end_input", "vanish"])
def test_unfinished_text_is_said_at_the_end_and_leaves_no_timer(newcomer: Person, end: str) -> None:
    feed(newcomer, [b"bob\n", b"hi"])
    getattr(newcomer, end)()
    assert newcomer.world.hub.lobby.last_seq == 1
    assert not newcomer.world.clock.getDelayedCalls()
