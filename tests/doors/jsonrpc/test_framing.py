"""Bytes become lines, however they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.doors.jsonrpc.framing import LINE_TOO_LONG, LineSplitter, LineTooLong

MOST = 8


def split(*chunks: bytes, eof: bool = True) -> list[bytes | LineTooLong]:
    """Return all lines of *chunks*."""
    splitter = LineSplitter(MOST)
    found: list[bytes | LineTooLong] = []

    def take() -> None:
        while (line := splitter.next_line()) is not None:
            found.append(line)

    for chunk in chunks:
        splitter.receive_data(chunk)
        take()
        assert splitter.buffered_bytes <= MOST + 1
    if eof:
        splitter.receive_eof()
        splitter.receive_data(b"ignored\n")
        take()
        assert not splitter.buffered_bytes
    return found


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"a\nb\r\n\n\r\nc", [b"a", b"b", b"", b"", b"c"]),
        (b"a\rb\n", [b"a\rb"]),
        (b"x" * 8 + b"\n" + b"y" * 8 + b"\r\n", [b"x" * 8, b"y" * 8]),
        (b"x" * 9 + b"\nb\n", [LINE_TOO_LONG, b"b"]),
        (b"x" * 100 + b"\nb", [LINE_TOO_LONG, b"b"]),
        (b"x" * 8 + b"\r", [LINE_TOO_LONG]),
        (b"x" * 100, [LINE_TOO_LONG]),
    ],
)
def test_lines_end_with_lf_or_crlf_and_have_a_limit(data: bytes, lines: list[bytes | LineTooLong]) -> None:
    assert split(data) == lines
    assert split(*(bytes([byte]) for byte in data)) == lines


@given(st.lists(st.binary(max_size=12).map(lambda data: data.replace(b"x", b"\n").replace(b"y", b"\r\n"))))
def test_lines_do_not_depend_on_the_chunks(chunks: list[bytes]) -> None:
    assert split(*chunks) == split(b"".join(chunks))
