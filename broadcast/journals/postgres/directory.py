"""The directory of a cluster in PostgreSQL: the nicknames of all nodes, their leases, and messages between them.

One thread has one connection. It makes the changes of this node, many in one call, and renews the lease. It receives
notifications of the changes of other nodes. After each reconnection it compares the people in the database with those
that the hub knows.
"""

from __future__ import annotations

import select
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Lock, Thread
from time import monotonic
from typing import Any, Final

import msgspec
import psycopg
from psycopg import sql

from broadcast.core.decisions import Decision
from broadcast.core.directory import (
    SERVER_STOPPED,
    Directory,
    NodeListener,
    NodeMessage,
    OnDirectory,
    OnLookedUp,
    Person,
)
from broadcast.core.errors import Busy, DatabaseAway, NicknameRejected, RejectedError
from broadcast.core.limits import Limits
from broadcast.core.nicknames import casefold_key, skeleton
from broadcast.core.time_slice import CallSoon
from broadcast.journals.postgres.database import Connection, Database, describe_error, is_lease_lost
from broadcast.journals.postgres.decisions import decode_decision
from broadcast.journals.postgres.leases import LEASE_SECONDS, RENEW_SECONDS, LeaseLost, end_parked, renew_lease
from broadcast.journals.postgres.mail import Mail
from broadcast.journals.postgres.people_copy import PeopleCopy, describe
from broadcast.journals.postgres.record_feed import RecordFeed, RecordListener
from broadcast.journals.postgres.shared_sessions import PostgresSessions, ignore_answer
from broadcast.journals.postgres.shared_slots import PostgresSlots

GIVE_UP_SECONDS: Final = 5.0
"""Time after which a change that was not made fails."""
RETRY_SECONDS: Final = 0.5
"""Time between two tries to connect."""
MAX_CHANGES: Final = 200
"""Maximum number of changes in one call."""
MAX_WAITING: Final = 20_000
"""Maximum number of changes that wait. More are refused."""

_CHANGE = "SELECT change_people_once(%s, %s, %s, %s::jsonb), (SELECT id FROM last_ids WHERE kind = 'changes')"
_DECISIONS = "SELECT body FROM decisions"
_HAS_OTHER_NODES = "SELECT EXISTS (SELECT FROM leases WHERE node <> %s AND until > now())"
_MUST_BE_MADE: Final = ("release", "end", "park", "publish", "end_slot")
"""The kinds of changes that wait without a time-out until they are made."""


@dataclass(slots=True)
class _Change:
    """A change that waits, and the function that receives its answer on the reactor's thread."""

    parts: tuple[Any, ...]
    """The kind of the change, and its values."""
    on_answer: Callable[[Any], None]
    until: float
    """Monotonic time at which it fails."""


