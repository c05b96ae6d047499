"""Tests of the conversation: events become entries, and typed lines become requests."""

from __future__ import annotations

import msgspec
import pytest

from broadcast.client.protocol import errors, events, requests
from broadcast.client.session.conversation import State
from broadcast.client.session.entries import Entry, Line
from broadcast.client.session.questions import Question
from tests.client.session.fakes import NOW, Talk, welcome

# Lines


def test_an_own_line_waits_until_the_room_has_it_and_is_then_shown_in_its_place() -> None:
    here = Talk()
    assert here.talk.submit("hello") == ""
    assert [(item.text, item.command.name) for item in here.talk.waiting] == [("hello", "say")]
    here.said("first")
    here.store()
    assert here.front.texts == ["bob: first", "ann: hello"]
    assert here.talk.waiting == []


def test_the_answer_to_a_command_waits_for_the_line_before_it() -> None:
    here = Talk()
    here.talk.submit("hello\n/names")
    here.server.answer(requests.Output(("2 here: ann, bob",)), index=1)
    assert here.front.texts == []
    here.store()
    assert here.front.texts == ["ann: hello", "> /names", "-> 2 here: ann, bob"]


@pytest.mark.parametrize(
    ("typed", "request_"),
    [
        ("hello", requests.Say("lobby", "hello", "own-1")),
        ("//slash", requests.Say("lobby", "/slash", "own-1")),
        ("/say quit", requests.Say("lobby", "quit", "own-1")),
        ("/me waves", requests.Emote("lobby", "waves", "own-1")),
        ("/msg bob a secret", requests.Tell("bob", "a secret", "own-1")),
        ("/m bob a secret", requests.Tell("bob", "a secret", "own-1")),
        ("/topic cats", requests.Topic("lobby", "cats")),
        ("/nick anna", requests.Nick("anna")),
        ("/away lunch", requests.Away("lunch")),
        ("/back", requests.Away(None)),
        ("/join Kitchen", requests.Join("kitchen", replay=20)),
        ("/uptime", requests.Command("lobby", "/uptime")),
        ("/nosuch thing", requests.Command("lobby", "/nosuch thing")),
    ],
)
def test_typed_lines_become_requests(typed: str, request_: object) -> None:
    here = Talk()
    here.talk.submit(typed)
    assert here.server.requests == [request_]


@pytest.mark.parametrize("typed", ["/say", "/me ", "/reply", "/reply hi", "/msg", "/join", "/nick", "/unignore bob"])
def test_a_command_that_cannot_be_executed_is_answered_with_a_problem(typed: str) -> None:
    here = Talk()
    here.talk.submit(typed)
    assert here.server.requests == []
    assert len(here.front.texts) == (1 if here.front.texts[0].startswith("Not said") else 2)


def test_a_refused_line_is_shown_with_the_reason() -> None:
    here = Talk()
    here.talk.submit("hello")
    here.server.answer(error=errors.NotStored(1001, "the disk is full."))
    assert here.front.texts == ["Not said: hello (the disk is full.)"]


def test_the_sentence_of_a_refusal_begins_with_the_nickname_as_it_is() -> None:
    here = Talk()
    here.talk.submit("/nick bob")
    here.server.answer(error=errors.NickRejected(1003, "bob is taken"))
    assert here.front.texts == ["> /nick bob", "! bob is taken."]


def test_a_line_that_was_stored_under_the_old_nickname_is_not_refused() -> None:
    here = Talk()
    here.talk.submit("hello")
    here.server.answer(error=errors.UidReused(1012, "another line has it", {"seq": 1}))
    here.said("hello", uid="own-1")
    assert here.front.texts == ["ann: hello"]


def test_a_stored_line_that_the_room_events_leave_out_is_shown_at_its_gap() -> None:
    here = Talk()
    here.talk.submit("/me waves")
    here.server.answer(requests.Stored(1, NOW))
    assert here.front.texts == []
    here.talk.handle(events.Gap("lobby", 1, 3))
    assert here.front.texts == ["* You missed 3 lines. /history #1-#3 shows them.", "** ann waves"]


