"""Logins with an OpenID Connect provider at the line door: who gets which account, and what a login never does."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address

from broadcast.core.errors import JournalError, LoginFailed
from broadcast.core.limits import DEFAULTS
from broadcast.core.records import AccountRecord
from broadcast.core.settings import Settings
from broadcast.core.tries import ADDRESS_CODES, REGISTRATIONS
from tests.harness import PASSWORD, Person, World
from tests.identities import CODE, ISSUER, FakeProvider, add_provider, identity
from tests.scenarios.conftest import Opens, newcomer

SHOWN = (
    f"Open this page in a browser: {ISSUER}/device",
    "Type this code there, only if you started this yourself: WDJB-MJHT",
    "The code is valid for 10 min.",
)
NICKNAME = "Nickname: "
ALONE = " * You are {}. Nobody else is here. /help lists the commands, quit leaves.\r\n"
EXPIRED = LoginFailed("the code has expired. /oidc shows another one.")


@pytest.fixture
def provider(world: World) -> FakeProvider:
    return add_provider(world)


def subjects(world: World) -> dict[str, str]:
    """Return the subject of each account by its nickname."""
    return {account.name: account.record.subject for account in world.hub.accounts}


def log_in(world: World, provider: FakeProvider, subject: str, name: str | None = None) -> Person:
    """Return a person who has logged in at the prompt for the nickname, and read everything."""
    person = newcomer(world)
    person.say("/oidc")
    provider.last.answer(identity(subject, name))
    world.settle()
    person.read()
    return person


def test_help_lists_oidc_only_where_there_is_a_provider(world: World) -> None:
    (ann,) = world.join("ann")
    line = "-> /oidc   logs in with the OpenID Connect provider: shows a page and a code for your browser"
    ann.say("/help")
    assert line not in ann.lines()
    ann.say("/help oidc")
    assert ann.lines() == [line]
    add_provider(world)
    ann.say("/help")
    assert line in ann.lines()


# At the prompt for the nickname


@pytest.mark.parametrize("typed", ["/oidc", " /OIDC "])
def test_oidc_at_the_prompt_shows_the_page_and_the_code_apart_and_joins(
    world: World, provider: FakeProvider, typed: str
) -> None:
    ann = newcomer(world)
    ann.say(typed)
    assert ann.read() == ""
    provider.last.show_code(CODE)
    assert ann.read() == "".join(f" * {line}\r\n" for line in (*SHOWN, "A nickname ends this login.")) + NICKNAME
    provider.last.answer(identity("ann-1", "ann"))
    world.settle()
    ann.say("hi", "/names")
    assert ann.read() == ALONE.format("ann") + "-> 1 here: ann\r\n"
    assert subjects(world) == {"ann": "ann-1"}
    assert provider.last.is_cancelled is False


def test_later_login_finds_the_account_by_its_subject_and_takes_the_nickname_over(
    world: World, provider: FakeProvider
) -> None:
    first = log_in(world, provider, "1", "ann")
    log_in(world, provider, "1", "somebody else")
    assert first.read().startswith(" * ann has logged in on another connection.")
    assert subjects(world) == {"ann": "1"}
    account = world.hub.accounts.find("ann")
    assert account is not None
    assert world.hub.people.find("ann").account is account


def test_registered_nickname_is_never_taken_over_but_gets_a_number(world: World, provider: FakeProvider) -> None:
    (ann,) = world.join("ann")
    world.register(ann)
    log_in(world, provider, "1", "ANN")
    log_in(world, provider, "2", "ann@example.com")
    assert subjects(world) == {"ann": "", "ANN2": "1", "ann3": "2"}
    ann.say("/names")
    assert ann.lines()[-1] == "-> 3 here: ann, ANN2, ann3"


def test_nickname_of_somebody_who_is_here_gets_a_number(world: World, provider: FakeProvider) -> None:
    world.join("bob")
    log_in(world, provider, "1", "bob")
    assert subjects(world) == {"bob2": "1"}


@pytest.mark.parametrize(
    ("name", "nick"),
    [
        ("Zoë Müller", "ZoeMuller"),
        ("ann@example.com", "ann"),
        ("", "user"),
        ("李", "user"),
        ("\x1b[31m\r\n/quit", "31mquit"),
        ("x" * 5000, "x" * 18),
        ("admin", "admin2"),
    ],
)
def test_nickname_is_made_valid(world: World, provider: FakeProvider, name: str, nick: str) -> None:
    log_in(world, provider, "1", name)
    assert subjects(world) == {nick: "1"}


def test_failure_is_one_line_and_asks_for_the_nickname_again(world: World, provider: FakeProvider) -> None:
    ann = newcomer(world)
    ann.say("/oidc")
    provider.last.answer(EXPIRED)
    assert ann.read() == f"-> Error: {EXPIRED}\r\n{NICKNAME}"
    provider.is_busy = True
    ann.say("/oidc")
    assert ann.read() == f"-> Error: busy, try again.\r\n{NICKNAME}"
    assert not world.hub.authenticator.accounts


def test_next_line_cancels_the_login(world: World, provider: FakeProvider) -> None:
    ann = newcomer(world)
    ann.say("/oidc", "ann")
    assert provider.last.is_cancelled
    provider.last.show_code(CODE)
    provider.last.answer(identity("1", "ann"))
    world.settle()
    assert ann.read() == ALONE.format("ann")
    assert subjects(world) == {}


def test_lost_connection_cancels_the_login(world: World, provider: FakeProvider) -> None:
    ann = newcomer(world)
    ann.say("/oidc")
    ann.vanish()
    assert provider.last.is_cancelled
    provider.last.answer(identity("1"))
    world.settle()
    assert world.hub.people.members == {}


def test_login_at_the_prompt_is_no_nickname_that_comes_too_late(open_world: Opens) -> None:
    world = open_world(limits=DEFAULTS)
    provider = add_provider(world)
    ann = newcomer(world)
    ann.say("/oidc")
    world.clock.advance(DEFAULTS.nickname_seconds)
    world.clock.advance(DEFAULTS.nickname_seconds)
    assert ann.read() == ""
    provider.last.answer(EXPIRED)
    ann.read()
    world.clock.advance(DEFAULTS.nickname_seconds)
    assert ann.read() == " * No nickname in 60 seconds.\r\n"


def test_account_that_cannot_be_stored_is_refused(
    world: World, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_changes: object, on_done: object) -> None:
        world._soon.append(lambda: on_done(JournalError("disk full")))  # type: ignore[operator]

    ann = newcomer(world)
    with monkeypatch.context() as patch:
        patch.setattr(world.journal.records, "write", fail)
        ann.say("/oidc")
        provider.last.answer(identity("1"))
        world.settle()
    assert ann.read() == f"-> Error: it cannot be stored: disk full\r\n{NICKNAME}"
    log_in(world, provider, "1", "ann")
    assert subjects(world) == {"ann": "1"}


def test_nickname_taken_while_the_account_is_stored_gets_a_number(world: World, provider: FakeProvider) -> None:
    ann = newcomer(world)
    bob = newcomer(world)
    ann.say("/oidc")
    provider.last.answer(identity("1", "ann"))
    bob.put("ann\r\n")
    world.settle()
    assert bob.read().startswith(" * You are ann2. ")
    assert ann.read().startswith(" * You are ann.")


def test_two_logins_of_one_new_person_make_one_account(world: World, provider: FakeProvider) -> None:
    ann, other = newcomer(world), newcomer(world)
    ann.say("/oidc")
    other.say("/oidc")
    for login in provider.logins:
        login.answer(identity("1", "ann"))
    world.settle()
    assert other.read() == f"-> Error: this identity belongs to another account.\r\n{NICKNAME}"
    assert subjects(world) == {"ann": "1"}


def test_login_that_was_cancelled_while_the_account_is_stored_says_nothing(
    world: World, provider: FakeProvider
) -> None:
    ann = newcomer(world)
    ann.say("/oidc")
    provider.last.answer(identity("1", "ann"))
    ann.put("bob\r\n")
    world.settle()
    assert ann.read() == ALONE.format("bob")
    assert subjects(world) == {"ann": "1"}


# In the room


def test_oidc_in_the_room_logs_in_beside_the_conversation(world: World, provider: FakeProvider) -> None:
    bob, carol = world.join("bob", "carol")
    bob.read()
    bob.say("/oidc")
    provider.last.show_code(CODE)
    bob.say("hi", "/oidc")
    provider.last.answer(identity("1", "bob"))
    world.settle()
    assert bob.lines() == [
        *(f"-> {line}" for line in SHOWN),
        "-> Error: a login is under way already: use its code, or wait until that expires.",
        "-> You are logged in as bob.",
    ]
    assert carol.lines() == ["bob: hi"]
    bob.say("/oidc x")
    assert bob.lines() == ["-> Error: usage: /oidc"]


def test_failure_in_the_room_is_one_line_and_the_next_login_is_possible(world: World, provider: FakeProvider) -> None:
    (bob,) = world.join("bob")
    bob.say("/oidc")
    provider.last.answer(EXPIRED)
    assert bob.lines() == [f"-> Error: {EXPIRED}"]
    bob.say("/oidc")
    provider.last.answer(identity("1", "zoe"))
    world.settle()
    assert bob.lines() == ["-> You are logged in as zoe."]


def test_user_who_is_logged_in_joins_the_account_to_the_identity(world: World, provider: FakeProvider) -> None:
    (ann,) = world.join("ann")
    world.register(ann)
    ann.say("/oidc")
    provider.last.answer(identity("1", "somebody"))
    world.settle()
    assert ann.lines() == ["-> ann is joined to your identity: /oidc logs in to it from now on."]
    assert subjects(world) == {"ann": "1"}
    ann.say("/oidc")
    provider.last.answer(identity("1"))
    ann.say("/oidc")
    provider.last.answer(identity("2"))
    assert ann.lines() == [
        "-> Error: your identity belongs to this account already.",
        "-> Error: ann is joined to another identity.",
    ]
    log_in(world, provider, "1")
    assert ann.read().startswith(" * ann has logged in on another connection.")
    assert subjects(world) == {"ann": "1"}


def test_identity_of_another_account_is_not_joined(world: World, provider: FakeProvider) -> None:
    log_in(world, provider, "1", "bob")
    (ann,) = world.join("ann")
    world.register(ann)
    ann.say("/oidc")
    provider.last.answer(identity("1"))
    assert ann.lines() == ["-> Error: your identity belongs to the account bob already."]


def test_join_that_cannot_be_stored_changes_nothing(
    world: World, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_changes: object, on_done: object) -> None:
        world._soon.append(lambda: on_done(JournalError("disk full")))  # type: ignore[operator]

    (ann,) = world.join("ann")
    world.register(ann)
    ann.say("/oidc")
    with monkeypatch.context() as patch:
        patch.setattr(world.journal.records, "write", fail)
        provider.last.answer(identity("1"))
        world.settle()
    assert ann.lines() == ["-> Error: it cannot be stored: disk full"]
    assert world.hub.accounts.find_subject(ISSUER, "1") is None


def test_user_who_quits_while_the_join_is_stored_has_joined(world: World, provider: FakeProvider) -> None:
    (ann,) = world.join("ann")
    world.register(ann)
    ann.say("/oidc")
    provider.last.answer(identity("1"))
    ann.put("quit\r\n")
    world.settle()
    assert ann.lines() == [" * Goodbye, ann."]
    assert subjects(world) == {"ann": "1"}


def test_login_or_logout_during_the_login_ends_it(world: World, provider: FakeProvider) -> None:
    (ann,) = world.join("ann")
    world.register(ann)
    ann.say("/oidc", "/logout")
    provider.last.answer(identity("1"))
    assert ann.lines()[-1] == "-> Error: you have logged in or out meanwhile: nothing was changed."
    assert subjects(world) == {"ann": ""}


def test_password_dialogue_ends_the_login(world: World, provider: FakeProvider) -> None:
    (ann,) = world.join("ann")
    ann.say("/oidc", "/register")
    assert ann.read() == "-> The login with a code has ended.\r\n<hide>Password: "
    assert provider.last.is_cancelled
    provider.last.answer(identity("1"))
    ann.say(PASSWORD, PASSWORD)
    assert subjects(world) == {"ann": ""}


def test_quitting_cancels_the_login(world: World, provider: FakeProvider) -> None:
    (ann,) = world.join("ann")
    ann.say("/oidc", "quit")
    assert provider.last.is_cancelled
    provider.last.answer(identity("1"))
    world.settle()
    assert subjects(world) == {}


def test_account_without_a_password_accepts_none_and_asks_for_none(world: World, provider: FakeProvider) -> None:
    ann = log_in(world, provider, "1", "ann")
    ann.say("/passwd", "/drop")
    assert ann.lines() == ["-> Error: ann has no password: ask the administrator for one."] * 2
    thief = newcomer(world)
    thief.say("ann", PASSWORD)
    assert "wrong password" in thief.read()


def test_deleted_account_frees_the_identity(world: World, provider: FakeProvider) -> None:
    log_in(world, provider, "1", "ann")
    account = world.hub.accounts.find("ann")
    assert account is not None
    world.hub.accounts.remove(account)
    assert world.hub.accounts.find_subject(ISSUER, "1") is None
    world.settle()
    assert subjects(world) == {}


def test_accounts_are_found_by_their_identity_after_a_restart(world: World, provider: FakeProvider) -> None:
    log_in(world, provider, "1", "ann")
    again = type(world.hub.accounts)(world.journal.records)
    again.load(world.journal.records.load())
    found = again.find_subject(ISSUER, "1")
    assert found is not None
    assert found.name == "ann"
    assert again.find_subject("https://other.example", "1") is None


def test_banned_account_cannot_log_in(world: World, provider: FakeProvider) -> None:
    ann = log_in(world, provider, "1", "ann")
    account = world.hub.accounts.find("ann")
    assert account is not None
    ann.say("quit")
    world.hub.moderation.ban("account", str(account.id), "ann", "", "op", 0.0, None)
    thief = newcomer(world)
    thief.say("/oidc")
    provider.last.answer(identity("1"))
    world.settle()
    assert "banned" in thief.read()
    (bob,) = world.join("bob")
    bob.say("/oidc")
    provider.last.answer(identity("1"))
    world.settle()
    assert "banned" in bob.read()
    assert world.hub.people.find("bob").account is None


# Who gets an account, and how many


@pytest.mark.parametrize("mode", ["closed", "required"])
def test_only_an_administrator_makes_accounts_where_registration_is_closed(open_world: Opens, mode: str) -> None:
    world = open_world(Settings(accounts=mode))
    provider = add_provider(world)
    ann = newcomer(world)
    ann.say("/oidc")
    provider.last.answer(identity("1"))
    text = "your identity belongs to no account here: log in with a password, then join it."
    assert ann.read() == f"-> Error: {text}\r\n{NICKNAME}"
    assert subjects(world) == {}


def test_account_lets_in_where_one_is_required(open_world: Opens) -> None:
    world = open_world(Settings(accounts="required"))
    provider = add_provider(world)
    account = world.hub.accounts
    account.add(AccountRecord(0, "ann", issuer=ISSUER, subject="1"), lambda _result: None)
    world.settle()
    log_in(world, provider, "1")
    assert world.hub.people.find("ann").account is account.find("ann")


def test_server_without_a_provider_says_so(world: World) -> None:
    ann = newcomer(world)
    ann.say("/oidc")
    assert ann.read() == f"-> Error: this server knows no OpenID Connect provider.\r\n{NICKNAME}"


def test_address_gets_five_codes_a_minute_and_this_machine_any_number(world: World, provider: FakeProvider) -> None:
    there = IPv4Address("TCP", "192.0.2.7", 40000)
    people = [world.connect(there) for _ in range(2)]
    for number in range(ADDRESS_CODES):
        people[number % 2].say("/oidc")
    people[0].read()
    people[0].say("/oidc")
    assert people[0].read() == f"-> Error: too many logins: try again in 60 s.\r\n{NICKNAME}"
    here = newcomer(world)
    for _ in range(ADDRESS_CODES + 1):
        here.say("/oidc")
    assert here.read() == ""
    world.clock.advance(60)
    person = world.connect(there)
    person.read()
    person.say("/oidc")
    assert person.read() == ""


def test_new_accounts_count_toward_those_of_the_day(world: World, provider: FakeProvider) -> None:
    for _ in range(REGISTRATIONS):
        world.hub.authenticator._registrations.count(None, world.clock.seconds())
    ann = newcomer(world)
    ann.say("/oidc")
    provider.last.answer(identity("1"))
    assert "too many registrations" in ann.read()
    assert subjects(world) == {}
