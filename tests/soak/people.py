"""The kinds of people: those who behave, and whose every received byte the model checks, and those who do not."""

from __future__ import annotations

import asyncio
import ctypes
import re
import socket
import struct
from collections import Counter, deque
from collections.abc import Callable, Sequence
from random import Random
from typing import ClassVar

from tests.soak.model import Answer, Author, Log, Names, Recall, Reference, Stream, Unexplained

PASTE = 40
"""Number of lines that the rate limit allows at once; after that, two a second."""
PASTE_SECONDS = 25.0
"""Seconds after which the rate limit allows another paste."""
FOUND = 50
"""Maximum number of lines that ``/search`` shows."""
NICKNAME_SECONDS = 60
"""Seconds after which the server disconnects a client without a nickname."""
AWAY_SECONDS = 180.0
"""Seconds for which a network stops. The server disconnects a client after 150 s without a sign of life."""
ENDS = (b"\n", b"\r\n", b"\r", b"\r\0")
FILLERS = [
    "hi", "so what", "das heißt", "Привет всем", "日本語もどうぞ", "🙂 ok", "* bob left.", "-> #7", "[14:02] bob: no",
    "x" * 64, "y" * 200, "one line of a text that is about as long as lines are when people talk to each other",
]  # fmt: skip
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
"""Options from ``asm-generic/socket.h`` that the module ``socket`` does not name."""
_NOTHING_PASSES = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0))
"""A filter of one instruction that accepts no byte of any segment: ``BPF_RET | BPF_K`` 0, ``linux/filter.h``."""


class World:
    """The state that all people share. *random* makes every random choice."""

    def __init__(self, random: Random, port: int) -> None:
        self.random = random
        self.port = port
        self.loop = asyncio.get_running_loop()
        self.log = Log()
        self.closing = False
        """Whether everybody has to come to rest and leave."""
        self.pastes = 0
        """Number of newcomers that still have to begin with a paste."""
        self.interval = 10.0
        """Seconds between two lines of one talker."""
        self.stall = 30.0
        """Maximum number of seconds for which a staller reads nothing."""
        self.counts: Counter[str] = Counter()
        self.pings: list[float] = []
        """Seconds until a ping was answered, since the last sample."""
        self.reachable: list[WellBehaved] = []
        """People that stay under one name, so that private messages reach them."""
        self.vanished: dict[bytes, float] = {}
        """Nicknames whose network has stopped, and when; until a notice says that they have left."""
        self.absences: list[float] = []
        """Seconds until that."""
        self.visits: list[Stream] = []
        """Streams of well-behaved people that have left."""

    def left(self, nick: bytes, reason: bytes) -> None:
        """Note a notice that *nick* has left."""
        if (since := self.vanished.pop(nick, None)) is not None:
            if reason != b"connection lost":
                raise Unexplained(f"the network of {nick.decode()} has stopped, but it left because of {reason!r}")
            self.absences.append(self.loop.time() - since)


def why_no_filters() -> str:
    """Return why this user may not stop the network of a connection; empty where that is allowed."""
    with socket.socket() as trial:
        try:
            stop_network(trial)
        except PermissionError as error:
            return f"socket filters are not allowed here: {error.strerror}"
    return ""


def stop_network(connection: socket.socket) -> None:
    """Drop all segments of the other side, so that it gets no answer, not even from the system."""
    program = struct.pack("@HP", 1, ctypes.addressof(_NOTHING_PASSES))
    connection.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def start_network(connection: socket.socket) -> None:
    """Undo ``stop_network``."""
    connection.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


