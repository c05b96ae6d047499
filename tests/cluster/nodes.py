"""Several servers in one process that share a database in memory, which is in the place of PostgreSQL.

``Cluster`` is all of it. A ``Node`` is one server: a ``World`` whose journal and directory commit to the database. What
a node appends, takes and releases is committed in its order, in a later turn of this node. What the database has
committed reaches each node in a later turn of that node.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from broadcast.core.directory import (
    Decision,
    Directory,
    Expulsion,
    FoundSession,
    KeptSession,
    NodeListener,
    NodeMessage,
    OnClaimed,
    OnDirectory,
    OnFound,
    Person,
    SharedSessions,
)
from broadcast.core.errors import DatabaseAway, JournalError, NicknameRejected, NotHere, RejectedError
from broadcast.core.events import (
    STORED,
    Action,
    Announced,
    AwayChanged,
    Event,
    Joined,
    Left,
    Message,
    PrivateMessage,
    Renamed,
    Repeated,
    Stored,
    TopicChanged,
)
from broadcast.core.interfaces import EventListener, Journal, OpenedRoom, ReadCallback, RoomLog, UidsCallback
from broadcast.core.limits import Limits
from broadcast.core.nicknames import casefold_key, skeleton
from broadcast.core.other_nodes import ignore_outcome
from broadcast.core.records import RecordChange, SaveAccount, StoredRecords
from broadcast.core.slots import MemorySlots, OnBegun, OnFoundSlot, OnSlot, Slot, Slots, UploadClock, upload_ended
from broadcast.core.stats import CommitStats
from broadcast.journals.batch_queue import failed
from broadcast.journals.memory_records import MemoryRecords
from broadcast.server.fresh_start import END_SECONDS, FreshStart
from broadcast.server.visits import Visits
from tests.doors.jsonrpc.programs import ProgramWorld
from tests.files import MemoryArchive
from tests.harness import PASSWORD, World

if TYPE_CHECKING:
    from broadcast.core.search_query import SearchQuery
    from broadcast.core.time_slice import CallSoon
    from tests.harness import Person as User

CONNECTION_LOST = "connection lost"
_SHARED = (Joined, Left, Renamed, AwayChanged, TopicChanged)


class SharedRoom:
    """A room in the database: its stream, its stored lines and its members."""

    def __init__(self) -> None:
        self.stream: list[tuple[Node | None, Event]] = []
        """The events with the node that has appended each, None for the one that has removed a dead node."""
        self.lines: list[Stored] = []
        self.topic = ""
        self.members: dict[int, tuple[Node | None, Joined]] = {}
        """The members by session, each with its node; None if the session is parked."""

    def commit(self, node: Node | None, event: Event) -> None:
        """Store *event* of *node*, and note its effect on the members."""
        if isinstance(event, STORED):
            first = next((line.seq for line in self.lines if event.uid and line.uid == event.uid), 0)
            if first:
                self.stream.append((node, Repeated(event, first)))
                return
            event.seq = len(self.lines) + 1
            self.lines.append(_copy(event))
        elif isinstance(event, TopicChanged):
            self.topic = event.text
        elif isinstance(event, Joined):
            assert node is not None
            self.members[event.session] = node, event
        elif isinstance(event, Left):
            del self.members[event.session]
        elif isinstance(event, Renamed):
            self.members[event.session] = self.members[event.session][0], Joined(event.session, event.new)
        self.stream.append((node, event))


def _copy(line: Stored) -> Stored:
    """Return *line* as another node reads it."""
    copy = replace(line, on_stored=None)
    if isinstance(copy, (Message, Action)):
        copy.receipt = False
    return copy


@dataclass
class StoredSession:
    """A session that a token can resume."""

    kept: KeptSession
    node: Node | None
    """None if it is parked."""
    until: float | None = None
    memory: str = ""
    reason: str = CONNECTION_LOST
    by: str = ""


class Database:
    """The database of all nodes. *unicode* is whether nicknames must not look alike."""

    def __init__(self, *, unicode: bool) -> None:
        self.rooms: dict[str, SharedRoom] = {}
        self.people: dict[str, tuple[Node | None, Person]] = {}
        """The people of all nodes, by the keys of their nicknames. Those whose session is parked have no node."""
        self.sessions: dict[int, StoredSession] = {}
        self.mail: list[PrivateMessage] = []
        """The messages to parked sessions."""
        self.now = 0.0
        self.nodes: list[Node] = []
        self.files = MemoryArchive()
        clock = UploadClock(lambda: self.now, lambda: self.now, lambda _seconds, _call: None)
        self.slots = MemorySlots(self.files, Limits(), clock)
        self.records: NodeRecords | None = None
        """The records of the first node, whose values the others share."""
        self._unicode = unicode

    def room(self, name: str) -> SharedRoom:
        """Return the room *name*, which exists from now on."""
        return self.rooms.setdefault(name, SharedRoom())

    def take(self, node: Node, person: Person) -> RejectedError | None:
        """Give a nickname to *person* on *node*, or return the reason why not."""
        key = casefold_key(person.nick)
        for other_key, (_, other) in self.people.items():
            if other.session != person.session:
                if other_key == key:
                    return NicknameRejected(f"{person.nick} is taken.", "taken")
                if self._unicode and skeleton(other.nick) == skeleton(person.nick):
                    text = f"{person.nick} looks too much like {other.nick}, who is here."
                    return NicknameRejected(text, "looks-like")
        self.people[key] = node, person
        self.notify(node, lambda listener: listener.person_changed(person))
        return None

    def update(self, node: Node, person: Person) -> None:
        """Store new values of *person* on *node*."""
        key = casefold_key(person.nick)
        owner, known = self.people.get(key, (None, None))
        if owner is node and known is not None and known.generation == person.generation:
            self.people[key] = node, person
            self.notify(node, lambda listener: listener.person_changed(person))

    def release(self, session: int, nick: str, generation: int) -> None:
        """Free *nick*, if *session* has it in this *generation*."""
        key = casefold_key(nick)
        person = self.people[key][1] if key in self.people else None
        if person is not None and (person.session, person.generation) == (session, generation):
            node, _ = self.people.pop(key)
            self.notify(node, lambda listener: listener.person_left(session, nick))

    def notify(self, but: Node | None, call: Callable[[NodeListener], None]) -> None:
        """Let *call* reach all nodes but one."""
        for node in self.nodes:
            if node is not but:
                node.directory.notify(call)

    def remove(self, node: Node) -> None:
        """Remove the dead *node* and its people."""
        self.nodes.remove(node)
        for session in [session for session, stored in self.sessions.items() if stored.node is node]:
            self.park(session, "")
        for room in self.rooms.values():
            for member, joined in list(room.members.values()):
                if member is node:
                    room.commit(None, Left(joined.session, joined.nick, CONNECTION_LOST))
        for owner, person in list(self.people.values()):
            if owner is node:
                self.release(person.session, person.nick, person.generation)
        for other in self.nodes:
            other.shared.wake()

    def owner_of(self, session: int) -> tuple[Node | None, Person] | None:
        """Return *session* with its node; None if there is no such session."""
        return next((owner for owner in self.people.values() if owner[1].session == session), None)

    # Sessions that a token can resume

    def park(self, session: int, memory: str) -> bool:
        """Park *session*, unless it is being renamed. Return whether that was possible."""
        stored = self.sessions[session]
        stored.memory = memory
        if stored.until is None:
            stored.until = self.now + stored.kept.grace
        return self.move(session, None)

    def move(self, session: int, node: Node | None) -> bool:
        """Give *session* to *node*, unless it is being renamed. Return whether that was possible."""
        keys = [key for key, (_, person) in self.people.items() if person.session == session]
        if len(keys) != 1:
            return False
        self.sessions[session].node = node
        person = self.people[keys[0]][1]
        person = replace(person, generation=person.generation + 1)
        self.people[keys[0]] = node, person
        for room in self.rooms.values():
            if session in room.members:
                room.members[session] = node, room.members[session][1]
        self.notify(node, lambda listener: listener.person_changed(person))
        return True

    def find(self, node: Node, token: str, *, force: bool) -> FoundSession | None:
        """Return the session with *token*, unless *node* has it."""
        stored = next((stored for stored in self.sessions.values() if stored.kept.token == token), None)
        if stored is None or stored.node is node:
            return None
        session = stored.kept.session
        if force and stored.node is not None:
            self.park(session, "")
        owner = self.owner_of(session)
        if owner is None or (stored.node is None and stored.until is not None and stored.until <= self.now):
            return None
        rooms = [name for name, room in self.rooms.items() if session in room.members]
        name = "" if stored.node is None else str(stored.node.number)
        return FoundSession(session, name, stored.kept.attempt, stored.kept.grace, owner[1], rooms, stored.memory)

    def claim(self, node: Node, found: FoundSession, attempt: int, address: str | None) -> int | None:
        """Give the parked session *found* to *node*, and return its generation. Return None if it is another one."""
        stored, owner = self.sessions.get(found.session), self.owner_of(found.session)
        if stored is None or stored.node is not None or owner is None or owner[1] != found.person:
            return None
        stored.kept = replace(stored.kept, attempt=attempt)
        self.people[casefold_key(found.person.nick)] = None, replace(owner[1], address=address)
        self.move(found.session, node)
        return found.person.generation + 1

    def end_parked(self) -> None:
        """Let the parked sessions leave whose time is over."""
        for session, stored in list(self.sessions.items()):
            if stored.node is None and stored.until is not None and stored.until <= self.now:
                del self.sessions[session]
                for room in self.rooms.values():
                    if session in room.members:
                        room.commit(None, Left(session, room.members[session][1].nick, stored.reason, stored.by))
                owner = self.owner_of(session)
                assert owner is not None
                self.release(session, owner[1].nick, owner[1].generation)
        for node in self.nodes:
            node.shared.wake()


ID_STEP = 16
"""Maximum number of nodes."""


class NodeRecords(MemoryRecords):
    """The records of one node, which are those of all nodes."""

    def __init__(self, node: Node, call_soon: CallSoon) -> None:
        super().__init__(call_soon, call_soon, 1000)  # type: ignore[arg-type]  # nothing needs its result
        self._node = node
        self._shared = database = node.cluster.database
        self._link(database.records or self)
        if database.records is None:
            database.records = self

    def _link(self, records: NodeRecords) -> None:
        """Share the values of *records*."""
        self._accounts, self._bans = records._accounts, records._bans
        self._private, self._audit = records._private, records._audit

    def load(self) -> StoredRecords:
        """Return the records, and a sequence of ids that no other node uses."""
        stored = super().load()
        last = max([*self._accounts, *(ban.id for ban in self._bans.values()), *self._private, 0])
        first = (last // ID_STEP + 1) * ID_STEP + self._node.number
        return replace(stored, next_account=first, next_ban=first, next_private=first, step=ID_STEP)

    def write(self, changes: Sequence[RecordChange], on_done: Callable[[JournalError | None], None]) -> None:
        """Make *changes* in a later turn, and notify the other nodes."""

        def commit() -> None:
            for change in changes:
                if isinstance(change, SaveAccount) and any(
                    casefold_key(other.name) == casefold_key(change.account.name) and other.id != change.account.id
                    for other in self._accounts.values()
                ):
                    self._node.soon(lambda: on_done(JournalError("another node has registered the nickname")))
                    return
            for change in changes:
                self._make(change)
            for node in self._shared.nodes:
                node.shared.records._link(self)
            self._node.soon(lambda: on_done(None))
            self._shared.notify(self._node, lambda listener: listener.records_changed(changes))

        self._node.shared.enqueue(commit)


class NodeJournal:
    """The journal of one node: its queue of changes, and the tails of the rooms that are open on it."""

    def __init__(self, node: Node, call_soon: CallSoon) -> None:
        self.id = "shared"
        self.commit_stats = CommitStats()
        self.is_cut = False
        """Whether the node cannot reach the database. Everything waits then."""
        self.reads = True
        """Whether the node reads the tails of its rooms."""
        self.is_lost = False
        """Whether the others have removed the node. Nothing that it appends is stored then."""
        self._node = node
        self._call_soon = call_soon
        self._queue: deque[Callable[[], None]] = deque()
        self._logs: dict[str, NodeLog] = {}
        self._is_awake = False
        self.records = NodeRecords(node, call_soon)

    @property
    def database(self) -> Database:
        """The database."""
        return self._node.cluster.database

    def open(self, name: str, tail: int) -> OpenedRoom:
        """Open the room *name*."""
        room = self.database.room(name)
        log = self._logs[name] = NodeLog(self, self._node, room, name)
        return OpenedRoom(log, len(room.lines), room.topic, room.lines[-tail:] if tail else [])

    def open_room(self, name: str, tail: int, on_result: Callable[[OpenedRoom | JournalError], None]) -> None:
        """Open the room *name* in a later turn."""
        self.enqueue(lambda: on_result(self.open(name, tail)))

    def close(self) -> None:
        """Stop."""
        self._queue.clear()

    def close_room(self, log: NodeLog, name: str) -> None:
        """Stop reading the tail of *name*."""
        if self._logs.get(name) is log:
            del self._logs[name]

    def restart(self, name: str, tail: int, on_result: Callable[[OpenedRoom | JournalError], None]) -> None:
        """Start anew after the others have removed the node, and open the room *name*."""
        self.is_lost = False
        self._logs.clear()
        self.database.nodes.append(self._node)
        self._call_soon(lambda: on_result(self.open(name, tail)))

    def enqueue(self, change: Callable[[], None]) -> None:
        """Make *change* in its turn."""
        self._queue.append(change)
        self._wake_self()

    def _wake_self(self) -> None:
        if not self._is_awake and not self.is_cut:
            self._is_awake = True
            self._call_soon(self._run)

    def wake(self) -> None:
        """Read the tails in a later turn."""
        self._wake_self()

    def _run(self) -> None:
        self._is_awake = False
        if self.is_cut:
            return
        changes, self._queue = self._queue, deque()
        for change in changes:
            change()
        if changes:
            for node in self.database.nodes:
                node.shared.wake()
        if self.reads:
            self.read_tails()

    def read_tails(self) -> None:
        """Return what was committed since the last time, in all rooms."""
        for log in list(self._logs.values()):
            log.read_tail()


class NodeLog:
    """The log of one room on one node."""

    def __init__(self, journal: NodeJournal, node: Node, room: SharedRoom, name: str) -> None:
        self._journal = journal
        self._node = node
        self._room = room
        self._name = name
        self._place = len(room.stream)
        self._listener: EventListener | None = None
        self._first = [joined for other, joined in room.members.values() if other is not node]

    def subscribe(self, listener: EventListener) -> None:
        """Call *listener* with the events, at first with the joins of the members on other nodes."""
        self._listener = listener
        self._journal.wake()

    def append(self, event: Event) -> None:
        """Commit *event* in a later turn."""

        def commit() -> None:
            if not self._journal.is_lost:
                self._room.commit(self._node, event)
            elif self._listener is not None:
                self._listener([failed(event, "the others have removed this server")])

        self._journal.enqueue(commit)

    def read_tail(self) -> None:
        """Return everything that was committed since the last call."""
        if self._journal.is_lost:
            return
        events: list[Event] = [*self._first]
        foreign: list[Event] = [*self._first]
        self._first = []
        stream, self._place = self._room.stream[self._place :], len(self._room.stream)
        for node, event in stream:
            if node is self._node:
                events.append(event)
            elif isinstance(event, STORED):
                foreign.append(_copy(event))
                events.append(foreign[-1])
            elif isinstance(event, _SHARED) or (isinstance(event, Announced) and not event.is_local):
                foreign.append(replace(event, on_stored=None) if isinstance(event, TopicChanged) else event)
                events.append(foreign[-1])
        if events and self._listener is not None:
            self._listener(events, foreign)

    def read(self, first: int, last: int, on_result: ReadCallback) -> None:
        """Read the lines *first* to *last*."""
        lines = self._room.lines[max(first, 1) - 1 : max(last, 0)]
        self._journal.enqueue(lambda: on_result(lines))

    def search(self, query: SearchQuery, last: int, limit: int, on_result: ReadCallback) -> None:
        """Find nothing."""
        self._journal.enqueue(lambda: on_result([]))

    def read_files(self, last: int, limit: int, on_result: ReadCallback) -> None:
        """Find nothing."""
        self._journal.enqueue(lambda: on_result([]))

    def read_uids(self, first: int, last: int, on_result: UidsCallback) -> None:
        """Read the uids of the lines *first* to *last*."""
        uids = [(line.uid, line.seq) for line in self._room.lines[first - 1 : last] if line.uid]
        self._journal.enqueue(lambda: on_result(uids))

    def close(self) -> None:
        """Close the room."""
        self._listener = None
        self._journal.close_room(self, self._name)


class NodeSessions:
    """The sessions that a token can resume, for one node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @property
    def _database(self) -> Database:
        return self._node.cluster.database

    def _enqueue(self, commit: Callable[[], None]) -> None:
        """Let *commit* change the database in a later turn, unless the others have removed the node by then."""
        self._node.shared.enqueue(lambda: None if self._node.shared.is_lost else commit())

    def keep(self, session: KeptSession) -> None:
        """Store a session in a later turn."""

        def commit() -> None:
            stored = self._database.sessions.setdefault(session.session, StoredSession(session, self._node))
            if stored.node is self._node:
                stored.kept = session
                stored.until = self._database.now + session.grace if session.waits else None

        self._enqueue(commit)

    def end(self, session: int) -> None:
        """Void a token in a later turn."""

        def commit() -> None:
            if session in self._database.sessions and self._database.sessions[session].node is self._node:
                del self._database.sessions[session]

        self._enqueue(commit)

    def park(self, session: int, memory: str, on_parked: OnDirectory) -> None:
        """Park a session in a later turn."""

        def commit() -> None:
            stored = self._database.sessions.get(session)
            done = stored is not None and stored.node is self._node and self._database.park(session, memory)
            self._node.soon(lambda: on_parked(None if done else NotHere("the session is not to be moved now.")))

        self._enqueue(commit)

    def find(self, token: str, on_found: OnFound, *, force: bool = False) -> None:
        """Find a session in a later turn."""

        def commit() -> None:
            found = self._database.find(self._node, token, force=force)
            self._node.soon(lambda: on_found(found))

        self._enqueue(commit)

    def claim(self, found: FoundSession, attempt: int, address: str | None, on_claimed: OnClaimed) -> None:
        """Claim a session in a later turn, and receive what waits for it."""

        def commit() -> None:
            generation = self._database.claim(self._node, found, attempt, address)
            self._node.soon(lambda: on_claimed(generation))
            if generation is not None:
                self._node.directory.take_mail(found.session)

        self._enqueue(commit)


