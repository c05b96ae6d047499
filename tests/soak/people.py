"""People who behave: every byte that each of them is sent is checked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import ClassVar, Final

from tests.soak.model import Answer, Author, LoudReference, Names, Recall, Reference, Stream, Unexplained
from tests.soak.world import Person

PASTE: Final = 40
"""So many lines a person may say at once (HARDENING); after that, two a second."""
FOUND: Final = 50
"""So many lines ``/search`` shows at most (PROTOCOL)."""
FORTY_AFTER: Final = 25.0
"""Seconds after which a whole paste may be said again, at two lines a second, and some more."""
LONG: Final = b"z" * 1000


class Behaved(Person):
    """Somebody every byte of whose stream is explained. From all but the *loud*, joins and leaves are hidden."""

    loud: ClassVar[bool] = False
    timed: ClassVar[bool] = False
    """Whether they read as soon as they can, so that it can be measured when a line has reached them."""
    stays: ClassVar[bool] = False
    """Whether they stay, under one name: one may whisper to them."""
    talks: ClassVar[bool] = True

    author: Author
    stream: Stream | None = None

    def come(self) -> None:
        self.reap()
        self._resting = self._leaving = self.ready = False
        self._asked: Callable[[], None] | None = None
        self.author = Author(self.nick, self.world.loud if self.loud else self.world.quiet)
        if self.loud:
            self.world.loud.owners[self.author.nick] = self.author
        self.stream = self.listen()
        self.introduce(self.author)

    def listen(self) -> Stream:
        """Their stream."""
        log = self.author.log
        assert log is not None
        stream = Stream(log, self.author, self.hear)
        stream.noisy = not self.loud
        return stream

    def reap(self) -> None:
        """Count what the visit before came to."""
        if self.stream is not None:
            self.world.harvest(self.stream)
            self.stream = None

    def received(self, data: bytes, now: float) -> None:
        stream = self.stream
        assert stream is not None
        before = stream.position
        stream.feed(data)
        if stream.waits:
            self.world.waiting.setdefault(stream, (now, self.timed))
        elif self.timed and stream.log.at:
            self.world.measure(stream, before, now)

    def closed(self, why: str) -> None:
        assert self.stream is not None
        if why:
            raise Unexplained(f"{self.author.nick.decode()} was cut off: {why}")
        stream = self.stream
        self.gone()
        stream.end()

    def gone(self) -> None:
        super().gone()
        self.world.here.discard(self)
        if self in self.world.reachable:
            self.world.reachable.remove(self)

    # What they do

    def hear(self, what: str, words: Sequence[bytes]) -> None:
        """Something for them alone has come."""
        if what == "arrived":
            self.world.counts["arrived"] += 1
            self.world.here.add(self)
            if self.loud:
                self._settled(b"")
            else:
                self.command(b"/quiet on", b"joins and leaves are off\\.", self._settled)
        elif what == "whispered":
            nick, text = words
            author = self.world.quiet.owners.get(nick)
            due = None if author is None else self.world.whispers.get((author, self))
            if not due or due.popleft() != text:
                raise Unexplained(f"{self.author.nick.decode()} reads that {nick.decode()} whispers {text!r}: not so")
            self.world.counts["whispers read"] += 1

    def _settled(self, _answer: bytes) -> None:
        assert self.stream is not None
        if not self.loud:
            self.stream.noisy = False
        self.ready = True
        if self.stays:
            self.world.reachable.append(self)
        if self.world.closing:
            self.begin_to_leave()
            return
        if self.talks and self.world.pastes > 0:
            self.world.pastes -= 1
            self.paste()
        self.begin()

    def begin(self) -> None:
        """They are in the room, and all is set."""

    def command(self, line: bytes, pattern: bytes, then: Callable[[bytes], None] | None = None) -> None:
        """Type a command; the answer must match *pattern*."""
        self._await(line, Answer(pattern, then))

    def ping(self, then: Callable[[], None]) -> None:
        """Ask for a sign of life."""
        self.command(b"/ping", b"pong", lambda _answer: then())

    def look_back(self, count: int) -> None:
        """Ask for the last lines."""
        self._recall(b"/history %d" % count, Recall(count))

    def search(self, word: bytes) -> None:
        """Ask for lines with *word* in them."""
        self._recall(b"/search " + word, Recall(FOUND, word))

    def _await(self, line: bytes, answer: Answer) -> None:
        assert self.stream is not None
        self.stream.answers.append(answer)
        self.world.counts["commands"] += 1
        self.write(line)

    def _recall(self, line: bytes, recall: Recall) -> None:
        self._await(line, recall)
        self.command(b"/ping", b"pong")  # so that it shows where it ends

    def say(self, filler: bytes | None = None) -> None:
        """Say the next line."""
        self.write(self.remark(self.author, filler, timed=self.timed))

    def paste(self) -> None:
        """Say many lines at once."""
        filler = LONG if self.world.random.random() < 0.2 else None
        self.world.counts["pastes"] += 1
        lines = (self.remark(self.author, filler) + self.end_of_line for _ in range(PASTE))
        assert self.connection is not None
        self.connection.send(b"".join(lines))

    def whisper(self) -> None:
        """Say something to one person."""
        others = [self.world.random.choice(self.world.reachable)] if self.world.reachable else []
        for other in others:
            if other is not self:
                text = b"psst %d" % self.world.counts["whispers"]
                self.world.counts["whispers"] += 1
                self.world.whispers.setdefault((self.author, other), deque()).append(text)
                nick = other.author.nick
                self.command(b"/msg %b %b" % (nick, text), b"sent to %b(?:\\.|, who is away.*)" % nick)

    # The end

    def begin_to_leave(self) -> None:
        if self.connection is not None and self.ready and not self._resting and not self._leaving:
            self._resting = True
            self.rested = False
            self.connection.read_on()
            self.ping(self._rest)

    def _rest(self) -> None:
        self.rested = True

    rested = False

    @property
    def at_rest(self) -> bool:
        return self.connection is None or (self._resting and self.rested)

    def leave(self) -> None:
        if self.connection is None or self._leaving:
            return
        self._leaving = True
        assert self.stream is not None
        assert self.author.log is not None
        self.stream.must_reach = len(self.author.log.text)
        self.stream.leaving = True
        form = self.world.random.randrange(4)
        if form == 0:
            self.connection.end()
        else:
            self.write((b"/quit tired", b"quit", b"/exit")[form - 1])


class Reader(Behaved):
    """Reads, and that is all."""

    kind = "reader"
    timed = stays = True

    def begin(self) -> None:
        if self.number % 10 == 0:
            self.command(b"/away lunch", b"You are away: lunch")


class Loud(Behaved):
    """Sees joins and leaves, and talks now and then."""

    kind = "loud"
    loud = timed = stays = True

    def begin(self) -> None:
        self.later(5, 60, self._talk)

    def _talk(self) -> None:
        self.say()
        self.later(5, 60, self._talk)


class Prober(Behaved):
    """Pings every second."""

    kind = "prober"

    def begin(self) -> None:
        at = monotonic()
        self.ping(lambda: self._answered(at))

    def _answered(self, at: float) -> None:
        self.world.lags.append(monotonic() - at)
        self.later(1, 1, self.begin)


class Talker(Behaved):
    """Talks, with receipts, and whispers now and then."""

    kind = "talker"
    timed = stays = True

    def begin(self) -> None:
        self.command(b"/receipts on", b"receipts are on\\.", self._go)

    def _go(self, _answer: bytes) -> None:
        self.author.receipts = True
        self.later(0, self.world.interval, self._talk)

    def _talk(self) -> None:
        if self.world.random.random() < 0.1:
            self.whisper()
        else:
            self.say()
        self.later(0.5 * self.world.interval, 1.5 * self.world.interval, self._talk)


class Comer(Behaved):
    """Comes, does a little of everything, goes, and comes again."""

    kind = "comer"

    def begin(self) -> None:
        self._left = self.world.random.randrange(2, 12)
        self._renamed = 0
        self.later(0.2, 4, self._act)

    def _act(self) -> None:
        self._left -= 1
        if not self._left:
            self.leave()
            return
        random = self.world.random
        random.choice(
            (
                self.say,
                self.say,
                self.whisper,
                self._away,
                self._rename,
                self._look_around,
                self._look_back,
                self._search,
                self._ask,
            )
        )()
        self.later(0.2, 8, self._act)

    def _away(self) -> None:
        self.command(b"/away", b"You are away\\.")
        self.command(b"/back", b"Welcome back\\.")

    def _rename(self) -> None:
        self._renamed += 1
        new = b"%b-%d" % (self.nick, self._renamed)
        self.author.renames.append(new)
        self.world.quiet.owners[new] = self.author
        self.command(b"/nick " + new, b"You are %b\\." % new, self._follow)

    def _follow(self, answer: bytes) -> None:
        self.author.nick = answer.removeprefix(b"You are ").removesuffix(b".")

    def _look_around(self) -> None:
        self._await(b"/names", Names())

    def _look_back(self) -> None:
        self.look_back(self.world.random.choice((5, 20, 100)))

    def _search(self) -> None:
        self.search(self.world.random.choice((b"hi", b"flood", b"bob")))

    def _ask(self) -> None:
        self.command(b"/uptime", rb"up since .*")

    def closed(self, why: str) -> None:
        super().closed(why)
        self.again(1, 8)


class Staller(Behaved):
    """Stops reading for a while, goes on, and reads what there was, or is told what they missed."""

    kind = "staller"
    narrow = True

    def begin(self) -> None:
        self.later(0, 10, self._stall)

    def _stall(self) -> None:
        assert self.connection is not None
        self.connection.stop_reading()
        self.world.counts["stalls"] += 1
        longest = self.world.stall
        self.later(min(2.0, longest), longest * self.world.random.random(), self._go_on)

    def _go_on(self) -> None:
        assert self.connection is not None
        self.connection.read_on()
        self.later(2, 20, self._stall)


class Sipper(Behaved):
    """Reads a byte a second."""

    kind = "sipper"
    narrow = True

    def begin(self) -> None:
        assert self.connection is not None
        self.connection.stop_reading()
        self.later(1, 1, self._sip)

    def _sip(self) -> None:
        assert self.connection is not None
        self.connection.sip()
        self.later(1, 1, self._sip)


class Typist(Behaved):
    """Sends a byte at a time."""

    kind = "typist"

    def come(self) -> None:
        self._untyped = b""
        super().come()
        self._type()

    def write(self, line: bytes) -> None:
        self._untyped += line + self.end_of_line
        if self.world.closing:
            self._hurry()

    def begin(self) -> None:
        self.later(5, 20, self._talk)

    def _talk(self) -> None:
        self.say(b"slow")
        self.later(10, 40, self._talk)

    def _type(self) -> None:
        assert self.connection is not None
        self.connection.send(self._untyped[:1])
        self._untyped = self._untyped[1:]
        self.later(0.05, 0.5, self._type)

    def begin_to_leave(self) -> None:
        self._hurry()
        super().begin_to_leave()

    def _hurry(self) -> None:
        if self.connection is not None:
            self.connection.send(self._untyped)
            self._untyped = b""


class Paster(Behaved):
    """Says forty lines at once, now and then."""

    kind = "paster"
    stays = True

    def begin(self) -> None:
        self.later(FORTY_AFTER, 2 * FORTY_AFTER, self._paste)

    def _paste(self) -> None:
        self.paste()
        self.later(FORTY_AFTER, 2 * max(FORTY_AFTER, self.world.interval), self._paste)


class Flooder(Behaved):
    """Says more than the server reads, for a while, then breaks off."""

    kind = "flooder"
    narrow = True

    def begin(self) -> None:
        self._until = monotonic() + self.world.one_of(20, 90)
        self.paste()
        self.later(0.2, 0.2, self._flood)

    def _flood(self) -> None:
        assert self.connection is not None
        if monotonic() > self._until:
            self.drop()
            self.again(5, 20)
            return
        # Twice what the server reads: it must slow them down. Were it to read all of it, everybody else would have to.
        if len(self.author.unseen) > PASTE:
            self.world.counts["floods slowed"] += 1
        if not self.connection.full:
            self.say(b"flood")
        self.later(0.25, 0.25, self._flood)

    def begin_to_leave(self) -> None:
        self.drop()


class WrittenDown(Behaved):
    """The reader who is the log."""

    kind = "reference"
    talks = False
    wide = True

    def listen(self) -> Stream:
        return Reference(self.world.quiet, self.author, self.hear)

    def received(self, data: bytes, now: float) -> None:
        assert self.stream is not None
        before = len(self.world.quiet.text)
        self.stream.feed(data)
        if len(self.world.quiet.text) != before:
            self.world.grown()


class LoudWrittenDown(Behaved):
    """The reader who is the log of those who see joins and leaves."""

    kind = "loudreference"
    wide = True

    def listen(self) -> Stream:
        return LoudReference(self.world.quiet, self.world.loud, self.world.attendance, self.author, self.hear)

    def hear(self, what: str, words: Sequence[bytes]) -> None:
        if what == "arrived":
            self.world.here.add(self)
            self.ready = True
        else:
            super().hear(what, words)

    def received(self, data: bytes, now: float) -> None:
        before = len(self.world.loud.text)
        super().received(data, now)
        if len(self.world.loud.text) != before:
            self.world.grown()