class Person(asyncio.Protocol):
    """A place in the crowd. A person arrives, does what its kind does, leaves, and may come again."""

    narrow: ClassVar[bool] = False
    """Whether the system holds little of what it does not read."""

    transport: asyncio.Transport
    socket: socket.socket
    author: Author

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.kind = type(self).__name__.lower()
        self.visits = 0
        self.present = self.connected = self.dropped = False
        self.said = 0
        """Number of lines that it has said on this visit."""
        self.end_of_line = ENDS[number % len(ENDS)]

    def arrive(self) -> None:
        """Connect, unless everybody has to leave."""
        if not self.world.closing and not self.present:  # it may have been about to come again before
            self.visits += 1
            self.present, self.dropped, self.said = True, False, 0
            self.author = Author(b"%b%d.%d" % (self.kind.encode(), self.number, self.visits))
            self.world.counts[f"{self.kind} visits"] += 1
            self._arrival = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        connection = self.socket = socket.socket()
        if self.narrow:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            # With large segments, the sender's system would hold megabytes.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        connection.setblocking(False)
        await self.world.loop.sock_connect(connection, ("127.0.0.1", self.world.port))
        await self.world.loop.create_connection(lambda: self, sock=connection)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.connected = transport, True
        self.come()
        if self.world.closing:
            self.begin_to_leave()

    def connection_lost(self, exc: Exception | None) -> None:
        self.present = self.connected = False
        if not self.dropped:
            self.closed("" if exc is None else str(exc))
        self.gone()

    def come(self) -> None:
        """Begin the visit."""

    def closed(self, why: str) -> None:
        """Note that the server has closed the connection; *why* is empty, or the error that broke it."""

    def gone(self) -> None:
        """Note that the visit is over."""

    def begin_to_leave(self) -> None:
        """Come to rest."""
        self.drop()

    @property
    def at_rest(self) -> bool:
        """Whether it has come to rest."""
        return not self.present

    def leave(self) -> None:
        """Leave properly, from rest."""

    def drop(self) -> None:
        """Reset the connection."""
        if self.connected:
            self.author.reset = self.dropped = True
            self.connected = False
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()

    def later(self, low: float, high: float, call: Callable[[], object]) -> None:
        """Call *call* in *low* to *high* seconds, unless this visit is over then or everybody has to leave."""
        visit = self.visits

        def on_time() -> None:
            if visit == self.visits and self.connected and not self.world.closing:
                call()

        self.world.loop.call_later(self.world.random.uniform(low, high), on_time)

    def every(self, low: float, high: float, call: Callable[[], object]) -> None:
        """Call *call* every *low* to *high* seconds, under the conditions of ``later``."""

        def on_time() -> None:
            call()
            self.later(low, high, on_time)

        self.later(low, high, on_time)

    def again(self, low: float, high: float) -> None:
        """Come again in *low* to *high* seconds."""
        self.world.loop.call_later(self.world.random.uniform(low, high), self.arrive)

    def introduce(self) -> None:
        """Ask for the nickname."""
        self.world.log.authors[self.author.nick] = self.author
        self.world.counts["nicknames asked for"] += 1
        self.write(self.author.nick)

    def write(self, line: bytes) -> None:
        """Send *line*."""
        self.transport.write(line + self.end_of_line)

    def remark(self, filler: str = "") -> bytes:
        """Return what the author types to say the next line."""
        self.said += 1
        self.world.counts["lines said"] += 1
        text = f"{self.said} {filler or self.world.random.choice(FILLERS)}".encode()
        typed, shown = self.world.random.choice([
            *[(text, b": " + text)] * 28,
            (b"/say " + text, b": " + text),
            (b"//" + text, b": /" + text),
            *[(b"/me " + text, b" " + text)] * 2,
        ])  # fmt: skip
        self.expect(b"** " * (shown[:1] == b" ") + self.author.nick + shown + b"\r\n")
        return typed

    def expect(self, line: bytes) -> None:
        """Note that the log has to hold *line*."""
        self.author.unseen.append(line)


# People who behave