def test_a_line_that_is_too_long_stays_in_the_editor_with_the_lines_after_it() -> None:
    here = Talk()
    assert here.talk.submit("one\n" + "x" * 4097 + "\nthree") == "x" * 4097 + "\nthree"
    assert here.talk.submit("/me " + "x" * 4092) == ""
    assert here.front.texts == ["! The line has 4097 bytes, and at most 4096 are possible."]
    assert [item.text[:5] for item in here.talk.waiting] == ["one", "/me x"]


def test_with_a_rate_limit_lines_wait_here_and_not_at_the_server() -> None:
    here = Talk(is_connected=False)
    here.talk.connected(welcome("lobby", limits=requests.Limits(4096, 40, 2)))
    here.talk.submit("\n".join("abcdef"))
    assert len(here.server.requests) == 2
    here.store()
    assert len(here.server.requests) == 2
    assert len(here.talk.waiting) == 5


# The connection


def test_lines_typed_before_the_connection_are_sent_afterwards() -> None:
    here = Talk(is_connected=False)
    here.talk.submit("hello")
    assert (here.talk.state, here.server.requests) == (State.CONNECTING, [])
    here.talk.connected(welcome("lobby", motd="Be nice.\nPlease."))
    assert here.talk.state is State.ONLINE
    assert here.server.requests == [requests.Say("lobby", "hello", "own-1")]
    assert here.front.texts == [
        "* Be nice.",
        "* Please.",
        "* You are ann. 1 other is here: bob. /help helps, Ctrl-D leaves.",
    ]


def test_the_arrival_names_the_room_if_there_are_several() -> None:
    here = Talk("hall", "lobby", is_connected=False)
    here.talk.connected(welcome("lobby", "hall"))
    assert here.front.texts == ["* You are ann in hall. 1 other is here: bob. /help helps, Ctrl-D leaves."]


def test_the_first_room_has_the_name_that_the_server_gives_it() -> None:
    here = Talk(is_connected=False)
    here.talk.connected(welcome("foyer"))
    assert [view.name for view in here.talk.views] == ["foyer"]


def test_a_lost_connection_is_a_line_once_and_then_a_state() -> None:
    here = Talk()
    here.talk.lost("the server has closed the connection", 3.0)
    here.talk.lost("no connection to localhost", 7.0)
    assert (here.talk.state, here.talk.retry_at) == (State.OFFLINE, 7.0)
    assert here.front.texts == ["* The server has closed the connection."]
    here.talk.connected(welcome("lobby"))
    here.talk.handle(events.Reconnected(resumed=True, same_journal=True))
    assert here.front.texts[1:] == ["* You are ann. 1 other is here: bob."]
    assert here.talk.state is State.ONLINE


def test_another_journal_begins_the_numbers_anew() -> None:
    here = Talk()
    here.last["lobby"] = 5
    here.said("old")
    here.talk.submit("hello")
    here.talk.connected(requests.Welcome("ann", "s-2", "t", "other", rooms=welcome("lobby").rooms))
    here.talk.handle(events.Reconnected(resumed=False, same_journal=False))
    here.last["lobby"] = 0
    here.server.answer(requests.Stored(1, NOW))
    assert here.front.texts[-1].startswith("* The server has another journal.")
    here.said("hello", uid="own-1")
    assert here.front.texts[-1] == "ann: hello"


def test_a_room_that_the_server_no_longer_has_is_closed() -> None:
    here = Talk("lobby", "hall")
    here.talk.connected(welcome("lobby"))
    assert [view.name for view in here.talk.views] == ["lobby"]
    assert here.front.texts[0] == "! You are no longer in hall."


@pytest.mark.parametrize(("rooms", "left"), [(["lobby", "hall"], "lobby"), (["hall"], "first")])
def test_a_room_that_is_refused_at_a_reconnect_is_closed_with_the_reason(rooms: list[str], left: str) -> None:
    here = Talk(*rooms)
    here.talk.select(here.talk.views[-1])
    here.talk.lost("the connection broke", 1.0)
    here.talk.submit("hello")
    here.talk.handle(events.Left("hall", "ann", "s-ann", "There is no room hall."))
    here.talk.connected(welcome(left))
    assert [view.name for view in here.talk.views] == [left]
    here.server.answer(error=errors.NotInRoom(1005, "you are not in hall."))
    assert "! You are no longer in hall: There is no room hall." in here.front.texts
    assert here.front.texts[-1] == "Not said: hello (you are not in hall.)"


