"""The frames of a WebSocket against a simple parser that has the whole input at once.

The first byte of an input gives the size of the chunks of the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, NoReturn

from broadcast.doors.jsonrpc.framing import LINE_TOO_LONG, LineTooLong
from broadcast.doors.jsonrpc.messages import MAX_REQUEST_BYTES
from broadcast.doors.web.frames import MAX_MESSAGE_BYTES, SLICE_BYTES, MessageDecoder

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
CLOSE_CODES = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}


class Decoded(NamedTuple):
    """What the server makes of an input."""

    lines: list[bytes | LineTooLong]
    pongs: bytes
    close: int | None


def decoded(chunks: Iterable[bytes]) -> Decoded:
    """Return what the decoder makes of *chunks*."""
    decoder = MessageDecoder()
    lines: list[bytes | LineTooLong] = []
    pongs = b""
    for chunk in chunks:
        decoder.receive_data(chunk)
        while True:
            has_line_or_end = decoder.decode()
            pongs += decoder.take_replies()
            if has_line_or_end:
                line = decoder.next_line()
                if line is None:
                    break
                lines.append(line)
        assert decoder.buffered_bytes == 0
        assert len(decoder._message) <= MAX_MESSAGE_BYTES
    return Decoded(lines, pongs, None if decoder.close is None else decoder.close.code)


class Violation(Exception):
    """The end of the input, with the code of the close frame."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def expected(stream: bytes) -> Decoded:
    """Return what the decoder should make of *stream*."""
    lines: list[bytes | LineTooLong] = []
    pongs = bytearray()
    close = None
    message: bytes | None = None
    position = 0
    try:
        while (frame := next_frame(stream, position, len(message or b""))) is not None:
            opcode, is_last, payload, position = frame
            if opcode == PING:
                pongs += bytes((0x8A, len(payload))) + payload
            elif opcode == CLOSE:
                code = close_code(payload)
                refuse(1002 if message is not None else code)
            elif opcode != PONG:
                message = continue_message(message, opcode, payload, is_last=is_last)
                if is_last:
                    lines += lines_of(message)
                    message = None
    except Violation as end:
        close = end.code
    return Decoded(lines, bytes(pongs), close)


def refuse(code: int) -> NoReturn:
    """End the input with *code*."""
    raise Violation(code)


def continue_message(message: bytes | None, opcode: int, payload: bytes, *, is_last: bool) -> bytes:
    """Return *message*, None if there is none, with the fragment *payload*."""
    if (message is None) is (opcode == CONT):
        refuse(1002)
    if opcode == BINARY:
        refuse(1003)
    whole = (message or b"") + payload
    if len(whole) > MAX_MESSAGE_BYTES:
        refuse(1009)
    check_utf8(whole, is_last=is_last)
    return whole


def next_frame(stream: bytes, start: int, held: int) -> tuple[int, bool, bytes, int] | None:
    """Return the opcode, whether it is the last fragment, the payload and the end of the frame at *start*."""
    head = stream[start : start + 2]
    if len(head) < 2:
        return None
    opcode = head[0] & 15
    if opcode not in (CONT, TEXT, BINARY, CLOSE, PING, PONG) or not head[1] & 128:
        refuse(1002)
    size, start = head[1] & 127, start + 2
    if size >= 126:
        digits = 2 if size == 126 else 8
        size, start = int.from_bytes(stream[start : start + digits], "big"), start + digits
    if len(stream) < start:
        return None
    if size > MAX_MESSAGE_BYTES + 125 - held:
        refuse(1009)
    mask, payload = stream[start : start + 4], stream[start + 4 : start + 4 + size]
    if len(stream) < start + 4 + size:
        return None
    if head[0] & 0x70 or (opcode >= CLOSE and (size > 125 or not head[0] & 128)):
        refuse(1002)
    if any(mask):
        payload = masked(payload, mask)
    return opcode, bool(head[0] & 128), payload, start + 4 + size


def masked(payload: bytes, mask: bytes) -> bytes:
    """Return *payload* with each byte XORed with one of *mask*, in turn."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def close_code(payload: bytes) -> int:
    """Return the code of the answer to a close frame."""
    if len(payload) < 2:
        return 1002 if payload else 1005
    check_utf8(payload[2:], is_last=True)
    code = int.from_bytes(payload[:2], "big")
    return code if code in CLOSE_CODES else 1002


def check_utf8(text: bytes, *, is_last: bool) -> None:
    """Check that *text* is UTF-8, or the start of it unless it *is last*."""
    ends = [b"\x80", b"\x80\x80", b"\x80\x80\x80", b"\xbf", b"\xbf\x80", b"\xbf\x80\x80"]
    for missing in (b"",) if is_last else (b"", *ends):
        try:
            (text + missing).decode()
        except UnicodeDecodeError:
            continue
        return
    refuse(1007)


def lines_of(message: bytes) -> list[bytes | LineTooLong]:
    """Return the lines in *message*."""
    lines = [line.removesuffix(b"\r") for line in message.removesuffix(b"\n").split(b"\n")]
    return [line if len(line) <= MAX_REQUEST_BYTES else LINE_TOO_LONG for line in lines]


def check(data: bytes) -> None:
    """Check that the decoder makes of the input what it should, however the stream is cut."""
    if not data:
        return
    size, stream = 1 + data[0] * 3, data[1:]
    should = expected(stream)
    for length in (max(1, len(stream)), SLICE_BYTES - 1, size):
        assert decoded(stream[start : start + length] for start in range(0, len(stream), length)) == should