class WellBehaved(Person):
    """A person whose every received byte is explained. All but the *loud* hide joins and leaves."""

    loud: ClassVar[bool] = False
    stays: ClassVar[bool] = False
    """Whether it stays under one name, so that private messages reach it."""

    def come(self) -> None:
        self.ready = self.rested = self._resting = self._leaving = False
        self.inbox: dict[bytes, deque[bytes]] = {}
        """Private messages that it has not read, by the author's nickname."""
        self.stream = self.make_stream()
        self.introduce()

    def make_stream(self) -> Stream:
        """Return the check of what this person receives."""
        return Stream(self.world.log, self.author, self.on_private)

    def data_received(self, data: bytes) -> None:
        self.stream.feed(data)

    def closed(self, why: str) -> None:
        if why:
            raise Unexplained(f"{self.author.nick.decode()} was cut off: {why}")
        self.world.visits.append(self.stream)
        if any(self.inbox.values()):
            raise Unexplained(f"{self.author.nick.decode()} has not read {self.inbox}")

    def gone(self) -> None:
        if self in self.world.reachable:
            self.world.reachable.remove(self)

    def on_private(self, kind: str, parts: Sequence[bytes]) -> None:
        """Take in a line for this person alone."""
        if kind == "arrived":
            self.world.counts["arrivals"] += 1
            if not self.loud:
                self.command(b"/quiet on", b"joins and leaves are off\\.", self._hush)
            self.command(b"/receipts on", b"receipts are on\\.", self._settle)
        else:
            due = self.inbox.get(parts[0])
            if not due or due.popleft() != parts[1]:
                raise Unexplained(f"{parts[0].decode()} did not send {parts[1]!r} to {self.author.nick.decode()} now")

    def _hush(self, _answer: bytes) -> None:
        self.stream.quiet = True

    def _settle(self, _answer: bytes) -> None:
        self.ready = True
        if self.world.closing:
            self.begin_to_leave()
            return
        if self.stays:
            self.world.reachable.append(self)
        if self.world.pastes > 0:
            self.world.pastes -= 1
            self.paste()
        self.begin()

    def begin(self) -> None:
        """Begin to do what this kind does: the person is in the room, and everything is set."""

    def expect(self, line: bytes) -> None:
        super().expect(line)
        self.stream.own.append(line)

    def command(self, line: bytes, answer: bytes | Answer, then: Callable[[bytes], None] = lambda _text: None) -> None:
        """Type a command and expect its answer."""
        self.stream.answers.append(Answer(answer, then) if isinstance(answer, bytes) else answer)
        self.write(line)

    def look_back(self, count: int) -> None:
        """Ask for the last lines."""
        self.command(b"/history %d" % count + self.end_of_line + b"/ping", Recall(count))

    def search(self, word: bytes) -> None:
        """Ask for lines that hold *word*."""
        self.command(b"/search " + word + self.end_of_line + b"/ping", Recall(FOUND, search=True))

    def say(self, filler: str = "") -> None:
        """Say the next line."""
        self.write(self.remark(filler))

    def paste(self) -> None:
        """Say many lines at once, now and then long ones."""
        filler = "z" * 1000 * (self.world.random.random() < 0.2)
        self.transport.write(b"".join(self.remark(filler) + self.end_of_line for _ in range(PASTE)))

    def send_private(self) -> None:
        """Send a private message to a random person."""
        other = self.world.random.choice(self.world.reachable or [self])
        if other is not self:
            self.world.counts["private messages sent"] += 1
            text = b"psst %d" % self.world.counts["private messages sent"]
            other.inbox.setdefault(self.author.nick, deque()).append(text)
            nick = other.author.nick
            self.command(b"/msg %b %b" % (nick, text), b"sent to %b(?:\\.|, who is away.*)" % re.escape(nick))

    def begin_to_leave(self) -> None:
        if self.connected and self.ready and not self._resting and not self._leaving:
            self._resting = True
            self.transport.resume_reading()
            self.command(b"/ping", b"pong", self._rest)

    def _rest(self, _answer: bytes) -> None:
        self.rested = True

    @property
    def at_rest(self) -> bool:
        if self.connected and not self.rested:
            self.stream.judge()  # no further line may come
        return not self.present or self.rested

    def leave(self) -> None:
        if self.connected and not self._leaving:
            self._leaving = True
            self.stream.must_reach = len(self.world.log.lines)
            farewell = self.world.random.choice((b"", b"/quit tired", b"quit", b"/exit"))
            if farewell:
                self.write(farewell)
            else:
                self.transport.write_eof()


