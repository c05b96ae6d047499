"""The models of the server, which the other tests run in memory, with journals that store on threads of their own.

``BROADCAST_LONG=1`` tries many more examples.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

import tests.harness
from broadcast.core.interfaces import Journal
from broadcast.core.time_slice import CallSoon
from broadcast.journals.postgres.database import Database
from broadcast.journals.postgres.journal import PostgresJournal
from broadcast.journals.sqlite.journal import SqliteJournal
from tests.postgres import PostgresServer
from tests.test_accounts_model import AccountsMachine
from tests.test_model import PromptClients, SlowClients
from tests.test_moderation_model import Moderated
from tests.test_program_model import Model
from tests.test_rooms_model import Movers

LONG = bool(os.environ.get("BROADCAST_LONG"))
MACHINES = [PromptClients, SlowClients, Movers, Model, AccountsMachine, Moderated]
FEW = settings(
    max_examples=100 if LONG else 4,
    stateful_step_count=50 if LONG else 25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # what a thread does in the next try is never quite the same
    suppress_health_check=list(HealthCheck),
)


class Journals:
    """Makes an empty journal for each example, after it has closed the previous one."""

    def __init__(self, make: Callable[[CallSoon], Journal]) -> None:
        self._make = make
        self._opened: Journal | None = None

    def make(self, call_soon: CallSoon) -> Journal:
        self.close()
        self._opened = self._make(call_soon)
        return self._opened

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()


@contextmanager
def all_worlds_use(make: Callable[[CallSoon], Journal]) -> Iterator[None]:
    """Let each ``World`` have a journal of *make*."""
    journals = Journals(make)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tests.harness, "make_threaded_journal", journals.make)
        try:
            yield
        finally:
            journals.close()


@pytest.mark.parametrize("machine", MACHINES)
def test_models_hold_over_sqlite(machine: type[RuleBasedStateMachine]) -> None:
    with TemporaryDirectory() as folder:
        numbers = count(1)

        def make(call_soon: CallSoon) -> Journal:
            return SqliteJournal(Path(folder) / str(next(numbers)), call_soon)

        with all_worlds_use(make):
            run_state_machine_as_test(machine, settings=FEW)


@pytest.mark.parametrize("machine", MACHINES)
def test_models_hold_over_postgresql(machine: type[RuleBasedStateMachine], postgres: PostgresServer) -> None:
    def make(call_soon: CallSoon) -> Journal:
        postgres.empty()
        return PostgresJournal(Database(postgres.url()), call_soon)

    with all_worlds_use(make):
        run_state_machine_as_test(machine, settings=FEW)
