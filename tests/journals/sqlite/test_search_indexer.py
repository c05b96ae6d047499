"""The search index grows in small steps after the commit, holds each line once, and storing works without it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broadcast.core.errors import JournalDamaged, JournalError
from broadcast.core.search_query import MAX_QUERY_CHARS, parse_query
from broadcast.journals import full_text
from broadcast.journals.memory import MemoryJournal
from broadcast.journals.sqlite import commit_thread, search_indexer
from broadcast.journals.sqlite.database import connect
from broadcast.journals.sqlite.journal import FILE, SqliteJournal
from broadcast.journals.sqlite.search_indexer import Search, SearchIndexer
from tests.journals.contract import LONG, Harness, message, open_journal
from tests.journals.sqlite.support import (
    commit_thread_of,
    connection_of,
    create_old,
    index_all,
    index_on_demand,
    open_file,
    open_sqlite,
    wait_until,
    write_until_killed,
)

FAST_INDEXING = """
commit_thread.INDEX_AFTER_IDLE, commit_thread.INDEX_EVERY_BATCHES, commit_thread.INDEX_BACKLOG = 0.0, 1, 0
search_indexer.STEP_ROWS = 7
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Harness]:
    """An empty journal that is indexed on demand."""
    index_on_demand(monkeypatch)
    with open_sqlite(tmp_path) as harness:
        yield harness


def indexed_to(folder: Path) -> int:
    with open_file(folder) as db:
        return int(db.execute("SELECT upto FROM indexed").fetchone()[0])


def check_index(folder: Path) -> int:
    """Check that the index holds each line up to ``upto`` once and nothing else, and return ``upto``."""
    upto = indexed_to(folder)
    with open_file(folder) as db:
        db.execute("CREATE VIRTUAL TABLE temp.vocabulary USING fts5vocab(main, words, instance)")
        indexed = db.execute(
            "SELECT doc, group_concat(term, ' ') FROM (SELECT * FROM vocabulary ORDER BY doc, offset)"
            " GROUP BY doc ORDER BY doc"
        ).fetchall()
        assert indexed == db.execute("SELECT seq, text FROM events WHERE seq <= ? ORDER BY seq", (upto,)).fetchall()
    return upto


def test_idle_commit_thread_indexes_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_thread, "INDEX_AFTER_IDLE", 0.0)
    with open_sqlite(tmp_path) as run:
        run.append_texts(f"line {number}" for number in range(1000))
        wait_until(lambda: indexed_to(tmp_path) == 1000)
        wait_until(lambda: not commit_thread_of(run)._indexer.due())
        run.append_texts(["line 1001"])
        wait_until(lambda: indexed_to(tmp_path) == 1001)
        assert run.matches("1001") == [1001]
    assert check_index(tmp_path) == 1001


def test_busy_commit_thread_indexes_a_large_backlog(
    run: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_thread, "INDEX_BACKLOG", 10)
    monkeypatch.setattr(commit_thread, "INDEX_EVERY_BATCHES", 3)
    for number in range(13):
        run.append_texts([f"line {number}"])
    wait_until(lambda: indexed_to(tmp_path) == 12)  # the backlog exceeds 10 at batch 12, but not at batch 3, 6 or 9
    assert check_index(tmp_path) == 12


def test_step_indexes_a_few_lines_and_a_later_step_merges(run: Harness, tmp_path: Path) -> None:
    run.append_texts(f"line {number}" for number in range(600))
    indexer, behind = commit_thread_of(run)._indexer, SearchIndexer(connection_of(run))
    progress = []
    while indexer.due():
        indexer.step(connection_of(run))
        progress.append(indexed_to(tmp_path))
    assert sorted(set(progress)) == [search_indexer.STEP_ROWS, 2 * search_indexer.STEP_ROWS, 600]
    assert len(progress) >= 6  # each indexing step is followed by a merging step
    assert check_index(tmp_path) == 600

    while behind.due():  # as after a step that succeeded and was reported as failed
        behind.step(connection_of(run))
    assert check_index(tmp_path) == 600


