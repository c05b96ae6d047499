"""The interfaces between the core and its surroundings, as protocols without logic.

All calls happen on one thread, the reactor's. An implementation calls back on that thread too, and never from within
the call that asked: the result arrives in a later turn of the reactor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias

from broadcast.core.errors import JournalError, RejectedError
from broadcast.core.events import Event, Notice, PrivateMessage, Stored
from broadcast.core.passwords import Password
from broadcast.core.records import AuditEntry, PrivateLine, RecordChange, StoredRecords
from broadcast.core.search_query import SearchQuery
from broadcast.core.stats import CommitStats


@dataclass(frozen=True, slots=True)
class View:
    """The settings that change the bytes of a room's stream. All subscribers with one view share these bytes."""

    times: bool = False
    """Whether each stored event is shown with its time."""
    quiet: bool = False
    """Whether joins and leaves are hidden."""


Override: TypeAlias = tuple[int, Event | Notice | None]
"""An index into a batch's events, and what one session receives in that place: an event, a notice, or nothing."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that are delivered together.

    ``overrides`` maps the id of a session to its overrides, in ascending order of the index. All other sessions receive
    the events as they are. A ``PrivateMessage`` or ``StoreFailed`` is visible only through an override.
    """

    events: Sequence[Event]
    overrides: Mapping[int, Sequence[Override]]
    last_seq: int = 0
    """Number of the last stored event before this batch."""


class Encoder(Protocol):
    """The conversion of events to bytes, for one kind of door and one view."""

    def encode(self, event: Event | Notice) -> bytes:
        """Return the bytes of *event*, empty if the view hides it."""


Callback: TypeAlias = Callable[[], None]
"""A short piece of work. The next callback runs even if this one raises an exception."""


CallLater: TypeAlias = Callable[[float, Callback], object]
"""Schedules a callback after so many seconds, as ``reactor.callLater`` does."""


class Publisher(Protocol):
    """Delivery to the subscribers of one room."""

    def publish(self, batch: Batch, callbacks: Iterator[Callback], first: Iterable[Callback] = ()) -> None:
        """Run *first*, offer *batch* to every subscriber, then run *callbacks*. Each callback runs as it is produced.

        Subscribers that *first* adds do not receive the batch.

        All of this can happen before the call returns, or take several turns of the reactor. The room publishes the
        next batch only after the last callback. It can do so while the iterator ends.
        """


class Peer(Protocol):
    """The connection, as a session sees it. After the connection is lost, every call does nothing."""

    @property
    def congested(self) -> bool:
        """Whether the peer reads so slowly that nothing more should be queued for it alone."""

    def send(self, *notices: Notice) -> None:
        """Append *notices* to this subscriber's stream."""

    def send_lazily(self, notices: Iterator[Notice]) -> None:
        """Append all of *notices*, but produce each only when it can be sent, which may be much later."""

    def subscribe(self, publisher: Publisher, view: View) -> None:
        """Deliver the stream of the room with *publisher* in *view* from here on, and no other stream."""

    def when_writable(self, call: Callable[[], None]) -> None:
        """Call *call* as soon as the peer is not congested and has its turn. At most one such call can be pending."""

    def ready_for_line(self) -> None:
        """Continue with the input: the session is ready for its next line."""

    def close(self) -> None:
        """Unsubscribe, deliver everything sent so far, then end the connection."""


ReadCallback: TypeAlias = Callable[[Sequence[Stored] | JournalError], None]
"""Receives the events that were read from a journal, or the reason why that failed."""


UidsCallback: TypeAlias = Callable[[Sequence[tuple[str, int]] | JournalError], None]
"""Receives the identifiers that authors chose, each with its event's number, or the reason why reading failed."""


class EventListener(Protocol):
    """Receives the events of a room in their order."""

    def __call__(self, events: Sequence[Event], foreign: Sequence[Event] = ()) -> None:
        """Handle *events*, of which *foreign* are those that another node has appended."""


