"""The numbers of private lines that wait, their confirmation, and what is left of both after a restart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from broadcast.core.accounts import Account
from broadcast.core.errors import JournalError, RecipientNotReading
from broadcast.core.membership import Member
from broadcast.core.private_lines import MAX_WAITING, MAX_WAITING_FROM_ONE, PrivateLines
from broadcast.core.records import AccountRecord, PrivateLine
from broadcast.core.source import Source
from broadcast.journals.memory import MemoryJournal

ANN, BOB = Account(AccountRecord(1, "ann")), Account(AccountRecord(2, "bob"))


def member(account: Account | None, address: str = "192.0.2.7") -> Member:
    """Return a member who is logged in to *account*, or comes from *address*."""
    nick = "guest" if account is None else account.name
    return Member(7, nick, None, account=account, source=Source(address))  # type: ignore[arg-type]


class Run:
    """Private lines in the journal in memory."""

    def __init__(self) -> None:
        self._soon: list[Callable[[], None]] = []
        self.journal = MemoryJournal(self._soon.append)
        self.lines = PrivateLines(self.journal.records)
        self.stored: list[Any] = []

    def settle(self) -> None:
        while self._soon:
            self._soon.pop(0)()

    def restart(self) -> None:
        """Go on as a new server with the same journal."""
        self.lines = PrivateLines(self.journal.records)
        self.lines.load(self.journal.records.load())

    def store(self, sender: Member, number: int = 1) -> None:
        """Store *number* lines from *sender* to ann."""
        for _ in range(number):
            self.lines.check_space(sender, ANN)
            self.lines.store(sender, ANN, "psst", 5.0, self.stored.append)
        self.settle()
        for line in self.stored[-number:]:
            self.lines.note_sent(line)

    def waiting(self) -> list[int]:
        """Send ann the lines that wait, as at a login, and return their ids."""
        result: list[Sequence[PrivateLine] | JournalError] = []
        self.lines.read_waiting(ANN, result.append)
        self.settle()
        (lines,) = result
        assert not isinstance(lines, JournalError)
        for line in lines:
            self.lines.note_sent(line)
        return [line.id for line in lines]


@pytest.fixture
def run() -> Run:
    """Private lines without any line."""
    return Run()


def test_limits_and_numbers_hold_after_a_restart(run: Run) -> None:
    run.store(member(BOB), MAX_WAITING_FROM_ONE)
    run.restart()
    with pytest.raises(RecipientNotReading, match="20 of your messages wait for ann already"):
        run.store(member(BOB))
    run.store(member(None), MAX_WAITING_FROM_ONE)
    assert run.waiting() == [*range(1, 41)]
    run.lines.confirm(run.stored[-1])
    run.settle()
    assert run.waiting() == []
    run.store(member(BOB))
    assert run.waiting() == [41]


def test_guests_are_counted_by_address_and_all_together(run: Run) -> None:
    for number in range(MAX_WAITING // MAX_WAITING_FROM_ONE):
        run.store(member(None, f"192.0.2.{number}"), MAX_WAITING_FROM_ONE)
    with pytest.raises(RecipientNotReading, match="200 messages wait for ann already"):
        run.store(member(None, "198.51.100.1"))
    run.restart()
    with pytest.raises(RecipientNotReading, match="200 messages wait for ann already"):
        run.store(member(BOB))


def test_confirmation_covers_earlier_lines_only(run: Run) -> None:
    run.store(member(BOB), 3)
    run.lines.confirm(run.stored[1])
    run.settle()
    assert run.waiting() == [3]
    run.lines.confirm(run.stored[1])
    run.settle()
    assert run.waiting() == [3]


def test_reading_waits_for_all_confirmations(run: Run) -> None:
    run.store(member(BOB), 3)
    run.lines.confirm(run.stored[0])
    run.lines.confirm(run.stored[2])
    assert run.waiting() == []
    inbox: list[Sequence[PrivateLine] | JournalError] = []
    run.lines.read_inbox(ANN, inbox.append)
    run.settle()
    assert inbox == [[replace(line, delivered=True) for line in run.stored]]


def test_failed_confirmation_lets_the_lines_wait(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.store(member(BOB), 2)

    def fail(_changes: object, on_done: Callable[[JournalError], None]) -> None:
        on_done(JournalError("disk full"))

    with monkeypatch.context() as patch:
        patch.setattr(run.journal.records, "write", fail)
        run.lines.confirm(run.stored[0])
    assert run.waiting() == [1, 2]
    run.lines.confirm(run.stored[1])
    assert run.waiting() == []


def test_line_with_a_lower_id_that_was_not_sent_waits(run: Run) -> None:
    run.store(member(BOB), 3)
    first, second, third = run.stored
    for account in (ANN.id, ANN.id + 50):
        run.lines._sent.pop(account, None)
    run.lines.note_sent(third)
    run.lines.note_sent(second)
    run.lines.note_sent(third)
    run.lines.confirm(second)
    run.settle()
    assert run.waiting() == [first.id, third.id]
    run.lines._sent.clear()
    run.lines.confirm(third)  # though nothing of it is known any more
    run.settle()
    assert run.waiting() == [first.id]