def test_a_reason_that_the_server_has_announced_is_not_repeated() -> None:
    here = Talk()
    here.talk.handle(events.Announced("The server is going down."))
    here.talk.lost("the server is going down", 1.0)
    assert here.front.texts == ["* The server is going down."]


def test_a_refusal_in_a_closed_view_is_shown_in_the_current_one() -> None:
    here = Talk("lobby", "hall")
    here.talk.select(here.talk.views[1])
    here.talk.submit("hello")
    here.talk.connected(welcome("lobby"))
    here.server.answer(error=errors.NotInRoom(1005, "you are not in hall."))
    assert here.front.texts[-1] == "Not said: hello (you are not in hall.)"


def test_an_announcement_is_a_notice() -> None:
    here = Talk()
    here.talk.handle(events.Announced("The server restarts at noon."))
    here.talk.handle(events.Announced("Elsewhere.", "unknown"))
    assert here.front.texts == ["* The server restarts at noon."]


def test_the_own_name_and_state_change_on_other_connections_too() -> None:
    here = Talk()
    here.talk.handle(events.Renamed("lobby", "ann", "anna", "s-ann"))
    here.talk.handle(events.AwayChanged("lobby", "anna", "s-ann", "lunch"))
    assert (here.talk.nick, here.talk.away, here.front.texts) == ("anna", "lunch", [])


# The nickname


def test_the_question_for_a_nickname_is_answered_by_the_next_line() -> None:
    here = Talk(is_connected=False)
    answers: list[str] = []
    here.talk.ask_nick(Question("ann", ()), "", answers.append)
    assert here.talk.state is State.ASKING
    here.talk.submit("\nhello")
    assert (answers, here.talk.nick, here.talk.state) == (["ann"], "ann", State.CONNECTING)
    assert [(item.text, item.command.name) for item in here.talk.waiting] == [("hello", "say")]
    here.talk.ask_nick(Question("", ("ann_", "ann2")), "ann is taken.", answers.append)
    here.talk.submit("")
    assert here.talk.question is not None
    here.talk.submit("ann2")
    assert answers == ["ann", "ann2"]
    assert here.front.texts == ["! ann is taken."]


@pytest.mark.parametrize("word", ["quit", "EXIT"])
def test_a_quit_word_in_place_of_a_nickname_leaves(word: str) -> None:
    here = Talk(is_connected=False)
    here.talk.ask_nick(Question("ann", ()), "", pytest.fail)
    here.talk.submit(word)
    assert (here.ends, here.talk.state, here.talk.status) == (1, State.ENDED, 0)


# The end


def test_a_refused_nickname_ends_a_client_that_is_leaving() -> None:
    here = Talk(is_connected=False)
    here.talk.submit("hello\nquit")
    assert here.talk.state is State.LEAVING
    here.talk.ask_nick(Question("", ()), "ann is taken.", pytest.fail)
    assert (here.ends, here.talk.status) == (1, 4)


@pytest.mark.parametrize(("typed", "reason"), [("quit", ""), (" Exit ", ""), ("/quit bye all", "bye all"), ("/q", "")])
def test_leaving_waits_until_every_line_is_stored(typed: str, reason: str) -> None:
    here = Talk()
    here.talk.submit(f"hello\n{typed}")
    assert (here.talk.state, here.server.reasons) == (State.LEAVING, [])
    assert here.talk.submit("too late") == "too late"
    here.store()
    assert here.server.reasons == [reason]
    here.talk.ended(None)
    assert (here.ends, here.talk.status) == (1, 0)


def test_leaving_twice_leaves_at_once_and_shows_what_was_not_sent() -> None:
    here = Talk()
    here.talk.submit("sent")
    here.talk.lost("the server has closed the connection", 1.0)
    here.talk.submit("not sent\n/names")
    here.talk.leave()
    assert here.ends == 0
    here.talk.leave()
    assert (here.ends, here.talk.status) == (1, 4)
    assert here.front.texts[-2:] == [
        "Not said: sent (The session has ended before the server confirmed it.)",
        "Not said: not sent (It was not sent.)",
    ]
    here.talk.ended(None)
    assert here.ends == 1


