"""A client in another room than the first one, over connections that come and go."""

from __future__ import annotations

import pytest

from broadcast.client.heartbeat import PROMPT_SECONDS
from broadcast.client.lines import Answer, Entered, Whispered
from tests.client.fake import Play, Room


def in_kitchen(*texts: str) -> tuple[Play, Room]:
    """Return a client that has moved to the kitchen, in which *texts* were said before, and the kitchen."""
    play = Play("in the lobby").start()
    kitchen = play.room.open("kitchen", *texts)
    play.say("/join kitchen")
    return play, kitchen


def say(play: Play, room: Room, *texts: str) -> None:
    for text in texts:
        room.said("bob", text)
    play.settle()


def come_back(play: Play) -> None:
    """Let the pause pass, and the nickname be accepted; the server has not read what follows it yet."""
    play.clock.advance(play.front.losses[-1][1] or 0)
    while not play.connection.standing:
        if play.wire.up:
            play.wire.carry_up()
        else:
            play.wire.carry_down()


def kept(room: Room) -> list[str]:
    return [str(line) for line in room.kept]


def test_the_first_room_has_no_name() -> None:
    assert Play().start().connection.room == ""


def test_a_move_is_shown_and_changes_the_room_and_the_people() -> None:
    play = Play().start()
    play.room.open("kitchen", "soup?")
    play.say("/join Kitchen")
    assert play.front.others == [Entered("kitchen", (), 0)]
    assert play.front.said == ["bob: soup?"]
    assert (play.connection.room, play.connection.here, play.connection.names) == ("kitchen", 1, ())


def test_after_leave_the_client_is_in_the_first_room_again() -> None:
    play, _ = in_kitchen()
    play.say("/leave")
    assert play.connection.room == ""
    play.wire.cut()
    play.back()
    assert not [line for line in play.end.taken if line.startswith("/join")]


def test_the_client_goes_back_to_its_room_before_it_says_anything() -> None:
    play, kitchen = in_kitchen()
    play.wire.cut()
    assert play.connection.room == ""
    come_back(play)
    assert play.connection.room == ""
    assert play.connection.say("more soup")
    play.settle()
    assert play.end.taken[0] == "/join kitchen"
    assert kept(kitchen) == ["ann: more soup"]
    assert play.kept == ["bob: in the lobby"]
    assert play.connection.room == "kitchen"
    assert [event.room for event in play.front.events if isinstance(event, Entered)] == ["kitchen"] * 2


def test_on_the_way_back_nothing_of_the_first_room_is_shown_but_private_lines_are() -> None:
    play, _ = in_kitchen()
    play.wire.cut()
    play.front.events.clear()
    come_back(play)
    play.end.tell(" * Topic: lobby")
    play.end.tell("[bob] psst")
    play.end.tell(" * The server is going down.")
    play.settle()
    assert play.front.said == []
    assert play.front.others == [Whispered("bob", "psst"), Entered("kitchen", (), 0)]
    assert play.front.notices == ["The server is going down.", "Topic: kitchen"]


def test_the_lines_of_another_room_are_counted_from_its_first_receipt() -> None:
    play, kitchen = in_kitchen("a", "b")
    play.say("mine")
    say(play, kitchen, "c")
    play.wire.cut()
    play.front.events.clear()
    say_while_away = [f"away {number}" for number in range(30)]
    for text in say_while_away:
        kitchen.said("bob", text)
    play.back()
    assert play.front.said == [f"bob: {text}" for text in say_while_away]
    assert "/history #1-#34" in play.end.taken


def test_without_a_number_of_its_room_the_client_shows_what_is_new_of_the_last_lines() -> None:
    play, kitchen = in_kitchen("a", "b")
    for text in ("one", "two", "three"):
        play.room.said("bob", text)
    play.wire.cut()
    play.front.events.clear()
    kitchen.said("bob", "c")
    play.back()
    assert play.front.said == ["bob: c"]
    play.wire.cut()
    play.front.events.clear()
    for number in range(30):
        kitchen.said("bob", f"d{number}")
    play.back()
    assert play.front.said == [f"bob: d{number}" for number in range(30)], "the number is known by now"


