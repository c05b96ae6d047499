"""The index grows after the acknowledgement, in small steps, holds each line once, and is never needed."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broadcast.core.errors import JournalDamaged, JournalError
from broadcast.core.search_query import MAX_QUERY_CHARS, parse_query
from broadcast.journals.memory import MemoryJournal
from broadcast.journals.sqlite import commit_thread as writer
from broadcast.journals.sqlite import database
from broadcast.journals.sqlite import search_indexer as index
from broadcast.journals.sqlite.database import prepare
from broadcast.journals.sqlite.journal import FILE, SqliteJournal
from tests.journals.contract import LONG, PATIENCE, Harness, Turns, opened, said
from tests.journals.sqlite.indexing import by_hand, connection_of, index_all, writer_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is indexed unless the test does it."""
    by_hand(monkeypatch)


@pytest.fixture
def run(tmp_path: Path, still: None) -> Iterator[Harness]:
    turns = Turns()
    with opened(SqliteJournal(tmp_path, turns.wake), turns) as harness:
        yield harness


def mark(folder: Path) -> int:
    """The last line that is indexed."""
    with closing(sqlite3.connect(folder / FILE)) as db:
        return int(db.execute("SELECT upto FROM indexed").fetchone()[0])


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def check(folder: Path) -> int:
    """See to it that the index holds just the lines up to its mark, each once; the mark."""
    with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as db:
        upto = int(db.execute("SELECT upto FROM indexed").fetchone()[0])
        db.execute("CREATE VIRTUAL TABLE temp.vocabulary USING fts5vocab(main, words, instance)")
        indexed = db.execute(
            "SELECT doc, group_concat(term, ' ') FROM (SELECT * FROM vocabulary ORDER BY doc, offset)"
            " GROUP BY doc ORDER BY doc"
        ).fetchall()
        assert indexed == db.execute("SELECT seq, text FROM events WHERE seq <= ? ORDER BY seq", (upto,)).fetchall()
        return upto


def test_where_there_is_quiet_all_that_was_kept_is_indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "INDEX_AFTER_IDLE", 0.0)
    turns = Turns()
    with opened(SqliteJournal(tmp_path, turns.wake), turns) as run:
        run.append(*(said(f"line {number}") for number in range(1000)))
        until(lambda: mark(tmp_path) == 1000)
        until(lambda: not writer_of(run)._indexer.due(1000))
        run.append(said("line 1001"))
        until(lambda: mark(tmp_path) == 1001)
        assert [event.seq for event in run.search("1001")] == [1001]
    assert check(tmp_path) == 1001


def test_a_step_indexes_a_few_lines_and_then_puts_them_in_order(run: Harness, tmp_path: Path) -> None:
    run.append(*(said(f"line {number}") for number in range(600)))
    steps = writer_of(run)._indexer
    marks = []
    while steps.due(600):
        steps.step(connection_of(run), 600)
        marks.append(mark(tmp_path))
    assert sorted(set(marks)) == [index.STEP_ROWS, 2 * index.STEP_ROWS, 600]
    assert len(marks) >= 6  # a look after each whether anything is to be merged
    assert check(tmp_path) == 600


def test_many_steps_leave_few_segments(run: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "STEP_ROWS", 2)
    run.append(*(said(f"line {number}") for number in range(600)))
    index_all(run)
    (segments,) = connection_of(run).execute("SELECT count(DISTINCT segid) FROM words_idx").fetchone()
    assert segments < 20
    assert [event.seq for event in run.search("599 line")] == [600]


def test_under_load_without_a_pause_it_is_indexed_too(
    run: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "INDEX_BACKLOG", 10)
    monkeypatch.setattr(writer, "INDEX_EVERY_BATCHES", 3)
    for number in range(13):
        run.append(said(f"line {number}"))
    until(lambda: mark(tmp_path) == 12)  # at batch 12 more than 10 were waiting, and neither at batch 3 nor 9
    assert check(tmp_path) == 12


def test_a_step_that_took_place_and_was_reported_as_failed_is_not_taken_twice(run: Harness, tmp_path: Path) -> None:
    run.append(*(said(f"line {number}") for number in range(700)))
    again = index.SearchIndexer(connection_of(run))
    index_all(run)
    while again.due(700):
        again.step(connection_of(run), 700)
    assert check(tmp_path) == 700


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk I/O error"), MemoryError()])
def test_a_fault_while_indexing_harms_no_line_and_with_the_next_one_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    failed: list[int] = []

    def step(self: index.SearchIndexer, db: sqlite3.Connection, last: int) -> None:
        failed.append(last)
        raise error

    turns = Turns()
    with opened(SqliteJournal(tmp_path, turns.wake), turns) as run:
        with monkeypatch.context() as patch:
            patch.setattr(writer, "INDEX_AFTER_IDLE", 0.0)
            patch.setattr(index.SearchIndexer, "step", step)
            assert run.append(said("a")) == [said("a").with_seq(1)]
            until(lambda: bool(failed))
            until(lambda: writer_of(run)._db is None)
        assert [event.seq for event in run.search("a")] == [1]
        assert run.append(said("b")) == [said("b").with_seq(2)]
        until(lambda: mark(tmp_path) == 2)
    assert check(tmp_path) == 2


