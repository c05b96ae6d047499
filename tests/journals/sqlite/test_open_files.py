"""Files that are removed, moved or replaced while the journal is open: no confirmed line is lost by a restart."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from queue import SimpleQueue

import pytest
from twisted.internet.task import Clock

from broadcast.core.events import Message, StoreFailed
from broadcast.core.stats import CommitStats
from broadcast.journals.sqlite import commit_thread
from broadcast.journals.sqlite.journal import FILE, SqliteJournal
from broadcast.journals.sqlite.open_files import FINE_SETTLED_SECONDS, SETTLED_SECONDS
from broadcast.journals.sqlite.writing_connection import VERIFY_SECONDS
from tests.journals.contract import TIMEOUT, Harness, message, seqs
from tests.journals.sqlite.support import (
    commit_thread_of,
    connection_of,
    index_on_demand,
    open_file,
    open_sqlite,
)

NOT_WRITTEN = "the journal cannot be written: "
MOVED = f"{NOT_WRITTEN}{FILE} was removed, moved or replaced"
INDEX_MOVED = f"{NOT_WRITTEN}{FILE}-shm was removed, moved or replaced"
LOG_MOVED = f"{NOT_WRITTEN}{FILE}-wal was removed, moved or replaced"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows does not let anybody move an open file")


@pytest.fixture(autouse=True)
def _nothing_while_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    index_on_demand(monkeypatch)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture(params=["first seconds", "settled"])
def run(request: pytest.FixtureRequest, data: Path) -> Iterator[Harness]:
    """A journal with the line ``a``, whose folder has changed just now, or not for a while."""
    seconds = count(step=SETTLED_SECONDS + 1) if request.param == "settled" else count(step=VERIFY_SECONDS)
    with open_sqlite(data, stats=CommitStats(lambda: next(seconds))) as run:
        assert stored(run, "a") == 1
        if request.param == "settled":
            assert commit_thread_of(run)._connection._files._settled
        yield run


def stored(run: Harness, text: str) -> int:
    """Append a message, which must be stored, and return its number."""
    (event,) = run.append(message(text))
    assert isinstance(event, Message), event
    return event.seq


def refusal(run: Harness, text: str) -> str:
    """Append a message, which must fail, and return the reason."""
    (event,) = run.append(message(text))
    assert isinstance(event, StoreFailed), event
    return event.reason


def texts(folder: Path) -> list[str]:
    """Return the lines that the next server finds in *folder*."""
    with open_sqlite(folder, tail=100) as run:
        return [event.text for event in run.tail]


def move_folder(data: Path) -> Callable[[], None]:
    """Move the folder and return a function that moves it back, as the following functions do."""
    away = data.with_name("away")
    data.rename(away)

    def move_back() -> None:
        if data.is_dir():
            shutil.rmtree(data)
        data.unlink(missing_ok=True)
        away.rename(data)

    return move_back


def replace_folder(data: Path) -> Callable[[], None]:
    back = move_folder(data)
    with open_sqlite(data) as other:
        assert stored(other, "other") == 1
    return back


def copy_folder(data: Path) -> Callable[[], None]:
    back = move_folder(data)
    shutil.copytree(data.with_name("away"), data)
    return back


def replace_folder_by_file(data: Path) -> Callable[[], None]:
    back = move_folder(data)
    data.write_text("a file")
    return back


def move_database(data: Path) -> Callable[[], None]:
    (data / FILE).rename(data / "away")

    def move_back() -> None:
        (data / "away").rename(data / FILE)

    return move_back


def replace_database(data: Path) -> Callable[[], None]:
    back = move_database(data)
    shutil.copyfile(data / "away", data / FILE)
    return back


@pytest.mark.parametrize(
    "move", [move_folder, replace_folder, copy_folder, move_database, replace_database, replace_folder_by_file]
)
def test_nothing_is_stored_while_the_files_are_elsewhere_and_it_goes_on_when_they_are_back(
    run: Harness, data: Path, move: Callable[[Path], Callable[[], None]]
) -> None:
    assert seqs(run.read(1, 9)) == [1]
    back = move(data)
    for text in "bc":
        assert refusal(run, text) == MOVED
    assert run.journal.commit_stats.last_error == MOVED
    assert seqs(run.read(1, 9)) == [1], "what was stored can still be read"
    back()
    assert stored(run, "d") == 2
    assert run.journal.commit_stats.last_error == ""
    run.journal.close()
    assert texts(data) == ["a", "d"]


def test_lines_of_another_journal_are_not_read(run: Harness, data: Path) -> None:
    back = replace_folder(data)
    answer = run.try_read(1, 9)
    assert str(answer) == f"{FILE} was removed, moved or replaced"
    back()
    assert [event.text for event in run.read(1, 9)] == ["a"]


def test_removed_folder_is_not_created_again(run: Harness, data: Path) -> None:
    shutil.rmtree(data)
    assert refusal(run, "b") == MOVED
    run.journal.close()
    assert not data.exists()


def test_folder_behind_a_symbolic_link_is_verified(tmp_path: Path) -> None:
    link = tmp_path / "link"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    link.symlink_to("one")
    with open_sqlite(link) as run:
        stored(run, "a")
        link.unlink()
        link.symlink_to("two")
        assert refusal(run, "b") == MOVED
        assert list((tmp_path / "two").iterdir()) == []
        link.unlink()
        link.symlink_to("one")
        assert stored(run, "c") == 2


def test_database_behind_a_symbolic_link_is_verified(tmp_path: Path, data: Path) -> None:
    other = tmp_path / "other"
    with open_sqlite(other) as run:
        stored(run, "a")
    data.mkdir()
    (data / FILE).symlink_to(other / FILE)
    seconds = count(step=SETTLED_SECONDS + 1)
    with open_sqlite(data, stats=CommitStats(lambda: next(seconds))) as run:
        assert stored(run, "b") == 2
        move_folder(other)
        assert refusal(run, "c") == MOVED


@pytest.mark.parametrize("index", ["", "-shm"])
def test_lines_of_a_removed_write_ahead_log_are_saved(run: Harness, data: Path, index: str) -> None:
    for name in {"-wal", index or "-wal"}:
        (data / (FILE + name)).unlink()
    assert refusal(run, "b") == LOG_MOVED
    assert stored(run, "c") == 2
    run.read(1, 1)
    assert [event.text for event in run.read(1, 9)] == ["a", "c"]
    shutil.copytree(data, data.with_name("copy"))  # as a crash leaves it
    assert texts(data.with_name("copy")) == ["a", "c"]


def test_lines_of_a_removed_log_are_saved_while_others_read(run: Harness, data: Path) -> None:
    connection_of(run).execute("PRAGMA busy_timeout = 10")
    with open_file(data) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM events").fetchone()
        (data / f"{FILE}-wal").unlink()
        for _ in range(2):
            assert refusal(run, "b") == LOG_MOVED
        other.execute("COMMIT")
    assert refusal(run, "b") == LOG_MOVED
    assert stored(run, "c") == 2
    run.journal.close()
    assert texts(data) == ["a", "c"]


@pytest.mark.parametrize("reading", [False, True])
def test_removed_index_of_the_log_loses_nothing(run: Harness, data: Path, *, reading: bool) -> None:
    if reading:
        assert seqs(run.read(1, 9)) == [1]
    (data / f"{FILE}-shm").unlink()
    assert stored(run, "b") == 2
    assert (data / f"{FILE}-shm").exists()
    assert seqs(run.read(1, 9)) == [1, 2]
    shutil.copytree(data, data.with_name("copy"))
    assert texts(data.with_name("copy")) == ["a", "b"]


CHECKPOINT = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('PRAGMA wal_checkpoint(TRUNCATE)')"


def checkpoint_elsewhere(data: Path) -> None:
    """Let another process checkpoint and truncate the log."""
    subprocess.run([sys.executable, "-c", CHECKPOINT, str(data / FILE)], check=True, timeout=200)  # noqa: S603


@pytest.mark.parametrize("reading", [False, True])
def test_lines_after_a_checkpoint_without_the_index_are_stored(run: Harness, data: Path, *, reading: bool) -> None:
    if reading:
        assert seqs(run.read(1, 9)) == [1]
    (data / f"{FILE}-shm").unlink()
    checkpoint_elsewhere(data)
    assert stored(run, "b") == 2
    checkpoint_elsewhere(data)
    assert stored(run, "c") == 3
    shutil.copytree(data, data.with_name("copy"))
    assert texts(data.with_name("copy")) == ["a", "b", "c"]
    assert [event.text for event in run.read(1, 9)] == ["a", "b", "c"]


def test_line_is_refused_if_the_index_is_removed_during_its_commit(run: Harness, data: Path) -> None:
    def remove(statement: str) -> None:
        if statement.startswith("INSERT"):
            (data / f"{FILE}-shm").unlink()

    connection_of(run).set_trace_callback(remove)
    assert refusal(run, "b") == INDEX_MOVED
    assert stored(run, "c") == 2
    run.journal.close()
    assert texts(data) == ["a", "c"]


def test_line_in_a_log_that_was_truncated_during_its_commit_is_refused(run: Harness, data: Path) -> None:
    def remove(statement: str) -> None:
        if statement.startswith("INSERT"):
            (data / f"{FILE}-shm").unlink()
            checkpoint_elsewhere(data)

    connection_of(run).set_trace_callback(remove)
    assert refusal(run, "b") == INDEX_MOVED
    assert stored(run, "c") == 2
    shutil.copytree(data, data.with_name("copy"))
    assert texts(data.with_name("copy")) == ["a", "c"]


def test_line_is_refused_if_the_files_are_moved_during_its_commit(run: Harness, data: Path) -> None:
    db = connection_of(run)
    back: list[Callable[[], None]] = []
    db.set_trace_callback(lambda statement: back.append(move_folder(data)) if statement.startswith("INSERT") else None)
    assert refusal(run, "b") == MOVED
    db.set_trace_callback(None)
    back[0]()
    assert stored(run, "c") == 2
    run.journal.close()
    assert texts(data) == ["a", "c"]


def test_moved_files_are_reported_before_an_author_notices(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for pause in ("INDEX_AFTER_IDLE", "PROBE_SECONDS"):
        monkeypatch.setattr(commit_thread, pause, 0.005)
    errors = SimpleQueue[str]()
    with open_sqlite(data, stats=CommitStats(on_change=errors.put)) as run:
        stored(run, "a")
        back = move_folder(data)
        assert errors.get(timeout=TIMEOUT) == MOVED
        back()
        assert errors.get(timeout=TIMEOUT) == ""
        (data / f"{FILE}-wal").unlink()
        assert errors.get(timeout=TIMEOUT) == LOG_MOVED
        assert errors.get(timeout=TIMEOUT) == ""
        assert stored(run, "b") == 2
        assert errors.empty()
    assert texts(data) == ["a", "b"]


# The lock, and other writers

OTHER_SERVER = """
import pathlib, queue, sys
from broadcast.core.events import Message
from broadcast.journals.sqlite.writing_connection import VERIFY_SECONDS
from broadcast.journals.sqlite.journal import SqliteJournal
calls = queue.SimpleQueue()
journal = SqliteJournal(pathlib.Path(sys.argv[1]), calls.put)
log = journal.open("lobby", 0).log
delivered = []
log.subscribe(delivered.extend)
for line in sys.stdin:
    log.append(Message(1, "eve", line.strip(), 1.0))
    while not delivered:
        calls.get(timeout=60)()
    print(delivered.pop().seq, flush=True)
