"""Servers that change the same rows at once wait for each other, but never in a circle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any, NamedTuple

import pytest
from psycopg.types.json import Jsonb

from broadcast.journals.postgres.database import Connection, Database
from tests.postgres import wait_for

NAMES = ["ann", "bob", "cem", "dan"]
"""The people. The session of each is its place in the list, from 1."""


class Servers(NamedTuple):
    """Two servers, each with a connection and a thread, and the connection that makes them wait."""

    one: Connection
    two: Connection
    other: Connection
    threads: ThreadPoolExecutor

    def start(self, db: Connection, query: str, *values: object) -> Future[Any]:
        """Start *query* on *db*, and wait until it waits for a lock."""
        future = self.threads.submit(lambda: db.execute(query.encode(), values).fetchone())
        wait_for(lambda: self._is_waiting(db) or future.done(), "the call does not wait for a lock")
        assert not future.done(), future.result()
        return future

    def _is_waiting(self, db: Connection) -> bool:
        query = "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = %s AND NOT granted)"
        return self.other.execute(query, (db.info.backend_pid,)).fetchone() == (True,)


@pytest.fixture
def servers(database: Database, db: Connection) -> Iterator[Servers]:
    """The servers one and two. All people are on the first one, in the lobby."""
    db.execute("SELECT enroll('one'), enroll('two')")
    joins = [[0, "joined", session, name, 0] for session, name in enumerate(NAMES, 1)]
    db.execute("SELECT append('one', 1, 1, ARRAY['lobby'], %s)", (Jsonb(joins),))
    takes = [["take", row(session, name)] for session, name in enumerate(NAMES, 1)]
    db.execute("SELECT change_people('one', %s)", (Jsonb(takes),))
    with ExitStack() as stack:
        one, two, other = (stack.enter_context(closing(database.connect())) for _ in range(3))
        yield Servers(one, two, other, stack.enter_context(ThreadPoolExecutor()))


def row(session: int, nick: str) -> dict[str, object]:
    """Return a person for the database."""
    person: dict[str, object] = {"key": nick, "session": session, "nick": nick, "account": 0, "generation": 0}
    return person | {"away": False, "away_reason": ""}


def call_with_rooms(rooms: Sequence[str]) -> tuple[str, list[str], Jsonb]:
    """Return a call of ``append`` with a line in each of *rooms*, and its values."""
    lines = [[index, "said", 9, "zoe", "hi", 1.0, None, None] for index in range(len(rooms))]
    return "SELECT append(%s, 1, %s, %s, %s)", [*rooms], Jsonb(lines)


def lock_rooms(db: Connection) -> None:
    db.execute("INSERT INTO rooms (name) SELECT unnest(ARRAY['a', 'b', 'c'])")
    db.execute("BEGIN")
    db.execute("SELECT FROM rooms WHERE name = 'b' FOR UPDATE")


def add_room(db: Connection) -> None:
    db.execute("BEGIN")
    db.execute("INSERT INTO rooms (name) VALUES ('b')")


@pytest.mark.parametrize("begin", [lock_rooms, add_room])
def test_servers_lock_rooms_in_the_same_order(servers: Servers, begin: Callable[[Connection], None]) -> None:
    begin(servers.other)
    query, rooms, lines = call_with_rooms("bca")
    first = servers.start(servers.one, query, "one", 2, rooms, lines)
    query, rooms, lines = call_with_rooms("cab")
    second = servers.start(servers.two, query, "two", 1, rooms, lines)
    servers.other.execute("ROLLBACK")
    assert first.result()[0]["rooms"] == [[0, 0]] * 3
    assert second.result()[0]["rooms"] == [[1, 0]] * 3


@pytest.mark.parametrize("kind", ["left", "renamed"])
def test_batch_frees_nicknames_while_a_directory_changes_the_same_people(servers: Servers, kind: str) -> None:
    """In the order of the events, the batch would lock Bob before Ann, and the directory Ann before Bob."""
    servers.other.execute("BEGIN")
    servers.other.execute("SELECT FROM people WHERE nick IN ('cem', 'dan') FOR UPDATE")
    rest = {"left": ["", "", True, 0], "renamed": ["new", False]}[kind]
    events = [[0, kind, session, NAMES[session - 1], *rest] for session in (2, 3, 1)]
    batch = servers.start(servers.one, "SELECT append('one', 1, 2, ARRAY['lobby'], %s)", Jsonb(events))
    updates = [["update", row(session, NAMES[session - 1])] for session in (1, 4, 2)]
    changes = servers.start(servers.two, "SELECT change_people('one', %s)", Jsonb(updates))
    servers.other.execute("ROLLBACK")
    assert batch.result()[0]["outdated"] == {}
    assert changes.result()[0] == [None] * 3
    assert servers.other.execute("SELECT nick FROM people").fetchall() == [("dan",)]
