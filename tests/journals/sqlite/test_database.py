"""The journal's file is created completely or not at all, checked before use, never replaced, and migrated."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from broadcast.core.errors import JournalDamaged, JournalError, JournalInUse, JournalTooNew
from broadcast.core.events import Message, Stored
from broadcast.journals.sqlite import database
from broadcast.journals.sqlite.database import MIGRATIONS, connect, prepare


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed journal of 3,000 lines."""
    path = tmp_path / "journal.sqlite"
    prepare(path, 0)[0].close()
    with closing(sqlite3.connect(path)) as db, db:
        rows = ((seq,) for seq in range(1, 3001))
        db.executemany("INSERT INTO events (seq, at, kind, nick, text) VALUES (?, 1.5, 'said', 'ann', 'hello')", rows)
    return path


def prepare_and_close(path: Path, tail: int = 0) -> tuple[list[Stored], int]:
    prepared = prepare(path, tail)
    prepared.db.close()
    return prepared.recent, prepared.room.last


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def add_migrations(monkeypatch: pytest.MonkeyPatch, *migrations: Sequence[str]) -> None:
    monkeypatch.setattr(database, "MIGRATIONS", [*MIGRATIONS, *migrations])


def replace_by_foreign_database(path: Path) -> None:
    path.unlink()
    execute(path, "CREATE TABLE events (id INTEGER, name TEXT)", "PRAGMA user_version = 1")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "garbage": lambda path: path.write_bytes(b"\x9c\x01garbage" * 5000),
    "text file": lambda path: path.write_text("hello\n"),
    "empty file": lambda path: path.write_bytes(b""),
    "magic number only": lambda path: path.write_bytes(b"SQLite format 3\0"),
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "last byte missing": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "first page only": lambda path: path.write_bytes(path.read_bytes()[:4096]),
    "magic number": lambda path: overwrite(path, 3, b"\xff"),
    "page size": lambda path: overwrite(path, 16, b"\x33\x33"),
    "application id": lambda path: overwrite(path, 68, b"\xff"),
    "schema page": lambda path: overwrite(path, 100, b"\xff" * 3000),
    "name in the schema": lambda path: overwrite(
        path, path.read_bytes().index(b"CREATE TABLE rooms") + 15, b"\xff\xb1"
    ),
    "last page": lambda path: overwrite(path, path.stat().st_size - 4096, b"\xff" * 4096),
    "foreign database": replace_by_foreign_database,
}
DAMAGING_STATEMENTS: dict[str, str] = {
    "no table": "DROP TABLE events",
    "no column": "ALTER TABLE events DROP COLUMN uid",
    "schema version 0": "PRAGMA user_version = 0",
    "schema version below 0": "PRAGMA user_version = -1",
    "first line missing": "DELETE FROM events WHERE seq = 1",
    "recent line missing": "DELETE FROM events WHERE seq = 2990",
    "number far off": "UPDATE events SET seq = 9000000 WHERE seq = 3000",
    "number below one": "UPDATE events SET seq = -1 WHERE seq = 1",
    "unknown kind": "UPDATE events SET kind = 'sang' WHERE seq = 3000",
    "bytes for text": "UPDATE events SET text = x'ff00' WHERE seq = 3000",
    "invalid UTF-8": "UPDATE events SET text = CAST(x'ff' AS TEXT) WHERE seq = 3000",
}


@pytest.mark.parametrize("damage", [*DAMAGE, *DAMAGING_STATEMENTS])
def test_damaged_file_is_rejected_with_a_remedy_and_not_changed(path: Path, damage: str) -> None:
    if damage in DAMAGE:
        DAMAGE[damage](path)
    else:
        execute(path, DAMAGING_STATEMENTS[damage])
    before = path.read_bytes()
    with pytest.raises(JournalDamaged) as caught:
        prepare(path, 20)
    text = str(caught.value)
    assert str(path) in text
    assert "backup" in text
    assert "\n" not in text
    assert path.read_bytes() == before


def test_write_ahead_log_without_database_is_not_used(path: Path) -> None:
    path.with_name("journal.sqlite-wal").write_bytes(b"frames")
    path.unlink()
    with pytest.raises(JournalDamaged, match="write-ahead log"):
        prepare(path, 0)
    assert not path.exists()