def test_many_steps_leave_few_segments(run: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_indexer, "STEP_ROWS", 2)
    run.append_texts(f"line {number}" for number in range(600))
    index_all(run)
    (segments,) = connection_of(run).execute("SELECT count(DISTINCT segid) FROM words_idx").fetchone()
    assert segments < 20
    assert run.matches("599 line") == [600]


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk I/O error"), MemoryError()])
def test_error_while_indexing_loses_no_line_and_indexing_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    with open_sqlite(tmp_path) as run:
        with monkeypatch.context() as patch:
            patch.setattr(commit_thread, "INDEX_AFTER_IDLE", 0.0)
            patch.setattr(SearchIndexer, "step", fail)
            assert run.append_texts("a") == [message("a", 1)]
            wait_until(lambda: commit_thread_of(run)._connection.db is None)
        assert run.matches("a") == [1]
        assert run.append_texts("b") == [message("b", 2)]
        wait_until(lambda: indexed_to(tmp_path) == 2)
    assert check_index(tmp_path) == 2


def test_disconnected_commit_thread_does_not_index(run: Harness) -> None:
    run.append_texts("a")
    commit_thread_of(run)._connection.disconnect()
    assert not commit_thread_of(run)._index_step()
    assert run.append_texts("b") == [message("b", 2)]
    assert commit_thread_of(run)._index_step()


def test_journal_without_index_is_searchable_and_gets_indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_old(tmp_path / FILE, 1, 10_000)
    with monkeypatch.context() as patch:
        index_on_demand(patch)
        with open_sqlite(tmp_path) as run:
            assert indexed_to(tmp_path) == 0
            assert run.matches("WORD7", limit=3) == [7007, 8007, 9007]
            assert len(run.search("word7")) == 10
    with open_sqlite(tmp_path) as run:
        wait_until(lambda: indexed_to(tmp_path) == 10_000)
        assert len(run.search("word7")) == 10
        assert run.matches("everywhere", limit=2) == [9999, 10_000]
    assert check_index(tmp_path) == 10_000


