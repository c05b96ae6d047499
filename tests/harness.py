"""The whole server in memory: a clock, a journal, and people on transports that take what the test says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, globalLogPublisher
from twisted.python.failure import Failure

from broadcast.core.hub import Hub, Settings
from broadcast.core.limits import DEFAULTS, Limits
from broadcast.delivery.fanout import Fanout
from broadcast.doors.line.protocol import BroadcastFactory, BroadcastProtocol
from broadcast.journals.memory import MemoryJournal
from broadcast.net.connections import Connections
from broadcast.net.writers import SocketWriter, StreamTransport, TransportWriter, Writer
from tests.sockets import FakeSocket

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IProducer, IPullProducer, IPushProducer
    from twisted.logger import ILogObserver

    from broadcast.core.interfaces import Journal

NOON = 1_768_478_400.0
"""2026-01-15 12:00 UTC, when every world begins."""
ROOM_FOR_OUTPUT = 65536
"""What a transport holds before it pauses its producer, as Twisted's do."""


@contextmanager
def logged() -> Iterator[list[LogEvent]]:
    """Collect what is logged meanwhile; an error among it fails the test."""
    events: list[LogEvent] = []
    observer = cast("ILogObserver", events.append)
    globalLogPublisher.addObserver(observer)
    try:
        yield events
    finally:
        globalLogPublisher.removeObserver(observer)
    wrong = [event for event in events if event["log_level"] >= LogLevel.error or event.get("isError")]
    assert not wrong, wrong


class MemoryTransport:
    """A stream transport without a socket; the other side reads as much as there is *room* for: None is no limit."""

    def __init__(self, address: IAddress | None = None) -> None:
        self.address = address or IPv4Address("TCP", "127.0.0.1", 40000)
        self.sent = bytearray()
        self.held = bytearray()
        self.room: int | None = None
        self.reading = True
        self.finished = self.closed = self.aborted = False
        self.producer: IPushProducer | IPullProducer | None = None
        self._streaming = self._paused = False

    @property
    def takes(self) -> bool:
        """Whether the other side reads."""
        return self.room != 0

    @takes.setter
    def takes(self, takes: bool) -> None:
        self.room = None if takes else 0

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        if self.aborted:
            return
        assert not self.finished, "something was written after the end"
        self.held += data
        if self.producer is None or self._streaming:
            self._move()
        if self._streaming and len(self.held) > ROOM_FOR_OUTPUT:
            self._paused = True
            cast("IPushProducer", self.producer).pauseProducing()

    def _move(self) -> None:
        """Send what is held, as far as there is room."""
        moved = bytes(self.held[: self.room])
        self.sent += moved
        del self.held[: len(moved)]
        if self.room is not None:
            self.room -= len(moved)

    def take_again(self, most: int | None = None) -> None:
        """The other side reads on, *most* bytes or without a limit. Whatever is held goes first, then the producer's.

        (A pull producer's bytes wait for this even where there is room: a reactor sends them in a later turn.)
        """
        self.room = most
        self._move()
        while not self.held and self.producer is not None and (self._paused or not self._streaming):
            self._paused = False
            self.producer.resumeProducing()
            if not self.held:
                break
            self._move()

    def registerProducer(self, producer: IProducer, /, streaming: bool) -> None:
        assert self.producer is None, "there is a producer already"
        self.producer = cast("IPushProducer | IPullProducer", producer)
        self._streaming = streaming
        if not streaming:
            self.producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self.producer = None
        self._streaming = self._paused = False

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def loseWriteConnection(self) -> None:
        assert self.producer is None, "it would never close"
        self.finished = True

    def loseConnection(self) -> None:
        self.finished = self.closed = True

    def abortConnection(self) -> None:
        self.finished = self.closed = self.aborted = True

    def getPeer(self) -> IAddress:
        return self.address


class SocketTransport(MemoryTransport):
    """One with a socket, for an outlet that sends to it directly."""

    def __init__(self, address: IAddress | None = None) -> None:
        self.socket = FakeSocket()
        super().__init__(address)
        self.sent = self.socket.received

    @property
    def room(self) -> int | None:
        """How many bytes the other side still takes."""
        return self.socket.room

    @room.setter
    def room(self, room: int | None) -> None:
        self.socket.room = room


