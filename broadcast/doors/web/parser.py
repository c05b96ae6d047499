"""The parser of requests: h11, which gets its input in pieces that it parses in a short time; no I/O."""

from __future__ import annotations

import re
from typing import Final

import h11

from broadcast.doors.web.requests import HEADER_BYTES, body_length

PIECE_BYTES: Final = 4 * 1024
"""Number of bytes that h11 gets at a time, except for a body whose length is known.

A chunk of the transport has up to 64 KiB. In a header or a chunked body, h11 takes up to half a second for them.
"""
MAX_HEADER_LINES: Final = 100
"""Maximum number of lines in the header of a request. Each takes h11 about 20 us."""

_request_line: Final = re.compile(
    rb"[^\n]* HTTP/[0-9]|(?:GET|HEAD|POST|PUT|DELETE|PATCH|OPTIONS|TRACE|CONNECT|PROXY) |[^\n]*[^\t\r\n -~]"
)
"""The first line of a client that may speak HTTP, or that sends binary data, for which h11 has an error."""
_end_of_header: Final = re.compile(rb"\n\r?\n")


class NotHttp(Exception):
    """The client has sent a line of text as its first line. It speaks no HTTP."""


class RequestParser:
    """The input of a connection. ``http`` is the state of h11, which also encodes the replies."""

    def __init__(self) -> None:
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_BYTES)
        self._received = bytearray()
        """The input that h11 does not have yet."""
        self._body_left = 0
        """Number of bytes of the body that follow, if its length is known."""
        self._has_ended = False
        self._is_first_line = True
        """True until the end of the first line."""

    def receive_data(self, data: bytes) -> None:
        """Receive a chunk of input."""
        self._received += data

    def receive_eof(self) -> None:
        """Receive the end of the input."""
        self._has_ended = True

    @property
    def buffered_bytes(self) -> int:
        """Number of bytes that have not been parsed."""
        return len(self.http.trailing_data[0]) + len(self._received)

    def take_rest(self) -> bytes:
        """Return all bytes that have not been parsed. No other call may follow."""
        return self.http.trailing_data[0] + bytes(self._received)

    def next_event(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        """Return the next event, or ``NEED_DATA``. Raises ``RemoteProtocolError`` and ``NotHttp``."""
        while True:
            if self.http.their_state is h11.IDLE:
                self._check_header()
            event = self.http.next_event()
            if isinstance(event, h11.Request):
                self._body_left = body_length(event) or 0
            elif isinstance(event, h11.Data):
                self._body_left = max(self._body_left - len(event.data), 0)
            if event is not h11.NEED_DATA or not self._feed():
                return event

    def _feed(self) -> bool:
        """Give h11 the next piece of the input, and return whether there was one."""
        if self._received:
            size = self._body_left or PIECE_BYTES
            self.http.receive_data(bytes(self._received[:size]))
            del self._received[:size]
            return True
        if self._has_ended:
            self._has_ended = False
            self.http.receive_data(b"")
            return True
        return False

    def _check_header(self) -> None:
        """Raise ``RemoteProtocolError`` if the header that has arrived has too many lines, or ``NotHttp``."""
        data = self.http.trailing_data[0]
        if self._is_first_line and b"\n" in data:
            self._is_first_line = False
            if not _request_line.match(data):
                raise NotHttp
        end = _end_of_header.search(data)
        if data.count(b"\n", 0, len(data) if end is None else end.start() + 1) > MAX_HEADER_LINES:
            raise h11.RemoteProtocolError(f"A header has at most {MAX_HEADER_LINES} lines", error_status_hint=431)