def test_while_the_file_cannot_be_reached_nothing_is_indexed(run: Harness) -> None:
    run.append(said("a"))
    writer_of(run)._disconnect()
    assert not writer_of(run)._index_step()
    assert run.append(said("b")) == [said("b").with_seq(2)]
    assert writer_of(run)._index_step()


def test_an_old_journal_is_indexed_after_it_was_opened_and_searched_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(database, "MIGRATIONS", database.MIGRATIONS[:1])
        patch.setattr(database, "_create_index", lambda _: None)
        patch.setattr(database, "_check_index", lambda *_: True)
        db, _, _ = prepare(tmp_path / FILE, 0)
    with closing(db):
        db.execute("BEGIN")
        for seq in range(1, 10_001):
            text = f"word{seq % 1000} everywhere"
            db.execute("INSERT INTO events VALUES (?, 1.5, 'said', 'ann', ?)", (seq, text))
        db.execute("COMMIT")
    turns = Turns()
    with monkeypatch.context() as patch:
        by_hand(patch)
        with opened(SqliteJournal(tmp_path, turns.wake), turns) as run:
            assert mark(tmp_path) == 0
            assert [event.seq for event in run.search("WORD7", most=3)] == [7007, 8007, 9007]
            assert len(run.search("word7")) == 10
    with opened(SqliteJournal(tmp_path, turns.wake), turns) as run:
        until(lambda: mark(tmp_path) == 10_000)
        assert len(run.search("word7")) == 10
        assert [event.seq for event in run.search("everywhere", most=2)] == [9999, 10_000]
    assert check(tmp_path) == 10_000


def test_a_search_goes_on_where_the_index_has_come_to_meanwhile(run: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "UNINDEXED_ROWS", 3)
    monkeypatch.setattr(index, "SCAN_ROWS", 5)
    monkeypatch.setattr(index, "STEP_ROWS", 1)
    run.append(*(said("odd" if number % 2 else "even") for number in range(1, 41)))
    for last in range(41):
        assert [event.seq for event in run.search("odd", last=last)] == list(range(1, last + 1, 2))
    question = index.Search(parse_query("odd"), 10**30, 50)
    steps, answer, looks = writer_of(run)._indexer, None, 0
    reading = database.connect(Path(connection_of(run).execute("PRAGMA database_list").fetchone()[2]), writing=False)
    with closing(reading):
        while answer is None:
            answer = question(reading)
            steps.step(connection_of(run), 40)
            looks += 1
    assert [event.seq for event in answer] == list(range(1, 41, 2))
    assert looks > 8


STREAM = """
import os, pathlib, queue, sys
from broadcast.core.events import Message
from broadcast.journals.sqlite import search_indexer as index
from broadcast.journals.sqlite import commit_thread as writer
from broadcast.journals.sqlite.journal import SqliteJournal
writer.INDEX_AFTER_IDLE, writer.INDEX_EVERY_BATCHES, writer.INDEX_BACKLOG, index.STEP_ROWS = 0.0, 1, 0, 7
calls = queue.SimpleQueue()
journal = SqliteJournal(pathlib.Path(sys.argv[1]), calls.put)
journal.open(0)
def told(events):
    for _ in events:
        journal.append(Message(1, "ann", "x y z", 1.0))
    os.write(1, b"%d\\n" % events[-1].seq)
journal.subscribe(told)
for _ in range(5):
    journal.append(Message(1, "ann", "x y z", 1.0))
while True:
    calls.get()()
"""