class NodeSlots:
    """The slots of uploads to all nodes, for one node. Each node has objects of its own."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._begun: dict[str, Slot] = {}

    def __len__(self) -> int:
        return len(self._begun)

    def _change(self, commit: Callable[[MemorySlots], None], on_error: Callable[[RejectedError], None]) -> None:
        def run() -> None:
            try:
                commit(self._node.cluster.database.slots)
            except RejectedError as error:
                refusal = error
                self._node.soon(lambda: on_error(refusal))

        self._node.shared.enqueue(run)

    def open(self, slot: Slot, on_open: OnSlot) -> None:
        """Open a slot in a later turn."""

        def opened(stored: Slot | RejectedError) -> None:
            assert isinstance(stored, Slot)
            result = slot if stored.file_id == slot.file_id else replace(stored)
            self._node.soon(lambda: on_open(result))

        self._change(lambda slots: slots.open(replace(slot), opened), on_open)

    def find(self, token: str, on_found: OnFoundSlot) -> None:
        """Find a slot in a later turn."""

        def found(stored: Slot | RejectedError | None) -> None:
            assert not isinstance(stored, RejectedError)
            is_here = stored is not None and self._node.cluster.database.owner_of(stored.session) is not None
            result = replace(stored) if stored is not None and is_here else None
            self._node.soon(lambda: on_found(result))

        self._change(lambda slots: slots.find(token, found), on_found)

    def begin(self, slot: Slot, size: int, address: str | None, name: str, on_begun: OnBegun) -> None:
        """Begin an upload in a later turn."""

        def commit(slots: MemorySlots) -> None:
            stored: list[Any] = []
            slots.find(slot.token, stored.append)
            if stored == [None]:
                raise upload_ended()
            slots.begin(stored[0], size, address, name, lambda _: None)
            stored[0].generation += 1
            slot.name, slot.size, slot.reserved = stored[0].name, size, size
            slot.state, slot.generation = "begun", stored[0].generation
            self._begun[slot.file_id] = slot
            self._node.soon(lambda: on_begun(None))

        self._change(commit, on_begun)

    def release(self, slot: Slot, state: Literal["complete", "ended"]) -> bool:
        """Release a slot, unless it goes on at another node."""
        stored: list[Any] = []
        slots = self._node.cluster.database.slots
        slots.find(slot.token, stored.append)
        self._begun.pop(slot.file_id, None)
        slot.state = state
        is_same = stored[0] is not None and (state == "ended" or stored[0].generation == slot.generation)
        return is_same and slots.release(stored[0], state)

    def of_session(self, session: int) -> Sequence[Slot]:
        """Return the slots of *session* whose uploads this node receives."""
        return [slot for slot in self._begun.values() if slot.session == session]


class NodeDirectory:
    """The directory of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.sessions = NodeSessions(node)
        self._listener: NodeListener | None = None
        self._known: dict[str, Person] = {}
        """The people of other nodes that the listener knows, by key."""

    @property
    def _database(self) -> Database:
        return self._node.cluster.database

    def make_slots(self, _limits: Limits) -> NodeSlots:
        """Return the slots of uploads, whose limits are those of the database."""
        return NodeSlots(self._node)

    def watch(self, listener: NodeListener) -> None:
        """Call *listener*, at first with all people of other nodes."""
        self._listener = listener
        self._known = {}
        self.compare()

    def compare(self) -> None:
        """Notify the listener of all differences to the database."""
        people = {key: person for key, (node, person) in self._database.people.items() if node is not self._node}
        for key, person in self._known.items():
            if key not in people or people[key].session != person.session:
                self._call(_leaver(person))
        for key, person in people.items():
            if self._known.get(key) != person:
                self._call(_comer(person))
        self._known = people

    def notify(self, call: Callable[[NodeListener], None]) -> None:
        """Let *call* reach the listener, unless the node is cut off."""
        if not self._node.shared.is_cut:
            self._known = {
                key: person for key, (node, person) in self._database.people.items() if node is not self._node
            }
            self._call(call)

    def _call(self, call: Callable[[NodeListener], None]) -> None:
        assert self._listener is not None
        listener = self._listener
        self._node.soon(lambda: call(listener))

    def take(self, person: Person, on_taken: OnDirectory) -> None:
        """Take a nickname in a later turn."""

        def commit() -> None:
            is_lost = self._node.shared.is_lost
            error = DatabaseAway() if is_lost else self._database.take(self._node, person)
            self._node.soon(lambda: on_taken(error))

        self._node.shared.enqueue(commit)

    def update(self, person: Person) -> None:
        """Store new values of *person* in a later turn."""
        if not self._node.shared.is_lost:
            self._node.shared.enqueue(lambda: self._database.update(self._node, person))

    def release(self, session: int, nick: str, generation: int = 0) -> None:
        """Free *nick* in a later turn."""
        if not self._node.shared.is_lost:
            self._node.shared.enqueue(lambda: self._database.release(session, nick, generation))

    def publish(self, decision: Decision) -> None:
        """Pass *decision* to the other nodes in a later turn."""
        self._node.shared.enqueue(
            lambda: self._database.notify(self._node, lambda listener: listener.carry_out(decision))
        )

    def send(self, message: NodeMessage, on_taken: OnDirectory) -> None:
        """Pass *message* to the other node, and its answer back."""

        def answer(error: RejectedError | None) -> None:
            self._node.soon(lambda: on_taken(error))

        def commit() -> None:
            owner = self._database.owner_of(message.to)
            if owner is None:
                answer(NotHere("nobody is there."))
            elif owner[0] is not None:
                owner[0].directory.notify(lambda listener: listener.receive(message, answer))
            else:
                self._send_to_parked(message)
                answer(None)

        self._node.shared.enqueue(commit)

    def _send_to_parked(self, message: NodeMessage) -> None:
        if isinstance(message, Expulsion):
            stored = self._database.sessions[message.to]
            stored.until, stored.reason, stored.by = self._database.now, message.reason, message.by
        elif isinstance(message, PrivateMessage):
            self._database.mail.append(message)

    def take_mail(self, session: int) -> None:
        """Receive the messages to *session*, which were stored while it was parked."""
        mail = [message for message in self._database.mail if message.to == session]
        self._database.mail = [message for message in self._database.mail if message.to != session]
        for message in mail:
            self._call(_receiver(message))