class PostgresDirectory:
    """The directory of the node ``database.node``. With *unicode*, nicknames must not look alike.

    *on_lost* is called, on any thread, when other nodes have removed this one. Then all changes fail.
    """

    def __init__(
        self,
        database: Database,
        call_soon: CallSoon,
        on_lost: Callable[[], None] = lambda: None,
        feed: RecordFeed | None = None,
        *,
        unicode: bool,
    ) -> None:
        self._database = database
        self._feed = feed or RecordFeed(database.node)
        self._call_soon = call_soon
        self._on_lost = on_lost
        self._unicode = unicode
        self.sessions = PostgresSessions(self._add)
        self._listener: NodeListener | None = None
        self._lock = Lock()
        """Guards ``_changes``."""
        self._mail = Mail(database.node, self._add, self._notify, call_soon)
        self._people = PeopleCopy(database.node, self._notify)
        self._thread: Thread | None = None
        self._reset()

    def _reset(self) -> None:
        self._changes: deque[_Change] = deque()
        self._in_flight: list[_Change] = []
        """The changes that were sent and have no answer yet."""
        self._batch = 0
        """The number of their batch."""
        self._people.forget()
        self._mail.restart()
        self._must_load = True
        """Whether the decisions that hold are still to be read for this lease. Later ones come as mail."""
        self._db: Connection | None = None
        self._epoch = 0
        self.lease_end = 0.0
        """Monotonic time at which the lease runs out."""
        self.has_other_nodes = False
        """Whether another node had a lease when this one last looked."""
        self._next_renewal = 0.0
        self._news: deque[str] = deque()
        """The notifications that were not handled yet. They can arrive with the answer to any statement."""
        self._closing = self._is_lost = False

    def start(self, db: Connection, epoch: int) -> None:
        """Keep *db*, which holds the name and the lease of this node, with this *epoch*. Called before ``watch``."""
        self._reset()
        self._db = db
        self._epoch = epoch
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)

    def make_slots(self, limits: Limits) -> PostgresSlots:
        """Return the slots of uploads to all nodes."""
        return PostgresSlots(self._add, limits)

    # Calls of the hub

    def watch(self, listener: NodeListener) -> None:
        """Start the thread."""
        self._listener = listener
        self._feed.watch(
            RecordListener(
                lambda changes: self._notify(lambda listener: listener.records_changed(changes)),
                lambda stored: self._notify(lambda listener: listener.records_reloaded(stored)),
            )
        )
        self._thread = Thread(target=self._run, name="directory", daemon=True)
        self._thread.start()

    def take(self, person: Person, on_taken: OnDirectory) -> None:
        """Take a nickname."""

        def answered(rival: Any) -> None:  # noqa: ANN401 - a value of the database
            if isinstance(rival, RejectedError) or rival is None:
                on_taken(rival)
            elif rival:
                text = f"{person.nick} looks too much like {rival}, who is here."
                on_taken(NicknameRejected(text, "looks-like"))
            else:
                on_taken(NicknameRejected(f"{person.nick} is taken.", "taken"))

        self._add(("take", describe(person, unicode=self._unicode)), answered)

    def look_up(self, nicks: Sequence[str], on_done: OnLookedUp) -> None:
        """Find the people with some nicknames."""
        looks = [skeleton(nick) for nick in nicks] if self._unicode else []
        item = {"keys": [casefold_key(nick) for nick in nicks], "looks": looks}
        self._add(("look_up", item), on_done)

    def update(self, person: Person) -> None:
        """Store new values."""
        self._add(("update", describe(person, unicode=self._unicode)), ignore_answer)

    def release(self, session: int, nick: str, generation: int = 0) -> None:
        """Free a nickname."""
        item = {"key": casefold_key(nick), "session": session, "nick": nick, "generation": generation}
        self._add(("release", item), ignore_answer)

    def send(self, message: NodeMessage, on_taken: OnDirectory) -> None:
        """Send a message to another node."""
        self._mail.send(message, on_taken)

    def publish(self, decision: Decision, on_published: OnDirectory) -> None:
        """Send a decision to all nodes."""
        self._mail.publish(decision, on_published)

    def close(self) -> None:
        """Remove the people of this node, and end the thread. Blocks until then, for some seconds at most."""
        if self._closing or not self._epoch:
            return
        self._closing = True
        self._wake()
        if self._thread is not None:
            self._thread.join()
        self._disconnect()
        self._wake_reader.close()
        self._wake_writer.close()

    def _add(self, parts: tuple[Any, ...], on_answer: Callable[[Any], None]) -> None:
        error: RejectedError | None = None
        with self._lock:
            if self._is_lost:
                error = DatabaseAway()
            elif len(self._changes) >= MAX_WAITING:
                error = Busy()
            else:
                self._changes.append(_Change(parts, on_answer, monotonic() + GIVE_UP_SECONDS))
        if error is not None:
            self._call_soon(partial(on_answer, error))
        else:
            self._wake()

    # The thread

    def _wake(self) -> None:
        with suppress(OSError):  # the thread is awake already, or has ended
            self._wake_writer.send(b"\0")

    def _run(self) -> None:
        while not (self._closing or self._is_lost):
            try:
                if self._db is None:
                    self._db = self._connect()
                self._listen(self._db)
                while not self._closing:
                    self._work(self._db)
            except Exception as error:  # noqa: BLE001 - the commit thread reports that the database is away
                if isinstance(error, LeaseLost) or is_lease_lost(error):
                    self._handle_lost_lease()
                    break
                self._disconnect()
                self._fail_old_changes()
                self._call_soon(self._mail.fail_old)
                select.select([self._wake_reader], [], [], RETRY_SECONDS)
                self._clear_wakes()
        if self._db is not None and not self._is_lost:
            with suppress(psycopg.Error):
                while self._changes or self._in_flight:
                    self._make_changes(self._db)
                self._db.execute("SELECT end_lease(%s, %s, %s)", (self._database.node, self._epoch, SERVER_STOPPED))
        self._fail_changes()
        self._disconnect()

    def _handle_lost_lease(self) -> None:
        """Handle the removal of this node by other nodes."""
        self._fail_changes()
        self._on_lost()

    def _fail_changes(self) -> None:
        """Let all changes fail, those that wait and later ones, because this node has no lease any more."""
        with self._lock:
            self._is_lost = True
            changes = [*self._in_flight, *self._changes]
            self._in_flight = []
            self._changes.clear()
        for change in changes:
            self._call_soon(partial(change.on_answer, DatabaseAway()))
        self._call_soon(self._mail.fail_all)

    def _connect(self) -> Connection:
        db = self._database.connect()
        db.execute("SELECT lock_name(%s)", (self._database.node,))
        return db

    def _listen(self, db: Connection) -> None:
        """Receive notifications on the new connection *db*, and everything that was missed until now."""
        self._news.clear()
        db.add_notify_handler(lambda notification: self._news.append(notification.payload))
        (channel,) = _row_of(db.execute("SELECT people_channel()"))
        db.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        self._next_renewal = 0.0
        self._renew(db)
        self._catch_up(db)
        if self._must_load:
            decisions = [decode_decision(*body) for (body,) in db.execute(_DECISIONS)]
            self._notify(lambda listener: listener.decisions_loaded(decisions))
            self._must_load = False

    def _work(self, db: Connection) -> None:
        """Make the changes that wait, then wait for more and for notifications."""
        self._renew(db)
        while self._changes or self._in_flight:
            self._make_changes(db)
            self._renew(db)
        self._feed.poll(db)
        next_call = min(self._next_renewal, self._feed.next_read)
        seconds = 0.0 if self._news else max(next_call - monotonic(), 0.0)
        select.select([db.fileno(), self._wake_reader.fileno()], [], [], seconds)
        self._clear_wakes()
        db.pgconn.consume_input()
        while (notification := db.pgconn.notifies()) is not None:
            self._news.append(notification.extra.decode())
        self._renew(db)  # after a suspension, the news may be that the people of this node have gone elsewhere
        self._handle_news(db)

    def _renew(self, db: Connection) -> None:
        now = monotonic()
        if now >= self._next_renewal:
            renew_lease(db, self._database.node, self._epoch)
            self._next_renewal = now + RENEW_SECONDS
            self.lease_end = now + LEASE_SECONDS
            self._look_for_other_nodes(db)
            self._call_soon(self._mail.fail_old)

    def _make_changes(self, db: Connection) -> None:
        """Make some changes. If the connection is lost, send the same ones again. The database makes them only once.

        The listener receives what other nodes had stored before the answers. So an answer never comes before the news
        on which it is based.
        """
        if not self._in_flight:
            with self._lock:
                self._in_flight = [self._changes.popleft() for _ in range(min(len(self._changes), MAX_CHANGES))]
            self._batch += 1
        body = msgspec.json.encode([change.parts for change in self._in_flight]).decode()
        last_record = 0
        try:
            answers, last_record = _row_of(db.execute(_CHANGE, (self._database.node, self._epoch, self._batch, body)))
        except psycopg.DataError as error:  # a second try would fail, too
            answers = [RejectedError(f"the database refuses that: {describe_error(error)}.")] * len(self._in_flight)
        # A message to a parked session has the answer True. If it is an expulsion, the session leaves before its sender
        # gets the answer.
        if any(answer is True for answer in answers):
            end_parked(db)
        self._handle_news(db)
        if (last_record or 0) > self._feed.read_to:
            self._feed.read(db)
        changes, self._in_flight = self._in_flight, []
        for change, answer in zip(changes, answers, strict=True):
            if change.parts[0] == "look_up" and not isinstance(answer, RejectedError):
                answer = self._people.look_up(answer)  # noqa: PLW2901 - the same in another form
            self._call_soon(partial(change.on_answer, answer))

    def _fail_old_changes(self) -> None:
        """Let changes fail that could not be made in time, except those that must be made.

        A change in flight is sent again, because it may have been made. Its answer is then ignored.
        """
        now = monotonic()
        with self._lock:
            waiting, self._changes = self._changes, deque()
            old: list[_Change] = []
            for change in waiting:
                is_old = change.until < now and change.parts[0] not in _MUST_BE_MADE
                (old if is_old else self._changes).append(change)
        for change in self._in_flight:
            if change.until < now and change.on_answer is not ignore_answer:
                old.append(_Change(change.parts, change.on_answer, now))
                change.on_answer = ignore_answer
                if change.parts[0] == "take":  # nobody waits for the nickname any more, and it may be taken
                    row = change.parts[1]
                    self.release(row["session"], row["nick"], row["generation"])
        for change in old:
            self._call_soon(partial(change.on_answer, DatabaseAway()))

    def _handle_news(self, db: Connection) -> None:
        """Handle all notifications. Mail and records are read once for all notifications that have come by now."""
        while self._news:
            payloads = [*self._news]
            self._news.clear()
            unread = {"mail", "records"}
            for payload in payloads:
                self._renew(db)
                self._handle(db, payload, unread)

    def _handle(self, db: Connection, payload: str, unread: set[str]) -> None:
        """Handle a notification. An empty one stands for more news than fit into one. Read only what is *unread*."""
        if not payload:
            self._catch_up(db)
            return
        node, news = msgspec.json.decode(payload)
        for kind, *values in news:
            if kind == "mail":
                if kind in unread and values[0] in {None, self._database.node}:
                    unread.clear()  # this reads the records, too
                    self._read_mail(db)
            elif kind == "records":
                if kind in unread and node != self._database.node:
                    unread.remove(kind)
                    self._feed.read(db)
            elif kind == "gone":
                self._people.remove(*values)
            else:
                self._people.take(values[0])

    def _look_for_other_nodes(self, db: Connection) -> None:
        (self.has_other_nodes,) = _row_of(db.execute(_HAS_OTHER_NODES, (self._database.node,)))

    def _catch_up(self, db: Connection) -> None:
        """Handle everything that may have been missed, also the start or the end of other nodes."""
        self._look_for_other_nodes(db)
        self._people.compare(db)
        self._read_mail(db)

    def _read_mail(self, db: Connection) -> None:
        self._feed.read(db)  # a message can be about records that were stored before it
        self._mail.read(db)

    def _notify(self, call: Callable[[NodeListener], None]) -> None:
        listener = self._listener
        assert listener is not None
        self._call_soon(lambda: call(listener))

    def _clear_wakes(self) -> None:
        with suppress(BlockingIOError):
            self._wake_reader.recv(4096)

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(psycopg.Error):
                db.close()


def _row_of(cursor: psycopg.Cursor[Any]) -> Sequence[Any]:
    row = cursor.fetchone()
    assert row is not None
    return row  # type: ignore[no-any-return]


_conforms: type[Directory] = PostgresDirectory
