"""What everybody should read, and the check of what each reader has read; no sockets, and nothing of the server.

One reader, who joins first, never speaks and hides joins and leaves, is written down: that is the *log*. What any other
reader gets is the log from where they came in to where they left, byte for byte, but for

* their own lines, which they never see; a receipt stands in the place of each, if they asked for receipts;
* lines that are for them alone (answers, whispers), between any two others;
* what is named in `` * You missed N lines (#a-#b).``

The log itself must hold what its authors said: each line as it was said, each author's lines in their order, none left
out, none twice; and the journal is compared with it in the end. Readers who do not hide joins and leaves have a log of
their own, whose other lines must be those of the first.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

END = b"\r\n"
_LF = 10
_APART = {b"-", b"[", b" "}
"""How lines begin that may be for one reader alone."""
WELCOME = b"Welcome to Broadcast.\r\n"
PROMPT = b"Nickname: "
REPLAY = 20
"""So many of the last lines a newcomer is shown (PROTOCOL)."""
_NICK = rb"([A-Za-z0-9_.-]{1,24})"
_SAID = re.compile(_NICK + rb": ([^\r\n]+)\r\n")
_EMOTED = re.compile(rb"\*\* " + _NICK + rb" ([^\r\n]+)\r\n")
_RENAMED = re.compile(rb" \* " + _NICK + rb" is now " + _NICK + rb"\.\r\n")
_PASSAGE = re.compile(rb" \* (?:(\d+) people|" + _NICK + rb") (?:(joined)|left)(?:\.|: ([^\r\n]+))\r\n")
_ARRIVED = re.compile(
    rb" \* You are " + _NICK + rb"\. (?:Nobody else is here|(\d+) others? (?:is|are) here: [^\r\n]+)\."
    rb" /help lists the commands, quit leaves\.\r\n"
)
_REPLAYED = re.compile(rb"\[(?:\d{4}-\d\d-\d\d )?\d\d:\d\d\] (.+\r\n)")
_WHISPERED = re.compile(rb"\[" + _NICK + rb"\] ([^\r\n]+)\r\n")
_MISSED = re.compile(rb" \* You missed (\d+) lines? \(#(\d+)-#(\d+)\)\.\r\n")
_RECEIPT = re.compile(rb"-> #(\d+)\r\n")
_RECALLED = re.compile(rb"-> #(\d+) \[(?:\d{4}-\d\d-\d\d )?\d\d:\d\d\] (.+\r\n)")
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Unexplained(Exception):
    """Somebody read what they should not have, or did not read what they should; the text is the first difference."""


class Region(NamedTuple):
    """A line in a log that its author is not to see."""

    start: int
    end: int
    seq: int
    """Its number; 0 for a change of name."""
    nth: int
    """Which of the author's receipts stands in its place, from 0; -1: none."""


class Remark(NamedTuple):
    """What somebody said, on its way."""

    emoted: bool
    text: bytes
    at: float = 0.0
    """When it was said, in seconds; 0: how long it takes is not the server's affair."""
    receipt: bool = False
    """Whether they are to be told its number."""


@dataclass(slots=True, eq=False)
class Author:
    """One visit, as far as others see it. *log* is the one that they are to read; None: that is not checked."""

    nick: bytes
    log: Log | None = None
    free: bool = False
    """Whether nobody knows beforehand what their lines look like to others: they send anything."""
    receipts: bool = False
    """Whether they are told the numbers of what they say now."""
    said: int = 0
    unseen: deque[Remark] = field(default_factory=deque)
    """What they said that the log does not hold yet."""
    renames: deque[bytes] = field(default_factory=deque)
    """What they asked to be called, likewise."""
    regions: list[Region] = field(default_factory=list)
    seqs: list[int] = field(default_factory=list)
    """The numbers of their lines."""
    kept: list[int] = field(default_factory=list)
    """Of these, those for which there is a receipt."""
    left_well: bool = False
    """Whether they left so that everything they said must have been said."""

    def owns(self, seq: int) -> bool:
        """Whether the line *seq* is theirs."""
        at = bisect_left(self.seqs, seq)
        return at < len(self.seqs) and self.seqs[at] == seq


