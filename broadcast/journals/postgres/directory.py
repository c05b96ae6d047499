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
from itertools import count
from threading import Lock, Thread
from time import monotonic
from typing import Any, Final

import msgspec
import psycopg
from psycopg import sql

from broadcast.core.directory import (
    SERVER_STOPPED,
    Announcement,
    Decision,
    Directory,
    Expulsion,
    Handover,
    Mute,
    NodeListener,
    NodeMessage,
    OnDirectory,
    Person,
    Return,
    SlowMode,
)
from broadcast.core.errors import Busy, DatabaseAway, NicknameRejected, NotHere, RecipientNotReading, RejectedError
from broadcast.core.events import PrivateMessage
from broadcast.core.limits import Limits
from broadcast.core.nicknames import casefold_key, skeleton
from broadcast.core.time_slice import CallSoon
from broadcast.journals.postgres.database import Connection, Database, describe_error, is_lease_lost
from broadcast.journals.postgres.leases import LEASE_SECONDS, RENEW_SECONDS, LeaseLost, renew_lease
from broadcast.journals.postgres.record_feed import RecordFeed, RecordListener
from broadcast.journals.postgres.shared_sessions import PostgresSessions, ignore_answer
from broadcast.journals.postgres.shared_slots import PostgresSlots

GIVE_UP_SECONDS: Final = 5.0
"""Time after which a change that was not made fails, and a message without an answer."""
RETRY_SECONDS: Final = 0.5
"""Time between two tries to connect."""
MAX_CHANGES: Final = 200
"""Maximum number of changes in one call."""
MAX_WAITING: Final = 20_000
"""Maximum number of changes that wait."""
MAIL_SECONDS: Final = 3.0
"""Time after which the recipient discards a message, because its sender may have given up."""

_CHANGE = "SELECT change_people_once(%s, %s, %s, %s::jsonb)"
_PEOPLE = """SELECT node, session, nick, account, away, away_reason, address, generation
    FROM people ORDER BY node, session"""
_MAIL = """SELECT id, sender, body, extract(epoch FROM now() - stored)::float8 FROM mail
    WHERE node = %s AND id > %s ORDER BY id"""
