"""The records of an SQLite journal fulfil the contract, survive faults, and belong to every later start."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import nan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broadcast.core.errors import JournalDamaged, JournalError
from broadcast.core.events import Message, StoreFailed
from broadcast.core.records import (
    AddAudit,
    AddPrivate,
    AuditEntry,
    ChangeAccount,
    DeleteAccount,
    DeleteBan,
    MarkDelivered,
    RecordChange,
    SaveAccount,
    SaveBan,
    StoredRecords,
)
from broadcast.journals.memory import MemoryJournal
from broadcast.journals.sqlite.journal import FILE
from tests.journals.contract import LONG, Harness, message, open_journal
from tests.journals.records_contract import (
    ADDRESS_BAN,
    ANN,
    BAN,
    BOB,
    EMPTY,
    RecordsContract,
    RecordsHarness,
    ids,
    private,
)
from tests.journals.sqlite.support import (
    WRITE_ERROR,
    append_stored,
    break_connection,
    commit_thread_of,
    connection_of,
    create_old,
    open_file,
    open_sqlite,
    prevent_connecting,
    stored_in,
)

ENTRY = AuditEntry(1.5, "ann", "kick", "bob", "why")
ONE_OF_EACH: list[RecordChange] = [
    SaveAccount(ANN),
    SaveBan(ADDRESS_BAN),
    DeleteBan(1),
    AddAudit(ENTRY),
    AddPrivate(private(3, 1, 2)),
    MarkDelivered(1, [2, 3]),
    DeleteAccount(2),
]
TABLES = ["accounts", "bans", "audit", "private_lines"]


class TestSqliteRecords(RecordsContract):
    @contextmanager
    def fresh(self) -> Iterator[Harness]:
        with TemporaryDirectory() as folder, open_sqlite(Path(folder)) as run:
            yield run


def rows_in(folder: Path) -> list[list[tuple[object, ...]]]:
    """Return the rows of all tables of records."""
    with open_file(folder) as db:
        return [db.execute(f"SELECT * FROM {table} ORDER BY id").fetchall() for table in TABLES]  # noqa: S608 - constant


@pytest.fixture
def records(run: Harness) -> RecordsHarness:
    """The records of a journal that holds an account, a ban, and a private line in each direction."""
    records = RecordsHarness(run)
    records.write(SaveAccount(BOB), SaveBan(BAN), AddPrivate(private(1, 1, 2)), AddPrivate(private(2, 2, 1)))
    return records


def test_records_are_there_after_a_restart(tmp_path: Path) -> None:
    with open_sqlite(tmp_path) as run:
        RecordsHarness(run).write(SaveAccount(ANN), SaveAccount(BOB), SaveBan(BAN), AddPrivate(private(1, 1, 2)))
        RecordsHarness(run).write(DeleteAccount(1), DeleteBan(1), AddAudit(ENTRY))
    with open_sqlite(tmp_path) as run:
        records = RecordsHarness(run)
        assert records.loaded == StoredRecords([BOB], [], 3, 2, 2, {2: {1: 0}})
        assert ids(records.waiting(2)) == [1]
        assert records.audit() == [ENTRY]


def test_write_before_close_is_stored(tmp_path: Path) -> None:
    with open_sqlite(tmp_path) as run:
        run.journal.records.write([SaveAccount(ANN)], lambda _: None)
    with open_sqlite(tmp_path) as run:
        assert run.journal.records.load().accounts == [ANN]


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_journal_of_an_earlier_version_has_no_records_and_takes_some(tmp_path: Path, version: int) -> None:
    create_old(tmp_path / FILE, version, 10)
    for _ in range(2):
        with open_sqlite(tmp_path) as run:
            records = RecordsHarness(run)
            assert records.loaded in (EMPTY, StoredRecords([ANN], [], next_account=2))
            assert run.last_seq == 10
            records.write(SaveAccount(ANN))


def test_view_of_lines_shows_no_private_lines(records: RecordsHarness, tmp_path: Path) -> None:
    assert len(records.private(1)) == 2
    with open_file(tmp_path) as db:
        assert db.execute("SELECT * FROM lines").fetchall() == []
        assert db.execute("SELECT count(*) FROM words WHERE words MATCH 'psst'").fetchone() == (0,)


@pytest.mark.usefixtures("no_indexing")
@pytest.mark.parametrize("after", [False, True], ids=["before execution", "after execution"])
@pytest.mark.parametrize("change", ONE_OF_EACH, ids=lambda change: type(change).__name__)
def test_failed_change_is_not_in_the_file_and_can_be_made_again(
    run: Harness, records: RecordsHarness, tmp_path: Path, change: RecordChange, *, after: bool
) -> None:
    before = rows_in(tmp_path)
    break_connection(run, after=after)
    assert str(records.try_write(change)) == WRITE_ERROR
    assert rows_in(tmp_path) == before
    append_stored(run, "a", 1)
    records.write(change)
    assert rows_in(tmp_path) != before


class CommitFailsAfterwards:
    """A connection whose COMMIT takes effect, and then raises an error."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:  # noqa: ANN401
        cursor = self._db.execute(statement, *values)
        if statement == "COMMIT":
            raise sqlite3.OperationalError("disk\nI/O  error")
        return cursor

    def close(self) -> None:
        self._db.close()


