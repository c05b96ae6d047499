"""The line codec against a simple one that goes byte by byte, behind a telnet parser that does the same.

The first byte of an input gives the maximum length of a line, the second the size of the chunks of the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from broadcast.doors.line.codec import LINE_TOO_LONG, LineCodec, LineTooLong, Paused
from broadcast.doors.line.telnet import Edit
from tests.fuzz import telnet

_LF, _CR, _NUL = 10, 13, 0


def taken(chunks: Iterable[bytes], limit: int) -> tuple[list[bytes | LineTooLong], bytes]:
    """Return the lines and the answers that the codec makes of *chunks*."""
    codec = LineCodec()
    lines: list[bytes | LineTooLong] = []
    answers = b""
    for chunk in (*chunks, None):
        if chunk is None:
            codec.receive_eof()
        else:
            codec.receive_data(chunk)
        while (line := codec.next_line(limit)) is not None:
            answers += codec.data_to_send()
            if not isinstance(line, Paused):
                lines.append(line)
        answers += codec.data_to_send()
        held = len(codec._text) + len(codec._line) + len(codec._telnet._raw)
        assert held <= limit + 2, "the codec holds more than an unfinished line and an unfinished command"
    return lines, answers


def expected(pieces: Iterable[telnet.Out], limit: int) -> Iterator[bytes | LineTooLong]:  # noqa: C901 -- a table
    """Yield the lines that *pieces* form. Each piece of text is one byte."""
    line = b""
    dropping = after_cr = False
    for piece in pieces:
        if piece is Edit.ERASE_LINE:
            line, dropping = b"", False
        elif piece is Edit.ERASE_CHARACTER:
            line = re.sub(rb"[^\x80-\xbf]?[\x80-\xbf]*\Z", b"", line)
        elif isinstance(piece, bytes):
            byte = piece[0]
            if after_cr and byte in (_LF, _NUL):
                after_cr = False
                continue
            after_cr = byte == _CR
            if byte in (_CR, _LF):
                if not dropping:
                    yield line
                line, dropping = b"", False
            elif not dropping:
                line += piece
                if len(line) > limit:
                    yield LINE_TOO_LONG
                    line, dropping = b"", True
    if line:
        yield line


def check(data: bytes) -> None:
    """Check that the lines are the expected ones, however the stream is cut, and that almost nothing is buffered."""
    if len(data) < 2:
        return
    limit, size, stream = 1 + data[0] % 64, 2 + data[1], data[2:]
    pieces = list(telnet.expected(stream))
    lines = list(expected(pieces, limit))
    answers = b"".join(piece.data for piece in pieces if isinstance(piece, telnet.Answer))
    for chunks in telnet.cuts(stream, size):
        assert taken(chunks, limit) == (lines, answers)
    for line in lines:
        assert isinstance(line, LineTooLong) or (len(line) <= limit and not set(line) & {_CR, _LF})
