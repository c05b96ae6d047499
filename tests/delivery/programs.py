"""A program that is in many rooms at once, and the rooms: fan-outs without members."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from broadcast.core.events import Event, Message, Notice, PrivateMessage
from broadcast.core.interfaces import Batch, Override
from broadcast.delivery.fanout import Fanout
from broadcast.delivery.multi_room_peer import MultiRoomPeer
from broadcast.delivery.replay_buffer import ReplayBuffer
from tests.delivery.subscribers import Kind, PlainEncoder
from tests.harness import TextClient, World


class RoomEncoder(PlainEncoder):
    """An encoder whose lines begin with the name of the room."""

    def __init__(self, room: str) -> None:
        super().__init__()
        self._room = room

    def encode(self, event: Event | Notice) -> bytes:
        line = super().encode(event)
        return f"{self._room} ".encode() + line if line else b""


class Room:
    """A room whose lines are their own numbers, unless a test says otherwise."""

    def __init__(self, world: World, name: str, events: int = 8) -> None:
        self.name = name
        self.fanout = Fanout(world.dispatcher, ReplayBuffer(max_events=events))
        self.encoder = RoomEncoder(name)
        self.last = 0
        self.delivered = 0
        """Number of batches that were offered to every subscriber."""

    def say(self, *texts: str, private: Mapping[int, str] | None = None) -> None:
        """Publish a batch of lines. Each session in *private* receives a private message after them."""
        before = self.last
        events: list[Event] = []
        for text in texts or ("",):
            self.last += 1
            events.append(Message(0, "eve", text or str(self.last), 0.0, self.last))
        overrides: dict[int, list[Override]] = {}
        for session, text in (private or {}).items():
            message = PrivateMessage(0, "eve", session, text)
            overrides[session] = [(len(events), message)]
            events.append(message)
        self.fanout.publish(Batch(events, overrides, before), iter([self._count]))

    def _count(self) -> None:
        self.delivered += 1


class ProgramWorld(World):
    """A world of rooms and programs."""

    def __init__(self, kind: Kind = "direct") -> None:
        self.direct = kind == "direct"
        super().__init__()

    def rooms(self, *names: str, events: int = 8) -> list[Room]:
        """Return rooms whose replay buffers hold so many *events*."""
        return [Room(self, name, events) for name in names]


class Program(TextClient):
    """The other side of the connection of a program."""

    line_end = "\n"

    def __init__(self, world: ProgramWorld) -> None:
        super().__init__(world, world.transport(None))
        self.ready_calls = 0
        """Number of times that the peer has asked for the next line."""
        writer = world.writer(self.transport)
        self.peer = MultiRoomPeer(world.fanout, writer, self._count_ready)
        self.session = world.hub.next_session_id()
        self.peer.bind_session(self.session)

    def _count_ready(self) -> None:
        self.ready_calls += 1

    def enter(self, *rooms: Room, held: bool = False) -> Callable[[], None]:
        """Subscribe to *rooms*. Return the function that releases the last one, if it is *held*."""
        releases = [self.peer.subscribe(room.fanout, room.encoder, held=held) for room in rooms]
        return releases[-1]

    def leave(self, *rooms: Room) -> None:
        """Unsubscribe from *rooms*."""
        for room in rooms:
            self.peer.unsubscribe(room.fanout)

    def answer(self, *texts: str) -> None:
        """Send responses to the program."""
        self.peer.send(*(f"{text}\n".encode() for text in texts))

    def stop(self) -> None:
        """Stop reading, and let the transport, if it buffers, buffer as much as it does."""
        self.stop_reading()
        while not self.peer.lagging and not self.world.direct:
            self.answer("xxx" + "x" * 1000)

    def read_lines(self, room: Room | None = None) -> list[str]:
        """Return the lines that came, of *room* alone if it is given, without those that ``stop`` had to send."""
        lines = [line for line in self.lines() if not line.startswith("xxx")]
        return [line for line in lines if room is None or line.startswith(f"{room.name} ")]
