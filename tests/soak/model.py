"""A model of the line door: what each reader must receive. It knows no sockets and shares no code with the server.

One reader, the *reference*, joins first, never speaks and hides joins and leaves. The lines that it receives are the
*log*. Every other reader receives the log from its arrival to its departure, byte for byte, except for

* its own lines; a receipt stands in the place of each, if it asked for receipts;
* private lines (replies and private messages), between any two other lines;
* the lines that a gap notice names: `` * You missed N lines (#a-#b).``

The log itself must hold what its authors said: each line unchanged, in the order of its author, none lost, none
twice. At the end it is compared with the journal. Readers that see joins and leaves have a log of their own, whose
other lines must be those of the first.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple, TypeAlias

OnPrivate: TypeAlias = Callable[[str, Sequence[bytes]], None]
END = b"\r\n"
WELCOME = b"Welcome to Broadcast.\r\n"
PROMPT = b"Nickname: "
REPLAY = 20
"""Number of lines that the server shows to a newcomer."""
_NICK = rb"([A-Za-z0-9_.-]{1,24})"
_TIME = rb"\[(?:\d{4}-\d\d-\d\d )?\d\d:\d\d\] "
_SAID = re.compile(_NICK + rb": ([^\r\n]+)\r\n")
_EMOTED = re.compile(rb"\*\* " + _NICK + rb" ([^\r\n]+)\r\n")
_RENAMED = re.compile(rb" \* " + _NICK + rb" is now " + _NICK + rb"\.\r\n")
_PASSAGE = re.compile(rb" \* (?:(\d+) people|" + _NICK + rb") (?:(joined)|left)(?:\.|: ([^\r\n]+))\r\n")
_ARRIVED = re.compile(
    rb" \* You are " + _NICK + rb"\. (?:Nobody else is here|(\d+) others? (?:is|are) here: [^\r\n]+)\."
    rb" /help lists the commands, quit leaves\.\r\n"
)
_REPLAYED = re.compile(_TIME + rb"(.+\r\n)")
_PRIVATE = re.compile(rb"\[" + _NICK + rb"\] ([^\r\n]+)\r\n")
_MISSED = re.compile(rb" \* You missed (\d+) lines? \(#(\d+)-#(\d+)\)\.\r\n")
_RECEIPT = re.compile(rb"-> #(\d+)\r\n")
_RECALLED = re.compile(rb"#(\d+) " + _TIME + rb"(.+)")
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Unexplained(Exception):
    """A reader received a line that it should not have, or lacks one. The text is the first difference."""


class Remark(NamedTuple):
    """A line that an author has sent."""

    emoted: bool
    text: bytes
    at: float = 0.0
    """When it was sent, in seconds; 0: its latency is not measured."""
    receipt: bool = False
    """Whether the author gets a receipt."""


@dataclass(slots=True, eq=False)
class Author:
    """One visit as other readers see it."""

    nick: bytes
    log: Log | None = None
    """The log that this visit reads; None: what it reads is not checked."""
    free: bool = False
    """Whether it sends random bytes, so that its lines cannot be predicted."""
    receipts: bool = False
    """Whether receipts are on now."""
    said: int = 0
    unseen: deque[Remark] = field(default_factory=deque)
    """Lines that it has sent and that the log does not hold yet."""
    renames: deque[bytes] = field(default_factory=deque)
    """Nicknames that it has asked for, likewise."""
    own: dict[int, int] = field(default_factory=dict)
    """Its own lines, as indexes in the log, and for each the index of the receipt in its place (-1: none)."""
    receipted: list[int] = field(default_factory=list)
    """The numbers of its lines that have a receipt."""
    left_well: bool = False
    """Whether it left in a way that loses none of its lines."""
    reset: bool = False
    """Whether it has reset its connection: the server then says the part of a line that has arrived."""
    cut: bool = False
    """Whether the log holds such a part; it is the last line."""

    def next_remark(self, remark: Remark) -> Remark:
        """Remove and return its next unseen line, which must be *remark*."""
        if self.cut or not self.unseen:
            raise Unexplained(f"{_shown(self.nick)} has said everything, but {_shown(remark.text)} is shown")
        expected = self.unseen.popleft()
        if expected[:2] == remark[:2]:
            return expected
        # The cut may be within a character, which the server replaces.
        start = remark.text.removesuffix("\ufffd".encode())
        self.cut = self.reset and expected.emoted == remark.emoted and expected.text.startswith(start)
        if not self.cut:
            raise Unexplained(
                f"{_shown(self.nick)} said {_shown(expected.text)} next, but {_shown(remark.text)} is shown"
            )
        return expected


class Log:
    """The lines that one kind of reader sees, from the first one on. Stored lines have dense numbers, from 1."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.places: list[int] = []
        """Indexes of the numbered lines; all others are notices."""
        self.owners: dict[bytes, Author] = {}
        self.at = 0.0
        """When the last line was sent; 0: its latency is not measured."""
        self.strangers = 0
        """Number of lines from unpredictable authors. Random bytes may happen to be a nickname."""
        self.renames = 0
        self._seqs: dict[bytes, int] = {}

    @property
    def last(self) -> int:
        """The number of the last line; 0: none."""
        return len(self.places)

    def line(self, seq: int) -> bytes:
        """Return line *seq* with its end."""
        return self.lines[self.places[seq - 1]]

    def find(self, line: bytes) -> int:
        """Return the number of *line*, or 0. No line occurs twice, because authors number their lines."""
        return self._seqs.get(line, 0)

    def is_notice(self, index: int) -> bool:
        """Return whether the line at *index* has no number."""
        return self.lines[index].startswith(b" * ")

    def says_left(self, index: int, nick: bytes) -> bool:
        """Return whether the line at *index* says that *nick*, or a crowd that may include it, has left."""
        own = (b" * %b left." % nick, b" * %b left:" % nick)
        return self.lines[index].startswith(own) or (
            self.is_notice(index) and self.lines[index].endswith(b" people left.\r\n")
        )

    def seq_before(self, index: int) -> int:
        """Return the number of the last numbered line before *index*."""
        return bisect_left(self.places, index)

    def record(self, line: bytes) -> None:
        """Append a line that the reference has received, if it is right."""
        if (spoken := _SAID.fullmatch(line) or _EMOTED.fullmatch(line)) is not None:
            author = self.owners.get(spoken[1])
            remark = self._check(author, spoken[1], Remark(line.startswith(b"** "), spoken[2]))
            self.add(line, author, receipt=remark.receipt)
            self.at = remark.at
        elif (renamed := _RENAMED.fullmatch(line)) is not None:
            author = self.owners.get(renamed[1])
            predictable = author is not None and not author.free
            if author and predictable and (not author.renames or author.renames.popleft() != renamed[2]):
                raise Unexplained(f"{_shown(line)} is shown, but this nickname was not asked for")
            self.renames += 1
            self.add_notice(line, author)
        else:
            raise Unexplained(f"{_shown(line)} is no line of the protocol")

    def add(self, line: bytes, author: Author | None, *, receipt: bool = False) -> None:
        """Append a numbered line."""
        self.places.append(len(self.lines))
        self._seqs[line] = self.last
        if receipt and author is not None and author.log is self:
            author.receipted.append(self.last)
        self.add_notice(line, author, receipt=receipt)

    def add_notice(self, line: bytes, author: Author | None, *, receipt: bool = False) -> None:
        """Append a line that *author* does not receive."""
        if author is not None and author.log is self:
            author.own[len(self.lines)] = len(author.receipted) - 1 if receipt else -1
        self.lines.append(line)
        self.at = 0.0

    def _check(self, author: Author | None, nick: bytes, remark: Remark) -> Remark:
        try:
            unsafe = _UNSAFE.search(remark.text.decode())
        except UnicodeDecodeError as error:
            raise Unexplained(f"a line of {_shown(nick)} is not UTF-8: {_shown(remark.text)}") from error
        if unsafe:
            raise Unexplained(f"a line of {_shown(nick)} holds a control character: {_shown(remark.text)}")
        if author is None or author.free:
            self.strangers += 1
            return remark
        return author.next_remark(remark)


