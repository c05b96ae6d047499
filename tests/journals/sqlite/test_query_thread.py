"""The query thread answers every query, survives every error, and limits its queue."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from broadcast.core.errors import JournalError
from broadcast.core.events import Stored
from broadcast.journals.sqlite import query_thread, room_log
from broadcast.journals.sqlite.journal import FILE, SqliteJournal
from broadcast.journals.sqlite.query_thread import Kind, QueryThread
from tests.journals.contract import TIMEOUT, Harness
from tests.journals.sqlite.support import open_file, open_sqlite, wait_until


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Harness]:
    """A journal with two lines."""
    with open_sqlite(tmp_path) as harness:
        harness.append_texts("ab")
        yield harness


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk\nI/O error"), MemoryError("too\nmuch")])
@pytest.mark.parametrize(("module", "function"), [(room_log, "fetch"), (query_thread, "connect")])
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
    queries = QueryThread(tmp_path / FILE, run.calls.queue.put, lambda: None)
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
    queries = QueryThread(tmp_path / FILE, run.calls.queue.put, lambda: None)
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
    queries = QueryThread(tmp_path / FILE, run.calls.queue.put, lambda: None)
    rests: list[float] = []
    monkeypatch.setattr(queries, "_rest", rests.append)
    queried: list[int] = []
    answers: list[object] = []
    clock = count()  # each look at it takes a second
    monkeypatch.setattr(query_thread, "perf_counter", lambda: float(next(clock)))

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
    queries = QueryThread(tmp_path / FILE, run.calls.queue.put, lambda: None)
    answers: list[object] = []
    queries.submit(Kind.READ, lambda _: [], answers.append)
    call = run.calls.queue.get(timeout=TIMEOUT)
    queries.close()
    call()
    assert answers == [[]]
    queries = QueryThread(tmp_path / FILE, run.calls.queue.put, lambda: None)
    queries.submit(Kind.READ, lambda _: [], answers.append)
    run.calls.run_until(lambda: len(answers) == 2)
    queries.close()


def test_unfinished_query_is_answered_at_close(run: Harness, tmp_path: Path) -> None:
    queries = QueryThread(tmp_path / FILE, run.calls.queue.put, lambda: None)
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
