"""``verify`` finds what is wrong with a journal or a backup, and changes nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.admin.conftest import Run
from tests.admin.journals import contents, share_file

INTACT = "lobby: 3 lines, #1-#3\nkitchen: 1 lines, #1-#1\nThe journal is intact.\n"


def change(folder: Path, *statements: str) -> None:
    with closing(sqlite3.connect(folder / "journal.sqlite")) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


def test_an_intact_journal_is_described(run: Run, folder: Path, used_folder: Path) -> None:
    before = contents(folder)
    assert run("verify") == (0, INTACT, "")
    assert contents(folder) == before
    assert run("verify", data=used_folder) == (0, INTACT, "")


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("DELETE FROM events WHERE seq = 2", "lobby: #2 is missing"),
        ("DELETE FROM events WHERE seq = 1", "lobby: #1 is missing"),
        ("UPDATE events SET kind = 'sung' WHERE seq = 2", "lobby: the journal's line #2 cannot be read"),
        ("UPDATE events SET nick = X'00' WHERE seq = 2", "lobby: the journal's line #2 cannot be read"),
        ("INSERT INTO events SELECT 9 << 40 | 1, at, kind, nick, text, uid, session FROM events WHERE seq = 1",
         f"the line with the key {9 << 40 | 1} belongs to no room"),
        ("UPDATE events SET kind = 'shared' WHERE seq = 2", "lobby: the journal's line #2 cannot be read"),
        ("UPDATE indexed SET upto = 99 WHERE upto < 99", "lobby: the mark of the search index is wrong"),
        ("UPDATE accounts SET created = 'noon'", "the journal's table accounts cannot be read"),
        ("UPDATE private_lines SET at = 'noon'", "the journal's table private_lines cannot be read"),
        ("UPDATE audit SET at = 'noon'", "the journal's table audit cannot be read"),
    ],
)  # fmt: skip
def test_problems_are_listed(run: Run, folder: Path, statement: str, problem: str) -> None:
    change(folder, "DROP TRIGGER IF EXISTS indexing", statement)
    before = contents(folder)
    ended = run("verify")
    assert ended.status == 4
    assert problem in ended.out
    assert ended.error == (
        f"broadcast-admin: {folder / 'journal.sqlite'} is damaged: restore a backup, or save what is readable\n"
    )
    assert contents(folder) == before


def test_a_journal_with_a_file_is_intact_and_so_is_its_backup(run: Run, folder: Path, tmp_path: Path) -> None:
    change(folder, *share_file(3))
    assert run("verify") == (0, INTACT, "")
    run("backup", str(tmp_path / "copy"))
    assert run("verify", str(tmp_path / "copy")) == (0, INTACT, "")
    change(folder, "DELETE FROM files")
    assert "lobby: the journal's line #3 cannot be read" in run("verify").out


def test_missing_lines_at_the_end_are_found(run: Run, folder: Path) -> None:
    (folder / "journal.last").write_bytes(b"9 lobby\n")
    assert run("verify").out == "lobby: #4-#9 are missing\n"
    (folder / "journal.last").write_bytes(b"9 attic\n")
    assert run("verify").out == "attic: #1-#9 are missing\n"


def test_lines_that_the_server_has_marked_as_missing_are_no_problem(run: Run, folder: Path) -> None:
    change(folder, "DELETE FROM events WHERE seq = 1", "UPDATE events SET nick = 'server' WHERE seq = 2")
    assert run("verify").status == 0


def test_a_backup_is_verified(run: Run, folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    run("backup", str(copy))
    (folder / "journal.last").write_bytes(b"9 lobby\n")
    assert run("verify", str(copy)) == (0, INTACT, "")
    copy.write_bytes(copy.read_bytes()[:-4096])
    ended = run("verify", str(copy))
    assert ended.status == 4
    assert "is truncated" in ended.error
    assert "move" not in ended.error
    assert run("verify", str(tmp_path / "missing")).status == 3


def test_advice_about_a_damaged_backup_is_not_to_restore_it(run: Run, folder: Path, tmp_path: Path) -> None:
    change(folder, "DELETE FROM events WHERE seq = 2")
    assert run("verify").error.endswith(" is damaged: restore a backup, or save what is readable\n")
    run("backup", str(tmp_path / "copy"))
    assert run("verify", str(tmp_path / "copy")).error.endswith("copy is damaged: use another backup\n")


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"hello\n", "is not an SQLite database"), (b"", "is not an SQLite database"), (None, "is a database, but not a")],
)
def test_a_file_that_is_no_journal_is_reported_without_advice_about_the_folder_of_a_server(
    run: Run, tmp_path: Path, content: bytes | None, why: str
) -> None:
    other = tmp_path / "other"
    if content is None:
        with closing(sqlite3.connect(other)) as db:
            db.execute("CREATE TABLE other (x)")
    else:
        other.write_bytes(content)
    ended = run("verify", str(other))
    assert ended.status == 4
    assert ended.error.startswith(f"broadcast-admin: {other} {why}")
    assert ended.error.endswith(": this file is no journal of this program, or a damaged one\n")
    assert "move" not in ended.error


def test_a_journal_of_an_earlier_version_is_verified(run: Run, folder: Path) -> None:
    change(folder, "PRAGMA user_version = 5", "DROP TABLE files")
    assert run("verify").status == 0
    change(folder, "PRAGMA user_version = 4", "DROP TABLE accounts")
    assert run("verify").status == 0
    change(folder, "PRAGMA user_version = 1")
    assert run("verify") == (0, "The journal is intact.\n", "")
