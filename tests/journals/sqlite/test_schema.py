"""A journal of an earlier version is migrated, and one of a later version is rejected."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from broadcast.core.errors import JournalDamaged, JournalError, JournalTooNew
from broadcast.core.events import Message
from broadcast.journals.sqlite import schema
from broadcast.journals.sqlite.database import connect
from broadcast.journals.sqlite.journal import FILE, SqliteJournal
from broadcast.journals.sqlite.opening import open_database
from broadcast.journals.sqlite.schema import MIGRATIONS
from tests.journals.contract import message, shared
from tests.journals.sqlite.support import (
    KITCHEN,
    create_old,
    marks_in,
    open_file,
    open_sqlite,
    overwrite,
    rooms_in,
    wait_until,
)


def add_migrations(monkeypatch: pytest.MonkeyPatch, *migrations: Sequence[str]) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", [*MIGRATIONS, *migrations])


def test_newer_schema_is_rejected_with_both_versions_and_not_changed(path: Path) -> None:
    with open_file(path.parent) as db:
        db.execute("PRAGMA user_version = 7")
    before = path.read_bytes()
    with pytest.raises(JournalTooNew) as caught:
        open_database(path, 0)
    text = str(caught.value)
    assert str(path) in text
    assert "version 7" in text
    assert f"up to {len(MIGRATIONS)}" in text
    assert path.read_bytes() == before


def test_older_schema_is_migrated_without_losing_lines(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = ("ALTER TABLE events ADD COLUMN extra TEXT", "CREATE TABLE notes (note TEXT)")
    add_migrations(monkeypatch, newer, ("DROP TABLE notes",))
    opened = open_database(path, 1)
    opened.db.close()
    assert (opened.recent, opened.room.last) == ([Message(0, "ann", "hello", 1.5, 3000)], 3000)
    with closing(connect(path, writing=False)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 2,)
        assert [row[1] for row in db.execute("PRAGMA table_info(events)")][-1] == "extra"


def test_failed_migration_is_rolled_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_migrations(monkeypatch, ("CREATE TABLE notes (note TEXT)",), ("DROP TABLE notes", "no SQL at all"))
    with pytest.raises(JournalError, match=f"to schema version {len(MIGRATIONS) + 2}: ") as caught:
        open_database(path, 0)
    assert not isinstance(caught.value, JournalDamaged)
    with closing(connect(path, writing=False)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
        assert db.execute("SELECT count(*) FROM notes").fetchone() == (0,)


def test_migration_of_a_damaged_journal_reports_the_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overwrite(path, 4096 * 3, b"\xff" * 4096 * 4)
    add_migrations(monkeypatch, ("UPDATE events SET nick = 'bob'",))
    with pytest.raises(JournalDamaged):
        open_database(path, 0)


@pytest.mark.parametrize("version", [1, 2])
def test_journal_without_rooms_becomes_the_lobby(tmp_path: Path, version: int) -> None:
    create_old(tmp_path / FILE, version, 1000)
    with open_sqlite(tmp_path, tail=1) as run:
        assert (run.last_seq, run.topic, [event.text for event in run.tail]) == (1000, "", ["word0 everywhere"])
        assert run.journal.id
        assert len(run.read(1, 2000)) == 1000
        assert (run.matches("word7"), run.matches("word997")) == ([7], [997])
        assert run.append(Message(1, "ann", "new", 1.0, uid="u")) == [Message(1, "ann", "new", 1.0, 1001, uid="u")]
        assert run.open_room("kitchen").append_texts("a") == [message("a", 1)]
        wait_until(lambda: marks_in(tmp_path) == [1001, KITCHEN + 1])
    assert rooms_in(tmp_path) == [(0, "lobby", ""), (1, "kitchen", "")]


def test_lines_of_earlier_versions_have_no_session(tmp_path: Path) -> None:
    create_old(tmp_path / FILE, 3, 2)
    new = Message(2**63 - 1, "ann", "everywhere", 1.5, 3)
    with open_sqlite(tmp_path) as run:
        assert run.append(replace(new, seq=0)) == [new]
        assert run.read(1, 3) == run.search("everywhere")
    with open_sqlite(tmp_path, tail=3) as run:
        assert [line.session for line in run.tail] == [0, 0, 2**63 - 1]
        assert run.read(1, 3) == run.tail


def test_journal_of_version_5_can_hold_files(tmp_path: Path) -> None:
    create_old(tmp_path / FILE, 5, 30)
    with open_file(tmp_path) as db:
        db.execute("INSERT INTO accounts VALUES (1, 'ann', 'a hash', '', 1.5, 2.5, '', '')")
    with open_sqlite(tmp_path, tail=1) as run:
        assert run.tail == [Message(0, "ann", "word30 everywhere", 1.5, 30)]
        assert run.read_files() == []
        assert run.append(shared("report.pdf")) == run.read_files() == [shared("report.pdf", 31)]
        assert len(run.read(1, 99)) == 31
    with open_sqlite(tmp_path, tail=1) as run:
        assert run.tail == run.read_files() == [shared("report.pdf", 31)]
        (account,) = run.journal.records.load().accounts
        assert (account.name, account.password_hash) == ("ann", "a hash")
        wait_until(lambda: marks_in(tmp_path) == [31])
        assert run.matches("report") == [31]
    with open_file(tmp_path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (6,)
        assert db.execute("SELECT kind, text FROM lines WHERE seq = 31").fetchone() == ("shared", "report.pdf")


@pytest.mark.parametrize("version", [2, 3, 5])
def test_interrupted_migration_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    statements = len(MIGRATIONS[version])
    for failing in range(statements + 1):
        folder = tmp_path / str(failing)
        folder.mkdir()
        create_old(folder / FILE, version, 10)
        with monkeypatch.context() as patch:
            migration = [*MIGRATIONS[version]]
            migration.insert(failing, "no SQL at all")
            patch.setattr(schema, "MIGRATIONS", [*MIGRATIONS[:version], migration])
            with pytest.raises(JournalError):
                SqliteJournal(folder, print).open("lobby", 0)
        with open_file(folder) as db:
            assert db.execute("PRAGMA user_version").fetchone() == (version,)
        with open_sqlite(folder) as run:
            assert run.append_texts("a") == [message("a", 11)]


def test_open_reports_a_full_disk_while_creating_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: sqlite3.Connection, *statements: str) -> None:
        error = sqlite3.OperationalError(f"disk full at {statements[0]}")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    open_database(tmp_path / FILE, 0).db.close()
    with open_file(tmp_path) as db:
        db.execute("DROP TABLE words")
    monkeypatch.setattr(schema, "_apply", fail)
    with pytest.raises(JournalError, match="disk full at CREATE VIRTUAL TABLE"):
        open_database(tmp_path / FILE, 0)
