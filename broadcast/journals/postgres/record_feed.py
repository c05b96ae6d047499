"""The changes of records of all nodes, in the order of the database.

Each batch of changes has a number, without a gap. The nodes read those of the others by number. The result of an own
batch is reported in its place among them, so that every node has the same records in the end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from time import monotonic
from typing import Final, NamedTuple

from broadcast.core.records import RecordChange, StoredRecords
from broadcast.journals.postgres.database import Connection, from_text
from broadcast.journals.postgres.records import decode_changes, read_records_of_server

POLL_SECONDS: Final = 1.0
"""Time between two polls, in case a notification was lost."""
MAX_BATCHES: Final = 500
"""Maximum number of batches that are read at once."""

_READ = "SELECT number, node, changes FROM record_changes WHERE number > %s ORDER BY number LIMIT %s"


class RecordListener(NamedTuple):
    """The functions that receive what other nodes have changed. They are called on any thread, one at a time."""

    change: Callable[[Sequence[RecordChange]], None]
    reload: Callable[[StoredRecords], None]
    """Receives all records, if changes were missed."""


class _OwnBatch(NamedTuple):
    """The results of a batch of this node.

    *number* is that of the batch. A batch that changes nothing has none: then it is that of the last batch before it.
    """

    number: int
    is_change: bool
    reports: Sequence[Callable[[], None]]


class RecordFeed:
    """The changes of the nodes other than *node*, which are read, and the results of the batches of *node* itself."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._lock = Lock()
        """Guards everything below."""
        self._listener: RecordListener | None = None
        self._position = 0
        """Number of the last batch that was passed on, or reported."""
        self.read_to = 0
        """Number of the last batch that was read. The thread that reads may use it without the lock."""
        self._others: dict[int, Sequence[RecordChange]] = {}
        """The batches of other nodes that wait for those before them, by number."""
        self._own: deque[_OwnBatch] = deque()
        """The results that wait for the batches before them, in the order of the batches."""
        self._must_reload = False
        self.next_read = 0.0
        """Monotonic time of the next poll. Only the thread that reads uses it."""

    def start(self, position: int) -> None:
        """Begin, or begin anew, after the batch *position*, up to which this node has loaded the records."""
        with self._lock:
            while self._own:
                self._report(self._own.popleft())
            self._others = {}
            self._must_reload = False
            self._position = self.read_to = position

    def watch(self, listener: RecordListener) -> None:
        """Pass on what other nodes change to *listener*. Without this call, results are reported at once."""
        self._listener = listener

    def reload(self) -> None:
        """Read all records again with the next poll."""
        with self._lock:
            self._must_reload = True

    def add_own(self, number: int, reports: Sequence[Callable[[], None]], *, is_change: bool) -> None:
        """Call *reports* once the batches before the own one with this *number* were passed on.

        *is_change* is False if it changes nothing; see ``_OwnBatch``. May be called on any thread.
        """
        with self._lock:
            self._own.append(_OwnBatch(number, is_change, reports))
            self._pass_on()

    def poll(self, db: Connection) -> None:
        """Read, if it is time for a poll."""
        if monotonic() >= self.next_read:
            self.read(db)

    def read(self, db: Connection) -> None:
        """Read what other nodes have changed, and pass it on. Raises ``psycopg.Error``."""
        self.next_read = monotonic() + POLL_SECONDS
        is_complete = False
        while not (is_complete or self._must_reload):
            rows = db.execute(_READ, (self.read_to, MAX_BATCHES)).fetchall()
            is_complete = len(rows) < MAX_BATCHES
            with self._lock:
                for number, node, changes in rows:
                    if number != self.read_to + 1:  # this node was away so long that batches were deleted
                        self._must_reload = True
                        break
                    self.read_to = number
                    if from_text(node) != self._node:
                        self._others[number] = decode_changes(changes)
                self._pass_on()
        if self._must_reload:
            stored, position = read_records_of_server(db, self._node)
            with self._lock:
                self._restart(stored, position)

    def _restart(self, stored: StoredRecords, position: int) -> None:
        """Go on after the batch *position*. All earlier ones are part of *stored*."""
        self._must_reload = False
        while self._own and self._own[0].number <= position:
            self._report(self._own.popleft())
        self._others = {}
        self._position = self.read_to = position
        if self._listener is not None:
            self._listener.reload(stored)
        self._pass_on()

    def _pass_on(self) -> None:
        """Pass on and report everything whose turn it is."""
        if self._listener is None:
            while self._own:
                self._report(self._own.popleft())
            return
        while True:
            following = self._position + 1
            if self._own and self._own[0].number - self._own[0].is_change <= self._position:
                own = self._own.popleft()
                if own.is_change and own.number < following:  # newer records were loaded meanwhile
                    self._must_reload = True
                self._position = max(self._position, own.number)
                self._report(own)
            elif following in self._others:
                self._position = following
                self._listener.change(self._others.pop(following))
            else:
                return

    def _report(self, own: _OwnBatch) -> None:
        for report in own.reports:
            report()
