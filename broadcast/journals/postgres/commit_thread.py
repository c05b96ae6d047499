"""The thread that stores events and records in PostgreSQL with group commit.

Each batch is one call of a function of the schema. If the connection is lost during a call, its outcome is not known:
the batch is *in doubt*. The thread sends it again, with the same number, until it has a result. So no event of it is
confirmed or refused too early. If that takes long, other events do not wait for it: lines fail, other events pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from queue import Empty
from threading import Event as Flag
from threading import Thread
from time import sleep
from typing import Any, TypeAlias

import psycopg

from broadcast.core.errors import JournalError
from broadcast.core.events import STORED, Event, StoreFailed
from broadcast.core.stats import CommitStats
from broadcast.journals.batch_queue import COMMITTED, BatchQueue, Item, RecordWrite, failed
from broadcast.journals.commit_queue import storage_problem
from broadcast.journals.postgres.database import Connection, Database, describe_error, to_text
from broadcast.journals.postgres.merging import Merger, Segment
from broadcast.journals.postgres.records import CHANGE_RECORDS, encode_changes
from broadcast.journals.postgres.room_log import PostgresRoomLog
from broadcast.journals.postgres.rows import STREAMED, Row, encode, to_row
from broadcast.journals.postgres.schema import STALE

MAX_EVENTS = 512
"""Maximum number of events in one batch."""
PROBE_SECONDS = 2.0
"""Seconds between two checks, while no event arrives, whether the database can be used."""
RETRY_SECONDS = 4.0
"""Time for which a batch is tried again when the database has just become unreachable."""
PAUSE = 0.2
"""Seconds between two tries."""
CLOSE_SECONDS = 3.0
"""Time after which ``close`` gives up a batch in doubt."""

Chunk: TypeAlias = tuple[PostgresRoomLog, Sequence[Event]]

_APPEND = "SELECT append(%s, %s, %s, %s, %s::jsonb)"
_REPEATED = "the same line was stored a moment ago, through another server"


class _NotStored(Exception):
    """A batch has not taken effect. The text says why."""


class CommitThread:
    """The thread that stores the events of *queue* with connections to *database*.

    *batch* is the number of the last batch of this server. All events go to *merger*, those of a room in order, each as
    stored or as ``StoreFailed``. *tail* is called if it needs events of other servers first. *stats* records the
    commits.
    """

    def __init__(
        self,
        database: Database,
        writer: tuple[int, int],
        queue: BatchQueue[PostgresRoomLog],
        merger: Merger,
        stats: CommitStats,
        wake_tail: Any,  # noqa: ANN401
    ) -> None:
        self._database = database
        self._epoch, self._batch = writer
        self._queue = queue
        self._merger = merger
        self._stats = stats
        self._wake_tail = wake_tail
        self._db: Connection | None = None
        self._next_try = 0.0
        """Time before which no other connection is tried."""
        self._closing = Flag()
        # A daemon thread, so that a process that exits without closing the journal does not hang.
        self._thread = Thread(target=self._run, name="journal writer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Store the queued events, and end the thread. Blocks until then."""
        self._closing.set()
        self._queue.end()
        self._thread.join()

    def _run(self) -> None:
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
            with suppress(_NotStored):
                began = self._stats.now()
                self._call(_APPEND, [], "[]")
                if self._stats.last_error:
                    self._stats.record_success(self._stats.now() - began)

    def _store(self, batch: Sequence[Chunk]) -> None:
        """Store *batch*, and give its events to the merger. Never raises."""
        ...
