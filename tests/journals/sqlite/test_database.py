"""A connection is durable, and belongs to a file that exists."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from broadcast.core.errors import JournalError
from broadcast.journals.sqlite.database import _make_durable, connect


@pytest.mark.parametrize("writing", [False, True])
def test_connect_never_creates_a_file(tmp_path: Path, *, writing: bool) -> None:
    with pytest.raises(sqlite3.OperationalError):
        connect(tmp_path / "none", writing=writing)
    assert list(tmp_path.iterdir()) == []


def test_database_without_a_write_ahead_log_is_not_written() -> None:
    with closing(sqlite3.connect(":memory:")) as memory, pytest.raises(JournalError, match="write-ahead log"):
        _make_durable(memory)
