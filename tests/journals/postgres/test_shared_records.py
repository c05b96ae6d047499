"""The servers of one database have the same accounts, bans and waiting messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from random import Random
from time import monotonic, sleep
from typing import Any

import pytest

from broadcast.core.errors import AccountChanged, JournalError, NameRejected, RejectedError
from broadcast.core.interfaces import OpenedRoom
from broadcast.core.records import AccountRecord, AddAudit, PrivateLine, StoredRecords
from broadcast.core.remembered_logins import is_login
from broadcast.journals.postgres.database import Database
from broadcast.journals.postgres.records import ID_STEP, read_records
from tests.journals.contract import LONG, TIMEOUT
from tests.journals.postgres.servers import ENTRY, Server, waiting_lines


class Servers:
    """Two servers of one database."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        self.both = [Server(url, name, number) for number, name in enumerate(("one", "two"))]
        for server in self.both:
            stack.enter_context(closing(server.shared))
        self.db = stack.enter_context(closing(Database(url).connect()))

    def until(self, done: Callable[[], bool]) -> None:
        """Run both servers until *done*."""
        end = monotonic() + TIMEOUT
        while not done():
            assert monotonic() < end
            for server in self.both:
                server.run_pending()
            sleep(0.001)

    def settle(self) -> list[list[Any]]:
        """Wait until all writes have a result and all servers know them. Return the results, by server."""
        ended: list[JournalError | None] = []
        for server in self.both:
            server.shared.records.write([AddAudit(ENTRY)], ended.append)
        self.until(lambda: len(ended) == len(self.both))
        self.db.execute("INSERT INTO last_ids VALUES ('changes', 0) ON CONFLICT DO NOTHING")
        row = self.db.execute("SELECT id FROM last_ids WHERE kind = 'changes'").fetchone()
        assert row is not None
        self.until(lambda: all(server.shared._feed._position >= row[0] for server in self.both))
        self.until(lambda: not any(server._soon for server in self.both))
        results = [server.results for server in self.both]
        for server in self.both:
            server.results = []
        return results

    def verify(self) -> StoredRecords:
        """Verify that both servers have what is stored, and return it."""
        stored = read_records(self.db)
        for server in self.both:
            assert server.state() == (stored.accounts, stored.bans, waiting_lines(stored.waiting, stored.accounts))
        return stored


@pytest.fixture
def servers(postgres_url: str) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(postgres_url, stack)


@pytest.fixture
def one(servers: Servers) -> Server:
    """A server that knows the accounts ann and bob."""
    servers.both[0].add("ann")
    servers.both[0].add("bob", password_hash="old")
    servers.settle()
    return servers.both[0]


@pytest.fixture
def two(servers: Servers, one: Server) -> Server:
    """Another server."""
    return servers.both[1]


def test_servers_give_no_id_twice(servers: Servers) -> None:
    for number in range(20):
        for server in servers.both:
            server.add(f"{server.shared._database.node}{number}")
            server.ban(f"{server.shared._database.node}{number}")
    servers.settle()
    stored = servers.verify()
    for records in stored.accounts, stored.bans:
        assert len({record.id for record in records}) == 40
        assert len({record.id % ID_STEP for record in records}) == 2


def test_every_change_reaches_the_other_server(servers: Servers, one: Server, two: Server) -> None:
    two.change("ann", role="operator")
    two.change("bob", name="robert", password_hash="new", logins="")
    two.add("zoe")
    two.ban("eve")
    two.tell("ann", "bob")
    servers.settle()
    assert one.account("ann").is_operator
    assert one.account("robert").record.password_hash == "new"
    assert one.hub.accounts.find("bob") is None
    assert [ban.name for ban in one.hub.moderation.bans(2.0)] == ["eve"]
    one.hub.accounts.remove(one.account("zoe"))
    one.unban("eve")
    servers.settle()
    assert two.hub.accounts.find("zoe") is None
    stored = servers.verify()
    assert (stored.bans, len(stored.accounts), len(stored.waiting)) == ([], 2, 1)


def test_changes_of_different_fields_do_not_undo_each_other(servers: Servers, one: Server, two: Server) -> None:
    one.change("ann", last_used=7.0)
    two.change("ann", role="operator")
    one.change("ann", password_hash="new")
    two.change("ann", name="anna")
    assert servers.settle() == [[None] * 2] * 2
    ann = replace(servers.verify().accounts[0], id=1)
    assert ann == AccountRecord(1, "anna", "new", "operator", last_used=7.0)


