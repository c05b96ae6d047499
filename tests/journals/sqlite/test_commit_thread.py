"""The commit thread commits together what has arrived, reports every failure, and recovers from it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest

from broadcast.core.events import Announced, Message, StoreFailed
from broadcast.core.stats import CommitStats
from broadcast.journals.sqlite import commit_thread, writing_connection
from broadcast.journals.sqlite.journal import FILE
from broadcast.journals.sqlite.room_log import SqliteRoomLog
from broadcast.journals.sqlite.schema import MIGRATIONS
from tests.journals.contract import TIMEOUT, TRANSIENT, Harness, message
from tests.journals.sqlite.support import (
    WRITE_ERROR,
    append_failing,
    append_stored,
    break_connection,
    commit_thread_of,
    connection_of,
    open_file,
    open_sqlite,
    prevent_connecting,
    stored_in,
    wait_until,
)

LOCKED = "another program has locked the journal"

pytestmark = pytest.mark.usefixtures("no_indexing")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a lock on the journal as another program."""
    with open_file(folder) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_events_that_arrive_during_a_commit_form_the_next_up_to_512(run: Harness, tmp_path: Path) -> None:
    statements: SimpleQueue[str] = SimpleQueue()
    connection_of(run).set_trace_callback(statements.put)
    assert run.append(*TRANSIENT) == TRANSIENT
    assert statements.empty(), "transient events need no transaction"
    with locked(tmp_path):
        run.log.append(message("first"))
        run.calls.run_pending()
        assert statements.get(timeout=TIMEOUT).startswith("INSERT")  # this statement waits for the lock
        for number in range(1000):
            run.log.append(message(str(number)))
            run.calls.run_pending()
    run.calls.run_until(lambda: len(run.delivered) == len(TRANSIENT) + 1001)
    assert run.delivered[-1] == message("999", 1001)
    assert [statements.get(timeout=TIMEOUT).split()[0] for _ in range(2)] == ["INSERT", "INSERT"]
    assert statements.empty()


def test_batches_of_every_size_are_stored_completely(run: Harness) -> None:
    last = 0
    for size in (*range(1, 20), 127, 128, 129, 511, 512):
        assert isinstance(run.log, SqliteRoomLog)
        committed = commit_thread_of(run)._store([(run.log, [message(str(number)) for number in range(size)])])
        assert committed == [(run.log, [message(str(number), last + number + 1) for number in range(size)])]
        last += size
    assert [event.seq for event in run.read(1, last + 1)] == list(range(1, last + 1))


def test_locked_journal_stores_nothing_until_it_is_unlocked(run: Harness, tmp_path: Path) -> None:
    connection_of(run).execute("PRAGMA busy_timeout = 10")
    append_stored(run, "a", 1)
    with locked(tmp_path):
        for text in "bc":
            assert run.append(Announced("x"), message(text)) == [Announced("x"), StoreFailed(message(text), LOCKED)]
    append_stored(run, "d", 2)
    assert connection_of(run).execute("PRAGMA busy_timeout").fetchone() == (2000,)
    assert stored_in(tmp_path) == [(1, "a"), (2, "d")]


def test_full_database_stores_nothing_until_there_is_space(run: Harness, tmp_path: Path) -> None:
    append_stored(run, "a", 1)
    db = connection_of(run)
    db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
    long = message("x" * 100_000)
    assert run.append(Announced("x"), long) == [Announced("x"), StoreFailed(long, "the disk is full")]
    append_stored(run, "b", 2)
    assert stored_in(tmp_path) == [(1, "a"), (2, "b")]


