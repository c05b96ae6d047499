"""People and programs in random rooms against a model of what each must read.

``BROADCAST_LONG=1`` tries many more examples.
"""

from __future__ import annotations

import os
import re
from abc import abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import accumulate, chain, count, repeat
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import broadcast.delivery.cursor
import broadcast.delivery.fanout
import broadcast.delivery.private_queue
import broadcast.delivery.subscriber
import broadcast.net.writers
import tests.harness
from broadcast.core.events import CommandReply, Event, Message, PrivateMessage, Receipt
from broadcast.core.interfaces import Batch, Override, View
from broadcast.core.time_slice import SLICE_SECONDS
from broadcast.delivery.multi_room_peer import MultiRoomPeer
from broadcast.delivery.peer import StreamPeer
from broadcast.delivery.shared_writer import Share
from broadcast.delivery.subscriber import Subscriber
from tests.delivery.programs import Program, ProgramWorld, Room
from tests.delivery.subscribers import KINDS, Kind, PlainEncoder
from tests.harness import TextClient

LONG = bool(os.environ.get("BROADCAST_LONG"))
ROOMS = "abc"
PRIVATE_QUEUE_BYTES = 100
SMALL_LIMITS: Sequence[tuple[object, str, int]] = (
    (broadcast.delivery.cursor, "RUN_BYTES", 60),
    (broadcast.delivery.cursor, "RUN_BATCHES", 3),
    (broadcast.delivery.private_queue, "CHUNK_OVERHEAD", 5),
    (broadcast.delivery.subscriber, "LAZY_CHUNK_BYTES", 40),
    (broadcast.net.writers, "_CHUNK_BYTES", 80),
    (broadcast.delivery.fanout, "SENDS_PER_SLICE", 1),
    (tests.harness, "ROOM_FOR_OUTPUT", 80),
)
"""Small, so that few lines make a client lag."""
HELD_BYTES = 1_000
"""The private queues, the responses of one step, the rest of one event for each stream, and the transport's buffer."""
GAP = re.compile(r"(?:(\w) )?missed (\d+)-(\d+)")


@dataclass(frozen=True)
class Line:
    """A line that a client must read."""

    text: str
    time: int
    seq: int = 0
    """Number of the event, 0 if it has none."""
    is_private: bool = False
    """Whether the client reads it even if the replay buffer has moved past it."""
    is_hidden: bool = False
    """Whether it is a line of the client's own, which it does not read."""


@dataclass
class Stream:
    """The lines of one stream in order."""

    lines: list[Line] = field(default_factory=list)

    def check(self, received: Sequence[str], *, whole: bool) -> None:
        """Check that *received* are the lines, except those that gap notices name. If *whole*, none is missing."""
        left = deque(self.lines)
        own = {line.seq for line in self.lines if line.is_private or line.is_hidden}

        def skip_hidden() -> None:
            while left and left[0].is_hidden:
                left.popleft()

        for text in received:
            if gap := GAP.fullmatch(text):
                numbers = set(range(int(gap[2]), int(gap[3]) + 1))
                assert numbers
                while left and left[0].seq in numbers and not left[0].is_private:
                    numbers.discard(left.popleft().seq)
                assert numbers <= own, f"{text!r} names lines that came, or of another time"
            else:
                skip_hidden()
                assert left, f"unexpected {text!r}"
                assert text == left.popleft().text
        skip_hidden()
        assert not (whole and left), f"{left} did not come"


