"""The whole server in memory, and clients of it whose side of the connection reads as much as the test says.

``World`` is the server. Its clients are people at the line door (``World.join`` returns a ``Person`` for each) and
clients of the core alone (``World.join_sessions`` returns a ``SessionClient`` for each).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, globalLogPublisher
from twisted.python.failure import Failure

from broadcast.core.accounts import Accounts, Authenticator
from broadcast.core.errors import Busy, RejectedError
from broadcast.core.events import Barrier, Event, Notice
from broadcast.core.hub import Hub
from broadcast.core.interfaces import View
from broadcast.core.limits import DEFAULTS, Limits
from broadcast.core.membership import Member, MemberListener
from broadcast.core.passwords import Password
from broadcast.core.session import Session
from broadcast.core.settings import Settings
from broadcast.core.source import Source
from broadcast.delivery.dispatcher import Dispatcher
from broadcast.delivery.fanout import Fanout
from broadcast.delivery.peer import StreamPeer
from broadcast.delivery.replay_buffer import ReplayBuffer
from broadcast.doors.line.encoder import HIDE_INPUT, SHOW_INPUT
from broadcast.doors.line.protocol import BroadcastFactory, BroadcastProtocol
from broadcast.journals.memory import MemoryJournal
from broadcast.net.connections import Connections
from broadcast.net.writers import SocketWriter, StreamTransport, TransportWriter, Writer
from tests.awaited_journal import AwaitedJournal
from tests.sockets import FakeSocket

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IProducer, IPullProducer, IPushProducer
    from twisted.logger import ILogObserver

    from broadcast.core.interfaces import Journal
    from broadcast.core.time_slice import CallSoon

NOON = 1_768_478_400.0
"""Time at which every world begins: 2026-01-15 12:00 UTC."""
ROOM_FOR_OUTPUT = 65536
"""Number of bytes above which a transport pauses its producer, as in Twisted."""
PASSWORD = "correct horse"
TOKEN_BYTES = 8
"""Size of one event on the connection of a ``SessionClient``."""

make_threaded_journal: Callable[[CallSoon], Journal] | None = None
"""Makes the journal of each ``World``, if it is another one than that in memory. It has threads of its own."""


@contextmanager
def logged() -> Iterator[list[LogEvent]]:
    """Collect the events that are logged in the block. An error among them fails the test."""
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
    """A stream transport without a socket.

    The other side reads *room* more bytes, or everything while *room* is None. The transport holds the rest.
    """

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
        """Whether the other side reads anything."""
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
        """Send the bytes that are held, as far as there is room."""
        moved = bytes(self.held[: self.room])
        self.sent += moved
        del self.held[: len(moved)]
        if self.room is not None:
            self.room -= len(moved)

    def take_again(self, most: int | None = None) -> None:
        """Let the other side read *most* more bytes, or everything.

        The bytes that are held go first, then those of the producer. A pull producer is asked for bytes only here,
        even where there is room, because a reactor asks in a later turn.
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
    """A transport with a socket, for a writer that sends to the socket directly."""

    def __init__(self, address: IAddress | None = None) -> None:
        self.socket = FakeSocket()
        super().__init__(address)
        self.sent = self.socket.received

    @property
    def room(self) -> int | None:
        """Number of bytes that the other side still reads; None for any number."""
        return self.socket.room

    @room.setter
    def room(self, room: int | None) -> None:
        self.socket.room = room


def writer_of(transport: StreamTransport, clock: Clock) -> SocketWriter:
    """Return the writer of a ``SocketTransport``, which may be behind a proxy protocol's transport."""
    return SocketWriter(transport, clock, cast(SocketTransport, transport).socket.handle)


def is_read_from(client: Client) -> bool:
    """Return whether the server reads from *client*."""
    return client.transport.reading


