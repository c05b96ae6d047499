"""The frames of a WebSocket (RFC 6455): input becomes lines, and lines become frames; no Twisted.

``websockets`` parses the frames, except those that hold a whole short message: most lines come in such a frame, for
which the library needs almost three times as long. The server's own frames are made here, because a line for many
clients is framed once.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from typing import TYPE_CHECKING, Final

from websockets.exceptions import PayloadTooBig
from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.utils import apply_mask

from broadcast.doors.jsonrpc.framing import LineSplitter, LineTooLong
from broadcast.doors.jsonrpc.messages import MAX_REQUEST_BYTES

if TYPE_CHECKING:
    from codecs import IncrementalDecoder

MAX_MESSAGE_BYTES: Final = 64 * 1024
"""Maximum size of a message from a client, in bytes."""
SLICE_BYTES: Final = 512
"""Number of bytes that are parsed at once. They hold at most 85 frames, which takes less than half a millisecond."""
MAX_CONTROL_BYTES: Final = 125
"""Maximum size of the payload of a control frame, in bytes (RFC 6455, section 5.5)."""
MAX_REASON_BYTES: Final = MAX_CONTROL_BYTES - 2
"""Maximum size of the reason in a close frame, in bytes."""
PING_FRAME: Final = Frame(Opcode.PING, b"").serialize(mask=False)

_TOO_BIG: Final = Close(CloseCode.MESSAGE_TOO_BIG, f"A message holds at most {MAX_MESSAGE_BYTES} bytes.")
_LF: Final = b"\n"
_TEXT: Final = 0x81
"""The first byte of a text frame that is a whole message."""
_MASKED: Final = 0x80
"""The mask bit of the second byte of a frame. The other bits are the size, if it is less than 126."""
_LONG: Final = _MASKED | 126
"""The second byte of a frame whose size is in the next two bytes."""
_SHORT_HEAD: Final = 6
"""Number of bytes before the payload of a short frame: two, and the mask."""
_LONG_HEAD: Final = 8
"""The same with a size of two bytes."""


def frame_line(line: bytes) -> bytes:
    """Return *line*, without its LF, as a message of one frame."""
    size = len(line) - 1
    if size < 126:
        header = bytes((_TEXT, size))
    elif size < 65536:
        header = bytes((_TEXT, 126, size >> 8, size & 255))
    else:
        header = bytes((_TEXT, 127)) + size.to_bytes(8, "big")
    return header + line[:-1]


def frame_lines(lines: bytes) -> bytes:
    """Return *lines*, each of which ends with LF, as a message for each."""
    return b"".join(map(frame_line, lines.splitlines(keepends=True)))


def frame_close(close: Close) -> bytes:
    """Return the close frame for *close*. A reason that is too long is cut."""
    if close.code == CloseCode.NO_STATUS_RCVD:
        payload = b""
    else:
        reason = close.reason.encode()[:MAX_REASON_BYTES].decode("utf-8", "ignore")
        payload = Close(close.code, reason).serialize()
    return Frame(Opcode.CLOSE, payload).serialize(mask=False)


def _minimal_size(frame: Frame) -> int:
    """Return the number of bytes that a client needs at least for *frame*."""
    size = len(frame.data)
    return size + (_SHORT_HEAD if size < 126 else _LONG_HEAD if size < 65536 else _LONG_HEAD + 6)


class MessageDecoder:
    """The input of a WebSocket after its handshake: a ``LineDecoder``.

    A message holds one or more lines, separated by LF. The lines do not depend on how messages are cut into frames, and
    frames into chunks. ``decode`` parses a little of the input at a time, so that a client that sends many tiny frames
    does not hold up the others. At most one unfinished frame and one unfinished message are held.
    """

    def __init__(self) -> None:
        self.close: Close | None = None
        """The answer to the end of the input: to a close frame, or to a violation of the protocol. None before that."""
        # The library counts a control frame toward the message in which it comes.
        self._protocol = ServerProtocol(state=OPEN, max_size=MAX_MESSAGE_BYTES + MAX_CONTROL_BYTES)
        self._unparsed_bytes = 0
        """Number of bytes that the library has, less those of its frames. At 0, the next byte begins a frame."""
        self._input = bytearray()
        """The bytes that have not been parsed."""
        self._message = bytearray()
        """The fragments of the unfinished message."""
        self._utf8: IncrementalDecoder | None = None
        """The check of the unfinished message, if there is one."""
        self._lines = LineSplitter(MAX_REQUEST_BYTES)
        self._replies: list[bytes] = []

    @property
    def buffered_bytes(self) -> int:
        """Number of bytes that wait to be parsed or returned."""
        return len(self._input) + self._lines.buffered_bytes

    def receive_data(self, data: bytes) -> None:
        """Add *data*."""
        if self.close is None:
            self._input += data

    def receive_eof(self) -> None:
        """Do nothing: an unfinished message is no message."""

    def next_line(self) -> bytes | LineTooLong | None:
        """Return the next line; see ``LineDecoder``. Call ``decode`` before."""
        return self._lines.next_line()

    def decode(self) -> bool:
        """Parse input until there is a line or the end. Return False as soon as there are frames without a line."""
        has_frames = False
        while self._input and not self._lines.buffered_bytes and not has_frames:
            if self._take_message():
                has_frames = True
                continue
            data = bytes(self._input[:SLICE_BYTES])
            del self._input[:SLICE_BYTES]
            has_frames = self._parse(data)
        return self._lines.buffered_bytes > 0 or self.close is not None or not has_frames

    def take_replies(self) -> bytes:
        """Return the answers to the pings so far."""
        replies = b"".join(self._replies)
        self._replies.clear()
        return replies

    def _take_message(self) -> bool:
        """Take a whole message of one short frame from the input, and return whether it begins with one.

        All other frames, and those that violate the protocol, are left to the library.
        """
        data = self._input
        if self._unparsed_bytes or self._utf8 is not None or len(data) < 8 or data[0] != _TEXT:
            return False
        head, size = (_SHORT_HEAD, data[1] - _MASKED) if data[1] != _LONG else (_LONG_HEAD, data[2] << 8 | data[3])
        is_minimal = 0 <= size < 126 if head == _SHORT_HEAD else 126 <= size <= MAX_REQUEST_BYTES
        end = head + size
        if not is_minimal or len(data) < end:
            return False
        message = apply_mask(bytes(data[head:end]), bytes(data[head - 4 : head]))
        del data[:end]
        self._receive_fragment(message, is_last=True)
        return True

    def _parse(self, data: bytes) -> bool:
        """Parse *data*, and return whether there was a frame."""
        protocol = self._protocol
        protocol.receive_data(data)
        frames = [event for event in protocol.events_received() if isinstance(event, Frame)]
        # Frames whose size takes more bytes than necessary leave a rest, so that the library gets all further input.
        self._unparsed_bytes += len(data) - sum(map(_minimal_size, frames))
        pongs = iter(protocol.data_to_send())
        for frame in frames:
            if frame.opcode is Opcode.PING:
                self._replies.append(next(pongs))
            elif frame.opcode is Opcode.TEXT or frame.opcode is Opcode.CONT:
                self._receive_fragment(bytes(frame.data), is_last=frame.fin)
            elif frame.opcode is Opcode.BINARY:
                self._end(Close(CloseCode.UNSUPPORTED_DATA, "Send text, not binary data."))
            if self.close is not None:
                break
        else:
            if protocol.state is not OPEN:
                is_too_big = isinstance(protocol.parser_exc, PayloadTooBig)
                self._end(_TOO_BIG if is_too_big else protocol.close_sent)
        return bool(frames)

    def _end(self, close: Close | None) -> None:
        self.close = close
        self._input.clear()
        self._message.clear()
        self._utf8 = None

    def _receive_fragment(self, data: bytes, *, is_last: bool) -> None:
        """Add a part of a message, whose size and UTF-8 are checked so far."""
        if len(self._message) + len(data) > MAX_MESSAGE_BYTES:
            self._end(_TOO_BIG)
            return
        if self._utf8 is None and not (is_last and data.isascii()):
            self._utf8 = getincrementaldecoder("utf-8")()
        if self._utf8 is not None:
            try:
                self._utf8.decode(data, is_last)
            except UnicodeDecodeError:
                self._end(Close(CloseCode.INVALID_DATA, "The text is no UTF-8."))
                return
        if not is_last:
            self._message += data
            return
        if self._message:
            data = bytes(self._message) + data
            self._message.clear()
        self._utf8 = None
        self._lines.receive_data(data if data.endswith(_LF) else data + _LF)
