"""Reads survive a lost connection, and report other errors in one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from broadcast.core.errors import JournalDamaged, JournalError
from broadcast.journals.postgres.database import Connection, Database
from broadcast.journals.postgres.queries import RoomRow, fetch, read_room, start_query_thread
from broadcast.journals.query_thread import Kind
from tests.journals.contract import ReactorCalls


def ask(database: Database, query: Callable[[Connection], object]) -> object:
    """Return the answer of a query thread to *query*."""
    calls = ReactorCalls()
    queries = start_query_thread(database, calls.queue.put)
    answers: list[object] = []
    queries.submit(Kind.READ, query, answers.append)
    calls.run_until(lambda: bool(answers))
    queries.close()
    return answers[0]


class Losing:
    """A query whose connection is lost the first *times*."""

    def __init__(self, times: int) -> None:
        self._times = times

    def __call__(self, db: Connection) -> str:
        """Return a result, unless the connection is lost."""
        self._times -= 1
        if self._times >= 0:
            db.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return "result"


def test_read_is_tried_once_more_after_its_connection_was_lost(database: Database) -> None:
    assert ask(database, Losing(1)) == "result"
    answer = ask(database, Losing(2))
    assert isinstance(answer, JournalError)
    assert str(answer) == "the database cannot be reached"


def test_database_that_cannot_be_reached_or_is_slow_is_an_error_in_one_line(database: Database) -> None:
    def sleep(db: Connection) -> None:
        db.execute("SET statement_timeout = '10ms'")
        db.execute("SELECT pg_sleep(60)")

    answers = [
        ask(replace(database, url="postgresql://chat@127.0.0.1:1/chat"), Losing(0)),
        ask(database, sleep),
        ask(database, lambda db: db.execute("SELECT 1 / 0")),
    ]
    assert all(isinstance(answer, JournalError) for answer in answers)
    assert [str(answer) for answer in answers] == [
        "the database cannot be reached",
        "the database takes too long",
        "the journal cannot be read: division by zero",
    ]


def test_room_without_some_of_its_lines_is_damaged(db: Connection) -> None:
    assert read_room(db, "lobby", 5) == (RoomRow(None, "", 0, 0), [])
    db.execute("INSERT INTO rooms (name, last) VALUES ('lobby', 3)")
    db.execute("INSERT INTO lines SELECT max(id), 3, 1.5, 'said', 7, 'ann', 'hi', NULL, NULL FROM rooms")
    assert [event.seq for event in read_room(db, "lobby", 1)[1]] == [3]
    with pytest.raises(JournalDamaged, match="lobby lacks some of its lines"):
        read_room(db, "lobby", 2)
    db.execute("UPDATE lines SET nick = 'server'")
    assert [event.seq for event in read_room(db, "lobby", 2)[1]] == [3]
    with pytest.raises(JournalError, match="too long"):
        read_room(db, "x" * 1001, 2)


@pytest.mark.parametrize("change", ["kind = 'sang'", "kind = 'shared'", "kind = 'shared', file = '[]'"])
def test_line_that_cannot_be_read_is_an_error(db: Connection, change: str) -> None:
    db.execute("INSERT INTO rooms (name, last) VALUES ('lobby', 1)")
    db.execute("INSERT INTO lines SELECT max(id), 1, 1.5, 'said', 7, 'ann', 'hi', NULL, NULL FROM rooms")
    db.execute(f"UPDATE lines SET {change}".encode())  # noqa: S608 -- the test's own text
    with pytest.raises(JournalDamaged, match="line #1 cannot be read"):
        fetch(db, "lobby", 1, 9)