def test_leaving_waits_for_the_next_connection_if_lines_wait_for_it() -> None:
    here = Talk()
    here.talk.lost("the server has closed the connection", 1.0)
    here.talk.submit("hello")
    here.talk.leave()
    assert here.talk.retry_at == 1.0
    here.talk.lost("no connection", 2.0)
    assert (here.talk.state, here.ends) == (State.LEAVING, 0)
    here.talk.connected(welcome("lobby"))
    here.store()
    assert here.server.reasons == [""]


def test_leaving_without_a_connection_is_the_end() -> None:
    here = Talk()
    here.talk.lost("the server has closed the connection", 1.0)
    here.talk.leave()
    assert (here.ends, here.talk.status) == (1, 0)


def test_a_connection_that_is_lost_while_leaving_is_the_end() -> None:
    here = Talk()
    here.talk.submit("/names")
    here.talk.leave()
    here.talk.lost("the server has closed the connection", 1.0)
    here.server.answer(requests.Output(()))
    assert here.ends == 1


def test_the_end_of_the_session_is_shown_with_its_reason_and_status() -> None:
    here = Talk()
    here.talk.submit("hello")
    error = errors.Ended("you were removed")
    here.server.answer(error=error)
    here.talk.ended(error, 4)
    assert here.front.texts == [
        "! You were removed.",
        "Not said: hello (The session has ended before the server confirmed it.)",
    ]
    assert (here.talk.status, here.talk.state) == (4, State.ENDED)


def test_a_line_that_is_known_to_be_stored_at_the_end_is_shown_as_said() -> None:
    here = Talk()
    here.talk.submit("hello")
    here.server.answer(requests.Stored(1, NOW))
    here.talk.leave()
    here.talk.leave()
    assert here.front.texts == ["ann: hello", "* Goodbye, ann."]
    assert here.talk.status == 0


def test_older_lines_come_from_the_server_without_those_of_ignored_people() -> None:
    talk = Talk()
    talk.talk.ignored["eve"] = "eve"
    older: list[Entry] = []
    talk.talk.fetch_older(talk.talk.current, 9, older.extend)
    assert talk.server.requests == [requests.History("lobby", before=9, count=200)]
    lines = [{"method": "said", "room": "lobby", "seq": seq, "at": NOW, "nick": nick, "text": "hi ann"}
              for seq, nick in ((6, "bob"), (7, "eve"), (8, "ann"))]  # fmt: skip
    talk.server.answer(requests.Lines(tuple(msgspec.Raw(msgspec.json.encode(line)) for line in lines)))
    assert older == [
        Line(NOW, "bob", "hi ann", 6, is_mention=True),
        Line(NOW, "ann", "hi ann", 8, is_own=True),
    ]
    assert not talk.talk.current.unread


def test_lines_from_before_the_arrival_are_not_new_in_another_room() -> None:
    here = Talk("lobby", "kitchen")
    here.talk.views[1].old_seq = 2
    for text in ("old", "older", "new"):
        here.said(text, room="kitchen")
    here.talk.step(1)
    assert here.front.switches == [1]


def test_lines_that_are_not_sent_can_be_cancelled() -> None:
    here = Talk()
    assert not here.talk.cancel()
    here.talk.submit("/join kitchen\nthere")
    assert here.talk.cancel()
    assert here.front.texts == ["* 1 line was not sent. Up brings the text back."]
    assert [item.text for item in here.talk.waiting] == ["/join kitchen"]
    assert not here.talk.cancel()


def test_a_cancelled_move_does_not_hold_later_lines() -> None:
    here = Talk(is_connected=False)
    here.talk.submit("/join kitchen\nthere")
    assert here.talk.cancel()
    here.talk.submit("here")
    here.talk.connected(welcome("lobby"))
    (request,) = here.server.requests
    assert isinstance(request, requests.Say)
    assert (request.room, request.text) == ("lobby", "here")
