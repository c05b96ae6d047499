"""Who comes: people who behave, each of whose bytes is checked, and people who do not."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Sequence
from random import Random
from time import monotonic
from typing import ClassVar, Final

from tests.soak.loop import Connection, Loop
from tests.soak.model import (
    Answer,
    Attendance,
    Author,
    Log,
    LoudReference,
    Names,
    Recall,
    Reference,
    Remark,
    Stream,
    Unexplained,
)

PASTE: Final = 40
"""So many lines a person may say at once (HARDENING); after that, two a second."""
FOUND: Final = 50
"""So many lines ``/search`` shows at most (PROTOCOL)."""
LINES_A_SECOND: Final = 5.0
"""What all talkers together say."""
NICKNAME_SECONDS: Final = 60
"""Who has no nickname then is shown the door (HARDENING)."""
AWAY_SECONDS: Final = 180.0
"""Whose network has stopped is gone for all after 150 s (HARDENING); this is when they come back and look."""
FORTY_AFTER: Final = 25.0
"""Seconds after which a whole paste may be said again, at two lines a second, and some more."""
ENDS: Final = (b"\n", b"\r\n", b"\r", b"\r\0")
FILLERS: Final = tuple(
    word.encode()
    for word in (
        "hi", "so what", "das heißt", "Привет всем", "日本語もどうぞ", "🙂 ok", "* bob left.",
        "-> #7", "[14:02] bob: no",
        "x" * 64, "y" * 200, "one line of a text that is about as long as lines are when people talk to each other",
    )
)  # fmt: skip
LONG: Final = b"z" * 1000


class World:
    """What all of them share. *random* decides everything that is left to chance."""

    def __init__(self, loop: Loop, random: Random, port: int) -> None:
        self.loop = loop
        self.random = random
        self.port = port
        self.quiet = Log()
        self.loud = Log()
        self.attendance = Attendance(self.quiet.owners, self._told_of_leaving)
        self.closing = False
        """Whether everybody is to come to an end."""
        self.pastes = 0
        """So many of those who come next begin with a paste."""
        self.interval = 10.0
        """Seconds between two lines of one talker."""
        self.stall = 30.0
        """The longest that somebody reads nothing, in seconds."""
        self.counts: Counter[str] = Counter()
        self.waiting: dict[Stream, tuple[float, bool]] = {}
        """What they have read is not in the log yet: since when, and whether that is to be measured."""
        self.latencies: list[float] = []
        """Seconds from when a line was said until somebody had read it, since the last sample."""
        self.lags: list[float] = []
        """Seconds until a ping was answered, likewise."""
        self.here: set[Behaved] = set()
        self.reachable: list[Behaved] = []
        """Whom one may whisper to: they stay, under one name."""
        self.whispers: dict[tuple[Author, Behaved], deque[bytes]] = {}
        self.vanished: dict[bytes, float] = {}
        """Whose network has stopped, and when: those of whom it has not been told yet."""
        self.absences: list[float] = []
        """Seconds until it was told, of those who were named."""
        self.owing: list[Author] = []
        """Who left before the log held all that they said."""

    def grown(self) -> None:
        """A log has grown: compare what waits for that."""
        for stream, (since, timed) in list(self.waiting.items()):
            before = stream.position
            stream.go_on()
            if not stream.waits:
                del self.waiting[stream]
                if timed:
                    self.measure(stream, before, since)

    def measure(self, stream: Stream, before: int, now: float) -> None:
        """*stream* has come from the place *before* to where it is."""
        at = stream.log.at
        if at and stream.position != before and stream.position == len(stream.log.text):
            self.latencies.append(now - at)

    def harvest(self, stream: Stream) -> None:
        """A visit is over."""
        self.counts["received"] += stream.received
        self.counts["missed"] += stream.missed
        self.counts["notices"] += stream.notices
        self.counts["private"] += stream.private
        self.counts["receipts"] += stream.receipts
        if stream.author.unseen:
            self.owing.append(stream.author)

    def _told_of_leaving(self, nick: bytes, how: bytes) -> None:
        if (since := self.vanished.pop(nick, None)) is not None:
            if how != b"connection lost":
                raise Unexplained(f"{nick.decode()}, whose network has stopped, is told to have left: {how!r}")
            self.absences.append(monotonic() - since)

    def one_of(self, low: float, high: float) -> float:
        """Some seconds."""
        return self.random.uniform(low, high)


class Person:
    """A place in the crowd: somebody comes, does what this kind does, leaves, and perhaps comes again."""

    kind: ClassVar[str] = "person"
    narrow: ClassVar[bool] = False
    wide: ClassVar[bool] = False

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.visits = 0
        self.connection: Connection | None = None
        self.end_of_line = ENDS[number % len(ENDS)]

    def arrive(self) -> None:
        """Come, unless it is too late for that."""
        if not self.world.closing and self.connection is None:
            self.visits += 1
            self.world.counts[f"{self.kind} visits"] += 1
            self.connection = Connection(self.world.loop, self.world.port, self, narrow=self.narrow, wide=self.wide)
            self.come()

    def come(self) -> None:
        """The connection is being made."""

    def begin_to_leave(self) -> None:
        """The end is near: everybody is to come to rest."""
        self.drop()

    @property
    def at_rest(self) -> bool:
        """Whether they have."""
        return self.connection is None

    def leave(self) -> None:
        """Go, as one should."""

    def drop(self) -> None:
        """Break the connection."""
        if self.connection is not None:
            self.connection.reset()
            self.gone()

    def gone(self) -> None:
        """The connection is no more."""
        self.connection = None

    def received(self, data: bytes, now: float) -> None:
        """Who does not behave does not look at it."""

    def closed(self, why: str) -> None:
        """The server has ended it."""
        self.gone()

    @property
    def nick(self) -> bytes:
        """What they ask to be called on this visit."""
        return b"%b%d.%d" % (self.kind.encode(), self.number, self.visits)

    def later(self, low: float, high: float, call: Callable[[], None]) -> None:
        """Call *call* in *low* to *high* seconds, if this visit still goes on then, and the end is not near."""
        visit = self.visits

        def on_time() -> None:
            if visit == self.visits and self.connection is not None and not self.world.closing:
                call()

        self.world.loop.later(self.world.one_of(low, high), on_time)

    def again(self, low: float, high: float) -> None:
        """Come again in *low* to *high* seconds."""
        self.world.loop.later(self.world.one_of(low, high), self.arrive)

    def write(self, line: bytes) -> None:
        """Send a line."""
        assert self.connection is not None
        self.connection.send(line + self.end_of_line)

    def introduce(self, author: Author) -> None:
        """Ask for the nickname of *author*."""
        self.world.quiet.owners[author.nick] = author
        self.world.counts["nicknames asked for"] += 1
        self.write(author.nick)

    def remark(self, author: Author, filler: bytes | None = None, *, timed: bool = False) -> bytes:
        """What *author* types to say their next line."""
        random = self.world.random
        author.said += 1
        self.world.counts["said"] += 1
        text = b"%d %b" % (author.said, random.choice(FILLERS) if filler is None else filler)
        form = random.randrange(32)
        typed = text
        if form == 0:
            typed = b"/say " + text
        elif form == 1:
            text = b"/" + text
            typed = b"/" + text
        elif form < 4:
            typed = b"/me " + text
        author.unseen.append(Remark(1 < form < 4, text, monotonic() if timed else 0.0, author.receipts))
        return typed


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


class Resetter(Person):
    """Breaks the connection at any point; some wait for the same moment."""

    kind = "resetter"

    def come(self) -> None:
        self._author = Author(self.nick)
        form = self.world.random.randrange(4)
        if form:
            self.introduce(self._author)
            for _ in range(form - 1):
                self.write(self.remark(self._author))
        wait = self.world.one_of(0, 3)
        if self.number % 2:
            wait = 10 - monotonic() % 10  # with all the others
        self.later(wait, wait, self._break)

    def _break(self) -> None:
        self.world.counts["resets"] += 1
        self.drop()

    def gone(self) -> None:
        super().gone()
        self.again(1, 10)


class HalfOpen(Person):
    """Takes a nickname; then the network stops, and nobody is told. When it is there again, they are long gone."""

    kind = "halfopen"

    def come(self) -> None:
        self._back = False
        self._author = Author(self.nick)
        self.introduce(self._author)
        self.later(2, 60, self._lose_network)

    def _lose_network(self) -> None:
        assert self.connection is not None
        self.world.counts["networks stopped"] += 1
        self.world.vanished[self._author.nick] = monotonic()
        self.connection.lose_network()
        self.later(AWAY_SECONDS, AWAY_SECONDS, self._find_network)

    def _find_network(self) -> None:
        assert self.connection is not None
        self._back = True
        self.connection.find_network()
        self.write(b"/ping")  # which the server's system, that knows of no such connection, answers with a reset

    def received(self, data: bytes, now: float) -> None:
        if self._back:
            raise Unexplained(f"{self._author.nick.decode()} was away for {AWAY_SECONDS} s, and is still told {data!r}")

    def closed(self, why: str) -> None:
        if not self._back:
            raise Unexplained(f"{self._author.nick.decode()} was cut off: {why}")
        self.world.counts["cut off when they were back"] += 1
        super().closed(why)
        self.again(1, 10)

    def gone(self) -> None:
        self.world.vanished.pop(self._author.nick, None)
        super().gone()


class Silent(Person):
    """Connects, and never gives a nickname."""

    kind = "silent"

    def come(self) -> None:
        self._read = b""

    def received(self, data: bytes, now: float) -> None:
        self._read += data

    def closed(self, why: str) -> None:
        farewell = b"Nickname:  * No nickname in %d seconds.\r\n" % NICKNAME_SECONDS
        if not self._read.endswith(farewell):
            raise Unexplained(f"who gives no nickname is told {self._read!r} {why}")
        self.world.counts["shown the door without a nickname"] += 1
        super().closed(why)
        self.again(1, 10)


class Garbage(Person):
    """Sends what no person would."""

    kind = "garbage"

    def come(self) -> None:
        self._read = b""
        self._speaks = ""
        random = self.world.random
        self.world.counts["nicknames asked for"] += 1  # who knows what random bytes are
        form = random.randrange(7)
        if form == 0:
            self._speaks = "HTTP"
            data = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"
        elif form == 1:
            self._speaks = "TLS"
            data = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.randbytes(500)
        elif form == 2:
            data = random.randbytes(random.randrange(1, 8192))
        elif form == 3:
            data = bytes(random.choice((255, 251, 252, 253, 254, 250, 240, 1, 31)) for _ in range(8000))
        elif form == 4:
            data = b"n" * 65536
        else:
            author = Author(self.nick, free=True)
            self.world.quiet.owners[author.nick] = author
            junk = b"\r\n".join(map(self._junk, range(15)))
            data = author.nick + b"\r\n" + (junk if form == 5 else b"m" * 65536) + b"\r\n"
        assert self.connection is not None
        self.connection.send(data)
        self.later(0.5, 6, self.connection.end)

    def _junk(self, number: int) -> bytes:
        """A line that is no other line: the replay is looked up by its text."""
        junk = self.world.random.randbytes(self.world.random.randrange(60))
        return b"\xff\xfd\x01\xff\xf6!%d " % number + re.sub(rb"[\r\n\xff]", b"", junk)

    def received(self, data: bytes, now: float) -> None:
        self._read = (self._read + data)[-2048:]

    def closed(self, why: str) -> None:
        # What is still unread when it closes, the system answers with a reset.
        if self._speaks and not why and f"not {self._speaks}: connect with telnet or nc.".encode() not in self._read:
            raise Unexplained(f"who speaks {self._speaks} is told {self._read!r}")
        self.world.counts["garbage answered"] += bool(self._read)
        super().closed(why)
        self.again(1, 10)


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


SHARES: Final[tuple[tuple[type[Person], float], ...]] = (
    (Talker, 0.25),
    (Loud, 0.02),
    (Comer, 0.10),
    (Staller, 0.05),
    (Sipper, 0.02),
    (Typist, 0.02),
    (Paster, 0.02),
    (Flooder, 0.0015),
    (Resetter, 0.03),
    (HalfOpen, 0.02),
    (Silent, 0.005),
    (Garbage, 0.015),
    (Prober, 0.0005),
)
"""Which part of the people is of which kind, at least one of each; all others are readers."""


def crowd(world: World, people: int) -> list[Person]:
    """So many people, in the order in which they come."""
    found: list[Person] = []
    for kind, share in SHARES:
        found += [kind(world, number) for number in range(max(1, round(share * people)))]
    found += [Reader(world, number) for number in range(people - len(found))]
    world.random.shuffle(found)
    return found