_DELETE_MAIL = "DELETE FROM mail WHERE node = %s AND id <= %s"
_KINDS: Final[dict[str, Any]] = {
    kind.__name__: kind for kind in (PrivateMessage, Expulsion, Handover, Return, Mute, SlowMode, Announcement)
}
"""The messages and decisions in the mail, by the name of their class."""
_MUST_BE_MADE: Final = ("release", "end", "park", "end_slot")
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
        self._numbers = count(1)
        self._sent: dict[int, tuple[OnDirectory, float]] = {}
        """The messages without an answer, with the time at which each fails. Only the reactor's thread uses it."""
        self._thread: Thread | None = None
        self._reset()

    def _reset(self) -> None:
        self._changes: deque[_Change] = deque()
        self._in_flight: list[_Change] = []
        """The changes that were sent and have no answer yet."""
        self._batch = 0
        """The number of their batch."""
        self._known: dict[tuple[int, str], Person] = {}
        """The people of other nodes that the listener knows. Only the thread uses it."""
        self._db: Connection | None = None
        self._epoch = 0
        self.lease_end = 0.0
        """Monotonic time at which the lease runs out."""
        self._next_renewal = 0.0
        self._last_mail = 0
        """The id of the last mail that was received."""
        self._news: deque[str] = deque()
        """The notifications that were not handled. They can arrive with the answer to any statement."""
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
        """Return the slots of uploads."""
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

        self._add(("take", self._row(person)), answered)

    def update(self, person: Person) -> None:
        """Store new values."""
        self._add(("update", self._row(person)), ignore_answer)

    def release(self, session: int, nick: str, generation: int = 0) -> None:
        """Free a nickname."""
        item = {"key": casefold_key(nick), "session": session, "nick": nick, "generation": generation}
        self._add(("release", item), ignore_answer)

    def send(self, message: NodeMessage, on_taken: OnDirectory) -> None:
        """Pass a message on, and wait for the answer of the other node."""
        number = next(self._numbers)
        self._sent[number] = on_taken, monotonic() + GIVE_UP_SECONDS

        def stored(answer: Any) -> None:  # noqa: ANN401 - a value of the database
            if answer is True:  # it waits in the database, because no node has the session
                self._end_message(number, None)
            elif answer is not None:
                self._end_message(number, answer or NotHere("the recipient is not here any more."))
            elif number in self._sent:
                self._sent[number] = on_taken, monotonic() + GIVE_UP_SECONDS

        body = ["message", number, type(message).__name__, msgspec.to_builtins(message)]
        self._add(("send", message.to, body), stored)

    def publish(self, decision: Decision) -> None:
        """Pass a decision on."""
        body = ["decision", 0, type(decision).__name__, msgspec.to_builtins(decision)]
        self._add(("publish", None, body), ignore_answer)

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

    def _row(self, person: Person) -> dict[str, Any]:
        look = skeleton(person.nick) if self._unicode else None
        return {"key": casefold_key(person.nick), "look": look, **msgspec.to_builtins(person)}

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

    def _end_message(self, number: int, error: RejectedError | None) -> None:
        on_taken, _ = self._sent.pop(number, (ignore_answer, 0.0))
        on_taken(error)

    def _fail_messages(self) -> None:
        for number in list(self._sent):
            self._end_message(number, DatabaseAway())

    def _fail_old_messages(self) -> None:
        now = monotonic()
        for number, (_, until) in list(self._sent.items()):
            if until < now:
                self._end_message(number, NotHere("the server of the recipient does not answer."))

    # The thread

    def _wake(self) -> None:
        with suppress(BlockingIOError, OSError):  # the thread is awake already, or has ended
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
                self._call_soon(self._fail_old_messages)
                select.select([self._wake_reader], [], [], RETRY_SECONDS)
                self._clear_wakes()
        if self._db is not None and not self._is_lost:
            with suppress(psycopg.Error):
                while self._changes or self._in_flight:
                    self._make_changes(self._db)
                self._db.execute("SELECT end_lease(%s, %s, %s)", (self._database.node, self._epoch, SERVER_STOPPED))
        self._disconnect()

    def _handle_lost_lease(self) -> None:
        """Let all changes fail, because other nodes have removed this one."""
        with self._lock:
            self._is_lost = True
            changes = [*self._in_flight, *self._changes]
            self._changes.clear()
        for change in changes:
            self._call_soon(partial(change.on_answer, DatabaseAway()))
        self._call_soon(self._fail_messages)
        self._on_lost()

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
        self._compare(db)
        self._read_mail(db)

    def _work(self, db: Connection) -> None:
        """Make the changes that wait, then wait for more and for notifications."""
        self._renew(db)
        while self._changes or self._in_flight:
            self._make_changes(db)
        self._feed.poll(db)
        next_call = min(self._next_renewal, self._feed.next_read)
        seconds = 0.0 if self._news else max(next_call - monotonic(), 0.0)
        select.select([db.fileno(), self._wake_reader.fileno()], [], [], seconds)
        self._clear_wakes()
        db.pgconn.consume_input()
        while (notification := db.pgconn.notifies()) is not None:
            self._news.append(notification.extra.decode())
        self._renew(db)  # after a suspension, the news may be that the people of this node have gone elsewhere
        while self._news:
            self._handle(db, self._news.popleft())

    def _renew(self, db: Connection) -> None:
        now = monotonic()
        if now >= self._next_renewal:
            renew_lease(db, self._database.node, self._epoch)
            self._next_renewal = now + RENEW_SECONDS
            self.lease_end = now + LEASE_SECONDS
            self._call_soon(self._fail_old_messages)

    def _make_changes(self, db: Connection) -> None:
        """Make some changes. If the connection is lost, the same ones are sent again. They are made once."""
        if not self._in_flight:
            with self._lock:
                self._in_flight = [self._changes.popleft() for _ in range(min(len(self._changes), MAX_CHANGES))]
            self._batch += 1
        body = msgspec.json.encode([change.parts for change in self._in_flight]).decode()
        try:
            (answers,) = _row_of(db.execute(_CHANGE, (self._database.node, self._epoch, self._batch, body)))
        except psycopg.DataError as error:  # a second try would fail, too
            answers = [RejectedError(f"the database refuses that: {describe_error(error)}.")] * len(self._in_flight)
        changes, self._in_flight = self._in_flight, []
        for change, answer in zip(changes, answers, strict=True):
            self._call_soon(partial(change.on_answer, answer))

    def _fail_old_changes(self) -> None:
        """Let changes fail that could not be made in time, except releases, which must be made."""
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
                if change.parts[0] == "take":  # it may have taken effect, or may yet
                    row = change.parts[1]
                    self.release(row["session"], row["nick"], row["generation"])
        for change in old:
            self._call_soon(partial(change.on_answer, DatabaseAway()))

    def _handle(self, db: Connection, payload: str) -> None:
        """Handle a notification: an empty one stands for more news than fit."""
        if not payload:
            self._compare(db)
            self._read_mail(db)
            return
        node, news = msgspec.json.decode(payload)
        for kind, *values in news:
            if kind == "mail":
                self._read_mail(db)
            elif kind == "records":
                if node != self._database.node:
                    self._feed.read(db)
            elif kind == "gone":
                self._person_left(*values)
            elif values[0]["node"] != self._database.node:
                self._person_changed(_to_person(values[0]))
            else:  # a person of this node, who may have been on another node before
                self._known.pop((values[0]["session"], values[0]["key"]), None)

    def _compare(self, db: Connection) -> None:
        """Notify the listener of all differences between the database and the people that it knows."""
        people: dict[tuple[int, str], Person] = {}
        for node, *values in db.execute(_PEOPLE):
            if node != self._database.node:
                person = Person(*values)
                people[person.session, casefold_key(person.nick)] = person
        for key, person in list(self._known.items()):
            if key not in people:
                self._person_left(person.session, person.nick)
        for key, person in people.items():
            if self._known.get(key) != person:
                self._person_changed(person)

    def _person_changed(self, person: Person) -> None:
        self._known[person.session, casefold_key(person.nick)] = person
        self._notify(lambda listener: listener.person_changed(person))

    def _person_left(self, session: int, nick: str) -> None:
        if self._known.pop((session, casefold_key(nick)), None) is not None:
            self._notify(lambda listener: listener.person_left(session, nick))

    def _notify(self, call: Callable[[NodeListener], None]) -> None:
        listener = self._listener
        assert listener is not None
        self._call_soon(lambda: call(listener))

    def _read_mail(self, db: Connection) -> None:
        """Handle the mail to this node. It is deleted after that, so that a lost connection loses none."""
        self._feed.read(db)  # first: a message can be about an account or a private line that another node has stored
        mail = db.execute(_MAIL, (self._database.node, self._last_mail)).fetchall()
        for mail_id, sender, (kind, number, name, values), age in mail:
            self._last_mail = mail_id
            if kind == "answer":
                self._call_soon(partial(self._end_message, number, _to_error(name, values)))
                continue
            content = msgspec.convert(values, _KINDS[name])
            if kind == "decision":
                self._notify(partial(_carry_out, content))
            elif age < MAIL_SECONDS:
                self._notify(partial(_receive, content, partial(self._answer, sender, number)))
        db.execute(_DELETE_MAIL, (self._database.node, self._last_mail))

    def _answer(self, node: str, number: int, error: RejectedError | None) -> None:
        name = "" if error is None else type(error).__name__
        self._add(("answer", node, ["answer", number, name, str(error or "")]), ignore_answer)

    def _clear_wakes(self) -> None:
        with suppress(BlockingIOError):
            self._wake_reader.recv(4096)

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(psycopg.Error):
                db.close()


def _receive(message: NodeMessage, on_taken: OnDirectory, listener: NodeListener) -> None:
    listener.receive(message, on_taken)


def _carry_out(decision: Decision, listener: NodeListener) -> None:
    listener.carry_out(decision)


def _to_person(row: dict[str, Any]) -> Person:
    return msgspec.convert(row, Person)


def _to_error(name: str, text: str) -> RejectedError | None:
    """Return the error *name* with this *text*, None if *name* is empty."""
    if not name:
        return None
    return RecipientNotReading(text) if name == RecipientNotReading.__name__ else NotHere(text)


def _row_of(cursor: psycopg.Cursor[Any]) -> Sequence[Any]:
    row = cursor.fetchone()
    assert row is not None
    return row  # type: ignore[no-any-return]


_conforms: type[Directory] = PostgresDirectory