class Log:
    """What one kind of reader should see, from the first line ever said; numbers are dense, from 1."""

    def __init__(self) -> None:
        self.text = bytearray()
        self.starts = array("Q")
        """Where the line of each number begins."""
        self.owners: dict[bytes, Author] = {}
        self.at = 0.0
        """When the last line was said; 0 where that does not matter."""
        self.strangers = 0
        """How many lines came from people whom nobody knows: who sends random bytes may hit on a nickname."""
        self.renames = 0
        self._places: dict[int, int] = {}

    @property
    def last(self) -> int:
        """The number of the last line; 0: none."""
        return len(self.starts)

    def line(self, seq: int) -> bytes:
        """The line of that number, with its end."""
        start = self.starts[seq - 1]
        return bytes(self.text[start : self.end_of(start)])

    def find(self, line: bytes) -> int:
        """The number of *line*, with its end, which is there once: authors number their lines; 0: it is not."""
        seq = self._places.get(hash(line), 0)
        return seq if seq and self.line(seq) == line else 0

    def end_of(self, start: int) -> int:
        """Where the line that *start* lies in ends."""
        return self.text.index(b"\n", start) + 1

    def passes(self, start: int) -> bool:
        """Whether a line that has no number begins at *start*."""
        return self.text.startswith(b" * ", start)

    def tells_of_leaving(self, start: int, nick: bytes) -> bool:
        """Whether at *start* it is said that *nick* has left, or many, who may be among them."""
        line = self.text[start : self.end_of(start)]
        own = line.startswith((b" * %b left." % nick, b" * %b left:" % nick))
        return own or (self.passes(start) and line.endswith(b" people left.\r\n"))

    def before(self, position: int) -> int:
        """The number of the last line that begins in front of *position*."""
        return bisect_left(self.starts, position)

    def record(self, line: bytes) -> None:
        """Take in a line that the reader who is written down has read; raises ``Unexplained``."""
        if (spoken := _SAID.fullmatch(line) or _EMOTED.fullmatch(line)) is not None:
            author = self.owners.get(spoken[1])
            said = self._check(author, spoken[1], Remark(line.startswith(b"** "), spoken[2]))
            self.at = said.at
            self.add(line, author, said.receipt)
        elif (renamed := _RENAMED.fullmatch(line)) is not None:
            author = self.owners.get(renamed[1])
            asked = None if author is None or author.free else author.renames
            if asked is not None and (not asked or asked.popleft() != renamed[2]):
                raise Unexplained(f"{_shown(line)} is told to everybody, but they did not ask for that name now")
            self.renames += 1
            self.pass_by(line, author)
        else:
            raise Unexplained(f"{_shown(line)} is nothing that anybody does")

    def add(self, line: bytes, author: Author | None, receipt: bool = False) -> None:
        """Append a numbered line."""
        start = len(self.text)
        self.text += line
        self.starts.append(start)
        self._places[hash(line)] = self.last
        if author is not None and author.log is self:
            nth = -1
            if receipt:
                nth = len(author.kept)
                author.kept.append(self.last)
            author.seqs.append(self.last)
            author.regions.append(Region(start, len(self.text), self.last, nth))

    def pass_by(self, line: bytes, author: Author | None) -> None:
        """Append a line without a number, which *author* does not see."""
        start = len(self.text)
        self.at = 0.0
        self.text += line
        if author is not None and author.log is self:
            author.regions.append(Region(start, len(self.text), 0, -1))

    def _check(self, author: Author | None, nick: bytes, remark: Remark) -> Remark:
        """*remark* as they have said it, if that is what they said next."""
        try:
            unsafe = _UNSAFE.search(remark.text.decode())
        except UnicodeDecodeError as error:
            raise Unexplained(f"a line of {_shown(nick)} is not UTF-8: {_shown(remark.text)}") from error
        if unsafe:
            raise Unexplained(f"a line of {_shown(nick)} holds a control character: {_shown(remark.text)}")
        if author is None or author.free:
            self.strangers += 1
            return remark
        if not author.unseen:
            raise Unexplained(f"{_shown(nick)} is shown to say {_shown(remark.text)}, but has said all that they said")
        expected = author.unseen.popleft()
        if expected[:2] != remark[:2]:
            raise Unexplained(
                f"{_shown(nick)} said {_shown(expected.text)} next, but {_shown(remark.text)} is shown to everybody"
            )
        return expected


