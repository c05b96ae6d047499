"""What the line door's codec promises: the same lines and telnet answers, however the bytes are cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broadcast.doors.line.codec import COMMANDS_PER_LINE, LINE_TOO_LONG, PAUSED, LineCodec, LineTooLong, Paused
from broadcast.doors.line.telnet import AYT_REPLY, MAX_REFUSALS
from tests.cuts import WAYS
from tests.harness import Counted

IAC, DONT, DO, WONT, WILL, SB, GA = (
    b"\xff",
    b"\xff\xfe",
    b"\xff\xfd",
    b"\xff\xfc",
    b"\xff\xfb",
    b"\xff\xfa",
    b"\xff\xf9",
)
EL, EC, AYT, AO, IP, BRK, DM, NOP, SE = (
    b"\xff\xf8", b"\xff\xf7", b"\xff\xf6", b"\xff\xf5", b"\xff\xf4", b"\xff\xf3", b"\xff\xf2", b"\xff\xf1", b"\xff\xf0",
)  # fmt: skip
TIMING_MARK, NAWS = b"\x06", b"\x1f"
LIMIT = 16

Got = bytes | LineTooLong


def taken(codec: LineCodec, limit: int = LIMIT) -> Iterator[Got]:
    """Every line that can be taken now."""
    while (line := codec.next_line(limit)) is not None:
        if not isinstance(line, Paused):
            yield line


def run(chunks: Iterable[bytes], limit: int = LIMIT, *, end: bool = True) -> tuple[list[Got], bytes]:
    """The lines and the answers that come of *chunks*, and of the end of the input."""
    codec = LineCodec()
    lines: list[Got] = []
    answers = b""
    for chunk in chunks:
        codec.receive_data(chunk)
        lines += taken(codec, limit)
        answers += codec.data_to_send()
    if end:
        codec.receive_eof()
        lines += taken(codec, limit)
    return lines, answers + codec.data_to_send()


def lines_of(data: bytes, limit: int = LIMIT, *, end: bool = True) -> list[Got]:
    """The lines of *data*, whole, byte by byte, and cut between CR and LF alike."""
    lines, answers = run([data], limit, end=end)
    for cut in WAYS.values():
        assert run(cut(data), limit, end=end) == (lines, answers)
    return lines


def answers_to(data: bytes) -> bytes:
    """The answers to *data*, likewise."""
    lines, answers = run([data])
    for cut in WAYS.values():
        assert run(cut(data)) == (lines, answers)
    return answers


def held(codec: LineCodec) -> int:
    """So many bytes the codec holds."""
    return len(codec._text) + len(codec._line) + len(codec._telnet._raw) + len(codec._telnet._replies)


# Line ends


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r", b"\r\0"])
def test_each_of_the_four_line_ends_ends_one_line(end: bytes) -> None:
    assert lines_of(b"one" + end + b"two" + end, end=False) == [b"one", b"two"]


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r", b"\r\0"])
def test_empty_lines_count(end: bytes) -> None:
    assert lines_of(end * 3, end=False) == [b"", b"", b""]


def test_line_ends_may_be_mixed() -> None:
    assert lines_of(b"a\nb\r\nc\rd\r\0e\n\rf\n\n") == [b"a", b"b", b"c", b"d", b"e", b"", b"f", b""]


def test_a_line_that_ends_with_a_bare_cr_does_not_wait_for_what_follows() -> None:
    assert lines_of(b"hi\r", end=False) == [b"hi"]


def test_a_nul_that_follows_no_cr_is_part_of_the_line() -> None:
    assert lines_of(b"\0a\0b\n\0\r\0\0\n") == [b"\0a\0b", b"\0", b"\0"]


def test_only_one_lf_or_nul_belongs_to_a_cr() -> None:
    assert lines_of(b"a\r\n\nb\r\n\0c\r\0\nd") == [b"a", b"", b"b", b"\0c", b"", b"d"]


def test_other_separators_are_text() -> None:
    text = "a\x0bb\x0cc\x1cd\x1ee\x85f\u2028g\u2029h".encode()
    assert lines_of(text + b"\n", limit=64) == [text]


def test_an_unfinished_line_waits_for_its_end() -> None:
    assert lines_of(b"one\ntw", end=False) == [b"one"]


def test_an_unfinished_line_counts_at_the_end_of_the_input() -> None:
    assert lines_of(b"one\ntw") == [b"one", b"tw"]


@pytest.mark.parametrize("data", [b"", b"one\n", b"one\r", b"one\r\n"])
def test_the_end_of_the_input_after_a_line_end_adds_no_line(data: bytes) -> None:
    assert lines_of(data) == [b"one"] * bool(data)


def test_lines_are_taken_one_at_a_time_and_what_is_fed_meanwhile_comes_after_them() -> None:
    codec = LineCodec()
    codec.receive_data(b"a\nb\nc")
    assert codec.next_line(LIMIT) == b"a"
    codec.receive_data(b"d\n")
    assert list(taken(codec)) == [b"b", b"cd"]


# The limit


def test_a_line_of_exactly_the_limit_is_a_line() -> None:
    line = b"x" * LIMIT
    assert lines_of(line + b"\r\n" + line + b"\n" + line) == [line, line, line]


def test_a_line_of_one_byte_more_is_dropped_up_to_its_end() -> None:
    assert lines_of(b"x" * (LIMIT + 1) + b"\r\nnext\r\n") == [LINE_TOO_LONG, b"next"]


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r", b"\r\0"])
def test_after_an_overlong_line_every_line_end_leads_back(end: bytes) -> None:
    assert lines_of(b"x" * 1000 + end + b"next" + end + b"y" * 1000 + end) == [LINE_TOO_LONG, b"next", LINE_TOO_LONG]


def test_an_overlong_line_is_told_before_its_end_and_once() -> None:
    assert lines_of(b"x" * (LIMIT + 1), end=False) == [LINE_TOO_LONG]
    assert lines_of(b"x" * 10_000) == [LINE_TOO_LONG]


def test_the_limit_of_each_line_is_the_one_it_is_taken_with() -> None:
    codec = LineCodec()
    codec.receive_data(b"12345\n12345\n12345\n")
    assert [codec.next_line(5), codec.next_line(4), codec.next_line(5)] == [b"12345", LINE_TOO_LONG, b"12345"]


def test_the_limit_may_grow_while_a_line_is_dropped() -> None:
    codec = LineCodec()
    codec.receive_data(b"12345")
    assert codec.next_line(4) is LINE_TOO_LONG
    codec.receive_data(b"6789\nab\n")
    assert list(taken(codec, 8)) == [b"ab"]


def test_the_limit_counts_bytes_of_text_without_telnet_commands() -> None:
    line = (DO + b"\x01" + b"x") * LIMIT
    assert lines_of(line + b"\n") == [b"x" * LIMIT]


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_that_an_escaped_255_makes_too_long_is_dropped(end: bytes) -> None:
    assert lines_of(b"x" * (LIMIT - 1) + IAC * 2 + end) == [b"x" * (LIMIT - 1) + b"\xff"]
    assert lines_of(b"x" * LIMIT + IAC * 2 + end) == [LINE_TOO_LONG]
    assert lines_of(IAC * 2 * 1000 + end) == [LINE_TOO_LONG]


# Telnet negotiates


def test_negotiation_is_never_part_of_a_line_even_if_its_option_is_a_line_end() -> None:
    assert lines_of(b"a" + DO + b"\nb" + WILL + b"\rc" + WONT + b"\0d" + DONT + b"\xffe\n") == [b"abcde"]


def test_what_begins_with_the_negotiation_of_a_telnet_client_is_a_line_all_the_same() -> None:
    offered = b"".join(
        DO * (at % 2) + WILL * (1 - at % 2) + bytes((option,)) for at, option in enumerate(b"\x03\x18\x1f")
    )
    assert lines_of(offered + b"ann\r\n") == [b"ann"]


def test_what_is_answered_when_a_line_is_taken_stood_before_its_end() -> None:
    codec = LineCodec()
    codec.receive_data(AYT + b"a\n" + AYT * 2 + b"b\n" + AYT * 3)
    answers = []
    for line in (b"a", b"b", None):
        assert codec.next_line(LIMIT) == line
        answers.append(codec.data_to_send().count(b"[yes]\r\n"))
    assert answers == [1, 2, 3]


# Telnet commands


@pytest.mark.parametrize("command", [b"\xff\x01", NOP, AO, GA, DM, SE])
def test_a_command_that_asks_for_nothing_changes_nothing(command: bytes) -> None:
    assert lines_of(b"a" + command + b"b\n") == [b"ab"]
    assert answers_to(command) == b""


@pytest.mark.parametrize("command", [NOP, DO + NAWS, AYT, SB + NAWS + b"\0\0\0\0" + SE, EC, EL])
def test_a_command_between_cr_and_lf_does_not_make_two_line_ends_of_them(command: bytes) -> None:
    assert lines_of(b"a\r" + command + b"\nb\r" + command + b"\0c\n") == [b"a", b"b", b"c"]


def test_255_twice_is_the_byte_255() -> None:
    assert lines_of(b"a" + IAC * 2 + b"b" + IAC * 4 + b"\n") == [b"a\xffb\xff\xff"]


def test_are_you_there_is_answered_with_something_to_see() -> None:
    assert answers_to(b"h" + AYT + b"i\n") == b"[yes]\r\n"
    assert lines_of(b"h" + AYT + b"i\n") == [b"hi"]


@pytest.mark.parametrize("command", [IP, EL, BRK])
def test_interrupt_break_and_erase_line_take_back_what_was_typed_of_the_line(command: bytes) -> None:
    assert lines_of(b"said\nregretted" + command + b"better\n") == [b"said", b"better"]
    assert lines_of(b"regretted" + command) == []


@pytest.mark.parametrize("command", [IP, EL, BRK])
def test_they_also_end_an_overlong_line(command: bytes) -> None:
    assert lines_of(b"x" * 1000 + command + b"next\n") == [LINE_TOO_LONG, b"next"]


@pytest.mark.parametrize(
    ("typed", "left"),
    [
        (b"abc", b"ab"),
        ("aé".encode(), b"a"),
        ("a€".encode(), b"a"),
        ("a😀".encode(), b"a"),
        (b"", b""),
        (b"a\xc3", b"a"),
    ],
)
def test_erase_character_takes_one_character_back(typed: bytes, left: bytes) -> None:
    assert lines_of(typed + EC + b"!\n") == [left + b"!"]


def test_erase_character_takes_nothing_from_the_line_before_or_from_an_overlong_one() -> None:
    assert lines_of(b"a\n" + EC * 3 + b"b\n") == [b"a", b"b"]
    assert lines_of(b"x" * 1000 + EC * 1000 + b"b\nc\n") == [LINE_TOO_LONG, b"c"]


def test_erase_character_takes_a_255_back() -> None:
    assert lines_of(b"a" + IAC * 2 + EC + b"\n") == [b"a"]


@pytest.mark.parametrize(
    "unfinished", [IAC, DO, DONT, WILL, WONT, SB, SB + b"\x1f\0", SB + IAC, SB + NAWS + b"a\nb\r\n" + IAC * 2]
)
def test_a_telnet_command_without_its_end_neither_hides_the_line_before_it_nor_adds_one(unfinished: bytes) -> None:
    assert lines_of(b"hi" + unfinished) == [b"hi"]
    assert answers_to(unfinished) == b""


# Telnet negotiates further


@pytest.mark.parametrize("size", [b"\0\x50\0\x18", b"\0\0\0\0", IAC * 8, b"\r\n\r\n", b"\0" + IAC * 2 + b"\0\x18"])
def test_a_window_of_any_size_is_passed_over(size: bytes) -> None:
    assert lines_of(b"h" + WILL + NAWS + SB + NAWS + size + IAC + b"\xf0" + b"i\n") == [b"hi"]
    assert answers_to(SB + NAWS + size + SE) == b""


def test_255_twice_inside_a_subnegotiation_does_not_end_it() -> None:
    assert lines_of(b"a" + SB + b"\x18" + IAC * 2 + b"\xf0 still inside\n" + SE + b"b\n") == [b"ab"]


def test_another_command_inside_a_subnegotiation_ends_it_and_counts() -> None:
    assert lines_of(b"typed" + SB + b"\x18 inside" + EL + b"out\n") == [b"out"]
    assert answers_to(SB + b"\x18 inside" + DO + b"\x01") == WONT + b"\x01"


def test_the_codec_tells_who_negotiates() -> None:
    codec = LineCodec()
    codec.receive_data(b"hi\n" + WILL + NAWS + b"hi\n")
    assert codec.next_line(LIMIT) == b"hi"
    assert not codec.negotiated
    assert codec.next_line(LIMIT) == b"hi"
    assert codec.negotiated


# Storms


REQUESTS = [DO + b"\x01", WILL + b"\x01", DO + IAC, WONT + b"\x01", DONT + b"\x01", SB + NAWS]


@pytest.mark.parametrize("storm", [*REQUESTS, AYT, IP, EC, EL, NOP, GA, AO, DM, SE, IAC * 2, SB])
def test_a_storm_is_answered_with_at_most_four_times_its_bytes(storm: bytes) -> None:
    data = storm * (65536 // len(storm))
    lines, answers = run([data])
    assert len(answers) <= 4 * len(data)
    assert len(lines) <= 1


@pytest.mark.parametrize("storm", [*REQUESTS, AYT, IP, EC, EL, SB, SB + SE, b"x" + NOP, IAC * 2 + NOP, IAC * 2 + EC])
def test_after_so_many_commands_the_others_have_their_turn_and_the_answers_go_out(storm: bytes) -> None:
    codec = LineCodec()
    codec.receive_data(storm * (65536 // len(storm)) + SE + b"\n")
    pieces = Counted(codec._telnet.next_piece)
    line: bytes | LineTooLong | Paused | None = PAUSED
    while isinstance(line, Paused):
        pieces.calls = 0
        with mock.patch.object(codec._telnet, "next_piece", pieces):
            line = codec.next_line(65536)
        assert pieces.calls <= COMMANDS_PER_LINE
        assert len(codec.data_to_send()) <= COMMANDS_PER_LINE * len(AYT_REPLY)
    assert isinstance(line, bytes)


def test_a_pause_comes_only_where_no_line_has_ended() -> None:
    codec = LineCodec()
    codec.receive_data((NOP + b"x\n") * 1000 + b"x" + AYT * (COMMANDS_PER_LINE + 1) + b"\n")
    assert [codec.next_line(LIMIT) for _ in range(1000)] == [b"x"] * 1000
    assert codec.next_line(LIMIT) is PAUSED
    assert codec.next_line(LIMIT) == b"x"


def test_a_loop_of_requests_ends() -> None:
    """Whoever answers a refusal with the same request, as two servers that are connected to each other might."""
    codec = LineCodec()
    refusals = 0
    while refusals <= MAX_REFUSALS:
        codec.receive_data(DO + NAWS)
        assert codec.next_line(LIMIT) is None
        if not codec.data_to_send():
            break
        refusals += 1
    assert refusals == MAX_REFUSALS


@pytest.mark.parametrize("byte", [b"\r", b"\n"])
def test_64_kib_of_line_ends_are_65536_empty_lines(byte: bytes) -> None:
    assert run([byte * 65536]) == ([b""] * 65536, b"")


@pytest.mark.parametrize(
    "chunk", [b"x" * 8192, SB + b"x" * 8190, IAC * 8192, b"\0" * 8192], ids=["x", "SB", "IAC", "NUL"]
)
def test_without_a_line_end_no_more_than_the_limit_is_held(chunk: bytes) -> None:
    codec = LineCodec()
    told: list[Got] = []
    for _ in range(16):
        codec.receive_data(chunk)
        told += taken(codec)
        assert held(codec) <= LIMIT + 2
        assert codec.data_to_send() == b""
    assert told == ([] if chunk.startswith(SB) else [LINE_TOO_LONG])


def test_without_a_line_end_no_more_than_the_limit_is_held_when_it_comes_in_single_bytes() -> None:
    codec = LineCodec()
    for _ in range(1000):
        codec.receive_data(b"x")
        list(taken(codec))
        assert held(codec) <= LIMIT + 2


# However the bytes are cut

TEXTS = [b"x", b"hello", b"x" * LIMIT, b"y" * (LIMIT + 1), "é€😀".encode(), b"\xc3", b"\x80", b"\0"]
COMMANDS = [IAC, IAC * 2, DO, DONT, WILL, WONT, SB, SE, AYT, IP, BRK, EC, EL, NOP, GA, NAWS, TIMING_MARK]
PARTS = st.sampled_from([b"\r\n", b"\n", b"\r", b"\r\0", *TEXTS, *COMMANDS])
STREAMS = st.lists(PARTS | st.binary(max_size=6), max_size=40).map(b"".join)


@st.composite
def cut_streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Bytes, and the same as chunks, of which some are empty."""
    data = draw(STREAMS)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    edges = [0, *cuts, len(data)]
    return data, [data[start:end] for start, end in pairwise(edges)]


