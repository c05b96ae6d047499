"""The thread that reads what other nodes have stored.

A notification wakes it up. It says which node has stored events in which rooms. Nothing depends on it, because the
thread also looks once a second.
"""

from __future__ import annotations

import select
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby, islice
from operator import itemgetter
from threading import Lock, Thread
from time import monotonic
from typing import Any, TypeAlias

import psycopg
from psycopg import sql

from broadcast.journals.postgres.database import Connection, Database, from_text, to_text
from broadcast.journals.postgres.merging import Merger, Position, ReadEvent, is_behind
from broadcast.journals.postgres.queries import from_row
from broadcast.journals.postgres.room_log import PostgresRoomLog
from broadcast.journals.postgres.rows import to_event
from broadcast.journals.postgres.schema import SERVER_LOCK

POLL_SECONDS = 1.0
"""Seconds between two looks at all open rooms."""
CLEAN_SECONDS = 30.0
"""Seconds between two deletions of old events without a number."""
RETRY_SECONDS = 0.5
"""Seconds between two tries to connect."""
MAX_EVENTS = 1000
"""Maximum number of lines, and of other events, that are read from a room at once."""
MAX_ROOMS = 200
"""Maximum number of rooms that are read at once."""

READ = f"""
SELECT index, (SELECT epoch FROM writers WHERE writers.node = %s),
    coalesce(rooms.last, 0), coalesce(rooms.place, 0), event.*
FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) WITH ORDINALITY AS wanted (name, seq, place, index)
LEFT JOIN rooms ON rooms.name = wanted.name COLLATE "C"
LEFT JOIN LATERAL (
    (SELECT seq, 0 AS place, NULL AS node, NULL AS event, at, kind, session, nick, text, coalesce(uid, ''), file
        FROM lines WHERE lines.room = rooms.id AND lines.seq > wanted.seq ORDER BY seq LIMIT {MAX_EVENTS})
    UNION ALL
    (SELECT seq, place, node, event, NULL, NULL, NULL, NULL, NULL, NULL, NULL
        FROM stream WHERE stream.room = rooms.id AND stream.place > wanted.place ORDER BY place LIMIT {MAX_EVENTS})
) AS event ON true
WHERE (coalesce(rooms.last, 0), coalesce(rooms.place, 0)) <> (wanted.seq, wanted.place)
ORDER BY index, event.seq, event.place
"""  # noqa: S608 - constant numbers
_REPLACED = """
SELECT wanted.name
FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::float8[]) AS wanted (name, seq, session, at)
LEFT JOIN rooms ON rooms.name = wanted.name COLLATE "C"
LEFT JOIN lines ON lines.room = rooms.id AND lines.seq = wanted.seq
WHERE (lines.session, lines.at) IS DISTINCT FROM (wanted.session, wanted.at)
LIMIT 1
"""
"""Finds a room in which a line is missing, or another one has its number."""
_Row: TypeAlias = tuple[Any, ...]
"""Index of the room, epoch of this node, last number and place of the room; then seq, place, node, event, and the
columns of a line."""
_SEQ, _NODE = 4, 6
"""The indexes of two columns in a row."""
_CLEAN = "DELETE FROM stream WHERE stored < now() - interval '2 minutes'"