class Counted:
    """A function that counts its calls. ``mock.Mock`` also stores each call, which takes much longer."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.calls = 0
        self._function = function

    def __call__(self, *arguments: object) -> Any:  # noqa: ANN401 -- whatever the function returns
        self.calls += 1
        return self._function(*arguments)


class Client:
    """The other side of a connection, which reads as much as the test says."""

    def __init__(self, world: World, transport: MemoryTransport) -> None:
        self.world = world
        self.transport = transport

    def stop_reading(self, room: int = 0) -> None:
        """Read *room* more bytes, and nothing after that until ``read_on``."""
        self.transport.room = room

    def read_on(self, room: int | None = None) -> None:
        """Read on, beginning with the bytes that wait: *room* bytes or, by default, everything."""
        self.transport.take_again(room)


class TextClient(Client):
    """A client that reads lines of text."""

    line_end = "\r\n"

    def take(self) -> bytes:
        """Return the bytes that arrived since the last call."""
        seen = bytes(self.transport.sent)
        self.transport.sent.clear()
        return seen

    def read(self) -> str:
        """Return the text that arrived since the last call."""
        return self.take().decode()

    def lines(self) -> list[str]:
        """Return the same as lines without their ends."""
        seen = self.read()
        assert seen.endswith(self.line_end) or not seen, seen
        return seen.split(self.line_end)[:-1]


def shown(sent: bytes) -> str:
    """Return *sent*, the output of the line door, as text: with ``<hide>`` and ``<show>`` for WILL and WONT ECHO."""
    return sent.replace(HIDE_INPUT, b"<hide>").replace(SHOW_INPUT, b"<show>").decode()


class Person(TextClient):
    """A person at the line door."""

    def __init__(self, world: World, protocol: BroadcastProtocol, transport: MemoryTransport) -> None:
        super().__init__(world, transport)
        self.protocol = protocol
        self._gone = False

    def read(self) -> str:
        """Return the text that arrived since the last call; see ``shown``."""
        return shown(self.take())

    def put(self, data: bytes | str) -> None:
        """Type *data* in one chunk and run no turn, so that the next input may become part of the same batch."""
        self.protocol.dataReceived(data.encode() if isinstance(data, str) else data)

    def send(self, data: bytes | str, cuts: Iterable[int] = ()) -> None:
        """Type *data*, cut into chunks at *cuts*, each as soon as the server reads; then settle."""
        raw = data.encode() if isinstance(data, str) else data
        start = 0
        for end in [*sorted({cut for cut in cuts if 0 < cut < len(raw)}), len(raw)]:
            self.world.until(lambda: self.transport.reading)
            self.protocol.dataReceived(raw[start:end])
            start = end
        self.world.settle()

    def say(self, *lines: str) -> None:
        """Type whole lines, then settle."""
        self.send("".join(line + "\r\n" for line in lines))

    def end_input(self) -> None:
        """Close their direction, as ``nc -N`` does. The server closes its own when it has answered."""
        self.protocol.readConnectionLost()
        self.world.settle()
        self._hang_up_if_finished()

    def hang_up(self) -> None:
        """Close their direction after the server has closed its own, as ``telnet`` and ``nc`` do."""
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
        """Lose the connection; *clean* after both sides have closed it."""
        self._gone = True
        reason: Exception = ConnectionDone() if clean else ConnectionLost()
        self.protocol.connectionLost(Failure(reason))  # type: ignore[no-untyped-call]  # likewise
        self.world.settle()


def admitted(hub: Hub, session: int, nick: str, listener: MemberListener, **options: Any) -> Member:  # noqa: ANN401 -- those of ``Hub.admit``
    """Return the member that *hub* admits at once as *nick*."""
    results: list[Member | RejectedError] = []
    hub.admit(session, nick, listener, results.append, **options)
    (member,) = results
    assert isinstance(member, Member)
    return member


class TokenEncoder:
    """An encoder for tests of the core: the bytes of an event are its index in *encoded*, the same ones each time."""

    def __init__(self, encoded: list[Event | Notice]) -> None:
        self._encoded = encoded
        self._tokens: dict[int, bytes] = {}

    def encode(self, event: Event | Notice) -> bytes:
        """Return the token of *event*. As at every door, a barrier has no bytes."""
        if isinstance(event, Barrier):
            return b""
        token = self._tokens.get(id(event))
        if token is None:
            token = self._tokens[id(event)] = f"{len(self._encoded):0{TOKEN_BYTES - 1}}\n".encode()
            self._encoded.append(event)
        return token


class SessionClient(Client):
    """A client of the core without a door: a real session and peer, and events instead of text."""

    def __init__(self, world: World) -> None:
        super().__init__(world, SocketTransport())
        self.views: list[View] = []
        """The views of which the peer has asked for the encoder. It does so once when it is made."""
        self.ready_calls = 0
        """Number of times that the peer has asked for the next line."""
        self.closed = False
        writer = writer_of(self.transport, world.clock)
        self.peer = StreamPeer(world.fanout, writer, self._encoder_for, self._count_ready, self._note_closed)
        self.session = Session(world.hub, self.peer, Source())
        self.peer.bind_session(self.session.id)

    def _encoder_for(self, view: View) -> TokenEncoder:
        self.views.append(view)
        return self.world.token_encoder(view)

    def _count_ready(self) -> None:
        self.ready_calls += 1

    def _note_closed(self) -> None:
        self.closed = True

    def say(self, *lines: str, at: float = NOON) -> None:
        """Type *lines* at the time *at*, each when the session is ready for it; then settle."""
        for line in lines:
            self.world.until(lambda: self.session.ready)
            self.session.line(line, at)
        self.world.settle()

    def read(self) -> list[Event | Notice]:
        """Return the events and notices that arrived since the last call."""
        tokens = self.transport.sent.split()
        self.transport.sent.clear()
        return [self.world.encoded[int(token)] for token in tokens]

    def congest(self) -> None:
        """Stop reading, and let so much output pile up that the server counts the connection as congested."""
        self.stop_reading()
        while not self.peer.congested:
            self.peer.send_bytes(b"\n")


class InstantHasher:
    """A hasher whose hash of a password is its text, and whose work takes one turn of the reactor."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self.is_busy = self.is_full = self.fails = False

    def hash(self, password: Password, on_result: Callable[[str | None], None]) -> None:
        self._check_full()
        self._call_soon(lambda: on_result(None if self.fails else password.encoded.decode()))

    def verify(
        self, stored: str | None, password: Password, on_result: Callable[[bool | None, str | None], None]
    ) -> None:
        self._check_full()
        self._call_soon(lambda: on_result(None if self.fails else stored == password.encoded.decode(), None))

    def _check_full(self) -> None:
        if self.is_full:
            raise Busy


