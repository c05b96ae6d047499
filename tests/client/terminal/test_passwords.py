"""A typed password is neither on the screen nor in the history nor in the draft."""

from __future__ import annotations

import pytest

from broadcast.client.protocol import errors, requests
from broadcast.client.session.conversation import State
from tests.client.terminal.stage import CTRL_C, ENTER, STATUS, UP, Stage, act

SECRET = "hunter2hunter2"
HIDDEN = "*" * len(SECRET)
CTRL_U, CTRL_Y = "\x15", "\x19"
REFUSAL = errors.PasswordNeeded(1020, "ann is registered: it needs its password.")


def history(stage: Stage) -> list[str]:
    return list(stage.screen.editor.buffer.history.get_strings())


def test_stars_stand_for_the_password() -> None:
    async def scene(stage: Stage) -> None:
        stage.type("/register" + ENTER)
        await stage.shows("Password:", STATUS)
        stage.type(SECRET)
        await stage.shows(f"Password: {HIDDEN}", STATUS)
        stage.type(ENTER + SECRET)
        await stage.shows(f"Once more: {HIDDEN}", STATUS)
        stage.type(ENTER)
        await stage.model.until(lambda: bool(stage.server.server.requests))
        assert stage.server.server.requests == [requests.Register(SECRET)]
        stage.server.server.answer(requests.Account("ann", "ann"))
        await stage.has("-> ann is registered: from now on, it needs the password. You are logged in.")
        await stage.has(">")
        assert history(stage) == ["/register"]
        stage.type(UP)
        await stage.model.until(lambda: stage.model.shown[-2] == "> /register")

    stage = act(scene)
    assert SECRET not in stage.model.written


def test_the_draft_is_put_aside_while_a_password_is_asked_for() -> None:
    answers: list[str] = []

    async def scene(stage: Stage) -> None:
        stage.type("half a li")
        await stage.shows("> half a li", STATUS)
        stage.talk.ask_password(REFUSAL, answers.append)
        await stage.has("Password:")
        stage.type(SECRET)
        await stage.has(f"Password: {HIDDEN}")
        stage.type(CTRL_U + CTRL_Y + ENTER)
        await stage.has("> half a li")
        assert answers == [SECRET]
        stage.type(CTRL_Y + "ne" + ENTER)
        await stage.model.until(lambda: history(stage) == ["half a line"])

    stage = act(scene)
    assert SECRET not in stage.model.written


def test_lines_behind_a_command_are_no_password() -> None:
    async def scene(stage: Stage) -> None:
        stage.type("\x1b[200~/register\nsaid\nlater\n\x1b[201~")
        await stage.shows("Password:", STATUS)
        stage.type(ENTER)
        await stage.has("> said", "later")
        assert stage.server.server.requests == []
        assert history(stage) == []

    act(scene)


@pytest.mark.parametrize("keys", [ENTER, CTRL_C, SECRET + CTRL_C], ids=repr)
def test_no_answer_ends_the_question(keys: str) -> None:
    answers: list[str] = []

    async def scene(stage: Stage) -> None:
        stage.talk.ask_password(REFUSAL, answers.append)
        await stage.has("Password:")
        stage.type(keys)
        await stage.model.until(lambda: answers == [""])
        assert stage.talk.state is State.CONNECTING

    act(scene)


def test_a_line_that_may_show_a_password_is_not_stored() -> None:
    async def scene(stage: Stage) -> None:
        stage.type(f"/login ann {SECRET}" + ENTER)
        await stage.has("-> Error: Leave the password out: it is asked for. This line is not sent.", ">")
        assert history(stage) == []
        assert stage.server.server.requests == []

    act(scene)