class Tail:
    """The thread that reads the events of other nodes in the open rooms, and gives them to *merger*.

    *epoch* is that of this node. *on_lost* is called, on this thread, when other nodes have removed this one, or
    with the name of a room in which lines were lost that were delivered.
    """

    def __init__(
        self, database: Database, epoch: int, merger: Merger[PostgresRoomLog], on_lost: Callable[[str], None]
    ) -> None:
        self._database = database
        self._epoch = epoch
        self._merger = merger
        self._on_lost = on_lost
        self._db: Connection | None = None
        self._lock = Lock()
        """Guards the two attributes below."""
        self._logs: dict[str, PostgresRoomLog] = {}
        """The open rooms by their names, as the database stores them."""
        self._wanted: dict[PostgresRoomLog, None] = {}
        """Rooms to read, in this order."""
        self.read_at = monotonic()
        """Monotonic time at which everything was read that others had stored."""
        self._news: deque[str] = deque()
        """The notifications that were not handled."""
        self._closing = False
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._thread = Thread(target=self._run, name="journal tail", daemon=True)
        self._thread.start()

    def open(self, log: PostgresRoomLog) -> None:
        """Read the room of *log* from now on."""
        with self._lock:
            self._logs[to_text(log.name)] = log
        self.read([log])

    def forget(self, log: PostgresRoomLog) -> None:
        """Do not read the room of *log* any more."""
        with self._lock:
            if self._logs.get(to_text(log.name)) is log:
                del self._logs[to_text(log.name)]
            self._wanted.pop(log, None)

    def read(self, logs: Iterable[PostgresRoomLog]) -> None:
        """Read the rooms of *logs* soon. May be called on any thread."""
        with self._lock:
            self._wanted.update(dict.fromkeys(logs))
        self._wake()

    def close(self) -> None:
        """End the thread. Blocks until then, for the duration of a time-out at most."""
        self._closing = True
        self._wake()
        self._thread.join()
        self._wake_reader.close()
        self._wake_writer.close()

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # it is awake
            self._wake_writer.send(b"\0")

    def _run(self) -> None:
        next_poll = next_clean = 0.0
        is_verified = False
        while not self._closing:
            try:
                if self._db is None:
                    self._db = self._listen()
                    next_poll = 0.0
                    is_verified = False
                now = monotonic()
                if now >= next_poll:
                    next_poll = now + POLL_SECONDS
                    with self._lock:
                        self._wanted.update(dict.fromkeys(self._logs.values()))
                if now >= next_clean:
                    next_clean = now + CLEAN_SECONDS
                    self._db.execute(_CLEAN)
                is_verified = is_verified or self._verify(self._db)
                if is_verified:
                    self._read_wanted(self._db)
                self._wait(self._db, max(next_poll - monotonic(), 0.0))
            except Exception:  # noqa: BLE001 - the commit thread reports that the database is away
                self._disconnect()
                select.select([self._wake_reader], [], [], RETRY_SECONDS)
                self._clear_wakes()
        self._disconnect()

    def _listen(self) -> Connection:
        db = self._database.connect()
        self._news.clear()
        # A notification can arrive with the answer to any statement.
        db.add_notify_handler(lambda notification: self._news.append(notification.payload))
        # It shows to broadcast-admin that a node runs. Nobody waits for it.
        db.execute("SELECT pg_try_advisory_lock_shared(%s + hashtext(%s))", (SERVER_LOCK, self._database.schema))
        db.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._database.schema)))
        return db

    def _verify(self, db: Connection) -> bool:
        """Return whether the database still has the last line that was delivered in each room.

        A new connection may lead to a standby that lacks the last lines. If another node has already stored new lines
        there, these have the numbers of the lost ones. So the session and the time of the lines are compared, too.
        """
        with self._lock:
            logs = [*self._logs.values()]
        lines = [(to_text(log.name), *line) for log in logs if (line := log.stream.last_line) is not None]
        if not lines:
            return True
        replaced = db.execute(_REPLACED.encode(), [*map(list, zip(*lines, strict=True))]).fetchone()
        if replaced is not None:
            self._on_lost(from_text(replaced[0]))
        return replaced is None

    def _wait(self, db: Connection, seconds: float) -> None:
        """Wait for a notification or a wake-up, and note the rooms to read."""
        select.select([db.fileno(), self._wake_reader.fileno()], [], [], 0.0 if self._news else seconds)
        self._clear_wakes()
        db.pgconn.consume_input()
        while (notification := db.pgconn.notifies()) is not None:
            self._news.append(notification.extra.decode())
        while self._news:
            node, *names = self._news.popleft().split("\n")
            if node != to_text(self._database.node)[:200]:
                with self._lock:
                    logs = self._logs.values() if names == ["*"] else map(self._logs.get, names)
                    self._wanted.update((log, None) for log in logs if log is not None)

    def _clear_wakes(self) -> None:
        with suppress(BlockingIOError):
            self._wake_reader.recv(4096)

    def _read_wanted(self, db: Connection) -> None:
        while logs := self._take():
            self._read(db, logs)
        self.read_at = monotonic()

    def _take(self) -> list[PostgresRoomLog]:
        """Remove some rooms to read and return them."""
        with self._lock:
            logs = [*islice(self._wanted, MAX_ROOMS)]
            for log in logs:
                del self._wanted[log]
            return logs

    def _read(self, db: Connection, logs: Sequence[PostgresRoomLog]) -> None:
        """Read the next events of *logs*, all from one snapshot."""
        positions = [log.stream.read_to for log in logs]
        own = to_text(self._database.node)
        names, lasts, places = [to_text(log.name) for log in logs], *map(list, zip(*positions, strict=True))
        rows = db.execute(READ.encode(), (own, names, lasts, places)).fetchall()
        for index, group in groupby(rows, itemgetter(0)):
            log, before, found = logs[index - 1], positions[index - 1], [*group]
            _, epoch, last, place, *_ = found[0]
            if is_behind((last, place), before):
                self._on_lost(log.name)
                continue
            if epoch != self._epoch:
                # Others have changed the state of this node's sessions, which are still here, in a way that these
                # cannot follow. Their clients read what comes now at another node.
                self._on_lost("")
                continue
            events, read_to, is_complete = _parse(found, before, own)
            self._merger.add_read(log, events, read_to)
            if not is_complete:
                self.read([log])

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(psycopg.Error):
                db.close()


def _parse(rows: Sequence[_Row], position: Position, node: str) -> tuple[list[ReadEvent], Position, bool]:
    """Return the events in *rows* of one room, the position to which they lead, and whether they are all up to now.

    The events without a number of this node, which is *node*, are not delivered: they were passed on already.
    """
    _, _, last, place, *_ = rows[0]
    lines = [row[_SEQ] for row in rows if row[_SEQ] is not None and row[_NODE] is None]
    others = [row[_SEQ] for row in rows if row[_NODE] is not None]
    # If one kind was cut off, the other one must not lead farther.
    end = min([last, *(kind[-1] for kind in (lines, others) if len(kind) == MAX_EVENTS)])
    is_complete = max(len(lines), len(others)) < MAX_EVENTS
    events = [*_events(rows, position, end, node)]
    return events, (last, place) if is_complete else events[-1].position, is_complete


def _events(rows: Sequence[_Row], position: Position, end: int, own: str) -> Iterator[ReadEvent]:
    number, reached = position
    for _, _, _, _, seq, place, node, event, *line in rows:
        if seq is None or seq > end:
            return
        if event is None:
            number = seq
            yield ReadEvent((number, reached), from_row((seq, *line)))
        else:
            reached = place
            yield ReadEvent((number, reached), None if node == own else to_event(*event))
