"""The password of a session: when it is sent, and when it is asked for. No password is in a representation."""

from __future__ import annotations

from typing import Any

import pytest

from broadcast.client.protocol import errors, events, requests
from tests.client.protocol.fake_server import FakeServer, Refusal
from tests.client.protocol.links import Link
from tests.client.protocol.real_server import RealServer

SECRET, OTHER = "correct horse", "battery staple"


def owner(server: Any, **options: Any) -> Link:  # noqa: ANN401 -- the link takes any
    """Return a session that has registered the nickname bot."""
    link = Link(server, **options).start()
    assert link.answered(requests.Register(SECRET)) == requests.Account("bot", "bot")
    return link


def names(link: Link) -> tuple[str | None, str]:
    """Return the account and the nickname of the session."""
    return link.session.account, link.session.nick


def restart(link: Link) -> None:
    """Restart the server, which keeps accounts, and connect again."""
    link.server.lose_sessions()
    link.lose()
    link.reconnect()


@pytest.mark.parametrize("server", [FakeServer, RealServer])
def test_the_session_logs_in_again_after_a_restart(server: type) -> None:
    link = owner(server())
    assert link.session.account == "bot"
    restart(link)
    assert link.session.account == "bot"
    assert link.session.nick == "bot"
    assert [type(event) for event in link.events()][-2:] == [events.Disconnected, events.Reconnected]


def test_login_without_a_password_forgets_that_of_another_account() -> None:
    link = owner(FakeServer())
    link.session._take(events.LoginEnded("bot", "bot"))
    assert link.session._password == SECRET
    link.session._take(events.LoginEnded("bob", "bob"))
    assert (link.session.account, link.session._password) == ("bob", "")


@pytest.mark.parametrize("server", [FakeServer, RealServer])
def test_the_session_takes_its_other_nickname_again(server: type) -> None:
    link = owner(server())
    link.answered(requests.Nick("robot"))
    restart(link)
    assert names(link) == ("bot", "robot")


@pytest.mark.parametrize("server", [FakeServer, RealServer])
def test_a_password_is_used_as_long_as_the_session_is_logged_in(server: type) -> None:
    link = owner(server())
    link.answered(requests.SetPassword(SECRET, OTHER))
    restart(link)
    assert link.session.account == "bot"
    nick = link.answered(requests.Logout()).nick
    assert nick != "bot"
    restart(link)
    assert names(link) == (None, nick)
    assert link.answered(requests.Login(OTHER, "bot")).account == "bot"
    assert link.answered(requests.Drop(OTHER)).account is None
    restart(link)
    assert names(link) == (None, "bot")


@pytest.mark.parametrize("server", [FakeServer, RealServer])
def test_a_missing_or_wrong_password_ends_the_session_or_is_asked_for(server: type) -> None:
    here = owner(server()).server
    for password, error in (("", errors.PasswordNeeded), (OTHER, errors.WrongPassword)):
        link = Link(here, password=password).start()
        assert type(link.session.ended) is error
    link = Link(here)
    link.session.asks_password = True
    link.start()
    for password, error in ((OTHER, errors.PasswordNeeded), (SECRET, errors.WrongPassword)):
        assert type(link.session.password_refusal) is error
        assert link.session.retry_after == 0.0
        link.session.enter_password(password)
        link.start()
    assert link.session.account == "bot"


def test_a_user_without_a_password_ends_the_session_with_the_refusal() -> None:
    server = FakeServer()
    server.passwords["bot"] = SECRET
    link = Link(server)
    link.session.asks_password = True
    link.start()
    link.session.enter_password(None)
    assert isinstance(link.session.ended, errors.PasswordNeeded)


def test_a_password_that_was_changed_meanwhile_is_asked_for_again() -> None:
    link = owner(FakeServer())
    link.session.asks_password = True
    call = link.call(requests.Say("lobby", "still said"))
    link.server.passwords["bot"] = OTHER
    link.server.lose_sessions()
    link.lose()
    link.start()
    assert isinstance(link.session.password_refusal, errors.WrongPassword)
    link.session.enter_password(OTHER)
    link.start()
    assert link.answers[call].result.seq == 1


def test_a_busy_server_is_tried_again_when_it_says(link: Link) -> None:
    link.server.fails["hello"] = Refusal(1028, "busy", retry=7)
    link.server.lose_sessions()
    link.lose()
    link.start()
    assert 7 <= link.session.retry_after < 40
    assert link.session.ended is None
    del link.server.fails["hello"]
    link.start()
    assert link.session.ended is None


def test_a_new_session_is_told_that_the_server_is_busy() -> None:
    server = FakeServer()
    server.fails["hello"] = Refusal(1022, "too-many-tries", retry=7)
    ended = Link(server).start().session.ended
    assert isinstance(ended, errors.TooManyTries)
    assert ended.retry == 7


@pytest.mark.parametrize(
    "request_", [requests.Login(SECRET), requests.Logout(), requests.SetPassword(SECRET, OTHER)], ids=str
)
def test_a_request_about_the_account_is_unconfirmed_if_the_connection_is_lost(request_: requests.Request[Any]) -> None:
    link = owner(FakeServer())
    call = link.call(request_)
    link.send()
    link.lose()
    link.start()
    assert isinstance(link.answers[call].error, errors.Unconfirmed)


def test_an_account_that_ended_unconfirmed_is_known_to_have_ended() -> None:
    link = owner(FakeServer())
    link.call(requests.Logout())
    link.send()
    link.lose()
    link.start()
    assert link.session.account is None


def test_no_request_shows_its_password() -> None:
    for request in (
        requests.Register(SECRET),
        requests.Login(SECRET),
        requests.SetPassword(SECRET, OTHER),
        requests.Drop(SECRET),
        requests.Hello("bot", (), "x", 1, password=SECRET),
    ):
        assert SECRET not in repr(request)
        assert type(request).__name__ in repr(request)
