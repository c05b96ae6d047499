"""A place in the room, kept over connections that come and go, against a faithful server in memory."""

from __future__ import annotations

from errno import ECONNREFUSED
from os import strerror

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionRefusedError as Refused

from broadcast.client.connection import CATCH_UP_SECONDS, LEAVE_SECONDS, _Phase
from broadcast.client.heartbeat import PATIENCE, PROMPT_SECONDS, SILENCE
from broadcast.client.lines import Answer, Emoted, Joined, Missed, Notice, Recalled, Receipt, Said
from tests.client.fake import Play

# The nickname


def test_a_refused_nickname_with_nobody_to_ask_ends_with_3() -> None:
    play = Play()
    play.room.reserved = {"ann"}
    play.start()
    play.connection.leave()
    play.settle()
    assert play.front.ends == [(3, "the nickname was refused: ann is taken.")]


def test_ten_refusals_close_and_end_with_3() -> None:
    play = Play()
    play.room.reserved = {"ann"}
    play.front.nicks = ["ann"] * 20
    play.start()
    assert play.front.ends == [(3, "the nickname was refused: ann is taken.")]


def test_a_connection_lost_before_the_answer_to_another_nickname_was_not_refused() -> None:
    play = Play(nick=None)
    play.room.reserved = {"ann"}
    play.front.nicks = ["ann"]
    play.start()
    play.connection.propose("bea")
    play.wire.cut()
    play.settle()
    assert [status for status, _ in play.front.ends] == [2]


def test_leaving_at_the_question_for_a_nickname_ends_with_0() -> None:
    play = Play(nick=None).start()
    play.connection.leave()
    play.settle()
    assert play.front.ends == [(0, "")]


def test_a_password_is_asked_for_and_its_answer_is_sent_at_once() -> None:
    play = Play()
    play.room.password = "sesame"  # noqa: S105 -- of a server that is a fake
    play.start()
    assert play.front.prompts == ["Password: "]
    play.say("wrong")
    assert play.front.prompts == ["Password: "] * 2
    play.say("sesame")
    assert play.front.arrivals == [("ann", False)]
    assert not [event for event in play.front.events if "sesame" in str(event)]


# No connection


def test_no_connection_ends_with_2_and_says_why() -> None:
    play = Play()
    play.endpoint.failure = Refused(osError=ECONNREFUSED)  # type: ignore[no-untyped-call]
    play.connection.start()
    play.clock.advance(0)
    assert play.front.ends == [(2, f"no connection to fake:5555: {strerror(ECONNREFUSED)}")]
    assert play.front.losses == []


def test_somebody_who_asks_for_no_nickname_ends_with_2() -> None:
    play = Play()
    play.room.greets = False
    play.start()
    play.clock.advance(PROMPT_SECONDS)
    play.clock.advance(0)
    assert play.front.ends == [(2, "no connection to fake:5555: nobody asks for a nickname there")]


@pytest.mark.parametrize("again", [False, True], ids=["at first", "again"])
def test_a_server_that_says_nothing_to_a_nickname_is_not_waited_for(again: bool) -> None:
    play = Play()
    play.room.answers = again
    play.start()
    if again:
        play.room.answers = False
        play.wire.cut()
        play.back()
    play.clock.advance(PROMPT_SECONDS)
    play.clock.advance(0)
    if again:
        assert [why for why, _pause in play.front.losses][1:] == ["the server does not answer"]
        assert play.front.ends == []
    else:
        assert play.front.ends == [(2, "no connection to fake:5555: the server does not answer")]


def test_a_server_that_says_nothing_to_a_password_is_not_waited_for() -> None:
    play = Play()
    play.room.password = "sesame"  # noqa: S105 -- of a server that is a fake
    play.start()
    play.clock.advance(10 * PROMPT_SECONDS)  # who thinks about it has time
    play.room.answers = False
    play.say("sesame")
    play.clock.advance(PROMPT_SECONDS)
    play.clock.advance(0)
    assert play.front.ends == [(2, "no connection to fake:5555: the server does not answer")]


def test_leaving_before_there_is_a_connection_ends_with_0() -> None:
    play = Play()
    play.endpoint.hangs = True
    play.connection.start()
    play.connection.leave()
    play.connection.leave()
    play.clock.advance(0)
    assert play.front.ends == [(0, "")]
    assert not play.connection.say("hi")


# Leaving


def test_leaving_says_everything_before_it_and_ends_with_0() -> None:
    play = Play().start()
    play.connection.say("hi")
    play.connection.leave()
    assert not play.connection.say("late")
    play.settle()
    assert play.kept == ["ann: hi"]
    assert play.front.said == ["ann: hi"]
    assert play.front.notices[-1] == "Goodbye, ann."
    assert play.front.ends == [(0, "")]


