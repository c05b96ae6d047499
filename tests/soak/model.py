"""A model of the line door: what each reader must receive. It knows no sockets and shares no code with the server.

One reader, the *reference*, joins first, leaves last and never speaks. The numbered lines that it receives are the
*log*. Every other reader receives the log from its arrival to its departure without a hole, except that

* a receipt stands in the place of each of its own lines;
* a gap notice, `` * You missed N lines (#a-#b).``, stands in the place of the lines that it names;
* replies, private messages and notices have no number and may come between any two lines.

The log itself must hold what its authors said: each line unchanged, in the order of its author, none lost, none
twice. At the end it is compared with the journal.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

OnPrivate: TypeAlias = Callable[[str, Sequence[bytes]], None]
END = b"\r\n"
REPLAY = 20
"""Number of lines that the server shows to a newcomer."""
_NICK = rb"([A-Za-z0-9_.-]{1,24})"
_TIME = rb"\[(?:\d{4}-\d\d-\d\d )?\d\d:\d\d\] "
_SPOKEN = re.compile(rb"(?:\*\* " + _NICK + rb" |" + _NICK + rb": )[^\r\n]+\r\n")
_PASSAGE = re.compile(rb" \* (?:(\d+) people|" + _NICK + rb") (joined|left)(?:\.|: ([^\r\n]+))\r\n")
_ARRIVED = re.compile(
    rb"Nickname:  \* You are " + _NICK + rb"\. (?:Nobody else is here|(\d+) others? (?:is|are) here: [^\r\n]+)\."
    rb" /help lists the commands, quit leaves\.\r\n"
)
_REPLAYED = re.compile(_TIME + rb"(.+\r\n)")
_PRIVATE = re.compile(rb"\[" + _NICK + rb"\] ([^\r\n]+)\r\n")
_MISSED = re.compile(rb" \* You missed (\d+) lines? \(#(\d+)-#(\d+)\)\.\r\n")
_RECEIPT = re.compile(rb"-> #(\d+)\r\n")
_WAITING = re.compile(rb"-> (1 line is|\d+ lines are) waiting; (lines|they) are said two a second\.\r\n")
_RECALLED = re.compile(rb"#(\d+) " + _TIME + rb"(.+)")
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Unexplained(Exception):
    """A reader received a line that it should not have, or lacks one. The text is the first difference."""


@dataclass(eq=False)
class Author:
    """One visit as other readers see it."""

    nick: bytes
    free: bool = False
    """Whether it sends random bytes, so that its lines cannot be predicted."""
    reset: bool = False
    """Whether it has reset its connection: the server then says the part of a line that has arrived."""
    unseen: deque[bytes] = field(default_factory=deque)
    """Lines that it has sent and that the log does not hold yet."""


class Log:
    """The numbered lines, from #1 on."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.authors: dict[bytes, Author] = {}
        """The author of each nickname that anybody has asked for."""
        self.renames: set[bytes] = set()
        """The notices of all nickname changes that anybody has asked for."""
        self.counts: Counter[str] = Counter()
        self._seqs: dict[bytes, int] = {}

    def find(self, line: bytes) -> int:
        """Return the number of *line*, or 0. No line occurs twice, because authors number their lines."""
        return self._seqs.get(line, 0)

    def author(self, seq: int) -> Author | None:
        """Return the author of line *seq*."""
        spoken = _SPOKEN.fullmatch(self.lines[seq - 1])
        return self.authors.get(spoken[1] or spoken[2]) if spoken is not None else None

    def record(self, line: bytes) -> None:
        """Append the line that the reference has received, if its author said it."""
        if _SPOKEN.fullmatch(line) is None:
            raise Unexplained(f"{_shown(line)} is no line of the protocol")
        self.lines.append(line)
        self._seqs[line] = len(self.lines)
        author = self.author(len(self.lines))
        if author is None or author.free:
            self._check_text(line)
            return
        expected = author.unseen.popleft() if author.unseen else b"nothing more"
        if line != expected:
            # A reset may cut a line, even within a character, which the server replaces.
            part = line.removesuffix(END).removesuffix("\ufffd".encode())
            if not (author.reset and expected.startswith(part)):
                raise Unexplained(f"{_shown(author.nick)} said {_shown(expected)}, but {_shown(line)} is shown")
            author.unseen.clear()

    def _check_text(self, line: bytes) -> None:
        self.counts["lines by garbage nicknames"] += 1
        try:
            is_unsafe = _UNSAFE.search(line.removesuffix(END).decode())
        except UnicodeDecodeError as error:
            raise Unexplained(f"{_shown(line)} is not UTF-8") from error
        if is_unsafe:
            raise Unexplained(f"{_shown(line)} holds a control character")