class Attendance:
    """Who came and who left, as one reader is told. Each of *known* comes and goes once; strangers may come again.

    *left* gets the nickname of each of the known whose leaving is told, and how; not when they leave in a crowd.
    """

    def __init__(
        self, known: Container[bytes], left: Callable[[bytes, bytes], None] = lambda _nick, _how: None
    ) -> None:
        self._known = known
        self._left = left
        self.joined = self.left = 0
        self.crowds = 0
        """How many notices told of more than one."""
        self._named: dict[bool, set[bytes]] = {True: set(), False: set()}

    def note(self, line: bytes) -> None:
        """Take in a notice of joins or leaves; raises ``Unexplained``."""
        passage = _PASSAGE.fullmatch(line)
        assert passage is not None
        count, nick, joins, how = passage.groups()
        if nick is not None:
            if nick in self._named[bool(joins)]:
                raise Unexplained(f"{_shown(line)} is told twice")
            if nick in self._known:
                self._named[bool(joins)].add(nick)
                if not joins:
                    self._left(nick, how or b"")
        elif int(count) < 2:
            raise Unexplained(f"{_shown(line)} is no crowd")
        else:
            self.crowds += 1
        if joins:
            self.joined += int(count or 1)
        else:
            self.left += int(count or 1)

    def forget(self) -> None:
        """Begin anew."""
        self.joined = self.left = 0
        for names in self._named.values():
            names.clear()


class Answer:
    """What the next answer must look like; *then* gets it, without arrow and line end."""

    def __init__(self, pattern: bytes, then: Callable[[bytes], None] | None = None) -> None:
        self.pattern = re.compile(pattern)
        self.then = then


class Names(Answer):
    """Who is here: a line that ends with a comma is followed by another, and there are as many names as it says."""

    def __init__(self) -> None:
        super().__init__(rb"(?!)")  # until the last line has come
        self._whole = b""

    def goes_on(self, text: bytes) -> bool:
        """Whether *text* is not the last line; if it is, ``pattern`` says whether the answer is right."""
        self._whole += text
        if text.endswith(b","):
            return True
        counted = re.fullmatch(rb"(\d+) here: (.*)", re.sub(rb" \([^()]*\)", b"", self._whole))
        if counted is not None and counted[2].count(b",") + 1 == int(counted[1]):
            self.pattern = re.compile(rb".*")
        return False


class Recall(Answer):
    """The lines that ``/history N`` shows, or ``/search``, which must hold *word*; in front of the next answer."""

    def __init__(self, count: int, word: bytes = b"") -> None:
        super().__init__(b"nothing found\\." if word else b"nothing was said yet\\.")
        self.count = count
        self.word = word
        self.seqs: list[int] = []

    def goes_on(self, seq: int, text: bytes) -> bool:
        """Whether the line *seq*, which is *text*, may come next."""
        if self.word:
            return self.word.decode() in _folded(text) and (not self.seqs or seq > self.seqs[-1])
        return not self.seqs or seq == self.seqs[-1] + 1

    @property
    def complete(self) -> bool:
        """Whether that may be all."""
        if self.word:
            return 0 < len(self.seqs) <= self.count
        return bool(self.seqs) and len(self.seqs) == min(self.count, self.seqs[-1])


def _folded(text: bytes) -> str:
    """*text* without case and accents, which make no difference to ``/search`` (PROTOCOL); random bytes have both."""
    apart = unicodedata.normalize("NFD", text.decode("utf-8", "replace")).lower()
    return "".join(character for character in apart if not unicodedata.combining(character))


class _State(Enum):
    GREETED = auto()
    PROMPTED = auto()
    REPLAYED = auto()
    LIVE = auto()
    OVER = auto()


