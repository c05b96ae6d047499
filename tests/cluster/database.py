"""The database in memory that several servers of a test share, in the place of PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from broadcast.core.decisions import Decision, LastingDecision, Mute, SlowMode
from broadcast.core.directory import FoundSession, KeptSession, NodeListener, Person
from broadcast.core.errors import NicknameRejected, RejectedError
from broadcast.core.events import (
    STORED,
    Action,
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
from broadcast.core.limits import Limits
from broadcast.core.nicknames import casefold_key, skeleton
from broadcast.core.slots import MemorySlots, UploadClock
from tests.files import MemoryArchive

CONNECTION_LOST = "connection lost"
PRESENCE = (Joined, Left, Renamed, AwayChanged)
"""The events of members."""


@dataclass(frozen=True)
class Ignored:
    """An event that a node has appended although another one has the session. Only this node reads it.

    The *corrections*, which it reads next, undo the event.
    """

    event: Joined | Left | Renamed | AwayChanged
    corrections: list[Event]


class ClusterNode(Protocol):
    """A server, as the database sees it."""

    number: int
    directory: Any
    shared: Any


class SharedRoom:
    """A room in the database: its stream, its stored lines and its members."""

    def __init__(self, free: Callable[[int, str | None], None]) -> None:
        """Make a room. *free* frees a nickname of a session, or all, after the last event with it."""
        self._free = free
        self.stream: list[tuple[ClusterNode | None, Event | Ignored]] = []
        """The events with the node that has appended each, None for the one that has removed a dead node."""
        self.lines: list[Stored] = []
        self.topic = ""
        self.members: dict[int, tuple[ClusterNode | None, Joined]] = {}
        """The members by session, each with its node; None if the session is parked."""
        self.absent: dict[int, AwayChanged] = {}
        """The members that are away."""

    def commit(self, node: ClusterNode | None, event: Event) -> None:
        """Store *event* of *node*, and note its effect on the members."""
        if isinstance(event, STORED):
            first = next((line.seq for line in self.lines if event.uid and line.uid == event.uid), 0)
            if first:
                self.stream.append((node, Repeated(event, first)))
                return
            event.seq = len(self.lines) + 1
            self.lines.append(copy_line(event))
        else:
            self._note(node, event)
        self.stream.append((node, event))

    def ignore(self, node: ClusterNode, event: Joined | Left | Renamed | AwayChanged) -> None:
        """Let only *node* read its outdated *event*, and then the events that undo it."""
        session, corrections = event.session, list[Event]()
        if session not in self.members:
            if isinstance(event, Joined):
                corrections.append(Left(session, event.nick, generation=event.generation + 1))
        else:
            if isinstance(event, Left):
                corrections.append(replace(self.members[session][1], generation=event.generation + 1))
            if session in self.absent or isinstance(event, AwayChanged):
                corrections.append(self.absent.get(session, AwayChanged(session, event.nick, away=False)))
        self.stream.append((node, Ignored(event, corrections)))

    def _note(self, node: ClusterNode | None, event: Event) -> None:
        match event:
            case TopicChanged():
                self.topic = event.text
            case Joined():
                assert node is not None
                self.members[event.session] = node, event
            case Left():
                del self.members[event.session]
                self.absent.pop(event.session, None)
                if event.ends_session:
                    self._free(event.session, None)
            case Renamed():
                member, joined = self.members[event.session]
                self.members[event.session] = member, replace(joined, nick=event.new)
                if event.nick != event.new:
                    self._free(event.session, event.nick)
            case AwayChanged():
                self.absent.pop(event.session, None)
                if event.away:
                    self.absent[event.session] = event


def copy_line(line: Stored) -> Stored:
    """Return *line* as another node reads it."""
    copy = replace(line, on_stored=None)
    if isinstance(copy, (Message, Action)):
        copy.receipt = False
    return copy


@dataclass
class StoredSession:
    """A session that a token can resume."""

    kept: KeptSession
    node: ClusterNode | None
    """None if it is parked."""
    until: float | None = None
    memory: str = ""
    reason: str = CONNECTION_LOST
    by: str = ""


class Database:
    """The database of all nodes. *unicode* is whether nicknames must not look alike."""

    def __init__(self, *, unicode: bool) -> None:
        self.rooms: dict[str, SharedRoom] = {}
        self.people: dict[str, tuple[ClusterNode | None, Person]] = {}
        """The people of all nodes, by the keys of their nicknames. Those whose session is parked have no node."""
        self.sessions: dict[int, StoredSession] = {}
        self.mail: list[PrivateMessage] = []
        """The messages to parked sessions."""
        self.decisions: dict[object, LastingDecision] = {}
        """The mutes and slow modes, by what each is about."""
        self.now = 0.0
        self.nodes: list[ClusterNode] = []
        self.files = MemoryArchive()
        clock = UploadClock(lambda: self.now, lambda: self.now, lambda _seconds, _call: None)
        self.slots = MemorySlots(self.files, Limits(), clock)
        self.records: Any = None
        """The records of the first node, whose values the others share."""
        self._unicode = unicode

    def room(self, name: str) -> SharedRoom:
        """Return the room *name*, which exists from now on."""
        return self.rooms.setdefault(name, SharedRoom(self.free))

    def take(self, node: ClusterNode, person: Person) -> RejectedError | None:
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

    def update(self, node: ClusterNode, person: Person) -> None:
        """Store new values of *person* on *node*."""
        key = casefold_key(person.nick)
        owner, known = self.people.get(key, (None, None))
        if owner is node and known is not None and known.generation == person.generation:
            self.people[key] = node, person
            self.notify(node, lambda listener: listener.person_changed(person))

    def free(self, session: int, nick: str | None) -> None:
        """Free *nick* of *session*, or all of its nicknames, unless a room still has it."""
        for room in self.rooms.values():
            if session in room.members and nick in {None, room.members[session][1].nick}:
                return
        for _, person in list(self.people.values()):
            if person.session == session and nick in {None, person.nick}:
                self.release(session, person.nick, person.generation)

    def decide(self, decision: Decision) -> None:
        """Store *decision*, if it holds until another one ends it."""
        if isinstance(decision, SlowMode):
            self._keep(decision.room, decision, ends=decision.seconds == 0)
        elif isinstance(decision, Mute):
            self._keep((decision.session, decision.account), decision, ends=decision.until == 0)

    def _keep(self, key: object, decision: LastingDecision, *, ends: bool) -> None:
        self.decisions.pop(key, None)
        if not ends:
            self.decisions[key] = decision

    def release(self, session: int, nick: str, generation: int) -> None:
        """Free *nick*, if *session* has it in this *generation*."""
        key = casefold_key(nick)
        person = self.people[key][1] if key in self.people else None
        if person is not None and (person.session, person.generation) == (session, generation):
            node, _ = self.people.pop(key)
            self.notify(node, lambda listener: listener.person_left(session, nick))

    def notify(self, but: ClusterNode | None, call: Callable[[NodeListener], None]) -> None:
        """Let *call* reach all nodes but one."""
        for node in self.nodes:
            if node is not but:
                node.directory.notify(call)

    def remove(self, node: ClusterNode) -> None:
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

    def owner_of(self, session: int) -> tuple[ClusterNode | None, Person] | None:
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

    def move(self, session: int, node: ClusterNode | None) -> bool:
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
                room.members[session] = node, replace(room.members[session][1], generation=person.generation)
        self.notify(node, lambda listener: listener.person_changed(person))
        return True

    def find(self, node: ClusterNode, token: str, attempt: int, *, force: bool) -> FoundSession | None:
        """Return the session with *token*, unless *node* has it."""
        stored = next((stored for stored in self.sessions.values() if stored.kept.token == token), None)
        if stored is None or stored.node is node:
            return None
        session = stored.kept.session
        if force and stored.node is not None and stored.kept.attempt < attempt:
            self.park(session, "")
        owner = self.owner_of(session)
        if owner is None or (stored.node is None and stored.until is not None and stored.until <= self.now):
            return None
        rooms = [name for name, room in self.rooms.items() if session in room.members]
        name = "" if stored.node is None else str(stored.node.number)
        return FoundSession(session, name, stored.kept.attempt, stored.kept.grace, owner[1], rooms, stored.memory)

    def claim(self, node: ClusterNode, found: FoundSession, attempt: int, address: str | None) -> int | None:
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
                        joined = room.members[session][1]
                        left = Left(session, joined.nick, stored.reason, stored.by, generation=joined.generation)
                        room.commit(None, left)
                owner = self.owner_of(session)
                assert owner is not None
                self.release(session, owner[1].nick, owner[1].generation)
        for node in self.nodes:
            node.shared.wake()