@dataclass(eq=False)
class Connection:
    """A connection, and what the model knows of it."""

    client: TextClient
    session: int
    received: list[str] = field(default_factory=list)
    open: bool = True
    """Whether it has neither been closed nor lost."""
    lost: bool = False

    @property
    def subscribers(self) -> list[Subscriber]:
        """All subscribers that the peer holds."""
        raise NotImplementedError

    @property
    @abstractmethod
    def peer(self) -> StreamPeer | MultiRoomPeer:
        """The peer."""

    @property
    def held_bytes(self) -> int:
        """Number of bytes that the server holds for it alone."""
        shares = [each.writer for each in self.subscribers if isinstance(each.writer, Share)]
        rests = sum(len(share.rest) for share in shares)
        return len(self.client.transport.held) + sum(each._queue.size for each in self.subscribers) + rests

    def read(self) -> None:
        """Take in the whole lines that came since the last call."""
        sent = self.client.transport.sent
        end = sent.rfind(b"\n") + 1
        self.received += sent[:end].decode().split("\n")[:-1]
        del sent[:end]
        assert not sent or self.lost, "the stream ends within a line"

    @abstractmethod
    def expect(self, room: Room, line: Line) -> None:
        """Expect *line* of *room*."""

    @abstractmethod
    def answer(self, texts: Sequence[str], time: int) -> None:
        """Send responses."""

    @abstractmethod
    def check(self, *, exact: bool) -> None:
        """Check what has been received. *exact* if every delivery took one turn."""


class PersonConnection(Connection):
    """The connection of a person, who is in one room at a time."""

    def __init__(self, world: ProgramWorld, encoder: PlainEncoder) -> None:
        client = TextClient(world, world.transport(None))
        super().__init__(client, world.hub.next_session_id())
        self._peer = StreamPeer(
            world.fanout, world.writer(client.transport), lambda _view: encoder, lambda: None, lambda: None
        )
        self._peer.bind_session(self.session)
        self.room: Room | None = None
        self.stream = Stream()

    @property
    def peer(self) -> StreamPeer:
        return self._peer

    @property
    def subscribers(self) -> list[Subscriber]:
        return [*self._peer._ending, self._peer._subscriber]

    def expect(self, room: Room, line: Line) -> None:
        if room is self.room:
            self.stream.lines.append(line)

    def answer(self, texts: Sequence[str], time: int) -> None:
        self.stream.lines += [Line(f"re {text}", time, is_private=True) for text in texts]
        replies = [CommandReply(f"re {text}") for text in texts]
        if time % 2:
            self._peer.send(*replies)
        else:
            self._peer.send_lazily(iter(replies))

    def move(self, room: Room) -> None:
        self._peer.subscribe(room.fanout, View())
        self.room = room

    def check(self, *, exact: bool) -> None:
        if exact:
            self.stream.check(self.received, whole=not self.lost)
            return
        # A reply can overtake a batch that has not been offered to this client.
        for is_reply in (False, True):
            stream = Stream([line for line in self.stream.lines if line.text.startswith("re ") is is_reply])
            stream.check([text for text in self.received if text.startswith("re ") is is_reply], whole=not self.lost)


