"""JSON-RPC messages and their lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from broadcast.client.protocol.errors import ErrorObject

MAX_RECEIVED_LINE: Final = 256 * 1024
"""The longest line that the server sends, in bytes."""
MAX_SENT_LINE: Final = 16 * 1024
"""The longest line that the server accepts, in bytes."""
_GREETING_BYTES: Final = 400
_NOTICE: Final = b" * "
_PROMPT: Final = b"Nickname: "
_ERROR: Final = b"-> Error: "


class FramingError(Exception):
    """The other side has sent something that is not a message of this protocol."""


class LineReader:
    """Cuts received bytes into lines. Everything before the first line that starts with ``{`` is ignored."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._is_started = False
        self._greeting = b""
        self.is_line_protocol = False
        """Whether the other side has read the first request as a nickname, as servers of version 0.1 do."""

    @property
    def greeting(self) -> str:
        """The text before the first message, shortened, for an error: its first line, or a server's last notice."""
        raw = (self._greeting or b"".join(self._pieces))[:_GREETING_BYTES]
        text = " ".join(raw.decode("utf-8", "replace").split())
        return "".join(character if character.isprintable() else "\ufffd" for character in text)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the lines that *data* completes, without their ends."""
        *complete, rest = data.split(b"\n")
        for piece in complete:
            self._append(piece)
            line = b"".join(self._pieces).removesuffix(b"\r")
            self._pieces.clear()
            self._size = 0
            if self._is_started or line.startswith(b"{"):
                self._is_started = True
                if line:
                    yield line
            elif line.strip():
                self._greet(line)
        self._append(rest)

    def _greet(self, line: bytes) -> None:
        self.is_line_protocol |= line.removeprefix(_PROMPT).startswith(_ERROR)
        if not self._greeting or line.startswith(_NOTICE):
            self._greeting = line

    def _append(self, piece: bytes) -> None:
        if not piece:
            return
        self._size += len(piece)
        if self._size > MAX_RECEIVED_LINE:
            raise FramingError(f"the server has sent a line of more than {MAX_RECEIVED_LINE} bytes")
        self._pieces.append(piece)


class Message(msgspec.Struct):
    """A message from the server: a notification if it has a method, otherwise a response."""

    method: str | None = None
    params: msgspec.Raw = msgspec.Raw(b"{}")
    id: int | None = None
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: ErrorObject | None = None


class _SentRequest(msgspec.Struct):
    jsonrpc: str
    id: int
    method: str
    params: Any


class _SentNotification(msgspec.Struct):
    jsonrpc: str
    method: str
    params: Any


_MESSAGE_DECODER: Final = msgspec.json.Decoder(Message)
_ENCODER: Final = msgspec.json.Encoder()


def decode_message(line: bytes) -> Message:
    """Return the message of a line, or raise FramingError."""
    try:
        return _MESSAGE_DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FramingError(f"the server has sent a line that is no message: {error}") from None


def encode_request(number: int, method: str, params: msgspec.Struct) -> bytes:
    """Return the line of a request."""
    return _ENCODER.encode(_SentRequest("2.0", number, method, params)) + b"\n"


def encode_notification(method: str, params: msgspec.Struct) -> bytes:
    """Return the line of a notification."""
    return _ENCODER.encode(_SentNotification("2.0", method, params)) + b"\n"


def encodable(text: str) -> str:
    """Return *text* with U+FFFD for each lone surrogate, which UTF-8 cannot express."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
