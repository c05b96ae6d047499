"""The journal in a PostgreSQL database: its threads, combined behind ``core.interfaces.Journal``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from threading import Thread
from time import monotonic
from typing import Any, Final, TypeAlias, TypeVar

from broadcast.core.errors import JournalError
from broadcast.core.events import AwayChanged, Event, Joined, Stored
from broadcast.core.interfaces import Journal, OpenedRoom
from broadcast.core.stats import CommitStats
from broadcast.core.time_slice import CallSoon
from broadcast.journals.batch_queue import BatchQueue
from broadcast.journals.commit_queue import CommittedQueue
from broadcast.journals.postgres.commit_thread import CommitThread
from broadcast.journals.postgres.database import MINIMUM_VERSION, Connection, Database, from_text, to_text
from broadcast.journals.postgres.directory import PostgresDirectory
from broadcast.journals.postgres.leases import Writer, start_lease
from broadcast.journals.postgres.merging import LineKey, Merger
from broadcast.journals.postgres.queries import RoomRow, read_room, start_query_thread
from broadcast.journals.postgres.record_feed import RecordFeed
from broadcast.journals.postgres.records import PostgresRecords
from broadcast.journals.postgres.room_log import PostgresRoomLog
from broadcast.journals.postgres.schema import open_schema
from broadcast.journals.postgres.search import SearchIndexer
from broadcast.journals.postgres.tail import Tail
from broadcast.journals.query_thread import Kind, Query, QueryThread

T = TypeVar("T")
_Opened: TypeAlias = tuple[Writer, RoomRow, list[Stored], list[Event]]
"""A new epoch, and a room with its last lines and the joins of the people on other nodes."""

LEASE_LOST: Final = "This server did not renew its lease in time, so the other servers have removed it."
LINES_LOST: Final = (
    "The database lacks lines of the room {} that were delivered: it was replaced by a copy without them. "
    "The journal has another identifier now."
)


class PostgresJournal:
    """A journal in *database*, with threads that write, read, search, and receive the events of other nodes.

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
        self.on_lost: Callable[[str], object] = str
        """Called with one line when this node must not go on: others have removed it, or stored lines were lost."""
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
        self._retirement: Thread | None = None
        self._is_lost = self._is_closed = self._is_renewing_id = False
        self._feed = RecordFeed(database.node)
        self.records = PostgresRecords(self, self._queue, call_soon, database.node, self._feed.start)

    def open(self, name: str, tail: int) -> OpenedRoom:
        """Create or migrate the tables, take a new epoch, start the threads, and open the room *name*.

        Raises ``JournalInUse``, ``JournalDamaged``, ``JournalTooNew`` or another ``JournalError``.
        """
        self._query_thread = start_query_thread(self._database, self._call_soon)
        prepared = self._prepare(name, tail)
        self._indexer = SearchIndexer(self._database.connect, self._database.node)  # its tables exist now
        return self._begin(name, *prepared)

    def _prepare(self, name: str, tail: int) -> _Opened:
        """Take a new epoch, and read the room *name*. May block. Raises ``JournalError``."""
        with self._database.translate_errors(), ExitStack() as stack:
            db = stack.enter_context(closing(self._database.connect()))
            self._verify_server(db)
            self.id = open_schema(db, self._database.schema)
            writer = self._enroll(db)
            opened = read_members(db, name, tail, self._database.node)
            if self._directory is not None:
                stack.pop_all()
                self._directory.start(db, writer.epoch)
        return writer, *opened

    def _begin(
        self, name: str, writer: Writer, room: RoomRow, recent: list[Stored], members: list[Event]
    ) -> OpenedRoom:
        """Start the threads that have the epoch of *writer*."""
        self._is_lost = False
        self._queue.reopen()
        if self.commit_stats.last_error:
            self.commit_stats.record_success(0.0)
        self._tail = Tail(self._database, writer.epoch, self._merger, self._lose)
        self._commit_thread = CommitThread(
            self._database,
            writer,
            self._queue,
            self._merger,
            self.commit_stats,
            self._tail.read,
            self._lose,
            self._feed.add_own,
        )
        return self._opened(name, room, recent, members)

    @property
    def lease_seconds(self) -> float:
        """Time until the others remove this node, unless it renews its lease; negative once it has run out."""
        return 0.0 if self._directory is None else self._directory.lease_end - monotonic()

    @property
    def tail_seconds(self) -> float:
        """Time since everything was read that other nodes had stored."""
        return 0.0 if self._tail is None else monotonic() - self._tail.read_at

    @property
    def has_other_nodes(self) -> bool:
        """Whether another node runs, as far as this one knows."""
        return self._directory is not None and self._directory.has_other_nodes

    def restart(
        self,
        name: str,
        tail: int,
        on_result: Callable[[OpenedRoom | JournalError], None],
    ) -> None:
        """Take a new epoch after ``on_lost``, and open the room *name* again. Does not block.

        Call *on_result* in a later turn with the room. All rooms that were open are void then.
        """

        def prepare() -> None:
            result: _Opened | JournalError
            try:
                self._stop_writing()
                result = self._prepare(name, tail)
                self._feed.reload()  # for ids that no other node gives by now
                self.query(self._feed.read)
            except JournalError as error:
                result = error
            self._call_soon(partial(finish, result))

        def finish(result: _Opened | JournalError) -> None:
            on_result(result if isinstance(result, JournalError) else self._begin(name, *result))

        Thread(target=prepare, name="journal restart", daemon=True).start()

    def _lose(self, room: str = "") -> None:
        """Report that others have removed this node, or that *room* has lost lines. May be called on any thread."""
        if not room:
            self._call_soon(partial(self._report_lost, LEASE_LOST))
        elif not self._is_renewing_id:
            self._is_renewing_id = True
            self.submit(Kind.OPEN, partial(_renew_id, journal_id=self.id), partial(self._on_renewed_id, room))

    def _on_renewed_id(self, room: str, error: JournalError | bool) -> None:
        self._is_renewing_id = False
        if error is True:  # otherwise the thread that has noticed the loss notices it again
            self._report_lost(LINES_LOST.format(room))

    def _report_lost(self, line: str) -> None:
        if not (self._is_lost or self._is_closed):
            self._is_lost = True
            if self._commit_thread is not None:
                self._commit_thread.expect_refusal()
            self.on_lost(line)

    def _enroll(self, db: Connection) -> Writer:
        """Take a new epoch, and a lease if there is a directory."""
        if self._directory is not None:
            return start_lease(db, self._database.node)
        row = db.execute("SELECT epoch, batch FROM enroll(%s)", (to_text(self._database.node),)).fetchone()
        assert row is not None
        return Writer(*row)

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
        log.stream.last_line = LineKey.of(recent[-1]) if recent else None
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
        """Return the directory of the nodes that share the journal, which closes it."""
        self._directory = PostgresDirectory(self._database, self._call_soon, self._lose, self._feed, unicode=unicode)
        return self._directory

    def forget(self, log: PostgresRoomLog) -> None:
        """Release what the threads hold for *log*."""
        if self._tail is not None:
            self._tail.forget(log)

    def retire(self, on_retired: Callable[[], None]) -> None:
        """Store the queued events, then give the nicknames and sessions of this node to the others. Does not block.

        Call *on_retired* in a later turn. Nothing is stored after that, but the journal can be read until ``close``.
        """

        def retire() -> None:
            self._stop_writing()
            self._call_soon(on_retired)

        self._retirement = Thread(target=retire, name="journal retirement", daemon=True)
        self._retirement.start()

    def close(self) -> None:
        """Store the queued events, then release everything. May be called at any time, and more than once."""
        self._is_closed = True
        if self._retirement is not None:
            self._retirement.join()
        self._committed.stop()
        self.records.close()
        query_thread, self._query_thread = self._query_thread, None
        indexer, self._indexer = self._indexer, None
        if query_thread is not None:
            query_thread.close()
        self._stop_writing()
        if indexer is not None:
            indexer.close()

    def _stop_writing(self) -> None:
        """Store the queued events, then end the threads that have an epoch."""
        commit_thread, self._commit_thread = self._commit_thread, None
        tail, self._tail = self._tail, None
        for thread in (commit_thread, tail, self._directory):
            if thread is not None:
                thread.close()


def _renew_id(db: Connection, journal_id: str) -> bool:
    """Give the journal another id than *journal_id*, and let all nodes start anew. Another one may have done it."""
    db.execute("SELECT renew_id(%s)", (journal_id,))
    return True


def read_members(db: Connection, name: str, tail: int, node: str) -> tuple[RoomRow, list[Stored], list[Event]]:
    """Return the room *name*, its last *tail* lines, and the joins of the people on other nodes than *node*.

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
