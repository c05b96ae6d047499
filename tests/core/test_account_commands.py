"""The commands about accounts: the dialogues that they begin, what follows, and the lines that may hold a password."""

from __future__ import annotations

from typing import Literal

import pytest

from broadcast.core.account_commands import (
    parse_login,
    reject_misspelled,
    reject_password,
)
from broadcast.core.accounts import DROPPED, PASSWORD_CHANGED
from broadcast.core.errors import RejectedError
from broadcast.core.events import CommandReply, ErrorReply, Event, Left, Notice, PasswordPrompt, PasswordTyped, Renamed
from broadcast.core.settings import Settings
from tests.harness import PASSWORD, SessionClient, World

OTHER = "another horse"
ASKED = [PasswordPrompt("Password:"), PasswordTyped()]


@pytest.fixture
def ann(world: World) -> SessionClient:
    """A session with an account."""
    (ann,) = world.join_sessions("ann")
    ann.say("/register", PASSWORD, PASSWORD)
    repetition = [PasswordPrompt("Once more:"), PasswordTyped()]
    assert ann.read() == [*ASKED, *repetition, CommandReply("ann is registered, and you are logged in.")]
    return ann


@pytest.fixture
def bob(world: World, ann: SessionClient) -> SessionClient:
    (bob,) = world.join_sessions("bob")
    ann.read()
    return bob


@pytest.fixture
def world() -> World:
    return World(Settings())


def refusal(client: SessionClient, *lines: str) -> str:
    """Let *client* type *lines*, which are refused. Return why."""
    client.say(*lines)
    (reply,) = client.read()
    assert isinstance(reply, ErrorReply)
    return reply.reason


def replies(client: SessionClient) -> list[Event | Notice]:
    """Return what *client* has received, except questions for passwords."""
    return [each for each in client.read() if not isinstance(each, PasswordPrompt | PasswordTyped)]


def test_login_takes_the_registered_nickname_over(ann: SessionClient, bob: SessionClient) -> None:
    bob.say("/login ANN", PASSWORD)
    assert bob.read() == [
        *ASKED,
        Left(ann.session.id, "ann", "taken over by another connection"),
        CommandReply("You are logged in as ann."),
    ]
    assert ann.closed


def test_login_without_a_name_says_what_the_user_is(ann: SessionClient, bob: SessionClient) -> None:
    assert refusal(bob, "/login") == "bob is not registered: /register does that. /login NAME logs in as NAME."
    assert refusal(ann, "/login") == "you are logged in as ann. /login NAME logs in to another account."


def test_register_is_for_users_without_an_account_on_an_open_server(ann: SessionClient) -> None:
    assert refusal(ann, "/register") == "you are logged in as ann. /logout ends that."
    (carol,) = World(Settings(accounts="closed")).join_sessions("carol")
    assert refusal(carol, "/register") == "nobody can register here: ask the administrator for an account."


def test_register_that_is_busy_changes_nothing(world: World, bob: SessionClient) -> None:
    world.hasher.is_full = True
    bob.say("/register", PASSWORD, PASSWORD, "")
    assert replies(bob) == [
        ErrorReply("busy, try again. An empty line ends this."),
        CommandReply("Nothing was changed."),
    ]
    assert bob.session.member.account is None


def test_register_that_fails_asks_again(world: World, bob: SessionClient) -> None:
    world.hasher.fails = True
    bob.say("/register", PASSWORD, PASSWORD)
    assert len(replies(bob)) == 1
    assert bob.session.is_asking_password


@pytest.mark.parametrize("next_nick", ["bob", ""])
def test_register_that_ends_after_its_session_frees_the_nickname(
    world: World, bob: SessionClient, next_nick: str
) -> None:
    for line in ("/register", PASSWORD, PASSWORD):
        bob.session.line(line, 0)
    bob.session.disconnect("kicked", "You were kicked.")
    for client in world.join_sessions(next_nick) if next_nick else ():
        assert (client.session.nick, client.session.member.account) == ("bob2", None)
    world.settle()
    assert world.hub.accounts.find("bob") is not None


def test_logout_leaves_the_registered_nickname(ann: SessionClient, bob: SessionClient) -> None:
    ann.say("/logout")
    assert ann.read() == [CommandReply("You are logged out, and your nickname is ann2.")]
    assert bob.read() == [Renamed(ann.session.id, "ann", "ann2")]


def test_logout_leaves_another_nickname_as_it_is(ann: SessionClient) -> None:
    ann.say("/nick rob", "/logout")
    assert ann.read() == [CommandReply("You are rob."), CommandReply("You are logged out.")]