def test_a_typed_quit_ends_with_0() -> None:
    play = Play().start()
    play.say("quit")
    assert play.front.ends == [(0, "")]
    assert play.front.losses == []


@pytest.mark.parametrize("again", [False, True])
def test_leaving_before_it_is_caught_up_says_what_was_typed(again: bool) -> None:
    play = Play()
    if again:
        play.start()
        play.wire.cut()
        play.clock.advance(play.front.losses[-1][1] or 0)
    else:
        play.connection.start()
    while not play.connection.standing:
        play.wire.carry_down()
        if play.wire.up:
            play.wire.carry_up()
    play.connection.say("hi")
    play.connection.leave()
    play.settle()
    assert play.kept == ["ann: hi"]
    assert play.front.said == ["ann: hi"]
    assert play.front.others == []
    assert play.front.unsaids == []
    assert play.front.ends == [(0, "")]


def test_leaving_takes_ten_seconds_at_most() -> None:
    play = Play().start()
    play.end.mute = True
    play.connection.leave()
    play.settle()
    play.clock.advance(LEAVE_SECONDS)
    play.clock.advance(0)
    assert play.front.ends == [(0, "")]


def test_leaving_with_lines_unconfirmed_names_them_and_ends_with_4() -> None:
    play = Play().start()
    play.end.mute = True
    play.connection.say("hi")
    play.connection.leave()
    play.settle()
    play.clock.advance(LEAVE_SECONDS)
    play.clock.advance(0)
    assert play.front.unsaids == ["hi"]
    assert [status for status, _ in play.front.ends] == [4]


def test_leaving_while_away_names_the_lines_that_were_not_confirmed() -> None:
    play = Play().start()
    play.connection.say("hi")
    play.wire.cut()
    play.connection.leave()
    play.clock.advance(0)
    assert play.front.unsaids == ["hi"]
    assert play.front.ends == [(4, "the connection to fake:5555 was lost: the connection broke")]


def test_a_goodbye_in_the_message_of_the_day_ends_nothing() -> None:
    play = Play().start()
    play.room.motd = b"Goodbye.\r\n"
    play.wire.cut()
    play.clock.advance(play.front.losses[-1][1] or 0)
    play.wire.carry_down()
    play.wire.cut()
    play.back()
    assert play.front.arrivals[-1] == ("ann", True)
    assert play.front.ends == []


# Coming back


def test_the_pauses_grow_are_jittered_and_begin_anew() -> None:
    play = Play(random=0.25).start()
    play.endpoint.failure = Refused(osError=ECONNREFUSED)  # type: ignore[no-untyped-call]
    play.wire.cut()
    for _ in range(12):
        play.clock.advance(play.front.losses[-1][1] or 0)
    pauses = [pause or 0 for _, pause in play.front.losses]
    assert pauses[0] == 1.25
    assert pauses == sorted(pauses)
    assert len(set(pauses[:10])) == 10
    assert max(pauses) <= 61
    assert play.front.losses[0][0] == "the connection broke"
    assert play.front.losses[-1][0] == strerror(ECONNREFUSED)
    play.endpoint.failure = None
    play.back()
    play.wire.cut(clean=True)
    assert play.front.losses[-1] == ("the server closed the connection", 1.25)
    play.back()
    assert play.front.attempts == [1, *range(1, 14), 1]


def test_random_pauses_differ() -> None:
    pauses = []
    for random in (0.1, 0.9):
        play = Play(random=random).start()
        play.wire.cut()
        pauses.append(play.front.losses[-1][1])
    assert pauses == [1.1, 1.9]


def test_without_reconnecting_a_lost_connection_ends_with_4() -> None:
    play = Play(reconnect=False).start()
    play.connection.say("hi")
    play.wire.cut()
    play.clock.advance(0)
    assert play.front.losses == [("the connection broke", None)]
    assert play.front.unsaids == ["hi"]
    assert play.front.ends == [(4, "the connection to fake:5555 was lost: the connection broke")]


def test_the_welcome_is_shown_once() -> None:
    play = Play().start()
    play.wire.cut()
    play.back()
    assert play.front.notices == ["Welcome to Fake."]


@pytest.mark.parametrize("missed", [0, 1, 19, 20, 21, 999, 1000, 1001, 2500])
def test_what_was_said_meanwhile_is_shown_once(missed: int) -> None:
    play = Play("one", "two").start()
    play.bob("three")
    play.say("four")
    play.wire.cut()
    play.bob(*(f"late {number}" for number in range(missed)))
    play.back()
    play.bob("live")
    assert play.front.said == play.kept


@pytest.mark.parametrize(("before", "missed"), [(1, 1), (5, 3), (30, 30), (2, 1200)])
def test_lines_with_the_same_text_are_shown_as_often_as_they_were_said(before: int, missed: int) -> None:
    play = Play("a").start()
    play.bob(*["a"] * before)
    play.wire.cut()
    play.bob(*["a"] * missed)
    play.back()
    play.bob("a")
    assert play.front.said == play.kept


