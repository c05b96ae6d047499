"""A journal's file is made whole, never trusted blindly, never replaced, and brought up to date."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from broadcast.core.errors import JournalDamaged, JournalError, JournalInUse, JournalTooNew
from broadcast.core.events import Message
from broadcast.journals.sqlite import database
from broadcast.journals.sqlite.database import MIGRATIONS, connect, prepare


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of 3,000 lines, not open."""
    path = tmp_path / "journal.sqlite"
    db, _, _ = prepare(path, 0)
    with closing(db):
        db.execute("BEGIN")
        for seq in range(1, 3001):
            db.execute("INSERT INTO events VALUES (?, 1.5, 'said', 'ann', 'hello')", (seq,))
        db.execute("COMMIT")
    return path


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def somebody_elses(path: Path) -> None:
    path.unlink()
    change(path, "CREATE TABLE events (id INTEGER, name TEXT)", "PRAGMA user_version = 1")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "garbage": lambda path: path.write_bytes(b"\x9c\x01garbage" * 5000),
    "a text file": lambda path: path.write_text("hello\n"),
    "an empty file": lambda path: path.write_bytes(b""),
    "only the magic": lambda path: path.write_bytes(b"SQLite format 3\0"),
    "cut in the middle": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "the last byte missing": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "only the first page": lambda path: path.write_bytes(path.read_bytes()[:4096]),
    "magic flipped": lambda path: overwrite(path, 3, b"\xff"),
    "page size flipped": lambda path: overwrite(path, 16, b"\x33\x33"),
    "application id flipped": lambda path: overwrite(path, 68, b"\xff"),
    "schema page overwritten": lambda path: overwrite(path, 100, b"\xff" * 3000),
    "last page overwritten": lambda path: overwrite(path, path.stat().st_size - 4096, b"\xff" * 4096),
    "no table": lambda path: change(path, "DROP TABLE events"),
    "no column": lambda path: change(path, "ALTER TABLE events DROP COLUMN nick"),
    "schema version 0": lambda path: change(path, "PRAGMA user_version = 0"),
    "schema version below 0": lambda path: change(path, "PRAGMA user_version = -1"),
    "a first line missing": lambda path: change(path, "DELETE FROM events WHERE seq = 1"),
    "a recent line missing": lambda path: change(path, "DELETE FROM events WHERE seq = 2990"),
    "a number far off": lambda path: change(path, "UPDATE events SET seq = 9000000 WHERE seq = 3000"),
    "a number below one": lambda path: change(path, "UPDATE events SET seq = -1 WHERE seq = 1"),
    "an unknown kind": lambda path: change(path, "UPDATE events SET kind = 'sang' WHERE seq = 3000"),
    "bytes for text": lambda path: change(path, "UPDATE events SET text = x'ff00' WHERE seq = 3000"),
    "no UTF-8": lambda path: change(path, "UPDATE events SET text = CAST(x'ff' AS TEXT) WHERE seq = 3000"),
    "somebody else's database": somebody_elses,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_cannot_be_trusted_is_refused_by_name_with_a_remedy_and_stays_as_it_is(path: Path, damage: str) -> None:
    DAMAGE[damage](path)
    before = path.read_bytes()
    with pytest.raises(JournalDamaged) as caught:
        prepare(path, 20)
    text = str(caught.value)
    assert str(path) in text
    assert "backup" in text
    assert "\n" not in text
    assert path.read_bytes() == before


def test_a_log_without_its_database_is_not_played_into_a_new_one(path: Path) -> None:
    path.with_name("journal.sqlite-wal").write_bytes(b"frames")
    path.unlink()
    with pytest.raises(JournalDamaged, match="write-ahead log"):
        prepare(path, 0)
    assert not path.exists()


def test_a_newer_journal_is_refused_with_both_versions_and_stays_as_it_is(path: Path) -> None:
    change(path, "PRAGMA user_version = 7")
    before = path.read_bytes()
    with pytest.raises(JournalTooNew) as caught:
        prepare(path, 0)
    text = str(caught.value)
    assert str(path) in text
    assert "version 7" in text
    assert f"up to {len(MIGRATIONS)}" in text
    assert path.read_bytes() == before


