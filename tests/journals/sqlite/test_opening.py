"""The journal's file is created completely or not at all, checked before use, and never replaced."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from broadcast.core.errors import JournalDamaged, JournalError, JournalInUse
from broadcast.core.events import Message, Stored
from broadcast.journals.sqlite import opening, schema
from broadcast.journals.sqlite.data_dir import LastNumber
from broadcast.journals.sqlite.database import connect
from broadcast.journals.sqlite.journal import FILE
from broadcast.journals.sqlite.opening import open_database
from broadcast.journals.sqlite.schema import MIGRATIONS
from tests.journals.sqlite.support import create_old, overwrite


def open_and_close(path: Path, tail: int = 0) -> tuple[list[Stored], int]:
    prepared = open_database(path, tail)
    prepared.db.close()
    return prepared.recent, prepared.room.last


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


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
    "number 0": "UPDATE events SET seq = 0 WHERE seq = 1",
    "number below 0": "UPDATE events SET seq = -1 WHERE seq = 1",
    "line of no room": "INSERT INTO events VALUES (9 << 40, 1.5, 'said', 'ann', 'hello', NULL, 7)",
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
        open_database(path, 20)
    text = str(caught.value)
    assert str(path) in text
    assert "backup" in text
    assert "\n" not in text
    assert path.read_bytes() == before


def test_write_ahead_log_without_database_is_not_used(path: Path) -> None:
    path.with_name("journal.sqlite-wal").write_bytes(b"frames")
    path.unlink()
    with pytest.raises(JournalDamaged, match="write-ahead log"):
        open_database(path, 0)
    assert not path.exists()


def test_new_journal_appears_only_when_it_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / FILE
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", [*MIGRATIONS, ("no SQL at all",)])
        with pytest.raises(JournalError):
            open_database(path, 0)
    assert not path.exists()
    assert open_and_close(path, 20) == ([], 0)  # although the failed attempt left a draft behind
    assert [file.name for file in tmp_path.iterdir()] == [FILE]


def test_write_ahead_log_of_a_crash_is_recovered(path: Path) -> None:
    db = open_database(path, 0).db
    with closing(db):
        db.execute("INSERT INTO events (seq, at, kind, nick, text) VALUES (3001, 1.5, 'said', 'ann', 'late')")
        copies = [(file.name, file.read_bytes()) for file in path.parent.iterdir() if not file.name.endswith("-shm")]
    folder = path.parent / "after"
    folder.mkdir()
    for name, data in copies:
        (folder / name).write_bytes(data)
    assert open_and_close(folder / path.name, 1) == ([Message(0, "ann", "late", 1.5, 3001)], 3001)


def test_journal_locked_by_another_program_is_in_use(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "__kwdefaults__", {"timeout": 0.01})
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalInUse) as caught:
            open_database(path, 0)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError("odd")])
def test_error_while_creating_the_file_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def fail(_: Path) -> None:
        raise error

    monkeypatch.setattr(opening, "sync_folder", fail)
    with pytest.raises(JournalError, match=error.strerror or "odd"):
        open_database(tmp_path / FILE, 0)


def test_unusable_file_is_reported(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(JournalError, match="cannot use") as caught:
        open_database(tmp_path, 0)
    assert str(tmp_path) in str(caught.value)
    monkeypatch.setattr(opening, "connect", lambda path, **_: connect(path, writing=False))
    with pytest.raises(JournalError, match="readonly") as caught:
        open_database(path, 0)
    assert not isinstance(caught.value, (JournalDamaged, JournalInUse))


@pytest.mark.parametrize("version", [2, 3])
def test_cost_of_opening_does_not_grow_with_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    def connect_and_count(path: Path, *, writing: bool) -> sqlite3.Connection:
        db = connect(path, writing=writing)
        db.set_progress_handler(count, 1000)  # virtual machine instructions
        return db

    needed = []

    for lines in (2_000, 40_000):
        path = tmp_path / str(lines) / FILE
        path.parent.mkdir()
        create_old(path, 2, lines)
        if version == 3:
            open_database(path, 0).db.close()
        steps = 0
        with monkeypatch.context() as patch:
            patch.setattr(opening, "connect", connect_and_count)
            open_database(path, 20, LastNumber(lines, 1.0)).db.close()
        needed.append(steps)
    assert needed[1] <= needed[0] + 10