class Answer:
    """The answer to a command: one line that matches *pattern* and is passed to *then*."""

    def __init__(self, pattern: bytes, then: Callable[[bytes], None] = lambda _text: None) -> None:
        self.pattern = re.compile(pattern)
        self.then = then

    def take(self, text: bytes, _log: Log) -> bool | None:
        """Return whether *text* is right and the last line; None: the log is not long enough to judge it."""
        if not self.pattern.fullmatch(text):
            raise Unexplained(f"the answer should be {self.pattern.pattern!r}, not")
        return True


class Names(Answer):
    """The answer to ``/names``: a line that ends with a comma goes on, and the number of names is right."""

    def __init__(self) -> None:
        super().__init__(rb"(\d+) here: (.*)")
        self._whole = b""

    def take(self, text: bytes, _log: Log) -> bool:
        self._whole += text
        if text.endswith(b","):
            return False
        counted = self.pattern.fullmatch(re.sub(rb" \([^()]*\)", b"", self._whole))
        if counted is None or counted[2].count(b",") + 1 != int(counted[1]):
            raise Unexplained("the number of names is wrong:")
        return True


class Recall(Answer):
    """The lines of ``/history``, or of ``/search``, and the answer to a ``/ping`` that marks their end."""

    def __init__(self, count: int, *, search: bool = False) -> None:
        super().__init__(b"nothing found\\." if search else b"nothing was said yet\\.")
        self._count = count
        self._search = search
        self._seqs: list[int] = []
        self._nothing = False

    def take(self, text: bytes, log: Log) -> bool | None:
        last = self._seqs[-1] if self._seqs else 0
        if (recalled := _RECALLED.fullmatch(text)) is not None:
            seq = int(recalled[1])
            if seq > len(log.lines):
                return None
            follows = seq > last if self._search or not last else seq == last + 1
            if not follows or log.lines[seq - 1] != recalled[2] + END:
                raise Unexplained(f"the history shows, after #{last},")
            self._seqs.append(seq)
        elif text == b"pong":
            expected = range(1, self._count + 1) if self._search else [min(self._count, last)]
            if not self._nothing and (not last or len(self._seqs) not in expected):
                raise Unexplained(f"of {self._count} lines, the history shows {self._seqs}, then")
            return True
        elif self._seqs or not self.pattern.fullmatch(text):
            raise Unexplained(f"the history shows, after #{last},")
        else:
            self._nothing = True
        return False


