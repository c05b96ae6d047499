"""Inputs that come too early or too late change nothing."""

from __future__ import annotations

import pytest

from broadcast.core.account_commands import login_dialogue
from broadcast.core.errors import RejectedError
from broadcast.core.events import Joined, Left, ServerNotice
from broadcast.core.password_dialogue import PasswordDialogue
from broadcast.core.session import CONNECTION_LOST
from broadcast.core.settings import Settings
from broadcast.core.source import Source
from tests.harness import NOON, SessionClient, World


@pytest.fixture
def world() -> World:
    return World(Settings(name="The Den", motd=("Be kind.",)))


def password_dialogue(world: World) -> PasswordDialogue:
    return login_dialogue(world.hub, "zoe", Source(), lambda _account: None)


def test_welcome_state_ignores_everything_but_start_leave_and_reject(world: World) -> None:
    client = SessionClient(world)
    session = client.session
    session.line("ann", NOON)
    session.line_too_long(512)
    session.leave_delivered("lobby")
    session.joined("lobby", iter(()))
    session._machine.admit(world.join_sessions("zoe")[0].session.member)
    assert client.read() == []
    session.leave("")
    session.start()
    assert client.read() == []
    assert not session.ready


def test_nickname_state_ignores_start_and_the_room(world: World) -> None:
    client = world.open_session()
    client.session.start()
    client.session.leave_delivered("lobby")
    client.session._machine.joined("lobby", iter(()))
    assert client.read() == []


def test_broadcast_state_ignores_inputs_of_other_states(world: World) -> None:
    (ann,) = world.join_sessions("ann")
    ann.session.start()
    ann.session.reject("It is late.")
    ann.session._machine.leave_delivered()
    ann.session._machine.admit(ann.session.member)
    assert ann.read() == []
    assert ann.session.ready


def test_password_states_ignore_inputs_of_other_states(world: World, asked: SessionClient) -> None:
    session = asked.session
    session.start()
    session.ask(password_dialogue(world))
    session.joined("lobby", iter(()))
    session._machine.leave_delivered()
    session._machine.admit(world.join_sessions("zoe")[0].session.member)
    assert session.is_asking_password
    assert [each for each in asked.read() if not isinstance(each, Joined)] == []


def test_no_dialogue_begins_in_the_states_without_lines(world: World) -> None:
    client = SessionClient(world)
    client.session.ask(password_dialogue(world))
    client.session._machine.end_dialogue()
    client.session.start()
    client.session._machine.end_dialogue()
    client.say("zoe")
    client.session._machine.end_dialogue()
    client.say("quit")
    client.session.ask(password_dialogue(world))
    client.session._machine.end_dialogue()
    assert not client.session.has_asked_password


def test_quit_state_ignores_every_input_but_the_delivered_leave(world: World) -> None:
    ann, bob = world.join_sessions("ann", "bob")
    ann.session.leave("")
    ann.session.leave(CONNECTION_LOST)
    ann.session.line("hi", NOON)
    ann.session.line_too_long(4096)
    ann.session.reject("It is late.")
    ann.session.start()
    ann.session._machine.refuse(RejectedError("no."))
    world.settle()
    assert ann.read() == [ServerNotice("Goodbye, ann.")]
    assert bob.read() == [Left(ann.session.id, "ann")]
