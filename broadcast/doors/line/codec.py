"""Bytes in; lines out, and the answers that telnet wants: the codec of the line door, with no Twisted in it.

A line ends with CRLF, LF, CR or CR NUL (PROTOCOL; RFC 854 has CR LF and CR NUL). What telnet puts between the bytes of
a line, even between its CR and its LF, is taken out first (``telnet.py``).
"""

from __future__ import annotations

import re
from typing import Final

from broadcast.doors.line.telnet import Edit, Telnet

COMMANDS_PER_LINE: Final = 16
"""So many pieces of telnet are worked on for one line, in some tens of microseconds; then ``take`` wants a pause.

64 KiB can hold 32,768 of them and no line at all.
"""
_LF, _CR, _NUL = 10, 13, 0
_STRETCH: Final = re.compile(rb"([\x00-\x09\x0b\x0c\x0e-\xff]*+)(?:\n|\r[\n\0]?)?")
"""Text, and the line end behind it unless it ends with the stretch.

A class of three ranges is looked up in a table; ``[^\\r\\n]`` is compared twice for each byte, which takes longer.
"""


class LineTooLong:
    """Stands for a line that was longer than the limit, and was dropped."""


class Paused:
    """Stands for no line: there may be one in what was fed already, and ``take`` is to be called again for it."""


LINE_TOO_LONG: Final = LineTooLong()
PAUSED: Final = Paused()


class LineCodec:
    """Lines are taken out one by one, each with the limit that holds for it; it makes no difference how they came in.

    Held are at most what was fed and not taken out yet, ``limit`` bytes of an unfinished line, and two of an
    unfinished telnet command.
    """

    def __init__(self) -> None:
        self._telnet = Telnet()
        self.receive_data = self._telnet.receive_data
        """Take bytes in."""
        self.data_to_send = self._telnet.data_to_send
        """The telnet answers to what has been taken out so far, each once."""
        self._text = b""
        self._pos = 0
        self._line = bytearray()
        self._dropping = False
        self._after_cr = False
        self._ended = False

    @property
    def negotiated(self) -> bool:
        """Whether the other side has asked for anything that only a telnet client asks for."""
        return self._telnet.negotiated

    def receive_eof(self) -> None:
        """Nothing more will be fed: an unfinished line counts."""
        self._ended = True

    def next_line(self, max_bytes: int) -> bytes | LineTooLong | Paused | None:
        """The next line without its end; ``OVERLONG`` in place of one of more than *limit* bytes; None: no more yet.

        ``AGAIN`` after so many telnet commands that others should have their turn, and the answers be sent.
        """
        pieces = 0
        while True:
            if self._pos < len(self._text):
                if (line := self._cut(max_bytes)) is not None:
                    return line
            elif pieces == COMMANDS_PER_LINE:
                return PAUSED
            elif (piece := self._telnet.next_piece()) is None:
                self._text, self._pos = b"", 0
                return self._finished() if self._ended and self._line else None
            else:
                pieces += 1
                if isinstance(piece, bytes):
                    self._text, self._pos = piece, 0
                elif piece is Edit.ERASE_LINE:
                    self._line.clear()
                    self._dropping = False
                elif piece is Edit.ERASE_CHARACTER:
                    self._erase()

    def _cut(self, limit: int) -> bytes | LineTooLong | None:
        """Go on to the next line end, or to the end of the stretch; the line that ended there, or grew too long.

        One match for the text and its end, and a slice where nothing was held: half the time of a search for the end
        and a copy through the buffer, and a chunk without an end is passed three times as fast.
        """
        text, start = self._text, self._pos
        if self._after_cr:
            self._after_cr = False
            if text[start] in (_LF, _NUL):
                start += 1
        stretch = _STRETCH.match(text, start)
        assert stretch is not None  # it matches the empty string
        end, self._pos = stretch.end(1), stretch.end()
        if not self._dropping and len(self._line) + end - start > limit:
            self._pos = end
            self._line.clear()
            self._dropping = True
            return LINE_TOO_LONG
        if self._pos == end:
            if not self._dropping:
                self._line += text[start:end]
            return None
        self._after_cr = self._pos == len(text) and text[-1] == _CR
        if self._dropping:
            self._dropping = False
            return None
        if not self._line:
            return text[start:end]
        self._line += text[start:end]
        return self._finished()

    def _finished(self) -> bytes:
        line = bytes(self._line)
        self._line.clear()
        return line

    def _erase(self) -> None:
        """Take the last character off the line: its last byte, and while that was a UTF-8 continuation, one more."""
        while self._line and self._line.pop() & 0xC0 == 0x80:
            pass