class ProgramConnection(Connection):
    """The connection of a program, which is in any number of rooms."""

    def __init__(self, world: ProgramWorld) -> None:
        self.program = Program(world)
        super().__init__(self.program, self.program.session)
        self.responses = Stream()
        self.streams = {room: Stream() for room in ROOMS}
        self.visits: dict[Room, list[Line]] = {}
        """The lines of each room since it was entered."""
        self.held: dict[Room, Callable[[], None]] = {}
        """The functions that release the rooms that are held."""
        self.precede: list[tuple[str, list[Line]]] = []
        """Responses, and the lines of the visits that begin after them."""

    @property
    def peer(self) -> MultiRoomPeer:
        return self.program.peer

    @property
    def subscribers(self) -> list[Subscriber]:
        peer = self.program.peer
        return [peer._responses, *chain(*peer._ending.values()), *peer._rooms.values()]

    def expect(self, room: Room, line: Line) -> None:
        if room in self.visits:
            self.visits[room].append(line)

    def answer(self, texts: Sequence[str], time: int) -> None:
        self.responses.lines += [Line(f"re {text}", time, is_private=True) for text in texts]
        self.program.answer(*(f"re {text}" for text in texts))

    def enter(self, room: Room, time: int, *, held: bool) -> None:
        self.visits[room] = []
        if not held:
            self.confirm(room, time)
        release = self.program.enter(room, held=held)
        if held:
            self.held[room] = release

    def confirm(self, room: Room, time: int) -> None:
        self.answer([f"{room.name} {time}"], time)
        self.precede.append((f"re {room.name} {time}", self.visits[room]))

    def release(self, room: Room, time: int) -> None:
        release = self.held.pop(room)
        self.confirm(room, time)
        release()

    def leave(self, room: Room) -> None:
        self.program.leave(room)
        self.end_visit(room)

    def end_visit(self, room: Room) -> None:
        lines = self.visits.pop(room)
        if room in self.held:
            del self.held[room]  # its stream has not begun
        else:
            self.streams[room.name].lines += lines

    def check(self, *, exact: bool) -> None:
        for room in [room for room in self.visits if room not in self.held]:
            self.end_visit(room)
        for name, stream in self.streams.items():
            stream.check([text for text in self.received if text.startswith(f"{name} ")], whole=not self.lost)
        self.responses.check([text for text in self.received if text.startswith("re ")], whole=not self.lost)
        # Responses go before all events that wait.
        times = {line.text: line.time for stream in self.streams.values() for line in stream.lines}
        asked = {line.text: line.time for line in self.responses.lines}
        newest = 0
        for text in self.received:
            newest = max(newest, times.get(text, 0))
            assert newest < asked.get(text, newest + 1), f"{text!r} comes after later events"
        places = {text: place for place, text in enumerate(self.received)}
        for response, lines in self.precede:
            for line in lines:
                assert line.text not in places or places[response] < places[line.text]