@pytest.mark.parametrize("said", [15, 25])
def test_where_the_last_lines_do_not_reach_back_far_enough_the_client_says_so(said: int) -> None:
    play, kitchen = in_kitchen("a", "b")
    play.wire.cut()
    play.front.events.clear()
    for number in range(said):
        kitchen.said("bob", f"c{number}")
    play.back()
    assert play.front.said == [f"bob: c{number}" for number in range(said)][-20:]
    warning = "Earlier lines may be missing here: /history 100 shows them."
    assert (warning in play.front.notices) is (said > 20)


def test_a_client_that_cannot_go_back_says_so_and_says_nothing_in_the_first_room() -> None:
    play, kitchen = in_kitchen("a")
    del play.room.rooms["kitchen"]
    play.wire.cut()
    play.front.events.clear()
    come_back(play)
    for line in ("secret of the kitchen", "/topic soup", "/ping"):
        play.connection.say(line)
    play.settle()
    assert play.front.notices[0] == "You are not in kitchen, but in the first room: there is no room kitchen."
    assert play.front.unsaids == ["secret of the kitchen", "/topic soup"]
    assert play.front.said == ["bob: in the lobby"]
    assert Answer("pong") in play.front.events
    assert play.connection.room == ""
    play.say("hello")
    assert play.kept == ["bob: in the lobby", "ann: hello"]
    assert kept(kitchen) == ["bob: a"]
    play.wire.cut()
    play.back()
    assert not [line for line in play.end.taken if line.startswith("/join")]


def test_the_room_that_has_become_the_first_one_is_no_refusal() -> None:
    play, kitchen = in_kitchen("a")
    play.say("mine")
    play.wire.cut()
    play.front.events.clear()
    kitchen.said("bob", "b")
    play.endpoint.room = kitchen
    play.back()
    assert play.front.said == ["bob: b"]
    assert play.front.notices == []
    play.say("more")
    assert kept(kitchen)[-1] == "ann: more"


@pytest.mark.parametrize("typed", ["/join kitchen", "/JOIN  Kitchen "])
def test_a_move_that_was_lost_with_the_connection_is_made_again(typed: str) -> None:
    play = Play("in the lobby").start()
    kitchen = play.room.open("kitchen")
    play.connection.say(typed)
    play.wire.cut()
    play.back()
    play.say("hi")
    assert kept(kitchen) == ["ann: hi"]


def test_a_refused_move_changes_nothing() -> None:
    play = Play("in the lobby").start()
    play.say("/join attic")
    play.wire.cut()
    play.back()
    play.say("hi")
    assert play.kept == ["bob: in the lobby", "ann: hi"]
    assert not [line for line in play.end.taken if line.startswith("/join")]


def test_a_connection_that_is_lost_on_the_way_back_keeps_what_was_typed_for_the_room() -> None:
    play, kitchen = in_kitchen()
    play.wire.cut()
    come_back(play)
    play.connection.say("hi")
    play.wire.cut()
    play.back()
    assert kept(kitchen) == ["ann: hi"]


def test_a_server_that_does_not_answer_on_the_way_back_is_not_waited_for() -> None:
    play, kitchen = in_kitchen()
    play.wire.cut()
    come_back(play)
    play.end.mute = True
    play.connection.say("hi")
    play.settle()
    play.clock.advance(PROMPT_SECONDS)
    assert play.front.losses[-1][0] == "the server does not answer"
    play.back()
    assert kept(kitchen) == ["ann: hi"]
    assert play.kept == ["bob: in the lobby"]


@pytest.mark.parametrize("refused", [False, True])
def test_leaving_on_the_way_back_says_nothing_in_the_first_room(refused: bool) -> None:
    play, kitchen = in_kitchen()
    if refused:
        del play.room.rooms["kitchen"]
    play.wire.cut()
    come_back(play)
    play.connection.say("hi")
    play.connection.leave()
    play.settle()
    assert play.front.ends == [(0, "")]
    assert play.kept == ["bob: in the lobby"]
    assert kept(kitchen) == ([] if refused else ["ann: hi"])
    assert play.front.unsaids == (["hi"] if refused else [])