class Stream:
    """The check of what one reader receives. Pass every chunk to ``feed``, and call ``finish`` after the last.

    Lines that the log does not hold yet wait for the next call. *on_private* gets each line that is for this reader
    alone (its kind, its parts).
    """

    def __init__(self, log: Log, author: Author, on_private: OnPrivate) -> None:
        self.log = log
        self.author = author
        self.quiet = False
        """Whether this reader has hidden joins and leaves."""
        self.seq = 0
        """Number of the last line that it has received or missed, or for which it has a receipt."""
        self.own: deque[bytes] = deque()
        """Its own lines whose receipts are due."""
        self.answers: deque[Answer] = deque()
        """The expected answers, in order."""
        self.must_reach = 0
        """Number of the line that it must have reached before the goodbye."""
        self.over = False
        """Whether the goodbye has come."""
        self.counts: Counter[str] = Counter()
        self._on_private = on_private
        self._take = self._take_welcome
        self._unjudged: list[bytes] = []
        self._unfinished = b""
        self._replay: list[bytes] = []
        self._gap = 1 << 62
        """Number of the first line of the last gap: receipts of lines in it may come after the notice."""

    def feed(self, data: bytes) -> None:
        """Check *data*."""
        whole, end, self._unfinished = (self._unfinished + data).rpartition(b"\n")
        self._unjudged += (whole + end).splitlines(keepends=True)
        self.judge()

    def finish(self) -> None:
        """Check that everything has come: the server has closed the connection, and the log is complete."""
        self.judge()
        if self._unjudged or self._unfinished:
            raise self._difference("the last is", b"".join([*self._unjudged, self._unfinished]))
        if not self.over:
            raise self._difference("the server closed the connection")
        if self.own:
            raise self._difference("no receipt came for", self.own[0])
        if self.answers:
            raise self._difference(f"the answer {self.answers[0].pattern.pattern!r} is missing")

    def judge(self) -> None:
        """Check the lines that have waited for the log."""
        lines, known, at = self._unjudged, self.log.lines, 0
        if self._take == self._take_live:  # Nearly all lines are the next of the log: this loop is fast.
            seq = self.seq
            while at < len(lines) and seq < len(known) and lines[at] == known[seq]:
                seq += 1
                at += 1
            self.counts["lines read"] += at
            self.seq = seq
        while at < len(lines) and self._take(lines[at]):
            at += 1
        del lines[:at]

    # The states: each returns whether the line could be judged.

    def _take_welcome(self, line: bytes) -> bool:
        if line != b"Welcome to Broadcast. Type a nickname and press Enter.\r\n":
            raise self._difference("instead of the welcome comes", line)
        self._take = self._take_arrival
        return True

    def _take_arrival(self, line: bytes) -> bool:
        arrived = _ARRIVED.fullmatch(line)
        if arrived is None or arrived[1] != self.author.nick:
            raise self._difference("instead of the nickname comes", line)
        self._take = self._take_replay
        self._on_private("arrived", ())
        return True

    def _take_replay(self, line: bytes) -> bool:
        if (replayed := _REPLAYED.fullmatch(line)) is not None:
            self._replay.append(replayed[1])
            return True
        if self._replay:
            seq = self.log.find(self._replay[-1])
            if not seq:
                return False
            if self._replay != self.log.lines[max(0, seq - REPLAY) : seq]:
                raise self._difference(f"the replay is not what was said up to #{seq}:", b"".join(self._replay))
            self.seq = seq
        self._take = self._take_live
        return self._take_live(line)

    def _take_live(self, line: bytes) -> bool:
        if line.startswith(b"-> "):
            receipt = _RECEIPT.fullmatch(line)
            return self._take_answer(line) if receipt is None else self._take_receipt(int(receipt[1]))
        if (missed := _MISSED.fullmatch(line)) is not None:
            return self._take_gap(*map(int, missed.groups()))
        if (passage := _PASSAGE.fullmatch(line)) is not None and not self.quiet:
            self._take_passage(line, *passage.groups())
        elif (private := _PRIVATE.fullmatch(line)) is not None:
            self.counts["private messages"] += 1
            self._on_private("private", private.groups())
        elif line == b" * Goodbye, %b.\r\n" % self.author.nick:
            if self.seq < self.must_reach:
                raise self._difference("the goodbye comes before a line that was said before it asked to leave")
            self.over = True
            self._take = self._take_nothing
        elif line not in self.log.renames:
            if self.seq == len(self.log.lines):
                return self._take_unknown(line)
            if self.log.lines[self.seq] != line:
                raise self._difference("it received", line)
            self.counts["lines read"] += 1
            self.seq += 1
        return True

    def _take_nothing(self, line: bytes) -> bool:
        raise self._difference("after the goodbye comes", line)

    # The kinds of lines

    def _take_passage(self, line: bytes, count: bytes | None, nick: bytes, way: bytes, reason: bytes | None) -> None:
        """Accept a join or leave."""

    def _take_unknown(self, _line: bytes) -> bool:
        """Judge a line that comes after the last of the log."""
        return False

    def _take_answer(self, line: bytes) -> bool:
        if _WAITING.fullmatch(line) is not None:
            self.counts["notices of waiting lines"] += 1
            return True
        if not self.answers:
            raise self._difference("it asked for nothing, but gets the answer", line)
        asked, text = self.answers[0], line[3:-2]
        try:
            is_last = asked.take(text, self.log)
        except Unexplained as error:
            raise self._difference(str(error), line) from None
        if is_last is None:
            return False
        self.counts["replies"] += 1
        if is_last:
            self.answers.popleft()
            asked.then(text)
        return True

    def _take_receipt(self, seq: int) -> bool:
        if seq > len(self.log.lines):
            return False
        if not self.own or self.log.lines[seq - 1] != self.own[0]:
            raise self._difference(f"this own line is not #{seq}:", self.own[0] if self.own else b"")
        if seq == self.seq + 1:
            self.seq = seq
        elif not self._gap <= seq <= self.seq:
            raise self._difference(f"too early or too late is the receipt of #{seq}")
        self.own.popleft()
        self.counts["receipts"] += 1
        return True

    def _take_gap(self, count: int, first: int, last: int) -> bool:
        if last > len(self.log.lines):
            return False
        between = range(min(first, self.seq + 1), max(first, self.seq + 1))
        if not count == last - first + 1 > 0 or any(self.log.author(seq) is not self.author for seq in between):
            raise self._difference("a line is in no notice, or is also received:", b"#%d-#%d" % (first, last))
        self._gap = between.start
        self.seq = max(self.seq, last)
        self.counts["lines in gap notices"] += count
        self.counts["gap notices"] += 1
        return True

    def _difference(self, problem: str, received: bytes = b"") -> Unexplained:
        lines, seq = self.log.lines, self.seq
        expected = _shown(lines[seq]) if seq < len(lines) else "not known"
        return Unexplained(
            f"{_shown(self.author.nick)}, after #{seq}: {problem}{' ' + _shown(received) if received else ''}; "
            f"the next line of the log is {expected}"
        )


