"""The contract suite of the records of a journal, and the harness that calls them without a reactor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import pytest

from broadcast.core.errors import JournalError
from broadcast.core.records import (
    AccountRecord,
    AddAudit,
    AddPrivate,
    AuditEntry,
    Ban,
    ChangeAccount,
    DeleteAccount,
    DeleteBan,
    MarkDelivered,
    PrivateLine,
    RecordChange,
    SaveAccount,
    SaveBan,
    StoredRecords,
)
from broadcast.core.search_query import parse_query
from tests.journals.contract import Harness

T = TypeVar("T")

ANN = AccountRecord(1, "ann", "$argon2id$1", "operator", 1.5, 2.5, "https://id.example", "subject-1")
BOB = AccountRecord(2, "Bób", "$argon2id$2", created=3.0)
BAN = Ban(1, "account", "2", "Bób", "shouting", "ann", 4.0, None)
ADDRESS_BAN = Ban(2, "address", "192.0.2.0/24", "192.0.2.7", "", "ann", 5.0, 99.5)

EMPTY = StoredRecords([], [])


def private(number: int, sender: int, recipient: int, text: str = "psst", *, delivered: bool = False) -> PrivateLine:
    """Return a private line between two accounts, whose names are their ids."""
    return PrivateLine(number, number / 2, sender, f"n{sender}", recipient, f"n{recipient}", text, delivered, uid="u-1")


class RecordsHarness:
    """The records of an open journal. Each method waits for the result."""

    def __init__(self, run: Harness) -> None:
        self.calls = run.calls
        self.records = run.journal.records
        self.loaded = self.records.load()

    def load(self) -> tuple[Sequence[AccountRecord], Sequence[Ban]]:
        """Return the accounts and the bans."""
        stored = self.records.load()
        return stored.accounts, stored.bans

    def try_write(self, *changes: RecordChange) -> JournalError | None:
        """Write *changes* and return the result."""
        results: list[JournalError | None] = []
        self.records.write(changes, results.append)
        assert results == [], "the result comes in a later turn"
        self.calls.run_until(lambda: bool(results))
        return results[0]

    def write(self, *changes: RecordChange) -> None:
        """Write *changes*, which must succeed."""
        assert self.try_write(*changes) is None

    def wait_for(self, ask: Callable[[Callable[[Sequence[T] | JournalError], None]], None]) -> Sequence[T]:
        """Return what *ask* finds."""
        results: list[Sequence[T] | JournalError] = []
        ask(results.append)
        assert results == [], "the result comes in a later turn"
        self.calls.run_until(lambda: bool(results))
        assert not isinstance(results[0], JournalError), results
        return results[0]

    def private(
        self, account: int, other: int | None = None, before: int | None = None, limit: int = 99
    ) -> Sequence[PrivateLine]:
        """Return the lines that a read finds."""
        return self.wait_for(lambda receive: self.records.read_private(account, other, before, limit, receive))

    def inbox(self, account: int, limit: int = 99) -> Sequence[PrivateLine]:
        """Return the delivered lines to *account*."""
        return self.wait_for(lambda receive: self.records.read_inbox(account, limit, receive))

    def waiting(self, account: int) -> Sequence[PrivateLine]:
        """Return the lines that wait for *account*."""
        return self.wait_for(lambda receive: self.records.read_waiting(account, receive))

    def search(self, account: int, line: str, limit: int = 99, other: int | None = None) -> Sequence[PrivateLine]:
        """Return the lines that a search for *line* finds."""
        query = parse_query(line)
        return self.wait_for(lambda receive: self.records.search_private(account, other, query, limit, receive))

    def audit(self, limit: int = 99) -> Sequence[AuditEntry]:
        """Return the newest entries of the audit trail."""
        return self.wait_for(lambda receive: self.records.read_audit(limit, receive))


def ids(lines: Sequence[PrivateLine]) -> list[int]:
    """Return the ids of *lines*."""
    return [line.id for line in lines]


class RecordsContract:
    """All promises of the records of a journal. The test class of each implementation inherits them."""

    def fresh(self) -> AbstractContextManager[Harness]:
        """Open a new, empty journal."""
        raise NotImplementedError

    @pytest.fixture
    def records(self) -> Iterator[RecordsHarness]:
        with self.fresh() as run:
            yield RecordsHarness(run)

    def test_new_journal_has_no_records(self, records: RecordsHarness) -> None:
        assert (records.loaded.accounts, records.loaded.bans, records.loaded.waiting) == ([], [], {})
        assert [*records.private(1), *records.inbox(1), *records.waiting(1), *records.search(1, "a")] == []
        assert records.audit() == []

    def test_accounts_and_bans_are_stored_replaced_and_deleted(self, records: RecordsHarness) -> None:
        records.write(SaveAccount(ANN), SaveAccount(BOB), SaveBan(BAN), SaveBan(ADDRESS_BAN))
        assert records.load() == ([ANN, BOB], [BAN, ADDRESS_BAN])
        renamed, longer = replace(ANN, name="anna", password_hash="", last_used=9.0), replace(BAN, until=7.0)
        records.write(SaveAccount(renamed), SaveBan(longer))
        assert records.load() == ([renamed, BOB], [longer, ADDRESS_BAN])
        records.write(DeleteAccount(1), DeleteBan(1))
        assert records.load() == ([BOB], [ADDRESS_BAN])

    def test_change_of_an_account_keeps_its_other_fields(self, records: RecordsHarness) -> None:
        records.write(SaveAccount(ANN), SaveAccount(BOB))
        records.write(ChangeAccount(1, {"name": "Ánna", "last_used": 9.0}), ChangeAccount(1, {"role": ""}))
        assert records.load()[0] == [replace(ANN, name="Ánna", last_used=9.0, role=""), BOB]

    def test_id_of_a_deleted_record_is_not_given_again(self, records: RecordsHarness) -> None:
        records.write(SaveAccount(ANN), SaveAccount(BOB), SaveBan(BAN), AddPrivate(private(1, 1, 2)))
        records.write(DeleteAccount(2), DeleteAccount(1), DeleteBan(1))
        stored = records.records.load()
        assert (stored.accounts, stored.bans) == ([], [])
        assert stored.next_account > 2
        assert min(stored.next_ban, stored.next_private) > 1

    def test_changes_of_what_is_not_there_do_nothing(self, records: RecordsHarness) -> None:
        records.write(DeleteAccount(7), DeleteBan(7), MarkDelivered(7, [7]))
        assert records.load() == ([], [])

    def test_private_lines_are_read_by_account_and_by_pair(self, records: RecordsHarness) -> None:
        pairs = [(1, 2), (2, 1), (1, 3), (3, 2), (1, 1), (0, 1), (2, 1)]
        lines = [private(number, *pair, delivered=number != 2) for number, pair in enumerate(pairs, 1)]
        records.write(*map(AddPrivate, lines))
        assert records.private(1) == [line for line in lines if line.id != 4]
        assert records.private(1)[1].delivered is False
        assert ids(records.private(1, 2)) == ids(records.private(2, 1)) == [1, 2, 7]
        assert ids(records.private(1, 2, before=7)) == [1, 2]
        assert ids(records.private(1, 2, before=2)) == [1]
        assert ids(records.private(1, 2, before=10**30, limit=2)) == [2, 7]
        assert ids(records.private(1, limit=3)) == [5, 6, 7]
        assert ids(records.private(1, before=6, limit=2)) == [3, 5]
        assert ids(records.private(1, 1)) == [5]
        assert records.private(1, 9) == records.private(9) == records.private(1, limit=0) == []

    def test_line_waits_until_it_is_marked_as_delivered(self, records: RecordsHarness) -> None:
        records.write(*(AddPrivate(private(number, number % 2, 5)) for number in range(1, 6)))
        records.write(AddPrivate(private(6, 1, 5, delivered=True)), AddPrivate(private(7, 5, 1)))
        assert records.records.load().waiting == {5: {1: 1, 2: 0, 3: 1, 4: 0, 5: 1}, 1: {7: 5}}
        assert ids(records.waiting(5)) == [1, 2, 3, 4, 5]
        assert ids(records.inbox(5)) == [6]
        records.write(MarkDelivered(5, [1, 2, 3, 7, 99]), MarkDelivered(1, []))
        assert ids(records.waiting(5)) == [4, 5]
        assert ids(records.inbox(5)) == [1, 2, 3, 6]
        assert ids(records.inbox(5, limit=2)) == [3, 6]
        assert ids(records.waiting(1)) == [7]
        records.write(MarkDelivered(5, [5]))
        assert ids(records.waiting(5)) == [4]
        assert records.records.load().waiting == {5: {4: 0}, 1: {7: 5}}

    def test_private_lines_to_a_deleted_account_are_deleted_and_those_from_it_name_no_account(
        self, records: RecordsHarness
    ) -> None:
        lines = [private(1, 1, 2), private(2, 2, 1), private(3, 1, 3), private(4, 3, 2, delivered=True)]
        records.write(SaveAccount(BOB), *map(AddPrivate, lines))
        records.write(DeleteAccount(2))
        assert records.private(1) == [replace(lines[1], sender_account=0), lines[2]]
        assert records.private(2) == records.private(3, 2) == []
        assert records.records.load().waiting == {1: {2: 0}, 3: {3: 1}}

    def test_search_finds_lines_of_the_account_alone(self, records: RecordsHarness) -> None:
        texts = ["The build is red", "a Bücherei", "build the red", "no", "the build"]
        lines = [private(number, 1 + number % 2, 3, text) for number, text in enumerate(texts, 1)]
        records.write(*map(AddPrivate, lines))
        assert ids(records.search(3, "build")) == [1, 3, 5]
        assert ids(records.search(3, "build", limit=2)) == [3, 5]
        assert ids(records.search(3, '"the build"')) == [1, 5]
        assert records.search(3, "BUCHEREI") == [lines[1]]
        assert ids(records.search(1, "no")) == [4]
        assert ids(records.search(3, "build", other=1)) == []
        assert ids(records.search(3, "build", limit=2, other=2)) == [3, 5]
        assert records.search(2, "no") == records.search(3, "...") == records.search(3, "") == []

    def test_search_covers_thousands_of_lines(self, records: RecordsHarness) -> None:
        lines = (private(number, 1, 2, "rare" if number % 2000 == 1 else "usual") for number in range(1, 5001))
        records.write(*map(AddPrivate, lines))
        assert ids(records.search(2, "rare")) == [1, 2001, 4001]
        assert ids(records.search(1, "usual", limit=2)) == [4999, 5000]

    def test_audit_trail_is_read_from_its_end(self, records: RecordsHarness) -> None:
        entries = [AuditEntry(number / 2, "ann", "kick", f"bob{number}", "why") for number in range(5)]
        records.write(AddAudit(entries[0]))
        records.write(*map(AddAudit, entries[1:]))
        assert (records.audit(), records.audit(2), records.audit(0)) == (entries, entries[3:], [])

    @pytest.mark.parametrize(
        "change",
        [
            SaveAccount(replace(ANN, name="\ud800")),
            ChangeAccount(2, {"name": "\ud800"}),
            AddPrivate(private(9, 1, 2, "\ud800")),
        ],
        ids=["account", "change", "private line"],
    )
    def test_text_that_cannot_be_stored_fails_with_all_changes_of_the_call(
        self, records: RecordsHarness, change: RecordChange
    ) -> None:
        results: list[Any] = []
        records.records.write([SaveAccount(BOB), change], results.append)
        records.records.write([SaveBan(BAN)], results.append)
        records.calls.run_until(lambda: len(results) == 2)
        assert sorted(map(str, results)) == ["None", "the text is not valid Unicode"]
        assert records.load() == ([], [BAN])

    def test_results_come_in_the_order_of_the_writes(self, records: RecordsHarness) -> None:
        order: list[int] = []

        def report(number: int, _error: JournalError | None) -> None:
            order.append(number)

        for number in range(20):
            change = SaveAccount(replace(ANN, last_used=float(number)))
            records.records.write([change], partial(report, number))
        records.calls.run_until(lambda: len(order) == 20)
        assert order == [*range(20)]
        assert records.records.load().accounts == [replace(ANN, last_used=19.0)]

    def test_closed_journal_reports_nothing(self) -> None:
        results: list[object] = []
        with self.fresh() as run:
            run.journal.records.load()
            run.journal.records.write([SaveAccount(ANN)], results.append)
        run.calls.run_pending()
        assert results == []

    def test_lines_of_rooms_and_records_are_stored_side_by_side(self) -> None:
        with self.fresh() as run:
            records = RecordsHarness(run)
            results: list[object] = []
            records.records.write([AddPrivate(private(1, 1, 2))], results.append)
            run.append_texts("ab")
            records.write(AddPrivate(private(2, 1, 2)))
            run.append_texts("c")
            assert [event.seq for event in run.read(1, 9)] == [1, 2, 3]
            assert results == [None]
            assert ids(records.waiting(2)) == [1, 2]