def test_lines_in_flight_are_shown_once_when_they_were_kept() -> None:
    play = Play("one").start()
    for line in ("a", "a", "/me ä"):
        play.connection.say(line)
    for _ in range(3):
        play.wire.carry_up()
    play.wire.cut()
    play.bob("two")
    play.back()
    assert play.front.said == play.kept == ["bob: one", "ann: a", "ann: a", "** ann ä", "bob: two"]
    assert [event.own for event in play.front.events if isinstance(event, Said | Emoted)] == [
        False,
        True,
        True,
        True,
        False,
    ]
    assert play.front.unsaids == []


def test_lines_in_flight_that_were_not_kept_are_named() -> None:
    play = Play("one").start()
    for line in ("a", "a", "b"):
        play.connection.say(line)
    play.wire.carry_up()
    play.wire.cut()
    play.back()
    assert play.front.said == play.kept == ["bob: one", "ann: a"]
    assert play.front.unsaids == ["a", "b"]


def test_lines_that_were_missed_are_not_shown_again_after_a_notice() -> None:
    play = Play("one").start()
    play.end.skip()
    play.bob("two", "three")
    play.end.caught_up()
    play.bob("four")
    play.wire.cut()
    play.bob("five")
    play.back()
    assert Missed(2, 3) in play.front.events
    assert play.front.said == ["bob: one", "bob: four", "bob: five"]


def test_people_who_are_ignored_do_not_confuse_the_count() -> None:
    play = Play("one").start()
    play.say("/ignore eve")
    for number in range(30):
        play.room.said("eve", "spam")
        play.bob(str(number))
    play.wire.cut()
    play.bob("late")
    play.back()
    assert play.front.said == ["bob: one", *(f"bob: {number}" for number in range(30)), "bob: late"]


def test_a_history_that_is_another_is_said_so_and_the_newest_lines_are_shown() -> None:
    play = Play("one", "two", "three").start()
    play.wire.cut()
    play.room.kept.clear()
    play.bob("new")
    play.back()
    assert play.front.notices[-1] == "The server's history is not the one of before."
    assert play.front.said == ["bob: one", "bob: two", "bob: three", "bob: new"]


def test_another_history_with_higher_numbers_is_noticed_too() -> None:
    play = Play("one", "two", "three").start()
    play.wire.cut()
    play.room.kept.clear()
    play.bob(*"abcdef")
    play.back()
    assert play.front.notices[-1] == "The server's history is not the one of before."
    assert play.front.said[3:] == [f"bob: {letter}" for letter in "abcdef"]


def test_without_a_history_what_the_server_replays_is_shown_once() -> None:
    play = Play("one", "two")
    play.room.history = False
    play.start()
    play.bob("three")
    play.wire.cut()
    play.bob("four", "five")
    play.back()
    assert play.front.notices[-1] == "What was said meanwhile is not known: the history cannot be read: it burnt."
    assert play.front.said == play.kept


def test_a_connection_lost_while_catching_up_shows_nothing_twice() -> None:
    play = Play("one").start()
    play.wire.cut()
    play.bob(*(str(number) for number in range(1500)))
    play.clock.advance(play.front.losses[-1][1] or 0)
    play.wire.carry_down()
    for _ in range(4):
        play.wire.carry_up()
        play.wire.carry_down()
    play.room.tell(" * eve joined.")
    play.wire.carry_down()
    assert len(play.front.said) > 1
    play.wire.cut()
    assert Joined("eve") in play.front.events
    play.back()
    assert play.front.said == play.kept


def test_a_server_too_slow_to_catch_up_is_given_up_and_its_late_answers_are_not_shown() -> None:
    play = Play("one")
    play.connection.start()
    play.wire.carry_down()
    play.wire.carry_up()
    play.wire.carry_down()
    assert play.connection.standing
    play.connection.say("/history 1")
    play.clock.advance(CATCH_UP_SECONDS)
    play.settle()
    assert [type(event) for event in play.front.others] == [Recalled]


def test_lines_typed_while_catching_up_are_sent_after_it() -> None:
    play = Play("one")
    play.connection.start()
    play.wire.carry_down()
    play.wire.carry_up()
    play.wire.carry_down()
    assert play.connection.say("hi")
    play.settle()
    assert play.front.said == play.kept == ["bob: one", "ann: hi"]


def test_lines_typed_while_catching_up_are_named_when_it_ends_there() -> None:
    play = Play(reconnect=False)
    play.connection.start()
    play.wire.carry_down()
    play.wire.carry_up()
    play.wire.carry_down()
    play.connection.say("hi\n/names")
    play.wire.cut()
    play.clock.advance(0)
    assert play.front.unsaids == ["hi"]
    assert [status for status, _ in play.front.ends] == [4]


