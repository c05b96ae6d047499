"""Well-behaved people: the model checks every byte that each of them receives."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import ClassVar, Final

from tests.soak.model import Answer, Author, Log, LoudReference, Names, Recall, Reference, Stream, Unexplained
from tests.soak.world import Person

PASTE: Final = 40
"""Number of lines that the rate limit allows at once; after that, two a second."""
FOUND: Final = 50
"""Maximum number of lines that ``/search`` shows."""
PASTE_SECONDS: Final = 25.0
"""Seconds after which the rate limit allows another paste."""
LONG: Final = b"z" * 1000


class WellBehaved(Person):
    """A person whose every received byte is explained. All but the *loud* hide joins and leaves."""

    loud: ClassVar[bool] = False
    timed: ClassVar[bool] = False
    """Whether it reads as soon as it can, so that latencies can be measured."""
    stays: ClassVar[bool] = False
    """Whether it stays under one name, so that private messages reach it."""

    stream: Stream

    def come(self) -> None:
        self.ready = self.rested = self._resting = self._leaving = False
        log = self.world.loud if self.loud else self.world.quiet
        author = Author(self.nick, log)
        log.owners[author.nick] = author
        self.stream = self.make_stream(log, author)
        self.introduce(author)

    def make_stream(self, log: Log, author: Author) -> Stream:
        """Return the check of what this person receives."""
        return Stream(log, author, self.on_private)

    def received(self, data: bytes, now: float) -> None:
        stream, world = self.stream, self.world
        before, known = stream.position, world.known
        stream.feed(data)
        if stream.waits:
            world.waiting.setdefault(stream, (now, self.timed))
        elif self.timed:
            world.measure(stream, before, now)
        if world.known != known:
            world.logs_have_grown()

    def closed(self, why: str) -> None:
        if why:
            raise Unexplained(f"{self.stream.author.nick.decode()} was cut off: {why}")
        self.gone()
        self.stream.end()

    def gone(self) -> None:
        super().gone()
        self.world.visits.append(self.stream)
        self.world.here.discard(self)
        if self in self.world.reachable:
            self.world.reachable.remove(self)

    def on_private(self, kind: str, parts: Sequence[bytes]) -> None:
        """Take in a line for this person alone."""
        if kind == "arrived":
            self.world.counts["arrived"] += 1
            self.world.here.add(self)
            if self.loud:
                self._settle(b"")
            else:
                self.command(b"/quiet on", b"joins and leaves are off\\.", self._settle)
        else:
            nick, text = parts
            author = self.world.quiet.owners.get(nick)
            due = None if author is None else self.world.private.get((author, self))
            if not due or due.popleft() != text:
                raise Unexplained(f"{nick.decode()} did not send {text!r} to {self.nick.decode()} now")
            self.world.counts["whispers read"] += 1

    def _settle(self, _answer: bytes) -> None:
        self.stream.noisy = False
        self.ready = True
        if self.stays:
            self.world.reachable.append(self)
        if self.world.closing:
            self.begin_to_leave()
            return
        if self.world.pastes > 0:
            self.world.pastes -= 1
            self.paste()
        self.begin()

    def begin(self) -> None:
        """Begin to do what this kind does: the person is in the room, and everything is set."""

    def command(self, line: bytes, answer: bytes | Answer, then: Callable[[bytes], None] = lambda _text: None) -> None:
        """Type a command and expect its answer."""
        self.stream.answers.append(Answer(answer, then) if isinstance(answer, bytes) else answer)
        self.world.counts["commands"] += 1
        self.write(line)

    def look_back(self, count: int) -> None:
        """Ask for the last lines."""
        self.command(b"/history %d" % count + self.end_of_line + b"/ping", Recall(count))

    def search(self, word: bytes) -> None:
        """Ask for lines that hold *word*."""
        self.command(b"/search " + word + self.end_of_line + b"/ping", Recall(FOUND, word))

    def say(self, filler: bytes | None = None) -> None:
        """Say the next line."""
        self.write(self.remark(filler, timed=self.timed))

    def paste(self) -> None:
        """Say many lines at once."""
        filler = LONG if self.world.random.random() < 0.2 else None
        self.world.counts["pastes"] += 1
        self.send(b"".join(self.remark(filler) + self.end_of_line for _ in range(PASTE)))

    def send_private(self) -> None:
        """Send a private message to a random person."""
        other = self.world.random.choice(self.world.reachable or [self])
        if other is not self:
            text = b"psst %d" % self.world.counts["whispers"]
            self.world.counts["whispers"] += 1
            self.world.private.setdefault((self.stream.author, other), deque()).append(text)
            self.command(b"/msg %b %b" % (other.nick, text), b"sent to %b(?:\\.|, who is away.*)" % other.nick)

    def begin_to_leave(self) -> None:
        if self.connection is not None and self.ready and not self._resting and not self._leaving:
            self._resting = True
            self.connection.resume_reading()
            self.command(b"/ping", b"pong", self._rest)

    def _rest(self, _answer: bytes) -> None:
        self.rested = True

    @property
    def at_rest(self) -> bool:
        return self.connection is None or self.rested

    def leave(self) -> None:
        if self.connection is None or self._leaving:
            return
        self._leaving = self.stream.leaving = True
        self.stream.must_reach = len(self.stream.log.lines)
        farewell = self.world.random.choice((b"", b"/quit tired", b"quit", b"/exit"))
        if farewell:
            self.write(farewell)
        else:
            self.connection.end()


class Reader(WellBehaved):
    """Only reads."""

    kind = "reader"
    timed = stays = True

    def begin(self) -> None:
        if self.number % 10 == 0:
            self.command(b"/away lunch", b"You are away: lunch")


class Loud(WellBehaved):
    """Sees joins and leaves, and talks now and then."""

    kind = "loud"
    loud = timed = stays = True

    def begin(self) -> None:
        self.every(5, 60, self.say)


class Prober(WellBehaved):
    """Measures the time of a ping every second."""

    kind = "prober"

    def begin(self) -> None:
        at = monotonic()
        self.command(b"/ping", b"pong", lambda _answer: self._answered(at))

    def _answered(self, at: float) -> None:
        self.world.lags.append(monotonic() - at)
        self.later(1, 1, self.begin)


class Talker(WellBehaved):
    """Talks with receipts, and sends private messages now and then."""

    kind = "talker"
    timed = stays = True

    def begin(self) -> None:
        self.command(b"/receipts on", b"receipts are on\\.", self._start)

    def _start(self, _answer: bytes) -> None:
        self.stream.author.receipts = True
        self.later(0, self.world.interval, self._talk)

    def _talk(self) -> None:
        if self.world.random.random() < 0.1:
            self.send_private()
        else:
            self.say()
        self.later(0.5 * self.world.interval, 1.5 * self.world.interval, self._talk)


class Comer(WellBehaved):
    """Comes, does a little of everything, goes, and comes again."""

    kind = "comer"

    def begin(self) -> None:
        self._renames = 0
        self._actions = self.world.random.randrange(1, 11)
        self.every(0.2, 6, self._act)

    def _act(self) -> None:
        if not self._actions:
            self.leave()
            return
        self._actions -= 1
        random = self.world.random
        action: Callable[[], None] = random.choice((
            self.say,
            self.say,
            self.send_private,
            self._go_away,
            self._rename,
            lambda: self.command(b"/names", Names()),
            lambda: self.look_back(random.choice((5, 20, 100))),
            lambda: self.search(random.choice((b"hi", b"flood", b"bob"))),
            lambda: self.command(b"/uptime", rb"up since .*"),
        ))  # fmt: skip
        action()

    def _go_away(self) -> None:
        self.command(b"/away", b"You are away\\.")
        self.command(b"/back", b"Welcome back\\.")

    def _rename(self) -> None:
        self._renames += 1
        new = b"%b-%d" % (self.nick, self._renames)
        author = self.world.quiet.owners[new] = self.stream.author
        author.renames.append(new)
        self.command(b"/nick " + new, b"You are %b\\." % new, lambda _answer: setattr(author, "nick", new))

    def closed(self, why: str) -> None:
        super().closed(why)
        self.again(1, 8)


class Staller(WellBehaved):
    """Stops reading for a while, then reads everything, or a gap notice."""

    kind = "staller"
    buffers = "narrow"

    def begin(self) -> None:
        self.later(0, 10, self._stall)

    def _stall(self) -> None:
        assert self.connection is not None
        self.connection.stop_reading()
        self.world.counts["stalls"] += 1
        longest = self.world.stall
        self.later(min(2.0, longest), longest * self.world.random.random(), self._resume)

    def _resume(self) -> None:
        assert self.connection is not None
        self.connection.resume_reading()
        self.later(2, 20, self._stall)


class Sipper(WellBehaved):
    """Reads a byte a second."""

    kind = "sipper"
    buffers = "narrow"

    def begin(self) -> None:
        assert self.connection is not None
        self.connection.stop_reading()
        self.every(1, 1, self.connection.sip)


class Typist(WellBehaved):
    """Sends a byte at a time."""

    kind = "typist"

    def come(self) -> None:
        self._untyped = b""
        super().come()
        self.every(0.05, 0.5, self._type)

    def write(self, line: bytes) -> None:
        self._untyped += line + self.end_of_line
        if self.world.closing:
            self._type(len(self._untyped))

    def begin(self) -> None:
        self.every(10, 30, lambda: self.say(b"slow"))

    def _type(self, count: int = 1) -> None:
        self.send(self._untyped[:count])
        self._untyped = self._untyped[count:]

    def begin_to_leave(self) -> None:
        if self.connection is not None:
            self._type(len(self._untyped))
        super().begin_to_leave()


class Paster(WellBehaved):
    """Pastes forty lines now and then."""

    kind = "paster"
    stays = True

    def begin(self) -> None:
        self.every(PASTE_SECONDS, 2 * max(PASTE_SECONDS, self.world.interval), self.paste)


class Flooder(WellBehaved):
    """Says more than the rate limit allows for a while, then resets the connection."""

    kind = "flooder"
    buffers = "narrow"

    def begin(self) -> None:
        self.paste()
        self.every(0.25, 0.25, self._flood)
        self.later(20, 90, self._break)

    def _flood(self) -> None:
        assert self.connection is not None
        # This is twice what the server reads. If the server read all of it, the flooder would never be far ahead.
        self.world.counts["floods slowed"] += len(self.stream.author.unseen) > PASTE
        if not self.connection.full:
            self.say(b"flood")

    def _break(self) -> None:
        self.drop()
        self.again(5, 20)

    def begin_to_leave(self) -> None:
        self.drop()


class QuietReference(WellBehaved):
    """The reader whose lines are the log."""

    kind = "reference"
    buffers = "wide"

    def make_stream(self, log: Log, author: Author) -> Stream:
        return Reference(log, author, self.on_private)


class LoudReader(WellBehaved):
    """The reader whose lines are the log of those that see joins and leaves."""

    kind = "loudreference"
    buffers = "wide"

    def make_stream(self, log: Log, author: Author) -> Stream:
        return LoudReference(log, author, self.on_private, self.world.loud, self.world.attendance)

    def on_private(self, kind: str, parts: Sequence[bytes]) -> None:
        if kind == "arrived":  # It goes on seeing joins and leaves.
            self.world.here.add(self)
            self.ready = True
        else:
            super().on_private(kind, parts)