def test_an_older_journal_is_brought_up_to_date_and_keeps_its_lines(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = ("ALTER TABLE events ADD COLUMN room TEXT", "CREATE TABLE notes (note TEXT)"), ("DROP TABLE notes",)
    monkeypatch.setattr(database, "MIGRATIONS", [*MIGRATIONS, *newer])
    db, recent, last = prepare(path, 1)
    with closing(db):
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 2,)
        assert [row[1] for row in db.execute("PRAGMA table_info(events)")][-1] == "room"
    assert (recent, last) == ([Message(0, "ann", "hello", 1.5, 3000)], 3000)


def test_a_migration_that_fails_leaves_the_version_before_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = ("CREATE TABLE notes (note TEXT)",), ("DROP TABLE notes", "no SQL at all")
    with monkeypatch.context() as patch:
        patch.setattr(database, "MIGRATIONS", [*MIGRATIONS, *bad])
        with pytest.raises(JournalError, match=f"to schema version {len(MIGRATIONS) + 2}: ") as caught:
            prepare(path, 0)
    assert not isinstance(caught.value, JournalDamaged)
    with closing(connect(path, writing=False)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
        assert db.execute("SELECT count(*) FROM notes").fetchone() == (0,)


def test_a_migration_of_a_damaged_journal_says_that_it_is_damaged(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overwrite(path, 4096 * 3, b"\xff" * 4096 * 4)
    monkeypatch.setattr(database, "MIGRATIONS", [*MIGRATIONS, ("UPDATE events SET nick = 'bob'",)])
    with pytest.raises(JournalDamaged):
        prepare(path, 0)


def test_a_new_journal_appears_only_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.sqlite"
    with monkeypatch.context() as patch:
        patch.setattr(database, "MIGRATIONS", [*MIGRATIONS, ("no SQL at all",)])
        with pytest.raises(JournalError):
            prepare(path, 0)
    assert not path.exists()
    db, recent, last = prepare(path, 20)  # the leftover draft is no obstacle
    db.close()
    assert (recent, last) == ([], 0)
    assert [file.name for file in tmp_path.iterdir()] == ["journal.sqlite"]


def test_a_log_that_a_crash_left_behind_is_played_in(path: Path) -> None:
    db, _, _ = prepare(path, 0)
    with closing(db):
        db.execute("INSERT INTO events VALUES (3001, 1.5, 'said', 'ann', 'late')")
        copies = [(file.name, file.read_bytes()) for file in path.parent.iterdir() if not file.name.endswith("-shm")]
    folder = path.parent / "after"
    folder.mkdir()
    for name, data in copies:
        (folder / name).write_bytes(data)
    db, recent, last = prepare(folder / path.name, 1)
    db.close()
    assert (recent, last) == ([Message(0, "ann", "late", 1.5, 3001)], 3001)


def test_a_journal_that_another_program_has_locked_is_refused_as_in_use(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database.connect, "__kwdefaults__", {"timeout": 0.01})
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalInUse) as caught:
            prepare(path, 0)
    assert str(path) in str(caught.value)


def test_a_folder_in_the_file_s_place_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    path.mkdir()
    with pytest.raises(JournalError, match="cannot use") as caught:
        prepare(path, 0)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError("odd")])
def test_a_disk_that_takes_no_new_journal_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def fsync_directory(_: Path) -> None:
        raise error

    monkeypatch.setattr(database, "fsync_directory", fsync_directory)
    with pytest.raises(JournalError, match=error.strerror or "odd"):
        prepare(tmp_path / "journal.sqlite", 0)


def test_a_database_that_cannot_be_written_is_a_clear_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(path: Path, *, writing: bool) -> sqlite3.Connection:
        return connect(path, writing=False)

    monkeypatch.setattr(database, "connect", read_only)
    with pytest.raises(JournalError, match="readonly") as caught:
        prepare(path, 0)
    assert not isinstance(caught.value, (JournalDamaged, JournalInUse))


def test_a_file_system_without_a_log_is_refused() -> None:
    with closing(sqlite3.connect(":memory:")) as memory, pytest.raises(JournalError, match="write-ahead log"):
        database._make_durable(memory)


def test_connecting_never_makes_a_file(tmp_path: Path) -> None:
    for writing in (False, True):
        with pytest.raises(sqlite3.OperationalError):
            connect(tmp_path / "none", writing=writing)
    assert list(tmp_path.iterdir()) == []