def rule_for(
    connections: Callable[[Any], Sequence[Connection]], **arguments: st.SearchStrategy[Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator: the method is a rule for one of *connections*, if there are any, with drawn *arguments*."""

    def decorate(method: Callable[..., None]) -> Callable[..., None]:
        def step(rooms: Rooms, data: st.DataObject, **drawn: object) -> None:
            method(rooms, data.draw(st.sampled_from(connections(rooms)), label="connection"), **drawn)

        step.__name__ = method.__name__
        typed_rule: Any = rule  # its overloads do not take arguments that are not known here
        decorated: Callable[..., None] = typed_rule(data=st.data(), **arguments)(step)
        return precondition(lambda rooms: bool(connections(rooms)))(decorated)

    return decorate


class Rooms(RuleBasedStateMachine):
    """Connections that stop and go on reading anywhere, and move between rooms."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        for module, name, value in SMALL_LIMITS:
            self.stack.enter_context(mock.patch.object(module, name, value))
        self.people: list[PersonConnection] = []
        self.programs: list[ProgramConnection] = []
        self.clock = count(1)

    @initialize(
        kind=st.sampled_from(KINDS),
        slow=st.booleans(),
        events=st.sampled_from([3, 1000]),
        obeys=st.booleans(),
        people=st.lists(st.none() | st.integers(0, 80), max_size=2),
        programs=st.lists(st.none() | st.integers(0, 80), min_size=1, max_size=2),
    )
    def begin(
        self,
        kind: Kind,
        slow: bool,
        events: int,
        obeys: bool,
        people: list[int | None],
        programs: list[int | None],
    ) -> None:
        """Let some clients connect that read only so many bytes more. Programs begin in all rooms.

        If the doors *obey*, they handle no input of a client that is congested.
        """
        self.world = ProgramWorld(kind)
        self.world.dispatcher.private_queue_bytes = PRIVATE_QUEUE_BYTES
        self.slow = slow
        self.obeys = obeys
        self.loses_nothing = events > 10
        self.encoder = PlainEncoder()
        if slow:  # each look at the clock uses up the turn, so that each send has a turn of its own
            for queue in (self.world.dispatcher._delivery_steps, self.world.dispatcher._subscriber_steps):
                queue._slice._now = accumulate(repeat(SLICE_SECONDS)).__next__
        self.rooms = self.world.rooms(*ROOMS, events=events)
        self.batches = dict.fromkeys(self.rooms, 0)
        for number, room in enumerate(self.rooms):
            room.last = 1000 * number
            self.publish(room, ["x"], {}, {})
            self.world.settle()
        for number, limit in enumerate(people):
            person = PersonConnection(self.world, self.encoder)
            person.move(self.rooms[number])
            person.client.transport.room = limit
            self.people.append(person)
        for limit in programs:
            program = ProgramConnection(self.world)
            for room in self.rooms:
                program.enter(room, next(self.clock), held=False)
            program.client.transport.room = limit
            self.programs.append(program)

    @property
    def connections(self) -> list[Connection]:
        return [*self.people, *self.programs]

    def opened(self) -> list[Connection]:
        return [connection for connection in self.connections if connection.open]

    def connected(self) -> list[Connection]:
        return [connection for connection in self.connections if not connection.lost]

    def open_people(self) -> list[Connection]:
        return [person for person in self.people if person.open]

    def open_programs(self) -> list[Connection]:
        return [program for program in self.programs if program.open]

    def may_act(self, connection: Connection) -> bool:
        """Return whether the door handles input of *connection*."""
        return not (self.obeys and connection.peer.congested)

    def finish_turn(self) -> None:
        if not self.slow:
            self.world.settle()

    # Rooms

    def publish(
        self, room: Room, texts: Sequence[str], own: dict[Connection, bool], private: dict[Connection, str]
    ) -> None:
        """Publish a batch. The connections in *own* have written its first line, and read its number if true."""
        if room.delivered < self.batches[room]:
            return  # one batch is in delivery at a time
        self.batches[room] += 1
        time, before = next(self.clock), room.last
        events: list[Event] = []
        overrides: dict[int, list[Override]] = {}
        for text in texts:
            room.last += 1
            events.append(Message(0, "eve", f"{text}{room.last}", 0.0, room.last))
        for connection, has_receipt in own.items():
            overrides[connection.session] = [(0, Receipt(before + 1) if has_receipt else None)]
        for connection, text in private.items():
            message = PrivateMessage(0, "eve", connection.session, f"{text}{time}")
            overrides.setdefault(connection.session, []).append((len(events), message))
            events.append(message)
        for connection in self.connections:
            if connection.open:
                for line in self.lines(connection, room, events, dict(overrides.get(connection.session, [])), time):
                    connection.expect(room, line)
        room.fanout.publish(Batch(events, overrides, before), iter([room._count]))
        self.finish_turn()

    @staticmethod
    def lines(
        connection: Connection, room: Room, events: Sequence[Event], own: dict[int, Any], time: int
    ) -> Iterator[Line]:
        prefix = f"{room.name} " if isinstance(connection, ProgramConnection) else ""
        for index, event in enumerate(events):
            if isinstance(event, Message):
                if index not in own:
                    yield Line(f"{prefix}{event.text}", time, event.seq)
                elif own[index] is None:
                    yield Line("", time, event.seq, is_hidden=True)
                else:
                    yield Line(f"{prefix}#{event.seq}", time, event.seq, is_private=True)
            elif index in own:
                assert isinstance(event, PrivateMessage)
                yield Line(f"{prefix}[{event.text}]", time, is_private=True)

    @rule(
        data=st.data(),
        number=st.integers(0, len(ROOMS) - 1),
        texts=st.lists(st.sampled_from(["", "x" * 9, "y" * 30]), min_size=1, max_size=4),
    )
    def say(self, data: st.DataObject, number: int, texts: list[str]) -> None:
        """Publish a batch in a room. Some connections have written its first line, some have a private message."""
        able = [connection for connection in self.opened() if self.may_act(connection)]
        some = st.lists(st.sampled_from(able), unique=True) if able else st.just([])
        own = {connection: data.draw(st.booleans()) for connection in data.draw(some, label="own")}
        private = dict.fromkeys(data.draw(some, label="private"), "psst")
        self.publish(self.rooms[number], texts, own, private)

    # Connections

    @rule_for(opened, texts=st.lists(st.sampled_from(["", "x" * 9, "y" * 30]), min_size=1, max_size=4))
    def answer(self, connection: Connection, texts: list[str]) -> None:
        if self.may_act(connection):
            time = next(self.clock)
            connection.answer([f"{text}{time}.{number}" for number, text in enumerate(texts)], time)
            self.finish_turn()

    @rule_for(open_people, number=st.integers(0, len(ROOMS) - 1))
    def move(self, person: PersonConnection, number: int) -> None:
        if self.may_act(person):
            person.move(self.rooms[number])
            self.finish_turn()

    @rule_for(open_programs, number=st.integers(0, len(ROOMS) - 1), held=st.booleans())
    def enter_release_or_leave(self, program: ProgramConnection, number: int, held: bool) -> None:
        room = self.rooms[number]
        if not self.may_act(program):
            return
        if room not in program.visits:
            program.enter(room, next(self.clock), held=held)
        elif room in program.held and held:
            program.release(room, next(self.clock))
        else:
            program.leave(room)
        self.finish_turn()

    @rule_for(connected, limit=st.integers(0, 60))
    def stop_reading(self, connection: Connection, limit: int) -> None:
        connection.client.transport.room = limit

    @rule_for(connected, limit=st.none() | st.integers(1, 200))
    def read_on(self, connection: Connection, limit: int | None) -> None:
        connection.client.transport.take_again(limit)
        self.finish_turn()

    @rule()
    def turn(self) -> None:
        self.world.turn()

    @rule_for(opened, chance=st.integers(1, 8), lost=st.booleans())
    def end(self, connection: Connection, chance: int, lost: bool) -> None:
        """Close or lose a connection, but seldom, so that most of them see many steps."""
        if chance < 8:
            return
        connection.open = False
        if lost:
            connection.lost = True
            connection.peer.connection_lost()
        else:
            connection.peer.close()
        self.finish_turn()

    # What always holds

    @invariant()
    def memory_is_bounded(self) -> None:
        if self.obeys:
            for connection in self.connected():
                assert connection.held_bytes <= HELD_BYTES
                assert len(connection.subscribers) <= 2 + 2 * len(ROOMS)

    @invariant()
    def counts_are_right(self) -> None:
        lagging: Counter[object] = Counter()
        for connection in self.connections:
            assert connection.peer._private_bytes.size == sum(each._queue.size for each in connection.subscribers)
            for subscriber in connection.subscribers:
                lagging[subscriber.registry] += subscriber.lagging
        for room in self.rooms:
            assert room.fanout._lagging_count == lagging[room.fanout]
        assert self.world.dispatcher.lagging_count == lagging.total()

    def finish(self) -> None:
        """Let all clients read everything, and check what they have read."""
        self.world.settle()
        for _ in range(100):
            for connection in self.connected():
                connection.client.transport.take_again()
            self.world.settle()
            if not any(connection.peer.lagging for connection in self.connected()):
                break
        for connection in self.connections:
            connection.read()
            assert not (self.loses_nothing and any(map(GAP.fullmatch, connection.received)))
            connection.check(exact=not self.slow)
            assert connection.client.transport.finished is (not connection.open and not connection.lost)
            if not connection.lost and self.is_released(connection):
                assert not connection.held_bytes
                assert not connection.peer.congested

    @staticmethod
    def is_released(connection: Connection) -> bool:
        return not (isinstance(connection, ProgramConnection) and connection.held)

    def teardown(self) -> None:
        with self.stack:
            if hasattr(self, "rooms"):
                self.finish()


MODEL = settings(
    max_examples=5_000 if LONG else 25,
    stateful_step_count=100 if LONG else 40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_each_client_reads_exactly_its_streams() -> None:
    run_state_machine_as_test(Rooms, settings=MODEL)