class Attendance:
    """Counts the joins and leaves that one reader receives. Each of *known* comes and goes once.

    *left* is called with each known nickname that a notice of a leave names, and the reason.
    """

    def __init__(
        self, known: Container[bytes], left: Callable[[bytes, bytes], None] = lambda _nick, _reason: None
    ) -> None:
        self._known = known
        self._left = left
        self.joined = self.left = 0
        self.crowds = 0
        """Number of notices that stand for more than one person."""
        self._named: set[tuple[bytes, bool]] = set()

    def note(self, line: bytes) -> None:
        """Count a notice of joins or leaves."""
        passage = _PASSAGE.fullmatch(line)
        assert passage is not None
        count, nick, joined, reason = passage.groups()
        if nick is None:
            if int(count) < 2:
                raise Unexplained(f"{_shown(line)} is no crowd")
            self.crowds += 1
        elif (nick, bool(joined)) in self._named:
            raise Unexplained(f"{_shown(line)} is shown twice")
        elif nick in self._known:
            self._named.add((nick, bool(joined)))
            if not joined:
                self._left(nick, reason or b"")
        if joined:
            self.joined += int(count or 1)
        else:
            self.left += int(count or 1)

    def clear(self) -> None:
        """Count from zero."""
        self.joined = self.left = 0
        self._named.clear()