class RoomLog(Protocol):
    """The ordered, durable record of one room's stored events, as a part of a journal.

    Every event of the room passes through it and returns in the order of ``append``. A stored event returns with its
    number once it is durable: neither a crash of the process nor one of the machine loses it. A transient event returns
    as it is. If storing fails, a ``StoreFailed`` returns in the event's place and the next event receives the number.
    Transient events pass even then. A ``TopicChanged`` returns once the topic is durable, or fails like a stored event.
    The room appends no ``uid`` twice. If another node has stored a line with it, ``Repeated`` returns after this line.

    In a cluster, the events of the other nodes return as well, in the one order that all nodes have. Of their transient
    events, these are the joins, leaves, renames and absences of members, the topics, and the announcements that are not
    local. The first ones are the joins of the members that are in the room on other nodes. The others continue them
    without a hole or an overlap.
    """

    def subscribe(self, listener: EventListener) -> None:
        """Call *listener* on the reactor's thread with the returned events, in order. Called once, before ``append``.

        At most one call is scheduled at a time. Events that return before it runs are part of it.
        """

    def append(self, event: Event) -> None:
        """Queue *event*, whose ``seq`` is 0 if it has one. Never blocks, never raises.

        A stored event belongs to the journal until it returns: the journal sets ``seq``, perhaps on another thread.
        """

    def read(self, first: int, last: int, on_result: ReadCallback) -> None:
        """Read the stored events *first* to *last*, both included, in ascending order. Does not block.

        Numbers that do not exist are left out, so the result is empty if ``first > last``.
        """

    def search(self, query: SearchQuery, last: int, limit: int, on_result: ReadCallback) -> None:
        """Find the stored events whose text holds all phrases of *query*, in ascending order. Does not block.

        The result is the newest *limit* (1 or more) of those numbered at most *last*. A word is a run of letters,
        digits and private-use characters, without case and diacritics, as in SQLite's tokenizer ``unicode61
        remove_diacritics 2``. The words of a phrase must follow one another directly. A phrase without words is
        ignored. If no phrase has words, the result is empty.
        """

    def read_files(self, last: int, limit: int, on_result: ReadCallback) -> None:
        """Read the newest *limit* events up to number *last* that share a file, ascending. Does not block."""

    def read_uids(self, first: int, last: int, on_result: UidsCallback) -> None:
        """Read the ``uid`` and number of each event from *first* to *last* that has one, ascending. Does not block."""

    def close(self) -> None:
        """Release what the room holds in memory. Called once, last, when all appended events have returned.

        ``Journal.open_room`` opens the room again.
        """


class OpenedRoom(NamedTuple):
    """A room that was opened in a journal."""

    log: RoomLog
    last_seq: int
    """Number of the last stored event; 0 if there is none."""
    topic: str
    """The topic; empty if there is none."""
    recent: Sequence[Stored]
    """The last stored events, ascending."""


PrivateLinesCallback: TypeAlias = Callable[[Sequence[PrivateLine] | JournalError], None]
"""Receives private lines that were read from a journal, or the reason why that failed."""


AuditCallback: TypeAlias = Callable[[Sequence[AuditEntry] | JournalError], None]
"""Receives a part of the audit trail, or the reason why reading failed."""


class Records(Protocol):
    """The accounts, bans, audit entries and private lines of a journal.

    A reading call returns everything that an earlier ``write`` has reported as durable. It does not block.
    """

    def load(self) -> StoredRecords:
        """Return the records that the core keeps in memory. Called once, after ``Journal.open``. May block.

        Raises ``JournalError``.
        """

    def write(self, changes: Sequence[RecordChange], on_done: Callable[[JournalError | None], None]) -> None:
        """Make *changes* (at least one) together, after those of earlier calls. Never blocks, never raises.

        *on_done* receives None once all of them are durable, or the reason why none of them was made: for example an
        ``AccountConflict`` with another node of a cluster. It is not called after ``Journal.close``.
        """

    def read_private(
        self, account: int, other: int | None, before: int | None, limit: int, on_result: PrivateLinesCallback
    ) -> None:
        """Read the newest *limit* lines to and from *account*, in ascending order, waiting ones included.

        If *other* is given, the lines are those between these two accounts. Their ids are lower than *before*, if it
        is given.
        """

    def read_inbox(self, account: int, limit: int, on_result: PrivateLinesCallback) -> None:
        """Read the newest *limit* lines to *account* that were delivered, in ascending order."""

    def read_waiting(self, account: int, on_result: PrivateLinesCallback) -> None:
        """Read all lines that wait for *account*, in ascending order."""

    def search_private(
        self, account: int, other: int | None, query: SearchQuery, limit: int, on_result: PrivateLinesCallback
    ) -> None:
        """Find the newest *limit* (1 or more) lines to and from *account* that match *query*, in ascending order.

        If *other* is given, the lines are those between these two accounts. A line matches as in ``RoomLog.search``.
        """

    def read_audit(self, limit: int, on_result: AuditCallback) -> None:
        """Read the newest *limit* entries of the audit trail, in ascending order."""