class Counted:
    """A function that counts its calls. ``mock.Mock`` remembers each call, which takes much longer."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.calls = 0
        self._function = function

    def __call__(self, *arguments: object) -> Any:  # noqa: ANN401 -- whatever the function returns
        self.calls += 1
        return self._function(*arguments)


class Person:
    """Somebody at the line door."""

    def __init__(self, world: World, protocol: BroadcastProtocol, transport: MemoryTransport) -> None:
        self.world = world
        self.protocol = protocol
        self.transport = transport
        self._gone = False

    def put(self, data: bytes | str) -> None:
        """Type *data*, whole, and let nothing happen yet: what others do before the next turn is in the same burst."""
        self.protocol.dataReceived(data.encode() if isinstance(data, str) else data)

    def send(self, data: bytes | str, cuts: Iterable[int] = ()) -> None:
        """Type *data*, cut into chunks at *cuts*, each read when the server reads; then let everything happen."""
        raw = data.encode() if isinstance(data, str) else data
        start = 0
        for end in [*sorted({cut for cut in cuts if 0 < cut < len(raw)}), len(raw)]:
            self.world.until(lambda: self.transport.reading)
            self.protocol.dataReceived(raw[start:end])
            start = end
        self.world.settle()

    def say(self, *lines: str) -> None:
        """Type whole lines."""
        self.send("".join(line + "\r\n" for line in lines))

    def read(self) -> str:
        """What came since the last look."""
        seen = self.transport.sent.decode()
        self.transport.sent.clear()
        return seen

    def lines(self) -> list[str]:
        """The same as lines without their ends."""
        seen = self.read()
        assert seen.endswith("\r\n") or not seen, seen
        return seen.split("\r\n")[:-1]

    def end_input(self) -> None:
        """Close their direction, as ``nc -N`` does; the server closes its own when it is done."""
        self.protocol.readConnectionLost()
        self.world.settle()
        self._hang_up_if_finished()

    def hang_up(self) -> None:
        """Do what ``telnet`` and ``nc`` do once the server has closed its direction: close the other."""
        assert self.transport.finished
        self.protocol.writeConnectionLost()
        self.protocol.readConnectionLost()
        assert self.transport.closed
        self.vanish(clean=True)

    def _hang_up_if_finished(self) -> None:
        if self.transport.finished and not self._gone:
            self.protocol.writeConnectionLost()
            assert self.transport.closed
            self.vanish(clean=True)

    def vanish(self, *, clean: bool = False) -> None:
        """The connection is gone; *clean*: both sides had closed it."""
        self._gone = True
        reason: Exception = ConnectionDone() if clean else ConnectionLost()
        self.protocol.connectionLost(Failure(reason))  # type: ignore[no-untyped-call]  # likewise
        self.world.settle()


class World:
    """A server, with the memory journal unless it is given another, and without the limits on people."""

    def __init__(
        self,
        settings: Settings | None = None,
        journal: Callable[[Callable[[Callable[[], None]], object]], Journal] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.clock = Clock()
        self.clock.advance(NOON)
        self.leap = 0.0
        """How far, in seconds, the wall clock has jumped."""
        self._soon: list[Callable[[], None]] = []
        self.journal = (journal or MemoryJournal)(self._soon.append)
        self.fanout = Fanout(self._soon.append, lambda: 0.0)
        settings = replace(settings or Settings(version="0.0"), limits=limits or DEFAULTS.without_client_limits())
        self.hub = Hub(self.journal, self.fanout, settings, self.clock.seconds())
        self.connections = Connections(settings.limits)
        self.factory = BroadcastFactory(
            self.hub, self.fanout, self.connections, self.clock, self._soon.append, self.wall, self.outlet
        )
        self.hub.open()

    def wall(self) -> float:
        """The time of day."""
        return self.clock.seconds() + self.leap

    def transport(self, address: IAddress | None) -> MemoryTransport:
        """A new connection from *address*."""
        return MemoryTransport(address)

    def outlet(self, transport: StreamTransport) -> Writer:
        """The outlet of a connection."""
        return TransportWriter(transport, self.clock)

    def turn(self) -> bool:
        """One turn of the reactor; whether there was anything to do."""
        now, self._soon[:] = list(self._soon), []
        for call in now:
            call()
        return bool(now)

    def settle(self) -> None:
        """Turns, until nothing is left to do."""
        while self.turn():
            pass

    def until(self, done: Callable[[], bool]) -> None:
        """Turns, until *done*."""
        while not done():
            assert self.turn(), "nothing is left to do, but it is not done"

    def connect(self, address: IAddress | None = None) -> Person:
        """Somebody who has read the welcome."""
        transport = self.transport(address)
        protocol = cast(BroadcastProtocol, self.factory.buildProtocol(transport.address))
        person = Person(self, protocol, transport)
        protocol.makeConnection(transport)  # type: ignore[no-untyped-call]  # Twisted's own is not annotated
        return person

    def join(self, *nicks: str) -> list[Person]:
        """People who have taken a nickname and read what came."""
        people = []
        for nick in nicks:
            person = self.connect()
            person.say(nick)
            people.append(person)
        for person in people:
            person.read()
        return people


class DirectWorld(World):
    """A server that sends straight to the sockets."""

    def transport(self, address: IAddress | None) -> MemoryTransport:
        """A new connection from *address*."""
        return SocketTransport(address)

    def outlet(self, transport: StreamTransport) -> Writer:
        """The outlet of a connection."""
        handle = cast(SocketTransport, transport).socket.handle  # perhaps behind a proxy
        return SocketWriter(transport, self.clock, handle)
