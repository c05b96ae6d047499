"""A journal that has lost lines while no server ran: the next one says which, and gives no number twice."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from broadcast.core.errors import JournalDamaged, JournalError
from broadcast.core.events import Stored
from broadcast.journals.sqlite.data_dir import LastNumberFile, read_last_number
from broadcast.journals.sqlite.journal import FILE, SqliteJournal
from tests.journals.contract import Harness, message, open_journal, seqs
from tests.journals.sqlite.support import (
    connection_of,
    index_all,
    index_on_demand,
    open_sqlite,
    verify_index,
    write_until_killed,
)

LOG = f"{FILE}-wal"


def open_reporting(folder: Path, tail: int = 0) -> tuple[list[str], Harness]:
    """Open the journal in *folder*. Return what it reported as missing, and the journal."""
    reports: list[str] = []
    with open_journal(lambda call_soon: SqliteJournal(folder, call_soon, report=reports.append), tail) as run:
        return reports, run


def lines_of(folder: Path) -> list[tuple[int, str]]:
    with open_sqlite(folder) as run:
        return [(event.seq, event.text) for event in run.read(1, 10**9)]


def cut_in_half(log: Path) -> None:
    os.truncate(log, log.stat().st_size // 2)


def cut_last_byte(log: Path) -> None:
    os.truncate(log, log.stat().st_size - 1)


def overwrite_the_end(log: Path) -> None:
    with log.open("r+b") as file:
        file.seek(-2000, os.SEEK_END)
        file.write(b"\xff" * 2000)


def remove_with_index(log: Path) -> None:
    log.unlink()
    log.with_name(f"{FILE}-shm").unlink()


@pytest.mark.parametrize("damage", [cut_in_half, cut_last_byte, overwrite_the_end, Path.unlink, remove_with_index])
def test_number_lost_with_the_write_ahead_log_is_not_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    data, last = tmp_path / "data", 8
    with monkeypatch.context() as patch:
        index_on_demand(patch)
        with open_sqlite(data) as run:
            run.append_texts("abc")
            connection_of(run).execute("PRAGMA wal_checkpoint(TRUNCATE)")
            for text in "defgh":
                run.append_texts([text])
            tmp_path /= "crashed"
            shutil.copytree(data, tmp_path)
    damage(tmp_path / LOG)
    reports, run = open_reporting(tmp_path, tail=20)
    mark = run.tail[-1]
    assert mark.seq == last
    (report,) = reports
    assert report == mark.text
    assert mark.nick == "server"
    kept = lines_of(tmp_path)
    first = kept[-2][0] + 1
    assert [seq for seq, _ in kept] == [*range(1, first), mark.seq]
    assert report.startswith(f"#{first} is missing" if first == mark.seq else f"#{first}-#{mark.seq} are missing")

    with open_sqlite(tmp_path, tail=20) as run:
        assert run.tail[-1] == mark
        assert seqs(run.append_texts("xy")) == [mark.seq + 1, mark.seq + 2]
    reports, run = open_reporting(tmp_path, tail=2)
    assert reports == [], "it is said once"
    assert [event.text for event in run.tail] == ["x", "y"]
    tail = seqs(open_reporting(tmp_path, tail=10)[1].tail)
    assert tail == list(range(1 if first == mark.seq else mark.seq, mark.seq + 3)), "it has no gap"


def test_intact_log_of_a_killed_server_leaves_no_gap(tmp_path: Path) -> None:
    last = 0
    for batches in (1, 20, 150):
        last = max(last, write_until_killed(tmp_path, batches, 3)[0])
        reports, _run = open_reporting(tmp_path)
        assert reports == []
        numbers = [seq for seq, _ in lines_of(tmp_path)]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) >= last


def test_older_copy_continues_after_the_last_number(tmp_path: Path) -> None:
    with open_sqlite(tmp_path) as run:
        run.append_texts("abc")
    shutil.copyfile(tmp_path / FILE, tmp_path / "copy")
    with open_sqlite(tmp_path) as run:
        run.append_texts("defg")
    (tmp_path / "copy").replace(tmp_path / FILE)
    reports, run = open_reporting(tmp_path)
    assert [report[:21] for report in reports] == ["#4-#7 are missing: th"]
    assert [seq for seq, _ in lines_of(tmp_path)] == [1, 2, 3, 7]


@pytest.mark.parametrize("content", [None, b"", b"\0" * 16, b"many", b"0 lobby\n", b"2", b"-5", b"9" * 40])
def test_copy_without_its_last_number_continues_after_its_last_line(tmp_path: Path, content: bytes | None) -> None:
    with open_sqlite(tmp_path) as run:
        run.append_texts("abc")
        before = run.journal.id
    (tmp_path / "journal.last").unlink()
    if content is not None:
        (tmp_path / "journal.last").write_bytes(content)
    reports, run = open_reporting(tmp_path)
    assert reports == []
    assert (run.journal.id == before) is (content == b"2"), "without any number, it may be an old copy"
    assert (tmp_path / "journal.last").read_text().split() == ["3", "lobby"]
    after = run.journal.id
    with open_sqlite(tmp_path) as run:
        assert run.append_texts("d") == [message("d", 4)]
        assert run.journal.id == after


def test_the_id_of_a_new_journal_survives_a_crash(tmp_path: Path) -> None:
    with open_sqlite(tmp_path / "first") as run:
        before = run.journal.id
        shutil.copytree(tmp_path / "first", tmp_path / "crashed")
    for _ in range(2):
        with open_sqlite(tmp_path / "crashed") as run:
            assert run.journal.id == before


def test_last_number_that_cannot_be_written_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "journal.last").mkdir()
    with pytest.raises(JournalError, match=r"cannot use .*journal\.last: (Is a directory|Permission denied); check"):
        SqliteJournal(tmp_path, print).open("lobby", 0)


def test_missing_journal_is_not_replaced_by_an_empty_one(tmp_path: Path) -> None:
    with open_sqlite(tmp_path) as run:
        run.append_texts("abc")
    (tmp_path / FILE).unlink()
    for _ in range(2):
        with pytest.raises(
            JournalDamaged, match=r"is missing, but journal\.last says that it has held line #3: restore"
        ):
            SqliteJournal(tmp_path, print).open("lobby", 0)
    assert not (tmp_path / FILE).exists()
    (tmp_path / "journal.last").unlink()
    (tmp_path / LOG).write_bytes(b"log")
    with pytest.raises(JournalDamaged, match="is missing, but not its write-ahead log"):
        SqliteJournal(tmp_path, print).open("lobby", 0)
    assert {path.name for path in tmp_path.iterdir()} == {"lock", LOG}, "a failed start leaves no new file"
    (tmp_path / LOG).unlink()
    with open_sqlite(tmp_path) as run:
        assert run.append_texts("d") == [message("d", 1)]


def test_lines_around_a_large_gap_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index_on_demand(monkeypatch)
    with open_sqlite(tmp_path) as run:
        run.append_texts(["red one", "blue two"])
    LastNumberFile(tmp_path / "journal.last", 10**9).close()
    with open_sqlite(tmp_path) as run:
        run.append_texts(["red three"])
        index_all(run)
        assert run.matches("red") == [1, 10**9 + 1]
        assert run.matches("missing") == [10**9]
    verify_index(tmp_path)


def test_journal_that_begins_with_a_gap_opens(tmp_path: Path) -> None:
    with open_sqlite(tmp_path):
        pass
    (tmp_path / "journal.last").write_bytes(b"5\n")
    reports, run = open_reporting(tmp_path, tail=9)
    assert [report[:17] for report in reports] == ["#1-#5 are missing"]
    tail: list[Stored] = list(run.tail)
    assert seqs(tail) == [5]
    assert open_reporting(tmp_path, tail=9)[1].tail == tail


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not remove an open file")
def test_file_of_the_last_number_that_cannot_be_created_is_created_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(*_: object) -> int:
        raise PermissionError

    path = tmp_path / "journal.last"
    last_number = LastNumberFile(path, 3)
    path.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", deny)
        with pytest.raises(PermissionError):
            last_number.verify()
    last_number.verify()
    last_number.write(7)
    assert read_last_number(path).seq == 7
    last_number.close()