@pytest.mark.usefixtures("no_indexing")
@pytest.mark.parametrize("reachable", [True, False], ids=["undone at once", "undone later"])
def test_committed_changes_that_were_reported_as_failed_are_undone(
    run: Harness, records: RecordsHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, reachable: bool
) -> None:
    records.write(SaveAccount(ANN))
    before = rows_in(tmp_path)
    again = [SaveAccount(BOB), *ONE_OF_EACH, AddPrivate(private(4, 3, 3)), DeleteAccount(1)]
    with monkeypatch.context() as patch:
        if not reachable:
            prevent_connecting(patch)
        failing: Any = CommitFailsAfterwards(connection_of(run))
        commit_thread_of(run)._connection.db = failing
        assert str(records.try_write(*again)) == WRITE_ERROR
        assert (rows_in(tmp_path) == before) is reachable
        assert records.private(3) == records.waiting(3) == records.search(3, "psst") == []
        if not reachable:
            assert isinstance(run.append(message("lost"))[0], StoreFailed)
    append_stored(run, "a", 1)
    assert rows_in(tmp_path) == before
    assert stored_in(tmp_path) == [(1, "a")]


@pytest.mark.usefixtures("no_indexing")
def test_lines_and_records_of_one_batch_fail_alone(run: Harness, records: RecordsHarness, tmp_path: Path) -> None:
    results: list[JournalError | None] = []
    records.records.write([SaveAccount(ANN)], results.append)
    assert isinstance(run.append(Message(1, "ann", "x", nan))[0], StoreFailed)
    run.calls.run_until(lambda: bool(results))
    records.records.write([SaveAccount(replace(BOB, created=nan))], results.append)
    append_stored(run, "a", 1)
    run.calls.run_until(lambda: len(results) == 2)
    assert (results[0], str(results[1])[:30]) == (None, "the journal cannot be written:")
    assert records.records.load().accounts == [ANN, BOB]
    assert stored_in(tmp_path) == [(1, "a")]


def test_full_disk_is_reported_and_everything_before_it_stays(
    run: Harness, records: RecordsHarness, tmp_path: Path
) -> None:
    append_stored(run, "a", 1)
    before = rows_in(tmp_path)
    db = connection_of(run)
    db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
    error = records.try_write(AddPrivate(private(3, 1, 2, "x" * 100_000)), DeleteAccount(2))
    assert str(error) == "the disk is full"
    assert rows_in(tmp_path) == before
    records.write(SaveAccount(ANN))
    append_stored(run, "b", 2)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows removes no open file")
def test_change_of_a_removed_file_is_reported(run: Harness, records: RecordsHarness, tmp_path: Path) -> None:
    (tmp_path / FILE).rename(tmp_path / "elsewhere")
    assert (
        str(records.try_write(SaveAccount(ANN)))
        == f"the journal cannot be written: {FILE} was removed, moved or replaced"
    )
    (tmp_path / "elsewhere").rename(tmp_path / FILE)
    records.write(SaveAccount(ANN))
    assert records.records.load().accounts == [ANN, BOB]


@pytest.mark.parametrize(
    ("table", "column"), [("accounts", "name"), ("bans", "at"), ("private_lines", "text"), ("audit", "detail")]
)
def test_damaged_row_is_reported(
    run: Harness, records: RecordsHarness, tmp_path: Path, table: str, column: str
) -> None:
    records.write(AddAudit(ENTRY))
    with open_file(tmp_path) as db:
        db.execute(f"UPDATE {table} SET {column} = x'ff'")  # noqa: S608 - constants
    results: list[object] = []
    if table in ("accounts", "bans"):
        with pytest.raises(JournalDamaged, match=f"table {table} cannot be read"):
            run.journal.records.load()
        return
    if table == "audit":
        run.journal.records.read_audit(9, results.append)
    else:
        run.journal.records.read_waiting(2, results.append)
    run.calls.run_until(lambda: bool(results))
    assert isinstance(results[0], JournalDamaged)
    assert table in str(results[0])


