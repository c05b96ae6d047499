"""What gathers is one commit, and no fault stops the writing thread or loses count."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import pytest

from broadcast.core.events import Announced, Event, Message, StoreFailed
from broadcast.core.stats import CommitStats
from broadcast.journals.sqlite import commit_thread as writer
from broadcast.journals.sqlite.database import MIGRATIONS, connect
from broadcast.journals.sqlite.journal import FILE, SqliteJournal
from tests.journals.contract import PASSING, PATIENCE, Harness, Turns, opened, said
from tests.journals.sqlite.indexing import by_hand, connection_of, writer_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Harness]:
    turns = Turns()
    with opened(SqliteJournal(tmp_path, turns.wake), turns) as harness:
        yield harness


@pytest.fixture(autouse=True)
def _no_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is indexed: these tests look at every statement."""
    by_hand(monkeypatch)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Another program holds the journal locked."""
    with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def refused(event: Event) -> str:
    """Why *event* was not kept."""
    assert isinstance(event, StoreFailed), event
    assert event.reason
    assert event.reason.isprintable()
    return event.reason


def in_the_file(folder: Path) -> list[tuple[int, str]]:
    with closing(connect(folder / FILE, writing=False)) as db:
        return list(db.execute("SELECT seq, text FROM events ORDER BY seq"))


class Flawed:
    """A connection on which every statement fails, before or *after* it took place."""

    def __init__(self, db: sqlite3.Connection, error: Exception, *, after: bool) -> None:
        self._db = db
        self._error = error
        self._after = after

    def execute(self, statement: str, *values: Any) -> None:  # noqa: ANN401
        if self._after:
            self._db.execute(statement, *values)
        raise self._error

    def close(self) -> None:
        self._db.close()


def test_all_that_is_appended_while_a_commit_runs_is_the_next_commit_up_to_512(run: Harness, tmp_path: Path) -> None:
    statements: SimpleQueue[str] = SimpleQueue()
    connection_of(run).set_trace_callback(statements.put)
    with locked(tmp_path):
        run.journal.append(said("first"))
        assert statements.get(timeout=PATIENCE).startswith("INSERT")  # it runs, and waits for the lock
        for number in range(1000):
            run.journal.append(said(str(number)))
    run.turns.until(lambda: len(run.back) == 1001)
    assert run.back[-1] == said("999").with_seq(1001)
    assert [statements.get(timeout=PATIENCE).split()[0] for _ in range(2)] == ["INSERT", "INSERT"]
    assert statements.empty()


def test_batches_of_every_size_are_kept_whole(run: Harness) -> None:
    seq = 0
    for size in (*range(1, 20), 127, 128, 129, 511, 512):
        back = writer_of(run)._store([said(str(number)) for number in range(size)])
        assert back == [said(str(number)).with_seq(seq + number + 1) for number in range(size)]
        seq += size
    assert [event.seq for event in run.read(1, seq + 1)] == list(range(1, seq + 1))


def test_passing_events_alone_need_no_transaction(run: Harness) -> None:
    statements: list[str] = []
    connection_of(run).set_trace_callback(statements.append)
    assert run.append(*PASSING) == PASSING
    assert statements == []


def test_a_commit_is_on_disk_before_it_comes_back(run: Harness) -> None:
    db = connection_of(run)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_while_the_journal_is_locked_nothing_is_kept_and_then_it_goes_on(run: Harness, tmp_path: Path) -> None:
    connection_of(run).execute("PRAGMA busy_timeout = 10")
    assert run.append(said("a")) == [said("a").with_seq(1)]
    with locked(tmp_path):
        for text in "bc":
            announced, back = run.append(Announced("x"), said(text))
            assert announced == Announced("x")
            assert refused(back) == "another program has locked the journal"
    assert run.append(said("d")) == [said("d").with_seq(2)]
    assert connection_of(run).execute("PRAGMA busy_timeout").fetchone() == (2000,)
    assert in_the_file(tmp_path) == [(1, "a"), (2, "d")]


def test_on_a_full_database_nothing_is_kept_and_then_it_goes_on(run: Harness, tmp_path: Path) -> None:
    run.append(said("a"))
    db = connection_of(run)
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages}")
    long = said("x" * 100_000)
    first, second = run.append(Announced("x"), long)
    assert first == Announced("x")
    assert second == StoreFailed(long, "the disk is full")
    assert run.append(said("b")) == [said("b").with_seq(2)]
    assert in_the_file(tmp_path) == [(1, "a"), (2, "b")]


LIMITED = """
import json, pathlib, queue, resource, sys
from broadcast.core.events import Message
from broadcast.journals.sqlite.journal import SqliteJournal
calls, back = queue.SimpleQueue(), []
journal = SqliteJournal(pathlib.Path(sys.argv[1]), calls.put)
journal.open(0)
journal.subscribe(back.extend)
def append(count):
    del back[:]
    for _ in range(count):
        journal.append(Message(1, "ann", "x" * 2000, 1.0))
    while len(back) < count:
        calls.get()()
    return [getattr(event, "seq", None) or event.reason for event in back]
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
told = [append(20)]
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
told += [append(100), append(1)]
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
told += [append(20)]
journal.close()
print(json.dumps(told))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="files are not limited in size there")
def test_when_the_system_takes_no_more_bytes_nothing_is_kept_and_then_it_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)  # noqa: S603
    before, many, one, after = json.loads(ended.stdout)
    assert before == list(range(1, 21))
    numbers = [number for number in many + one + after if isinstance(number, int)]
    whys = {why for why in many + one if isinstance(why, str)}
    assert len(many) == 100
    assert any(isinstance(why, str) for why in many)
    assert all(why.startswith(("the disk is full", "the journal cannot be written: ")) for why in whys)
    assert numbers == list(range(21, 21 + len(numbers)))
    assert numbers[-20:] == after
    assert [seq for seq, _ in in_the_file(tmp_path)] == list(range(1, numbers[-1] + 1))


