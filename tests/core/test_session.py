"""One visit: what each input means in each state, and one line at a time."""

from __future__ import annotations

import pytest

from broadcast.core.errors import RefusedError
from broadcast.core.events import (
    CommandReply,
    ErrorReply,
    JoinConfirmed,
    Joined,
    Left,
    Message,
    Prompt,
    ReplayLine,
    ServerNotice,
    Welcome,
)
from broadcast.core.hub import Settings
from broadcast.core.interfaces import View
from broadcast.core.limits import DEFAULTS
from broadcast.core.session import CONNECTION_LOST, MAX_REJECTED_NICKS, Session
from tests.core.stage import AT, Seat, Stage

PROMPT = Prompt("Nickname:")


@pytest.fixture
def stage() -> Stage:
    """An open room."""
    stage = Stage(Settings(name="The Den", motd=("Be kind.",)))
    stage.hub.open()
    return stage


def greeted(stage: Stage) -> Seat:
    """Somebody at the prompt."""
    seat = Seat(stage)
    seat.session.start()
    seat.look()
    return seat


def is_ready(seat: Seat) -> bool:
    """Whether the next line may come."""
    return seat.session.ready


def is_over(seat: Seat) -> bool:
    """Whether the connection was closed."""
    return seat.closed


# welcome


def test_who_is_turned_away_at_once_reads_only_why(stage: Stage) -> None:
    seat = Seat(stage)
    seat.session.reject("The server is full.")
    assert seat.look() == [ServerNotice("The server is full.")]
    assert seat.closed
    seat.session.reject("again")
    seat.session.line("ann", AT)
    assert seat.look() == []


def test_before_the_greeting_only_leaving_means_anything(stage: Stage) -> None:
    seat = Seat(stage)
    assert not is_ready(seat)
    seat.session.line("ann", AT)
    seat.session.line_too_long(512)
    seat.session.leave_delivered()
    seat.session.join_delivered({}, iter(()))
    seat.session._machine.admit(stage.join("zoe")[0].session.member)
    assert seat.look() == []
    seat.session.leave("")
    seat.session.start()
    assert seat.look() == []
    assert not is_ready(seat)


def test_the_greeting_welcomes_and_prompts(stage: Stage) -> None:
    seat = Seat(stage)
    seat.session.start()
    assert seat.look() == [Welcome("The Den", ("Be kind.",)), PROMPT]
    assert is_ready(seat)
    assert (seat.session.nick, seat.session.max_line_bytes) == ("", DEFAULTS.nickname_bytes)


# nickname


def test_a_second_greeting_and_what_the_room_tells_too_early_mean_nothing(stage: Stage) -> None:
    seat = greeted(stage)
    seat.session.start()
    seat.session.leave_delivered()
    seat.session._machine.join_delivered({}, iter(()))
    assert seat.look() == []


def test_a_nickname_leads_into_the_room(stage: Stage) -> None:
    (bob,) = stage.join("bob")
    bob.say("hi")
    ann = greeted(stage)
    ann.session.line(" ann\x07 ", AT)
    assert not is_ready(ann)
    assert (ann.session.nick, ann.session.max_line_bytes) == ("ann", DEFAULTS.line_bytes)
    assert ann.look() == []
    stage.settle()
    assert is_ready(ann)
    assert ann.proceeded == 1
    assert ann.views == [View()]
    assert ann.look() == [JoinConfirmed("ann", ("bob",), 1), ReplayLine(Message(bob.session.id, "bob", "hi", AT, 1))]
    assert bob.look() == [Joined(ann.session.id, "ann")]


def test_twenty_of_those_present_are_named(stage: Stage) -> None:
    stage.join(*(f"p{number}" for number in range(22)))
    ann = greeted(stage)
    ann.say("ann")
    assert ann.look() == [JoinConfirmed("ann", tuple(f"p{number}" for number in range(20)), 22)]


def test_a_refused_nickname_is_asked_for_again(stage: Stage) -> None:
    stage.join("bob")
    seat = greeted(stage)
    seat.session.line("bob", AT)
    seat.session.line_too_long(512)
    assert seat.look() == [
        ErrorReply("bob is taken."),
        PROMPT,
        ErrorReply("a line holds at most 512 bytes."),
        PROMPT,
    ]
    assert is_ready(seat)


def test_the_tenth_refusal_ends_the_visit(stage: Stage) -> None:
    seat = greeted(stage)
    for _ in range(MAX_REJECTED_NICKS - 1):
        seat.session.line("server", AT)
    assert not is_over(seat)
    seat.look()
    seat.session.line_too_long(512)
    assert seat.look() == [ErrorReply("a line holds at most 512 bytes."), ServerNotice("Goodbye.")]
    assert is_over(seat)
    assert not is_ready(seat)
    assert seat.session.leave_reason == "no nickname in 10 tries"


