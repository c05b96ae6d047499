"""The thread that stores events and records in PostgreSQL with group commit.

Each batch is one call of a function of the schema. If the connection is lost during a call, its outcome is not known:
the batch is *in doubt*. The thread sends it again, with the same number, until it has a result. So no event of it is
confirmed or refused too early. If that takes long, other events do not wait for it: lines fail, other events pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty
from threading import Event as Flag
from threading import Thread
from time import monotonic, sleep
from typing import Any, Final, Protocol, TypeAlias

import psycopg

from broadcast.core.errors import AccountConflict, JournalError
from broadcast.core.events import STORED, AwayChanged, Event, Joined, Left, Repeated, StoreFailed
from broadcast.core.stats import CommitStats
from broadcast.journals.batch_queue import COMMITTED, BatchQueue, Item, RecordWrite, failed
from broadcast.journals.commit_queue import storage_problem
from broadcast.journals.postgres.database import (
    Connection,
    Database,
    describe_error,
    from_text,
    is_deadlock,
    is_fatal,
    is_lease_lost,
    is_stale,
    is_timeout,
    to_text,
)
from broadcast.journals.postgres.leases import Writer
from broadcast.journals.postgres.merging import Merger, Segment, is_behind
from broadcast.journals.postgres.records import CHANGE_RECORDS, encode_writes
from broadcast.journals.postgres.room_log import PostgresRoomLog
from broadcast.journals.postgres.rows import DURABLE, Row, encode, is_streamed, to_row

MAX_EVENTS = 512
"""Maximum number of events in one batch."""
PROBE_SECONDS = 2.0
"""Time between two checks, while no event arrives, whether the database can be used."""
RETRY_SECONDS = 4.0
"""Time for which a batch is tried again when the database has just become unreachable, and others wait for it."""
PAUSE_SECONDS = 0.2
"""Time between two tries."""

_LATE = (*COMMITTED, StoreFailed, Repeated)
"""The events that wait for the outcome of a batch in doubt."""

Chunk: TypeAlias = tuple[PostgresRoomLog, Sequence[Event]]
MemberRow: TypeAlias = tuple[str, bool, str]
"""The nickname of a member in the database, whether it is away, and the reason."""


class ReportRecords(Protocol):
    """The type of ``RecordFeed.add_own``."""

    def __call__(self, number: int, reports: Sequence[Callable[[], None]], *, is_change: bool) -> None:
        """Call *reports* in their turn."""


SESSION_LOST: Final = "the session has gone on at another server"
"""The reason why a line or a topic is not stored. It was appended before this server knew that."""
_APPEND = "SELECT append(%s, %s, %s, %s::text[], %s::jsonb)"
_NOTHING: tuple[object, ...] = ([], "[]")
"""The rest of the parameters of a batch without events."""


class _NotStoredError(Exception):
    """A batch has not taken effect, and will not. The text says why."""


class _AbandonedError(Exception):
    """The journal was closed while a batch was in doubt."""


class CommitThread:
    """The thread that stores the events of *queue* with connections to *database*.

    *writer* is this node. All events go to *merger*, those of a room in order, each as stored or as ``StoreFailed``.
    *read_others* is called with rooms in which events of other nodes come first. *stats* records the commits.

    *on_lost* is called, on this thread, when other nodes have removed this one, or with the name of a room in which the
    database has lost delivered lines. *report_records* receives the results of changes of records; see
    ``RecordFeed.add_own``.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - each is a part of the journal
        self,
        database: Database,
        writer: Writer,
        queue: BatchQueue[PostgresRoomLog],
        merger: Merger[PostgresRoomLog],
        stats: CommitStats,
        read_others: Callable[[Sequence[PostgresRoomLog]], None],
        on_lost: Callable[[str], None],
        report_records: ReportRecords,
    ) -> None:
        self._database = database
        self._epoch, self._batch = writer
        self._queue = queue
        self._merger = merger
        self._stats = stats
        self._read_others = read_others
        self._on_lost = on_lost
        self._report_records = report_records
        self._db: Connection | None = None
        self._next_try = 0.0
        """Time before which no other connection is tried."""
        self._waiting: Sequence[Chunk] = ()
        """The events of the batch in flight. It is empty if none but lines and topics wait for its result."""
        self._deferred: list[Chunk] = []
        """Joins, leaves and the like that could not be stored. They are stored later, for the other nodes."""
        self._is_removed = False
        """Whether other nodes have removed this one, as far as the journal knows."""
        self._closing = Flag()
        # A daemon thread, so that a process that exits without closing the journal does not hang.
        self._thread = Thread(target=self._run, name="journal writer", daemon=True)
        self._thread.start()

    def expect_refusal(self) -> None:
        """Note that other nodes have removed this one.

        The database has just said so. So the outcome of a batch in doubt is known soon, and everything that is appended
        now waits for it. Otherwise its authors would leave without an answer.
        """
        self._is_removed = True

    def close(self) -> None:
        """Store the queued events, and end the thread. Blocks until then."""
        self._closing.set()
        self._queue.end()
        self._thread.join()

    def _run(self) -> None:
        with suppress(_AbandonedError):
            while (batch := self._queue.next_batch(MAX_EVENTS, self._next_item)) is not None:
                if batch.writes:  # first: a line that confirms a private message is not stored without the confirmation
                    self._store_records(batch.writes)
                self._store(batch.chunks)
        self._disconnect()

    def _next_item(self) -> Item[PostgresRoomLog] | None:
        """Wait for the next item of the queue and return it. Check the database meanwhile."""
        while True:
            with suppress(Empty):
                return self._queue.get(PROBE_SECONDS)
            with suppress(_NotStoredError):
                began = self._stats.now()
                self._call(_APPEND, *_NOTHING)
                if self._stats.last_error:
                    self._stats.record_success(self._stats.now() - began)
                if self._deferred:
                    self._store(())

    def _store_records(self, writes: Sequence[RecordWrite]) -> None:
        """Make the changes of records in *writes*, and report the results. Raises only ``_AbandonedError``."""
        try:
            began = self._stats.now()
            answer = self._call(CHANGE_RECORDS, encode_writes(write.changes for write in writes))
            self._stats.record_success(self._stats.now() - began)
        except _NotStoredError as error:
            for write in writes:
                write.on_done(JournalError(str(error)))
            return
        refused = {int(index): AccountConflict(why) for index, why in answer["refused"].items()}
        reports = [partial(write.on_done, refused.get(index)) for index, write in enumerate(writes)]
        self._report_records(answer["number"], reports, is_change=answer["is_change"])

    def _store(self, batch: Sequence[Chunk]) -> None:
        """Store *batch*, and give its events to the merger."""
        rooms, rows, chunks = self._to_rows([*self._deferred, *batch])
        if not rows:
            self._merger.add_unstored(chunks)
            return
        deferred = len(self._deferred)
        logs = {log for log, _ in chunks}
        self._merger.begin(logs)
        self._waiting = chunks[deferred:]
        began = self._stats.now()
        try:
            answer = self._call(_APPEND, [*map(to_text, rooms)], encode(rows))
        except _NotStoredError as error:
            self._merger.end(logs)
            self._defer(chunks[deferred:])
            waiting = [(log, self._still_waiting(events)) for log, events in chunks[deferred:]]
            self._merger.add_unstored(self._fail(waiting, str(error)))
            return
        if self._stats.last_error or any(row[1] in DURABLE for row in rows):
            self._stats.record_success(self._stats.now() - began)
        self._stats.failed_events += sum(rows[int(index)][1] in DURABLE for index in answer["outdated"])
        positions = dict(zip(rooms, answer["rooms"], strict=True))
        segments = _number(chunks, positions, answer["repeated"], answer["outdated"])
        for index, (log, segment) in enumerate(segments):
            # The deferred events were delivered when they could not be stored.
            events = [] if index < deferred else self._still_waiting(segment.events)
            segments[index] = log, segment._replace(events=[*events, *segment.corrections])
        del self._deferred[:deferred]
        self._deliver(segments)

    def _to_rows(
        self, batch: Sequence[Chunk]
    ) -> tuple[dict[str, int], list[Row], list[tuple[PostgresRoomLog, list[Event]]]]:
        """Return the rooms of the rows of *batch*, with their indexes, the rows, and the chunks to deliver.

        In these, ``StoreFailed`` stands for each event that cannot be stored.
        """
        rooms: dict[str, int] = {}
        rows: list[Row] = []
        chunks: list[tuple[PostgresRoomLog, list[Event]]] = []
        for log, events in batch:
            index = rooms.get(log.name, len(rooms))
            returned: list[Event] = []
            for event in events:
                if isinstance(event, COMMITTED) and (reason := storage_problem(event)):
                    self._stats.failed_events += 1
                    returned.append(StoreFailed(event, reason))
                    continue
                if row := to_row(index, event):
                    rooms[log.name] = index
                    rows.append(row)
                returned.append(event)
            chunks.append((log, returned))
        return rooms, rows, chunks

    def _deliver(self, segments: Sequence[tuple[PostgresRoomLog, Segment]]) -> None:
        """Give *segments* to the merger, unless the database has lost lines and given their numbers again."""
        if lost := [log for log, segment in segments if is_behind(segment.begin, log.stream.position)]:
            self._merger.end(log for log, _ in segments)
            self._on_lost(lost[0].name)
        elif behind := self._merger.add_own(segments):
            self._read_others(behind)

    def _call(self, statement: str, *values: object) -> Mapping[str, Any]:
        """Return the result of the next batch: *statement* with *values*. Raises ``_NotStoredError``."""
        self._batch += 1
        began = monotonic()
        # While the database is known to be away, one try is enough.
        end = began if self._stats.last_error else began + RETRY_SECONDS
        in_doubt = False
        while True:
            try:
                answer = self._execute(statement, *values, at_once=in_doubt)
            except Exception as error:
                reason = describe_error(error)
                if is_deadlock(error) and monotonic() < began + RETRY_SECONDS:
                    continue  # the database has undone this call, and has let the others go on
                self._stats.record_failure(reason, 0)
                if is_lease_lost(error):
                    self._on_lost("")
                is_refused = self._db is not None and not (self._db.closed or is_fatal(error))
                if is_refused and (not in_doubt or is_stale(error)):
                    raise _NotStoredError(reason) from error
                if is_refused and not (is_timeout(error) or is_deadlock(error)):
                    # An older call with this number may still be on its way. Let one without events take its place.
                    statement, values = _APPEND, _NOTHING
                in_doubt = in_doubt or (self._db is not None and values != _NOTHING)
                if not is_refused:
                    self._disconnect()
                self._wait_for_retry(reason, end, in_doubt=in_doubt)
            else:
                if in_doubt and answer.get("rooms") == []:
                    raise _NotStoredError(self._stats.last_error)
                return answer

    def _wait_for_retry(self, reason: str, end: float, *, in_doubt: bool) -> None:
        """Wait until the batch should be sent again. After *end*, raise ``_NotStoredError`` if it is not *in_doubt*."""
        late = monotonic() - end
        if late >= 0 and not in_doubt:
            raise _NotStoredError(reason)
        if late >= 0 and not self._is_removed:
            self._release(reason)
        if self._closing.is_set() and late >= 0:
            raise _AbandonedError
        sleep(PAUSE_SECONDS)

    def _execute(self, statement: str, *values: object, at_once: bool) -> Mapping[str, Any]:
        """Return the result of one call. If not *at_once*, connect only if the last try was some time ago."""
        if self._db is not None and not self._db.is_open():
            self._disconnect()
        if self._db is None:
            if not at_once and monotonic() < self._next_try:
                raise psycopg.OperationalError
            self._next_try = monotonic() + PROBE_SECONDS / 2
            self._db = self._database.connect()
        parameters = self._database.node, self._epoch, self._batch, *values
        row = self._db.execute(statement.encode(), parameters).fetchone()
        assert row is not None
        return row[0]  # type: ignore[no-any-return]

    def _release(self, reason: str) -> None:
        """Let only lines and topics wait for the outcome of a batch in doubt. Let new lines and topics fail."""
        waiting, self._waiting = self._waiting, ()
        self._merger.add_unstored_first(
            [(log, [each for each in events if not isinstance(each, _LATE)]) for log, events in waiting]
        )
        while (item := self._queue.drain()) is not None:
            for write in item.writes:
                write.on_done(JournalError(reason))
            self._defer(item.chunks)
            self._merger.add_unstored_first(self._fail(item.chunks, reason))

    def _defer(self, chunks: Iterable[Chunk]) -> None:
        """Store the events without a number of *chunks* later, except topics."""
        for log, events in chunks:
            if deferred := [event for event in events if is_streamed(event) and not isinstance(event, COMMITTED)]:
                self._deferred.append((log, deferred))

    def _still_waiting(self, events: list[Event]) -> list[Event]:
        """Return those of *events*, from the batch in flight, that ``_release`` has not passed on."""
        return events if self._waiting else [event for event in events if isinstance(event, _LATE)]

    def _fail(self, chunks: Sequence[Chunk], reason: str) -> list[Chunk]:
        """Return the events of *chunks* as they are delivered if they could not be stored."""
        self._stats.failed_events += sum(isinstance(event, COMMITTED) for _, events in chunks for event in events)
        return [(log, [failed(event, reason) for event in events]) for log, events in chunks]

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(psycopg.Error):
                db.close()