class Answer:
    """The answer to a command: it matches *pattern*, and is passed to *then*."""

    def __init__(self, pattern: bytes, then: Callable[[bytes], None] = lambda _text: None) -> None:
        self.pattern = re.compile(pattern)
        self.then = then

    def take(self, text: bytes, _log: Log) -> bool | None:
        """Return whether *text* is the last line of the answer; None: the log is not long enough to judge it."""
        if not self.pattern.fullmatch(text):
            raise Unexplained(f"the answer should be {self.pattern.pattern!r}, not")
        return True


class Names(Answer):
    """The answer to ``/names``: a line that ends with a comma goes on, and the number of names is right."""

    def __init__(self) -> None:
        super().__init__(rb"(\d+) here: (.*)")
        self._whole = b""

    def take(self, text: bytes, log: Log) -> bool:
        self._whole += text
        if text.endswith(b","):
            return False
        counted = self.pattern.fullmatch(re.sub(rb" \([^()]*\)", b"", self._whole))
        if counted is None or counted[2].count(b",") + 1 != int(counted[1]):
            raise Unexplained("the number of names is wrong:")
        return True


class Recall(Answer):
    """The lines of ``/history`` or, with *word*, of ``/search``, and the answer to a ``/ping`` that marks their end."""

    def __init__(self, count: int, word: bytes = b"") -> None:
        super().__init__(b"nothing found\\." if word else b"nothing was said yet\\.")
        self._count = count
        self._word = word.decode()
        self._seqs: list[int] = []
        self._nothing = False

    def take(self, text: bytes, log: Log) -> bool | None:
        if (recalled := _RECALLED.fullmatch(text)) is not None:
            seq = int(recalled[1])
            if seq > log.last:
                return None
            if log.line(seq) != recalled[2] + END or not self._may_follow(seq, recalled[2]):
                raise Unexplained(f"the history shows, after {self._seqs[-1:]},")
            self._seqs.append(seq)
        elif text == b"pong":
            if not (self._nothing or self._complete()):
                raise Unexplained(f"of {self._count} lines, the history shows {self._seqs}, then")
            return True
        elif self._seqs or self._nothing or not self.pattern.fullmatch(text):
            raise Unexplained(f"the history shows, after {self._seqs[-1:]},")
        else:
            self._nothing = True
        return False

    def _may_follow(self, seq: int, text: bytes) -> bool:
        if self._word:
            return self._word in _folded(text) and (not self._seqs or seq > self._seqs[-1])
        return not self._seqs or seq == self._seqs[-1] + 1

    def _complete(self) -> bool:
        if self._word:
            return 0 < len(self._seqs) <= self._count
        return bool(self._seqs) and len(self._seqs) == min(self._count, self._seqs[-1])


