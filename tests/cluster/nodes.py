"""Several servers in one process that share a database in memory, which is in the place of PostgreSQL.

``Cluster`` is all of it. A ``Node`` is one server: a ``World`` whose journal and directory commit to the database. What
a node appends, takes and releases is committed in its order, in a later turn of this node. What the database has
committed reaches each node in a later turn of that node.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from broadcast.core.decisions import Announcement, Decision
from broadcast.core.directory import Directory, Expulsion, NodeListener, NodeMessage, OnDirectory, OnLookedUp, Person
from broadcast.core.errors import DatabaseAway, JournalError, NoAnswer, NotHere, RejectedError
from broadcast.core.events import (
    STORED,
    Action,
    Announced,
    AwayChanged,
    Event,
    Joined,
    Message,
    PrivateMessage,
    Renamed,
    TopicChanged,
)
from broadcast.core.interfaces import EventListener, Journal, OpenedRoom, ReadCallback, RoomLog, UidsCallback
from broadcast.core.limits import Limits
from broadcast.core.nicknames import casefold_key
from broadcast.core.records import RecordChange, SaveAccount, StoredRecords
from broadcast.core.remote_listener import ignore_outcome
from broadcast.core.stats import CommitStats
from broadcast.journals.batch_queue import failed
from broadcast.journals.memory_records import MemoryRecords
from broadcast.server.fresh_start import END_SECONDS, FreshStart
from broadcast.server.visits import Visits
from tests.cluster.database import PRESENCE, Database, Ignored, SharedRoom, copy_line
from tests.cluster.sessions import NodeSessions
from tests.cluster.slots import NodeSlots
from tests.doors.jsonrpc.programs import ProgramWorld
from tests.harness import PASSWORD, World

if TYPE_CHECKING:
    from broadcast.core.search_query import SearchQuery
    from broadcast.core.time_slice import CallSoon
    from tests.harness import Person as User

_SHARED = (*PRESENCE, TopicChanged)

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
            for node in self._shared.nodes:
                if node is not self._node:
                    node.directory.notify(lambda listener: listener.records_changed(changes), are_records=True)

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
        self._first: list[Event] = []
        for other, joined in room.members.values():
            if other is not node:
                self._first.append(joined)
                if joined.session in room.absent:
                    self._first.append(room.absent[joined.session])

    def subscribe(self, listener: EventListener) -> None:
        """Call *listener* with the events, at first with the joins of the members on other nodes."""
        self._listener = listener
        self._journal.wake()

    def append(self, event: Event) -> None:
        """Commit *event* in a later turn."""

        def commit() -> None:
            session = self._journal.database.sessions.get(getattr(event, "session", 0))
            is_lost = not self._journal.is_lost and self._has_lost_author(event)
            if isinstance(event, PRESENCE) and (is_lost or (session is not None and session.node is not self._node)):
                self._room.ignore(self._node, event)
            elif is_lost:
                self._room.stream.append((self._node, failed(event, "another server has the session")))
            elif not self._journal.is_lost:
                self._room.commit(self._node, event)
            elif self._listener is not None:
                self._listener([failed(event, "the others have removed this server")])

        self._journal.enqueue(commit)

    def _has_lost_author(self, event: Event) -> bool:
        """Return whether this node does not have the session of *event* any more. Any node may share its files."""
        if not isinstance(event, (Message, Action, TopicChanged, Joined, Renamed, AwayChanged)):
            return False
        owner = self._journal.database.owner_of(event.session)
        return owner is None or owner[0] is not self._node

    def read_tail(self) -> None:
        """Return everything that was committed since the last call."""
        if self._journal.is_lost:
            return
        events: list[Event] = [*self._first]
        foreign: list[Event] = [*self._first]
        self._first = []
        stream, self._place = self._room.stream[self._place :], len(self._room.stream)
        for node, event in stream:
            if isinstance(event, Ignored):
                if node is self._node:
                    foreign += event.corrections
                    events += [event.event, *event.corrections]
            elif node is self._node:
                events.append(event)
            elif isinstance(event, STORED):
                foreign.append(copy_line(event))
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


class NodeDirectory:
    """The directory of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.sessions = NodeSessions(node)
        self._listener: NodeListener | None = None
        self._known: dict[str, Person] = {}
        """The people of other nodes that the listener knows, by key."""
        self.is_behind = False
        """Whether the news of other nodes wait until ``catch_up``. The answers of the database do not."""
        self._held: list[tuple[Callable[[NodeListener], None], bool]] = []
        """The news that wait, each with whether it is about records."""
        self.unanswered: list[OnDirectory] = []
        """The functions that wait for answers of dead nodes."""

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
        decisions = [*self._database.decisions.values()]
        self._call(lambda listener: listener.decisions_loaded(decisions))

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

    def notify(self, call: Callable[[NodeListener], None], *, are_records: bool = False) -> None:
        """Let *call* reach the listener, unless the node is cut off."""
        if not self._node.shared.is_cut:
            self._known = {
                key: person for key, (node, person) in self._database.people.items() if node is not self._node
            }
            if self.is_behind:
                self._held.append((call, are_records))
            else:
                self._call(call)

    def catch_up(self) -> None:
        """Receive the news that have waited."""
        self.is_behind = False
        held, self._held = self._held, []
        for call, _ in held:
            self._call(call)

    def _read_records(self) -> None:
        """Receive the records that others have changed, as before each answer of the database."""
        records = [call for call, are_records in self._held if are_records]
        self._held = [news for news in self._held if not news[1]]
        for call in records:
            self._call(call)

    def look_up(self, nicks: Sequence[str], on_done: OnLookedUp) -> None:
        """Find people in a later turn."""

        def commit() -> None:
            if self._node.shared.is_lost:
                self._node.soon(lambda: on_done(DatabaseAway()))
                return
            self._read_records()
            keys = {casefold_key(nick) for nick in nicks} & self._database.people.keys()
            for node, person in map(self._database.people.__getitem__, keys):
                if node is not self._node:
                    self._call(_comer(person))
            self._node.soon(lambda: on_done({key: self._database.people[key][1].session for key in keys}))

        self._node.shared.enqueue(commit)

    def _call(self, call: Callable[[NodeListener], None]) -> None:
        assert self._listener is not None
        listener = self._listener
        self._node.soon(lambda: call(listener))

    def take(self, person: Person, on_taken: OnDirectory) -> None:
        """Take a nickname in a later turn."""

        def commit() -> None:
            is_lost = self._node.shared.is_lost
            error = DatabaseAway() if is_lost else self._database.take(self._node, person)
            self._read_records()
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

    def publish(self, decision: Decision, on_published: OnDirectory) -> None:
        """Pass *decision* to the other nodes in a later turn, and a lasting one to this node, too."""

        def commit() -> None:
            self._database.decide(decision)
            but = self._node if isinstance(decision, Announcement) else None
            self._database.notify(but, lambda listener: listener.carry_out(decision))
            self._node.soon(lambda: on_published(None))

        self._node.shared.enqueue(commit)

    def send(self, message: NodeMessage, on_taken: OnDirectory) -> None:
        """Pass *message* to the other node, and its answer back."""

        def answer(error: RejectedError | None) -> None:
            self._node.soon(lambda: on_taken(error))

        def commit() -> None:
            owner = self._database.owner_of(message.to)
            if owner is None:
                answer(NotHere("nobody is there."))
            elif owner[0] is not None and owner[0] not in self._node.cluster.nodes:
                self.unanswered.append(answer)
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

    def fail_unanswered(self) -> None:
        """Let the messages to dead nodes fail, and settle."""
        unanswered, self.unanswered = self.unanswered, []
        for answer in unanswered:
            answer(NoAnswer())
        self._node.cluster.settle()

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
