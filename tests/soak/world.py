"""The state that all simulated people share, and the base class of every kind of person."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, ClassVar, Final

from tests.soak.loop import Connection, Loop
from tests.soak.model import Attendance, Author, Log, Remark, Stream, Unexplained

if TYPE_CHECKING:
    from tests.soak.people import WellBehaved

ENDS: Final = (b"\n", b"\r\n", b"\r", b"\r\0")
FILLERS: Final = tuple(
    word.encode()
    for word in (
        "hi", "so what", "das heißt", "Привет всем", "日本語もどうぞ", "🙂 ok", "* bob left.",
        "-> #7", "[14:02] bob: no",
        "x" * 64, "y" * 200, "one line of a text that is about as long as lines are when people talk to each other",
    )
)  # fmt: skip


class World:
    """The shared state. *random* makes every random choice."""

    def __init__(self, loop: Loop, random: Random, port: int) -> None:
        self.loop = loop
        self.random = random
        self.port = port
        self.quiet = Log()
        self.loud = Log()
        self.attendance = Attendance(self.quiet.owners, self._left)
        self.closing = False
        """Whether everybody has to come to rest and leave."""
        self.pastes = 0
        """Number of newcomers that still have to begin with a paste."""
        self.interval = 10.0
        """Seconds between two lines of one talker."""
        self.stall = 30.0
        """Maximum number of seconds for which a staller reads nothing."""
        self.counts: Counter[str] = Counter()
        self.waiting: dict[Stream, tuple[float, bool]] = {}
        """Streams that wait for the log: since when, and whether their latency is measured."""
        self.latencies: list[float] = []
        """Seconds between sending and reading a line, since the last sample."""
        self.lags: list[float] = []
        """Seconds until a ping was answered, likewise."""
        self.here: set[WellBehaved] = set()
        self.reachable: list[WellBehaved] = []
        """People that stay under one name, so that private messages reach them."""
        self.private: dict[tuple[Author, WellBehaved], deque[bytes]] = {}
        """Private messages that have not been read yet."""
        self.vanished: dict[bytes, float] = {}
        """Nicknames whose network has stopped, and when; until they are said to have left."""
        self.absences: list[float] = []
        """Seconds until that."""
        self.visits: list[Stream] = []
        """Streams of well-behaved people that have left."""

    @property
    def known(self) -> int:
        """The number of lines in both logs."""
        return len(self.quiet.lines) + len(self.loud.lines)

    def logs_have_grown(self) -> None:
        """Go on with the streams that wait for them."""
        for stream, (since, timed) in list(self.waiting.items()):
            before = stream.position
            stream.go_on()
            if not stream.waits:
                del self.waiting[stream]
                if timed:
                    self.measure(stream, before, since)

    def measure(self, stream: Stream, before: int, now: float) -> None:
        """Note the latency of the last line of the log, if *stream* has just read it."""
        if stream.log.at and before != stream.position == len(stream.log.lines):
            self.latencies.append(now - stream.log.at)

    def _left(self, nick: bytes, reason: bytes) -> None:
        if (since := self.vanished.pop(nick, None)) is not None:
            if reason != b"connection lost":
                raise Unexplained(f"the network of {nick.decode()} has stopped, but it left because of {reason!r}")
            self.absences.append(monotonic() - since)


class Person:
    """A place in the crowd. A person arrives, does what its kind does, leaves, and may come again."""

    kind: ClassVar[str] = "person"
    buffers: ClassVar[str] = ""
    """The size of the socket's buffers: see ``Connection``."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.visits = 0
        self.connection: Connection | None = None
        self.author: Author | None = None
        self.end_of_line = ENDS[number % len(ENDS)]

    @property
    def nick(self) -> bytes:
        """The nickname that it asks for on this visit."""
        return b"%b%d.%d" % (self.kind.encode(), self.number, self.visits)

    def arrive(self) -> None:
        """Connect, unless everybody has to leave."""
        if not self.world.closing and self.connection is None:
            self.visits += 1
            self.world.counts[f"{self.kind} visits"] += 1
            self.connection = Connection(self.world.loop, self.world.port, self, self.buffers)
            self.author = None
            self.come()

    def come(self) -> None:
        """Begin the visit: the connection is being made."""

    def begin_to_leave(self) -> None:
        """Come to rest."""
        self.drop()

    @property
    def at_rest(self) -> bool:
        """Whether it has come to rest."""
        return self.connection is None

    def leave(self) -> None:
        """Leave properly, from rest."""

    def drop(self) -> None:
        """Reset the connection."""
        if self.connection is not None:
            if self.author is not None:
                self.author.reset = True
            self.connection.reset()
            self.gone()

    def gone(self) -> None:
        """Note that the connection has ended."""
        self.connection = None

    def received(self, data: bytes, now: float) -> None:
        """Take in *data*."""

    def closed(self, why: str) -> None:
        """Note that the server has closed the connection."""
        self.gone()

    def later(self, low: float, high: float, call: Callable[[], None]) -> None:
        """Call *call* in *low* to *high* seconds, unless this visit is over then or everybody has to leave."""
        visit = self.visits

        def on_time() -> None:
            if visit == self.visits and self.connection is not None and not self.world.closing:
                call()

        self.world.loop.later(self.world.random.uniform(low, high), on_time)

    def every(self, low: float, high: float, call: Callable[[], object]) -> None:
        """Call *call* every *low* to *high* seconds, under the conditions of ``later``."""

        def on_time() -> None:
            call()
            self.later(low, high, on_time)

        self.later(low, high, on_time)

    def again(self, low: float, high: float) -> None:
        """Come again in *low* to *high* seconds."""
        self.world.loop.later(self.world.random.uniform(low, high), self.arrive)

    def write(self, line: bytes) -> None:
        """Send *line*."""
        self.send(line + self.end_of_line)

    def send(self, data: bytes) -> None:
        """Send *data* as it is."""
        assert self.connection is not None
        self.connection.send(data)

    def introduce(self, author: Author) -> None:
        """Ask for the nickname of *author*, who this visit is."""
        self.author = self.world.quiet.owners[author.nick] = author
        self.world.counts["nicknames asked for"] += 1
        self.write(author.nick)

    def remark(self, filler: bytes | None = None, *, timed: bool = False) -> bytes:
        """Return what the author types to say the next line."""
        author, random = self.author, self.world.random
        assert author is not None
        author.said += 1
        self.world.counts["said"] += 1
        text = b"%d %b" % (author.said, random.choice(FILLERS) if filler is None else filler)
        form = random.randrange(32)
        typed = {0: b"/say " + text, 1: b"//" + text, 2: b"/me " + text, 3: b"/me " + text}.get(form, text)
        if form == 1:
            text = b"/" + text
        author.unseen.append(Remark(form in {2, 3}, text, monotonic() if timed else 0.0, author.receipts))
        return typed
