"""The query thread answers every query, survives every error, and limits its queue."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from broadcast.core.errors import JournalError
from broadcast.core.events import Stored
from broadcast.journals import query_thread
from broadcast.journals.query_thread import Kind, QueryThread
from broadcast.journals.sqlite import journal, room_log
from broadcast.journals.sqlite.database import connect
from broadcast.journals.sqlite.journal import FILE, SqliteJournal
from tests.journals.contract import TIMEOUT, Harness, ReactorCalls
from tests.journals.sqlite.support import open_file, open_sqlite, wait_until


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Harness]:
    """A journal with two lines."""
    with open_sqlite(tmp_path) as harness:
        harness.append_texts("ab")
        yield harness


def start(
    run: Harness, folder: Path, clock: Callable[[], float] = time.perf_counter
) -> QueryThread[sqlite3.Connection]:
    """Start a thread that queries the journal in *folder*."""
    return QueryThread(partial(connect, folder / FILE, writing=False), run.calls.queue.put, clock)


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk\nI/O error"), MemoryError("too\nmuch")])
@pytest.mark.parametrize(("module", "function"), [(room_log, "fetch"), (journal, "connect")])
def test_error_is_answered_in_one_line_and_the_next_query_succeeds(
    run: Harness, monkeypatch: pytest.MonkeyPatch, module: object, function: str, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(module, function, fail)
        answer = run.try_read(1, 2)
    assert isinstance(answer, JournalError)
    assert str(answer) == " ".join(f"the journal cannot be read: {error}".split())
    assert len(run.read(1, 2)) == 2


@pytest.mark.parametrize("change", ["kind = 'sang'", "text = x'00ff'", "text = CAST(x'ff' AS TEXT)"])
def test_invalid_row_is_an_error_and_other_rows_are_read(run: Harness, tmp_path: Path, change: str) -> None:
    with open_file(tmp_path) as db:
        db.execute(f"UPDATE events SET {change} WHERE seq = 2")  # noqa: S608 -- the test's own text
    answer = run.try_read(1, 2)
    assert isinstance(answer, JournalError)
    assert str(answer).isprintable()
    assert len(run.read(1, 1)) == 1


def test_queries_beyond_the_limit_are_rejected_and_all_are_answered(
    run: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(query_thread, "MAX_PENDING", 0)
        assert "too many" in str(run.try_read(1, 2))
        assert run.open_room("kitchen").last_seq == 0, "rooms can be opened nevertheless"
    answers: list[object] = []
    for _ in range(query_thread.MAX_PENDING * 2):
        run.log.read(1, 2, answers.append)
    run.calls.run_until(lambda: len(answers) == query_thread.MAX_PENDING * 2)


def test_unfinished_query_lets_others_go_first(run: Harness, tmp_path: Path) -> None:
    queries = start(run, tmp_path)
    order: list[str] = []
    steps: list[int] = []

    def long_query(_: sqlite3.Connection) -> list[Stored] | None:
        if not steps:
            queries.submit(Kind.READ, lambda _: [], lambda _: order.append("short"))
        steps.append(1)
        return [] if len(steps) == 3 else None

    queries.submit(Kind.READ, long_query, lambda _: order.append("long"))
    run.calls.run_until(lambda: len(order) == 2)
    queries.close()
    assert order == ["short", "long"]


def test_reads_and_searches_alternate_while_others_wait(run: Harness, tmp_path: Path) -> None:
    queries = start(run, tmp_path)
    order: list[str] = []
    started, submitted = threading.Event(), threading.Event()

    def first_query(_: sqlite3.Connection) -> list[Stored]:
        started.set()
        assert submitted.wait(TIMEOUT)
        return []

    queries.submit(Kind.READ, first_query, lambda _: None)
    assert started.wait(TIMEOUT)
    for number in range(3):
        queries.submit(Kind.SEARCH, lambda _: [], partial(append_name, order, f"search {number}"))
    for number in range(2):
        queries.submit(Kind.READ, lambda _: [], partial(append_name, order, f"read {number}"))
    submitted.set()
    run.calls.run_until(lambda: len(order) == 5)
    queries.close()
    assert order == ["search 0", "read 0", "search 1", "read 1", "search 2"]


def append_name(order: list[str], name: str, _result: object) -> None:
    order.append(name)


def test_next_query_waits_until_the_reactor_has_handled_the_result_and_for_a_rest(
    run: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = count()  # each look at it takes a second
    queries = start(run, tmp_path, lambda: float(next(clock)))
    rests: list[float] = []
    monkeypatch.setattr(queries, "_rest", rests.append)
    queried: list[int] = []
    answers: list[object] = []

    def query(number: int, _: sqlite3.Connection) -> list[Stored]:
        queried.append(number)
        return []

    for number in range(2):
        queries.submit(Kind.READ, partial(query, number), answers.append)
    call = run.calls.queue.get(timeout=TIMEOUT)
    assert (queried, answers, rests) == ([0], [], [])
    call()
    run.calls.run_until(lambda: len(answers) == 2)
    queries.close()
    assert queried == [0, 1]
    assert rests == [2 * query_thread.REST_FACTOR] * 2  # a second for the query, and one for its result


def test_close_does_not_wait_for_the_reactor_or_for_a_rest(
    run: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_thread, "REST_FACTOR", 1e9)
    queries = start(run, tmp_path)
    answers: list[object] = []
    queries.submit(Kind.READ, lambda _: [], answers.append)
    call = run.calls.queue.get(timeout=TIMEOUT)
    queries.close()
    call()
    assert answers == [[]]
    queries = start(run, tmp_path)
    queries.submit(Kind.READ, lambda _: [], answers.append)
    run.calls.run_until(lambda: len(answers) == 2)
    queries.close()


def test_unfinished_query_is_answered_at_close(run: Harness, tmp_path: Path) -> None:
    queries = start(run, tmp_path)
    answers: list[object] = []
    started, closing = threading.Event(), threading.Event()

    def endless_query(_: sqlite3.Connection) -> None:
        started.set()
        assert closing.wait(TIMEOUT)

    queries.submit(Kind.READ, endless_query, answers.append)
    assert started.wait(TIMEOUT)
    closer = threading.Thread(target=queries.close)
    closer.start()
    wait_until(lambda: queries._closing)
    closing.set()
    closer.join(TIMEOUT)
    run.calls.run_until(lambda: bool(answers))
    assert str(answers[0]) == "the journal is closed"


def test_connection_is_read_only(run: Harness) -> None:
    run.read(1, 2)
    assert run.matches("a") == [1]
    assert isinstance(run.journal, SqliteJournal)
    assert run.journal._query_thread is not None
    db = run.journal._query_thread._db
    assert db is not None
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("DELETE FROM events")


class Lost(Exception):
    """The connection was lost."""


class FakeConnection:
    """A connection that is lost by its first *failures* queries."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.is_closed = False

    def query(self) -> str:
        """Return a result, or lose the connection."""
        self.failures -= 1
        if self.failures >= 0:
            raise Lost("the connection was\nlost")
        return "result"

    def close(self) -> None:
        """Note the call."""
        self.is_closed = True


@pytest.mark.parametrize(
    ("failures", "answer", "connections"), [([0], "result", 1), ([1, 0], "result", 2), ([1, 1], "JournalError", 2)]
)
def test_query_whose_connection_was_lost_runs_once_more(failures: list[int], answer: str, connections: int) -> None:
    calls = ReactorCalls()
    opened: list[FakeConnection] = []

    def connect() -> FakeConnection:
        opened.append(FakeConnection(failures[len(opened)]))
        return opened[-1]

    queries = QueryThread(connect, calls.queue.put, time.perf_counter, lambda _: True)
    answers: list[object] = []
    queries.submit(Kind.READ, FakeConnection.query, answers.append)
    calls.run_until(lambda: bool(answers))
    queries.close()
    if answer == "JournalError":
        assert isinstance(answers[0], JournalError)
        assert str(answers[0]) == "the journal cannot be read: the connection was lost"
    else:
        assert answers == [answer]
    assert len(opened) == connections
    assert all(connection.is_closed for connection in opened)
