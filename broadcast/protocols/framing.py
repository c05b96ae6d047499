"""Bytes in; lines out, and the answers that telnet wants: the codec of the line door, with no Twisted in it.

A line ends with CRLF, LF, CR or CR NUL (PROTOCOL; RFC 854 has CR LF and CR NUL). Byte 255 is always telnet's IAC. What
the other side wants to negotiate is understood and refused: DO with WONT, WILL with DONT (RFC 854, RFC 1143).
"""

from __future__ import annotations

import re
from enum import Enum, auto

_IAC, _DONT, _DO, _WONT, _WILL, _SB = 255, 254, 253, 252, 251, 250
_EL, _EC, _AYT, _IP, _BRK = 248, 247, 246, 244, 243
_LF, _CR, _NUL = 10, 13, 0
_REFUSAL = {_DO: _WONT, _WILL: _DONT}
_STRETCH = re.compile(rb"([^\r\n\xff]*+)(?:\n|\r[\n\0]?)?")
"""Text, and the line end behind it unless it ends at an IAC or with the chunk."""
_HERE = b"[yes]\r\n"
"""What an Are You There is answered with: visible evidence that we are (RFC 854)."""


class _Telnet(Enum):
    """Where in a telnet command the input stands."""

    TEXT = auto()
    COMMAND = auto()
    OPTION = auto()
    SUBNEGOTIATION = auto()
    SUBNEGOTIATION_COMMAND = auto()


class Overlong:
    """Stands for a line that was longer than the limit, and was dropped."""


OVERLONG = Overlong()


class LineCodec:
    """Lines are taken out one by one, each with the limit that holds for it; it makes no difference how they came in.

    Held are at most what was fed and not taken out yet, and ``limit`` + 1 bytes of an unfinished line.
    """

    def __init__(self) -> None:
        self._raw = b""
        self._pos = 0
        self._line = bytearray()
        self._dropping = False
        self._after_cr = False
        self._ended = False
        self._telnet = _Telnet.TEXT
        self._verb = 0
        self._answers = bytearray()

    def feed(self, data: bytes) -> None:
        """Take *data* in."""
        self._raw = self._raw[self._pos :] + data if self._pos < len(self._raw) else data
        self._pos = 0

    def finish(self) -> None:
        """Nothing more will be fed: an unfinished line counts."""
        self._ended = True

    def answers(self) -> bytes:
        """The telnet answers to what has been taken out so far, each once."""
        answers = bytes(self._answers)
        self._answers.clear()
        return answers

    def take(self, limit: int) -> bytes | Overlong | None:
        """The next line without its end; ``OVERLONG`` in place of one of more than *limit* bytes; None: no more yet."""
        while self._pos < len(self._raw):
            if self._telnet is not _Telnet.TEXT:
                self._command(self._raw[self._pos])
            elif (line := self._text(limit)) is not None:
                return line
        self._raw, self._pos = b"", 0
        if self._ended and self._line:
            # A last IAC IAC may have made it too long, and nothing came behind it to notice that.
            return self._drop() if len(self._line) > limit else self._finished()
        return None

    def _text(self, limit: int) -> bytes | Overlong | None:
        """Go on to the next line end or IAC, or to the end of the chunk; the line that ended there, or grew too long.

        One match for the text and its end, and a slice where nothing was held: half the time of a search for the end
        and a copy through the buffer, and a chunk without an end is passed three times as fast.
        """
        raw, start = self._raw, self._pos
        if self._after_cr:
            self._after_cr = False
            if raw[start] in (_LF, _NUL):
                start += 1
        stretch = _STRETCH.match(raw, start)
        assert stretch is not None  # it matches the empty string
        end, self._pos = stretch.end(1), stretch.end()
        if not self._dropping and len(self._line) + end - start > limit:
            self._pos = end
            return self._drop()
        if self._pos == end:
            if not self._dropping:
                self._line += raw[start:end]
            if end < len(raw):
                self._pos += 1
                self._telnet = _Telnet.COMMAND
            return None
        self._after_cr = self._pos == len(raw) and raw[-1] == _CR
        if self._dropping:
            self._dropping = False
            return None
        if not self._line:
            return raw[start:end]
        self._line += raw[start:end]
        return self._finished()

    def _drop(self) -> Overlong:
        """Forget the line, and what comes up to its end."""
        self._line.clear()
        self._dropping = True
        return OVERLONG

    def _finished(self) -> bytes:
        line = bytes(self._line)
        self._line.clear()
        return line

    def _command(self, byte: int) -> None:
        """Go one byte further in a telnet command, or to the next IAC in a subnegotiation."""
        if self._telnet is _Telnet.SUBNEGOTIATION:
            end = self._raw.find(_IAC, self._pos)
            if end < 0:
                self._pos = len(self._raw)
            else:
                self._pos = end + 1
                self._telnet = _Telnet.SUBNEGOTIATION_COMMAND
            return
        self._pos += 1
        if self._telnet is _Telnet.OPTION:
            self._telnet = _Telnet.TEXT
            if self._verb in _REFUSAL:
                self._answers += bytes((_IAC, _REFUSAL[self._verb], byte))
        elif self._telnet is _Telnet.SUBNEGOTIATION_COMMAND and byte == _IAC:
            self._telnet = _Telnet.SUBNEGOTIATION
        else:
            # A command inside a subnegotiation ends it, as if IAC SE had stood before it.
            self._telnet = _Telnet.TEXT
            self._begin(byte)

    def _begin(self, command: int) -> None:
        """Do what *command*, the byte after an IAC, asks for; an unknown one asks for nothing."""
        if command == _IAC:
            if not self._dropping:
                self._line.append(_IAC)
        elif command in (_DO, _DONT, _WILL, _WONT):
            self._verb = command
            self._telnet = _Telnet.OPTION
        elif command == _SB:
            self._telnet = _Telnet.SUBNEGOTIATION
        elif command == _AYT:
            self._answers += _HERE
        elif command in (_EL, _IP, _BRK):
            self._line.clear()
            self._dropping = False
        elif command == _EC:
            self._erase()

    def _erase(self) -> None:
        """Take the last character off the line: its last byte, and while that was a UTF-8 continuation, one more."""
        while self._line and self._line.pop() & 0xC0 == 0x80:
            pass