class PasswordHasher(Protocol):
    """Slow hashing of passwords, on threads of its own.

    Both methods raise ``Busy`` if too many passwords wait already. A result of None means that the work has failed: the
    password was not checked, and another try may succeed.
    """

    @property
    def is_busy(self) -> bool:
        """Whether so many passwords wait that a client that can try again later should do that."""

    def hash(self, password: Password, on_result: Callable[[str | None], None]) -> None:
        """Call *on_result* in a later turn with the hash of *password*, as text in PHC string format."""

    def verify(
        self, stored: str | None, password: Password, on_result: Callable[[bool | None, str | None], None]
    ) -> None:
        """Call *on_result* in a later turn with whether *password* is the one whose hash is *stored*.

        The second argument is a stronger hash to store in its place, if there should be one. If *stored* is None or
        empty, the result is False after the same work.
        """


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """The code with which a user confirms a login in a browser (RFC 8628)."""

    user_code: str
    verification_uri: str
    """The page of the provider where the user types the code."""
    seconds: int
    """Time for which the code is valid."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A person, as an OpenID Connect provider knows them."""

    issuer: str
    subject: str
    """The identifier of the person. The issuer never gives it to anybody else."""
    name: str
    """A text from which to make a nickname. Other people may have the same."""


@dataclass(frozen=True, slots=True)
class PageLogin:
    """A login on a page of the provider, with the authorization code flow and PKCE (RFC 6749 and 7636)."""

    redirect_uri: str
    """The address of this server to which the provider sends the browser back."""
    state: str = field(repr=False)
    """A random text that comes back with the browser."""
    nonce: str = field(repr=False)
    """A random text that comes back in the ID token."""
    verifier: str = field(repr=False)
    """A random text whose hash the provider gets first. It redeems the code."""


class IdentityProvider(Protocol):
    """An OpenID Connect provider. All work with the network happens on other threads."""

    def begin(
        self,
        on_code: Callable[[DeviceCode], None],
        on_identity: Callable[[Identity | RejectedError], None],
    ) -> Callback:
        """Begin a login, and return a function that cancels it. Raises ``Busy``.

        In later turns, *on_code* is called with the code to show, then *on_identity* with the result. After a failure,
        *on_identity* is called with the reason, perhaps without a call of *on_code*.
        """

    def begin_on_page(self, login: PageLogin, on_url: Callable[[str | RejectedError], None]) -> None:
        """Call *on_url* in a later turn with the address of the provider's page for *login*. Raises ``Busy``."""

    def finish_on_page(
        self, login: PageLogin, answer: Mapping[str, str], on_identity: Callable[[Identity | RejectedError], None]
    ) -> None:
        """Call *on_identity* in a later turn with the user who has confirmed *login*. Raises ``Busy``.

        *answer* holds the parameters with which the provider has sent the browser back.
        """


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


@dataclass(frozen=True, slots=True)
class Expulsion:
    """The end of the session *to*: the text *notice* for its user, *reason* and *by* for the others; see ``Left``."""

    to: int
    reason: str
    notice: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class UserNotice:
    """A *text* from the server to the user of the session *to*."""

    to: int
    text: str


NodeMessage: TypeAlias = PrivateMessage | Expulsion | UserNotice
"""A message about one session to the node on which it is."""


@dataclass(frozen=True, slots=True)
class Mute:
    """A mute of a session and an account, up to the time *until*: None for no end, 0 if the mute ends now."""

    session: int | None
    account: int | None
    until: float | None


@dataclass(frozen=True, slots=True)
class SlowMode:
    """The minimum time between two lines of a person in *room*, in seconds; 0 for none."""

    room: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Announcement:
    """A text of an operator in all rooms."""

    text: str


Decision: TypeAlias = Mute | SlowMode | Announcement
"""A decision of an operator that all nodes carry out, and that is not stored."""


OnDirectory: TypeAlias = Callable[[RejectedError | None], None]
"""Receives None once a call to the directory has succeeded, or the reason why it has failed."""


