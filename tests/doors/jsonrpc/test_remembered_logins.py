"""A remembered login is accepted in place of the password, until it expires or is voided."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from broadcast.core.errors import JournalError
from broadcast.core.remembered_logins import LOGIN_SECONDS, MAX_LOGINS
from broadcast.core.settings import Settings
from tests.doors.jsonrpc.programs import Program, ProgramWorld
from tests.doors.jsonrpc.test_accounts import FAR, OTHER, SECRET, attempt, owner, reason_of

__all__ = ["owner"]


def remember(world: ProgramWorld, owner: Program) -> str:
    """Log in again with the password, and return a login to remember."""
    owner.call("quit")
    login = world.program("ann", password=SECRET, remember=True).welcome["login"]
    assert isinstance(login, str)
    return login


def test_a_remembered_login_is_as_good_as_the_password(world: ProgramWorld, owner: Program) -> None:
    login = remember(world, owner)
    back = world.program("Ann", login=login)
    assert (back.welcome["nick"], back.welcome["account"]) == ("ann", "ann")
    assert "login" not in back.welcome
    assert reason_of(attempt(world, login="x" * 43)) == (1021, "wrong-password")
    assert reason_of(attempt(world, "bob", login=login)) == (1021, "wrong-password")


def test_nothing_is_remembered_without_a_password(world: ProgramWorld) -> None:
    assert "login" not in world.program("bob", remember=True).welcome


def test_a_remembered_login_expires(world: ProgramWorld, owner: Program) -> None:
    login = remember(world, owner)
    world.clock.advance(LOGIN_SECONDS - 1)
    world.program("ann", login=login).call("quit")
    world.clock.advance(1)
    assert reason_of(attempt(world, login=login)) == (1021, "wrong-password")


def test_a_new_password_voids_all_of_them(world: ProgramWorld, owner: Program) -> None:
    login = remember(world, owner)
    world.program("ann", login=login).call("set_password", old=SECRET, new=OTHER)
    assert reason_of(attempt(world, login=login)) == (1021, "wrong-password")


def test_logout_voids_the_one_that_it_names(world: ProgramWorld, owner: Program) -> None:
    first, second = remember(world, owner), remember(world, world.program("ann", password=SECRET))
    world.program("ann", login=first).call("logout", login=first)
    assert reason_of(attempt(world, login=first)) == (1021, "wrong-password")
    assert world.program("ann", login=second).welcome["account"] == "ann"


def test_the_oldest_one_makes_place(world: ProgramWorld, owner: Program) -> None:
    first = remember(world, owner)
    logins = [
        first,
        *(world.program("ann", password=SECRET, remember=True).welcome["login"] for _ in range(MAX_LOGINS)),
    ]
    assert reason_of(attempt(world, login=logins[0])) == (1021, "wrong-password")
    assert world.program("ann", login=logins[1]).welcome["account"] == "ann"


def test_it_is_stored_hashed_with_the_account(world: ProgramWorld, owner: Program) -> None:
    login = remember(world, owner)
    (account,) = world.journal.records.load().accounts
    assert account.logins
    assert login not in account.logins
    assert login not in f"{account}"


def test_it_travels_only_where_passwords_may() -> None:
    world = ProgramWorld(Settings(version="0.0", passwords="tls"))
    program = world.open_program(FAR)
    program.welcome = program.request("hello", protocol=1, nick="ann", login="x" * 43)
    assert reason_of(program)[1] == "not-permitted"


def test_hello_goes_on_if_it_cannot_be_stored(
    world: ProgramWorld, owner: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_changes: object, on_done: Callable[[JournalError], None]) -> None:
        world._soon.append(lambda: on_done(JournalError("disk full")))

    owner.call("quit")
    monkeypatch.setattr(world.journal.records, "write", fail)
    program = world.program("ann", password=SECRET, remember=True)
    assert program.welcome["account"] == "ann"
    assert "login" not in program.welcome
