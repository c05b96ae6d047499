"""One visit: what each input means in each state, and one line at a time."""

from __future__ import annotations

import pytest

from broadcast.core.errors import RefusedError
from broadcast.core.events import Answered, Arrived, Joined, Left, Noted, Prompted, Refused, Replayed, Said, Welcomed
from broadcast.core.hub import Settings
from broadcast.core.interfaces import View
from broadcast.core.limits import DEFAULTS
from broadcast.core.session import LOST, REFUSALS, Session
from tests.core.stage import AT, Seat, Stage

PROMPT = Prompted("Nickname:")


@pytest.fixture
def stage() -> Stage:
    """An open room."""
    stage = Stage(Settings(name="The Den", motd=("Be kind.",)))
    stage.hub.open()
    return stage


def greeted(stage: Stage) -> Seat:
    """Somebody at the prompt."""
    seat = Seat(stage)
    seat.session.greet()
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
    seat.session.turn_away("The server is full.")
    assert seat.look() == [Noted("The server is full.")]
    assert seat.closed
    seat.session.turn_away("again")
    seat.session.line("ann", AT)
    assert seat.look() == []


def test_before_the_greeting_only_leaving_means_anything(stage: Stage) -> None:
    seat = Seat(stage)
    assert not is_ready(seat)
    seat.session.line("ann", AT)
    seat.session.overlong(512)
    seat.session.departed()
    seat.session.arrived({}, iter(()))
    seat.session._visit.admit(stage.join("zoe")[0].session.member)
    assert seat.look() == []
    seat.session.leave("")
    seat.session.greet()
    assert seat.look() == []
    assert not is_ready(seat)


def test_the_greeting_welcomes_and_prompts(stage: Stage) -> None:
    seat = Seat(stage)
    seat.session.greet()
    assert seat.look() == [Welcomed("The Den", ("Be kind.",)), PROMPT]
    assert is_ready(seat)
    assert (seat.session.nick, seat.session.limit) == ("", DEFAULTS.nickname_bytes)


# nickname


def test_a_second_greeting_and_what_the_room_tells_too_early_mean_nothing(stage: Stage) -> None:
    seat = greeted(stage)
    seat.session.greet()
    seat.session.departed()
    seat.session._visit.arrived({}, iter(()))
    assert seat.look() == []


def test_a_nickname_leads_into_the_room(stage: Stage) -> None:
    (bob,) = stage.join("bob")
    bob.say("hi")
    ann = greeted(stage)
    ann.session.line(" ann\x07 ", AT)
    assert not is_ready(ann)
    assert (ann.session.nick, ann.session.limit) == ("ann", DEFAULTS.line_bytes)
    assert ann.look() == []
    stage.settle()
    assert is_ready(ann)
    assert ann.proceeded == 1
    assert ann.views == [View()]
    assert ann.look() == [Arrived("ann", ("bob",), 1), Replayed(Said(bob.session.id, "bob", "hi", AT, 1))]
    assert bob.look() == [Joined(ann.session.id, "ann")]


def test_twenty_of_those_present_are_named(stage: Stage) -> None:
    stage.join(*(f"p{number}" for number in range(22)))
    ann = greeted(stage)
    ann.say("ann")
    assert ann.look() == [Arrived("ann", tuple(f"p{number}" for number in range(20)), 22)]


def test_a_refused_nickname_is_asked_for_again(stage: Stage) -> None:
    stage.join("bob")
    seat = greeted(stage)
    seat.session.line("bob", AT)
    seat.session.overlong(512)
    assert seat.look() == [
        Refused("bob is taken."),
        PROMPT,
        Refused("a line holds at most 512 bytes."),
        PROMPT,
    ]
    assert is_ready(seat)


def test_the_tenth_refusal_ends_the_visit(stage: Stage) -> None:
    seat = greeted(stage)
    for _ in range(REFUSALS - 1):
        seat.session.line("server", AT)
    assert not is_over(seat)
    seat.look()
    seat.session.overlong(512)
    assert seat.look() == [Refused("a line holds at most 512 bytes."), Noted("Goodbye.")]
    assert is_over(seat)
    assert not is_ready(seat)
    assert seat.session.why == "no nickname in 10 tries"


