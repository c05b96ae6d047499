"""The line protocol as a client reads it: bytes in, what they mean out; no connection, no clock.

The rules are those of ``docs/protocol.rst``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from unicodedata import category

NICKNAME: Final = "Nickname: "
"""The prompt for the nickname."""
LINE_BYTES: Final = 4096
"""The longest line that a server takes, in bytes of UTF-8 without its end."""
HELD: Final = 65536
"""So many bytes of one line are read; what is behind them, up to the line's end, is dropped."""


@dataclass(frozen=True, slots=True)
class Said:
    """*nick* said *text*."""

    nick: str
    text: str
    time: str = ""
    """When, as the server wrote it: ``14:02`` or ``2026-01-31 14:02``; empty where it did not."""
    own: bool = False
    """Whether it is one's own line. Only ``Connection`` knows; no server sends people their own lines."""

    def __str__(self) -> str:
        """The line without its time."""
        return f"{self.nick}: {self.text}"


@dataclass(frozen=True, slots=True)
class Emoted:
    """*nick* does *text*; otherwise as ``Said``."""

    nick: str
    text: str
    time: str = ""
    own: bool = False

    def __str__(self) -> str:
        """The line without its time."""
        return f"** {self.nick} {self.text}"


@dataclass(frozen=True, slots=True)
class Whispered:
    """*nick* writes to you alone."""

    nick: str
    text: str


@dataclass(frozen=True, slots=True)
class Joined:
    """Somebody came."""

    nick: str


@dataclass(frozen=True, slots=True)
class Left:
    """Somebody left; *why* is empty where they gave no reason."""

    nick: str
    why: str


@dataclass(frozen=True, slots=True)
class Renamed:
    """*nick* is called *new* from here on."""

    nick: str
    new: str


@dataclass(frozen=True, slots=True)
class Crowd:
    """So many came (or left) at once that they are not named."""

    count: int
    joined: bool


