"""The interface between the core and the other nodes of a cluster, as protocols and values without logic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from broadcast.core.decisions import Decision, LastingDecision
from broadcast.core.errors import RejectedError
from broadcast.core.events import PrivateMessage
from broadcast.core.limits import Limits
from broadcast.core.records import RecordChange, StoredRecords
from broadcast.core.slots import Slots

SERVER_STOPPED: Final = "server stopped"
"""The leave reason of a session whose node has stopped."""


@dataclass(frozen=True, slots=True)
class Person:
    """A session that has a nickname, as the other nodes of a cluster know it."""

    session: int
    nick: str
    account: int = 0
    """Id of the account to which it is logged in; 0 for none."""
    away: bool = False
    away_reason: str = ""
    address: str | None = None
    """The IP address of its connection; None for a local one."""
    generation: int = 0
    """A number that rises when the session moves to another node. Calls with an older one have no effect."""


@dataclass(frozen=True, slots=True)
class KeptSession:
    """A session that a token can resume, as its node keeps it for the other nodes."""

    session: int
    token: str
    """A hash of the token."""
    attempt: int
    """The highest attempt to resume the session so far."""
    grace: float
    """The time for which it remains here without a connection, in seconds."""
    waits: bool
    """Whether that time has begun."""


@dataclass(frozen=True, slots=True)
class FoundSession:
    """A session that a token can resume, as another node finds it."""

    session: int
    node: str
    """The name of its node. It is empty if the session is *parked*: no node has it, and another one can claim it."""
    attempt: int
    grace: float
    person: Person
    rooms: Sequence[str]
    memory: str
    """The text that the former node has given to ``SharedSessions.park``; empty if that node has died."""


@dataclass(frozen=True, slots=True)
class Handover:
    """The request to park the session *to*, because its client has come back to another node.

    *attempt* is the number of that attempt; see ``KeptSession``.
    """

    to: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Return:
    """The request to end the session *to* if its connection is dead, because its user has come back from *address*."""

    to: int
    address: str


@dataclass(frozen=True, slots=True)
class Expulsion:
    """The end of the session *to*: the text *notice* for its user, *reason* and *by* for the others; see ``Left``."""

    to: int
    reason: str
    notice: str
    by: str = ""


NodeMessage: TypeAlias = PrivateMessage | Expulsion | Handover | Return
"""A message about one session to the node on which it is."""

OnDirectory: TypeAlias = Callable[[RejectedError | None], None]
"""Receives None once a call to the directory has succeeded, or the reason why it has failed."""
OnLookedUp: TypeAlias = Callable[[Mapping[str, int] | RejectedError], None]
"""Receives the sessions that were found by the keys of their nicknames, or the reason why they were not looked up."""
OnFound: TypeAlias = Callable[[FoundSession | RejectedError | None], None]
"""Receives a session, None if there is none, or the reason why it could not be looked up."""
OnClaimed: TypeAlias = Callable[[int | RejectedError | None], None]
"""Receives the new generation of a session, None if it could not be claimed any more, or the reason of a failure."""


class NodeListener(Protocol):
    """The calls of a directory to its node, about people and messages of the other nodes."""

    def person_changed(self, person: Person) -> None:
        """Note that *person* is on another node, or has changed."""

    def person_left(self, session: int, nick: str) -> None:
        """Note that *session* no longer has the nickname *nick*. It has another one, or has left."""

    def receive(self, message: NodeMessage, on_taken: OnDirectory) -> None:
        """Handle *message* of another node to a session of this one. Call *on_taken* once it is with its recipient."""

    def carry_out(self, decision: Decision) -> None:
        """Carry out *decision* of an operator on another node. This node receives its own lasting ones, too."""

    def decisions_loaded(self, decisions: Sequence[LastingDecision]) -> None:
        """Carry out *decisions*, which are all that hold now, in place of those that are known."""

    def records_changed(self, changes: Sequence[RecordChange]) -> None:
        """Take over *changes* that another node has stored.

        They come in the order in which the database has stored them. The results of the writes of this node come in
        their place among them.
        """

    def records_reloaded(self, stored: StoredRecords) -> None:
        """Take over *stored*, all records as they are now, because some changes of other nodes are not known."""


class SharedSessions(Protocol):
    """The sessions of all nodes that a token can resume, on any node.

    A session has one node, or is parked. A parked session stays in its rooms, so other people do not notice. When its
    grace is over, the directory lets it leave. The sessions of a node that dies or stops are parked.
    """

    def keep(self, session: KeptSession, on_kept: OnDirectory) -> None:
        """Store new values of *session*, which is one of this node, or is new. Call *on_kept* once they are stored.

        It receives ``NotHere`` if the session is not one of this node any more.
        """

    def end(self, session: int) -> None:
        """Void the token of *session*, if it is one of this node."""

    def park(self, session: int, memory: str, on_parked: OnDirectory) -> None:
        """Park *session* of this node. None of its events may be undelivered. *memory* is a text for the next node.

        This fails during a rename, because the session then has two nicknames.
        """

    def find(self, token: str, attempt: int, on_found: OnFound, *, force: bool = False) -> None:
        """Find the session with the hash *token* that another node has, or that is parked.

        With *force*, park the session if another node has it, because that node does not answer. If *attempt* is not
        higher than all attempts so far, the client has come back again meanwhile, and nothing is parked.
        """

    def claim(self, found: FoundSession, attempt: int, address: str | None, on_claimed: OnClaimed) -> None:
        """Give the parked session *found*, if it is still as it was found, to this node.

        *attempt* becomes its highest attempt. *address* is the IP address of the client.
        """


class Directory(Protocol):
    """The nicknames of all nodes of a cluster, and the way to the people on other nodes.

    The hub has a copy of the people of all nodes, and looks up nicknames in it. The copy can be behind the streams of
    the rooms, in which users read who is here. So the hub asks the directory before a session gets a nickname, and
    before it refuses something because of the copy. During a rename, a session has two nicknames. All calls take effect
    in their order. Before the answer to a call, the listener receives all changes that were stored before it.

    The journal frees a nickname in the same transaction as the last event that announces it: ``Left`` of a session that
    ends, or ``Renamed``. So the nickname is free for everybody who has read that event.

    A server that is alone has no directory. Its hub alone decides whether a nickname is free.
    """

    @property
    def sessions(self) -> SharedSessions:
        """The sessions that a token can resume."""

    def make_slots(self, limits: Limits) -> Slots:
        """Return the slots of uploads to all nodes. *limits* are the same on each of them."""

    def watch(self, listener: NodeListener) -> None:
        """Call *listener* with all people of the other nodes, then with each change. Called once, first."""

    def take(self, person: Person, on_taken: OnDirectory) -> None:
        """Give ``person.nick`` to this session of this node, unless another session has it or one that looks like it.

        The session may have it already, in another case.
        """

    def look_up(self, nicks: Sequence[str], on_done: OnLookedUp) -> None:
        """Find the sessions with *nicks*, and with nicknames that look like them, and call *on_done* with them.

        Before that, the listener is called with each of them that is on another node.
        """

    def update(self, person: Person) -> None:
        """Store new values of *person* of this node, which has its nickname."""

    def release(self, session: int, nick: str, generation: int = 0) -> None:
        """Free the nickname *nick*, if *session* has it in this *generation*. The session may be on another node."""

    def send(self, message: NodeMessage, on_taken: OnDirectory) -> None:
        """Pass *message* to the node of the session ``message.to``. Call *on_taken* in a later turn, once it is there.

        It receives ``NotHere`` if there is no such session, and ``NoAnswer`` if its node does not answer.
        """

    def publish(self, decision: Decision, on_published: OnDirectory) -> None:
        """Pass *decision* to all other nodes, and a lasting one also to this node.

        All nodes receive the decisions in the same order. Call *on_published* once *decision* is stored for them, or
        with the reason why it may not be.
        """