def _receiver(message: NodeMessage) -> Callable[[NodeListener], None]:
    return lambda listener: listener.receive(message, ignore_outcome)


def register(user: User) -> None:
    """Register the nickname of *user*, with ``PASSWORD``."""
    user.say("/register", PASSWORD, PASSWORD)
    assert "is registered" in user.read()


def _leaver(person: Person) -> Callable[[NodeListener], None]:
    return lambda listener: listener.person_left(person.session, person.nick)


def _comer(person: Person) -> Callable[[NodeListener], None]:
    return lambda listener: listener.person_changed(person)


class Node(ProgramWorld):
    """One server of *cluster*."""

    def __init__(self, cluster: Cluster, number: int, **options: Any) -> None:  # noqa: ANN401 - those of World
        self.cluster = cluster
        self.number = number
        self.token_prefix = f"token-{number}-"
        self.directory = NodeDirectory(self)
        cluster.database.nodes.append(self)
        super().__init__(journal=self._make_journal, **options)

    def _make_journal(self, call_soon: CallSoon) -> Journal:
        self.shared = NodeJournal(self, call_soon)
        return self.shared

    def hub_options(self) -> dict[str, Any]:
        """Return the directory, and a range of session ids."""
        return {"first_session": self.number << 32, "directory": self.directory}

    def soon(self, call: Callable[[], None]) -> None:
        """Run *call* in a later turn of this node."""
        self._soon.append(call)

    def turn_alone(self) -> bool:
        """Run one turn of this node. Return whether there was anything to do."""
        return World.turn(self)

    def turn(self) -> bool:
        """Run one turn of each node, because the people of one wait for the others."""
        return self.cluster.turn()