class NodeListener(Protocol):
    """The calls of a directory to its node, about people and messages of the other nodes."""

    def person_changed(self, person: Person) -> None:
        """Note that *person* is on another node, or has changed."""

    def person_left(self, session: int, nick: str) -> None:
        """Note that *session* has the nickname *nick* no more. It has another one, or is not here any more."""

    def receive(self, message: NodeMessage, on_taken: OnDirectory) -> None:
        """Handle *message* of another node to a session of this one. Call *on_taken* once it is with its recipient."""

    def carry_out(self, decision: Decision) -> None:
        """Carry out *decision* of an operator on another node."""

    def records_changed(self, changes: Sequence[RecordChange]) -> None:
        """Take over *changes* that another node has stored.

        They come in the order in which the database has stored them. The results of the writes of this node come in
        their place among them.
        """

    def records_reloaded(self, stored: StoredRecords) -> None:
        """Take over *stored*, all records as they are now, because some changes of other nodes are not known."""


class Directory(Protocol):
    """The nicknames of all nodes of a cluster, and the way to the people on other nodes.

    The hub knows the people of all nodes. It looks up a nickname there, and asks the directory only before it gives a
    nickname away. A session has two nicknames for the moment of a rename. All calls take effect in their order.

    A server that is alone has none: each nickname that its hub finds free is free.
    """

    def watch(self, listener: NodeListener) -> None:
        """Call *listener*, at first with all people of the other nodes. Called once, first."""

    def take(self, person: Person, on_taken: OnDirectory) -> None:
        """Give ``person.nick`` to this session of this node, unless another session has it or one that looks like it.

        The session may have it already, in another case.
        """

    def update(self, person: Person) -> None:
        """Store new values of *person* of this node, which has its nickname."""

    def release(self, session: int, nick: str) -> None:
        """Free the nickname *nick*, if *session* has it. The session may be on another node."""

    def send(self, message: NodeMessage, on_taken: OnDirectory) -> None:
        """Pass *message* to the node of the session ``message.to``. Call *on_taken* in a later turn, once it is there.

        It receives ``NotHere`` if there is no such session.
        """

    def publish(self, decision: Decision) -> None:
        """Pass *decision* to all other nodes."""


class Journal(Protocol):
    """The logs of all rooms and the records, which are committed together."""

    @property
    def commit_stats(self) -> CommitStats:
        """The durations and failures of commits."""

    @property
    def id(self) -> str:
        """A random identifier that was made with the journal. Valid after ``open``.

        It is another one if stored events were lost, or may have been, because their numbers may be used again.
        """

    @property
    def records(self) -> Records:
        """The accounts, bans, audit entries and private lines."""

    def open(self, name: str, tail: int) -> OpenedRoom:
        """Open the journal and its room *name* with at most *tail* (0 or more) events. Called once, first. May block.

        Raises ``JournalError``, whose text says what is wrong and what to do.
        """

    def open_room(self, name: str, tail: int, on_result: Callable[[OpenedRoom | JournalError], None]) -> None:
        """Open the room *name*, which is not open, with at most *tail* events. Does not block.

        A room that does not exist is empty. It exists from its first stored event or topic on.
        """

    def close(self) -> None:
        """Store all queued events, then release everything. Called once, last. Blocks until it is done.

        Events that return after this call do not reach the listeners.
        """


class FileArchive(Protocol):
    """The shared files, stored on disk or in memory. No method blocks.

    The owner of a file is ``Slot.owner``. The archive stores the owner with the file, because it outlives the process.
    """

    @property
    def used_bytes(self) -> int:
        """Total size of the complete files."""

    def has(self, file_id: str) -> bool:
        """Return whether the file with this id is complete and still there."""

    def bytes_of(self, owner: str) -> int:
        """Return the total size of the complete files of *owner*."""

    def remove_oldest(self, owner: str) -> bool:
        """Remove the oldest file of *owner*, unless it is the only one. Return whether there was one to remove."""

    def remove(self, file_id: str) -> None:
        """Remove the file with this id, because it was not shared after all. It may be gone already."""

    def remove_content(self, file_id: str) -> Sequence[str]:
        """Remove the file with this id, and all others with the same content.

        Return their names, that of the file first; nothing if it is gone already.
        """