class Stream:
    """What one reader reads. *hears* gets each line that is for them alone: their welcome, whispers, goodbye.

    Feed it what comes in; whenever it ``waits``, the log does not hold yet what it must be compared with, and
    ``go_on`` is to be called when it does. Both raise ``Unexplained``.
    """

    def __init__(self, log: Log, author: Author, hears: Callable[[str, Sequence[bytes]], None] | None = None) -> None:
        self.log = log
        self.author = author
        self.noisy = True
        """Whether they see joins and leaves that the log does not hold."""
        self.loose = True
        """Whether lines without a number may be missing here: until they have read a numbered one."""
        self.position = 0
        self.answers: deque[Answer] = deque()
        """What they have asked for."""
        self.waits = False
        self.received = 0
        """Lines of the log that they have read."""
        self.missed = 0
        """Lines that were named as missed."""
        self.notices = 0
        self.private = 0
        self.receipts = 0
        self.leaving = False
        """Whether they have asked to leave: nobody is told of their own leaving, or a crowd's that they are part of."""
        self.must_reach = 0
        """They are not to be bidden goodbye before they have read so far."""
        self._hears = hears or (lambda _what, _words: None)
        self._state = _State.GREETED
        self._buffer = b""
        self._replay: list[bytes] = []
        self._own = 0
        self._ended = False

    @property
    def over(self) -> bool:
        """Whether they were bidden goodbye."""
        return self._state is _State.OVER

    @property
    def present(self) -> bool:
        """Whether they are in the room."""
        return self._state in {_State.REPLAYED, _State.LIVE}

    @property
    def held(self) -> int:
        """How many bytes could not be judged yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take in *data*."""
        if not self._buffer and self._state is _State.LIVE and not self.loose and not self.noisy:
            clear = self._clear()  # moves over their own lines: before the position is looked at
            end = self.position + len(data)
            plain = data[-1] == _LF or len(self._certain(data)) == len(data)
            if plain and end <= clear and self.log.text.startswith(data, self.position):
                self.position = end
                self.received += data.count(b"\n")
                return
        self._buffer += data
        self.go_on()

    def end(self) -> None:
        """Nothing more will come: the server has closed the connection; raises ``Unexplained``."""
        self._ended = True
        if not self.waits:
            self._finish()

    def go_on(self) -> None:
        """Compare what has come in with the log, as far as that is known."""
        buffer, at = self._buffer, 0
        self.waits = False
        while at < len(buffer):
            if self._state is _State.LIVE and not self.loose and not self.noisy:
                piece = self._certain(buffer[at : at + self._clear() - self.position])
                if piece and self.log.text.startswith(piece, self.position):
                    self.position += len(piece)
                    self.received += piece.count(b"\n")
                    at += len(piece)
                    continue
            end = buffer.find(b"\n", at) + 1
            if not end:
                break
            if not self._line(buffer[at:end]):
                self.waits = True
                break
            at = end
        self._buffer = buffer[at:]
        if self._ended and not self.waits:
            self._finish()

    def _finish(self) -> None:
        if self._buffer:
            raise self._difference("the connection ended in mid-line, at", self._buffer)
        if not self.over:
            raise self._difference("the server closed the connection", b"")
        if self.receipts != len(self.author.kept):
            raise self._difference(f"they got {self.receipts} receipts for {len(self.author.kept)} lines", b"")
        if self.answers:
            raise self._difference(f"nothing answered what would be {self.answers[0].pattern.pattern!r}", b"")

    # Line by line: each returns whether it could be judged

    def _line(self, line: bytes) -> bool:
        match self._state:
            case _State.LIVE:
                return self._live(line)
            case _State.REPLAYED:
                if (replayed := _REPLAYED.fullmatch(line)) is not None:
                    self._replay.append(replayed[1])
                    return True
                if not self._settle():
                    return False
                self._state = _State.LIVE
                return self._live(line)
            case _State.PROMPTED:
                arrived = _ARRIVED.fullmatch(line.removeprefix(PROMPT)) if line.startswith(PROMPT) else None
                if arrived is None or arrived[1] != self.author.nick:
                    raise self._difference("they should be told who they are, not", line)
                self._state = _State.REPLAYED
                self._hears("arrived", (arrived[2] or b"0",))
                return True
            case _State.GREETED:
                if line != WELCOME:
                    raise self._difference("they should be welcomed, not told", line)
                self._state = _State.PROMPTED
                return True
            case _State.OVER:
                raise self._difference("after the goodbye comes", line)

    def _certain(self, data: bytes) -> bytes:
        """*data* without the beginning of a line that may turn out to be for them alone."""
        begin = data.rfind(b"\n") + 1
        if begin or self._begins():
            return data[:begin] if data[begin : begin + 1] in _APART else data
        return data

    def _begins(self) -> bool:
        """Whether what comes next is the beginning of a line."""
        return not self.position or self.log.text[self.position - 1] == _LF

    def _live(self, line: bytes) -> bool:  # noqa: PLR0911 -- each kind of line, and whose it is
        if not self._begins():
            return self._told(line)
        if line.startswith(b"-> "):
            return self._answered(line)
        if line.startswith(b"["):
            whispered = _WHISPERED.fullmatch(line)
            if whispered is None:
                raise self._difference("they read", line)
            self.private += 1
            self._hears("whispered", whispered.groups())
            return True
        if line.startswith(b" * "):
            if (missed := _MISSED.fullmatch(line)) is not None:
                return self._told_what_they_missed(*map(int, missed.groups()))
            if line == b" * Goodbye, %b.\r\n" % self.author.nick:
                return self._goodbye()
            if self.noisy and _PASSAGE.fullmatch(line):
                self._passage(line)
                return True
        return self._told(line)

    def _passage(self, line: bytes) -> None:
        """A join or leave that the log does not hold."""

    def _told(self, line: bytes) -> bool:
        """A line, or the rest of one, that the log must hold at this place."""
        while True:
            self._skip_own()
            if self.position == len(self.log.text):
                return False
            if self._blocked():
                raise self._difference("in the place of their own line should be its receipt, not", line)
            if self.log.text.startswith(line, self.position):
                if self.loose and not self.log.passes(self.position):
                    self.loose = False
                self.position += len(line)
                self.received += 1
                return True
            own = self.leaving and self.log.tells_of_leaving(self.position, self.author.nick)
            if not own and not (self.loose and self.log.passes(self.position)):
                raise self._difference("they read", line)
            self.position = self.log.end_of(self.position)

    def _answered(self, line: bytes) -> bool:
        if (receipt := _RECEIPT.fullmatch(line)) is not None:
            return self._receipted(int(receipt[1]))
        if not self.answers:
            raise self._difference("they asked for nothing, but are answered", line)
        asked = self.answers[0]
        if isinstance(asked, Recall) and (recalled := _RECALLED.fullmatch(line)) is not None:
            return self._recalled(asked, int(recalled[1]), recalled[2], line)
        text = line[3:-2]
        if isinstance(asked, Recall) and not asked.pattern.fullmatch(text):
            if not asked.complete:
                raise self._difference(
                    f"of {asked.count} lines they asked for, they are shown {asked.seqs}, then", line
                )
            self.answers.popleft()
            return self._answered(line)
        if isinstance(asked, Names) and asked.goes_on(text):
            return True
        if not asked.pattern.fullmatch(text):
            raise self._difference(f"the answer should be {asked.pattern.pattern!r}, not", line)
        self.answers.popleft()
        self.private += 1
        if asked.then is not None:
            asked.then(text)
        return True

    def _recalled(self, asked: Recall, seq: int, text: bytes, line: bytes) -> bool:
        if seq > self.log.last:
            return False
        if self.log.line(seq) != text or not asked.goes_on(seq, text):
            raise self._difference(f"the history shows, after {asked.seqs[-1:]},", line)
        asked.seqs.append(seq)
        self.private += 1
        return True

    def _receipted(self, seq: int) -> bool:
        if seq > self.log.last:
            return False
        if self.receipts >= len(self.author.kept) or self.author.kept[self.receipts] != seq:
            raise self._difference(
                f"it is not their line (theirs: {self.author.kept[-3:]}) that has the receipt", b"%d" % seq
            )
        start = self.log.starts[seq - 1]
        while self.position < start:
            self._skip_own()
            if self.position < start and not (self.loose and self.log.passes(self.position)):
                raise self._difference(f"too early is the receipt of #{seq}:", b"")
            if self.position < start:
                self.position = self.log.end_of(self.position)
        if self.position > start and not self.loose and self.log.before(self.position) > seq:
            raise self._difference(f"too late is the receipt of #{seq}:", b"")
        self.receipts += 1
        self._skip_own()
        return True

    def _told_what_they_missed(self, count: int, first: int, last: int) -> bool:
        notice = b"You missed %d (#%d-#%d)" % (count, first, last)
        if last > self.log.last:
            return False
        if not count == last - first + 1 > 0:
            raise self._difference("that does not add up:", notice)
        start = self.log.starts[first - 1]
        while self.position < start:
            own = self.author.owns(self.log.before(self.position + 1)) and not self.log.passes(self.position)
            if not own and not self.log.passes(self.position):
                raise self._difference("neither shown nor named as missed is what comes next:", notice)
            self.position = self.log.end_of(self.position)
        for seq in range(first, self.log.before(self.position) + 1):
            if not self.author.owns(seq):
                raise self._difference(f"#{seq} was shown, and is then named as missed:", notice)
        self.position = max(self.position, self.log.end_of(self.log.starts[last - 1]))
        self.missed += count
        self.notices += 1
        self.loose = True
        return True

    def _goodbye(self) -> bool:
        while self.position < self.must_reach:
            self._skip_own()
            if self.position < self.must_reach:
                own = self.leaving and self.log.tells_of_leaving(self.position, self.author.nick)
                if not own and not (self.loose and self.log.passes(self.position)):
                    raise self._difference(
                        "they left after this was said, and are bidden goodbye before they read it", b""
                    )
                self.position = self.log.end_of(self.position)
        self._state = _State.OVER
        self.author.left_well = True
        self._hears("goodbye", ())
        return True

    # The place in the log

    def _settle(self) -> bool:
        """Find out where their stream begins: behind the last line that they were shown as said before they came."""
        if not self._replay:
            return True
        seq = self.log.find(self._replay[-1])
        if not seq:
            return False
        if not self._shown_before(seq):
            raise self._difference(f"that is not what was said up to #{seq}, before they came:", b"".join(self._replay))
        self.position = self.log.starts[seq - 1] + len(self._replay[-1])
        self._replay.clear()
        return True

    def _shown_before(self, seq: int) -> bool:
        """Whether the replay is what was said up to *seq*."""
        if len(self._replay) != min(REPLAY, seq):
            return False
        return self._replay == [self.log.line(seq - behind) for behind in range(len(self._replay) - 1, -1, -1)]

    def _clear(self) -> int:
        """How far the log goes up to the next line of their own."""
        self._skip_own()
        regions = self.author.regions
        return regions[self._own].start if self._own < len(regions) else len(self.log.text)

    def _skip_own(self) -> None:
        """Move over what they do not see because it is their own."""
        regions = self.author.regions
        while self._own < len(regions):
            region = regions[self._own]
            if region.start > self.position or (region.start == self.position and region.nth >= self.receipts):
                return
            self.position = max(self.position, region.end)
            self._own += 1

    def _blocked(self) -> bool:
        """Whether a receipt must come next."""
        regions = self.author.regions
        return self._own < len(regions) and regions[self._own].start == self.position

    def _difference(self, what: str, got: bytes) -> Unexplained:
        log, position = self.log, self.position
        after = log.before(position)
        expected = "the end of what is known"
        if position < len(log.text):
            expected = _shown(bytes(log.text[position : log.end_of(position)]))
        return Unexplained(
            f"{_shown(self.author.nick)}, who has read up to #{after}: {what} {_shown(got) if got else ''}; "
            f"next in the log is {expected}"
        )


