"""The frames of a WebSocket: what the decoder makes of an input does not depend on how it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from broadcast.doors.web.frames import frame_line, frame_lines
from tests.doors.web.cases import CASES, Case
from tests.doors.web.websockets import frame
from tests.fuzz.websocket import decoded, expected

OPCODES = [0, 0, 0, 1, 1, 1, 8, 9, 9, 10, 2, 3, 11]
PAYLOADS = st.one_of(
    st.sampled_from([b"", b"\n", b"\r\n", b"{}\n{}", b"\xce", b"\xba", b"\xf0\x9f", b"\x98\x80", b"\xff", b"\x03\xe8"]),
    st.binary(max_size=200),
    st.text(max_size=50).map(str.encode),
    st.sampled_from([125, 126, 1000, 65_535, 65_536, 65_537]).map(lambda size: b"x" * size),
)
FRAMES = st.builds(
    frame,
    st.sampled_from(OPCODES),
    PAYLOADS,
    fin=st.booleans(),
    rsv=st.sampled_from([0] * 20 + [1, 2, 4]),
    mask=st.sampled_from([bytes(4)] * 20 + [None]),
    size=st.sampled_from([0, 0, 126, 127]),
)
"""Frames, most of which continue correctly what came before."""
STREAMS = st.lists(st.one_of(FRAMES, FRAMES, FRAMES, st.binary(max_size=20)), max_size=20).map(b"".join)


@given(STREAMS, st.lists(st.integers(1, 1000), min_size=1))
def test_frames_are_decoded_correctly_however_they_are_cut(stream: bytes, sizes: list[int]) -> None:
    chunks = []
    start = 0
    while start < len(stream):
        for size in sizes:
            chunks.append(stream[start : start + size])
            start += size
    should = expected(stream)
    assert decoded([stream]) == should
    assert decoded(chunks) == should


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_simple_parser_agrees_about_the_cases(case: Case) -> None:
    assert decoded([case.sent]) == expected(case.sent)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 256 * 1024])
def test_line_is_one_frame(size: int) -> None:
    line = b"x" * size
    assert frame_line(line + b"\n") == Frame(Opcode.TEXT, line).serialize(mask=False)
    assert frame_lines((line + b"\n") * 2) == frame_line(line + b"\n") * 2
    assert frame_lines(b"") == b""
