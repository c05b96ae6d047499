"""The line codec against a simple one that goes byte by byte, behind a telnet parser that does the same.

The first byte of an input gives the maximum length of a line, the second the size of the chunks of the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from unicodedata import category

from broadcast.doors.line.codec import LINE_TOO_LONG, LineCodec, LineTooLong, Paused
from broadcast.doors.line.editing import Edit
from tests.fuzz import telnet

_LF, _CR, _NUL = 10, 13, 0
_KEYS = {
    b"\x08": Edit.ERASE_CHARACTER,
    b"\x7f": Edit.ERASE_CHARACTER,
    b"\x15": Edit.ERASE_LINE,
    b"\x17": Edit.ERASE_WORD,
    b"\x04": Edit.END_INPUT,
}
_SEQUENCE = re.compile(rb"\x1b(\[\[?[0-?]*[@-~]|O[!-~])\Z")


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


def characters(line: bytes) -> list[str]:
    """Return the characters of *line* as a person counts them."""
    parts: list[str] = []
    for character in line.decode("utf-8", "surrogateescape"):
        last = parts[-1] if parts else ""
        joins = category(character) in {"Mn", "Me", "Mc", "Cf"} or "\U0001f3fb" <= character <= "\U0001f3ff"
        flag = re.fullmatch("[\U0001f1e6-\U0001f1ff]", last) and "\U0001f1e6" <= character <= "\U0001f1ff"
        if last and (joins or flag or (last.endswith("\u200d") and not character.isascii())):
            parts[-1] += character
        else:
            parts.append(character)
    return parts


def erased(line: bytes, edit: Edit) -> bytes:
    """Return *line* after *edit*."""
    if edit is Edit.ERASE_WORD:
        return re.sub(rb"[^ \t]*[ \t]*\Z", b"", line, count=1)
    if edit is Edit.ERASE_CHARACTER:
        key = _SEQUENCE.search(line[-16:])
        return line[: -len(key[0])] if key else "".join(characters(line)[:-1]).encode("utf-8", "surrogateescape")
    return b""


def expected(pieces: Iterable[telnet.Out], limit: int) -> Iterator[bytes | LineTooLong | telnet.Answer]:  # noqa: C901 -- a table
    """Yield the lines that *pieces* form, and the answers among them. Each piece of text is one byte."""
    line = b""
    dropping = after_cr = False
    for piece in pieces:
        edit = _KEYS.get(piece) if isinstance(piece, bytes) else piece
        if isinstance(piece, bytes):
            was_cr, after_cr = after_cr, piece[0] == _CR
            if was_cr and piece[0] in (_LF, _NUL):
                continue
            if edit is Edit.END_INPUT and (line or dropping):
                line += piece * (not dropping and len(line) < limit)
                continue
        if edit is Edit.END_INPUT:
            break
        if isinstance(piece, telnet.Answer):
            yield piece
        elif isinstance(edit, Edit):
            line = erased(line, edit)
            dropping = dropping and edit is not Edit.ERASE_LINE
        elif isinstance(piece, bytes) and piece[0] in (_CR, _LF):
            if not dropping:
                yield line
            line, dropping = b"", False
        elif isinstance(piece, bytes) and not dropping:
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
    out = list(expected(telnet.expected(stream), limit))
    lines = [line for line in out if not isinstance(line, telnet.Answer)]
    answers = b"".join(answer.data for answer in out if isinstance(answer, telnet.Answer))
    for chunks in telnet.cuts(stream, size):
        assert taken(chunks, limit) == (lines, answers)
    for line in lines:
        assert isinstance(line, LineTooLong) or (len(line) <= limit and not set(line) & {_CR, _LF})
