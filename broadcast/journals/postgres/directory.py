"""The directory of a cluster in PostgreSQL: the nicknames of all servers, their leases, and messages between them.

One thread has one connection. It makes the changes of this server, many in one call, and renews the lease. It receives
notifications of the changes of other servers. After each reconnection it compares the people in the database with those
that the hub knows.
"""

from __future__ import annotations

import select
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from threading import Lock, Thread
from time import monotonic
from typing import Any, Final, NamedTuple

import msgspec
import psycopg
from psycopg import sql

from broadcast.core.directory import (
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
    UserNotice,
)
from broadcast.core.errors import Busy, NicknameRejected, NotHere, RecipientNotReading, RejectedError
from broadcast.core.events import PrivateMessage
from broadcast.core.nicknames import casefold_key, skeleton
from broadcast.core.time_slice import CallSoon
from broadcast.journals.postgres.database import Connection, Database
from broadcast.journals.postgres.shared_sessions import PostgresSessions

LEASE_SECONDS: Final = 10.0
"""Time after which the others remove the people of a server that does not renew its lease."""
RENEW_SECONDS: Final = 2.0
"""Time between two renewals."""
GIVE_UP_SECONDS: Final = 5.0
"""Time after which a change fails that could not be made, and a message that was not taken."""
RETRY_SECONDS: Final = 0.5
"""Time between two tries to connect."""
MAX_CHANGES: Final = 200
"""Maximum number of changes in one call."""
MAX_WAITING: Final = 20_000
"""Maximum number of changes that wait."""

_CHANGE = "SELECT change_people(%s, %s::jsonb)"
_PEOPLE = """SELECT node, session, nick, account, away, away_reason, address, generation
    FROM people ORDER BY node, session"""
_MAIL = """WITH taken AS (DELETE FROM mail WHERE node = %s RETURNING id, sender, body)
    SELECT sender, body FROM taken ORDER BY id"""
_KINDS: Final[dict[str, Any]] = {
    kind.__name__: kind
    for kind in (PrivateMessage, Expulsion, UserNotice, Handover, Return, Mute, SlowMode, Announcement)
}
_MUST_BE_MADE: Final = ("release", "end", "park")
"""The changes that do not fail."""
_UNREACHABLE = "the server cannot reach its database: try again in a moment."


class _Change(NamedTuple):
    """A change that waits, and the function that receives its answer on the reactor's thread."""

    change: tuple[Any, ...]
    on_answer: Callable[[Any], None]
    until: float
    """Monotonic time at which it fails."""