@pytest.mark.parametrize("word", ["quit", " EXIT "])
def test_the_words_that_leave_are_no_nicknames(stage: Stage, word: str) -> None:
    seat = greeted(stage)
    seat.session.line(word, AT)
    assert seat.look() == [ServerNotice("Goodbye.")]
    assert is_over(seat)
    assert seat.session.leave_reason == ""


def test_who_is_lost_before_a_nickname_leaves_nothing(stage: Stage) -> None:
    seat = greeted(stage)
    seat.session.leave(CONNECTION_LOST)
    stage.settle()
    assert is_over(seat)
    assert seat.session.leave_reason == CONNECTION_LOST
    assert stage.bursts == []


def test_who_is_turned_away_is_told_why(stage: Stage) -> None:
    seat = greeted(stage)
    seat.session.reject("It is late.")
    assert seat.look() == [ServerNotice("It is late.")]
    assert is_over(seat)
    assert seat.session.leave_reason == "It is late."


# broadcast


def test_in_the_room_nobody_is_greeted_admitted_turned_away_or_gone_by_mistake(stage: Stage) -> None:
    (ann,) = stage.join("ann")
    ann.session.start()
    ann.session.reject("It is late.")
    ann.session._machine.leave_delivered()
    ann.session._machine.admit(ann.session.member)
    assert ann.look() == []
    assert is_ready(ann)


def test_a_line_is_cleaned_and_said(stage: Stage) -> None:
    ann, bob = stage.join("ann", "bob")
    ann.say("h\x1bi\t!")
    assert bob.look() == [Message(ann.session.id, "ann", "hi !", AT, 1)]
    assert ann.look() == []


def test_a_refusal_changes_nothing(stage: Stage) -> None:
    (ann,) = stage.join("ann")
    ann.say("/x")
    assert ann.look() == [ErrorReply("unknown command /x. /help lists them.")]
    ann.session.line_too_long(4096)
    assert ann.look() == [ErrorReply("a line holds at most 4096 bytes.")]
    assert is_ready(ann)


def test_while_an_answer_is_to_come_no_line_is_taken(stage: Stage) -> None:
    (ann,) = stage.join("ann")
    ann.session.pause()
    assert not is_ready(ann)
    ann.session.resume()
    assert is_ready(ann)
    assert ann.proceeded == 2


def test_another_view_holds_from_here_on(stage: Stage) -> None:
    (ann,) = stage.join("ann")
    ann.session.set_view(View(times=True))
    assert ann.session.view == View(times=True)
    assert ann.views == [View(), View(times=True)]


@pytest.mark.parametrize("why", ["", "tired", CONNECTION_LOST])
def test_who_leaves_says_goodbye_after_everything_else(stage: Stage, why: str) -> None:
    ann, bob = stage.join("ann", "bob")
    bob.session.line("hi", AT)
    ann.session.leave(why)
    assert not is_ready(ann)
    assert not is_over(ann)
    stage.settle()
    assert ann.look() == [Message(bob.session.id, "bob", "hi", AT, 1), ServerNotice("Goodbye, ann.")]
    assert is_over(ann)
    assert ann.session.leave_reason == why
    assert bob.look() == [Left(ann.session.id, "ann", why)]


# quit


def test_after_leaving_nothing_means_anything(stage: Stage) -> None:
    ann, bob = stage.join("ann", "bob")
    ann.session.leave("")
    ann.session.leave(CONNECTION_LOST)
    ann.session.line("hi", AT)
    ann.session.line_too_long(4096)
    ann.session.reject("It is late.")
    ann.session.start()
    ann.session._machine.admit(ann.session.member)
    stage.settle()
    assert ann.look() == [ServerNotice("Goodbye, ann.")]
    assert bob.look() == [Left(ann.session.id, "ann")]


def test_who_leaves_before_the_room_has_them_comes_and_goes(stage: Stage) -> None:
    (bob,) = stage.join("bob")
    ann = greeted(stage)
    ann.session.line("ann", AT)
    ann.session.leave(CONNECTION_LOST)
    stage.settle()
    assert ann.look() == [ServerNotice("Goodbye, ann.")]
    assert (ann.proceeded, ann.views) == (0, [])
    assert bob.look() == [Joined(ann.session.id, "ann"), Left(ann.session.id, "ann", CONNECTION_LOST)]


def test_a_machine_is_made_for_each_visit(stage: Stage) -> None:
    ann, bob = stage.join("ann", "bob")
    ann.say("quit")
    bob.say("/ping")
    assert bob.look() == [Left(ann.session.id, "ann"), CommandReply("pong")]
    assert isinstance(bob.session, Session)
    with pytest.raises(RefusedError):
        stage.hub.find("ann")