@dataclass(frozen=True, slots=True)
class Missed:
    """You did not see the lines *first* to *last*."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Answer:
    """One line of the answer to a command of yours."""

    text: str


@dataclass(frozen=True, slots=True)
class Recalled:
    """One line of the answer to ``/history`` or ``/search``: what was said under the number *seq*."""

    seq: int
    line: Said | Emoted


@dataclass(frozen=True, slots=True)
class Error:
    """Refused, and why; nothing was changed."""

    text: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """Your line is kept under the number *seq*."""

    seq: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """You are in the room. *names* are at most twenty of the *others*."""

    nick: str
    names: tuple[str, ...]
    others: int


@dataclass(frozen=True, slots=True)
class Entered:
    """The client has moved to *room*. *names* and *others* are as in ``Arrived``."""

    room: str
    names: tuple[str, ...]
    others: int


@dataclass(frozen=True, slots=True)
class Notice:
    """Anything else that the server says: the welcome, the message of the day, an announcement, the goodbye."""

    text: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """The server waits for a line: *text* as it stands in front of it, with the blank."""

    text: str


Kept = Said | Emoted
Event = (
    Said
    | Emoted
    | Whispered
    | Joined
    | Left
    | Renamed
    | Crowd
    | Missed
    | Answer
    | Recalled
    | Error
    | Receipt
    | Arrived
    | Entered
    | Notice
)

_TIME: Final = r"(?:\[(?P<time>(?:\d{4}-\d\d-\d\d )?\d\d:\d\d)\] )?"
# Nicknames hold neither blanks nor colons, and begin with no asterisk and no bracket.
_said: Final = re.compile(_TIME + r"(?P<nick>[^\s:*\[][^\s:]*): (?P<text>.*)", re.DOTALL)
_emoted: Final = re.compile(_TIME + r"\*\* (?P<nick>[^\s:]+) (?P<text>.*)", re.DOTALL)
_whispered: Final = re.compile(r"\[([^\s:\]]+)\] (.*)", re.DOTALL)
_recalled: Final = re.compile(r"#(\d{1,18}) (\[.*)", re.DOTALL)
_receipt: Final = re.compile(r"#(\d{1,18})")
_joined: Final = re.compile(r"([^\s:]+) joined\.")
_left: Final = re.compile(r"([^\s:]+) left(?:\.|: (.*))", re.DOTALL)
_renamed: Final = re.compile(r"([^\s:]+) is now ([^\s:]+)\.")
_crowd: Final = re.compile(r"(\d{1,9}) people (joined|left)\.")
_missed: Final = re.compile(r"You missed \d+ lines? \(#(\d{1,18})(?:-#(\d{1,18}))?\)\.")
_others: Final = (
    r"(?:Nobody else is here|(\d{1,9}) others? (?:is|are) here: ([^\s,:]+(?:, [^\s,:]+)*)(?: and \d+ more)?)\."
)
_arrived: Final = re.compile(rf" \* You are ([^\s:]+)\. {_others}(?: .*)?", re.DOTALL)
_entered: Final = re.compile(rf"You are in ([a-z0-9_-]{{1,32}})\. {_others}")
_password: Final = re.compile(r"[^:\r\n]{0,60}password[^:\r\n]{0,60}: ", re.IGNORECASE)


def spoken(line: str) -> Kept | None:
    """What somebody said or did, if that is what *line* shows; perhaps with its time."""
    if match := _emoted.fullmatch(line):
        return Emoted(match["nick"], match["text"], match["time"] or "")
    if match := _said.fullmatch(line):
        return Said(match["nick"], match["text"], match["time"] or "")
    return None


def classify(line: str) -> Event:
    """What *line* (without its end), read in the room, tells."""
    if line.startswith("-> "):
        return _answer(line[3:])
    if line.startswith(" * "):
        return _notice(line[3:])
    if (event := spoken(line)) is not None:
        return event
    if match := _whispered.fullmatch(line):
        return Whispered(match[1], match[2])
    return Notice(line)


def _answer(text: str) -> Event:
    if text.startswith("Error: "):
        return Error(text[7:])
    if match := _receipt.fullmatch(text):
        return Receipt(int(match[1]))
    if (match := _recalled.fullmatch(text)) and (line := spoken(match[2])) is not None:
        return Recalled(int(match[1]), line)
    return Answer(text)


def _notice(text: str) -> Event:  # noqa: PLR0911 -- a table
    if match := _joined.fullmatch(text):
        return Joined(match[1])
    if match := _left.fullmatch(text):
        return Left(match[1], match[2] or "")
    if match := _renamed.fullmatch(text):
        return Renamed(match[1], match[2])
    if match := _crowd.fullmatch(text):
        return Crowd(int(match[1]), match[2] == "joined")
    if match := _missed.fullmatch(text):
        return Missed(int(match[1]), int(match[2] or match[1]))
    if match := _entered.fullmatch(text):
        return Entered(match[1], tuple(match[3].split(", ")) if match[3] else (), int(match[2] or 0))
    return Notice(text)


def _arrival(line: str) -> Event:
    """What *line*, read before one is in the room, tells: nothing in it is said by anybody."""
    if match := _arrived.fullmatch(line):
        return Arrived(match[1], tuple(match[3].split(", ")) if match[3] else (), int(match[2] or 0))
    if line.startswith("-> Error: "):
        return Error(line[10:])
    return Notice(line.removeprefix(" * "))


class Reader:
    """Bytes are fed; out comes what they mean, however they were cut into chunks.

    Prompts come only before one has arrived: they are the only thing without a line end, and may be told again where a
    line of the message of the day looks like one.
    """

    def __init__(self) -> None:
        self.arrived = False
        """Whether one is in the room, as far as has been taken out."""
        self._line = bytearray()
        self._dropping = False

    def feed(self, data: bytes) -> Iterator[Event | Prompt]:
        """What has become whole with *data*; to be used up before the next call."""
        *whole, rest = data.split(b"\n")
        for end in whole:
            self._hold(end)
            raw = bytes(self._line)
            self._line.clear()
            self._dropping = False
            yield from self._read(raw.removesuffix(b"\r").decode("utf-8", "replace"))
        self._hold(rest)
        if not self.arrived and self._line.endswith(b": "):
            tail = self._line.decode("utf-8", "replace")
            if tail == NICKNAME or (_password.fullmatch(tail) and not tail.startswith("-> ")):
                self._line.clear()
                yield Prompt(tail)

    def _hold(self, piece: bytes) -> None:
        if not self._dropping:
            self._line += piece[: HELD - len(self._line) + 1]
            if len(self._line) > HELD:
                del self._line[HELD:]
                self._dropping = True

    def _read(self, line: str) -> Iterator[Event | Prompt]:
        if self.arrived:
            yield classify(line)
            return
        while line.startswith(NICKNAME):
            line = line.removeprefix(NICKNAME)
            yield Prompt(NICKNAME)
        event = _arrival(line)
        self.arrived = isinstance(event, Arrived)
        yield event


FLAGS: Final = re.compile("(\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f)")
"""The flags of regions such as Scotland, the only characters in which tags remain. ``split`` returns them as well."""
_MARKS: Final = 8
_JOINERS: Final = "\u200c\u200d"


def printable(text: str) -> str:
    """*text*, a line without its end, as it may be written to a terminal: it is shown as text, whatever it holds.

    A TAB becomes a blank. Controls (C0, DEL, C1), what reorders a line (bidi marks, overrides, isolates), line and
    paragraph separators, what has no width (but ZWNJ and ZWJ, which many scripts need), tags (but those of flags) and
    surrogates become U+FFFD each; of the combining marks on one letter, eight stay. The server of this project sends
    none of that; others might. Doing it again changes nothing.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(part if FLAGS.fullmatch(part) else _shown(part) for part in FLAGS.split(text))


def _shown(text: str) -> str:
    """Return *text*, which contains no flag, as ``printable`` does."""
    shown = []
    marks = 0
    for character in text.replace("\t", " "):
        kind = category(character)
        if kind in {"Mn", "Me"}:
            marks += 1
            if marks > _MARKS:
                continue
        elif kind != "Mc" and character not in _JOINERS:
            marks = 0
        harmless = kind not in {"Cc", "Cs", "Zl", "Zp"} and (kind != "Cf" or character in _JOINERS)
        shown.append(character if harmless else "\ufffd")
    return "".join(shown)
