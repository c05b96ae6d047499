"""Telnet: bytes in; stretches of text, what erases text, and the answers that commands want, out; no Twisted in it.

Byte 255 is IAC, which begins a command (RFC 854). This side begins no negotiation and agrees to none: DO is refused
with WONT, WILL with DONT. As everything is off and stays off, there is nothing to remember about an option (RFC 1143
has a state for each that may be on).

What answers there are:

* A refusal for each DO and WILL, but at most ``REPEATED`` for the same one. Who was refused is not to ask again before
  something has changed (RFC 854), so whoever goes on is in a loop or a storm, and silence ends it: a refusal changes
  nothing, and neither does leaving it out.
* WONT for every DO TIMING-MARK: it asks how far the input was worked on, each one anew (RFC 860), and a telnet client
  whose user interrupts shows nothing until it knows.
* ``HERE`` for every Are You There.
* None for what is off anyway (DONT, WONT), and none to what is unknown.

However the bytes are cut into chunks, the same text, erasures and answers come out, in the same order.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final, TypeAlias

MAX_REFUSALS: Final = 10
"""So often the same request is refused; after that it is passed over."""
AYT_REPLY: Final = b"[yes]\r\n"
"""What an Are You There is answered with: visible evidence that we are (RFC 854)."""

_IAC, _DONT, _DO, _WONT, _WILL, _SB = 255, 254, 253, 252, 251, 250
_EL, _EC, _AYT, _IP, _BRK, _SE = 248, 247, 246, 244, 243, 240
_TIMING_MARK = 6

# Whole commands; where none of them matches, its end is still to come. A run of what asks for nothing is one match, as
# is one of escaped 255s: a storm of them costs no more than text.
_COMMAND: Final = re.compile(
    rb"(?P<text>(?:\xff\xff)++)"
    rb"|(?P<nothing>(?:\xff(?:[\x00-\xf2\xf5\xf9]|[\xfc\xfe].))++)"
    rb"|\xff(?P<request>[\xfb\xfd].)"
    rb"|\xff(?P<command>[\xf3\xf4\xf6-\xf8\xfa])",
    re.DOTALL,
)
_SUBNEGOTIATION: Final = re.compile(rb"(?:[^\xff]++|\xff\xff)*+")
"""What belongs to it, up to the IAC that ends it."""


class Edit(Enum):
    """What a command means for the text before it."""

    NOTHING = auto()
    """Nothing; it may have been answered."""
    ERASE_CHARACTER = auto()
    """Take back the last character."""
    ERASE_LINE = auto()
    """Take back what was typed of the line: Erase Line, and also Interrupt Process and Break."""


Piece: TypeAlias = bytes | Edit


class Telnet:
    """Pieces are taken out one by one; each costs some microseconds, and the time for what it passes over in C.

    Held are at most what was fed and not taken out yet, and two bytes of an unfinished command.
    """

    def __init__(self) -> None:
        self.negotiated = False
        """Whether the other side has asked for anything (DO, WILL): it is a telnet client, and takes commands.

        A DONT or WONT to who has asked for nothing is no sign of that: 255 254 is how a text in UTF-16 begins.
        """
        self._raw = b""
        self._pos = 0
        self._in_subnegotiation = False
        self._refused = bytearray()  # how often each request was; nothing where nobody negotiates
        self._answers = bytearray()

    def receive_data(self, data: bytes) -> None:
        """Take *data* in."""
        self._raw = self._raw[self._pos :] + data if self._raw else data
        self._pos = 0

    def data_to_send(self) -> bytes:
        """The answers to what has been taken out so far, each once."""
        if not self._answers:
            return b""
        answers = bytes(self._answers)
        self._answers.clear()
        return answers

    def next_piece(self) -> Piece | None:
        """The next stretch of text, not empty, or what a command means for what was typed; None: no more yet."""
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
        """Take the command, or the run of such that mean the same, that begins here."""
        command = _COMMAND.match(self._raw, self._pos)
        if command is None:
            self._keep_unfinished()
            return None
        self._pos = command.end()
        match command.lastgroup:
            case "text":
                return command[0][::2]
            case "request":
                self._refuse(*command["request"])
            case "command":
                return self._do(command["command"][0])
        return Edit.NOTHING

    def _do(self, command: int) -> Edit:
        """Do what *command*, the byte behind the IAC, asks for."""
        if command == _EC:
            return Edit.ERASE_CHARACTER
        if command in (_EL, _IP, _BRK):
            return Edit.ERASE_LINE
        if command == _AYT:
            self._answers += AYT_REPLY
        else:
            assert command == _SB
            self._in_subnegotiation = True
        return Edit.NOTHING

    def _refuse(self, verb: int, option: int) -> None:
        """Refuse the request *verb* for *option*, unless that was said often enough."""
        self.negotiated = True
        if verb == _DO and option == _TIMING_MARK:
            self._answers += bytes((_IAC, _WONT, option))
            return
        if not self._refused:
            self._refused = bytearray(2 * 256)
        request = option if verb == _DO else 256 + option
        if self._refused[request] < MAX_REFUSALS:
            self._refused[request] += 1
            self._answers += bytes((_IAC, _WONT if verb == _DO else _DONT, option))

    def _subnegotiation(self) -> Piece | None:
        """Pass over what belongs to a subnegotiation, and the IAC SE behind it.

        Another command ends it too, as if IAC SE had stood before it: who has forgotten that is still understood.
        """
        raw = self._raw
        passed = _SUBNEGOTIATION.match(raw, self._pos)
        assert passed is not None  # it matches the empty string
        self._pos = passed.end()
        if len(raw) - self._pos < 2:
            self._keep_unfinished()
            return None
        self._in_subnegotiation = False
        if raw[self._pos + 1] == _SE:
            self._pos += 2
        return Edit.NOTHING

    def _keep_unfinished(self) -> None:
        """Hold only what a command's end is still to come for."""
        self._raw, self._pos = self._raw[self._pos :], 0
