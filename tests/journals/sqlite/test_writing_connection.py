"""After a fault, the file holds exactly the events that were reported as stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.journals.contract import Harness, message, shared
from tests.journals.sqlite.support import (
    IO_ERROR,
    WRITE_ERROR,
    append_failing,
    append_stored,
    break_connection,
    connection_of,
    open_file,
    prevent_connecting,
    stored_in,
)

pytestmark = pytest.mark.usefixtures("no_indexing")


def test_commit_is_synchronous_on_a_write_ahead_log(run: Harness) -> None:
    db = connection_of(run)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)


@pytest.mark.parametrize("after", [False, True], ids=["before execution", "after execution"])
@pytest.mark.parametrize(
    ("error", "reason"),
    [(IO_ERROR, WRITE_ERROR), (MemoryError("out of\nmemory"), "the journal cannot be written: out of memory")],
)
def test_event_reported_as_failed_is_not_in_the_file(
    run: Harness, tmp_path: Path, error: Exception, reason: str, *, after: bool
) -> None:
    append_stored(run, "a", 1)
    break_connection(run, error, after=after)
    assert append_failing(run, message("b")) == reason
    assert stored_in(tmp_path) == [(1, "a")]
    append_stored(run, "c", 2)
    assert stored_in(tmp_path) == [(1, "a"), (2, "c")]


def test_doubtful_commit_is_undone_once_the_file_is_reachable(
    run: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_stored(run, "a", 1)
    break_connection(run, after=True)
    with monkeypatch.context() as patch:
        prevent_connecting(patch)
        append_failing(run, message("b"))
        assert "unable to open" in append_failing(run, message("c"))
    append_stored(run, "d", 2)
    assert stored_in(tmp_path) == [(1, "a"), (2, "d")]


@pytest.mark.parametrize("after", [False, True])
def test_failed_commit_leaves_no_file_behind(run: Harness, tmp_path: Path, *, after: bool) -> None:
    append_stored(run, "a", 1)
    break_connection(run, after=after)
    append_failing(run, shared("b"))
    assert stored_in(tmp_path) == [(1, "a")]
    with open_file(tmp_path) as db:
        assert db.execute("SELECT * FROM files").fetchall() == []
    assert run.append(message("x"), shared("c")) == [message("x", 2), shared("c", 3)]
    assert run.read_files() == [shared("c", 3)]


def test_file_that_has_lost_lines_is_not_written(run: Harness, tmp_path: Path) -> None:
    run.append_texts("ab")
    with open_file(tmp_path) as other:
        other.execute("DELETE FROM events")
    break_connection(run)
    append_failing(run, message("c"))
    assert "no longer holds what was kept" in append_failing(run, message("d"))
