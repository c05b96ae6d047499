"""Helpers for tests of the PostgreSQL journal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from broadcast.core.events import Event
from broadcast.core.interfaces import Journal
from broadcast.core.stats import CommitStats
from broadcast.journals.postgres.database import Database
from broadcast.journals.postgres.journal import PostgresJournal
from tests.journals.contract import Harness, ReactorCalls, open_journal
from tests.postgres import PostgresServer


class NodeHarness(Harness):
    """A journal that also receives the events of other servers."""

    def __init__(self, journal: Journal, calls: ReactorCalls, tail: int = 0, name: str = "lobby") -> None:
        self.foreign: list[Event] = []
        """The events of other servers."""
        super().__init__(journal, calls, tail, name)

    def _receive(self, events: Sequence[Event], foreign: Sequence[Event] = ()) -> None:
        super()._receive(events, foreign)
        self.foreign.extend(foreign)


@contextmanager
def open_postgres(
    url: str, node: str = "one", stats: CommitStats | None = None, tail: int = 0
) -> Iterator[NodeHarness]:
    """Open the journal in the database at *url*, as the server *node*."""
    database = Database(url, node=node)
    with open_journal(lambda call_soon: PostgresJournal(database, call_soon, stats), tail, NodeHarness) as run:
        assert isinstance(run, NodeHarness)
        yield run


class OnPostgres:
    """A class of tests of empty journals in PostgreSQL."""

    @pytest.fixture(autouse=True)
    def _use(self, postgres: PostgresServer) -> None:
        self.postgres = postgres
        self.open = 0

    @contextmanager
    def fresh(self) -> Iterator[Harness]:
        """Open an empty journal; one in a database of its own while another one is open."""
        name = self.postgres.create_database() if self.open else ""
        if not name:
            self.postgres.empty()
        self.open += 1
        try:
            with open_postgres(self.postgres.url(name) if name else self.postgres.url()) as harness:
                yield harness
        finally:
            self.open -= 1
            if name:
                self.postgres.drop_database(name)
