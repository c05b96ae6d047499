"""The framing of the JSON-RPC door: bytes become lines; no Twisted."""

from __future__ import annotations

from typing import Final, Protocol

_LF: Final = b"\n"
_CR: Final = 13


class LineTooLong:
    """The type of ``LINE_TOO_LONG``, which stands for a line above the limit. The line was dropped."""


LINE_TOO_LONG: Final = LineTooLong()


class LineDecoder(Protocol):
    """The input of a connection, as it becomes lines."""

    @property
    def buffered_bytes(self) -> int:
        """Number of bytes that wait to be decoded or returned."""

    def receive_data(self, data: bytes) -> None:
        """Add *data*."""

    def receive_eof(self) -> None:
        """End the data."""

    def next_line(self) -> bytes | LineTooLong | None:
        """Return the next line without its end, ``LINE_TOO_LONG`` in place of a line above the limit, or None."""


class LineSplitter:
    """A buffer that returns lines one by one. A line ends with LF or CRLF, and has at most *max_bytes* without that.

    The lines do not depend on how the data is cut into chunks. At most *max_bytes* of an unfinished line are held.
    """

    def __init__(self, max_bytes: int) -> None:
        self._ended = False
        """Whether the input has ended."""
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._searched = 0
        """Number of bytes of the buffer that hold no line end."""
        self._dropping = False
        """True within a line above the limit."""

    @property
    def buffered_bytes(self) -> int:
        """Number of bytes that have not been returned."""
        return len(self._buffer)

    def receive_data(self, data: bytes) -> None:
        """Add *data*."""
        if not self._ended:
            self._buffer += data

    def receive_eof(self) -> None:
        """End the data. An unfinished line becomes the last line."""
        self._ended = True

    def next_line(self) -> bytes | LineTooLong | None:
        """Return the next line without its end, or None if there is none yet, or ever if the input has ended.

        Return ``LINE_TOO_LONG`` in place of a line above the limit.
        """
        buffer = self._buffer
        while (end := buffer.find(_LF, self._searched)) >= 0:
            line = bytes(buffer[: end - 1] if end and buffer[end - 1] == _CR else buffer[:end])
            del buffer[: end + 1]
            self._searched = 0
            if self._dropping:
                self._dropping = False
            else:
                return line if len(line) <= self._max_bytes else LINE_TOO_LONG
        if self._dropping:
            buffer.clear()
        elif len(buffer) > self._max_bytes + 1:  # the last byte may be the CR of the line end
            buffer.clear()
            self._dropping = True
            self._searched = 0
            return LINE_TOO_LONG
        self._searched = len(buffer)
        if self._ended and buffer:
            line = bytes(buffer)
            buffer.clear()
            self._searched = 0
            return line if len(line) <= self._max_bytes else LINE_TOO_LONG
        return None
