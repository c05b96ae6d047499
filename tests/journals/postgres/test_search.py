"""A search in PostgreSQL finds the lines that every journal finds, whatever part of them is indexed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from threading import Thread
from typing import Any

import pytest

from broadcast.core.search_query import parse_query
from broadcast.journals.postgres import search
from broadcast.journals.postgres.database import Connection, Database
from broadcast.journals.postgres.search import Search, SearchIndexer
from tests.journals.contract import QUERIES_BY_MATCHES, SEARCHED_LINES, TIMEOUT, Harness, SearchContract
from tests.journals.postgres.support import OnPostgres
from tests.journals.sqlite.support import wait_until

Add = Callable[[str, Iterable[str]], None]


@pytest.fixture
def indexers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Database, str], SearchIndexer]]:
    """Indexers that do nothing, except when the test calls ``step``."""
    monkeypatch.setattr(search, "PAUSE_SECONDS", TIMEOUT)
    started: list[SearchIndexer] = []

    def start(database: Database, node: str) -> SearchIndexer:
        started.append(SearchIndexer(database.connect, node))
        return started[-1]

    yield start
    for indexer in started:
        indexer.close()


Start = Callable[[Database, str], SearchIndexer]


def add_lines(db: Connection, room: str, texts: Iterable[str]) -> None:
    """Add a line for each of *texts* to *room*."""
    db.execute("INSERT INTO rooms (name) VALUES (%s) ON CONFLICT DO NOTHING", (room,))
    found = db.execute("SELECT id, last FROM rooms WHERE name = %s", (room,)).fetchone()
    assert found is not None
    number, last = found
    with db.cursor().copy("COPY lines (room, seq, at, kind, session, nick, text) FROM STDIN") as copy:
        for last, text in enumerate(texts, last + 1):  # noqa: B020 -- it goes on counting
            copy.write_row((number, last, 1.5, "said", 7, "ann", text))
    db.execute("UPDATE rooms SET last = %s WHERE id = %s", (last, number))


def matches(db: Connection, line: str, room: str = "lobby", last: int = 10**30, limit: int = 50) -> list[int]:
    """Return the numbers of the lines that a search finds."""
    query = Search(parse_query(line), room, last, limit)
    while (found := query(db)) is None:
        pass
    return [event.seq for event in found]


def index_all(indexer: SearchIndexer, db: Connection) -> None:
    """Index all lines."""
    while indexer.step(db) == 0.0:
        pass


def marks(db: Connection) -> dict[str, int]:
    """Return the number of the last indexed line of each room."""
    return dict(db.execute("SELECT name, upto FROM word_marks JOIN rooms ON rooms.id = word_marks.room").fetchall())


@pytest.mark.parametrize("indexed", [0, 5, len(SEARCHED_LINES)])
def test_queries_find_the_same_lines_indexed_or_not(
    database: Database, db: Connection, indexers: Start, indexed: int
) -> None:
    lines = [text.replace("\0", "\x1a0") for text in SEARCHED_LINES]
    add_lines(db, "lobby", lines[:indexed])
    index_all(indexers(database, "a"), db)
    add_lines(db, "lobby", lines[indexed:])
    found = [(expected, {query: matches(db, query) for query in queries}) for expected, queries in QUERIES_BY_MATCHES]
    assert found == [(expected, dict.fromkeys(queries, expected)) for expected, queries in QUERIES_BY_MATCHES]


@pytest.mark.parametrize("candidates", [3, 64])
def test_index_is_searched_in_parts_and_candidates_some_at_a_time(
    database: Database, db: Connection, indexers: Start, monkeypatch: pytest.MonkeyPatch, candidates: int
) -> None:
    monkeypatch.setattr(search, "PART_ROWS", (16, 64))
    monkeypatch.setattr(search, "CANDIDATES", candidates)
    monkeypatch.setattr(search, "UNINDEXED_ROWS", 7)
    add_lines(db, "lobby", (f"line {number} {'b a' if number % 10 else 'a b'}" for number in range(1, 301)))
    add_lines(db, "kitchen", ["a b"] * 9)
    index_all(indexers(database, "a"), db)
    add_lines(db, "lobby", ["a b"] * 20)
    expected = [*range(10, 301, 10), *range(301, 321)]
    assert matches(db, '"a b"', limit=99) == expected
    assert matches(db, '"a b"', limit=25) == expected[-25:]
    assert matches(db, '"a b"', last=199, limit=2) == [180, 190]
    assert matches(db, '"a b"', last=0) == matches(db, "..") == matches(db, "line", "garden") == []
    assert matches(db, '"line 17"') == [17]
    assert matches(db, "a", "kitchen") == [*range(1, 10)]
    assert db.execute("SELECT count(*) FROM words").fetchone() == (309,)


def test_long_words_are_found_and_told_apart(database: Database, db: Connection, indexers: Start) -> None:
    words = ["x" * 5000 + end for end in "ab"]
    add_lines(db, "lobby", words)
    index_all(indexers(database, "a"), db)
    query = Search(parse_query(""), "lobby", 9, 9)
    query._query = query._query.__class__((words[1],))
    assert [event.seq for event in query(db) or []] == [2]


def test_step_indexes_some_lines_of_some_rooms(
    database: Database, db: Connection, indexers: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "STEP_ROWS", 10)
    for number in range(20):
        add_lines(db, f"room {number}", ["a"] * 3)
    add_lines(db, "lobby", ["a"] * 25)
    indexer = indexers(database, "a")
    total = 0
    while indexer.step(db) == 0.0:
        assert 0 < sum(marks(db).values()) - total <= 10
        total = sum(marks(db).values())
    assert total == 85
    assert marks(db)["lobby"] == 25


def test_one_server_at_a_time_fills_the_index(database: Database, db: Connection, indexers: Start) -> None:
    add_lines(db, "lobby", ["a"])
    first, second = indexers(database, "a"), indexers(database, "b")
    index_all(first, db)
    add_lines(db, "lobby", ["a"])
    assert second.step(db) == search.RETRY_SECONDS
    assert marks(db) == {"lobby": 1}
    db.execute("UPDATE indexing SET until = now() - interval '1 second'")
    index_all(second, db)
    assert marks(db) == {"lobby": 2}
    first._lease_until = 0.0
    assert first.step(db) == search.RETRY_SECONDS


def test_lines_are_indexed_once_if_several_servers_index_at_once(
    database: Database, db: Connection, indexers: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "STEP_ROWS", 16)
    for room in ("lobby", "kitchen"):
        add_lines(db, room, (f"word{number}" for number in range(500)))

    def work(indexer: SearchIndexer) -> None:
        indexer._lease_until = float("inf")  # as after a suspension, when it takes its lease for valid
        with database.connect() as own:
            index_all(indexer, own)

    threads = [Thread(target=partial(work, indexers(database, name))) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert marks(db) == {"lobby": 500, "kitchen": 500}
    assert db.execute("SELECT count(*), count(DISTINCT (room, seq)) FROM words").fetchone() == (1000, 1000)
    assert matches(db, "word250") == matches(db, "word250", "kitchen") == [251]


def test_thread_indexes_new_lines_and_survives_a_lost_connection(
    database: Database, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(search, "RETRY_SECONDS", 0.01)
    indexer = SearchIndexer(database.connect, "a")
    add_lines(db, "lobby", ["a"])
    wait_until(lambda: marks(db) == {"lobby": 1})
    db.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = user"
    )
    add_lines(db, "lobby", ["b"])
    wait_until(lambda: marks(db) == {"lobby": 2})
    indexer.close()
    assert matches(db, "b") == [2]


class TestIndexed(OnPostgres, SearchContract):
    """The promises about searches in lines that are indexed."""

    @pytest.fixture(autouse=True)
    def _index_before_each_search(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(search, "PAUSE_SECONDS", TIMEOUT)
        monkeypatch.setattr(search, "PART_ROWS", (64, 512))
        try_search = Harness.try_search

        def index_and_search(run: Harness, *arguments: Any) -> Any:  # noqa: ANN401 -- those of the method
            journal: Any = run.journal
            with journal._database.connect() as db:
                index_all(journal._indexer, db)
            return try_search(run, *arguments)

        monkeypatch.setattr(Harness, "try_search", index_and_search)