class Reference(Stream):
    """The reader whose numbered lines are the log. It counts joins and leaves, and each nickname comes and goes once.

    *on_left* is called with each nickname that a notice of a leave names, and the reason.
    """

    def __init__(
        self, log: Log, author: Author, on_private: OnPrivate, on_left: Callable[[bytes, bytes], None]
    ) -> None:
        super().__init__(log, author, on_private)
        self._on_left = on_left
        self._named: set[tuple[bytes, bytes]] = set()

    def _take_unknown(self, line: bytes) -> bool:
        self.log.record(line)
        self.seq += 1
        return True

    def _take_passage(self, line: bytes, count: bytes | None, nick: bytes, way: bytes, reason: bytes | None) -> None:
        if (nick, way) in self._named or count == b"1":
            raise self._difference("twice, or as a number, it received", line)
        if count is not None:
            self.counts["crowds"] += 1
        elif nick in self.log.authors:
            self._named.add((nick, way))
            if way == b"left":
                self._on_left(nick, reason or b"")
        self.counts[way.decode()] += int(count or 1)

    def _take_gap(self, count: int, first: int, last: int) -> bool:
        raise self._difference("the reference itself lags: this machine is too slow for this number of clients")


def compare(log: Log, rows: Sequence[tuple[int, str, str, str]]) -> str:
    """Return the first difference between *log* and the journal's *rows* (number, kind, nickname, text), or ""."""
    for expected, (seq, kind, nick, text) in enumerate(rows, 1):
        line = (f"** {nick} {text}" if kind == "emoted" else f"{nick}: {text}").encode() + END
        if seq != expected:
            return f"the journal's line after #{expected - 1} is #{seq}"
        if log.lines[seq - 1 : seq] != [line]:
            return f"#{seq} of the journal was not read: {_shown(line)}"
    return "" if len(rows) == len(log.lines) else f"the journal ends with #{len(rows)}, but more was read"


def _shown(data: bytes) -> str:
    """Return *data* for a message."""
    if len(data) <= 160:
        return repr(data)[1:]
    return f"{data[:120] + b'...' + data[-20:]!r} of {len(data)} bytes"[1:]
