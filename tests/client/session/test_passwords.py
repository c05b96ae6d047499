"""Commands that need a password ask for it, and no password is shown, stored or said."""

from __future__ import annotations

import pytest

from broadcast.client.protocol import errors, requests
from broadcast.client.session.conversation import State
from broadcast.client.session.questions import Question
from tests.client.session.fakes import Talk, welcome

SECRET, OTHER = "correct horse", "battery staple"


def prompt(here: Talk) -> str | None:
    """Return the prompt for a password, or None."""
    question = here.talk.question
    assert question is None or question.is_secret
    return None if question is None else question.prompt


def enter(here: Talk, *lines: str) -> None:
    for line in lines:
        assert not here.talk.submit(line)


@pytest.mark.parametrize(
    ("line", "prompts", "answers", "request_", "result", "shown", "nick"),
    [
        (
            "/register",
            ["Password", "Once more"],
            [SECRET, SECRET],
            requests.Register(SECRET),
            requests.Account("ann", "ann"),
            "-> ann is registered: from now on, it needs the password. You are logged in.",
            "ann",
        ),
        (
            "/login Bob",
            ["Password"],
            [" quit"],
            requests.Login(" quit", "Bob"),
            requests.Account("bob", "bob"),
            "-> You are logged in as bob.",
            "bob",
        ),
        (
            "/login",
            ["Password"],
            ["quit"],
            requests.Login("quit"),
            requests.Account("ann", "ann"),
            "-> You are logged in as ann.",
            "ann",
        ),
        (
            "/passwd",
            ["Old password", "New password", "Once more"],
            [SECRET, OTHER, OTHER],
            requests.SetPassword(SECRET, OTHER),
            requests.Nothing(),
            "-> The password is changed.",
            "ann",
        ),
        (
            "/drop",
            ["Password"],
            [SECRET],
            requests.Drop(SECRET),
            requests.Account("ann"),
            "-> ann is not registered any more.",
            "ann",
        ),
        (
            "/logout",
            [],
            [],
            requests.Logout(),
            requests.Account("ann2"),
            "-> You are logged out. You are ann2.",
            "ann2",
        ),
    ],
)
def test_a_command_asks_for_its_passwords(
    line: str,
    prompts: list[str],
    answers: list[str],
    request_: object,
    result: object,
    shown: str,
    nick: str,
) -> None:
    here = Talk()
    enter(here, line)
    for asked, answer in zip(prompts, answers, strict=True):
        assert prompt(here) == asked
        enter(here, answer)
    assert prompt(here) is None
    assert here.server.requests == [request_]
    here.server.answer(result)
    assert here.front.texts == [f"> {line}", shown]
    assert here.talk.nick == nick


def test_a_wrong_password_is_asked_for_again_until_an_empty_line() -> None:
    here = Talk()
    enter(here, "/login", OTHER)
    for error in (
        errors.WrongPassword(1021, "Wrong password."),
        errors.TooManyTries(1022, "Too many wrong passwords: try again in 9 s."),
        errors.Busy(1028, "Busy, try again."),
    ):
        here.server.answer(error=error)
        assert here.front.texts[-1] == f"! {error} An empty line ends this."
        assert prompt(here) == "Password"
        enter(here, SECRET)
    here.server.answer(error=errors.NotPermitted(1024, "This is not permitted."))
    assert prompt(here) is None
    enter(here, "/login", "")
    assert prompt(here) is None
    assert here.server.requests == []


def test_only_the_old_password_is_asked_for_again() -> None:
    here = Talk()
    enter(here, "/passwd", "wrong", OTHER, OTHER)
    here.server.answer(error=errors.WrongPassword(1021, "Wrong password."))
    assert prompt(here) == "Old password"
    enter(here, "also wrong")
    here.server.answer(error=errors.WrongPassword(1021, "Wrong password."))
    enter(here, SECRET)
    assert prompt(here) is None
    assert here.server.requests == [requests.SetPassword(SECRET, OTHER)]
    here.server.answer(requests.Nothing())
    assert here.front.texts[-1] == "-> The password is changed."


def test_an_answer_that_is_typed_before_its_question_is_not_said() -> None:
    here = Talk()
    enter(here, "/login", "wrong", SECRET, "/me waves", "/names")
    here.server.answer(error=errors.WrongPassword(1021, "Wrong password."))
    assert here.front.texts[1:] == [
        "! Wrong password. An empty line ends this.",
        f"Not said: {SECRET} (A password is asked for again.)",
        "Not said: /me waves (A password is asked for again.)",
    ]
    assert prompt(here) == "Password"
    assert here.server.requests == [requests.Command("lobby", "/names")]


@pytest.mark.parametrize("answer", ["seven b", "x" * 257, "cafe\u0301 b"])
def test_a_new_password_of_another_length_is_asked_for_again(answer: str) -> None:
    here = Talk()
    enter(here, "/register", answer)
    assert here.front.texts == ["! A password has 8 to 256 bytes. An empty line ends this."]
    assert prompt(here) == "Password"
    enter(here, "", "/passwd", answer)
    assert prompt(here) == "New password"
    enter(here, answer)
    assert prompt(here) == "New password"
    enter(here, SECRET, SECRET)
    assert here.server.requests == [requests.SetPassword(answer, SECRET)]


