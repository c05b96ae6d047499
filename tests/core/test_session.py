"""What a session does, from the welcome to the goodbye."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from broadcast.core.events import (
    CommandReply,
    ErrorReply,
    HistoryLine,
    JoinConfirmed,
    Joined,
    Left,
    Message,
    PasswordPrompt,
    PasswordTyped,
    Prompt,
    ReplayLine,
    ServerNotice,
    Welcome,
)
from broadcast.core.interfaces import View
from broadcast.core.limits import DEFAULTS
from broadcast.core.session import (
    CONNECTION_LOST,
    EMPTY_LINE_ENDS,
    MAX_REJECTED_NICKS,
    NEEDS_TLS,
    NOT_ENCRYPTED,
    Session,
)
from broadcast.core.settings import Settings
from broadcast.core.source import Source
from tests.harness import NOON, PASSWORD, SessionClient, World

PROMPT = Prompt("Nickname:")
ASK = PasswordPrompt("Password:")
TOO_LONG = ErrorReply("a line holds at most 512 bytes.")


@pytest.fixture
def world() -> World:
    return World(Settings(name="The Den", motd=("Be kind.",)))


# welcome


def test_reject_before_start_sends_only_the_reason(world: World) -> None:
    client = SessionClient(world)
    client.session.reject("The server is full.")
    assert client.read() == [ServerNotice("The server is full.")]
    assert client.closed
    client.session.reject("again")
    client.session.line("ann", NOON)
    assert client.read() == []


def test_start_sends_welcome_and_prompt(world: World) -> None:
    client = SessionClient(world)
    client.session.start()
    assert client.read() == [Welcome("The Den", ("Be kind.",)), PROMPT]
    assert (client.session.ready, client.session.nick) == (True, "")
    assert client.session.max_line_bytes == DEFAULTS.nickname_bytes


# nickname


def test_nickname_leads_into_the_room_once_the_join_is_delivered(world: World) -> None:
    (bob,) = world.join_sessions("bob")
    bob.say("hi")
    ann = world.open_session()
    ann.session.line(" ann\u200b ", NOON)
    assert (ann.session.ready, ann.session.nick) == (False, "ann")
    assert ann.session.max_line_bytes == DEFAULTS.line_bytes
    assert ann.read() == []
    world.settle()
    assert (ann.session.ready, ann.ready_calls, ann.views[1:]) == (True, 1, [View()])
    assert ann.read() == [JoinConfirmed("ann", ("bob",), 1), ReplayLine(Message(bob.session.id, "bob", "hi", NOON, 1))]
    assert bob.read() == [Joined(ann.session.id, "ann")]


def test_rejected_nickname_is_asked_again_until_the_tenth(world: World) -> None:
    world.join_sessions("bob")
    client = world.open_session()
    client.session.line("bob", NOON)
    client.session.line_too_long(512)
    assert client.read() == [ErrorReply("bob is taken."), PROMPT, TOO_LONG, PROMPT]
    for _ in range(MAX_REJECTED_NICKS - 3):
        client.session.line("server", NOON)
    assert (client.session.ready, client.closed) == (True, False)
    client.read()
    client.session.line_too_long(512)
    assert client.read() == [TOO_LONG, ServerNotice("Goodbye.")]
    assert (client.session.ready, client.closed) == (False, True)
    assert client.session.leave_reason == "no nickname in 10 tries"


@pytest.mark.parametrize(
    "typed", ["\x1b[Dann", "version\x04bind", "\0ann", "ann\x7f", "a\u009b31mnn", "\x07"], ids=ascii
)
def test_nickname_with_control_characters_is_rejected_instead_of_cleaned(world: World, typed: str) -> None:
    (bob,) = world.join_sessions("bob")
    ann = world.open_session()
    ann.say(typed)
    bob.say(f"/nick {typed}")
    error = ErrorReply("a nickname holds no control characters, such as those that arrow keys send.")
    assert (ann.read(), bob.read()) == ([error, PROMPT], [error])
    ann.say("\t\u200bann ", "/nick \x85zoe\t")
    assert ann.session.nick == "zoe"


def test_quit_with_control_characters_leaves_before_a_nickname(world: World) -> None:
    ann = world.open_session()
    ann.say("quit\0")
    assert ann.closed


@pytest.mark.parametrize(
    ("leave", "notice", "reason"),
    [
        pytest.param(lambda session: session.line("quit", NOON), "Goodbye.", "", id="quit"),
        pytest.param(lambda session: session.line(" EXIT ", NOON), "Goodbye.", "", id="exit"),
        pytest.param(lambda session: session.leave(CONNECTION_LOST), "Goodbye.", CONNECTION_LOST, id="lost"),
        pytest.param(lambda session: session.reject("It is late."), "It is late.", "It is late.", id="rejected"),
    ],
)
def test_leaving_before_a_nickname_is_not_published(
    world: World, leave: Callable[[Session], None], notice: str, reason: str
) -> None:
    (bob,) = world.join_sessions("bob")
    client = world.open_session()
    leave(client.session)
    world.settle()
    assert client.read() == [ServerNotice(notice)]
    assert (client.closed, client.session.leave_reason) == (True, reason)
    assert bob.read() == []


# broadcast


def test_paused_session_takes_no_line_until_it_is_resumed(world: World) -> None:
    (ann,) = world.join_sessions("ann")
    ann.session.pause()
    assert not ann.session.ready
    ann.session.resume()
    assert (ann.session.ready, ann.ready_calls) == (True, 2)


def test_set_view_changes_the_view_of_the_peer(world: World) -> None:
    (ann,) = world.join_sessions("ann")
    ann.session.set_view(View(times=True))
    assert ann.session.view == ann.views[-1] == View(times=True)


@pytest.mark.parametrize("reason", ["", "tired", CONNECTION_LOST])
def test_goodbye_follows_everything_else_and_others_stay(world: World, reason: str) -> None:
    ann, bob = world.join_sessions("ann", "bob")
    bob.session.line("hi", NOON)
    ann.session.leave(reason)
    assert (ann.session.ready, ann.closed) == (False, False)
    world.settle()
    assert ann.read() == [Message(bob.session.id, "bob", "hi", NOON, 1), ServerNotice("Goodbye, ann.")]
    assert (ann.closed, ann.session.leave_reason) == (True, reason)
    bob.say("/ping")
    assert bob.read() == [Left(ann.session.id, "ann", reason), CommandReply("pong")]


# password


def test_right_password_ends_the_dialogue(world: World, asked: SessionClient) -> None:
    answer = CommandReply("You are logged in as ann.") if asked.session.nick else JoinConfirmed("ann", (), 0)
    asked.session.line(PASSWORD, NOON)
    ready = [asked.session.ready]
    world.settle()
    ready.append(asked.session.ready)
    assert (asked.read(), ready) == ([PasswordTyped(), answer], [False, True])
    assert asked.session.member.account is world.hub.accounts.find("ann")


def test_repeated_password_is_dropped_until_another_line_follows(world: World, asked: SessionClient) -> None:
    asked.say(PASSWORD, PASSWORD, f" {PASSWORD}", "hi", PASSWORD)
    repeated = ErrorReply("this is the password that you have just typed. It was not said.")
    assert asked.read()[2:] == [repeated, repeated]
    (zoe,) = world.join_sessions("zoe")
    zoe.say("/history")
    texts = [each.event.text for each in zoe.read() if isinstance(each, HistoryLine)]
    assert texts == ["hi", PASSWORD]


def test_command_that_was_taken_for_a_password_can_be_repeated(asked: SessionClient) -> None:
    asked.say("/login ann", "")
    asked.read()
    asked.say("/login ann")
    assert asked.read() == [ASK]


def test_errors_and_lines_that_are_too_long_ask_again(world: World, asked: SessionClient) -> None:
    asked.say("quit", "/help")
    asked.session.line_too_long(512)
    world.hasher.is_full = True
    asked.say(PASSWORD)
    errors = ["a password has 8 to 256 bytes."] * 2 + ["a line holds at most 512 bytes.", "busy, try again."]
    assert asked.read() == [
        each for error in errors for each in (PasswordTyped(), ErrorReply(f"{error} {EMPTY_LINE_ENDS}"), ASK)
    ]


def test_third_wrong_password_closes(world: World, asked: SessionClient) -> None:
    asked.say("wrong horse", "wrong horse")
    assert asked.read() == [PasswordTyped(), ErrorReply(f"wrong password. {EMPTY_LINE_ENDS}"), ASK] * 2
    asked.say("wrong horse")
    goodbye = "Goodbye." if not asked.session.nick else "Goodbye, bob."
    third = ErrorReply("wrong password. It was the third one: connect again for another try.")
    assert asked.read() == [PasswordTyped(), third, ServerNotice(goodbye)]
    assert (asked.closed, asked.session.leave_reason) == (True, "3 wrong passwords")


def test_empty_line_ends_the_dialogue(asked: SessionClient) -> None:
    asked.say("")
    assert asked.read() == [PasswordTyped(), CommandReply("Nothing was changed.") if asked.session.nick else PROMPT]
    assert not asked.session.is_asking_password
    asked.say("quit")
    assert asked.closed


def test_result_after_the_end_changes_nothing(world: World, asked: SessionClient) -> None:
    asked.session.line(PASSWORD, NOON)
    asked.session.leave(CONNECTION_LOST)
    world.settle()
    assert isinstance(asked.read()[-1], ServerNotice)
    assert (asked.closed, asked.session.ready, asked.ready_calls > 1) == (True, False, False)
    assert world.hub.people.members == {}


def test_rejection_ends_a_dialogue_before_the_nickname_only(asked: SessionClient) -> None:
    asked.session.reject("It is late.")
    assert asked.closed is not bool(asked.session.nick)
    assert asked.session.is_asking_password is not asked.closed


def test_password_is_warned_about_or_refused_on_a_connection_that_others_can_read() -> None:
    for passwords in ("warn", "tls"):
        world = World(Settings(passwords=passwords))
        client = SessionClient(world)
        client.session.source = Source("192.0.2.7", is_local=False)
        client.session.start()
        client.say("bob")
        client.read()
        client.say("/register")
        if passwords == "warn":
            assert client.read() == [ServerNotice(NOT_ENCRYPTED), ASK]
        else:
            assert client.read() == [ErrorReply(NEEDS_TLS)]
        client = SessionClient(world)
        client.session.source = Source("192.0.2.7", is_local=False)
        client.session.start()
        client.say("/login ann")
        assert client.closed is (passwords == "tls")


def test_password_before_the_nickname_that_is_repeated_is_no_nickname(world: World) -> None:
    client = world.open_session()
    client.say("/login ann", PASSWORD, "", PASSWORD, "ann")
    assert client.session.nick == "ann"
    client = world.open_session()
    client.say("/login ann", "correcthorse", "", "correcthorse")
    assert client.session.nick == ""


def test_login_to_a_nickname_that_cannot_be_had_asks_for_another() -> None:
    world = World(Settings(unicode_nicknames=True))
    anna, bob = world.join_sessions("anna", "bob")
    anna.say("/register", PASSWORD, PASSWORD, "quit")
    world.join_sessions("\u0430nna")
    client = world.open_session()
    refused = ErrorReply("anna looks too much like \u0430nna, who is here.")
    client.say("anna", PASSWORD)
    assert client.read()[2:] == [refused, PROMPT]
    bob.say("/login anna", PASSWORD)
    assert bob.read()[-1] == refused
    assert bob.session.ready


# quit


def test_leaving_before_the_join_is_delivered_joins_and_leaves(world: World) -> None:
    (bob,) = world.join_sessions("bob")
    ann = world.open_session()
    ann.session.line("ann", NOON)
    ann.session.leave(CONNECTION_LOST)
    world.settle()
    assert ann.read() == [ServerNotice("Goodbye, ann.")]
    assert (ann.ready_calls, ann.views[1:]) == (0, [])
    assert bob.read() == [Joined(ann.session.id, "ann"), Left(ann.session.id, "ann", CONNECTION_LOST)]
