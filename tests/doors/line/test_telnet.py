"""The telnet parser: text, erasures and answers, whatever comes and however it is cut."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.doors.line.telnet import AYT_REPLY, MAX_REFUSALS, Edit, Piece, Telnet
from tests.cuts import WAYS, Way
from tests.fuzz.telnet import Answer, Out, check, joined, taken

IAC, DONT, DO, WONT, WILL, SB, GA = (
    b"\xff", b"\xff\xfe", b"\xff\xfd", b"\xff\xfc", b"\xff\xfb", b"\xff\xfa", b"\xff\xf9",
)  # fmt: skip
EL, EC, AYT, AO, IP, BRK, DM, NOP, SE = (
    b"\xff\xf8", b"\xff\xf7", b"\xff\xf6", b"\xff\xf5", b"\xff\xf4", b"\xff\xf3", b"\xff\xf2", b"\xff\xf1", b"\xff\xf0",
)  # fmt: skip
TIMING_MARK, NAWS = b"\x06", b"\x1f"
CHARACTER, LINE = Edit.ERASE_CHARACTER, Edit.ERASE_LINE


@pytest.fixture(params=WAYS.values(), ids=list(WAYS))
def cut(request: pytest.FixtureRequest) -> Way:
    """A way of cutting bytes into chunks."""
    way: Way = request.param
    return way


def out_of(chunks: Iterable[bytes]) -> list[Out]:
    """Everything that comes out of *chunks*, in order; next to nothing is held in between."""
    return joined(taken(chunks))


# What is answered


@pytest.mark.parametrize("option", [b"\x00", b"\x01", b"\x03", TIMING_MARK, b"\x0a", b"\x0d", NAWS, b"\xfe", b"\xff"])
def test_do_is_refused_with_wont_and_will_with_dont(option: bytes, cut: Way) -> None:
    assert out_of(cut(DO + option + WILL + option)) == [Answer(WONT + option + DONT + option)]


@pytest.mark.parametrize("option", [b"\x01", b"\r", TIMING_MARK, b"\xff"])
def test_wont_and_dont_are_what_is_the_case_anyway_and_are_not_answered(option: bytes, cut: Way) -> None:
    assert out_of(cut(WONT + option + DONT + option)) == []


def test_answers_come_once() -> None:
    telnet = Telnet()
    telnet.receive_data(DO + b"\x01")
    assert telnet.data_to_send() == b""
    assert telnet.next_piece() is Edit.NOTHING
    assert telnet.data_to_send() == WONT + b"\x01"
    assert telnet.data_to_send() == b""


# The rows of HARDENING, each whole, byte by byte, and between CR and LF


@pytest.mark.parametrize("command", [*range(0xF0), 0xF0, 0xF1, 0xF2, 0xF5, 0xF9])
def test_a_command_that_asks_for_nothing_is_passed_over(command: int, cut: Way) -> None:
    assert out_of(cut(b"a\r" + bytes((0xFF, command)) + b"\nb")) == [b"a\r\nb"]


@pytest.mark.parametrize(
    ("data", "out"),
    [
        (b"a" + IAC * 2 + b"b", [b"a\xffb"]),
        (IAC * 2 * 3 + b"\r\n" + IAC * 2, [b"\xff\xff\xff\r\n\xff"]),
        (IAC * 5 + b"\xfb\x01b", [b"\xff\xff", Answer(DONT + b"\x01"), b"b"]),
        (b"a\r\n" + SB + NAWS + b"\0\0\0\0" + SE + b"b\r\n", [b"a\r\nb\r\n"]),
        (SB + NAWS + IAC * 2 * 4 + SE + b"b\r\n", [b"b\r\n"]),
        (SB + NAWS + b"\0" + IAC * 2 + b"\r\n" + SE + b"b", [b"b"]),
        (b"a" + SB + b"\x18" + IAC * 2 + b"\xf0 inside\r\n" + SE + b"b", [b"ab"]),
        (b"a" + SB + b"\x18" + IAC * 4 + SE + b"b", [b"ab"]),
        (b"a" + SB + SE + b"b" + SE + b"c", [b"abc"]),
        (SB + b"\x18 inside\r\n" + DO + b"\x01b", [Answer(WONT + b"\x01"), b"b"]),
        (SB + b"\x18 one" + SB + b"\x18 two" + SE + b"b", [b"b"]),
        (SB + b"\x18" + EL + b"b", [LINE, b"b"]),
        (SB + b"\x18" + NOP + b"b", [b"b"]),
        (b"a\r\n" + AYT + b"b\r\n", [b"a\r\n", Answer(AYT_REPLY), b"b\r\n"]),
        (b"a" + IP + b"b\r\n", [b"a", LINE, b"b\r\n"]),
        (b"a" + BRK + b"b\r\n", [b"a", LINE, b"b\r\n"]),
        (b"a" + EL + b"b\r\n", [b"a", LINE, b"b\r\n"]),
        (b"a\r" + EC + b"\nb", [b"a\r", CHARACTER, b"\nb"]),
        (EC * 3, [CHARACTER, CHARACTER, CHARACTER]),
        (IP + DO + TIMING_MARK, [LINE, Answer(WONT + TIMING_MARK)]),
        (DO + b"\r" + WILL + b"\n\r\n", [Answer(WONT + b"\r" + DONT + b"\n"), b"\r\n"]),
        (DONT + b"\r" + WONT + b"\n\r\n", [b"\r\n"]),
        (DO + IAC + WILL + IAC + b"b", [Answer(WONT + IAC + DONT + IAC), b"b"]),
        (GA + AO + DM + NOP + b"b", [b"b"]),
    ],
)
def test_what_comes_out(data: bytes, out: list[Out], cut: Way) -> None:
    assert out_of(cut(data)) == out


@pytest.mark.parametrize("inside", [b"x\r\n" * 5000, IAC * 2 * 5000, b"\0" * 9999, SE[1:] * 9999])
def test_of_a_subnegotiation_without_its_end_nothing_is_held(inside: bytes, cut: Way) -> None:
    assert out_of([b"a", *cut(SB + NAWS + inside)]) == [b"a"]


@pytest.mark.parametrize("unfinished", [IAC, DO, DONT, WILL, WONT, SB, SB + b"\x1f\0", SB + IAC, SB + IAC * 3])
def test_a_command_waits_for_its_end(unfinished: bytes, cut: Way) -> None:
    assert out_of(cut(b"hi\r\n" + unfinished)) == [b"hi\r\n"]


# Storms


@pytest.mark.parametrize(
    ("asked", "refused"),
    [(DO + NAWS, WONT + NAWS), (WILL + NAWS, DONT + NAWS), (WILL + TIMING_MARK, DONT + TIMING_MARK)],
)
def test_the_same_request_is_refused_only_so_often(asked: bytes, refused: bytes, cut: Way) -> None:
    assert out_of(cut((asked + b"\r\n") * 1000)).count(Answer(refused)) == MAX_REFUSALS


def test_a_storm_of_every_request_is_refused_only_so_often(cut: Way) -> None:
    options = [bytes((option,)) for option in range(256) if option != TIMING_MARK[0]]
    storm = b"".join(DO + option + WILL + option for option in options)
    (answers,) = out_of(cut(storm * (MAX_REFUSALS + 5)))
    assert isinstance(answers, Answer)
    assert len(answers.data) == len(storm) * MAX_REFUSALS


def test_who_loops_on_one_option_is_still_answered_on_another(cut: Way) -> None:
    (answers,) = out_of(cut((DO + b"\x01") * 1000 + WILL + b"\x01" + DO + b"\x03"))
    assert answers == Answer((WONT + b"\x01") * MAX_REFUSALS + DONT + b"\x01" + WONT + b"\x03")


def test_every_timing_mark_is_answered(cut: Way) -> None:
    """RFC 860: each asks anew how far the input was worked on; a client that has interrupted waits for that."""
    assert out_of(cut((DO + TIMING_MARK) * 1000)) == [Answer((WONT + TIMING_MARK) * 1000)]


def test_every_are_you_there_is_answered(cut: Way) -> None:
    assert out_of(cut(AYT * 1000)) == [Answer(AYT_REPLY * 1000)]


@pytest.mark.parametrize(
    ("storm", "piece"),
    [
        *((idle, Edit.NOTHING) for idle in (NOP, GA, DM, AO, SE, WONT + NAWS, DONT + IAC, b"\xff\x01")),
        (IAC * 2, IAC * 10_000),
    ],
)
def test_a_storm_that_asks_for_nothing_is_passed_at_once(storm: bytes, piece: Piece) -> None:
    telnet = Telnet()
    telnet.receive_data(storm * 10_000)
    assert telnet.next_piece() == piece
    assert telnet.next_piece() is None


# Who negotiates


def negotiated(chunks: Iterable[bytes]) -> bool:
    telnet = Telnet()
    for chunk in chunks:
        telnet.receive_data(chunk)
        while telnet.next_piece() is not None:
            pass
    return telnet.negotiated


@pytest.mark.parametrize("data", [DO + NAWS, WILL + NAWS, b"hi\r\n" + SB + NAWS + DO + TIMING_MARK, WILL + IAC])
def test_who_asks_for_something_negotiates(data: bytes, cut: Way) -> None:
    assert negotiated(cut(data))
    assert not negotiated(cut(data[:-1]))


@pytest.mark.parametrize(
    "data", [b"hi\r\n", IAC * 2, DO, WILL, "hi\r\n".encode("utf-16"), DONT + NAWS, WONT + NAWS, AYT, SB + NAWS + SE]
)
def test_others_do_not(data: bytes, cut: Way) -> None:
    assert not negotiated(cut(data))


# Whatever comes

PIECES = st.sampled_from([
    IAC, DONT, DO, WONT, WILL, SB, SE, GA, EL, EC, AYT, AO, IP, BRK, DM, NOP, IAC * 2, TIMING_MARK, NAWS, b"\r\n", b"x",
])  # fmt: skip
STREAMS = st.lists(PIECES | st.binary(max_size=6), max_size=60).map(b"".join)


@given(STREAMS, st.lists(st.integers(0, 100), max_size=12).map(sorted))
def test_however_the_bytes_are_cut_the_same_comes_out_in_the_same_order(data: bytes, cuts: list[int]) -> None:
    chunks = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert out_of(chunks) == out_of([data])


@given(STREAMS)
def test_what_comes_out_is_what_the_rfcs_say(data: bytes) -> None:
    check(data)


@given(st.binary(max_size=100).map(lambda data: data.replace(IAC, b"")))
def test_text_comes_out_as_it_went_in(data: bytes) -> None:
    assert b"".join(piece for piece in out_of([data]) if isinstance(piece, bytes)) == data
    escaped = data.replace(b"x", IAC * 2)
    assert out_of([escaped]) == ([data.replace(b"x", IAC)] if data else [])