# A server that falls silent


def test_a_server_that_answers_no_ping_is_lost_and_reached_again() -> None:
    play = Play("one").start()
    ghost = play.wire
    play.connection.say("hi")
    play.clock.advance(SILENCE)
    assert play.front.losses == []
    play.clock.advance(PATIENCE)
    assert [why for why, _pause in play.front.losses] == ["the server does not answer any more"]
    assert ghost.lost
    play.bob("two")
    play.back()
    assert play.front.unsaids == ["hi"]
    assert play.front.said == ["bob: one", "bob: two"]
    assert play.front.arrivals[-1] == ("ann", True)


def test_without_reconnecting_a_server_that_answers_no_ping_is_the_end() -> None:
    play = Play(reconnect=False).start()
    play.clock.advance(SILENCE)
    play.clock.advance(PATIENCE)
    play.clock.advance(0)
    assert play.front.ends == [(4, "the connection to fake:5555 was lost: the server does not answer any more")]


def test_an_idle_room_loses_nobody() -> None:
    play = Play().start()
    for _ in range(100):
        play.clock.advance(PATIENCE)
        play.settle()
    assert play.front.losses == []
    assert play.end.taken.count("/ping") == 50
    assert play.front.others == []


def test_before_the_nickname_there_is_no_ping_and_no_end() -> None:
    play = Play(nick=None).start()
    for _ in range(10):
        play.clock.advance(PATIENCE)
    assert play.wire.up == b""
    assert (play.front.losses, play.front.ends) == ([], [])


def test_while_catching_up_there_is_no_ping() -> None:
    play = Play()
    play.connection.start()
    play.wire.carry_down()
    play.wire.carry_up()
    play.wire.carry_down()
    play.clock.advance(CATCH_UP_SECONDS - 1)
    assert b"/ping" not in play.wire.up
    play.clock.advance(1)
    play.clock.advance(SILENCE)
    assert play.wire.up.endswith(b"/ping\r\n")
    play.settle()
    assert play.front.others == [], "its answer, and those that come too late before it"
    play.say("/ping")
    assert play.front.others == [Answer("pong")]


def test_who_leaves_waits_for_the_goodbye_alone() -> None:
    play = Play().start()
    play.end.mute = True
    play.clock.advance(SILENCE)
    play.settle()
    play.connection.leave()
    play.settle()
    play.clock.advance(LEAVE_SECONDS)
    play.clock.advance(0)
    assert play.front.ends == [(0, "")]
    assert play.clock.getDelayedCalls() == []


SHORT = 2.0
PING = "/ping "

_steps = st.one_of(
    st.tuples(st.just("bob"), st.sampled_from("aabc")),
    st.tuples(st.just("own"), st.sampled_from(["a", "b", "/me waves", "//x", PING])),
    st.tuples(st.just("up"), st.integers(1, 4)),
    st.tuples(st.just("down"), st.integers(1, 400)),
    st.tuples(st.just("cut"), st.just(0)),
    st.tuples(st.just("wait"), st.just(SHORT)),
    st.tuples(st.just("wait"), st.just(PATIENCE)),
    st.tuples(st.just("settle"), st.just(0)),
)


def _step(play: Play, what: str, how: str | float, unique: str) -> None:
    wire = play.wire
    match what:
        case "bob":
            play.room.said("bob", f"{how}{unique}")
        case "own":
            play.connection.say(f"{how}{unique}")
        case "up" if not wire.lost:
            for _ in range(int(how)):
                if wire.up and not wire.lost:
                    wire.carry_up()
        case "down" if not wire.lost:
            wire.carry_down(int(how))
        case "cut":
            wire.cut()
        case "wait" if how == SHORT or play.connection._phase is _Phase.TALKING:
            # Longer, catching up is given up: then some lines may be shown twice.
            play.clock.advance(float(how))
        case "settle" if not wire.lost:
            play.settle()


@given(st.lists(_steps, max_size=60), st.booleans())
def test_each_kept_line_is_shown_once_and_in_order(steps: list[tuple[str, str | float]], alike: bool) -> None:
    play = Play("one", "two").start()
    for number, (what, how) in enumerate(steps):
        _step(play, what, how, "" if alike else str(number))
    for _ in range(10):
        if play.wire.lost:
            play.clock.advance(70)
        play.settle()
    assert play.connection.standing
    assert play.front.said == play.kept
    answers = [event for event in play.front.others if isinstance(event, Answer | Receipt | Recalled)]
    pings = [how for _what, how in steps].count(PING)
    assert answers == [Answer("pong")] * len(answers), "nothing but what was asked for"
    assert len(answers) <= pings
    assert len(answers) == pings or len(play.endpoint.wires) > 1
    assert Notice("The server's history is not the one of before.") not in play.front.events