FILL_LIMITED_FILE = """
import json, pathlib, queue, resource, sys
from broadcast.core.events import Message
from broadcast.journals.sqlite.journal import SqliteJournal
calls, delivered = queue.SimpleQueue(), []
journal = SqliteJournal(pathlib.Path(sys.argv[1]), calls.put)
log = journal.open("lobby", 0).log
log.subscribe(delivered.extend)
def append(count):
    del delivered[:]
    for _ in range(count):
        log.append(Message(1, "ann", "x" * 2000, 1.0))
    while len(delivered) < count:
        calls.get(timeout=60)()
    return [getattr(event, "seq", None) or event.reason for event in delivered]
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
results = [append(20)]
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
results += [append(100), append(1)]
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
results += [append(20)]
journal.close()
print(json.dumps(results))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of a file")
def test_file_at_its_size_limit_stores_nothing_more_until_the_limit_is_raised(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FILL_LIMITED_FILE, str(tmp_path)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)  # noqa: S603
    before, many, one, after = json.loads(process.stdout)
    assert before == list(range(1, 21))
    numbers = [number for number in many + one + after if isinstance(number, int)]
    assert len(many) == 100
    assert any(isinstance(reason, str) for reason in many)
    for reason in {reason for reason in many + one if isinstance(reason, str)}:
        assert reason.startswith(("the disk is full", "the journal cannot be written: "))
    assert numbers == list(range(21, 21 + len(numbers)))
    assert numbers[-20:] == after
    assert [seq for seq, _ in stored_in(tmp_path)] == list(range(1, numbers[-1] + 1))


def test_event_that_the_database_rejects_does_not_end_the_thread(run: Harness) -> None:
    assert "NOT NULL" in append_failing(run, Message(1, "ann", "x", float("nan")))
    wrong: Any = b"bytes"
    append_failing(run, message(wrong))
    append_stored(run, "a", 1)


def test_close_ends_while_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_sqlite(tmp_path) as run:
        append_stored(run, "a", 1)
        break_connection(run)
        prevent_connecting(monkeypatch)
        for _ in range(600):
            run.log.append(message("b"))
    assert stored_in(tmp_path) == [(1, "a")]


# Statistics and recovery


def test_stats_count_commits_and_failures_and_report_the_last_error(tmp_path: Path) -> None:
    errors, times = SimpleQueue[str](), iter(range(0, 1000, 3))
    stats = CommitStats(lambda: next(times), errors.put)

    def counts() -> tuple[int, int, int, str]:
        return sum(stats.durations.counts), stats.failed_commits, stats.failed_events, stats.last_error

    with open_sqlite(tmp_path, stats=stats) as run:
        connection_of(run).execute("PRAGMA busy_timeout = 10")
        run.append(message("a"), *TRANSIENT)
        commits = counts()[0]
        assert commits >= 1
        assert counts() == (commits, 0, 0, "")
        assert stats.durations.sum == 3 * commits
        with locked(tmp_path):
            run.append_texts("b")
            run.append(Announced("x"), message("\ud800"))
            run.append_texts("c")
        assert counts() == (commits, 2, 3, LOCKED)
        assert errors.get(timeout=TIMEOUT) == LOCKED
        run.append_texts("d")
        assert counts() == (commits + 1, 2, 3, "")
        assert errors.get(timeout=TIMEOUT) == ""
        assert errors.empty()


def test_recovery_is_noticed_while_no_event_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for pause in ("INDEX_AFTER_IDLE", "PROBE_SECONDS"):
        monkeypatch.setattr(commit_thread, pause, 0.005)
    monkeypatch.setattr(writing_connection, "RETRY_SECONDS", 0.005)
    errors = SimpleQueue[str]()
    stats = CommitStats(on_change=errors.put)
    with open_sqlite(tmp_path, stats=stats) as run:
        connection_of(run).execute("PRAGMA busy_timeout = 5")
        append_stored(run, "a", 1)
        with locked(tmp_path):
            append_failing(run, message("b"))
            assert errors.get(timeout=TIMEOUT) == LOCKED
            wait_until(lambda: stats.failed_commits > 2)
            assert stats.failed_events == 1
        assert errors.get(timeout=TIMEOUT) == ""
        append_stored(run, "c", 2)
    assert stored_in(tmp_path) == [(1, "a"), (2, "c")]


def test_recovery_probe_writes_to_the_file(run: Harness, tmp_path: Path) -> None:
    """A probe that only reads would succeed on a full or broken disk."""
    append_stored(run, "a", 1)
    log, stats = tmp_path / f"{FILE}-wal", run.journal.commit_stats
    before = log.stat().st_size
    commit_thread_of(run)._probe_recovery()  # the thread itself is waiting for an event
    assert log.stat().st_size > before
    assert connection_of(run).execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    break_connection(run)
    commit_thread_of(run)._probe_recovery()
    assert stats.last_error == WRITE_ERROR
    commit_thread_of(run)._probe_recovery()
    assert stats.last_error == ""


def test_full_disk_has_recovered_when_enough_bytes_are_free(run: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SimpleNamespace(free=commit_thread.MIN_FREE_BYTES - 1)
    monkeypatch.setattr(commit_thread, "disk_usage", lambda _path: disk)
    stats = run.journal.commit_stats
    stats.record_failure("the disk is full", 1)
    commit_thread_of(run)._probe_recovery()
    assert (stats.last_error, stats.failed_commits) == ("the disk is full", 2)
    disk.free = commit_thread.MIN_FREE_BYTES
    commit_thread_of(run)._probe_recovery()
    assert stats.last_error == ""
    disk.free = 0
    stats.record_failure(LOCKED, 1)
    commit_thread_of(run)._probe_recovery()
    assert stats.last_error == ""