def _folded(text: bytes) -> str:
    """Return *text* without case and accents, which ``/search`` ignores. Random bytes hold both."""
    decomposed = unicodedata.normalize("NFD", text.decode("utf-8", "replace")).lower()
    return "".join(character for character in decomposed if not unicodedata.combining(character))


class _State(Enum):
    GREETED = auto()
    PROMPTED = auto()
    REPLAYED = auto()
    LIVE = auto()
    OVER = auto()


class Stream:
    """The check of what one reader receives.

    Pass every chunk to ``feed``. While ``waits``, the log does not hold yet what must be compared: call ``go_on`` when
    it has grown. Both raise ``Unexplained``. *on_private* gets each line that is for this reader alone (its kind, its
    parts): the welcome, private messages, the goodbye.
    """

    def __init__(self, log: Log, author: Author, on_private: OnPrivate = lambda _kind, _parts: None) -> None:
        self.log = log
        self.author = author
        self.noisy = True
        """Whether this reader sees joins and leaves that the log does not hold."""
        self.loose = True
        """Whether notices of the log may be missing: after the arrival and a gap, until the next numbered line."""
        self.position = 0
        """Index of the next line of the log."""
        self.answers: deque[Answer] = deque()
        """The expected answers, in order."""
        self.waits = False
        self.received = 0
        """Lines of the log that this reader has received."""
        self.missed = 0
        """Lines that gap notices have named."""
        self.notices = self.private = self.receipts = 0
        self.leaving = False
        """Whether this reader has asked to leave: it does not receive its own leave, nor that of its crowd."""
        self.must_reach = 0
        """Index in the log that it must have reached before the goodbye."""
        self._on_private = on_private
        self._state = _State.GREETED
        self._unjudged: list[bytes] = []
        self._unfinished = b""
        self._replay: list[bytes] = []
        self._ended = False

    @property
    def over(self) -> bool:
        """Whether the goodbye has come."""
        return self._state is _State.OVER

    def feed(self, data: bytes) -> None:
        """Check *data*."""
        whole, end, self._unfinished = (self._unfinished + data).rpartition(b"\n")
        self._unjudged += (whole + end).splitlines(keepends=True)
        self.go_on()

    def end(self) -> None:
        """Check that everything has come: the server has closed the connection."""
        self._ended = True
        if not self.waits:
            self._finish()

    def go_on(self) -> None:
        """Compare what has come in with the log, as far as the log is known."""
        lines, known, own, at = self._unjudged, self.log.lines, self.author.own, 0
        self.waits = False
        while at < len(lines) and not self.waits:
            if self._state is _State.LIVE and not self.loose and not self.noisy:
                # Nearly all lines are the next of the log: this loop is fast.
                begin = self.position - at
                end = min(len(lines), len(known) - begin)
                while at < end and lines[at] == known[begin + at] and begin + at not in own:
                    at += 1
                self.received += begin + at - self.position
                self.position = begin + at
                if at == len(lines):
                    break
            self.waits = not self._take_line(lines[at])
            at += not self.waits
        del lines[:at]
        if self._ended and not self.waits:
            self._finish()

    def _finish(self) -> None:
        if self._unfinished:
            raise self._difference("the connection ended within a line, at", self._unfinished)
        if not self.over:
            raise self._difference("the server closed the connection")
        if self.receipts != len(self.author.receipted):
            raise self._difference(f"{self.receipts} receipts came for {len(self.author.receipted)} lines")
        if self.answers:
            raise self._difference(f"the answer {self.answers[0].pattern.pattern!r} is missing")

    # Line by line: each method returns whether the line could be judged.

    def _take_line(self, line: bytes) -> bool:
        match self._state:
            case _State.GREETED:
                if line != WELCOME:
                    raise self._difference("instead of the welcome comes", line)
                self._state = _State.PROMPTED
            case _State.PROMPTED:
                arrived = _ARRIVED.fullmatch(line.removeprefix(PROMPT)) if line.startswith(PROMPT) else None
                if arrived is None or arrived[1] != self.author.nick:
                    raise self._difference("instead of the nickname comes", line)
                self._state = _State.REPLAYED
                self._on_private("arrived", ())
            case _State.REPLAYED:
                if (replayed := _REPLAYED.fullmatch(line)) is not None:
                    self._replay.append(replayed[1])
                    return True
                if not self._find_start():
                    return False
                self._state = _State.LIVE
                return self._take_live(line)
            case _State.LIVE:
                return self._take_live(line)
            case _State.OVER:
                raise self._difference("after the goodbye comes", line)
        return True

    def _take_live(self, line: bytes) -> bool:
        if line.startswith(b"-> "):
            return self._take_answer(line)
        if line.startswith(b"["):
            if (private := _PRIVATE.fullmatch(line)) is None:
                raise self._difference("it received", line)
            self.private += 1
            self._on_private("private", private.groups())
            return True
        if (missed := _MISSED.fullmatch(line)) is not None:
            return self._take_gap(*map(int, missed.groups()))
        if line == b" * Goodbye, %b.\r\n" % self.author.nick:
            self._advance(self.must_reach, "the goodbye comes before a line that was said before it asked to leave")
            self._state = _State.OVER
            self.author.left_well = True
            return True
        if self.noisy and _PASSAGE.fullmatch(line):
            self._take_passage(line)
            return True
        return self._take_logged(line)

    def _take_passage(self, line: bytes) -> None:
        """Accept a join or leave that the log does not hold."""

    def _take_logged(self, line: bytes) -> bool:
        """Check that the log holds *line* next."""
        while True:
            self._skip_own()
            if self.position == len(self.log.lines):
                return False
            if self.position in self.author.own:
                raise self._difference("instead of the receipt for its own line comes", line)
            if self.log.lines[self.position] == line:
                self.loose = self.loose and self.log.is_notice(self.position)
                self.position += 1
                self.received += 1
                return True
            if not self._may_lack_next():
                raise self._difference("it received", line)
            self.position += 1

    def _take_answer(self, line: bytes) -> bool:
        if (receipt := _RECEIPT.fullmatch(line)) is not None:
            return self._take_receipt(int(receipt[1]))
        if not self.answers:
            raise self._difference("it asked for nothing, but gets the answer", line)
        asked, text = self.answers[0], line[3:-2]
        try:
            complete = asked.take(text, self.log)
        except Unexplained as error:
            raise self._difference(str(error), line) from None
        if complete is None:
            return False
        self.private += 1
        if complete:
            self.answers.popleft()
            asked.then(text)
        return True

    def _take_receipt(self, seq: int) -> bool:
        if seq > self.log.last:
            return False
        own = self.author.receipted
        if own[self.receipts : self.receipts + 1] != [seq]:
            raise self._difference(
                f"its next own lines are {own[self.receipts :][:3]}, but the receipt is for", b"%d" % seq
            )
        place = self.log.places[seq - 1]
        self._advance(place, f"too early is the receipt of #{seq}")
        if self.position > place and not self.loose and self.log.seq_before(self.position) > seq:
            raise self._difference(f"too late is the receipt of #{seq}")
        self.receipts += 1
        self._skip_own()
        return True

    def _take_gap(self, count: int, first: int, last: int) -> bool:
        log, notice = self.log, b"You missed %d (#%d-#%d)" % (count, first, last)
        if last > log.last:
            return False
        if not count == last - first + 1 > 0:
            raise self._difference("the count is wrong in", notice)
        own, place = self.author.own, log.places[first - 1]
        if not all(log.is_notice(at) or at in own for at in range(self.position, place)):
            raise self._difference("the next line was neither received nor named in", notice)
        if not all(log.is_notice(at) or at in own for at in range(place, self.position)):
            raise self._difference("a line was received, and is then named in", notice)
        self.position = max(self.position, log.places[last - 1] + 1)
        self.missed += count
        self.notices += 1
        self.loose = True
        return True

    # The position in the log

    def _find_start(self) -> bool:
        """Set the position behind the last line of the replay, which must be the last lines of the log up to there."""
        replay, log = self._replay, self.log
        if not replay:
            return True
        seq = log.find(replay[-1])
        if not seq:
            return False
        if replay != [log.line(number) for number in range(max(1, seq - REPLAY + 1), seq + 1)]:
            raise self._difference(f"the replay is not what was said up to #{seq}:", b"".join(replay))
        self.position = log.places[seq - 1] + 1
        replay.clear()
        return True

    def _may_lack_next(self) -> bool:
        """Return whether this reader need not receive the line at the position."""
        return (self.loose and self.log.is_notice(self.position)) or (
            self.leaving and self.log.says_left(self.position, self.author.nick)
        )

    def _advance(self, target: int, problem: str) -> None:
        """Move to *target* over lines that this reader need not receive."""
        self._skip_own()
        while self.position < target:
            if not self._may_lack_next():
                raise self._difference(problem)
            self.position += 1
            self._skip_own()

    def _skip_own(self) -> None:
        """Move over the reader's own lines, up to one whose receipt has not come."""
        while self.author.own.get(self.position, self.receipts) < self.receipts:
            self.position += 1

    def _difference(self, problem: str, received: bytes = b"") -> Unexplained:
        log, position = self.log, self.position
        expected = _shown(log.lines[position]) if position < len(log.lines) else "not known"
        return Unexplained(
            f"{_shown(self.author.nick)}, after #{log.seq_before(position)}: {problem}"
            f"{' ' + _shown(received) if received else ''}; the next line of the log is {expected}"
        )


