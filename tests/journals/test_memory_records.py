"""The records of the journal in memory fulfil the contract, and their number is limited."""

from __future__ import annotations

from contextlib import AbstractContextManager

import pytest

from broadcast.core.errors import JournalError
from broadcast.core.records import AddAudit, AddPrivate, AuditEntry
from broadcast.core.search_query import parse_query
from broadcast.journals import memory_records
from broadcast.journals.memory import MemoryJournal
from tests.journals.contract import Harness, open_journal
from tests.journals.records_contract import RecordsContract, RecordsHarness, ids, private


class TestMemoryRecords(RecordsContract):
    def fresh(self) -> AbstractContextManager[Harness]:
        return open_journal(MemoryJournal)


def test_oldest_private_lines_and_audit_entries_are_forgotten() -> None:
    with open_journal(lambda call_soon: MemoryJournal(call_soon, limit=3)) as run:
        records = RecordsHarness(run)
        records.write(*(AddPrivate(private(number, 1, 2)) for number in range(1, 6)))
        records.write(*(AddAudit(AuditEntry(float(number), "ann", "kick", "bob", "")) for number in range(5)))
        assert ids(records.waiting(2)) == [3, 4, 5]
        assert [entry.at for entry in records.audit()] == [2.0, 3.0, 4.0]
        assert records.records.load().next_private == 6


def test_search_reports_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    error = JournalError("no FTS5")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(memory_records, "matching", fail)
    with open_journal(MemoryJournal) as run:
        results: list[object] = []
        run.journal.records.search_private(1, None, parse_query("a"), 9, results.append)
        run.calls.run_pending()
    assert results == [error]