def test_new_passwords_are_compared_before_they_are_sent() -> None:
    here = Talk()
    enter(here, "/register", SECRET, OTHER, SECRET, SECRET)
    assert here.front.texts == ["! The two passwords differ. An empty line ends this."]
    assert here.server.requests == [requests.Register(SECRET)]


COMMAND = "! No command works here. If this was a password that begins with /, enter it once more. "


@pytest.mark.parametrize("line", ["/passwd", "/register", "/login", "/drop"])
def test_a_command_is_no_answer(line: str) -> None:
    here = Talk()
    enter(here, line)
    asked = prompt(here)
    enter(here, "/help", "/kick bob spamming")
    assert prompt(here) == asked
    assert here.front.texts == [COMMAND + "An empty line ends this."] * 2
    assert here.server.requests == []
    enter(here, "", "/help")
    assert here.server.requests == [requests.Command("lobby", "/help")]


def test_a_password_that_begins_with_a_slash_is_entered_once_more() -> None:
    here = Talk()
    enter(here, "/register", "/" + SECRET, "/" + SECRET)
    assert prompt(here) == "Once more"
    enter(here, "/" + SECRET)
    assert here.server.requests == [requests.Register("/" + SECRET)]
    assert here.talk.must_hide("/" + SECRET)


def test_a_command_is_no_password_of_the_nickname() -> None:
    answers: list[str] = []
    here = Talk(is_connected=False)
    here.talk.ask_password(errors.WrongPassword(1021, "Wrong password."), answers.append)
    enter(here, "/quit")
    assert here.front.texts[-1] == COMMAND + "An empty line goes back to the nickname."
    enter(here, "/quit")
    assert answers == ["/quit"]


@pytest.mark.parametrize(
    "line",
    [
        "/register secret words",
        "  /PASSWD x",
        "/drop x",
        "/login ann secret",
        "\t/login  ann  secret",
        f"{SECRET}",
        f" {SECRET} ",
    ],
)
def test_a_line_that_may_show_a_password_is_not_sent(line: str) -> None:
    here = Talk()
    enter(here, "/login", SECRET)
    here.server.answer(requests.Account("ann", "ann"))
    enter(here, "/passwd", SECRET, OTHER, OTHER)
    here.server.answer(requests.Nothing())
    here.front.shown.clear()
    assert here.talk.must_hide(line)
    enter(here, line)
    assert here.server.requests == []
    command, password = "Leave the password out: it is asked for. This line", "This line is your password, so it"
    assert here.front.texts == [f"! {command if '/' in line else password} is not sent."]
    assert not here.talk.must_hide("hello")
    assert not here.talk.must_hide("/login ann")


def test_a_password_that_others_may_read_is_warned_about() -> None:
    here = Talk()
    here.talk.connected(welcome("lobby", passwords="readable"))
    here.front.shown.clear()
    enter(here, "/login")
    assert here.front.texts == ["* This connection is not encrypted: others may read the password."]
    assert prompt(here) == "Password"


def test_a_server_that_takes_no_passwords_here_is_asked_nothing() -> None:
    here = Talk()
    here.talk.connected(welcome("lobby", passwords="refused"))
    here.front.shown.clear()
    assert here.talk.submit("/login") == "/login"
    assert here.front.texts == ["! This server takes passwords only over TLS, or from its own machine."]
    assert prompt(here) is None


def test_the_password_of_the_nickname_is_asked_for_before_and_after_a_lost_connection() -> None:
    answers: list[str] = []
    here = Talk(is_connected=False)
    here.talk.ask_nick(Question("ann"), "", lambda _nick: None)
    enter(here, "ann")
    here.talk.ask_password(errors.PasswordNeeded(1020, "ann is registered: it needs its password."), answers.append)
    states = [here.talk.state]
    assert prompt(here) == "Password"
    enter(here, " quit ")
    here.talk.ask_password(errors.WrongPassword(1021, "Wrong password."), answers.append)
    enter(here, "")
    assert answers == [" quit ", ""]
    assert here.front.texts == [
        "* ann is registered: it needs its password. An empty line goes back to the nickname.",
        "! Wrong password. An empty line goes back to the nickname.",
    ]
    here.talk.connected(welcome("lobby"))
    here.talk.lost("the server is going down", 5.0)
    enter(here, "typed meanwhile")
    here.talk.ask_password(errors.WrongPassword(1021, "Wrong password."), answers.append)
    assert here.talk.retry_at is None
    enter(here, SECRET)
    assert [*states, here.talk.state] == [State.ASKING, State.CONNECTING]
    here.talk.connected(welcome("lobby"))
    assert [type(request) for request in here.server.requests] == [requests.Say]


def test_a_user_who_leaves_is_not_asked() -> None:
    here = Talk()
    enter(here, "unsent")
    here.talk.leave()
    here.talk.ask_password(errors.WrongPassword(1021, "Wrong password."), lambda _answer: None)
    assert here.talk.state is State.ENDED


def test_no_item_shows_its_password() -> None:
    here = Talk()
    enter(here, "/login", SECRET)
    assert SECRET not in repr(here.talk.waiting)