class Cluster:
    """Several nodes with one database."""

    def __init__(self, count: int = 2, **options: Any) -> None:  # noqa: ANN401 - those of World
        settings = options.get("settings")
        self.database = Database(unicode=settings is not None and settings.unicode_nicknames)
        self._options = options
        self._started = 0
        self.nodes: list[Node] = []
        for _ in range(count):
            self.start()

    def start(self) -> Node:
        """Start a further node."""
        self._started += 1
        node = Node(self, self._started, **self._options)
        self.nodes.append(node)
        self.settle()
        return node

    def turn(self) -> bool:
        """Run one turn of each node that lives. Return whether there was anything to do."""
        busy = [node for node in self.nodes if node.turn_alone()]
        return bool(busy)

    def settle(self) -> None:
        """Run turns until nothing is left to do."""
        while self.turn():
            pass

    def kill(self, node: Node) -> None:
        """Kill *node*: it runs no turn any more, and others do not know it yet."""
        self.nodes.remove(node)

    def bury(self, node: Node) -> None:
        """Let the others remove the people of a dead *node*, as they do when its lease has run out."""
        self.database.remove(node)
        self.settle()

    def cut(self, node: Node) -> None:
        """Cut *node* off from the database."""
        node.shared.is_cut = True

    def start_anew(self, node: Node) -> None:
        """Connect *node* with the database again, after the others have removed it."""
        node.shared.is_cut, node.shared.is_lost = False, True
        self.nodes.append(node)
        visits = Visits(node.hub, node.connections, node.clock)
        start = FreshStart(
            node.shared, node.hub, node.connections, visits, node.sessions.forget_all, node.clock, lambda: None
        )
        node.shared.wake()
        self.settle()
        start.begin("Others have removed this server.")
        self.settle()
        for _ in range(int(END_SECONDS) + 1):
            node.clock.advance(1)
            self.settle()

    def join(self, node: Node) -> None:
        """Connect *node* with the database again, before its lease has run out."""
        node.shared.is_cut = False
        node.directory.compare()
        node.shared.wake()
        self.settle()

    def stop(self, node: Node) -> None:
        """Stop *node* as the server does: its sessions are parked, and its people leave."""
        node.connections.stopping = True
        node.hub.close(lambda: None)
        self.settle()
        node.connections.disconnect()
        self.settle()
        self.nodes.remove(node)
        self.bury(node)

    def advance(self, seconds: float) -> None:
        """Let time pass, in steps in which everybody can act."""
        end = self.database.now + seconds
        while self.database.now < end:
            step = min(0.1, end - self.database.now)
            self.database.now += step
            for node in self.nodes:
                node.clock.advance(step)
            self.database.end_parked()
            self.settle()

    def presence(self) -> list[dict[str, set[str]]]:
        """Return, for each node, the nicknames in its open rooms, as people read them there."""
        return [
            {
                name: {membership.announced_nick for membership in room.members.values()}
                for name, room in node.hub.rooms.items()
            }
            for node in self.nodes
        ]

    def people(self) -> list[set[str]]:
        """Return, for each node, the nicknames of all people."""
        return [{member.nick for member in node.hub.people.members.values()} for node in self.nodes]


def texts(events: Iterable[Event] | Sequence[Any]) -> list[str]:
    """Return the texts of the lines among *events*."""
    return [event.text for event in events if isinstance(event, STORED)]


_journal: type[Journal] = NodeJournal
_log: type[RoomLog] = NodeLog
_directory: type[Directory] = NodeDirectory
_sessions: type[SharedSessions] = NodeSessions
_slots: type[Slots] = NodeSlots
