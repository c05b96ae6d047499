"""The codec of the line door. It turns bytes into lines, and produces the telnet replies; no Twisted.

A line ends with CRLF, LF, CR or CR NUL (RFC 854 has CR LF and CR NUL). Telnet commands are removed first
(``telnet.py``), even between a CR and its LF. Editing keys change the unfinished line (``editing.py``).
"""

from __future__ import annotations

import re
from typing import Final

from broadcast.doors.line.editing import EDITING_KEYS, EOT, Edit, erase_character, erase_word
from broadcast.doors.line.telnet import Telnet

COMMANDS_PER_LINE: Final = 16
"""Maximum number of telnet commands and editing keys in one call of ``next_line``. They take some tens of microseconds.

Without a limit, 64 KiB of input can hold 32,768 commands and no line.
"""
_LF, _CR, _NUL = 10, 13, 0
_TEXT: Final = bytes(set(range(256)) - {_CR, _LF, *EDITING_KEYS})
_TEXT_AND_END: Final = re.compile(rb"([%b]*+)(?:\n|\r[\n\0]?)?" % re.escape(_TEXT))
"""Text up to a line end, with that line end, or up to an editing key or the end of the text.

The regular expression engine looks up the class of text in a table, so the editing keys cost ordinary text nothing.
``[^...]`` is slower, because it takes one more step for each byte.
"""
_NOT_PLAIN: Final = bytes({*EDITING_KEYS, _NUL})
SPLIT_BYTES: Final = 4096
"""Maximum length of a text that is split into all of its lines at once. It limits their memory, up to 20 times as much.

Most chunks are shorter. In a longer one, single steps for each line cost more time, but no more memory.
"""


class LineTooLong:
    """The type of ``LINE_TOO_LONG``, which stands for a line above the limit. The line was dropped."""


class Paused:
    """The type of ``PAUSED``, which asks for another call: the data received so far may hold another line."""


LINE_TOO_LONG: Final = LineTooLong()
PAUSED: Final = Paused()