def test_newer_schema_is_rejected_with_both_versions_and_not_changed(path: Path) -> None:
    execute(path, "PRAGMA user_version = 7")
    before = path.read_bytes()
    with pytest.raises(JournalTooNew) as caught:
        prepare(path, 0)
    text = str(caught.value)
    assert str(path) in text
    assert "version 7" in text
    assert f"up to {len(MIGRATIONS)}" in text
    assert path.read_bytes() == before


def test_older_schema_is_migrated_without_losing_lines(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = ("ALTER TABLE events ADD COLUMN extra TEXT", "CREATE TABLE notes (note TEXT)")
    add_migrations(monkeypatch, newer, ("DROP TABLE notes",))
    assert prepare_and_close(path, 1) == ([Message(0, "ann", "hello", 1.5, 3000)], 3000)
    with closing(connect(path, writing=False)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 2,)
        assert [row[1] for row in db.execute("PRAGMA table_info(events)")][-1] == "extra"


def test_failed_migration_is_rolled_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_migrations(monkeypatch, ("CREATE TABLE notes (note TEXT)",), ("DROP TABLE notes", "no SQL at all"))
    with pytest.raises(JournalError, match=f"to schema version {len(MIGRATIONS) + 2}: ") as caught:
        prepare(path, 0)
    assert not isinstance(caught.value, JournalDamaged)
    with closing(connect(path, writing=False)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
        assert db.execute("SELECT count(*) FROM notes").fetchone() == (0,)


def test_migration_of_a_damaged_journal_reports_the_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overwrite(path, 4096 * 3, b"\xff" * 4096 * 4)
    add_migrations(monkeypatch, ("UPDATE events SET nick = 'bob'",))
    with pytest.raises(JournalDamaged):
        prepare(path, 0)


def test_new_journal_appears_only_when_it_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.sqlite"
    with monkeypatch.context() as patch:
        add_migrations(patch, ("no SQL at all",))
        with pytest.raises(JournalError):
            prepare(path, 0)
    assert not path.exists()
    assert prepare_and_close(path, 20) == ([], 0)  # although the failed attempt left a draft behind
    assert [file.name for file in tmp_path.iterdir()] == ["journal.sqlite"]


def test_write_ahead_log_of_a_crash_is_recovered(path: Path) -> None:
    db = prepare(path, 0).db
    with closing(db):
        db.execute("INSERT INTO events (seq, at, kind, nick, text) VALUES (3001, 1.5, 'said', 'ann', 'late')")
        copies = [(file.name, file.read_bytes()) for file in path.parent.iterdir() if not file.name.endswith("-shm")]
    folder = path.parent / "after"
    folder.mkdir()
    for name, data in copies:
        (folder / name).write_bytes(data)
    assert prepare_and_close(folder / path.name, 1) == ([Message(0, "ann", "late", 1.5, 3001)], 3001)


def test_journal_locked_by_another_program_is_in_use(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database.connect, "__kwdefaults__", {"timeout": 0.01})
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalInUse) as caught:
            prepare(path, 0)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError("odd")])
def test_error_while_creating_the_file_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def fail(_: Path) -> None:
        raise error

    monkeypatch.setattr(database, "fsync_directory", fail)
    with pytest.raises(JournalError, match=error.strerror or "odd"):
        prepare(tmp_path / "journal.sqlite", 0)


def test_unusable_file_is_reported(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(JournalError, match="cannot use") as caught:
        prepare(tmp_path, 0)
    assert str(tmp_path) in str(caught.value)
    with closing(sqlite3.connect(":memory:")) as memory, pytest.raises(JournalError, match="write-ahead log"):
        database._make_durable(memory)
    monkeypatch.setattr(database, "connect", lambda path, **_: connect(path, writing=False))
    with pytest.raises(JournalError, match="readonly") as caught:
        prepare(path, 0)
    assert not isinstance(caught.value, (JournalDamaged, JournalInUse))


@pytest.mark.parametrize("writing", [False, True])
def test_connect_never_creates_a_file(tmp_path: Path, *, writing: bool) -> None:
    with pytest.raises(sqlite3.OperationalError):
        connect(tmp_path / "none", writing=writing)
    assert list(tmp_path.iterdir()) == []
