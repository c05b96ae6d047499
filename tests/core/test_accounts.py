"""Accounts change when they are stored, and an owner gets the registered nickname on every connection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pytest

from broadcast.core.accounts import Account
from broadcast.core.errors import (
    AccountChanged,
    AccountConflict,
    Busy,
    ConflictWhy,
    JournalError,
    NameRejected,
    NotPermitted,
    NotStored,
    PasswordNeeded,
    RegistrationClosed,
    RejectedError,
    TooManyTries,
    WrongPassword,
)
from broadcast.core.hub import TAKEN_OVER
from broadcast.core.passwords import Password
from broadcast.core.records import AccountRecord, ChangeAccount, DeleteAccount, RecordChange, SaveAccount, StoredRecords
from broadcast.core.settings import Settings
from broadcast.core.source import Source
from broadcast.core.tries import ACCOUNT_TRIES
from tests.harness import NOON, SessionClient, World, admitted

HERE = Source()
FAR = Source("192.0.2.1", is_local=False)
SECRET = Password.parse("correct horse")
OTHER = Password.parse("battery staple")


class Results(list[Account | RejectedError]):
    """The results of requests, in order."""

    @property
    def account(self) -> Account:
        """The last result, which is an account."""
        account = self[-1]
        assert isinstance(account, Account), account
        return account

    @property
    def error(self) -> type:
        """The class of the last result, which is an error."""
        assert isinstance(self[-1], RejectedError), self[-1]
        return type(self[-1])


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def results() -> Results:
    return Results()


def register(world: World, name: str, password: Password = SECRET) -> Account:
    results = Results()
    world.hub.authenticator.register(name, password, HERE, results.append)
    world.settle()
    return results.account


def login(world: World, name: str, password: Password) -> Results:
    results = Results()
    world.hub.authenticator.login(name, password, HERE, results.append)
    world.settle()
    return results


def join(world: World, nick: str, account: Account | None = None) -> SessionClient:
    client = SessionClient(world)
    client.session.start()
    member = admitted(world.hub, client.session.id, nick, client.session, source=HERE, account=account)
    client.session._machine.admit(member)
    world.settle()
    return client


def fail_to_store(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(_changes: Sequence[RecordChange], on_done: Callable[[JournalError | None], None]) -> None:
        world._soon.append(lambda: on_done(JournalError("the disk is full")))

    monkeypatch.setattr(world.journal.records, "write", write)


# Requests with a password


def test_a_registered_nickname_needs_its_password(world: World) -> None:
    account = register(world, "Ann")
    assert (account.id, account.name, account.is_operator) == (1, "Ann", False)
    assert account.record.created == account.record.last_used == NOON
    assert world.hub.accounts.find(" ANN ") is account
    assert login(world, "ann", SECRET).account is account
    assert login(world, "ann", OTHER).error is WrongPassword
    assert login(world, "nobody", SECRET).error is WrongPassword


def test_a_login_notes_its_time(world: World) -> None:
    account = register(world, "ann")
    world.clock.advance(60)
    login(world, "ann", SECRET)
    assert account.record.last_used == NOON + 60


def test_a_nickname_is_registered_once(world: World, results: Results) -> None:
    authenticator = world.hub.authenticator
    authenticator.register("ann", SECRET, HERE, results.append)
    authenticator.register("ANN", OTHER, HERE, results.append)
    world.settle()
    assert str(results[0]) == "ANN is registered already."  # at the end of the hash, before anything is stored
    assert results.account is world.hub.accounts.find("ann")
    with pytest.raises(RejectedError, match="registered already"):
        authenticator.register("ann", SECRET, HERE, results.append)


def test_administrator_makes_accounts_where_nobody_registers_but_none_twice(results: Results) -> None:
    world = World(Settings(accounts="closed"))
    world.hub.authenticator.create("ann", SECRET, results.append)
    world.settle()
    assert results.account.name == "ann"
    assert login(world, "ann", SECRET).account is results.account
    with pytest.raises(RejectedError, match=r"^ANN is registered already\.$"):
        world.hub.authenticator.create("ANN", OTHER, results.append)


@pytest.mark.parametrize("mode", ["closed", "required"])
def test_nobody_registers_where_an_administrator_makes_accounts(mode: str, results: Results) -> None:
    world = World(Settings(accounts=mode))
    with pytest.raises(RegistrationClosed):
        world.hub.authenticator.register("ann", SECRET, HERE, results.append)


def test_a_password_is_changed_by_somebody_who_knows_it(world: World, results: Results) -> None:
    account = register(world, "ann")
    world.hub.authenticator.set_password(account, OTHER, SECRET, HERE, results.append)
    world.settle()
    assert results.error is WrongPassword
    world.hub.authenticator.set_password(account, SECRET, OTHER, HERE, results.append)
    world.settle()
    assert results.account is account
    assert login(world, "ann", SECRET).error is WrongPassword
    assert login(world, "ann", OTHER).account is account


def test_an_account_is_dropped_by_somebody_who_knows_the_password(world: World, results: Results) -> None:
    account = register(world, "ann")
    world.hub.authenticator.drop(account, OTHER, HERE, results.append)
    world.settle()
    assert results.error is WrongPassword
    world.hub.authenticator.drop(account, SECRET, HERE, results.append)
    world.settle()
    assert results.account is account
    assert world.hub.accounts.find("ann") is None
    assert register(world, "ann").id == account.id + 1


def test_a_login_that_the_end_of_the_account_overtakes_fails(world: World, results: Results) -> None:
    account = register(world, "ann")
    world.hub.accounts.remove(account)
    world.hub.authenticator.login("ann", SECRET, HERE, results.append)
    world.settle()
    assert results.error is WrongPassword


def test_an_account_without_a_password_lets_nobody_in(world: World) -> None:
    added = Results()
    world.hub.accounts.add(AccountRecord(0, "ann"), added.append)
    world.settle()
    assert login(world, "ann", SECRET).error is WrongPassword


def test_a_busy_hasher_rejects_every_request(world: World, results: Results) -> None:
    account = register(world, "ann")
    world.hasher.is_full = True
    authenticator = world.hub.authenticator
    requests: list[Callable[[], None]] = [
        lambda: authenticator.login("ann", SECRET, HERE, results.append),
        lambda: authenticator.register("bob", SECRET, HERE, results.append),
        lambda: authenticator.set_password(account, SECRET, OTHER, HERE, results.append),
        lambda: authenticator.drop(account, SECRET, HERE, results.append),
    ]
    for request in requests:
        with pytest.raises(Busy):
            request()
    authenticator.replace_password(account, OTHER, results.append)
    assert results.error is Busy


def test_work_that_fails_counts_as_no_try(world: World, results: Results) -> None:
    account = register(world, "ann")
    world.hasher.fails = True
    authenticator = world.hub.authenticator
    for _ in range(2 * ACCOUNT_TRIES):
        assert login(world, "ann", SECRET).error is Busy
        authenticator.register("bob", SECRET, FAR, results.append)
        authenticator.replace_password(account, OTHER, results.append)
        world.settle()
        assert [type(result) for result in results[-2:]] == [Busy, Busy]
    world.hasher.fails = False
    assert login(world, "ann", SECRET).account is account


def test_too_many_wrong_passwords_are_rejected(world: World, results: Results) -> None:
    account = register(world, "ann")
    for _ in range(ACCOUNT_TRIES):
        login(world, "ann", OTHER)
    with pytest.raises(TooManyTries):
        login(world, "ann", SECRET)
    world.hub.authenticator.login("ann", SECRET, FAR, results.append)
    world.settle()
    assert results.account is account


def test_a_password_that_is_being_changed_is_no_longer_right(world: World, results: Results) -> None:
    account = register(world, "ann")
    world.hub.authenticator.login("ann", SECRET, HERE, results.append)
    world.hub.accounts.change(account, password_hash="another")
    world.settle()
    assert results.error is WrongPassword


# Storage


def test_a_change_that_cannot_be_stored_changes_nothing(
    world: World, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = register(world, "ann")
    before = account.record
    fail_to_store(world, monkeypatch)
    world.hub.authenticator.register("bob", SECRET, HERE, results.append)
    world.hub.authenticator.replace_password(account, OTHER, results.append)
    world.hub.accounts.change(account, name="carol")
    world.settle()
    world.hub.authenticator.drop(account, SECRET, HERE, results.append)
    world.settle()
    assert [type(result) for result in results] == [NotStored] * 3
    assert account.record == account.queued == before
    assert [account.name for account in world.hub.accounts] == ["ann"]
    assert world.hub.accounts.find("carol") is world.hub.accounts.find("bob") is None
    world.hub.accounts._reserve("carol")


def test_a_deleted_account_changes_no_more(world: World, results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    account, accounts = register(world, "ann"), world.hub.accounts
    with monkeypatch.context() as patch:
        fail_to_store(world, patch)
        accounts.remove(account)
        world.settle()
    assert accounts.find("ann") is account
    accounts.remove(account)
    for change in (partial(accounts.change, account, role="operator"), partial(accounts.remove, account)):
        with pytest.raises(RejectedError, match=r"^ann is not registered any more\.$"):
            change()
    with pytest.raises(RejectedError, match="registered already"):
        accounts.add(AccountRecord(0, "ann"), results.append)
    world.settle()
    assert register(world, "ann").id == 2


def test_a_failed_change_does_not_undo_a_later_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    account = register(world, "ann")
    fail_to_store(world, monkeypatch)
    world.hub.accounts.change(account, role="operator")
    monkeypatch.undo()
    world.hub.accounts.change(account, issuer="https://id.example")
    world.settle()
    world.hub.accounts.change(account, subject="7")
    world.settle()
    assert (account.record.issuer, account.record.subject) == ("https://id.example", "7")


def test_accounts_survive_with_the_journal(world: World, results: Results) -> None:
    register(world, "ann")
    bob = register(world, "bob")
    world.hub.accounts.remove(bob)
    world.settle()
    again = World(journal=lambda _call_soon: world.journal)
    assert [account.name for account in again.hub.accounts] == ["ann"]
    assert login(again, "ann", SECRET).account.id == 1
    again.hub.authenticator.register("carol", SECRET, HERE, results.append)
    again.settle()
    world.settle()  # the journal is that of the first world
    assert results.account.id == 3


def test_two_changes_at_a_time_both_count(world: World) -> None:
    account = register(world, "ann")
    world.hub.accounts.change(account, role="operator")
    world.hub.accounts.change(account, name="anna")
    world.settle()
    assert (account.name, account.is_operator) == ("anna", True)
    assert world.hub.accounts.find("anna") is account
    assert world.hub.accounts.find("ann") is None
    assert len(world.hub.accounts) == 1
    with pytest.raises(RejectedError, match="registered already"):
        world.hub.accounts.change(register(world, "bob"), name="Anna")


def test_an_account_is_found_by_its_subject(world: World) -> None:
    account = register(world, "ann")
    world.hub.accounts.change(account, issuer="https://id.example", subject="7")
    world.settle()
    assert world.hub.accounts.find_subject("https://id.example", "7") is account
    assert world.hub.accounts.find_subject("https://other.example", "7") is None
    assert world.hub.accounts.get(account.id) is account


# Nicknames


def test_nobody_else_uses_a_registered_nickname(world: World) -> None:
    account = register(world, "ann")
    bob = join(world, "bob")
    with pytest.raises(PasswordNeeded, match=r"^ANN is registered: it needs its password\.$"):
        join(world, "ANN")
    with pytest.raises(PasswordNeeded):
        world.hub.rename(bob.session.member, "ann")
    join(world, "ann", account)
    assert world.hub.people.find("ann").account is account


def test_the_owner_takes_the_nickname_over_on_another_connection(world: World) -> None:
    account = register(world, "ann")
    old = join(world, "ann", account)
    new = join(world, "Ann", account)
    assert old.session.leave_reason == TAKEN_OVER
    assert world.hub.people.find("ann") is new.session.member
    bob = join(world, "bob")
    world.hub.log_in(bob.session.member, account)
    world.settle()
    assert new.session.leave_reason == TAKEN_OVER
    assert world.hub.people.find("ann") is bob.session.member
    world.hub.log_in(bob.session.member, account)
    assert bob.session.nick == "ann"


def test_a_login_that_cannot_have_the_nickname_changes_nothing() -> None:
    world = World(Settings(unicode_nicknames=True))
    account = register(world, "ann")
    lookalike = join(world, "аnn")  # with a Cyrillic letter
    bob = join(world, "bob")
    with pytest.raises(RejectedError, match="looks too much like"):
        world.hub.log_in(bob.session.member, account)
    assert (bob.session.nick, bob.session.member.account) == ("bob", None)
    assert world.hub.people.find("аnn") is lookalike.session.member


def test_somebody_who_logs_out_gets_a_free_nickname(world: World) -> None:
    account = register(world, "ann")
    register(world, "ann2")
    ann = join(world, "ann", account)
    bob = join(world, "bob")
    world.hub.log_out(ann.session.member)
    assert (ann.session.nick, ann.session.member.account) == ("ann3", None)
    world.hub.log_out(bob.session.member)
    assert bob.session.nick == "bob"


def test_somebody_whose_nickname_becomes_registered_gets_a_free_one(world: World) -> None:
    long = join(world, "x" * 24)
    register(world, "x" * 24)
    world.hub.leave_registered_name(long.session.member)
    assert long.session.nick == "x" * 18


def test_all_sessions_of_an_account_end_but_one(world: World) -> None:
    account = register(world, "ann")
    first, second, other = (join(world, nick) for nick in ("bob", "carol", "dave"))
    for client in (first, second):
        client.session.member.account = account
    world.hub.leave_accounts(account, "password changed", "Your password was changed.", but=second.session.member)
    world.settle()
    assert first.session.leave_reason == "password changed"
    assert second.session.leave_reason == other.session.leave_reason == ""


def test_only_people_with_an_account_get_in_where_it_is_required(results: Results) -> None:
    world = World(Settings(accounts="required"))
    world.hub.accounts.add(AccountRecord(0, "ann"), results.append)
    world.settle()
    with pytest.raises(NotPermitted, match="only people with an account"):
        join(world, "bob")
    with pytest.raises(PasswordNeeded):
        join(world, "ann")
    assert join(world, "ann", results.account).session.nick == "ann"


@pytest.mark.parametrize(
    ("source", "is_safe"),
    [(HERE, True), (FAR, False), (Source("192.0.2.1", is_local=False, is_encrypted=True), True)],
)
def test_a_password_is_safe_on_this_machine_and_encrypted(source: Source, is_safe: bool) -> None:
    assert source.is_safe is is_safe


# Other nodes of a cluster


class Conflicts:
    """Writes that conflict with other nodes. Each takes the next reason; without one, it succeeds."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch, *reasons: ConflictWhy) -> None:
        self.writes: list[RecordChange] = []
        self._world = world
        self._reasons = [*reasons]
        monkeypatch.setattr(world.journal.records, "write", self._write)

    def _write(self, changes: Sequence[RecordChange], on_done: Callable[[JournalError | None], None]) -> None:
        self.writes.extend(changes)
        error = AccountConflict(self._reasons.pop(0)) if self._reasons else None
        self._world._soon.append(lambda: on_done(error))


