"""For tests of the index: it grows when the test says so, not when there is quiet."""

from __future__ import annotations

import sqlite3

import pytest

from broadcast.journals.sqlite import commit_thread as writer
from broadcast.journals.sqlite.journal import SqliteJournal
from tests.journals.contract import Harness


def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is indexed but by ``index_all`` and the like, nor is anything else done while nothing comes in."""
    monkeypatch.setattr(writer, "INDEX_AFTER_IDLE", 3600.0)
    monkeypatch.setattr(writer, "PROBE_SECONDS", 3600.0)


def writer_of(run: Harness) -> writer.CommitThread:
    assert isinstance(run.journal, SqliteJournal)
    assert run.journal._commit_thread is not None
    return run.journal._commit_thread


def connection_of(run: Harness) -> sqlite3.Connection:
    db = writer_of(run)._db
    assert db is not None
    return db


def index_all(run: Harness, spare: int = 0) -> None:
    """Index all lines but the last *spare*, in place of the writer's thread, which waits for an event."""
    if isinstance(run.journal, SqliteJournal) and run.journal._commit_thread is not None:
        index, db, last = writer_of(run)._indexer, connection_of(run), writer_of(run)._last - spare
        while index.due(last):
            index.step(db, last)
