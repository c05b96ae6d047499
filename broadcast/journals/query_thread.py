"""The thread that reads and searches a journal in a database. It does not know the kind of the database."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from functools import partial
from itertools import chain, cycle
from threading import Condition, Lock, Thread
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from broadcast.core.errors import JournalError
from broadcast.core.time_slice import CallSoon


class Connection(Protocol):
    """A connection to a database. Different threads use it, one at a time."""

    def close(self) -> object:
        """Release the connection."""


C = TypeVar("C", bound=Connection)

Query: TypeAlias = Callable[[C], Any]
"""A function from a connection to the result. It returns None if it is not finished and must be called again."""

MAX_PENDING = 1000
"""Maximum number of waiting reads and searches. More are rejected. A session has at most one at a time."""
REST_FACTOR = 4.0
"""Duration of the rest after a read or search, relative to its cost. So all of them take a fifth of a core at most."""
OPEN_REST_FACTOR = 1.0
"""The same factor after a room was opened. It is lower, because many clients wait for their rooms after a restart."""


class Kind(Enum):
    """The kinds of queries."""

    OPEN = "open"
    """The opening of a room. The number of rooms limits the number of such queries."""
    READ = "read"
    SEARCH = "search"


class _Pending(NamedTuple):
    """A query that waits, and the function that receives its result."""

    query: Query[Any]
    on_result: Callable[[Any], None]


class QueryThread(Generic[C]):
    """A thread that runs queries one after the other on a connection, and passes results through *call_soon*.

    *connect* returns the connection when it is first needed and after each error. It may raise ``JournalError``.
    *clock* returns the seconds by which the cost of a query is measured. *is_lost* returns whether a query has failed
    only because its connection was lost. Then the query runs once more, on a new connection. *describe* returns why a
    query has failed.

    Reads, searches and the opening of rooms alternate, each kind in the order of submission. A query that is not
    finished goes to the end of its queue. So neither a long search nor many of them delay a read for long.

    The thread waits until the reactor has handled the result of a query. Then it rests in proportion to the time that
    the query and the reactor have taken. So queries delay messages little, however many clients send them.
    """

    def __init__(
        self,
        connect: Callable[[], C],
        call_soon: CallSoon,
        clock: Callable[[], float],
        is_lost: Callable[[C], bool] = lambda _: False,
        describe: Callable[[Exception], str] = "the journal cannot be read: {}".format,
    ) -> None:
        self._connect = connect
        self._call_soon = call_soon
        self._clock = clock
        self._is_lost = is_lost
        self._describe = describe
        self._db: C | None = None
        self._db_lock = Lock()
        """Held while a query runs, because another thread may close the connection."""
        self._changed = Condition()
        """Guards the attributes below, and is notified when they change."""
        self._queues: dict[Kind, deque[_Pending]] = {kind: deque() for kind in Kind}
        self._handled = True
        """Whether the reactor has handled the last result."""
        self._closing = False
        self._thread = Thread(target=self._run, name="journal reader", daemon=True)
        self._thread.start()

    def submit(self, kind: Kind, query: Query[C], on_result: Callable[[Any], None]) -> None:
        """Call *on_result* in a later turn with the result of *query*, or with the error (a ``JournalError``)."""
        queue = self._queues[kind]
        with self._changed:
            if kind is Kind.OPEN or len(self._queues[Kind.READ]) + len(self._queues[Kind.SEARCH]) < MAX_PENDING:
                queue.append(_Pending(query, on_result))
                self._changed.notify()
                return
        self._call_soon(partial(on_result, JournalError("too many are reading the journal just now")))

    @contextmanager
    def disconnected(self) -> Iterator[None]:
        """Close the connection, and let no query run in this context. May be called on any thread."""
        with self._db_lock:
            self._disconnect()
            yield

    def close(self) -> None:
        """Call every waiting query once more, then end the thread. Unfinished queries fail. Blocks until then."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        queues = cycle(self._queues.values())
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or any(self._queues.values()))
                if self._closing:
                    break
                queue = next(filter(None, queues))
                pending = queue.popleft()
            began = self._clock()
            result = self._execute(pending.query)
            cost = self._clock() - began
            if result is None:
                with self._changed:
                    queue.append(pending)
            else:
                cost += self._deliver(pending.on_result, result)
            self._rest(cost * (OPEN_REST_FACTOR if queue is self._queues[Kind.OPEN] else REST_FACTOR))
        for query, on_result in chain.from_iterable(self._queues.values()):
            result = self._execute(query)
            self._call_soon(partial(on_result, JournalError("the journal is closed") if result is None else result))
        with self._db_lock:
            self._disconnect()

    def _deliver(self, on_result: Callable[[Any], None], result: object) -> float:
        """Let the reactor handle *result*, and wait for it. Return the seconds that this has taken the reactor."""
        cost = 0.0

        def handle() -> None:
            nonlocal cost
            began = self._clock()
            try:
                on_result(result)
            finally:
                with self._changed:
                    cost = self._clock() - began
                    self._handled = True
                    self._changed.notify()

        self._handled = False
        self._call_soon(handle)
        with self._changed:
            self._changed.wait_for(lambda: self._handled or self._closing)
            return cost

    def _rest(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing, seconds)

    def _execute(self, query: Query[C]) -> object:
        with self._db_lock:
            is_retry = False
            while True:
                try:
                    if self._db is None:
                        self._db = self._connect()
                    return query(self._db)
                except JournalError as error:
                    return error
                except Exception as error:  # noqa: BLE001 - the thread must survive it, and the caller must learn of it
                    is_retry = not is_retry and self._db is not None and self._is_lost(self._db)
                    self._disconnect()
                    if not is_retry:
                        return JournalError(" ".join(self._describe(error).split()))

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(Exception):
                db.close()