class Watcher(WellBehaved):
    """The reference of the model: it only reads."""

    loud = True

    def make_stream(self) -> Stream:
        return Reference(self.world.log, self.author, self.on_private, self.world.left)

    def on_private(self, kind: str, parts: Sequence[bytes]) -> None:
        self.ready = True


class Reader(WellBehaved):
    """Only reads."""

    stays = True

    def begin(self) -> None:
        if self.number % 10 == 0:
            self.command(b"/away lunch", b"You are away: lunch")


class Loud(WellBehaved):
    """Sees joins and leaves, and talks now and then."""

    loud = stays = True

    def begin(self) -> None:
        self.every(5, 60, self.say)


class Prober(WellBehaved):
    """Measures the time of a ping every second."""

    def begin(self) -> None:
        at = self.world.loop.time()
        self.command(b"/ping", b"pong", lambda _answer: self._answered(at))

    def _answered(self, at: float) -> None:
        self.world.pings.append(self.world.loop.time() - at)
        self.later(1, 1, self.begin)


class Talker(WellBehaved):
    """Talks, and sends private messages now and then."""

    stays = True

    def begin(self) -> None:
        self.later(0, self.world.interval, self._talk)

    def _talk(self) -> None:
        if self.world.random.random() < 0.1:
            self.send_private()
        else:
            self.say()
        self.later(0.5 * self.world.interval, 1.5 * self.world.interval, self._talk)


class Comer(WellBehaved):
    """Comes, does a little of everything, goes, and comes again."""

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
        old, new = self.author.nick, b"comer%d.%d-%d" % (self.number, self.visits, self._renames)
        self.world.log.authors[new] = self.author
        self.world.log.renames.add(b" * %b is now %b.\r\n" % (old, new))
        self.world.counts["nickname changes"] += 1
        self.author.nick = new
        self.command(b"/nick " + new, b"You are %b\\." % re.escape(new))

    def gone(self) -> None:
        super().gone()
        self.again(1, 8)


class Staller(WellBehaved):
    """Stops reading for a while, then reads everything, or a gap notice."""

    narrow = True

    def begin(self) -> None:
        self.later(0, 10, self._stall)

    def _stall(self) -> None:
        self.transport.pause_reading()
        self.world.counts["stalls"] += 1
        longest = self.world.stall
        self.later(min(2.0, longest), longest * self.world.random.random(), self._resume)

    def _resume(self) -> None:
        self.transport.resume_reading()
        self.later(2, 20, self._stall)


class Paster(WellBehaved):
    """Pastes forty lines now and then."""

    stays = True

    def begin(self) -> None:
        self.every(PASTE_SECONDS, 2 * max(PASTE_SECONDS, self.world.interval), self.paste)


class Flooder(WellBehaved):
    """Says more than the rate limit allows for a while, then resets the connection."""

    narrow = True

    def begin(self) -> None:
        self.paste()
        self.every(0.25, 0.25, self._flood)
        self.later(20, 90, self.drop)

    def _flood(self) -> None:
        # This is twice what the server reads. If the server read all of it, the flooder would never be far ahead.
        self.world.counts["floods slowed"] += len(self.author.unseen) > PASTE
        if not self.transport.get_write_buffer_size():
            self.say("flood")

    def gone(self) -> None:
        super().gone()
        self.again(5, 20)

    def begin_to_leave(self) -> None:
        self.drop()


# People who misbehave