_small = st.integers(1, 3)
_changes = st.one_of(
    st.builds(lambda number, name: SaveAccount(type(ANN)(number, name)), _small, st.text("ab", max_size=3)),
    st.builds(DeleteAccount, _small),
    st.builds(
        lambda number, by: SaveBan(type(BAN)(number, "nickname", "k", "K", "", by, 1.0, None)), _small, st.text("ab")
    ),
    st.builds(DeleteBan, _small),
    st.builds(lambda by: AddAudit(AuditEntry(1.0, by, "kick", "x", "")), st.text("ab", max_size=3)),
    st.tuples(st.integers(0, 3), _small, st.booleans()),
    st.builds(MarkDelivered, _small, st.lists(st.integers(1, 20), max_size=3)),
    st.builds(lambda number, role: ChangeAccount(number, {"role": role}), _small, st.text("ab", max_size=3)),
)


@settings(max_examples=300 if LONG else 12, deadline=None)
@given(st.lists(st.lists(_changes, min_size=1, max_size=6), max_size=6))
def test_both_journals_hold_the_same_after_the_same_changes(
    writes: list[list[RecordChange | tuple[int, int, bool]]],
) -> None:
    number = 0
    with (
        TemporaryDirectory() as folder,
        open_journal(MemoryJournal) as memory_run,
        open_sqlite(Path(folder)) as sqlite_run,
    ):
        both = RecordsHarness(memory_run), RecordsHarness(sqlite_run)
        for write in writes:
            changes: list[RecordChange] = []
            for change in write:
                if isinstance(change, tuple):
                    number += 1
                    sender, recipient, delivered = change
                    changes.append(AddPrivate(private(number, sender, recipient, delivered=delivered)))
                else:
                    changes.append(change)
            for records in both:
                records.write(*changes)
            assert _everything(both[0]) == _everything(both[1])


def _everything(records: RecordsHarness) -> list[object]:
    stored = records.records.load()
    found: list[object] = [
        sorted(stored.accounts, key=lambda account: account.id),
        sorted(stored.bans, key=lambda ban: ban.id),
        (stored.next_account, stored.next_ban, stored.next_private, dict(stored.waiting)),
        records.audit(),
    ]
    for account in (1, 2, 3):
        found += [records.private(account), records.private(account, 2), records.inbox(account, 2)]
        found += [records.waiting(account), records.search(account, "psst", 3)]
    return found


WRITE_ACCOUNTS = """
import os, pathlib, queue, sys
from broadcast.core.records import AccountRecord, AddPrivate, PrivateLine, SaveAccount
from broadcast.journals.sqlite.journal import SqliteJournal
calls = queue.SimpleQueue()
journal = SqliteJournal(pathlib.Path(sys.argv[1]), calls.put)
journal.open("lobby", 0)
number = journal.records.load().next_account
def write():
    account = AccountRecord(number, f"name{number}", "hash")
    line = PrivateLine(number, 1.0, number, account.name, number, account.name, "psst", False)
    journal.records.write([SaveAccount(account), AddPrivate(line)], done)
def done(error):
    global number
    assert error is None
    os.write(1, b"%d\\n" % number)
    number += 1
    write()
write()
while True:
    calls.get(timeout=60)()
"""


def test_every_account_that_was_reported_as_stored_survives_a_kill(tmp_path: Path) -> None:
    known = 0
    for count in (1, 7, 30):
        command = [sys.executable, "-c", WRITE_ACCOUNTS, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as server:  # noqa: S603
            assert server.stdout is not None
            lines = [server.stdout.readline() for _ in range(count)]
            server.kill()
            lines += server.stdout.readlines()
        known = max(int(line) for line in lines if line.endswith(b"\n"))
        with open_sqlite(tmp_path) as run:
            records = RecordsHarness(run)
            numbers = [account.id for account in records.loaded.accounts]
            assert numbers == [*range(1, len(numbers) + 1)]
            assert len(numbers) in (known, known + 1)
            assert records.loaded.next_account == records.loaded.next_private == len(numbers) + 1
            assert records.loaded.waiting == {number: {number: number} for number in numbers}