def test_last_of_two_changes_of_one_field_holds_on_both_servers(servers: Servers, one: Server, two: Server) -> None:
    for number in range(30):
        one.change("ann", role=f"one{number}")
        two.change("ann", role=f"two{number}")
    servers.settle()
    assert servers.verify().accounts[0].role in ("one29", "two29")


def test_of_two_servers_that_register_a_nickname_one_is_refused(servers: Servers) -> None:
    for server, name in zip(servers.both, ("Zoë", "ZOË"), strict=True):
        server.add(name)
    results = [result for results in servers.settle() for result in results]
    (error,) = [result for result in results if isinstance(result, RejectedError)]
    assert isinstance(error, NameRejected)
    assert str(error).casefold() == "zoë is registered already."
    assert len(servers.verify().accounts) == 1


def test_of_two_servers_that_rename_accounts_alike_one_is_refused(servers: Servers, one: Server, two: Server) -> None:
    one.change("ann", name="zoe")
    two.change("bob", name="ZOE")
    results = [str(result) for results in servers.settle() for result in results]
    assert sorted(result.casefold() for result in results) == ["none", "zoe is registered already."]
    servers.verify()
    name = "bob" if "ZOE" in "".join(results) else "ann"
    one.change(name, name="yves")  # its old nickname was not lost
    assert servers.settle()[0] == [None]


def test_of_two_servers_that_register_an_identity_one_is_refused(servers: Servers) -> None:
    for number, server in enumerate(servers.both):
        server.add(f"zoe{number}", issuer="https://id.example", subject="7")
    errors = [str(result) for results in servers.settle() for result in results if isinstance(result, Exception)]
    assert errors == ["this identity belongs to another account."]
    (account,) = servers.verify().accounts
    for server in servers.both:
        found = server.hub.accounts.find_subject("https://id.example", "7")
        assert found is not None
        assert found.record == account


def test_account_that_another_server_deletes_cannot_be_changed(servers: Servers, one: Server, two: Server) -> None:
    one.hub.accounts.remove(one.account("bob"), one.results.append)
    one.wait_until(lambda: bool(one.results))
    two.change("bob", role="operator")
    _, (error,) = servers.settle()
    assert str(error) == "bob is not registered any more."
    assert [account.name for account in servers.verify().accounts] == ["ann"]


def test_logins_that_are_remembered_at_once_are_both_valid(servers: Servers, one: Server, two: Server) -> None:
    for server, name in ((one, "ann"), (two, "ann")):
        server.hub.authenticator.remember(server.account(name), server.results.append)
    servers.until(lambda: all(server.results for server in servers.both))  # one of them has tried again
    (first,), (second,) = servers.settle()
    servers.verify()
    for secret in (first, second):
        assert all(is_login(server.account("ann").record.logins, secret, server.wall()) for server in servers.both)


def test_password_is_not_undone_by_a_stronger_hash_or_a_login(servers: Servers, one: Server, two: Server) -> None:
    one.change("bob", password_hash="new", logins="")
    one.wait_until(lambda: bool(one.results))
    bob = two.account("bob")
    two.hub.accounts.change(bob, two.results.append, {"password_hash": "old"}, password_hash="old, but stronger")
    _, (error,) = servers.settle()
    assert isinstance(error, AccountChanged)
    assert servers.verify().accounts[1].password_hash == "new"


def test_ban_on_both_servers_is_one_and_ends_on_both(servers: Servers, one: Server, two: Server) -> None:
    for number in range(5):
        one.ban("eve", f"one{number}")
        two.ban("eve", f"two{number}")
    servers.settle()
    assert len(servers.verify().bans) == 1
    two.unban("eve")
    servers.settle()
    assert servers.verify().bans == []


def test_waiting_line_that_was_not_read_stays_though_its_id_is_lower(
    servers: Servers, one: Server, two: Server
) -> None:
    two.lines._next_id += 10 * ID_STEP
    two.tell("ann", "bob")
    one.tell("ann", "bob")
    _, (read,) = servers.settle()
    assert isinstance(read, PrivateLine)
    two.lines.note_sent(read)
    two.lines.confirm(read)
    servers.settle()
    stored = servers.verify()
    ((left, _),) = stored.waiting[read.recipient_account].items()
    assert left < read.id
    two.tell("ann", "bob")
    one.tell("ann", "bob")
    servers.settle()
    assert [*servers.verify().waiting[read.recipient_account]][1] > read.id


def terminate(servers: Servers, name: str) -> None:
    """End all connections of the server *name*."""
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
    servers.db.execute(query, (f"broadcast {name}",))


