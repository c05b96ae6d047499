"""JSON-RPC messages and their lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from broadcast.client.protocol.errors import ErrorObject
from broadcast.client.protocol.greeting import Greeting

MAX_RECEIVED_LINE: Final = 256 * 1024
"""The longest line that the server sends, in bytes."""
MAX_SENT_LINE: Final = 16 * 1024
"""The longest line that the server accepts, in bytes."""


class FramingError(Exception):
    """The other side has sent something that is not a message of this protocol."""


class LineReader:
    """Cuts received bytes into lines. Everything before the first line that starts with ``{`` is ignored."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_started = False
        self.greeting = Greeting()

    def explain_end(self, reason: str) -> str:
        """Return why the input has ended before the first message. *reason* holds unless the greeting says more."""
        self.greeting.add(self._rest)
        return self.greeting.explain(reason)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the lines that *data* completes, without their ends."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if any(len(line) > MAX_RECEIVED_LINE for line in (*lines, self._rest)):
            raise FramingError(f"the server has sent a line of more than {MAX_RECEIVED_LINE} bytes")
        for line in lines:
            line = line.removesuffix(b"\r")  # noqa: PLW2901 -- the same line
            self._is_started = self._is_started or line.startswith(b"{")
            if not self._is_started:
                self.greeting.add(line)
            elif line:
                yield line


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
    message = _SentRequest("2.0", number, method, params)
    try:
        return _ENCODER.encode(message) + b"\n"
    except UnicodeEncodeError:
        # UTF-8 cannot express a lone surrogate, which becomes U+FFFD.
        text = json.dumps(msgspec.to_builtins(message), ensure_ascii=False)
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode() + b"\n"