class LineCodec:
    """A decoder that returns lines one by one, each with its own length limit.

    The lines do not depend on how the data is cut into chunks. The codec buffers the data that was received and not
    returned yet, at most ``max_bytes`` of an unfinished line, and two bytes of an unfinished telnet command.
    """

    def __init__(self) -> None:
        self._telnet = Telnet()
        self.receive_data = self._telnet.receive_data
        """Add bytes to decode."""
        self.data_to_send = self._telnet.data_to_send
        """Return the telnet replies to the lines returned so far, each once."""
        self.ended = False
        """Whether the input has ended: by ``receive_eof``, or because the client has said so. Then data is ignored."""
        self._lines: list[bytes] = []
        """Lines that come before ``_text``, the next one last."""
        self._text = b""
        self._pos = 0
        self._line = bytearray()
        self._dropping = False
        self._after_cr = False

    @property
    def negotiated(self) -> bool:
        """Whether the client has sent a request that only a telnet client sends."""
        return self._telnet.negotiated

    @property
    def has_unfinished_line(self) -> bool:
        """Whether input waits for its line end, after all lines were returned."""
        return bool(self._line) or self._dropping

    @property
    def buffered_bytes(self) -> int:
        """Number of bytes of input that have not been decoded yet. A line end of two bytes may count as one."""
        lines = sum(map(len, self._lines)) + len(self._lines)
        return lines + len(self._text) - self._pos + len(self._telnet.unparsed)

    def count_lines(self) -> int:
        """Return how many complete lines wait in the input that has not been decoded yet."""
        data = self._text[self._pos :] + self._telnet.unparsed
        ends = data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n")
        return len(self._lines) + ends - (self._after_cr and data[:1] == b"\n")

    def receive_eof(self) -> None:
        """End the data. An unfinished line becomes the last line."""
        self.ended = True

    def next_line(self, max_bytes: int) -> bytes | LineTooLong | Paused | None:
        """Return the next line without its end, or None if there is none yet, or ever if the input has ``ended``.

        Return ``LINE_TOO_LONG`` in place of a line above *max_bytes*. Return ``PAUSED`` after ``COMMANDS_PER_LINE``
        telnet commands and editing keys. Then the caller can send the replies and let other connections go first.
        """
        if self._lines:
            whole = self._lines.pop()
            return whole if len(whole) <= max_bytes else LINE_TOO_LONG
        commands = 0
        while commands < COMMANDS_PER_LINE:
            if self._pos < len(self._text):
                if (line := self._cut(max_bytes)) is not None:
                    return line
                commands += self._pos < len(self._text)  # it has stopped at an editing key
            elif (piece := self._telnet.next_piece()) is None:
                self._text, self._pos = b"", 0
                return self._take_line() if self.ended and self._line else None
            elif isinstance(piece, bytes):
                if self._is_plain(piece):
                    self._lines = piece.splitlines()[::-1]
                    whole = self._lines.pop()
                    return whole if len(whole) <= max_bytes else LINE_TOO_LONG
                commands += 1
                self._text, self._pos = piece, 0
            else:
                commands += 1
                self._edit(piece)
        return PAUSED

    def _is_plain(self, text: bytes) -> bool:
        """Return whether *text*, the next one, consists of whole lines without editing keys, and is short.

        Nearly all texts do. ``bytes.splitlines`` and this check together take half of the time of a step for one line.
        """
        return (
            text[-1] == _LF
            and len(text) <= SPLIT_BYTES
            and not (self._line or self._dropping or self._after_cr)
            and len(text.translate(None, _NOT_PLAIN)) == len(text)
        )

    def _cut(self, max_bytes: int) -> bytes | LineTooLong | None:
        """Advance past the next line end or editing key, or to the end of the text.

        Return the line that ended or grew too long.

        One match finds the text and its end, and one slice returns it if nothing was buffered. A search and a copy
        through the buffer would take twice the time, or three times for a chunk without a line end.
        """
        text, start = self._text, self._pos
        if self._after_cr:
            self._after_cr = False
            if text[start] in (_LF, _NUL):
                start += 1
        match = _TEXT_AND_END.match(text, start)
        assert match is not None  # it matches the empty string
        end, self._pos = match.end(1), match.end()
        if not self._dropping and len(self._line) + end - start > max_bytes:
            self._pos = end
            self._line.clear()
            self._dropping = True
            return LINE_TOO_LONG
        if self._pos == end:
            if not self._dropping:
                self._line += text[start:end]
            if end < len(text):
                self._press_key(text[end], max_bytes)
            return None
        self._after_cr = self._pos == len(text) and text[-1] == _CR
        if self._dropping:
            self._dropping = False
            return None
        if not self._line:
            return text[start:end]
        self._line += text[start:end]
        return self._take_line()

    def _take_line(self) -> bytes:
        """Return the buffered line, and empty the buffer."""
        line = bytes(self._line)
        self._line.clear()
        return line

    def _press_key(self, key: int, max_bytes: int) -> None:
        """Apply the editing key at the current position."""
        self._pos += 1
        if key == EOT and (self._line or self._dropping):
            if not self._dropping and len(self._line) < max_bytes:
                self._line.append(key)  # it is no key here but a control character, which no nickname holds
        else:
            self._edit(EDITING_KEYS[key])

    def _edit(self, edit: Edit) -> None:
        """Apply *edit* to the unfinished line."""
        match edit:
            case Edit.ERASE_LINE:
                self._line.clear()
                self._dropping = False
            case Edit.ERASE_WORD:
                erase_word(self._line)
            case Edit.ERASE_CHARACTER:
                erase_character(self._line)
            case Edit.END_INPUT:
                self.ended = True
                self._text, self._pos = b"", 0
                self._telnet.discard()
                self.receive_data = _ignore


def _ignore(data: bytes) -> None:
    """Ignore *data* after the end of the input."""
