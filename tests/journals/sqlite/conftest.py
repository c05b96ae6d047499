"""The journal that the tests of its threads share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journals.contract import Harness
from tests.journals.sqlite.support import index_on_demand, open_sqlite


@pytest.fixture
def no_indexing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable indexing, which would use the connection while a test breaks it or looks at every statement."""
    index_on_demand(monkeypatch)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Harness]:
    """An empty journal."""
    with open_sqlite(tmp_path) as harness:
        yield harness