def test_nothing_is_lost_with_the_connections(servers: Servers, one: Server, two: Server) -> None:
    for number in range(10):
        one.add(f"one{number}")
        two.change("ann", last_used=float(number))
        if number % 3 == 0:
            terminate(servers, "two")
            terminate(servers, "one")
        servers.until(lambda: not any(server._soon for server in servers.both))
        sleep(0.05)
    servers.settle()
    servers.verify()


def test_lost_notification_delays_a_change_only(servers: Servers, one: Server, two: Server) -> None:
    servers.db.execute("CREATE OR REPLACE FUNCTION people_channel() RETURNS text LANGUAGE sql AS $$ SELECT 'x' $$")
    one.add("zoe")
    servers.until(lambda: two.hub.accounts.find("zoe") is not None)


def test_server_that_has_missed_changes_reads_everything(servers: Servers, one: Server, two: Server) -> None:
    feed = two.shared._feed
    one.ban("old")
    servers.settle()
    read = feed.read
    feed.read = lambda db: None  # type: ignore[method-assign]  # noqa: ARG005 - the name is part of the type
    one.unban("old")
    one.ban("new")
    one.tell("ann", "bob")
    one.change("ann", role="operator")
    one.hub.accounts.remove(one.account("bob"), one.results.append)
    one.add("zoe")
    two.add("yves")
    servers.until(lambda: len(one.results) == 6)
    two.results.clear()
    servers.db.execute("DELETE FROM record_changes WHERE number < (SELECT max(number) FROM record_changes)")
    feed.read = read  # type: ignore[method-assign]
    servers.settle()
    servers.verify()
    two.add("after")
    one.add("that")
    servers.settle()
    servers.verify()


def test_server_that_starts_anew_reads_everything(servers: Servers, one: Server, two: Server) -> None:
    servers.db.execute("SELECT end_lease(node, epoch) FROM leases WHERE node = 'two'")
    one.change("ann", role="operator")
    one.wait_until(lambda: bool(one.results))
    opened: list[OpenedRoom | JournalError] = []
    two.shared.restart("lobby", 0, opened.append)
    servers.until(lambda: bool(opened))
    assert not isinstance(opened[0], JournalError)
    assert two.account("ann").is_operator
    two.hub.start_anew(opened[0], lambda _room: None)
    one.add("yves")
    two.add("zoe")
    servers.settle()
    assert len(servers.verify().accounts) == 4


def test_reports_that_come_late_after_a_reload_are_followed_by_another(
    servers: Servers, one: Server, two: Server
) -> None:
    feed = two.shared._feed
    add_own, late = feed.add_own, []
    two.shared._commit_thread._report_records = lambda *args, **more: late.append((args, more))  # type: ignore[union-attr]
    two.change("ann", role="operator")
    servers.until(lambda: bool(late))
    one.change("ann", role="")
    servers.until(lambda: bool(one.results))
    feed.reload()
    servers.until(lambda: not feed._must_reload and feed._position >= 3)
    two.shared._commit_thread._report_records = add_own  # type: ignore[union-attr]
    for args, more in late:
        add_own(*args, **more)
    servers.until(lambda: not feed._must_reload)
    servers.settle()
    servers.verify()


@pytest.mark.parametrize("seed", range(40 if LONG else 3))
def test_servers_agree_after_whatever_they_do(servers: Servers, one: Server, two: Server, seed: int) -> None:
    random = Random(seed)  # noqa: S311 - reproducible
    for _ in range(60):
        server = random.choice(servers.both)
        with suppress(RejectedError):
            _act(server, random)
        if random.random() < 0.3:
            server.run_pending()
        if random.random() < 0.03:
            terminate(servers, server.shared._database.node)
    servers.settle()
    servers.verify()


def _act(server: Server, random: Random) -> None:
    """Let *server* make some change."""
    accounts = [account.name for account in server.hub.accounts]
    name, other = random.choice([*accounts, "x"]), random.choice("pqrst")
    match random.randrange(8) if name != "x" else random.choice([0, 6, 7]):
        case 0:
            server.add(other, subject=random.choice(["", other]))
        case 1:
            server.change(name, role=random.choice(["", "operator"]), last_used=random.random())
        case 2:
            server.change(name, name=other)
        case 3:
            server.hub.accounts.remove(server.account(name), server.results.append)
        case 4:
            server.tell(name, random.choice(accounts))
        case 5:
            for line in [result for result in server.results if isinstance(result, PrivateLine)][-3:]:
                server.lines.note_sent(line)
                server.lines.confirm(line)
        case 6:
            server.ban(other)
        case _:
            server.unban(other)