@pytest.mark.parametrize("word", ["quit", " EXIT "])
def test_the_words_that_leave_are_no_nicknames(stage: Stage, word: str) -> None:
    seat = greeted(stage)
    seat.session.line(word, AT)
    assert seat.look() == [Noted("Goodbye.")]
    assert is_over(seat)
    assert seat.session.why == ""


def test_who_is_lost_before_a_nickname_leaves_nothing(stage: Stage) -> None:
    seat = greeted(stage)
    seat.session.leave(LOST)
    stage.settle()
    assert is_over(seat)
    assert seat.session.why == LOST
    assert stage.bursts == []


def test_who_is_turned_away_is_told_why(stage: Stage) -> None:
    seat = greeted(stage)
    seat.session.turn_away("It is late.")
    assert seat.look() == [Noted("It is late.")]
    assert is_over(seat)
    assert seat.session.why == "It is late."


# broadcast


def test_in_the_room_nobody_is_greeted_admitted_turned_away_or_gone_by_mistake(stage: Stage) -> None:
    (ann,) = stage.join("ann")
    ann.session.greet()
    ann.session.turn_away("It is late.")
    ann.session._visit.departed()
    ann.session._visit.admit(ann.session.member)
    assert ann.look() == []
    assert is_ready(ann)


def test_a_line_is_cleaned_and_said(stage: Stage) -> None:
    ann, bob = stage.join("ann", "bob")
    ann.say("h\x1bi\t!")
    assert bob.look() == [Said(ann.session.id, "ann", "hi !", AT, 1)]
    assert ann.look() == []


def test_a_refusal_changes_nothing(stage: Stage) -> None:
    (ann,) = stage.join("ann")
    ann.say("/x")
    assert ann.look() == [Refused("unknown command /x. /help lists them.")]
    ann.session.overlong(4096)
    assert ann.look() == [Refused("a line holds at most 4096 bytes.")]
    assert is_ready(ann)


def test_while_an_answer_is_to_come_no_line_is_taken(stage: Stage) -> None:
    (ann,) = stage.join("ann")
    ann.session.wait()
    assert not is_ready(ann)
    ann.session.resume()
    assert is_ready(ann)
    assert ann.proceeded == 2


def test_another_view_holds_from_here_on(stage: Stage) -> None:
    (ann,) = stage.join("ann")
    ann.session.look(View(times=True))
    assert ann.session.view == View(times=True)
    assert ann.views == [View(), View(times=True)]


@pytest.mark.parametrize("why", ["", "tired", LOST])
def test_who_leaves_says_goodbye_after_everything_else(stage: Stage, why: str) -> None:
    ann, bob = stage.join("ann", "bob")
    bob.session.line("hi", AT)
    ann.session.leave(why)
    assert not is_ready(ann)
    assert not is_over(ann)
    stage.settle()
    assert ann.look() == [Said(bob.session.id, "bob", "hi", AT, 1), Noted("Goodbye, ann.")]
    assert is_over(ann)
    assert ann.session.why == why
    assert bob.look() == [Left(ann.session.id, "ann", why)]


# quit


def test_after_leaving_nothing_means_anything(stage: Stage) -> None:
    ann, bob = stage.join("ann", "bob")
    ann.session.leave("")
    ann.session.leave(LOST)
    ann.session.line("hi", AT)
    ann.session.overlong(4096)
    ann.session.turn_away("It is late.")
    ann.session.greet()
    ann.session._visit.admit(ann.session.member)
    stage.settle()
    assert ann.look() == [Noted("Goodbye, ann.")]
    assert bob.look() == [Left(ann.session.id, "ann")]


def test_who_leaves_before_the_room_has_them_comes_and_goes(stage: Stage) -> None:
    (bob,) = stage.join("bob")
    ann = greeted(stage)
    ann.session.line("ann", AT)
    ann.session.leave(LOST)
    stage.settle()
    assert ann.look() == [Noted("Goodbye, ann.")]
    assert (ann.proceeded, ann.views) == (0, [])
    assert bob.look() == [Joined(ann.session.id, "ann"), Left(ann.session.id, "ann", LOST)]


def test_a_machine_is_made_for_each_visit(stage: Stage) -> None:
    ann, bob = stage.join("ann", "bob")
    ann.say("quit")
    bob.say("/ping")
    assert bob.look() == [Left(ann.session.id, "ann"), Answered("pong")]
    assert isinstance(bob.session, Session)
    with pytest.raises(RefusedError):
        stage.hub.find("ann")