def test_passwd_ends_the_other_sessions(world: World, ann: SessionClient) -> None:
    ann.say("/nick rob")
    other = world.open_session()
    other.say("ann", PASSWORD)
    ann.read()
    ann.say("/passwd", OTHER, PASSWORD, OTHER, OTHER)
    assert replies(ann) == [
        ErrorReply("wrong password. An empty line ends this."),
        CommandReply("Your password is changed."),
        Left(other.session.id, "ann", PASSWORD_CHANGED),
    ]
    assert other.closed
    assert not ann.closed


def test_passwd_that_fails_after_the_old_password_asks_again(world: World, ann: SessionClient) -> None:
    ann.say("/passwd", PASSWORD)
    world.hasher.fails = True
    ann.say(OTHER, OTHER)
    assert len(replies(ann)) == 1
    world.hasher.fails = False
    ann.say(PASSWORD, OTHER, OTHER)
    assert replies(ann) == [CommandReply("Your password is changed.")]


def test_drop_deletes_the_account_and_ends_the_other_sessions(world: World, ann: SessionClient) -> None:
    ann.say("/nick rob")
    other = world.open_session()
    other.say("ann", PASSWORD)
    ann.read()
    ann.say("/drop", OTHER, PASSWORD)
    assert replies(ann) == [
        ErrorReply("wrong password. An empty line ends this."),
        CommandReply("ann is not registered any more."),
        Left(other.session.id, "ann", DROPPED),
    ]
    assert other.closed
    assert (ann.session.member.account, len(world.hub.accounts)) == (None, 0)


@pytest.mark.parametrize("mode", ["closed", "required"])
def test_register_advises_no_logout_where_nobody_can_register(
    world: World, ann: SessionClient, mode: Literal["closed", "required"]
) -> None:
    world.hub.authenticator._mode = mode
    assert refusal(ann, "/register") == "you are logged in as ann. Nobody can register another nickname here."


def test_required_account_cannot_be_left(world: World, ann: SessionClient) -> None:
    world.hub.authenticator._mode = "required"
    assert refusal(ann, "/logout") == "only people with an account may be here. quit leaves."
    ann.say("/drop", PASSWORD)
    assert ann.closed


@pytest.mark.parametrize("command", ["/logout", "/passwd", "/drop"])
def test_commands_about_an_account_need_one(bob: SessionClient, command: str) -> None:
    assert refusal(bob, command) == "you are not logged in. /login NAME logs in as NAME."


@pytest.mark.parametrize("command", ["/register", "/passwd", "/drop"])
def test_further_words_are_refused_before_anything_else(ann: SessionClient, bob: SessionClient, command: str) -> None:
    reason = f"the password is asked for: type {command} and nothing else."
    assert [refusal(user, f"{command} {PASSWORD}") for user in (ann, bob)] == [reason] * 2
    assert refusal(bob, "/login ann secret") == "the password is asked for: type /login NAME and nothing else."


# Lines that may hold a password


@pytest.mark.parametrize("line", ["/register x", "/LOGIN ann", "/drop\u00a0x", "/passwd  x y"])
def test_command_with_words_may_hold_a_password(line: str) -> None:
    with pytest.raises(RejectedError, match="the password is asked for"):
        reject_password(line)


@pytest.mark.parametrize("line", ["register x", "/logout x", "/register", "/registers x", "/nick register", "//drop x"])
def test_other_line_holds_none(line: str) -> None:
    reject_password(line)


@pytest.mark.parametrize("verb", ["register\u00a0x", "Loginx", "dropbox", "passwd\u2003x"])
def test_unknown_command_that_begins_like_one_of_these_may_hold_a_password(verb: str) -> None:
    with pytest.raises(RejectedError, match="the password is asked for"):
        reject_misspelled(verb)


def test_other_unknown_command_holds_none() -> None:
    reject_misspelled("frobnicate")


@pytest.mark.parametrize(("line", "name"), [("/login ann", "ann"), (" /LOGIN \u3000 a!b ", "a!b"), ("ann", None)])
def test_login_before_the_nickname_names_an_account(line: str, name: str | None) -> None:
    assert parse_login(line) == name


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("/login", "usage: /login NAME"),
        ("/login ann x", "the password is asked for: type /login NAME and nothing else."),
        ("/Register", "choose a nickname first: /register comes after it."),
        ("/register x", "the password is asked for: type /register and nothing else."),
        ("/dropx", "choose a nickname first: /drop comes after it."),
    ],
)
def test_other_account_command_before_the_nickname_is_refused(line: str, error: str) -> None:
    with pytest.raises(RejectedError) as caught:
        parse_login(line)
    assert str(caught.value) == error
