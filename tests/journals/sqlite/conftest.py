"""The journals that the tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from broadcast.journals.sqlite.journal import FILE
from broadcast.journals.sqlite.opening import open_database
from tests.journals.contract import Harness
from tests.journals.sqlite.support import index_on_demand, open_file, open_sqlite


@pytest.fixture
def no_indexing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable indexing, which would use the connection while a test breaks it or looks at every statement."""
    index_on_demand(monkeypatch)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Harness]:
    """An empty journal."""
    with open_sqlite(tmp_path) as harness:
        yield harness


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed journal of 3,000 lines."""
    path = tmp_path / FILE
    open_database(path, 0).db.close()
    with open_file(tmp_path) as db:
        db.execute("BEGIN")
        rows = ((seq,) for seq in range(1, 3001))
        db.executemany("INSERT INTO events (seq, at, kind, nick, text) VALUES (?, 1.5, 'said', 'ann', 'hello')", rows)
        db.execute("COMMIT")
    return path
