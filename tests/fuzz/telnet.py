"""The telnet parser against a simple one that goes byte by byte.

The first byte of an input gives the size of the chunks of the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

from broadcast.doors.line.editing import Edit
from broadcast.doors.line.telnet import AYT_REPLY, MAX_REFUSALS, Telnet

_IAC, _DONT, _DO, _WONT, _WILL, _SB, _EL, _EC, _AYT, _IP, _BRK, _SE, _EOF = (
    255, 254, 253, 252, 251, 250, 248, 247, 246, 244, 243, 240, 236,
)  # fmt: skip
_TIMING_MARK = 6


class Answer(NamedTuple):
    """Bytes that the parser sends back."""

    data: bytes


Out: TypeAlias = "bytes | Edit | Answer"


def joined(pieces: Iterable[Out]) -> list[Out]:
    """Return *pieces* with adjacent texts joined, and adjacent answers too, and without ``Edit.NOTHING``."""
    out: list[Out] = []
    for piece in pieces:
        last = out[-1] if out else None
        if isinstance(piece, bytes) and isinstance(last, bytes):
            out[-1] = last + piece
        elif isinstance(piece, Answer) and isinstance(last, Answer):
            out[-1] = Answer(last.data + piece.data)
        elif piece is not Edit.NOTHING:
            out.append(piece)
    return out


def taken(chunks: Iterable[bytes]) -> Iterator[Out]:
    """Yield everything that the parser makes of *chunks*, in order."""
    telnet = Telnet()
    for chunk in chunks:
        telnet.receive_data(chunk)
        while (piece := telnet.next_piece()) is not None:
            assert piece != b""
            yield piece
            if answers := telnet.data_to_send():
                yield Answer(answers)
        assert len(telnet._raw) <= 2, "the parser holds more than an unfinished command"
        assert telnet.data_to_send() == b""


def expected(stream: bytes) -> Iterator[Out]:  # noqa: C901, PLR0912 -- the RFCs as one table
    """Yield the text of *stream* byte by byte, erasures, and answers."""
    state = "text"
    verb = 0
    asked: Counter[tuple[int, int]] = Counter()
    for byte in stream:
        if state == "text":
            if byte == _IAC:
                state = "command"
            else:
                yield bytes((byte,))
        elif state == "option":
            state = "text"
            asked[verb, byte] += 1
            if verb in (_DO, _WILL) and (asked[verb, byte] <= MAX_REFUSALS or (verb, byte) == (_DO, _TIMING_MARK)):
                yield Answer(bytes((_IAC, _WONT if verb == _DO else _DONT, byte)))
        elif state == "inside":
            if byte == _IAC:
                state = "command inside"
        elif state == "command inside" and byte == _IAC:
            state = "inside"
        else:
            state = "text"
            if byte in (_DO, _DONT, _WILL, _WONT):
                state, verb = "option", byte
            elif byte == _SB:
                state = "inside"
            elif byte == _IAC:
                yield b"\xff"
            elif byte == _AYT:
                yield Answer(AYT_REPLY)
            elif byte == _EC:
                yield Edit.ERASE_CHARACTER
            elif byte in (_EL, _IP, _BRK):
                yield Edit.ERASE_LINE
            elif byte == _EOF:
                yield Edit.END_INPUT


def cuts(stream: bytes, size: int) -> Iterator[list[bytes]]:
    """Yield *stream* whole, byte by byte, and in chunks of *size*."""
    for step in {max(len(stream), 1), 1, size}:
        yield [stream[at : at + step] for at in range(0, len(stream), step)]


def check(data: bytes) -> None:
    """Check that the output is the expected one, however the stream is cut, and that the answers are few."""
    size, stream = 2 + (data[0] if data else 0), data[1:]
    out = joined(expected(stream))
    for chunks in cuts(stream, size):
        assert joined(taken(chunks)) == out
    assert sum(len(piece.data) for piece in out if isinstance(piece, Answer)) <= 4 * len(stream)
