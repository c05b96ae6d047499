"""The SQLite journal fulfils the contract, survives a crash of its process, and belongs to one server."""

from __future__ import annotations

import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from broadcast.core.errors import JournalDamaged, JournalError, JournalInUse
from broadcast.core.events import Action, Stored
from broadcast.core.search_query import SearchQuery
from broadcast.journals.sqlite import journal as sqlite
from broadcast.journals.sqlite.journal import FILE, SqliteJournal
from tests.journals.contract import (
    Harness,
    JournalContract,
    SearchContract,
    message,
    open_journal,
    seqs,
)
from tests.journals.sqlite.support import index_all, index_on_demand, open_sqlite
from tests.platforms import needs_permissions, not_on_windows


class TestSqliteJournal(JournalContract):
    @contextmanager
    def fresh(self) -> Iterator[Harness]:
        with TemporaryDirectory() as folder, open_sqlite(Path(folder)) as run:
            yield run


class IndexingHarness(Harness):
    """A harness that indexes all lines but the newest *except_last* before each search; None: no line at all."""

    except_last: int | None = None

    def try_search(self, query: SearchQuery, last: int, limit: int) -> Sequence[Stored] | JournalError:
        if self.except_last is not None:
            index_all(self, self.except_last)
        return super().try_search(query, last, limit)


class TestSearchWithIndex(SearchContract):
    except_last: int | None

    @pytest.fixture(autouse=True, params=[0, 1, None], ids=["all indexed", "last line not indexed", "none indexed"])
    def _index_on_demand(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        self.except_last = request.param
        index_on_demand(monkeypatch)

    @contextmanager
    def fresh(self) -> Iterator[Harness]:
        with TemporaryDirectory() as folder, open_sqlite(Path(folder), kind=IndexingHarness) as run:
            assert isinstance(run, IndexingHarness)
            run.except_last = self.except_last
            yield run


def journal_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("journal")]


def test_close_commits_everything_and_the_next_open_returns_the_tail(tmp_path: Path) -> None:
    with open_sqlite(tmp_path) as run:
        events = run.append(message("a"), Action(1, "bob", "waves", 2.0))
        for number in range(3, 5001):
            run.log.append(message(str(number)))
    for tail in (0, 1, 3, 1200, 9999):
        with open_sqlite(tmp_path, tail) as run:
            assert seqs(run.tail) == list(range(max(1, 5001 - tail), 5001))
    with open_sqlite(tmp_path, tail=5000) as run:
        assert run.tail[:2] == events
        assert run.tail[-1].text == "5000"
        assert run.append(message("c")) == [message("c", 5001)]
        assert seqs(run.read(4999, 9999)) == [4999, 5000, 5001]


@needs_permissions
def test_open_makes_private_files_and_close_leaves_no_log_and_no_threads(tmp_path: Path) -> None:
    folder = tmp_path / "var" / "journal"
    answers: list[object] = []
    with open_sqlite(folder) as run:
        run.append(message("a"))
        run.read(1, 1)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
        assert modes == dict.fromkeys((FILE, FILE + "-wal", FILE + "-shm", "journal.last", "lock"), 0o600)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert len(journal_threads()) == 2
        run.log.read(1, 1, answers.append)
    run.calls.run_pending()
    assert answers == [[message("a", 1)]]
    assert journal_threads() == []
    assert sorted(path.name for path in folder.iterdir()) == ["journal.last", FILE, "lock"]


def test_second_open_is_rejected_and_does_not_disturb_the_first(tmp_path: Path) -> None:
    script = "import sys, pathlib; from broadcast.journals.sqlite.journal import SqliteJournal as J\n"
    script += "J(pathlib.Path(sys.argv[1]), lambda call: None).open('lobby', 0)"
    command = [sys.executable, "-c", script, str(tmp_path)]
    with open_sqlite(tmp_path) as run:
        for _ in range(2):
            second = SqliteJournal(tmp_path, print)
            with pytest.raises(JournalInUse, match="another server has") as caught:
                second.open("lobby", 0)
            assert str(tmp_path) in str(caught.value)
            second.close()
        process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
        assert process.returncode == 1
        assert "JournalInUse" in process.stderr
        assert str(tmp_path) in process.stderr
        assert run.append(message("a")) == [message("a", 1)]


@not_on_windows("no name there has a question mark")
def test_folder_may_be_relative_and_may_contain_uri_syntax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "a b?mode=memory#c%20é"

    def make_then_change_directory(call_soon: object) -> SqliteJournal:
        journal = SqliteJournal(Path(name), print)
        monkeypatch.chdir("/")  # as a daemon does
        return journal

    monkeypatch.chdir(tmp_path)
    with open_journal(make_then_change_directory) as run:
        run.log.append(message("a"))
    with open_sqlite(tmp_path / name, tail=1) as run:
        assert len(run.tail) == 1


def test_failed_open_releases_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_to_start(*_: object) -> None:
        raise RuntimeError

    (tmp_path / FILE).write_bytes(b"garbage" * 1000)
    journal = SqliteJournal(tmp_path, print)
    with pytest.raises(JournalDamaged):
        journal.open("lobby", 0)
    journal.close()
    assert journal_threads() == []
    (tmp_path / FILE).unlink()

    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "QueryThread", fail_to_start)
        with pytest.raises(RuntimeError):
            SqliteJournal(tmp_path, print).open("lobby", 0)
    assert journal_threads() == []

    with open_sqlite(tmp_path) as run:
        assert run.append(message("a")) == [message("a", 1)]


def test_close_without_open_does_nothing(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "none", print)
    journal.close()
    journal.close()
    assert not (tmp_path / "none").exists()
