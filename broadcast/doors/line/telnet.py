"""A telnet parser: it turns bytes into text and editing commands, and produces the replies; no Twisted.

Byte 255 is IAC, which begins a command (RFC 854). The server begins no negotiation and agrees to none: it answers DO
with WONT and WILL with DONT. All options stay off, so no state per option is needed (RFC 1143 has one for each option
that may be on).

The replies are:

* A rejection of each DO and WILL, at most ``MAX_REFUSALS`` times for the same request. A client must not repeat a
  rejected request before something has changed (RFC 854). A client that does is in a loop, which ends if there is no
  reply. A rejection changes no state, so neither does a missing one.
* WONT for every DO TIMING-MARK. The client asks whether its input up to this point has been handled (RFC 860). After an
  interrupt by the user, telnet clients show no output until they have this reply.
* ``AYT_REPLY`` for every Are You There.
* None for DONT and WONT, because all options are off already, and none for unknown commands.

The text, editing commands and replies, and their order, do not depend on how the bytes are cut into chunks.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from broadcast.doors.line.editing import Edit

MAX_REFUSALS: Final = 10
"""Maximum number of replies to the same request. Further ones are ignored."""
AYT_REPLY: Final = b"[yes]\r\n"
"""The reply to Are You There: visible evidence that the server is up (RFC 854)."""

_IAC, _DONT, _DO, _WONT, _WILL, _SB = 255, 254, 253, 252, 251, 250
_EL, _EC, _AYT, _IP, _BRK, _SE, _EOF = 248, 247, 246, 244, 243, 240, 236
_TIMING_MARK = 6

# Complete commands; no match means that the end of the command is missing. A run of commands without effect is one
# match, and so is a run of escaped 255s. Therefore a flood of them costs no more than text.
_COMMAND: Final = re.compile(
    rb"(?P<text>(?:\xff\xff)++)"
    rb"|(?P<nothing>(?:\xff(?:[\x00-\xeb\xed-\xf2\xf5\xf9]|[\xfc\xfe].))++)"
    rb"|\xff(?P<request>[\xfb\xfd].)"
    rb"|\xff(?P<command>[\xec\xf3\xf4\xf6-\xf8\xfa])",
    re.DOTALL,
)
_SUBNEGOTIATION: Final = re.compile(rb"(?:[^\xff]++|\xff\xff)*+")
"""The contents of a subnegotiation, up to the IAC that ends it."""


Piece: TypeAlias = bytes | Edit


class Telnet:
    """A parser that returns pieces one by one. Each takes a few microseconds, plus the time of a scan in C.

    The parser buffers the data that was received and not returned yet, and two bytes of an unfinished command.
    """

    def __init__(self) -> None:
        self.negotiated = False
        """Whether the client has sent a request (DO or WILL). Then it is a telnet client and understands commands.

        DONT and WONT prove nothing, because the server has made no request: a text in UTF-16 begins with 255 254.
        """
        self._raw = b""
        self._pos = 0
        self._in_subnegotiation = False
        self._reject_counts: bytearray | None = None  # number of replies per request; None before the first
        self._replies = b""

    @property
    def unparsed(self) -> bytes:
        """The data that was received and not returned yet."""
        return self._raw[self._pos :]

    def receive_data(self, data: bytes) -> None:
        """Add *data* to parse."""
        self._raw = self._raw[self._pos :] + data if self._raw else data
        self._pos = 0

    def discard(self) -> None:
        """Discard the data that was received and not returned yet."""
        self._raw, self._pos = b"", 0

    def data_to_send(self) -> bytes:
        """Return the replies to the pieces returned so far, each once."""
        if not self._replies:
            return b""
        replies, self._replies = self._replies, b""
        return replies

    def next_piece(self) -> Piece | None:
        """Return the next text (not empty) or the effect of the next command; None if there is none yet."""
        raw, pos = self._raw, self._pos
        if not raw:
            return None
        if self._in_subnegotiation:
            return self._subnegotiation()
        end = raw.find(_IAC, pos)
        if end == pos:
            return self._command()
        if end < 0:
            self._raw, self._pos = b"", 0
            return raw[pos:] or None
        self._pos = end
        return raw[pos:end]

    def _command(self) -> Piece | None:
        """Handle the command, or the run of equal commands, at the current position."""
        command = _COMMAND.match(self._raw, self._pos)
        if command is None:
            self._buffer_unfinished()
            return None
        self._pos = command.end()
        match command.lastgroup:
            case "text":
                return command[0][::2]
            case "request":
                self._reject(*command["request"])
            case "command":
                return self._execute(command["command"][0])
        return Edit.NOTHING

    def _execute(self, command: int) -> Edit:
        """Execute *command*, the byte after IAC."""
        if command == _EC:
            return Edit.ERASE_CHARACTER
        if command in (_EL, _IP, _BRK):
            return Edit.ERASE_LINE
        if command == _EOF:
            return Edit.END_INPUT
        if command == _AYT:
            self._replies += AYT_REPLY
        else:
            assert command == _SB
            self._in_subnegotiation = True
        return Edit.NOTHING

    def _reject(self, verb: int, option: int) -> None:
        """Reject the request *verb* for *option*, unless it was rejected ``MAX_REFUSALS`` times."""
        self.negotiated = True
        if verb == _DO and option == _TIMING_MARK:
            self._replies += bytes((_IAC, _WONT, option))
            return
        if self._reject_counts is None:
            self._reject_counts = bytearray(2 * 256)
        request = option if verb == _DO else 256 + option
        if self._reject_counts[request] < MAX_REFUSALS:
            self._reject_counts[request] += 1
            self._replies += bytes((_IAC, _WONT if verb == _DO else _DONT, option))

    def _subnegotiation(self) -> Piece | None:
        """Skip the rest of a subnegotiation, with the IAC SE after it.

        Another command ends it too, so that a client that forgets IAC SE is still understood.
        """
        raw = self._raw
        contents = _SUBNEGOTIATION.match(raw, self._pos)
        assert contents is not None  # it matches the empty string
        self._pos = contents.end()
        if len(raw) - self._pos < 2:
            self._buffer_unfinished()
            return None
        self._in_subnegotiation = False
        if raw[self._pos + 1] == _SE:
            self._pos += 2
        return Edit.NOTHING

    def _buffer_unfinished(self) -> None:
        """Buffer only the unfinished command."""
        self._raw, self._pos = self._raw[self._pos :], 0
