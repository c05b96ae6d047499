"""The line codec: the same lines and telnet answers, however the bytes are cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broadcast.doors.line.codec import COMMANDS_PER_LINE, LINE_TOO_LONG, PAUSED, LineCodec, LineTooLong, Paused
from broadcast.doors.line.telnet import AYT_REPLY, MAX_REFUSALS
from tests.cuts import WAYS, Way
from tests.fuzz import framing
from tests.harness import Counted

IAC, DONT, DO, WONT, WILL, SB, GA = (b"\xff", *(bytes((0xFF, command)) for command in range(0xFE, 0xF8, -1)))
EL, EC, AYT, AO, IP, BRK, DM, NOP, SE = (bytes((0xFF, command)) for command in range(0xF8, 0xEF, -1))
EOF, TIMING_MARK, NAWS = b"\xff\xec", b"\x06", b"\x1f"
LINE_ENDS = [b"\r\n", b"\n", b"\r", b"\r\0"]
LIMIT = 16

Got = bytes | LineTooLong


def taken(codec: LineCodec, limit: int = LIMIT) -> Iterator[Got]:
    """Yield every line that can be taken now."""
    while (line := codec.next_line(limit)) is not None:
        if not isinstance(line, Paused):
            yield line


def run(data: bytes, limit: int = LIMIT, *, end: bool = True) -> tuple[list[Got], bytes]:
    """Return the lines and answers to *data*: the same whole, byte by byte, and cut between CR and LF."""
    results = []
    for cut in WAYS.values():
        codec = LineCodec()
        lines: list[Got] = []
        for chunk in cut(data):
            codec.receive_data(chunk)
            lines += taken(codec, limit)
        if end:
            codec.receive_eof()
            lines += taken(codec, limit)
        results.append((lines, codec.data_to_send()))
    assert results[1:] == results[:1] * 2
    return results[0]


def lines_of(data: bytes, limit: int = LIMIT, *, end: bool = True) -> list[Got]:
    """Return the lines of *data*."""
    return run(data, limit, end=end)[0]


def held(codec: LineCodec) -> int:
    """Return the number of bytes that *codec* holds."""
    return len(codec._text) + len(codec._line) + len(codec._telnet._raw) + len(codec._telnet._replies)


# Line ends


@pytest.mark.parametrize("end", LINE_ENDS)
def test_each_line_end_ends_one_line_of_any_length(end: bytes) -> None:
    long = b"x" * 1000
    data = end.join([b"one", b"two", b"", b"", b"x" * LIMIT, b"x" * (LIMIT + 1), b"next", long, b""])
    lines = [b"one", b"two", b"", b"", b"x" * LIMIT, LINE_TOO_LONG, b"next", LINE_TOO_LONG]
    assert lines_of(data, end=False) == lines_of(data) == lines


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"a\nb\r\nc\rd\r\0e\n\rf\n\n", [b"a", b"b", b"c", b"d", b"e", b"", b"f", b""]),
        (b"\0a\0b\n\0\r\0\0\n", [b"\0a\0b", b"\0", b"\0"]),
        (b"a\r\n\nb\r\n\0c\r\0\nd", [b"a", b"", b"b", b"\0c", b"", b"d"]),
        *((b"one" + end, [b"one"]) for end in LINE_ENDS),
        (b"one\ntw", [b"one", b"tw"]),
        (b"", []),
        (b"a\x0bb\x0cc\x1cd\x1ee\x85f\n", [b"a\x0bb\x0cc\x1cd\x1ee\x85f"]),
        ("f\u2028g\u2029h\n".encode(), ["f\u2028g\u2029h".encode()]),
        (b"x" * LIMIT, [b"x" * LIMIT]),
        (b"x" * 10_000, [LINE_TOO_LONG]),
    ],
)
def test_mixed_line_ends_and_other_separators_give_the_documented_lines(data: bytes, lines: list[Got]) -> None:
    assert lines_of(data) == lines


@pytest.mark.parametrize(
    ("data", "lines"), [(b"one\ntw", [b"one"]), (b"hi\r", [b"hi"]), (b"x" * (LIMIT + 1), [LINE_TOO_LONG])]
)
def test_line_is_complete_at_its_first_line_end_or_when_it_is_too_long(data: bytes, lines: list[Got]) -> None:
    assert lines_of(data, end=False) == lines


def test_lines_are_taken_one_at_a_time_each_with_its_own_limit() -> None:
    codec = LineCodec()
    codec.receive_data(b"12345\n12345\n12345")
    assert [codec.next_line(5), codec.next_line(4)] == [b"12345", LINE_TOO_LONG]
    codec.receive_data(b"6\n789\n")
    assert [codec.next_line(6), codec.next_line(5), codec.next_line(5)] == [b"123456", b"789", None]
    codec.receive_data(b"12345")
    assert codec.next_line(4) is LINE_TOO_LONG
    codec.receive_data(b"6789\nab\n")
    assert list(taken(codec, 99)) == [b"ab"], "a larger limit does not bring a dropped line back"


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_limit_counts_bytes_of_text_without_telnet_commands(end: bytes) -> None:
    assert lines_of((DO + b"\x01" + b"x") * LIMIT + end) == [b"x" * LIMIT]
    assert lines_of(b"x" * (LIMIT - 1) + IAC * 2 + end) == [b"x" * (LIMIT - 1) + b"\xff"]
    assert lines_of(b"x" * LIMIT + IAC * 2 + end) == [LINE_TOO_LONG]
    assert lines_of(IAC * 2 * 1000 + end) == [LINE_TOO_LONG]


# Telnet between the bytes of a line. The parser has its own tests.


@pytest.mark.parametrize(
    ("data", "lines", "answers"),
    [
        (b"a" + WONT + b"\0b" + DONT + b"\xffc" + NOP + b"d" + AO + GA + DM + SE + b"e\n", [b"abcde"], b""),
        (b"a" + DO + b"\nb" + WILL + b"\rc\n", [b"abc"], WONT + b"\n" + DONT + b"\r"),
        (WILL + b"\x03" + DO + b"\x18ann\r\n", [b"ann"], DONT + b"\x03" + WONT + b"\x18"),
        (b"a" + IAC * 2 + b"b" + IAC * 4 + b"\n", [b"a\xffb\xff\xff"], b""),
        (b"h" + AYT + b"i\n", [b"hi"], b"[yes]\r\n"),
        *((b"said\nregretted" + erase + b"better\n", [b"said", b"better"], b"") for erase in (IP, EL, BRK)),
        *((b"x" * 1000 + erase + b"next\n", [LINE_TOO_LONG, b"next"], b"") for erase in (IP, EL, BRK)),
        *((b"regretted" + erase, [], b"") for erase in (IP, EL, BRK)),
        *((typed.encode() + EC + b"!\n", [b"a!"], b"") for typed in ("ab", "aé", "a€", "a😀")),
        (EC + b"!\na\xc3" + EC + b"!\na" + IAC * 2 + EC + b"\n", [b"!", b"a!", b"a"], b""),
        (b"a\n" + EC * 3 + b"b\n", [b"a", b"b"], b""),
        (b"x" * 1000 + EC * 1000 + b"b\nc\n", [LINE_TOO_LONG, b"c"], b""),
        *((b"h" + WILL + NAWS + SB + NAWS + size + SE + b"i\n", [b"hi"], DONT + NAWS) for size in (IAC * 8, b"\r\n")),
        (b"typed" + SB + b"\x18 inside" + EL + b"out\n", [b"out"], b""),
        *(
            (b"hi" + unfinished, [b"hi"], b"")
            for unfinished in (IAC, DO, SB, SB + IAC, SB + NAWS + b"a\nb\r\n" + IAC * 2)
        ),
    ],
)
def test_telnet_commands_are_no_part_of_a_line(data: bytes, lines: list[Got], answers: bytes) -> None:
    assert run(data) == (lines, answers)


@pytest.mark.parametrize("command", [NOP, DO + NAWS, AYT, SB + NAWS + b"\0\0\0\0" + SE, EC, EL])
def test_command_between_cr_and_lf_does_not_make_two_line_ends(command: bytes) -> None:
    assert lines_of(b"a\r" + command + b"\nb\r" + command + b"\0c\n") == [b"a", b"b", b"c"]


# Editing keys between the bytes of a line. Erasing has its own tests.


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        *((b"hellx" + key + b"o\n", [b"hello"]) for key in (b"\b", b"\x7f")),
        (b"wroldo\b\x7f\b\b\b\x7forld\n", [b"orld"]),
        ("a😀é\b\b!\n".encode(), [b"a!"]),
        ("e\u0301🇩🇪\x7f\x7f!\n".encode(), [b"!"]),
        (b"\b\x7f\x15\x17a\n\b\x7f\x15\x17b\r\n", [b"a", b"b"]),
        (b"regretted\x15better\n", [b"better"]),
        (b"one two \x17three\n", [b"one three"]),
        (b"said\nregretted\x15", [b"said"]),
        *((b"a" + end + b"\bb" + end, [b"a", b"b"]) for end in LINE_ENDS),
        (b"a\r\b\nb\r\x15\0c\n", [b"a", b"", b"b", b"\0c"]),
        (b"x" * LIMIT + b"\b\by\n", [b"x" * (LIMIT - 2) + b"y"]),
        (b"x" * LIMIT + b"\by" * 100 + b"\n", [b"x" * (LIMIT - 1) + b"y"]),
        (b"x" * (LIMIT + 1) + b"\b\b\x17more\nnext\n", [LINE_TOO_LONG, b"next"]),
        (b"x" * 1000 + b"\x15next\n", [LINE_TOO_LONG, b"next"]),
        (b"a\xff\xf7\x7fb\x08\xff\xf7c\n", [b"c"]),
        (b"a\x1b[D\x7fb\n", [b"ab"]),
        (b"a\x03\x0b\x12\x16b\n", [b"a\x03\x0b\x12\x16b"]),
    ],
)
def test_editing_keys_change_the_line_before_them(data: bytes, lines: list[Got]) -> None:
    assert lines_of(data) == lines


@pytest.mark.parametrize("end", [EOF, b"\x04"])
@pytest.mark.parametrize("after", [b"", b"\n", b"after\r\n" + AYT, b"\x04" * 1000, b"x" * 70_000])
def test_client_ends_its_input(end: bytes, after: bytes) -> None:
    assert run(b"hi\r\n" + AYT + end + after, end=False) == ([b"hi"], AYT_REPLY)
    assert run(end + after) == ([], b"")
    codec = LineCodec()
    codec.receive_data(end)
    assert (codec.ended, codec.next_line(LIMIT), codec.ended) == (False, None, True)
    codec.receive_data(after)
    assert (list(taken(codec)), held(codec)) == ([], 0)


def test_unfinished_line_counts_before_the_end_of_telnet() -> None:
    assert lines_of(b"one\ntwo" + EOF + b"three\n", end=False) == [b"one", b"two"]
    assert lines_of(b"x" * (LIMIT + 1) + EOF + b"\n", end=False) == [LINE_TOO_LONG]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"a\x04b\n", [b"a\x04b"]),
        (b" \x04\nb\n", [b" \x04", b"b"]),
        (b"x" * LIMIT + b"\x04\n", [b"x" * LIMIT]),
        (b"x" * (LIMIT + 1) + b"\x04y\nb\n", [LINE_TOO_LONG, b"b"]),
        *((b"a\n" + erased + b"\x04b\n", [b"a"]) for erased in (b"x\b", b"x y\x15", b"xy\x17", b"\r\n", b"\xff\xf8")),
    ],
)
def test_ctrl_d_ends_the_input_only_at_the_beginning_of_a_line(data: bytes, lines: list[Got]) -> None:
    assert [line for line in lines_of(data, end=False) if line] == lines


def test_answers_and_negotiation_follow_the_lines_that_were_taken() -> None:
    codec = LineCodec()
    codec.receive_data(AYT + b"a\n" + AYT * 2 + WILL + NAWS + b"b\n" + AYT * 3)
    seen = []
    for line in (b"a", b"b", None):
        assert codec.next_line(LIMIT) == line
        seen.append((codec.data_to_send().count(b"[yes]\r\n"), codec.negotiated))
    assert seen == [(1, False), (2, True), (3, True)]


# Storms

REQUESTS = [DO + b"\x01", WILL + b"\x01", DO + IAC, WONT + b"\x01", DONT + b"\x01", SB + NAWS]


@pytest.mark.parametrize(
    "storm",
    [
        *(*REQUESTS, AYT, IP, EC, EL, NOP, AO, IAC * 2, SB, SB + SE, b"x" + NOP, IAC * 2 + NOP, IAC * 2 + EC),
        *(b"\b", b"x\b", b"\x15", b"x\x17", b"x\x04", "x\u0301\x7f".encode(), b"\b" + NOP),
    ],
)
def test_storm_of_commands_is_bounded_and_pauses_after_some_of_them(storm: bytes) -> None:
    data = storm * (16384 // len(storm)) + SE + b"\n"
    codec = LineCodec()
    codec.receive_data(data)
    pieces = Counted(codec._telnet.next_piece)
    keys = Counted(codec._press_key)
    line: bytes | LineTooLong | Paused | None = PAUSED
    answered = 0
    while isinstance(line, Paused):
        pieces.calls = keys.calls = 0
        with mock.patch.object(codec._telnet, "next_piece", pieces), mock.patch.object(codec, "_press_key", keys):
            line = codec.next_line(65536)
        assert pieces.calls + keys.calls <= 2 * COMMANDS_PER_LINE
        answers = len(codec.data_to_send())
        assert answers <= COMMANDS_PER_LINE * len(AYT_REPLY)
        answered += answers
    assert isinstance(line, bytes)
    assert answered <= 4 * len(data)


def test_pause_comes_only_where_no_line_has_ended() -> None:
    codec = LineCodec()
    codec.receive_data((NOP + b"x\n") * 1000 + b"x" + AYT * (COMMANDS_PER_LINE + 1) + b"\n")
    assert [codec.next_line(LIMIT) for _ in range(1000)] == [b"x"] * 1000
    assert [codec.next_line(LIMIT), codec.next_line(LIMIT)] == [PAUSED, b"x"]


def test_request_that_repeats_is_answered_only_so_often() -> None:
    """Two servers that are connected to each other might answer a refusal with the same request."""
    codec = LineCodec()
    answers = []
    for _ in range(MAX_REFUSALS + 1):
        codec.receive_data(DO + NAWS)
        assert codec.next_line(LIMIT) is None
        answers.append(codec.data_to_send())
    assert answers == [WONT + NAWS] * MAX_REFUSALS + [b""]


@pytest.mark.parametrize("byte", [b"\r", b"\n"])
def test_64_kib_of_line_ends_are_65536_empty_lines(byte: bytes) -> None:
    assert run(byte * 65536) == ([b""] * 65536, b"")


@pytest.mark.parametrize("cut", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b"\r\0"])
def test_lines_that_wait_are_counted_and_an_unfinished_one_is_known(cut: Way, end: bytes) -> None:
    codec = LineCodec()
    data = (b"line" + end) * 3 + b"unfinished"
    for piece in cut(data):
        codec.receive_data(piece)
    assert (codec.count_lines(), codec.buffered_bytes) == (3, len(data))
    for waiting in (2, 1, 0):
        assert codec.next_line(4096) == b"line"
        assert codec.count_lines() == waiting
    assert codec.next_line(4096) is None
    assert (codec.has_unfinished_line, codec.buffered_bytes) == (True, 0)
    codec.receive_data(end)
    assert codec.count_lines() == 1
    assert codec.next_line(4096) == b"unfinished"
    assert not codec.has_unfinished_line


def test_line_end_in_two_pieces_counts_once() -> None:
    codec = LineCodec()
    codec.receive_data(b"one\r")
    assert codec.next_line(4096) == b"one"
    codec.receive_data(b"\ntwo\r\n")
    assert codec.count_lines() == 1


def test_line_that_is_too_long_is_unfinished_up_to_its_end() -> None:
    codec = LineCodec()
    codec.receive_data(b"too long")
    assert codec.next_line(4) is LINE_TOO_LONG
    assert codec.next_line(4) is None
    assert codec.has_unfinished_line
    codec.receive_data(b"\n")
    assert codec.next_line(4) is None
    assert not codec.has_unfinished_line


@pytest.mark.parametrize(
    "chunk",
    [b"x" * 8192, SB + b"x" * 8190, IAC * 8192, b"\0" * 8192, b"x"],
    ids=["x", "SB", "IAC", "NUL", "single bytes"],
)
def test_input_without_a_line_end_holds_no_more_than_the_limit(chunk: bytes) -> None:
    codec = LineCodec()
    lines: list[Got] = []
    for _ in range(32):
        codec.receive_data(chunk)
        lines += taken(codec)
        assert held(codec) <= LIMIT + 2
        assert codec.data_to_send() == b""
    assert lines == ([] if chunk.startswith(SB) else [LINE_TOO_LONG])


# Random input

KEYS = [b"\b", b"\x7f", b"\x15", b"\x17", b"\x04", b"\x1b[D", b"\x1b", b" "]
TEXTS = [
    b"x",
    b"hello",
    b"x" * LIMIT,
    b"y" * (LIMIT + 1),
    "é€😀".encode(),
    b"\xc3",
    b"\x80",
    b"\0",
    *(character.encode() for character in ("\u0301", "\u200d", "\U0001f1e9", "\U0001f3fd", "\ufe0f")),
]
COMMANDS = [IAC, IAC * 2, DO, DONT, WILL, WONT, SB, SE, AYT, IP, BRK, EC, EL, EOF, NOP, GA, NAWS, TIMING_MARK]
STREAMS = st.lists(
    st.sampled_from([*LINE_ENDS, *TEXTS, *COMMANDS, *KEYS * 2]) | st.binary(max_size=6), max_size=40
).map(b"".join)  # fmt: skip


@given(st.integers(0, 255), st.integers(0, 20), STREAMS)
@example(LIMIT - 1, 0, b"a\r\nb")
@example(LIMIT - 1, 0, b"a\r\0b")
@example(LIMIT - 1, 0, b"x" * LIMIT + b"\xff\xff")
def test_lines_answers_and_memory_are_those_of_the_reference_however_cut(limit: int, size: int, stream: bytes) -> None:
    framing.check(bytes((limit, size)) + stream)


@given(st.lists(STREAMS, max_size=6))
def test_lines_are_the_same_whenever_they_are_taken(chunks: Sequence[bytes]) -> None:
    codec = LineCodec()
    for chunk in chunks:
        codec.receive_data(chunk)
    codec.receive_eof()
    assert (list(taken(codec)), codec.data_to_send()) == run(b"".join(chunks))
