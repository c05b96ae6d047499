"""The telnet parser: the same text, erasures and answers, however the bytes are cut."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.doors.line.editing import Edit
from broadcast.doors.line.telnet import AYT_REPLY, MAX_REFUSALS, Piece, Telnet
from tests.cuts import WAYS, Way
from tests.fuzz.telnet import Answer, Out, check, joined, taken

IAC, DONT, DO, WONT, WILL, SB, GA = (b"\xff", *(bytes((0xFF, command)) for command in range(0xFE, 0xF8, -1)))
EL, EC, AYT, AO, IP, BRK, DM, NOP, SE = (bytes((0xFF, command)) for command in range(0xF8, 0xEF, -1))
EOF, TIMING_MARK, NAWS = b"\xff\xec", b"\x06", b"\x1f"
CHARACTER, LINE = Edit.ERASE_CHARACTER, Edit.ERASE_LINE


@pytest.fixture(params=WAYS.values(), ids=list(WAYS))
def cut(request: pytest.FixtureRequest) -> Way:
    """A way of cutting bytes into chunks."""
    way: Way = request.param
    return way


def out_of(chunks: Iterable[bytes]) -> list[Out]:
    """Return the text, erasures and answers of *chunks* in order, and check that next to nothing is held."""
    return joined(taken(chunks))


def test_answers_are_sent_once_after_the_command_was_taken_out() -> None:
    telnet = Telnet()
    telnet.receive_data(DO + b"\x01")
    assert telnet.data_to_send() == b""
    assert telnet.next_piece() is Edit.NOTHING
    assert telnet.data_to_send() == WONT + b"\x01"
    assert telnet.data_to_send() == b""


@pytest.mark.parametrize("option", [b"\x00", b"\x01", TIMING_MARK, b"\x0a", b"\x0d", NAWS, b"\xfe", b"\xff"])
def test_do_and_will_are_refused_and_wont_and_dont_are_not_answered(option: bytes) -> None:
    requests = DO + option + WILL + option + WONT + option + DONT + option
    for cut in WAYS.values():
        assert out_of(cut(requests)) == [Answer(WONT + option + DONT + option)]


def test_command_that_asks_for_nothing_is_passed_over(cut: Way) -> None:
    for command in (*range(0xEC), *range(0xED, 0xF0), 0xF0, 0xF1, 0xF2, 0xF5, 0xF9):
        assert out_of(cut(b"a\r" + bytes((0xFF, command)) + b"\nb")) == [b"a\r\nb"], command


@pytest.mark.parametrize(
    ("data", "out"),
    [
        (b"a" + IAC * 2 + b"b", [b"a\xffb"]),
        (IAC * 2 * 3 + b"\r\n" + IAC * 2, [b"\xff\xff\xff\r\n\xff"]),
        (IAC * 5 + b"\xfb\x01b", [b"\xff\xff", Answer(DONT + b"\x01"), b"b"]),
        (b"a\r\n" + SB + NAWS + b"\0\0\0\0" + SE + b"b\r\n", [b"a\r\nb\r\n"]),
        (SB + NAWS + IAC * 2 * 4 + SE + b"b\r\n", [b"b\r\n"]),
        (b"a" + SB + b"\x18" + IAC * 2 + b"\xf0 inside\r\n" + SE + b"b", [b"ab"]),
        (b"a" + SB + SE + b"b" + SE + b"c", [b"abc"]),
        (SB + b"\x18 inside\r\n" + DO + b"\x01b", [Answer(WONT + b"\x01"), b"b"]),
        (SB + b"\x18 one" + SB + b"\x18 two" + SE + b"b", [b"b"]),
        (SB + b"\x18" + EL + b"b", [LINE, b"b"]),
        (SB + b"\x18" + NOP + b"b", [b"b"]),
        (b"a\r\n" + AYT + b"b\r\n", [b"a\r\n", Answer(AYT_REPLY), b"b\r\n"]),
        *((b"a" + erase + b"b\r\n", [b"a", LINE, b"b\r\n"]) for erase in (IP, BRK, EL)),
        (b"a\r" + EC + b"\nb", [b"a\r", CHARACTER, b"\nb"]),
        (b"a" + EOF + b"b" + EOF, [b"a", Edit.END_INPUT, b"b", Edit.END_INPUT]),
        (SB + b"\x18" + EOF + b"b", [Edit.END_INPUT, b"b"]),
        (EC * 3, [CHARACTER, CHARACTER, CHARACTER]),
        (IP + DO + TIMING_MARK, [LINE, Answer(WONT + TIMING_MARK)]),
        (DO + b"\r" + WILL + b"\n\r\n", [Answer(WONT + b"\r" + DONT + b"\n"), b"\r\n"]),
        (DONT + b"\r" + WONT + b"\n\r\n", [b"\r\n"]),
        *((b"hi\r\n" + unfinished, [b"hi\r\n"]) for unfinished in (IAC, DO, DONT, WILL, WONT, SB, SB + IAC * 3)),
        *((b"a" + SB + NAWS + inside, [b"a"]) for inside in (b"x\r\n" * 5000, IAC * 10_000, SE[1:] * 9999)),
    ],
)
def test_bytes_give_the_text_erasures_and_answers_of_the_rfcs(data: bytes, out: list[Out]) -> None:
    for cut in WAYS.values():
        assert out_of(cut(data)) == out


# Storms


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        *((DO + option, WONT + option) for option in (NAWS, b"\x01")),
        *((WILL + option, DONT + option) for option in (NAWS, TIMING_MARK)),
    ],
)
def test_repeated_request_is_refused_only_so_often_but_others_are_still_answered(
    asked: bytes, answer: bytes, cut: Way
) -> None:
    assert out_of(cut((asked + b"\r\n") * 1000)).count(Answer(answer)) == MAX_REFUSALS
    assert out_of(cut(asked * 1000 + DO + b"\x03")) == [Answer(answer * MAX_REFUSALS + WONT + b"\x03")]


def test_storm_of_every_request_is_refused_only_so_often(cut: Way) -> None:
    options = [bytes((option,)) for option in range(256) if option != TIMING_MARK[0]]
    storm = b"".join(DO + option + WILL + option for option in options)
    (answers,) = out_of(cut(storm * (MAX_REFUSALS + 5)))
    assert isinstance(answers, Answer)
    assert len(answers.data) == len(storm) * MAX_REFUSALS


@pytest.mark.parametrize(("asked", "answer"), [(DO + TIMING_MARK, WONT + TIMING_MARK), (AYT, AYT_REPLY)])
def test_every_timing_mark_and_are_you_there_is_answered(asked: bytes, answer: bytes, cut: Way) -> None:
    """RFC 860: a client that has interrupted waits for the answer to its own timing mark."""
    assert out_of(cut(asked * 1000)) == [Answer(answer * 1000)]


@pytest.mark.parametrize(
    ("storm", "piece"),
    [
        *((idle, Edit.NOTHING) for idle in (NOP, GA, DM, AO, SE, WONT + NAWS, DONT + IAC, b"\xff\x01")),
        (IAC * 2, IAC * 10_000),
    ],
)
def test_storm_that_asks_for_nothing_is_one_piece(storm: bytes, piece: Piece) -> None:
    telnet = Telnet()
    telnet.receive_data(storm * 10_000)
    assert telnet.next_piece() == piece
    assert telnet.next_piece() is None


@pytest.mark.parametrize(
    ("data", "negotiated"),
    [
        *((asks, True) for asks in (DO + NAWS, WILL + NAWS, b"hi\r\n" + SB + NAWS + DO + TIMING_MARK, WILL + IAC)),
        *((data, False) for data in (b"hi\r\n", IAC * 2, DO, WILL, SB + NAWS + DO, "hi\r\n".encode("utf-16"))),
        *((data, False) for data in (DONT + NAWS, WONT + NAWS, AYT, SB + NAWS + SE)),
    ],
)
def test_only_a_complete_request_counts_as_negotiation(data: bytes, negotiated: bool) -> None:
    for cut in WAYS.values():
        telnet = Telnet()
        for chunk in cut(data):
            telnet.receive_data(chunk)
            while telnet.next_piece() is not None:
                pass
        assert telnet.negotiated is negotiated


# Random input

PIECES = st.sampled_from([
    IAC, DONT, DO, WONT, WILL, SB, SE, GA, EL, EC, EOF, AYT, AO, IP, BRK, DM, NOP, IAC * 2, TIMING_MARK, NAWS,
    b"\r\n", b"x",
])  # fmt: skip


@given(st.integers(0, 20), st.lists(PIECES | st.binary(max_size=6), max_size=60).map(b"".join))
def test_output_is_that_of_the_reference_however_the_bytes_are_cut(size: int, stream: bytes) -> None:
    check(bytes((size,)) + stream)