class PostgresDirectory:
    """The directory of the server ``database.node``. With *unicode*, nicknames must not look alike."""

    def __init__(self, database: Database, call_soon: CallSoon, *, unicode: bool) -> None:
        self._database = database
        self._call_soon = call_soon
        self._unicode = unicode
        self.sessions = PostgresSessions(self._add)
        self._listener: NodeListener | None = None
        self._lock = Lock()
        """Guards ``_changes``."""
        self._changes: deque[_Change] = deque()
        self._numbers = count(1)
        self._sent: dict[int, tuple[OnDirectory, float]] = {}
        """The messages without an answer, with the time at which each fails. Only the reactor's thread uses it."""
        self._known: dict[tuple[int, str], Person] = {}
        """The people of other servers that the listener knows. Only the thread uses it."""
        self._db: Connection | None = None
        self._is_new = True
        """Whether people of an earlier server with this name may be in the database."""
        self._next_renewal = 0.0
        self._news: deque[str] = deque()
        """The notifications that were not handled. They can arrive with the answer to any statement."""
        self._closing = False
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._thread = Thread(target=self._run, name="directory", daemon=True)

    # Calls of the hub

    def watch(self, listener: NodeListener) -> None:
        """Start the thread."""
        self._listener = listener
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
        self._add(("update", self._row(person)), _ignore)

    def release(self, session: int, nick: str, generation: int = 0) -> None:
        """Free a nickname."""
        item = {"key": casefold_key(nick), "session": session, "nick": nick, "generation": generation}
        self._add(("release", item), _ignore)

    def send(self, message: NodeMessage, on_taken: OnDirectory) -> None:
        """Pass a message on, and wait for the answer of the other server."""
        number = next(self._numbers)
        self._sent[number] = on_taken, monotonic() + GIVE_UP_SECONDS

        def stored(answer: Any) -> None:  # noqa: ANN401 - a value of the database
            if answer is True:  # it waits in the database, because no server has the session
                self._end_message(number, None)
            elif answer is not None:
                self._end_message(number, answer or NotHere("the recipient is not here any more."))

        body = ["message", number, type(message).__name__, msgspec.to_builtins(message)]
        self._add(("send", message.to, body), stored)

    def publish(self, decision: Decision) -> None:
        """Pass a decision on."""
        body = ["decision", 0, type(decision).__name__, msgspec.to_builtins(decision)]
        self._add(("publish", None, body), _ignore)

    def close(self) -> None:
        """Remove the people of this server, and end the thread. Blocks until then, for some seconds at most."""
        if self._closing:
            return
        self._closing = True
        self._wake()
        if self._thread.is_alive():
            self._thread.join()
        self._wake_reader.close()
        self._wake_writer.close()

    def _row(self, person: Person) -> dict[str, Any]:
        look = skeleton(person.nick) if self._unicode else None
        return {"key": casefold_key(person.nick), "look": look, **msgspec.to_builtins(person)}

    def _add(self, change: tuple[Any, ...], on_answer: Callable[[Any], None]) -> None:
        with self._lock:
            is_full = len(self._changes) >= MAX_WAITING
            if not is_full:
                self._changes.append(_Change(change, on_answer, monotonic() + GIVE_UP_SECONDS))
        if is_full:
            self._call_soon(partial(on_answer, Busy()))
        else:
            self._wake()

    def _end_message(self, number: int, error: RejectedError | None) -> None:
        on_taken, _ = self._sent.pop(number, (_ignore, 0.0))
        on_taken(error)

    def _fail_old_messages(self) -> None:
        now = monotonic()
        for number, (_, until) in list(self._sent.items()):
            if until < now:
                self._end_message(number, NotHere("the server of the recipient does not answer."))

    # The thread

    def _wake(self) -> None:
        with suppress(BlockingIOError, OSError):  # it is awake, or has ended
            self._wake_writer.send(b"\0")

    def _run(self) -> None:
        while not self._closing:
            try:
                if self._db is None:
                    self._db = self._connect()
                self._work(self._db)
            except Exception:  # noqa: BLE001 - the commit thread reports that the database is away
                self._disconnect()
                self._fail_old_changes()
                select.select([self._wake_reader], [], [], RETRY_SECONDS)
                self._clear_wakes()
        if self._db is not None:
            with suppress(psycopg.Error):
                while self._changes:
                    self._make_changes(self._db)
                self._db.execute("SELECT clear_node(%s), forget_people(%s)", (self._database.node,) * 2)
        self._disconnect()

    def _connect(self) -> Connection:
        db = self._database.connect()
        self._news.clear()
        db.add_notify_handler(lambda notification: self._news.append(notification.payload))
        (channel,) = _row_of(db.execute("SELECT people_channel()"))
        db.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        if self._is_new:  # in one statement, so that no server that starts finds no lease
            renewal = self._database.node, LEASE_SECONDS
            db.execute("SELECT forget_people(%s), renew(%s, %s)", (self._database.node, *renewal))
            self._is_new = False
        self._next_renewal = 0.0
        self._renew(db)
        self._compare(db)
        self._read_mail(db)
        return db

    def _work(self, db: Connection) -> None:
        """Make the changes that wait, then wait for more and for notifications."""
        self._renew(db)
        while self._changes:
            self._make_changes(db)
        seconds = 0.0 if self._news else max(self._next_renewal - monotonic(), 0.0)
        select.select([db.fileno(), self._wake_reader.fileno()], [], [], seconds)
        self._clear_wakes()
        db.pgconn.consume_input()
        while (notification := db.pgconn.notifies()) is not None:
            self._news.append(notification.extra.decode())
        while self._news:
            self._handle(db, self._news.popleft())

    def _renew(self, db: Connection) -> None:
        if monotonic() >= self._next_renewal:
            db.execute("SELECT renew(%s, %s)", (self._database.node, LEASE_SECONDS))
            db.execute("SELECT end_parked()")
            self._next_renewal = monotonic() + RENEW_SECONDS
            self._call_soon(self._fail_old_messages)

    def _make_changes(self, db: Connection) -> None:
        """Make some changes. They are sent again if the connection is lost, which changes nothing but mail."""
        with self._lock:
            changes = [self._changes[index] for index in range(min(len(self._changes), MAX_CHANGES))]
        body = msgspec.json.encode([change.change for change in changes]).decode()
        (answers,) = _row_of(db.execute(_CHANGE, (self._database.node, body)))
        with self._lock:
            for _ in changes:
                self._changes.popleft()
        for change, answer in zip(changes, answers, strict=True):
            self._call_soon(partial(change.on_answer, answer))

    def _fail_old_changes(self) -> None:
        """Let changes fail that could not be made in time, except releases, which must be made."""
        now = monotonic()
        with self._lock:
            old = [each for each in self._changes if each.until < now and each.change[0] not in _MUST_BE_MADE]
            self._changes = deque(each for each in self._changes if each not in old)
        for change in old:
            if change.change[0] == "take":  # it may have been made, if the connection was lost
                row = change.change[1]
                self.release(row["session"], row["nick"], row["generation"])
            self._call_soon(partial(change.on_answer, RejectedError(_UNREACHABLE)))

    def _handle(self, db: Connection, payload: str) -> None:
        """Handle a notification: an empty one stands for more news than fit."""
        if not payload:
            self._compare(db)
            self._read_mail(db)
            return
        _, news = msgspec.json.decode(payload)
        for kind, *values in news:
            if kind == "mail":
                self._read_mail(db)
            elif kind == "gone":
                self._go(*values)
            elif values[0]["node"] != self._database.node:
                self._come(_to_person(values[0]))
            else:  # it may have been on another server before
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
                self._go(person.session, person.nick)
        for key, person in people.items():
            if self._known.get(key) != person:
                self._come(person)

    def _come(self, person: Person) -> None:
        self._known[person.session, casefold_key(person.nick)] = person
        self._notify(lambda listener: listener.person_changed(person))

    def _go(self, session: int, nick: str) -> None:
        if self._known.pop((session, casefold_key(nick)), None) is not None:
            self._notify(lambda listener: listener.person_left(session, nick))

    def _notify(self, call: Callable[[NodeListener], None]) -> None:
        listener = self._listener
        assert listener is not None
        self._call_soon(lambda: call(listener))

    def _read_mail(self, db: Connection) -> None:
        for sender, (kind, number, name, values) in db.execute(_MAIL, (self._database.node,)).fetchall():
            if kind == "answer":
                self._call_soon(partial(self._end_message, number, _to_error(name, values)))
            else:
                content = msgspec.convert(values, _KINDS[name])
                if kind == "decision":
                    self._notify(partial(_carry_out, content))
                else:
                    self._notify(partial(_receive, content, partial(self._answer, sender, number)))

    def _answer(self, node: str, number: int, error: RejectedError | None) -> None:
        name = "" if error is None else type(error).__name__
        self._add(("answer", node, ["answer", number, name, str(error or "")]), _ignore)

    def _clear_wakes(self) -> None:
        with suppress(BlockingIOError):
            self._wake_reader.recv(4096)

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(psycopg.Error):
                db.close()


def _ignore(_answer: object) -> None:
    """Ignore the answer to a change."""


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
