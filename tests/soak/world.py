"""What all who come share, and what it is to be one of them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, ClassVar, Final

from tests.soak.loop import Connection, Loop
from tests.soak.model import Attendance, Author, Log, Remark, Stream, Unexplained

if TYPE_CHECKING:
    from tests.soak.people import Behaved

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