journal.close()
"""


def start_other_server(data: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OTHER_SERVER, str(data)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603


def say(other: subprocess.Popen[str], text: str) -> str:
    assert other.stdin is not None
    assert other.stdout is not None
    print(text, file=other.stdin, flush=True)
    return other.stdout.readline().strip()


def test_removed_lock_is_taken_again(run: Harness, data: Path) -> None:
    (data / "lock").unlink()
    assert stored(run, "b") == 2
    with start_other_server(data) as other:
        assert say(other, "x") == ""
        assert other.wait(TIMEOUT) == 1


def test_lines_of_a_server_that_took_the_lock_stay_and_the_first_one_stores_nothing(run: Harness, data: Path) -> None:
    (data / "lock").unlink()
    with start_other_server(data) as other:
        assert say(other, "x") == "2"
        for _ in range(2):
            assert refusal(run, "b") == f"{NOT_WRITTEN}another server has opened it"
        assert say(other, "y") == "3"
        run.journal.commit_stats.on_change = str
        commit_thread_of(run)._probe_recovery()
        assert run.journal.commit_stats.last_error == f"{NOT_WRITTEN}another server has opened it"
    commit_thread_of(run)._probe_recovery()
    assert run.journal.commit_stats.last_error == f"{NOT_WRITTEN}another program has written #2 to it"
    for _ in range(3):
        assert refusal(run, "b") == f"{NOT_WRITTEN}another program has written #2 to it"
    run.journal.close()
    assert texts(data) == ["a", "x", "y"]


@pytest.mark.parametrize("reading", [False, True])
@pytest.mark.parametrize("noticed", ["while the other runs", "after its end", "after its kill", "by the indexer"])
def test_lines_of_another_server_without_the_index_of_the_log_stay(
    run: Harness, data: Path, noticed: str, *, reading: bool
) -> None:
    assert stored(run, "b") == 2
    if reading:
        assert seqs(run.read(1, 9)) == [1, 2]
    (data / f"{FILE}-shm").unlink()
    (data / "lock").unlink()
    with start_other_server(data) as other:
        for number, text in enumerate("xy", 3):
            assert say(other, text) == str(number)
        if noticed == "while the other runs":
            assert refusal(run, "c") == f"{NOT_WRITTEN}another server has opened it"
            assert [event.text for event in run.read(1, 9)] == ["a", "b", "x", "y"]
        elif noticed == "by the indexer":
            assert not commit_thread_of(run)._index_step()
            other.kill()
        elif noticed == "after its kill":
            other.kill()
    for _ in range(2):
        assert refusal(run, "d") == f"{NOT_WRITTEN}another program has written #3 to it"
    commit_thread_of(run)._probe_recovery()
    assert run.journal.commit_stats.last_error == f"{NOT_WRITTEN}another program has written #3 to it"
    run.journal.close()
    assert texts(data) == ["a", "b", "x", "y"]


def test_log_is_not_saved_over_the_lines_of_another_server(run: Harness, data: Path) -> None:
    for name in (f"{FILE}-wal", f"{FILE}-shm", "lock"):
        (data / name).unlink()
    with start_other_server(data) as other:
        number = int(say(other, "x"))
    for _ in range(2):
        assert refusal(run, "b") == LOG_MOVED
    run.journal.close()
    with open_sqlite(data) as again:
        assert [(event.seq, event.text) for event in again.read(number, 9)] == [(number, "x")]


def test_line_that_another_program_has_written_is_noticed_without_a_commit(run: Harness, data: Path) -> None:
    with open_file(data) as other:
        other.execute("INSERT INTO events (seq, at, kind, nick, text) VALUES (900, 1.0, 'said', 'eve', 'x')")
    commit_thread_of(run)._verify_idle()
    for _ in range(2):
        assert refusal(run, "b") == f"{NOT_WRITTEN}another program has written #900 to it"


@pytest.mark.parametrize("number", [2, 3, 4, 900])
def test_line_that_another_program_has_written_is_never_deleted(run: Harness, data: Path, number: int) -> None:
    with open_file(data) as other:
        other.execute("INSERT INTO events (seq, at, kind, nick, text) VALUES (?, 1.0, 'said', 'eve', 'x')", (number,))
    events = run.append(*map(message, "bcd"))
    for seq, event in enumerate(events, 2):
        assert isinstance(event, StoreFailed) == (number <= 4 and seq >= 2) or seq < number
    if number > 900:
        return
    with open_file(data) as other:
        assert other.execute("SELECT nick FROM events WHERE seq = ?", (number,)).fetchone() == ("eve",)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("INSERT INTO events (seq, at, kind, nick, text) VALUES (3, 1.0, 'said', 'eve', 'x')", ["a", "b", "x"]),
        ("UPDATE events SET text = 'x' WHERE seq = 2", ["a", "x"]),
    ],
)
def test_doubtful_commit_is_not_undone_if_another_program_has_written_since(
    run: Harness, data: Path, monkeypatch: pytest.MonkeyPatch, change: str, found: list[str]
) -> None:
    def fail(_number: int, _room: str) -> None:
        with open_file(data) as other:
            other.execute(change)
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(commit_thread_of(run)._connection._files.last_number, "write", fail)
        assert "another program has written #" in refusal(run, "b")
    assert "another program has written #" in refusal(run, "c")
    run.journal.close()
    assert texts(data) == found


def test_file_with_the_last_number_is_created_again(run: Harness, data: Path) -> None:
    (data / "journal.last").unlink()
    assert stored(run, "b") == 2
    assert (data / "journal.last").read_text().split() == ["2", "lobby"]


def test_file_that_replaced_the_last_number_is_not_overwritten(run: Harness, data: Path) -> None:
    path = data / "journal.last"
    path.unlink()
    path.write_text("900")
    assert refusal(run, "b") == f"{NOT_WRITTEN}journal.last was replaced"
    assert path.read_text() == "900"
    path.unlink()
    assert stored(run, "c") == 2
    assert path.read_text().split() == ["2", "lobby"]


def test_path_in_a_system_error_is_not_shown_to_people(
    run: Harness, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(data))

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", deny)
        assert refusal(run, "b") == f"{NOT_WRITTEN}Permission denied"
    assert stored(run, "c") == 2


def test_close_after_the_move_leaves_all_lines_in_the_moved_folder(run: Harness, data: Path) -> None:
    move_folder(data)
    assert isinstance(run.journal, SqliteJournal)
    run.journal.close()
    assert not data.exists()
    assert texts(data.with_name("away")) == ["a"]


@pytest.mark.parametrize(("fraction", "seconds"), [(1, FINE_SETTLED_SECONDS), (0, SETTLED_SECONDS)])
def test_a_folder_settles_sooner_if_its_time_stamps_are_fine(data: Path, fraction: int, seconds: float) -> None:
    clock = Clock()
    with open_sqlite(data, stats=CommitStats(clock.seconds)) as run:
        os.utime(data, ns=(0, 10**18 + fraction))
        files = commit_thread_of(run)._connection._files
        files.verify()
        for share, settled in ((0.9, False), (0.2, True)):
            clock.advance(seconds * share)
            files.verify()
            assert files._settled is settled
