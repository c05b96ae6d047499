"""A server with a journal in PostgreSQL, which shares its records with other ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import monotonic, sleep
from typing import Any

from broadcast.core.accounts import Account
from broadcast.core.interfaces import Journal
from broadcast.core.membership import Member
from broadcast.core.private_lines import PrivateLines
from broadcast.core.records import AccountRecord, AuditEntry
from broadcast.core.source import Source
from broadcast.core.time_slice import CallSoon
from broadcast.journals.postgres.database import Database
from broadcast.journals.postgres.journal import PostgresJournal
from tests.harness import World
from tests.journals.contract import TIMEOUT

ENTRY = AuditEntry(1.0, "olga", "ban", "bob", "")


class Server(World):
    """The server *name* of the database at *url*."""

    def __init__(self, url: str, name: str, number: int) -> None:
        self._database = Database(url, node=name)
        self._number = number
        self.results: list[Any] = []
        super().__init__(journal=self._make_journal)

    def _make_journal(self, call_soon: CallSoon) -> Journal:
        self.shared = PostgresJournal(self._database, call_soon)
        self.directory = self.shared.make_directory(unicode=False)
        return self.shared

    def hub_options(self) -> dict[str, Any]:
        """Return the directory, and a range of session ids."""
        return {"first_session": self._number << 32, "directory": self.directory}

    def wait_until(self, done: Callable[[], bool]) -> None:
        """Run this server until *done*. Other servers do nothing meanwhile."""
        end = monotonic() + TIMEOUT
        while not done():
            assert monotonic() < end
            self.run_pending()
            sleep(0.001)

    def run_pending(self) -> None:
        """Make the calls on the reactor's thread that wait."""
        while self._soon:
            self._soon.pop(0)()

    def add(self, name: str, **values: Any) -> None:  # noqa: ANN401 - fields
        """Register *name*."""
        self.hub.accounts.add(AccountRecord(0, name, **values), self.results.append)

    def change(self, account: str, **values: Any) -> None:  # noqa: ANN401 - fields
        """Change *values* of *account*."""
        self.hub.accounts.change(self.account(account), self.results.append, **values)

    def account(self, name: str) -> Account:
        """Return the account *name*."""
        account = self.hub.accounts.find(name)
        assert account is not None
        return account

    def ban(self, name: str, why: str = "") -> None:
        """Ban the nickname *name*."""
        change = self.hub.moderation.ban("nickname", name, name, why, "olga", 1.0, None)
        self.hub.moderation.write(ENTRY, [change], self.results.append)

    def unban(self, name: str) -> None:
        """End the ban of *name*."""
        self.hub.moderation.write(ENTRY, self.hub.moderation.unban(name, None), self.results.append)

    def tell(self, sender: str, recipient: str) -> None:
        """Store a private line that waits."""
        member = Member(1, sender, None, account=self.account(sender), source=Source(None))  # type: ignore[arg-type]
        self.lines.store(member, self.account(recipient), "psst", 1.0, self.results.append)

    @property
    def lines(self) -> PrivateLines:
        """The private lines."""
        return self.hub.private_lines

    def state(self) -> tuple[object, ...]:
        """Return all records in memory."""
        bans = sorted(self.hub.moderation.bans(0.0), key=lambda ban: ban.id)
        accounts = sorted((account.record for account in self.hub.accounts), key=lambda record: record.id)
        assert all(account.queued is account.record for account in self.hub.accounts)
        return accounts, bans, waiting_lines(self.lines._waiting, accounts)


def waiting_lines(
    waiting: Mapping[int, Mapping[int, object]], accounts: Sequence[AccountRecord]
) -> dict[int, list[int]]:
    """Return the ids of the lines that wait for *accounts*."""
    return {account.id: sorted(waiting[account.id]) for account in accounts if account.id in waiting}