class World:
    """A server with the memory journal, unless *journal* makes another, and without the limits on people."""

    direct = False
    """Whether the server sends to the sockets directly."""
    holds_presence = False
    """Whether the notices of joins and leaves that follow others closely wait."""

    def __init__(
        self,
        settings: Settings | None = None,
        journal: Callable[[Callable[[Callable[[], None]], object]], Journal] | None = None,
        limits: Limits | None = None,
        replay_buffer: ReplayBuffer | None = None,
    ) -> None:
        self.clock = Clock()
        self.clock.advance(NOON)
        self.leap = 0.0
        """Seconds by which the wall clock has jumped."""
        self.tick = 0.0
        """Seconds that pass whenever the fan-out looks at its clock. With 1.0, it does one step of its work a turn."""
        self.encoded: list[Event | Notice] = []
        """Everything that was encoded for the clients of the core."""
        self._encoders: dict[View, TokenEncoder] = {}
        self._fanout_seconds = 0.0
        self._soon: list[Callable[[], None]] = []
        limits = limits or DEFAULTS.without_client_limits()
        self.journal: Journal
        if journal is None and make_threaded_journal is not None:
            self.journal = AwaitedJournal(make_threaded_journal, self._soon)
        else:
            self.journal = (journal or MemoryJournal)(self._soon.append)
        self._replay_buffer = replay_buffer
        self.dispatcher = Dispatcher(self._soon.append, self._fanout_clock, limits.private_queue_bytes)
        settings = replace(settings or Settings(version="0.0"), limits=limits)
        call_later = self.clock.callLater if self.holds_presence else None
        self.hasher = InstantHasher(self._soon.append)
        mode = settings.accounts
        secrets = map("secret{}".format, count(1)).__next__
        authenticator = Authenticator(
            Accounts(self.journal.records), self.hasher, self.clock.seconds, self.wall, secrets, mode
        )
        options = self.hub_options()
        self.hub = Hub(
            self.journal, self._make_fanout, settings, self.clock.seconds(), authenticator, call_later, **options
        )
        self.connections = Connections(limits, self.clock, self.hub.check_address)
        self.factory = BroadcastFactory(
            self.hub, self.connections, self.clock, self._soon.append, self.wall, self.writer
        )
        self.hub.open(lambda _room: None)
        self.room = self.hub.lobby
        self.fanout = cast(Fanout, self.room.publisher)

    def hub_options(self) -> dict[str, Any]:
        """Return further arguments of the hub."""
        return {}

    def _make_fanout(self) -> Fanout:
        # A test of the buffer has one room only.
        return Fanout(self.dispatcher, self._replay_buffer or ReplayBuffer())

    def _fanout_clock(self) -> float:
        self._fanout_seconds += self.tick
        return self._fanout_seconds

    def wall(self) -> float:
        """Return the time of day."""
        return self.clock.seconds() + self.leap

    def transport(self, address: IAddress | None) -> MemoryTransport:
        """Return the transport of a new connection from *address*."""
        return SocketTransport(address) if self.direct else MemoryTransport(address)

    def writer(self, transport: StreamTransport) -> Writer:
        """Return the writer of a connection."""
        return writer_of(transport, self.clock) if self.direct else TransportWriter(transport, self.clock)

    def token_encoder(self, view: View) -> TokenEncoder:
        """Return the encoder of *view* for the clients of the core."""
        return self._encoders.setdefault(view, TokenEncoder(self.encoded))

    def turn(self) -> bool:
        """Run one turn of the reactor. Return whether there was anything to do."""
        if isinstance(self.journal, AwaitedJournal):
            self.journal.collect()
        now, self._soon[:] = list(self._soon), []
        for call in now:
            call()
        return bool(now)

    def settle(self) -> None:
        """Run turns until nothing is left to do."""
        while self.turn():
            pass

    def until(self, done: Callable[[], bool]) -> None:
        """Run turns until *done*."""
        while not done():
            assert self.turn(), "nothing is left to do, but it is not done"

    def deliver_in_part(self) -> None:
        """Run turns until the next batch has reached its first subscribers, but nobody else; ``settle`` finishes it."""
        self.tick = 1.0
        self.until(lambda: self.hub.lobby.delivering)

    def connect(self, address: IAddress | None = None) -> Person:
        """Return a person who has received the welcome."""
        return self.connect_transport(self.transport(address))

    def connect_transport(self, transport: MemoryTransport) -> Person:
        """Return a person who is connected with *transport*, and has received the welcome."""
        protocol = cast(BroadcastProtocol, self.factory.buildProtocol(transport.address))
        person = Person(self, protocol, transport)
        protocol.makeConnection(transport)  # type: ignore[no-untyped-call]  # Twisted's own is not annotated
        return person

    def join(self, *nicks: str) -> list[Person]:
        """Return people who have taken these nicknames and read everything."""
        people = []
        for nick in nicks:
            person = self.connect()
            person.say(nick)
            people.append(person)
        for person in people:
            person.read()
        return people

    def register(self, *people: Person) -> None:
        """Let *people* register their nicknames with the password ``PASSWORD``, and read everything."""
        for person in people:
            person.say("/register", PASSWORD, PASSWORD)
            assert "is registered" in person.read()

    def open_session(self) -> SessionClient:
        """Return a client of the core that has received the welcome."""
        client = SessionClient(self)
        client.session.start()
        client.read()
        return client

    def join_sessions(self, *nicks: str) -> list[SessionClient]:
        """Return clients of the core that have taken these nicknames and read everything."""
        clients = [self.open_session() for _ in nicks]
        for client, nick in zip(clients, nicks, strict=True):
            client.say(nick)
        for client in clients:
            client.read()
        return clients


class DirectWorld(World):
    """A server that sends to the sockets directly."""

    direct = True