@given(cut_streams(), st.booleans())
@example((b"a\r\nb", [b"a\r", b"\nb"]), False)
@example((b"a\r\0b", [b"a\r", b"\0b"]), False)
@example((b"x" * LIMIT + b"\xff\xff", [b"x" * LIMIT + b"\xff", b"\xff"]), True)
def test_however_the_bytes_are_cut_the_same_lines_and_answers_come_out(
    stream: tuple[bytes, Sequence[bytes]], end: bool
) -> None:
    data, chunks = stream
    assert run(chunks, end=end) == run([data], end=end)


@given(cut_streams())
def test_it_makes_no_difference_when_the_lines_are_taken(stream: tuple[bytes, Sequence[bytes]]) -> None:
    data, chunks = stream
    codec = LineCodec()
    for chunk in chunks:
        codec.receive_data(chunk)
    codec.receive_eof()
    assert (list(taken(codec)), codec.data_to_send()) == run([data])


@given(st.lists(STREAMS, max_size=6))
def test_whatever_comes_lines_memory_and_answers_are_bounded(chunks: Sequence[bytes]) -> None:
    codec = LineCodec()
    fed = 0
    answered = 0
    for chunk in chunks:
        codec.receive_data(chunk)
        fed += len(chunk)
        for line in taken(codec):
            assert isinstance(line, LineTooLong) or (len(line) <= LIMIT and not set(line) & set(b"\r\n"))
        answered += len(codec.data_to_send())
        assert held(codec) <= LIMIT + 2
        assert answered <= 4 * fed


@given(
    st.lists(st.binary(max_size=LIMIT).map(lambda raw: raw.translate(None, b"\r\n\0\xff")), max_size=8),
    st.sampled_from([b"\r\n", b"\n", b"\r", b"\r\0"]),
)
def test_what_holds_no_special_byte_comes_out_as_it_went_in(lines: list[bytes], end: bytes) -> None:
    assert run([b"".join(line + end for line in lines)]) == (lines, b"")