@pytest.mark.parametrize(
    ("why", "text"),
    [
        ("name", "zoe is registered already."),
        ("identity", "this identity belongs to another account."),
        ("gone", "zoe is not registered any more."),
        ("changed", "the account was changed at the same time: try again."),
    ],
)
def test_conflict_with_another_node_is_an_answer(
    world: World, monkeypatch: pytest.MonkeyPatch, why: ConflictWhy, text: str
) -> None:
    ann = register(world, "ann")
    Conflicts(world, monkeypatch, why, why)
    results: list[object] = []
    world.hub.accounts.change(ann, results.append, name="zoe")
    world.settle()
    world.hub.accounts.add(AccountRecord(0, "zoe"), results.append)
    world.settle()
    assert [str(result) for result in results] == [text] * 2
    assert (ann.name, ann.queued) == ("ann", ann.record)
    world.hub.accounts.change(ann, results.append, name="zoe")
    world.settle()
    assert ann.name == "zoe"


def test_login_is_remembered_after_other_nodes_have_changed_the_logins(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = register(world, "ann")
    conflicts = Conflicts(world, monkeypatch, "changed", "changed")
    secrets: list[str | RejectedError] = []
    world.hub.authenticator.remember(ann, secrets.append)
    world.hub.accounts.take_over(ChangeAccount(ann.id, {"logins": "x:1"}))
    world.settle()
    assert isinstance(secrets[0], str)
    expected = [change.expected for change in conflicts.writes if isinstance(change, ChangeAccount)]
    assert expected == [{"logins": ""}, {"logins": "x:1"}, {"logins": "x:1"}]
    assert world.hub.authenticator.login_remembered("ann", secrets[0]) is ann


def test_login_is_not_remembered_if_the_account_always_changes_or_is_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = register(world, "ann")
    Conflicts(world, monkeypatch, "changed", "changed", "changed", "changed", "changed", "changed")
    secrets: list[str | RejectedError] = []
    world.hub.authenticator.remember(ann, secrets.append)
    world.settle()
    assert isinstance(secrets[0], AccountChanged)
    world.hub.authenticator.remember(ann, secrets.append)
    world.hub.accounts.take_over(DeleteAccount(ann.id))
    world.settle()
    assert isinstance(secrets[1], NameRejected)


def test_stronger_hash_replaces_only_the_one_that_was_checked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = register(world, "ann")
    conflicts = Conflicts(world, monkeypatch)

    def verify(_stored: str, _password: Password, on_result: Callable[[bool | None, str | None], None]) -> None:
        on_result(True, "stronger")

    monkeypatch.setattr(world.hasher, "verify", verify)
    before = ann.record.password_hash
    assert login(world, "ann", SECRET).account is ann
    assert conflicts.writes[-1] == ChangeAccount(ann.id, {"password_hash": "stronger"}, {"password_hash": before})


def test_account_of_another_node_keeps_its_nickname_and_identity_if_one_here_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = world.hub.accounts
    Conflicts(world, monkeypatch, "identity", "name")
    results: list[object] = []
    record = AccountRecord(0, "zoe", issuer="https://id.example", subject="7")
    accounts.add(record, results.append)
    other = AccountRecord(700, "zoë", issuer="https://id.example", subject="7")
    accounts.take_over(SaveAccount(other))
    world.settle()
    assert accounts.find_subject("https://id.example", "7") is accounts.get(700)
    accounts.add(AccountRecord(0, "yves"), results.append)
    accounts.take_over(ChangeAccount(700, {"name": "yves"}))
    world.settle()
    assert accounts.find("yves") is accounts.get(700)
    assert len(accounts) == 1
    assert all(isinstance(result, RejectedError) for result in results)


def test_account_that_takes_the_nickname_of_another_keeps_it(world: World) -> None:
    accounts = world.hub.accounts
    for number, name in enumerate(("ann", "bob"), 1):
        accounts.take_over(SaveAccount(AccountRecord(number, name, issuer="https://id.example", subject=name)))
    accounts.take_over(ChangeAccount(2, {"name": "ann", "subject": "ann"}))  # before the new name of ann
    accounts.take_over(ChangeAccount(1, {"name": "anna", "subject": "anna"}))
    assert accounts.find("ann") is accounts.get(2)
    assert accounts.find_subject("https://id.example", "ann") is accounts.get(2)
    assert accounts.find("bob") is None


def test_comparison_yields_the_changes_that_were_missed(world: World) -> None:
    accounts = world.hub.accounts
    ann, bob, carl = AccountRecord(1, "ann"), AccountRecord(2, "bob"), AccountRecord(3, "carl")
    for record in ann, bob:
        accounts.take_over(SaveAccount(record))
    operator = AccountRecord(2, "bob", role="operator")
    changes = [*accounts.compare(StoredRecords([operator, carl], next_account=10, step=8))]
    assert changes == [DeleteAccount(1), SaveAccount(operator), SaveAccount(carl)]
    results = Results()
    for name in "yz":
        accounts.add(AccountRecord(0, name), results.append)
    world.settle()
    assert [account.id for account in results if isinstance(account, Account)] == [10, 18]
