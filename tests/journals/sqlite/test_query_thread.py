"""Reading goes on after every fault, and its queue has an end."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from broadcast.core.errors import JournalError
from broadcast.core.events import Stored
from broadcast.journals.sqlite import journal as sqlite
from broadcast.journals.sqlite import query_thread as reader
from broadcast.journals.sqlite.journal import FILE, SqliteJournal
from broadcast.journals.sqlite.query_thread import QueryThread
from tests.journals.contract import PATIENCE, Harness, Turns, opened, said


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Harness]:
    turns = Turns()
    with opened(SqliteJournal(tmp_path, turns.wake), turns) as harness:
        harness.append(said("a"), said("b"))
        yield harness


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk\nI/O error"), MemoryError("too\nmuch")])
def test_a_fault_is_the_answer_in_one_line_and_the_next_question_is_answered(
    run: Harness, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fetch(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "fetch", fetch)
        answer = run.ask(1, 2)
    assert isinstance(answer, JournalError)
    assert str(answer) == " ".join(f"the journal cannot be read: {error}".split())
    assert len(run.read(1, 2)) == 2


def test_a_file_that_cannot_be_opened_is_the_answer(run: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object, **__: object) -> None:
        msg = "unable to open database file"
        raise sqlite3.OperationalError(msg)

    monkeypatch.setattr(reader, "connect", connect)
    assert "unable to open" in str(run.ask(1, 2))


@pytest.mark.parametrize("change", ["kind = 'sang'", "text = x'00ff'", "text = CAST(x'ff' AS TEXT)"])
def test_a_row_that_is_no_event_is_told_and_the_others_are_read(run: Harness, tmp_path: Path, change: str) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as other, other:
        other.execute(f"UPDATE events SET {change} WHERE seq = 2")  # noqa: S608 - the test's own text
    answer = run.ask(1, 2)
    assert isinstance(answer, JournalError)
    assert str(answer).isprintable()
    assert len(run.read(1, 1)) == 1


def test_questions_beyond_the_bound_are_refused_and_all_are_answered(
    run: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "MAX_PENDING", 0)
    assert "too many" in str(run.ask(1, 2))
    monkeypatch.undo()
    answers: list[object] = []
    for _ in range(reader.MAX_PENDING * 2):
        run.journal.read(1, 2, answers.append)
    run.turns.until(lambda: len(answers) == reader.MAX_PENDING * 2)


def test_a_question_that_is_not_through_lets_the_others_go_first(run: Harness, tmp_path: Path) -> None:
    asked = QueryThread(tmp_path / FILE, run.turns.wake)
    order: list[str] = []
    looks: list[int] = []

    def long(_: sqlite3.Connection) -> list[Stored] | None:
        if not looks:
            asked.submit(lambda _: [], lambda _: order.append("short"))
        looks.append(1)
        return [] if len(looks) == 3 else None

    asked.submit(long, lambda _: order.append("long"))
    run.turns.until(lambda: len(order) == 2)
    asked.close()
    assert order == ["short", "long"]


def test_a_question_that_is_not_through_at_the_end_is_answered_with_that(run: Harness, tmp_path: Path) -> None:
    asked = QueryThread(tmp_path / FILE, run.turns.wake)
    answers: list[object] = []
    begun, ending = threading.Event(), threading.Event()

    def endless(_: sqlite3.Connection) -> None:
        begun.set()
        assert ending.wait(PATIENCE)

    asked.submit(endless, answers.append)
    assert begun.wait(PATIENCE)
    asked._queries.put(None)  # as close does
    ending.set()
    asked.close()
    run.turns.until(lambda: bool(answers))
    assert str(answers[0]) == "the journal is closed"


def test_reading_never_writes(run: Harness) -> None:
    run.read(1, 2)
    assert [event.text for event in run.search("a")] == ["a"]
    assert isinstance(run.journal, SqliteJournal)
    assert run.journal._query_thread is not None
    db = run.journal._query_thread._db
    assert db is not None
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("DELETE FROM events")