class Reference(Stream):
    """The reader who is written down."""

    def __init__(self, log: Log, author: Author, hears: Callable[[str, Sequence[bytes]], None] | None = None) -> None:
        super().__init__(log, author, hears)
        self.loose = True  # for good: nothing is compared

    def _settle(self) -> bool:
        if not super()._settle():
            raise self._difference("they were shown what nobody said before they came:", self._replay[-1])
        while self.position < len(self.log.text):
            if not self.log.passes(self.position):
                raise self._difference("between two visits of the reference somebody spoke", b"")
            self.position = self.log.end_of(self.position)
        return True

    def _told(self, line: bytes) -> bool:
        self.log.record(line)
        self.position = len(self.log.text)
        self.received += 1
        return True

    def _told_what_they_missed(self, count: int, first: int, last: int) -> bool:
        raise self._difference("the reference itself lags: this machine is too slow for so many", b"")


class LoudReference(Stream):
    """The reader who is written down for those who see joins and leaves: compared with the quiet log, and counted."""

    def __init__(
        self,
        log: Log,
        loud: Log,
        attendance: Attendance,
        author: Author,
        hears: Callable[[str, Sequence[bytes]], None] | None = None,
    ) -> None:
        super().__init__(log, author, hears)
        self._loud = loud
        self._attendance = attendance

    def _passage(self, line: bytes) -> None:
        self._attendance.note(line)
        self._loud.pass_by(line, None)

    def _told(self, line: bytes) -> bool:
        if not super()._told(line):
            return False
        loud = self._loud
        if (spoken := _SAID.fullmatch(line) or _EMOTED.fullmatch(line)) is not None:
            loud.add(line, loud.owners.get(spoken[1]))
            loud.at = self.log.at if self.position == len(self.log.text) else 0.0
        else:
            renamed = _RENAMED.fullmatch(line)
            loud.pass_by(line, None if renamed is None else loud.owners.get(renamed[1]))
        return True

    def _told_what_they_missed(self, count: int, first: int, last: int) -> bool:
        raise self._difference("the loud reference itself lags: this machine is too slow for so many", b"")


def compare(log: Log, rows: Sequence[tuple[int, str, str, str]]) -> str | None:
    """The first difference between *log* and the journal's *rows*: number, kind, nickname, text."""
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
    """*data* for a message."""
    return repr(data if len(data) <= 160 else data[:120] + b"..." + data[-20:])[1:]
