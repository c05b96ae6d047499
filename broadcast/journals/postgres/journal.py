"""The journal in a PostgreSQL database: its threads, combined behind ``core.interfaces.Journal``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any, TypeVar

from broadcast.core.errors import JournalError, JournalInUse
from broadcast.core.events import AwayChanged, Event, Joined, Stored
from broadcast.core.interfaces import Journal, OpenedRoom
from broadcast.core.stats import CommitStats
from broadcast.core.time_slice import CallSoon
from broadcast.journals.batch_queue import BatchQueue
from broadcast.journals.commit_queue import CommittedQueue
from broadcast.journals.postgres.commit_thread import CommitThread
from broadcast.journals.postgres.database import MINIMUM_VERSION, Connection, Database, from_text, to_text
from broadcast.journals.postgres.directory import LEASE_SECONDS, PostgresDirectory
from broadcast.journals.postgres.merging import Merger
from broadcast.journals.postgres.queries import RoomRow, read_room, start_query_thread
from broadcast.journals.postgres.record_feed import RecordFeed
from broadcast.journals.postgres.records import PostgresRecords
from broadcast.journals.postgres.room_log import PostgresRoomLog
from broadcast.journals.postgres.schema import open_schema
from broadcast.journals.postgres.search import SearchIndexer
from broadcast.journals.postgres.tail import Tail
from broadcast.journals.query_thread import Kind, Query, QueryThread

T = TypeVar("T")


class PostgresJournal:
    """A journal in *database*, with threads that write, read, search, and receive the events of other servers.

    Events of all rooms that are appended while a commit runs form the next commit (group commit). If a commit fails,
    none of its events is stored; the next commit tries again. The commits are recorded in *commit_stats*. ``open``
    calls *report* with a line for each setting of the database that can lose lines.
    """

    def __init__(
        self,
        database: Database,
        call_soon: CallSoon,
        commit_stats: CommitStats | None = None,
        report: Callable[[str], object] = str,
    ) -> None:
        self.id = ""
        self.commit_stats = commit_stats or CommitStats()
        self._database = database
        self._call_soon = call_soon
        self._report = report
        self._committed: CommittedQueue[PostgresRoomLog] = CommittedQueue(call_soon, self.commit_stats.now)
        self._queue: BatchQueue[PostgresRoomLog] = BatchQueue(call_soon)
        self._merger = Merger(self._committed)
        self._commit_thread: CommitThread | None = None
        self._query_thread: QueryThread[Connection] | None = None
        self._indexer: SearchIndexer | None = None
        self._tail: Tail | None = None
        self._directory: PostgresDirectory | None = None
        self._feed = RecordFeed(database.node)
        self.records = PostgresRecords(self, self._queue, call_soon, database.node, self._feed.start)

    def open(self, name: str, tail: int) -> OpenedRoom:
        """Create or migrate the tables, take a new epoch, start the threads, and open the room *name*.

        Raises ``JournalInUse``, ``JournalDamaged``, ``JournalTooNew`` or another ``JournalError``.
        """
        with self._database.translate_errors(), closing(self._database.connect()) as db:
            self._verify_server(db)
            self.id = open_schema(db, self._database.schema)
            writer = self._enroll(db)
            opened = read_members(db, name, tail, self._database.node)
        self._tail = Tail(self._database, self._merger)
        self._commit_thread = CommitThread(
            self._database,
            writer[0],
            writer[1],
            self._queue,
            self._merger,
            self.commit_stats,
            self._tail.read,
            self._feed.add_own,
        )
        self._query_thread = start_query_thread(self._database, self._call_soon)
        self._indexer = SearchIndexer(self._database.connect, self._database.node)
        return self._opened(name, *opened)

    def _enroll(self, db: Connection) -> tuple[int, int]:
        """Take a new epoch, and a lease if there is a directory. Return the epoch and the number of the last batch."""
        node = to_text(self._database.node)
        with db.transaction():
            if self._directory is not None:
                # Of two servers that start at once, the second one waits here, and then finds the lease of the first.
                db.execute("LOCK TABLE leases IN SHARE ROW EXCLUSIVE MODE")
                self._verify_alone(db)
            writer = db.execute("SELECT epoch, batch FROM enroll(%s)", (node,)).fetchone()
            assert writer is not None
            if self._directory is not None:
                db.execute("SELECT renew(%s, %s)", (node, LEASE_SECONDS))
        return writer

    def _verify_alone(self, db: Connection) -> None:
        """Raise ``JournalInUse`` if another server runs: it would not learn of new accounts and bans."""
        query = "SELECT node FROM leases WHERE node <> %s AND until > now() LIMIT 1"
        row = db.execute(query, (to_text(self._database.node),)).fetchone()
        if row is not None:
            msg = (
                f"the server {from_text(row[0])} uses the database: stop it, or wait for {LEASE_SECONDS:.0f} seconds "
                "if it was killed. Servers cannot share accounts yet"
            )
            raise JournalInUse(msg)

    def _verify_server(self, db: Connection) -> None:
        if db.info.server_version < MINIMUM_VERSION * 10_000:
            version = db.info.parameter_status("server_version")
            msg = f"the database is PostgreSQL {version}: install version {MINIMUM_VERSION} or newer"
            raise JournalError(msg)
        rows = db.execute(
            "SELECT name FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit') AND setting = 'off'"
        )
        for (setting,) in rows:
            self._report(f"the setting {setting} of the database is off: a crash of its machine can lose stored lines")

    def open_room(self, name: str, tail: int, on_result: Callable[[OpenedRoom | JournalError], None]) -> None:
        """Open the room *name*."""

        def receive(result: tuple[RoomRow, list[Stored], list[Event]] | JournalError) -> None:
            on_result(result if isinstance(result, JournalError) else self._opened(name, *result))

        query = partial(read_members, name=name, tail=tail, node=self._database.node)
        self.submit(Kind.OPEN, query, receive)

    def _opened(self, name: str, room: RoomRow, recent: list[Stored], members: list[Event]) -> OpenedRoom:
        log = PostgresRoomLog(self._queue, self, name, (room.last, room.place))
        self._merger.start(log, members)
        if self._tail is not None:
            self._tail.open(log)
        return OpenedRoom(log, room.last, room.topic, recent)

    def submit(self, kind: Kind, query: Query[Connection], on_result: Callable[[Any], None]) -> None:
        """Call *on_result* in a later turn with the result of *query*, or with the error."""
        if self._query_thread is not None:
            self._query_thread.submit(kind, query, on_result)
        else:
            self._call_soon(partial(on_result, JournalError("the journal is closed")))

    def query(self, query: Callable[[Connection], T]) -> T:
        """Return the result of *query*, on this thread. Raises ``JournalError``."""
        with self._database.translate_errors(), closing(self._database.connect()) as db:
            return query(db)

    def make_directory(self, *, unicode: bool) -> PostgresDirectory:
        """Return the directory of the servers that share the journal, which closes it."""
        self._directory = PostgresDirectory(self._database, self._call_soon, self._feed, unicode=unicode)
        return self._directory

    def forget(self, log: PostgresRoomLog) -> None:
        """Release what the threads hold for *log*."""
        if self._tail is not None:
            self._tail.forget(log)

    def close(self) -> None:
        """Store the queued events, then release everything. May be called at any time, and more than once."""
        self._committed.stop()
        self.records.close()
        query_thread, self._query_thread = self._query_thread, None
        commit_thread, self._commit_thread = self._commit_thread, None
        indexer, self._indexer = self._indexer, None
        tail, self._tail = self._tail, None
        directory, self._directory = self._directory, None
        for thread in (query_thread, commit_thread, indexer, tail, directory):
            if thread is not None:
                thread.close()


def read_members(db: Connection, name: str, tail: int, node: str) -> tuple[RoomRow, list[Stored], list[Event]]:
    """Return the room *name*, its last *tail* lines, and the joins of the people on other servers than *node*.

    All of it is as it was at one moment.
    """
    query = "SELECT session, nick, away, away_reason FROM members WHERE room = %s AND node <> %s ORDER BY session"
    with db.transaction():
        db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        room, recent = read_room(db, name, tail)
        rows = db.execute(query, (room.id, to_text(node))).fetchall()
    members: list[Event] = []
    for session, stored_nick, is_away, reason in rows:
        nick = from_text(stored_nick)
        members.append(Joined(session, nick))
        if is_away:
            members.append(AwayChanged(session, nick, away=True, reason=from_text(reason)))
    return room, recent, members


_conforms: type[Journal] = PostgresJournal
