"""Readers of one fan-out without a door: what they were sent, over either kind of outlet, and a clock that costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

from twisted.internet.task import Clock

from broadcast.core.events import (
    Action,
    CommandReply,
    Event,
    Gap,
    Joined,
    Left,
    Message,
    Notice,
    PrivateMessage,
    Receipt,
)
from broadcast.core.interfaces import Batch, Encoder, Override, View
from broadcast.delivery.fanout import Fanout
from broadcast.delivery.replay_buffer import ReplayBuffer
from broadcast.delivery.subscriber import Subscriber
from broadcast.net.writers import SocketWriter, TransportWriter
from tests.harness import MemoryTransport, SocketTransport

Kind: TypeAlias = Literal["direct", "transport"]
KINDS: tuple[Kind, ...] = ("direct", "transport")


class PlainWire:
    """Renders an event as little more than its text; in a quiet view, joins are hidden."""

    def __init__(self, view: View | None = None) -> None:
        self.view = view or View()
        self.encoded: list[Event | Notice] = []

    def encode(self, event: Event | Notice) -> bytes:  # noqa: PLR0911 -- a table
        self.encoded.append(event)
        match event:
            case Message(text=text) | Action(text=text) | CommandReply(text=text):
                return f"{text}\n".encode()
            case PrivateMessage(text=text):
                return f"[{text}]\n".encode()
            case Receipt(seq=seq):
                return f"#{seq}\n".encode()
            case Gap(first=first, last=last):
                return f"missed {first}-{last}\n".encode()
            case Joined(nick=nick) if not self.view.quiet:
                return f"+{nick}\n".encode()
            case Left(nick=nick):
                return f"-{nick}\n".encode()
            case _:
                return b""


class Listener:
    """A reader, and the other side of their connection."""

    def __init__(self, hall: Hall, session: int, transport: MemoryTransport, wire: Encoder) -> None:
        self.hall = hall
        self.transport = transport
        self.outlet = (
            SocketWriter(transport, hall.clock, transport.socket.handle)
            if isinstance(transport, SocketTransport)
            else TransportWriter(transport, hall.clock)
        )
        self.relieved = 0
        self.reader = Subscriber(hall.fanout, self.outlet, wire, self._relieved)
        self.reader.session = session

    def _relieved(self) -> None:
        self.relieved += 1

    @property
    def held(self) -> int:
        """How many bytes wait for them in the server, apart from the window that all share."""
        return self.reader._queue.size + len(self.transport.held)

    def stop(self, room: int = 0) -> None:
        """Take *room* bytes, and then no more."""
        self.transport.room = room

    def go_on(self, room: int | None = None) -> None:
        """Read on."""
        self.transport.take_again(room)

    def show(self, *texts: str) -> None:
        """Put answers into their stream, all at once."""
        self.reader.send([*map(self.reader.encoder.encode, map(CommandReply, texts))])

    def show_each(self, *texts: str) -> None:
        """The same, each line made when it can be sent."""
        self.reader.send_lazily(map(self.reader.encoder.encode, map(CommandReply, texts)))

    def read(self) -> str:
        """What came since the last look."""
        seen = self.transport.sent.decode()
        self.transport.sent.clear()
        return seen

    def lines(self) -> list[str]:
        """The same as lines, all of them whole."""
        seen = self.read()
        assert seen.endswith("\n") or not seen, seen
        return seen.split("\n")[:-1]


class Hall:
    """A fan-out and its listeners. Each look at the clock costs *tick* seconds."""

    def __init__(self, kind: Kind = "direct", window: ReplayBuffer | None = None) -> None:
        self.kind = kind
        self.clock = Clock()
        self.wire = PlainWire()
        self.tick = 0.0
        self.told = 0
        """How many bursts everybody was offered."""
        self.last = 0
        """The number of the last line."""
        self.soon: list[Callable[[], None]] = []
        self._now = 0.0
        self._sessions = 0
        self.fanout = Fanout(self.soon.append, self.now, window)

    def now(self) -> float:
        self._now += self.tick
        return self._now

    def connect(self) -> Listener:
        """Somebody who is not in the room yet."""
        self._sessions += 1
        transport = SocketTransport() if self.kind == "direct" else MemoryTransport()
        return Listener(self, self._sessions, transport, self.wire)

    def listener(self, wire: Encoder | None = None) -> Listener:
        """Somebody who is told what happens."""
        listener = self.connect()
        listener.reader.subscribe(wire or self.wire)
        return listener

    def listeners(self, count: int) -> list[Listener]:
        """So many of them."""
        return [self.listener() for _ in range(count)]

    def tell(self, *what: str | Event, edits: Mapping[Listener, Sequence[Override]] | None = None) -> None:
        """Begin to tell one burst, as far as the first turn goes; texts are lines of somebody who is not here."""
        before = self.last
        events = [self._event(event) for event in what]
        apart = {listener.reader.session: given for listener, given in (edits or {}).items()}
        self.fanout.publish(Batch(events, apart, before), iter([self._told]))

    def say(self, author: Listener, text: str, *, receipt: bool = False) -> None:
        """Tell one line of *author*."""
        self.tell(text, edits={author: [(0, Receipt(self.last + 1) if receipt else None)]})

    def _event(self, event: str | Event) -> Event:
        if isinstance(event, str):
            event = Message(0, "eve", event, 0.0)
        if isinstance(event, Message | Action):
            self.last += 1
            return replace(event, seq=self.last)
        return event

    def _told(self) -> None:
        self.told += 1

    def turn(self) -> bool:
        """A turn of the reactor; whether there was anything to do."""
        now, self.soon[:] = list(self.soon), []
        for call in now:
            call()
        return bool(now)

    def settle(self) -> None:
        """Turns, until nothing is left to do."""
        while self.turn():
            pass