def test_search_in_several_steps_follows_the_growing_index(
    run: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, rows in (("UNINDEXED_ROWS", 3), ("SCAN_ROWS", 5), ("STEP_ROWS", 1)):
        monkeypatch.setattr(search_indexer, name, rows)
    run.append_texts("odd" if number % 2 else "even" for number in range(1, 41))
    for last in range(41):
        assert run.matches("odd", last=last) == list(range(1, last + 1, 2))
    search, answer, steps = Search(parse_query("odd"), 0, 10**30, 50), None, 0
    with closing(connect(tmp_path / FILE, writing=False)) as reading:
        while answer is None:
            answer = search(reading)
            commit_thread_of(run)._indexer.step(connection_of(run))
            steps += 1
    assert [event.seq for event in answer] == list(range(1, 41, 2))
    assert steps > 8


def test_after_kill_9_the_index_holds_each_line_once_and_catches_up(tmp_path: Path) -> None:
    progress = []
    for batches in (1, 5, 40, 100, 300):
        write_until_killed(tmp_path, batches, 5, FAST_INDEXING)
        progress.append(check_index(tmp_path))
    assert progress == sorted(progress)
    assert progress[-1] > 0
    with open_sqlite(tmp_path, tail=1) as run:
        last = run.tail[0].seq
        wait_until(lambda: indexed_to(tmp_path) == last)
    assert check_index(tmp_path) == last


# Errors


def test_journal_without_fts5_stores_and_reports_on_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(full_text, "FTS", "none_such")
        with open_journal(MemoryJournal) as run:
            run.append_texts("a")
            assert str(run.try_search(parse_query("a"), 1, 1)) == "its SQLite has no FTS5."
        with open_sqlite(tmp_path) as run:
            assert run.append_texts("a") == [message("a", 1)]
            assert not commit_thread_of(run)._indexer.due()
            answer = run.try_search(parse_query("a"), 1, 1)
            assert isinstance(answer, JournalError)
            assert str(answer) == "its SQLite has no FTS5."
            assert len(run.read(1, 1)) == 1
    with open_sqlite(tmp_path) as run:  # an SQLite with FTS5 indexes what was stored without it
        assert run.matches("a") == [1]
        wait_until(lambda: indexed_to(tmp_path) == 1)


def test_other_errors_are_not_mistaken_for_missing_fts5() -> None:
    class Locked:
        def execute(self, statement: str) -> None:
            if statement.startswith("CREATE"):
                error = sqlite3.OperationalError("database is locked")
                error.sqlite_errorcode = sqlite3.SQLITE_BUSY
                raise error

    locked: Any = Locked()
    with pytest.raises(sqlite3.OperationalError):
        full_text.make_scratch(locked)


def test_undo_outside_a_transaction_does_nothing(run: Harness) -> None:
    db = connection_of(run)
    db.execute("BEGIN")
    for _ in range(2):
        search_indexer._undo(db)
        assert not db.in_transaction


def close_and_execute(run: Harness, folder: Path, *statements: str) -> None:
    """Store and index one line, close the journal, and execute *statements* on its file."""
    run.append_texts("a")
    index_all(run)
    run.journal.close()
    with open_file(folder) as db:
        for statement in statements:
            db.execute(statement)


def test_unreadable_index_does_not_prevent_storing(run: Harness, tmp_path: Path) -> None:
    damage = "UPDATE words_data SET block = x'ffff'", "DELETE FROM words_config"
    close_and_execute(run, tmp_path, "PRAGMA writable_schema = ON", *damage)
    with open_sqlite(tmp_path) as again:
        assert again.append_texts("b") == [message("b", 2)]
        assert not commit_thread_of(again)._indexer.due()
        assert isinstance(again.try_search(parse_query("a"), 2, 2), JournalError)
        assert len(again.read(1, 2)) == 2


def test_indexing_stops_at_a_damaged_index_and_keeps_the_connection(run: Harness, tmp_path: Path) -> None:
    close_and_execute(run, tmp_path, "UPDATE words_data SET block = x'00' WHERE id IN (1, 10)")
    with open_sqlite(tmp_path) as again:
        again.append_texts("b")
        connection, indexer = connection_of(again), commit_thread_of(again)._indexer
        assert indexer.due()
        indexer.step(connection)
        assert not indexer.due()
        assert again.append_texts("c") == [message("c", 3)]
        assert connection_of(again) is connection


@pytest.mark.parametrize(
    "change", ["UPDATE indexed SET upto = 9", "UPDATE indexed SET upto = -1", "DELETE FROM indexed"]
)
def test_journal_with_fewer_lines_than_its_index_is_rejected(run: Harness, tmp_path: Path, change: str) -> None:
    close_and_execute(run, tmp_path, change)
    with pytest.raises(JournalDamaged, match="lacks some of its lines"):
        SqliteJournal(tmp_path, print).open("lobby", 0)


@settings(max_examples=600 if LONG else 10)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=10), st.data())
def test_answers_do_not_depend_on_the_journal_or_the_index(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], data: st.DataObject
) -> None:
    pieces = [piece for text in texts for piece in text.split()] or ["x"]
    line = " ".join(data.draw(st.lists(st.one_of(st.sampled_from(pieces), st.text()), max_size=4)))[:MAX_QUERY_CHARS]
    limit = data.draw(st.integers(1, 4))
    with pytest.MonkeyPatch.context() as patch:
        index_on_demand(patch)
        with open_journal(MemoryJournal) as run:
            run.append_texts(texts)
            expected = run.search(line, limit=limit)
        with open_sqlite(tmp_path_factory.mktemp("journal")) as run:
            run.append_texts(texts)
            for except_last in (len(texts), len(texts) // 2, 0):
                index_all(run, except_last)
                assert run.search(line, limit=limit) == expected