class Resetter(Person):
    """Resets the connection at any point. Half of the resetters do so at the same moment."""

    def come(self) -> None:
        lines = self.world.random.randrange(4)
        if lines:
            self.introduce()
        for _ in range(lines - 1):
            self.write(self.remark())
        wait = 10 - self.world.loop.time() % 10 if self.number % 2 else self.world.random.uniform(0, 3)
        self.later(wait, wait, self.drop)

    def gone(self) -> None:
        self.again(1, 10)


class Stranger(Person):
    """A person whose received bytes are not explained."""

    def come(self) -> None:
        self.tail = b""

    def data_received(self, data: bytes) -> None:
        self.tail = (self.tail + data)[-2048:]

    def gone(self) -> None:
        self.again(1, 10)


class HalfOpen(Stranger):
    """Takes a nickname. Then its network stops without a word, and starts again when the server has given up."""

    def come(self) -> None:
        super().come()
        self._back = False
        self.introduce()
        self.later(2, 60, self._lose_network)

    def _lose_network(self) -> None:
        self.world.counts["networks stopped"] += 1
        self.world.vanished[self.author.nick] = self.world.loop.time()
        stop_network(self.socket)
        self.later(AWAY_SECONDS, AWAY_SECONDS, self._find_network)

    def _find_network(self) -> None:
        self._back = True
        start_network(self.socket)
        self.write(b"/ping")  # The server's system no longer knows the connection, and answers with a reset.

    def data_received(self, data: bytes) -> None:
        if self._back:
            raise Unexplained(
                f"{self.kind}{self.number} still receives {data!r} after {AWAY_SECONDS} s without network"
            )

    def closed(self, why: str) -> None:
        if not self._back:
            raise Unexplained(f"{self.kind}{self.number} was cut off: {why}")

    def gone(self) -> None:
        self.world.vanished.pop(self.author.nick, None)
        super().gone()


class Silent(Stranger):
    """Connects, and never gives a nickname."""

    def closed(self, why: str) -> None:
        if not self.tail.endswith(b"Nickname:  * No nickname in %d seconds.\r\n" % NICKNAME_SECONDS):
            raise Unexplained(f"a client without a nickname received {self.tail!r} {why}")
        self.world.counts["nickname time-outs"] += 1


class Garbage(Stranger):
    """Sends bytes that no person would send."""

    def come(self) -> None:
        super().come()
        random = self.world.random
        self.world.counts["nicknames asked for"] += 1  # Random bytes may hold a nickname.
        self._protocol, data = random.choice([
            ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"),
            ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2),
            ("", random.randbytes(random.randrange(1, 8192))),
            ("", bytes(random.choices((255, 251, 252, 253, 254, 250, 240, 1, 31), k=8000))),  # telnet
            ("", b"n" * 65536),
            ("", self._with_nickname(b"m" * 65536)),
            ("", self._with_nickname(b"\r\n".join(map(self._junk, range(15))))),
        ])  # fmt: skip
        self.transport.write(data)
        self.later(0.5, 6, self.transport.write_eof)

    def _with_nickname(self, lines: bytes) -> bytes:
        self.author.free = True
        self.world.log.authors[self.author.nick] = self.author
        return self.author.nick + b"\r\n" + lines + b"\r\n"

    def _junk(self, number: int) -> bytes:
        """Return a line that occurs once: the model finds lines by their text."""
        junk = self.world.random.randbytes(self.world.random.randrange(60))
        return b"\xff\xfd\x01\xff\xf6!%d " % number + re.sub(rb"[\r\n\xff]", b"", junk)

    def closed(self, why: str) -> None:
        # If the server closes with unread input, the system sends a reset, which may overtake the reply.
        wanted = f"not {self._protocol}: connect with telnet or nc.".encode()
        if self._protocol and not why and wanted not in self.tail:
            raise Unexplained(f"a client that speaks {self._protocol} received {self.tail!r}")
        self.world.counts["garbage that got a reply"] += bool(self.tail)