def test_after_kill_9_no_line_is_missing_in_the_index_or_there_twice_and_it_catches_up(tmp_path: Path) -> None:
    marks = []
    for lines in (1, 5, 40, 100, 300):
        command = [sys.executable, "-c", STREAM, str(tmp_path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as server:  # noqa: S603
            assert server.stdout is not None
            for _ in range(lines):
                assert server.stdout.readline()
            server.kill()
            server.stdout.read()
        marks.append(check(tmp_path))
    assert marks == sorted(marks)
    assert marks[-1] > 0
    turns = Turns()
    with opened(SqliteJournal(tmp_path, turns.wake), turns, tail=1) as run:
        last = run.tail[0].seq
        until(lambda: mark(tmp_path) == last)
    assert check(tmp_path) == last


# What it cannot do


def test_without_fts5_the_journal_keeps_and_a_search_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns()
    with monkeypatch.context() as patch:
        patch.setattr(database, "FTS", "none_such")
        with opened(SqliteJournal(tmp_path, turns.wake), turns) as run:
            assert run.append(said("a")) == [said("a").with_seq(1)]
            assert not writer_of(run)._indexer.due(1)
            answer = run.search_for(parse_query("a"), 1, 1)
            assert isinstance(answer, JournalError)
            assert str(answer) == "its SQLite has no FTS5."
            assert len(run.read(1, 1)) == 1
    with opened(SqliteJournal(tmp_path, turns.wake), turns) as run:  # and with an SQLite that has it, it catches up
        assert [event.seq for event in run.search("a")] == [1]
        until(lambda: mark(tmp_path) == 1)


def test_the_journal_in_memory_says_so_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "FTS", "none_such")
    turns = Turns()
    with opened(MemoryJournal(turns.wake), turns) as run:
        run.append(said("a"))
        assert str(run.search_for(parse_query("a"), 1, 1)) == "its SQLite has no FTS5."


def test_other_trouble_is_not_taken_for_a_lack_of_fts5(tmp_path: Path) -> None:
    class Locked:
        def execute(self, statement: str) -> None:
            if statement.startswith("CREATE"):
                error = sqlite3.OperationalError("database is locked")
                error.sqlite_errorcode = sqlite3.SQLITE_BUSY
                raise error

    locked: Any = Locked()
    with pytest.raises(sqlite3.OperationalError):
        index._make_scratch(locked)


def test_a_disk_without_room_for_an_index_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make_index(_: sqlite3.Connection, *statements: str) -> None:
        error = sqlite3.OperationalError(f"disk full at {statements[0]}")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    prepare(tmp_path / FILE, 0)[0].close()
    with closing(sqlite3.connect(tmp_path / FILE)) as db, db:
        db.execute("DROP TABLE words")
    monkeypatch.setattr(database, "_apply", make_index)
    with pytest.raises(JournalError, match="disk full at CREATE VIRTUAL TABLE"):
        prepare(tmp_path / FILE, 0)


def test_what_a_fault_has_undone_already_is_not_undone_again(run: Harness) -> None:
    db = connection_of(run)
    db.execute("BEGIN")
    for _ in range(2):
        index._undo(db)
        assert not db.in_transaction


def test_a_damaged_index_keeps_nobody_from_talking(run: Harness, tmp_path: Path) -> None:
    run.append(said("a"))
    index_all(run)
    run.journal.close()
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE words_data SET block = x'ffff'")
        db.execute("DELETE FROM words_config")
    turns = Turns()
    with opened(SqliteJournal(tmp_path, turns.wake), turns) as again:
        assert again.append(said("b")) == [said("b").with_seq(2)]
        assert not writer_of(again)._indexer.due(2)
        assert isinstance(again.search_for(parse_query("a"), 2, 2), JournalError)
        assert len(again.read(1, 2)) == 2


def test_an_index_that_turns_out_to_be_damaged_is_left_alone(run: Harness, tmp_path: Path) -> None:
    """Else each line would wait until the connection that has failed is made anew."""
    run.append(said("a"))
    index_all(run)
    run.journal.close()
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as db:
        db.execute("UPDATE words_data SET block = x'00' WHERE id IN (1, 10)")
    turns = Turns()
    with opened(SqliteJournal(tmp_path, turns.wake), turns) as again:
        again.append(said("b"))
        connection, work = connection_of(again), writer_of(again)._indexer
        before = work.due(2)
        work.step(connection, 2)
        assert (before, work.due(2)) == (True, False)
        assert again.append(said("c")) == [said("c").with_seq(3)]
        assert connection_of(again) is connection


@pytest.mark.parametrize(
    "change", ["UPDATE indexed SET upto = 9", "UPDATE indexed SET upto = -1", "DELETE FROM indexed"]
)
def test_a_journal_that_holds_less_than_its_index_is_refused(run: Harness, tmp_path: Path, change: str) -> None:
    run.append(said("a"))
    run.journal.close()
    with closing(sqlite3.connect(tmp_path / FILE)) as db, db:
        db.execute(change)
    with pytest.raises(JournalDamaged, match="lacks some of its lines"):
        SqliteJournal(tmp_path, Turns().wake).open(0)


# What both journals answer


@settings(max_examples=600 if LONG else 25)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=10),
    st.data(),
)
def test_indexed_or_not_and_in_memory_the_answers_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], data: st.DataObject
) -> None:
    pieces = [piece for text in texts for piece in text.split()] or ["x"]
    line = " ".join(data.draw(st.lists(st.one_of(st.sampled_from(pieces), st.text()), max_size=4)))[:MAX_QUERY_CHARS]
    most = data.draw(st.integers(1, 4))
    turns = Turns()
    answers = []
    with pytest.MonkeyPatch.context() as patch:
        by_hand(patch)
        with opened(MemoryJournal(turns.wake), turns) as run:
            run.append(*map(said, texts))
            answers.append(run.search(line, most=most))
        with opened(SqliteJournal(tmp_path_factory.mktemp("journal"), turns.wake), turns) as run:
            run.append(*map(said, texts))
            for spare in (len(texts), len(texts) // 2, 0):
                index_all(run, spare)
                answers.append(run.search(line, most=most))
    assert answers[1:] == answers[:-1]