@pytest.mark.parametrize("after", [False, True], ids=["before it took place", "after it took place"])
@pytest.mark.parametrize(
    ("error", "why"),
    [
        (sqlite3.OperationalError("disk\nI/O  error"), "the journal cannot be written: disk I/O error"),
        (MemoryError("out of\nmemory"), "the journal cannot be written: out of memory"),
    ],
)
def test_what_was_reported_as_not_kept_is_not_in_the_file(
    run: Harness, tmp_path: Path, error: Exception, why: str, *, after: bool
) -> None:
    run.append(said("a"))
    flawed: Any = Flawed(connection_of(run), error, after=after)
    writer_of(run)._db = flawed
    assert [refused(event) for event in run.append(said("b"))] == [why]
    assert in_the_file(tmp_path) == [(1, "a")]
    assert run.append(said("c")) == [said("c").with_seq(2)]
    assert in_the_file(tmp_path) == [(1, "a"), (2, "c")]


def test_a_commit_in_doubt_is_undone_as_soon_as_the_file_can_be_reached_again(
    run: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.append(said("a"))
    flawed: Any = Flawed(connection_of(run), sqlite3.OperationalError("disk I/O error"), after=True)
    writer_of(run)._db = flawed
    with monkeypatch.context() as patch:
        patch.setattr(writer, "connect", failing(sqlite3.OperationalError("unable to open database file")))
        refused(run.append(said("b"))[0])
        assert "unable to open" in refused(run.append(said("c"))[0])
    assert run.append(said("d")) == [said("d").with_seq(2)]
    assert in_the_file(tmp_path) == [(1, "a"), (2, "d")]


def failing(error: Exception) -> Callable[..., sqlite3.Connection]:
    def connect(*_: object, **__: object) -> sqlite3.Connection:
        raise error

    return connect


def test_a_file_that_lost_lines_meanwhile_takes_no_more(run: Harness, tmp_path: Path) -> None:
    run.append(said("a"), said("b"))
    with closing(sqlite3.connect(tmp_path / FILE)) as other, other:
        other.execute("DELETE FROM events")
    flawed: Any = Flawed(connection_of(run), sqlite3.OperationalError("disk I/O error"), after=False)
    writer_of(run)._db = flawed
    refused(run.append(said("c"))[0])
    assert "no longer holds what was kept" in refused(run.append(said("d"))[0])


def test_an_event_that_the_database_refuses_does_not_end_the_thread(run: Harness) -> None:
    why = refused(run.append(Message(1, "ann", "x", float("nan")))[0])
    assert "NOT NULL" in why
    wrong: Any = b"bytes"
    refused(run.append(said(wrong))[0])
    assert run.append(said("a")) == [said("a").with_seq(1)]


def test_close_ends_while_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns()
    with opened(SqliteJournal(tmp_path, turns.wake), turns) as run:
        run.append(said("a"))
        flawed: Any = Flawed(connection_of(run), sqlite3.OperationalError("disk I/O error"), after=False)
        writer_of(run)._db = flawed
        monkeypatch.setattr(writer, "connect", failing(sqlite3.OperationalError("unable to open database file")))
        for _ in range(600):
            run.journal.append(said("b"))
    assert in_the_file(tmp_path) == [(1, "a")]


# How it goes


def figures(keeping: CommitStats) -> tuple[int, int, int, str]:
    """Commits that succeeded, commits that failed, events not kept, and why."""
    return sum(keeping.durations.counts), keeping.failed_commits, keeping.failed_events, keeping.last_error


def test_it_is_told_how_long_a_commit_took_and_that_one_failed_until_one_succeeds(tmp_path: Path) -> None:
    turns, told, times = Turns(), SimpleQueue[str](), iter(range(0, 1000, 3))
    keeping = CommitStats(lambda: next(times), told.put)
    with opened(SqliteJournal(tmp_path, turns.wake, keeping), turns) as run:
        connection_of(run).execute("PRAGMA busy_timeout = 10")
        run.append(said("a"), *PASSING)
        commits, failures, refusals, trouble = figures(keeping)
        assert (failures, refusals, trouble) == (0, 0, "")
        assert commits >= 1
        assert keeping.durations.sum == 3 * commits
        with locked(tmp_path):
            run.append(said("b"))
            run.append(Announced("x"), said("\ud800"))
            run.append(said("c"))
        assert figures(keeping) == (commits, 2, 3, "another program has locked the journal")
        assert told.get(timeout=PATIENCE) == keeping.last_error
        run.append(said("d"))
        assert figures(keeping) == (commits + 1, 2, 3, "")
        assert told.get(timeout=PATIENCE) == ""
        assert told.empty()


def test_that_a_fault_has_ended_shows_although_nobody_says_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pause in ("INDEX_AFTER_IDLE", "PROBE_SECONDS", "RETRY_SECONDS"):
        monkeypatch.setattr(writer, pause, 0.005)
    turns, told = Turns(), SimpleQueue[str]()
    with opened(SqliteJournal(tmp_path, turns.wake, CommitStats(on_change=told.put)), turns) as run:
        keeping = run.journal.commit_stats
        connection_of(run).execute("PRAGMA busy_timeout = 5")
        run.append(said("a"))
        with locked(tmp_path):
            refused(run.append(said("b"))[0])
            assert told.get(timeout=PATIENCE) == "another program has locked the journal"
            until(lambda: keeping.failed_commits > 2)
            assert keeping.failed_events == 1
        assert told.get(timeout=PATIENCE) == ""
        assert run.append(said("c")) == [said("c").with_seq(2)]
    assert in_the_file(tmp_path) == [(1, "a"), (2, "c")]


def test_a_look_whether_a_fault_has_ended_writes_to_the_file(run: Harness, tmp_path: Path) -> None:
    """Where the disk is full, or broken, a look that writes nothing would find all well."""
    run.append(said("a"))
    log = tmp_path / f"{FILE}-wal"
    before = log.stat().st_size
    writer_of(run)._probe_recovery()  # the thread itself waits for an event
    assert log.stat().st_size > before
    assert connection_of(run).execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    flawed: Any = Flawed(connection_of(run), sqlite3.OperationalError("disk I/O error"), after=False)
    writer_of(run)._db = flawed
    writer_of(run)._probe_recovery()
    assert run.journal.commit_stats.last_error == "the journal cannot be written: disk I/O error"
    writer_of(run)._probe_recovery()
    assert run.journal.commit_stats.last_error == ""


def test_a_disk_on_which_a_page_would_fit_is_still_full(run: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    free = [writer.MIN_FREE_BYTES - 1]
    monkeypatch.setattr(writer, "disk_usage", lambda _path: Usage(free[0]))
    keeping = run.journal.commit_stats
    keeping.record_failure("the disk is full", 1)
    writer_of(run)._probe_recovery()
    assert (keeping.last_error, keeping.failed_commits) == ("the disk is full", 2)
    free[0] = writer.MIN_FREE_BYTES
    writer_of(run)._probe_recovery()
    assert keeping.last_error == ""
    free[0] = 0
    keeping.record_failure("another program has locked the journal", 1)
    writer_of(run)._probe_recovery()
    assert keeping.last_error == ""


class Usage(NamedTuple):
    """How much of a disk is free."""

    free: int


def until(done: Callable[[], bool]) -> None:
    """Wait for the other thread."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.001)