class Reference(Stream):
    """The reader whose lines are the log."""

    def _find_start(self) -> bool:
        if not super()._find_start():
            raise self._difference("the replay holds what nobody said:", self._replay[-1])
        self._advance(len(self.log.lines), "somebody spoke between two visits of the reference")
        return True

    def _take_logged(self, line: bytes) -> bool:
        self.log.record(line)
        self.position = len(self.log.lines)
        self.received += 1
        return True

    def _take_gap(self, count: int, first: int, last: int) -> bool:
        raise self._difference("the reference itself lags: this machine is too slow for this number of clients")


class LoudReference(Stream):
    """The reader whose lines are the log *loud* of those that see joins and leaves; the quiet log checks it."""

    def __init__(self, log: Log, author: Author, on_private: OnPrivate, loud: Log, attendance: Attendance) -> None:
        super().__init__(log, author, on_private)
        self._loud = loud
        self._attendance = attendance

    def _take_passage(self, line: bytes) -> None:
        self._attendance.note(line)
        self._loud.add_notice(line, None)

    def _take_logged(self, line: bytes) -> bool:
        if not super()._take_logged(line):
            return False
        loud = self._loud
        if (spoken := _SAID.fullmatch(line) or _EMOTED.fullmatch(line)) is not None:
            loud.add(line, loud.owners.get(spoken[1]))
            loud.at = self.log.at if self.position == len(self.log.lines) else 0.0
        else:
            renamed = _RENAMED.fullmatch(line)
            loud.add_notice(line, None if renamed is None else loud.owners.get(renamed[1]))
        return True

    def _take_gap(self, count: int, first: int, last: int) -> bool:
        raise self._difference("the loud reference itself lags: this machine is too slow for this number of clients")


def compare(log: Log, rows: Sequence[tuple[int, str, str, str]]) -> str | None:
    """Return the first difference between *log* and the journal's *rows* (number, kind, nickname, text), or None."""
    for expected, (seq, kind, nick, text) in enumerate(rows, 1):
        if seq != expected:
            return f"the journal's line after #{expected - 1} is #{seq}"
        line = (f"** {nick} {text}" if kind == "emoted" else f"{nick}: {text}").encode() + END
        if seq > log.last:
            return f"the journal's #{seq} was shown to nobody: {_shown(line)}"
        if log.line(seq) != line:
            return f"#{seq} is {_shown(line)} in the journal, but {_shown(log.line(seq))} was read"
    if len(rows) < log.last:
        return f"the journal ends with #{len(rows)}, but {_shown(log.line(len(rows) + 1))} was read as the next"
    return None


def _shown(data: bytes) -> str:
    """Return *data* for a message."""
    if len(data) <= 160:
        return repr(data)[1:]
    return f"{data[:120] + b'...' + data[-20:]!r} of {len(data)} bytes"[1:]
