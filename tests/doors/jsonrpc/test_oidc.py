"""Logins of programs with an OpenID Connect provider."""

from __future__ import annotations

import pytest

from broadcast.core.errors import LoginFailed
from broadcast.core.tries import ADDRESS_CODES
from tests.doors.jsonrpc.programs import Program, ProgramWorld
from tests.harness import PASSWORD
from tests.identities import CODE, ISSUER, FakeProvider, add_provider, identity
from tests.operators import connect_program


@pytest.fixture
def world() -> ProgramWorld:
    return ProgramWorld()


@pytest.fixture
def provider(world: ProgramWorld) -> FakeProvider:
    return add_provider(world)


@pytest.fixture
def ann(world: ProgramWorld) -> Program:
    ann = connect_program(world)
    ann.hello("ann")
    ann.read()
    return ann


def ended(nick: str, account: str | None, error: str | None = None) -> dict[str, object]:
    return {"nick": nick, "account": account, "error": error}


def notified(program: Program, method: str) -> object:
    """Return the parameters of the one notification *method*."""
    (message,) = [message for message in program.read() if message.get("method") == method]
    return message["params"]


def test_oidc_notifies_of_the_code_and_of_the_account(
    world: ProgramWorld, provider: FakeProvider, ann: Program
) -> None:
    assert ann.call("oidc") == {}
    ann.call("say", room="lobby", text="hi")  # the provider has not answered yet
    provider.last.show_code(CODE)
    shown = {"user_code": "WDJB-MJHT", "verification_uri": f"{ISSUER}/device", "expires_in": 600}
    assert notified(ann, "login_code") == shown
    provider.last.answer(identity("1", "zoe"))
    world.settle()
    assert notified(ann, "login_ended") == ended("zoe", "zoe")
    assert world.hub.people.find("zoe").account is world.hub.accounts.find("zoe")


def test_failure_is_part_of_the_notification(provider: FakeProvider, ann: Program) -> None:
    ann.call("oidc")
    assert ann.fail("oidc")[0] == -32602
    provider.last.answer(LoginFailed("the code has expired."))
    assert notified(ann, "login_ended") == ended("ann", None, "The code has expired.")
    provider.is_busy = True
    assert ann.fail("oidc") == (1028, "busy")


def test_program_that_is_logged_in_joins_its_account(world: ProgramWorld, provider: FakeProvider, ann: Program) -> None:
    ann.call("register", password=PASSWORD)
    ann.call("oidc")
    provider.last.answer(identity("1", "zoe"))
    world.settle()
    assert notified(ann, "login_ended") == ended("ann", "ann")
    account = world.hub.accounts.find_subject(ISSUER, "1")
    assert account is not None
    assert account.name == "ann"


def test_login_goes_on_without_a_connection_and_ends_with_the_session(
    world: ProgramWorld, provider: FakeProvider, ann: Program
) -> None:
    ann.call("oidc")
    ann.person.vanish()
    provider.last.answer(identity("1", "ann"))
    world.settle()
    assert world.hub.people.find("ann").account is not None
    bob = connect_program(world)
    bob.hello("bob")
    bob.call("oidc")
    bob.call("quit")
    assert provider.last.is_cancelled


def test_requests_without_a_provider_and_too_many_are_refused(world: ProgramWorld, ann: Program) -> None:
    assert ann.fail("oidc") == (1024, "not-permitted")
    provider = add_provider(world)
    far = connect_program(world, "203.0.113.7")
    far.hello("far")
    for _ in range(ADDRESS_CODES):
        far.call("oidc")
        provider.last.answer(LoginFailed("no."))
    assert far.fail("oidc") == (1022, "too-many-tries")
