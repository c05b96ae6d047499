"""The SQLite journal keeps the contract, and what it kept outlives the process."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from broadcast.core.errors import JournalDamaged, JournalError, JournalInUse
from broadcast.core.events import Action, Stored
from broadcast.core.search_query import SearchQuery
from broadcast.journals.sqlite import journal as sqlite
from broadcast.journals.sqlite.journal import FILE, SqliteJournal
from tests.journals.contract import Harness, JournalContract, SearchContract, Turns, opened, recalled, said
from tests.journals.sqlite.indexing import by_hand, index_all

ROOT = Path(__file__).parents[2]


def use(folder: Path, tail: int = 0) -> AbstractContextManager[Harness]:
    """The journal in *folder*, in use."""
    turns = Turns()
    return opened(SqliteJournal(folder, turns.wake), turns, tail)


def journal_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("journal")]


class TestSqliteJournal(JournalContract):
    @contextmanager
    def fresh(self) -> Iterator[Harness]:
        with TemporaryDirectory() as folder, use(Path(folder)) as run:
            yield run


class Indexed(Harness):
    """A harness that searches when everything is indexed, or just not the last line."""

    spare = 0

    def search_for(self, words: SearchQuery, last: int, most: int) -> Sequence[Stored] | JournalError:
        index_all(self, self.spare)
        return super().search_for(words, last, most)


class AllButTheLast(Indexed):
    spare = 1


class TestSearchOfIndexedLines(SearchContract):
    kind: type[Harness] = Indexed

    @pytest.fixture(autouse=True)
    def _by_hand(self, monkeypatch: pytest.MonkeyPatch) -> None:
        by_hand(monkeypatch)

    @contextmanager
    def fresh(self) -> Iterator[Harness]:
        turns = Turns()
        with (
            TemporaryDirectory() as folder,
            opened(SqliteJournal(Path(folder), turns.wake), turns, kind=self.kind) as run,
        ):
            yield run


class TestSearchOfLinesOfWhichTheLastIsNotIndexed(TestSearchOfIndexedLines):
    kind = AllButTheLast


class TestSearchOfLinesThatAreNotIndexed(TestSearchOfIndexedLines):
    kind = Harness


def test_what_was_kept_is_there_after_a_restart_and_the_numbers_go_on(tmp_path: Path) -> None:
    with use(tmp_path) as run:
        before = run.append(said("a"), Action(1, "bob", "waves", 2.0))
    with use(tmp_path, tail=9) as run:
        assert run.tail == [recalled(event) for event in before]
        assert run.append(said("c")) == [said("c").with_seq(3)]
        assert [event.seq for event in run.read(1, 9)] == [1, 2, 3]


@pytest.mark.parametrize(("tail", "expected"), [(0, []), (1, [3]), (2, [2, 3]), (3, [1, 2, 3]), (5000, [1, 2, 3])])
def test_open_returns_the_last_events_as_many_as_were_asked_for(tmp_path: Path, tail: int, expected: list[int]) -> None:
    with use(tmp_path) as run:
        run.append(said("a"), said("b"), said("c"))
    with use(tmp_path, tail) as run:
        assert [event.seq for event in run.tail] == expected


def test_open_returns_more_than_a_thousand_events_where_asked(tmp_path: Path) -> None:
    with use(tmp_path) as run:
        run.append(*(said("x") for _ in range(1500)))
    with use(tmp_path, tail=1200) as run:
        assert [event.seq for event in run.tail] == list(range(301, 1501))


def test_close_keeps_everything_that_was_appended(tmp_path: Path) -> None:
    with use(tmp_path) as run:
        for number in range(5000):
            run.journal.append(said(str(number)))
    with use(tmp_path, tail=1) as run:
        assert [(event.seq, event.text) for event in run.tail] == [(5000, "4999")]


def test_close_answers_what_was_asked_and_leaves_one_file_and_no_threads(tmp_path: Path) -> None:
    with use(tmp_path) as run:
        run.append(said("a"))
        answers: list[object] = []
        run.journal.read(1, 1, answers.append)
        assert len(journal_threads()) == 2
    run.turns.settle()
    assert answers == [[recalled(said("a").with_seq(1))]]
    assert journal_threads() == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [FILE, "lock"]


def test_a_second_open_in_the_same_process_is_refused_and_does_the_first_no_harm(tmp_path: Path) -> None:
    with use(tmp_path) as run:
        second = SqliteJournal(tmp_path, Turns().wake)
        with pytest.raises(JournalInUse, match="another server has") as caught:
            second.open(0)
        assert str(tmp_path) in str(caught.value)
        second.close()
        assert run.append(said("a")) == [said("a").with_seq(1)]
        with pytest.raises(JournalInUse):
            SqliteJournal(tmp_path, Turns().wake).open(0)


def test_a_second_open_in_another_process_is_refused(tmp_path: Path) -> None:
    script = "import sys, pathlib; from broadcast.journals.sqlite.journal import SqliteJournal as J\n"
    script += "J(pathlib.Path(sys.argv[1]), lambda call: None).open(0)"
    with use(tmp_path):
        command = [sys.executable, "-c", script, str(tmp_path)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    assert ended.returncode == 1
    assert "JournalInUse" in ended.stderr
    assert str(tmp_path) in ended.stderr


def test_only_the_owner_can_look_into_the_files(tmp_path: Path) -> None:
    folder = tmp_path / "var" / "journal"
    with use(folder) as run:
        run.append(said("a"))
        run.read(1, 1)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == dict.fromkeys((FILE, FILE + "-wal", FILE + "-shm", "lock"), 384)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_relative_folder_stays_where_it_was_when_the_process_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    turns = Turns()
    journal = SqliteJournal(Path("data"), turns.wake)
    monkeypatch.chdir("/")
    with opened(journal, turns):
        assert (tmp_path / "data" / FILE).exists()


def test_a_folder_name_may_hold_what_means_something_in_an_address(tmp_path: Path) -> None:
    folder = tmp_path / "a b?mode=memory#c%20é"
    with use(folder) as run:
        run.append(said("a"))
    with use(folder, tail=1) as run:
        assert len(run.tail) == 1


def test_a_failed_open_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"garbage" * 1000)
    journal = SqliteJournal(tmp_path, Turns().wake)
    with pytest.raises(JournalDamaged):
        journal.open(0)
    journal.close()
    assert journal_threads() == []
    (tmp_path / FILE).unlink()
    with use(tmp_path) as run:
        assert run.append(said("a")) == [said("a").with_seq(1)]


def test_an_open_that_fails_late_holds_nothing_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(*_: object) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "QueryThread", no_thread)
        with pytest.raises(RuntimeError):
            SqliteJournal(tmp_path, Turns().wake).open(0)
    assert journal_threads() == []
    with use(tmp_path):
        pass


def test_close_without_open_does_nothing(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "none", Turns().wake)
    journal.close()
    journal.close()
    assert not (tmp_path / "none").exists()


def test_a_folder_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="cannot use the folder"):
        SqliteJournal(tmp_path / "file" / "data", Turns().wake).open(0)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_rights_is_a_clear_error(tmp_path: Path) -> None:
    with use(tmp_path):
        pass
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(JournalError, match="cannot use"):
            SqliteJournal(tmp_path, Turns().wake).open(0)
    finally:
        tmp_path.chmod(0o700)


STREAM = """
import os, pathlib, queue, sys
from broadcast.core.events import Message
from broadcast.journals.sqlite.journal import SqliteJournal
calls = queue.SimpleQueue()
journal = SqliteJournal(pathlib.Path(sys.argv[1]), calls.put)
journal.open(0)
def told(events):
    for _ in events:
        journal.append(Message(1, "ann", "x" * 200, 1.0))
    os.write(1, b"%d\\n" % events[-1].seq)
journal.subscribe(told)
for _ in range(100):
    journal.append(Message(1, "ann", "x" * 200, 1.0))
while True:
    calls.get()()
"""


def test_whatever_was_acknowledged_outlives_kill_9_and_the_numbers_stay_dense(tmp_path: Path) -> None:
    acknowledged = 0
    for lines in (1, 3, 20, 60, 150):
        command = [sys.executable, "-c", STREAM, str(tmp_path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as server:  # noqa: S603
            assert server.stdout is not None
            for _ in range(lines):
                assert server.stdout.readline()
            server.kill()
            acknowledged = int(server.stdout.read().split(b"\n")[-2:][0] or acknowledged)
        with use(tmp_path, tail=1) as run:
            last = run.tail[0].seq
            assert last >= acknowledged
            assert [event.seq for event in run.read(1, last)] == list(range(1, last + 1))
            acknowledged = last