def _number(
    chunks: Sequence[tuple[PostgresRoomLog, list[Event]]],
    positions: dict[str, Sequence[int]],
    repeated: Mapping[str, int],
    outdated: Mapping[str, MemberRow | None],
) -> list[tuple[PostgresRoomLog, Segment]]:
    """Number the events of *chunks*, and return them as segments. The corrections are not among the events yet.

    *positions* are those in front of the batch in each room of the database. The keys of the mappings are rows of the
    batch: *repeated* has the number of each line that was stored earlier, and *outdated* the member of each event that
    the database has ignored; see ``make_corrections``.
    """
    segments: list[tuple[PostgresRoomLog, Segment]] = []
    row = 0
    for log, events in chunks:
        seq, place = begin = positions.get(log.name, log.stream.position)
        corrections: list[Event] = []
        for index, event in enumerate(events):
            if outdated and str(row) in outdated and isinstance(event, COMMITTED):
                events[index] = failed(event, SESSION_LOST)
            elif isinstance(event, STORED):
                if repeated and str(row) in repeated:
                    events[index] = Repeated(event, repeated[str(row)])
                else:
                    seq += 1
                    event.seq = seq
            elif is_streamed(event):
                if outdated and str(row) in outdated:
                    corrections += make_corrections(event, outdated[str(row)])
                else:
                    place += 1
            else:
                continue
            row += 1
        if log.name in positions:
            positions[log.name] = seq, place
        segments.append((log, Segment((begin[0], begin[1]), (seq, place), events, corrections)))
    return segments


def make_corrections(event: Event, member: MemberRow | None) -> Iterator[Event]:
    """Yield the events that undo *event*, which the database has ignored because another node has the session.

    *member* is the session in the room as all other nodes know it; None if it is not in the room. This node may have
    delivered *event* already. So it delivers *event* in any case, and the corrections after it. These have a higher
    generation than *event*, because the session has one, too.
    """
    if member is None:
        if isinstance(event, Joined):
            yield Left(event.session, event.nick, generation=event.generation + 1)
    elif isinstance(event, Left | AwayChanged):
        nick, is_away, reason = member
        if isinstance(event, Left):
            yield Joined(event.session, from_text(nick), event.generation + 1)
        if is_away or isinstance(event, AwayChanged):
            yield AwayChanged(event.session, from_text(nick), away=is_away, reason=from_text(reason))
