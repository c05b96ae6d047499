"""A session against the fake server in memory. The test moves each byte."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.client.protocol import errors, events, requests
from broadcast.client.protocol.session import State
from tests.client.protocol.fake_server import FakeServer, Refusal
from tests.client.protocol.links import STEPS, Link, check, kinds

# hello


def test_a_session_greets_and_knows_its_rooms(link: Link) -> None:
    assert link.session.state is State.ONLINE
    assert link.session.rooms == ["lobby"]
    assert link.session.welcome is not None
    assert link.session.welcome.limits.lines_at_once == 40
    assert link.events() == []


def test_a_room_begins_without_old_lines_unless_the_program_asks_for_them() -> None:
    server = FakeServer()
    for number in range(5):
        server.say(f"old {number}")
    assert Link(server).start().texts() == []
    assert Link(server, nick="second", replay=2).start().texts() == ["old 3", "old 4"]
    assert Link(server, nick="third", replay=None).start().texts() == [f"old {number}" for number in range(5)]


def test_a_refused_nickname_ends_the_first_attempt_with_the_servers_sentence(link: Link) -> None:
    second = Link(link.server).start()
    assert isinstance(second.session.ended, errors.NickRejected)
    assert second.session.ended.why == "taken"
    assert second.session.ended.reason == "nick-refused"
    assert str(second.session.ended) == "This is refused: nick-refused."


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        (b"", "the connection broke"),
        (b"Welcome to a chat.\r\nNickname: ", "the connection broke"),
        (b" * This server is full. Try again later.\r\n", "This server is full. Try again later."),
        (b"Welcome to a chat.\r\nNickname: \r\n * No nickname in 60 seconds.\r\n", "No nickname in 60 seconds."),
        (b"HTTP/1.1 400 Bad\x1b Request\r\nServer: x\r\n\r\n<html>\n", "HTTP/1.1 400 Bad\ufffd Request"),
        (b"SSH-2.0-OpenSSH_9.2\r\nInvalid SSH identification string.\r\n", "SSH-2.0-OpenSSH_9.2"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "the port speaks TLS: connect with --tls"),
        (b"\x15\x02\x03\x00\x02\x02\x46", "\ufffd\ufffd\ufffd\ufffd\ufffd\ufffdF"),
    ],
)
def test_a_failed_first_connection_is_unreachable_with_the_text_that_explains_it(greeting: bytes, reason: str) -> None:
    link = Link()
    link.server.greeting = greeting
    link.connect()
    link.receive()
    link.lose()
    assert isinstance(link.session.ended, errors.Unreachable)
    about = "" if link.session.ended.args[0] == reason else "this is no broadcast server; it says: "
    assert str(link.session.ended) == about + reason
    with pytest.raises(errors.Unreachable):
        link.call(requests.CheckConnection())


@pytest.mark.parametrize("again", [False, True], ids=["at first", "after a lost connection"])
def test_a_ban_of_the_address_ends_the_session(again: bool) -> None:
    link = Link().start() if again else Link()
    if again:
        link.lose()
    link.server.greeting = b" * You are banned until 2026-01-22 12:00 UTC: spam\r\n"
    link.connect()
    link.receive()
    link.lose()
    assert isinstance(link.session.ended, errors.Banned)
    assert link.session.ended.reason == "banned"
    assert str(link.session.ended) == "You are banned until 2026-01-22 12:00 UTC: spam"


@pytest.mark.parametrize("again", [False, True], ids=["at first", "after a lost connection"])
def test_a_server_that_reads_the_first_request_as_a_nickname_ends_the_session_at_once(again: bool) -> None:
    link = Link().start() if again else Link()
    if again:
        link.lose()
    link.server.greeting = (
        b"Welcome to Broadcast.\r\nNickname: -> Error: a nickname has at most 24 characters.\r\nNickname: "
    )
    link.connect()
    link.receive()
    assert link.session.must_close
    assert isinstance(link.session.ended, errors.Unreachable)
    assert str(link.session.ended) == (
        "this server speaks only the line protocol (broadcast 0.1): use telnet or nc, or update it"
    )


def test_the_time_for_which_the_server_holds_the_session_can_be_asked_for() -> None:
    link = Link(grace=5.0)
    link.connect()
    hello = json.loads(link.session.bytes_to_send())
    assert hello["params"]["grace"] == 5


@pytest.mark.parametrize(
    "nonsense", [b"{\n", b'{"id": "x"}\n', b'{"method": "said", "params": {"room": 1}}\n', b"{}\n"]
)
def test_a_message_that_cannot_be_understood_costs_the_connection(link: Link, nonsense: bytes) -> None:
    link.live.output += nonsense
    link.pump()
    assert link.connection is None
    (event,) = link.events()
    assert isinstance(event, events.Disconnected)
    link.reconnect()
    assert kinds(link.events()) == [events.Reconnected]


def test_a_line_that_is_too_long_costs_the_connection(link: Link) -> None:
    link.live.output += b'{"x": "' + b"x" * 300_000
    link.pump()
    assert link.connection is None


def test_unknown_notifications_members_and_events_are_ignored(link: Link) -> None:
    link.live.notify({"method": "painted", "room": "lobby"})
    link.live.notify({"method": "joined", "room": "lobby", "nick": "ann", "session": "s", "colour": "red"})
    link.live.notify({"method": "ping"})
    link.pump()
    assert link.events() == [events.Joined("lobby", "ann", "s")]


# Requests


def test_a_line_has_a_number_and_comes_back_with_its_uid(link: Link) -> None:
    assert link.answered(requests.Say("lobby", "hi")).seq == 1
    (line,) = link.events()
    assert isinstance(line, events.Said)
    assert line.uid
    assert link.session.is_own(line)
    link.server.say("hello", nick="ann")
    link.pump()
    (other,) = link.events()
    assert isinstance(other, events.Said)
    assert not link.session.is_own(other)


def test_own_lines_are_known_after_the_server_has_forgotten_the_session(link: Link) -> None:
    link.answered(requests.Emote("lobby", "waves"))
    link.events()
    line = link.server.lines["lobby"][0]
    for session in ("another", ""):
        event = events.Emoted("lobby", 1, 1.0, "bot", "waves", session, line["uid"])
        assert link.session.is_own(event)
    assert link.session.is_own(events.Said("lobby", 1, 1.0, "bot", "x"))
    assert not link.session.is_own(events.Said("lobby", 1, 1.0, "ann", "x"))


def test_own_lines_are_known_after_a_restart_of_the_program(link: Link) -> None:
    assert link.session.welcome is not None
    began = link.session.welcome.now
    assert link.session.is_own(events.Said("lobby", 1, began - 1, "bot", "x", "another"))
    assert not link.session.is_own(events.Said("lobby", 1, began + 1, "bot", "x", "another"))
    assert not link.session.is_own(events.Said("lobby", 1, began - 1, "ann", "x", "another"))


def test_lone_surrogates_become_a_replacement_character(link: Link) -> None:
    link.answered(requests.Say("lobby", "a\udc80b\ud83d\ude00"))
    assert link.texts() == ["a\ufffdb\U0001f600"]


def test_a_nickname_with_lone_surrogates_reaches_the_server_too() -> None:
    link = Link(nick="ann\udcff", rooms=["kitchen\ud800"]).start()
    assert link.session.welcome is not None
    assert link.session.welcome.nick == "ann\ufffd"


def test_a_request_that_is_too_long_for_the_server_is_not_sent(link: Link) -> None:
    with pytest.raises(errors.TooLong):
        link.call(requests.Say("lobby", "x" * 20_000))
    with pytest.raises(errors.TooLong) as caught:
        link.answered(requests.Say("lobby", "x" * 5000))
    assert caught.value.data["limit"] == 4096


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1001, errors.NotStored),
        (1003, errors.NickRejected),
        (1004, errors.RoomRejected),
        (1005, errors.NotInRoom),
        (1006, errors.NotHere),
        (1007, errors.Rejected),
        (1008, errors.TooLong),
        (1009, errors.Rejected),
        (1012, errors.UidReused),
        (1024, errors.NotPermitted),
        (1025, errors.Muted),
        (1026, errors.Banned),
        (-32602, errors.Rejected),
    ],
)
def test_each_error_has_its_class(link: Link, code: int, kind: type[errors.Rejected]) -> None:
    link.server.fails["say"] = Refusal(code, "some-reason")
    with pytest.raises(errors.Rejected) as caught:
        link.answered(requests.Say("lobby", "hi"))
    assert type(caught.value) is kind
    assert caught.value.code == code
    assert caught.value.reason == "some-reason"


def test_a_mute_and_a_ban_say_until_when_they_hold(link: Link) -> None:
    for until in (1_768_478_400.0, None):
        link.server.fails["say"] = Refusal(1025, "muted", until=until)
        with pytest.raises(errors.Muted) as muted:
            link.answered(requests.Say("lobby", "hi"))
        assert muted.value.until == until
    link.server.lose_sessions()
    link.lose()
    link.server.fails["hello"] = Refusal(1026, "banned", until=1_768_478_400)
    link.start()
    assert isinstance(link.session.ended, errors.Banned)
    assert link.session.ended.until == 1_768_478_400.0


def test_all_other_requests_have_typed_results(link: Link) -> None:
    link.server.say("one word")
    assert link.answered(requests.Tell("away", "psst")) == requests.Delivered("lunch")
    assert link.answered(requests.Tell("ann", "psst")) == requests.Delivered()
    assert link.answered(requests.Join("Kitchen", replay=0)).room == "kitchen"
    assert link.session.rooms == ["lobby", "kitchen"]
    assert link.answered(requests.Leave("KITCHEN", "hungry")) == requests.Nothing()
    assert link.session.rooms == ["lobby"]
    assert link.answered(requests.Topic("lobby", None)) == requests.Nothing()
    assert link.answered(requests.Nick("robot")) == requests.Account("robot")
    assert link.session.nick == "robot"
    assert link.answered(requests.Away("lunch")) == requests.Nothing()
    assert [line.text for line in link.answered(requests.History("lobby", last=1)).lines] == ["one word"]
    assert [line.text for line in link.answered(requests.Search("lobby", "word")).lines] == ["one word"]
    assert [room.room for room in link.answered(requests.ListRooms())] == ["lobby", "kitchen"]
    assert [person.nick for person in link.answered(requests.ListMembers("lobby")).members] == ["robot"]
    assert link.answered(requests.Command("lobby", "/names")).lines == ("lobby: /names",)
    assert link.answered(requests.CheckConnection()) == requests.Nothing()


def test_quit_ends_the_session_for_good(link: Link) -> None:
    assert link.answered(requests.Quit("bye")) == requests.Nothing()
    assert isinstance(link.session.ended, errors.Ended)
    assert not link.server.sessions


def test_a_forgotten_call_is_not_repeated(link: Link) -> None:
    number = link.call(requests.Say("lobby", "hi"))
    link.lose()
    link.session.forget(number)
    link.reconnect()
    assert link.texts() == []
    assert number not in link.answers


# Lost connections


def test_the_next_attempt_is_spread_and_backs_off(link: Link) -> None:
    delays = []
    for _ in range(12):
        link.lose()
        delays.append(link.session.retry_after)
        link.connection = None
    limits = [min(30.0, 2.0**failures) for failures in range(12)]
    assert all(0 <= delay <= limit for delay, limit in zip(delays, limits, strict=True))
    assert len(set(delays)) == 12
    assert max(delays) > 4


def test_what_happened_meanwhile_comes_once_and_in_order(link: Link) -> None:
    link.server.say("one")
    link.pump()
    link.server.say("two")
    link.lose()
    link.server.say("three")
    link.reconnect()
    link.server.say("four")
    link.pump()
    taken = link.events()
    assert kinds(taken) == [events.Said, events.Disconnected, events.Reconnected, *[events.Said] * 3]
    assert taken[2] == events.Reconnected(resumed=True, same_journal=True)
    assert [event.text for event in taken if isinstance(event, events.Said)] == ["one", "two", "three", "four"]


def test_nothing_is_missed_when_the_server_has_forgotten_the_session(link: Link) -> None:
    link.answered(requests.Away("lunch"))
    link.server.say("one")
    link.server.lose_sessions()
    link.lose()
    link.server.say("two")
    link.reconnect()
    assert link.texts() == ["one", "two"]
    (session,) = link.server.sessions.values()
    assert session.away == "lunch"


@pytest.mark.parametrize("keeps_sessions", [True, False])
@pytest.mark.parametrize("was_read", [True, False])
def test_a_line_that_was_not_confirmed_is_sent_again_and_said_once(
    link: Link, was_read: bool, keeps_sessions: bool
) -> None:
    numbers = [link.call(requests.Say("lobby", text)) for text in ("one", "two")]
    if was_read:
        link.send()
    if not keeps_sessions:
        link.server.lose_sessions()
    link.lose()
    late = link.call(requests.Say("lobby", "three"))
    link.reconnect()
    assert [link.answers[number].result.seq for number in (*numbers, late)] == [1, 2, 3]
    assert link.texts() == ["one", "two", "three"]


def test_a_private_message_is_not_repeated_in_a_new_session(link: Link) -> None:
    ann = Link(link.server, nick="ann").start()
    sent = link.call(requests.Tell("ann", "psst"))
    link.send()
    link.lose()
    unsent = link.call(requests.Tell("ann", "later"))
    link.server.sessions.pop("token-1")
    link.reconnect()
    assert isinstance(link.answers[sent].error, errors.Unconfirmed)
    assert link.answers[unsent].result == requests.Delivered()
    ann.pump()
    assert [event.text for event in ann.events() if isinstance(event, events.Told)] == ["psst", "later"]


def test_a_private_message_is_delivered_once_in_a_resumed_session(link: Link) -> None:
    ann = Link(link.server, nick="ann").start()
    sent = link.call(requests.Tell("ann", "psst"))
    link.send()
    link.lose()
    link.reconnect()
    assert link.answers[sent].result == requests.Delivered()
    ann.pump()
    ann.lose()
    link.server.tell("ann", "more")
    ann.reconnect()
    assert ann.server.calls[-1][1]["resume"]["told"] == 1
    assert [event.text for event in ann.events() if isinstance(event, events.Told)] == ["psst", "more"]


@pytest.mark.parametrize("keeps_session", [True, False])
@pytest.mark.parametrize("was_read", [True, False])
def test_a_topic_that_was_not_confirmed_does_not_overwrite_a_newer_one(
    link: Link, was_read: bool, keeps_session: bool
) -> None:
    sent = link.call(requests.Topic("Lobby", "old"))
    if was_read:
        link.send()
    else:
        link.session.bytes_to_send()
    link.lose()
    link.server.topics["lobby"] = "newer"
    unsent = link.call(requests.Topic("kitchen", "soup"))
    if not keeps_session:
        link.server.lose_sessions()
    link.reconnect()
    assert link.server.topics == {"lobby": "newer", "kitchen": "soup"}
    assert isinstance(link.answers[sent].error, errors.Unconfirmed)
    assert link.answers[unsent].result == requests.Nothing()


@pytest.mark.parametrize("text", ["soup", None])
def test_a_topic_that_was_set_although_the_answer_is_lost_is_confirmed(link: Link, text: str | None) -> None:
    link.server.topics["lobby"] = "old"
    sent = link.call(requests.Topic("lobby", text))
    link.send()
    link.lose()
    link.reconnect()
    assert link.answers[sent] == (requests.Nothing(), None)
    assert [method for method, _ in link.server.calls] == ["hello", "topic", "hello"]


def test_a_join_and_a_leave_whose_answers_are_lost_are_done(link: Link) -> None:
    for text in ("old", "new"):
        link.server.say(text, "kitchen")
    join = link.call(requests.Join("kitchen", replay=1))
    link.send()
    link.lose()
    link.reconnect()
    assert link.answers[join].result.room == "kitchen"
    assert link.texts() == ["new"]
    leave = link.call(requests.Leave("kitchen"))
    link.send()
    link.lose()
    link.reconnect()
    assert link.answers[leave].result == requests.Nothing()
    assert link.session.rooms == ["lobby"]


def test_a_room_that_is_being_left_is_not_joined_again(link: Link) -> None:
    link.answered(requests.Join("kitchen", replay=0))
    link.lose()
    leave = link.call(requests.Leave("kitchen"))
    link.server.lose_sessions()
    link.reconnect()
    assert link.answers[leave].error is None
    assert link.session.rooms == ["lobby"]


@pytest.mark.parametrize("were_sent", [True, False])
@pytest.mark.parametrize("resumed", [True, False])
@pytest.mark.parametrize("joins", [(True, False), (False, True), (True, False, True), (False, True, False)])
def test_the_last_of_several_joins_and_leaves_wins(
    link: Link, joins: tuple[bool, ...], *, resumed: bool, were_sent: bool
) -> None:
    if not joins[0]:
        link.answered(requests.Join("kitchen", replay=0))
    if not were_sent:
        link.lose()
    calls = [link.call(requests.Join("kitchen", replay=0) if join else requests.Leave("kitchen")) for join in joins]
    if were_sent:
        link.send()
        link.lose()
    if not resumed:
        link.server.lose_sessions()
    link.reconnect()
    assert all(link.answers[call].error is None for call in calls)
    assert link.session.rooms == (["lobby", "kitchen"] if joins[-1] else ["lobby"])
    say = link.call(requests.Say("kitchen", "hi"))
    link.pump()
    assert (link.answers[say].error is None) is joins[-1]


def test_a_join_after_a_number_gets_all_lines_after_it(link: Link) -> None:
    link.server.max_replay = 3
    for number in range(20):
        link.server.say(f"line {number}", "kitchen")
    link.answered(requests.Join("kitchen", after=10))
    assert link.texts() == [f"line {number}" for number in range(10, 20)]
    link.answered(requests.Join("kitchen", replay=5))
    assert link.texts() == []


def test_a_join_that_the_server_has_forgotten_is_repeated(link: Link) -> None:
    join = link.call(requests.Join("kitchen", after=0))
    link.server.say("soup", "kitchen")
    link.server.lose_sessions()
    link.lose()
    link.reconnect()
    assert link.answers[join].result.room == "kitchen"
    assert link.texts() == ["soup"]


def test_a_dead_connection_that_the_server_has_not_noticed_is_taken_over(link: Link) -> None:
    ghost = link.connection
    link.lose(noticed=False)
    link.reconnect()
    assert ghost
    assert ghost.is_closed
    assert kinds(link.events()) == [events.Disconnected, events.Reconnected]


def test_quit_right_behind_hello_ends_the_session(link: Link) -> None:
    link.lose()
    link.connect()
    link.call(requests.Quit())
    link.pump()
    assert isinstance(link.session.ended, errors.Ended)
    assert not link.server.sessions
    assert [method for method, _ in link.server.calls] == ["hello", "hello", "quit"]


def test_numbers_of_an_earlier_program_that_are_of_another_journal(link: Link) -> None:
    link.server.say("one")
    link.pump()
    assert link.texts() == ["one"]
    saved = link.session.resume
    link.server.lose_journal()
    later = Link(link.server, resume=saved).start()
    link.server.say("first")
    later.pump()
    assert later.texts() == ["first"]


def test_a_nickname_that_is_taken_later_is_tried_again(link: Link) -> None:
    link.server.lose_sessions()
    link.lose()
    other = Link(link.server).start()
    link.reconnect()
    assert link.connection is None
    assert link.session.ended is None
    other.answered(requests.Quit())
    link.reconnect()
    taken = link.events()
    assert kinds(taken) == [events.Disconnected, events.Disconnected, events.Reconnected]
    assert [event.nick_refusal for event in taken if isinstance(event, events.Disconnected)] == ["", "taken"]


@pytest.mark.parametrize("why", ["taken", "looks-like"])
def test_the_caller_may_set_the_nickname_of_the_next_attempt(link: Link, why: str) -> None:
    link.server.lose_sessions()
    link.lose()
    link.server.fails["hello"] = Refusal(1003, "nick-refused", why=why)
    link.reconnect()
    link.server.fails.clear()
    link.session.nick = "bot_"
    link.reconnect()
    assert link.session.welcome
    assert link.session.welcome.nick == "bot_"


def test_a_temporary_refusal_is_tried_again(link: Link) -> None:
    link.lose()
    link.server.fails["hello"] = Refusal(1011, "going-down")
    link.reconnect()
    assert link.session.ended is None
    link.server.fails.clear()
    link.reconnect()
    assert link.session.state is State.ONLINE


def test_a_kick_names_the_operator() -> None:
    params = b'{"room":"lobby","nick":"bob","session":"s-bob","reason":"kicked by ann: spam","by":"ann"}'
    assert events.decode("left", params) == events.Left("lobby", "bob", "s-bob", "kicked by ann: spam", "ann")


def test_a_room_that_is_refused_at_a_reconnect_is_left_out() -> None:
    link = Link(rooms=["lobby", "kitchen", "study"]).start()
    number = restart_without(link, "kitchen")
    left = [event for event in link.events() if isinstance(event, events.Left)]
    reason = "This is refused: no-such-room."
    assert [(event.room, event.nick, event.reason) for event in left] == [("kitchen", "bot", reason)]
    assert set(link.session.rooms) == {"lobby", "study"}
    assert link.answers[number].error is None


def test_a_session_whose_last_room_is_refused_ends() -> None:
    link = Link(rooms=["hall"]).start()
    restart_without(link, "hall")
    assert isinstance(link.session.ended, errors.RoomRejected)


def test_a_session_whose_last_room_is_refused_may_enter_the_first_one() -> None:
    link = Link(rooms=["hall"]).start()
    link.session.has_fallback = True
    restart_without(link, "hall")
    assert link.session.rooms == ["lobby"]


def restart_without(link: Link, room: str) -> int:
    """Restart the server, which now refuses a room. Return the call of a line that was said meanwhile."""
    link.server.lose_sessions()
    link.lose()
    number = link.call(requests.Say("lobby", "hi"))
    link.server.refused_rooms.add(room)
    link.reconnect()
    return number


def test_a_lasting_refusal_ends_the_session_and_its_calls(link: Link) -> None:
    link.lose()
    number = link.call(requests.Say("lobby", "hi"))
    link.server.fails["hello"] = Refusal(1013, "protocol", supported=[2])
    link.reconnect()
    assert isinstance(link.session.ended, errors.Rejected)
    assert link.answers[number].error is link.session.ended


def test_another_journal_begins_anew(link: Link) -> None:
    link.server.say("one")
    link.server.say("two")
    link.pump()
    assert link.texts() == ["one", "two"]
    link.server.lose_journal()
    link.lose()
    link.reconnect()
    link.server.say("first of the new journal")
    link.pump()
    taken = link.events()
    assert taken[1] == events.Reconnected(resumed=False, same_journal=False)
    assert [event.text for event in taken if isinstance(event, events.Said)] == ["first of the new journal"]


def test_a_goodbye_says_whether_and_when_to_come_back(link: Link) -> None:
    link.server.announce({"method": "goodbye", "reason": "restart", "reconnect": True, "after": 3.5})
    link.pump()
    link.lose()
    assert link.session.retry_after == 3.5
    assert link.events() == [events.Goodbye("restart", True, 3.5), events.Disconnected("restart", 3.5)]
    link.session.connection_lost("connection refused")
    assert link.session.retry_after != 3.5
    assert link.events() == [events.Disconnected("connection refused", link.session.retry_after)]
    link.reconnect()
    link.server.announce({"method": "goodbye", "reason": "banned", "reconnect": False})
    link.pump()
    number = link.call(requests.Say("lobby", "hi"))
    link.lose()
    assert isinstance(link.session.ended, errors.Ended)
    assert str(link.session.ended) == "banned"
    assert link.answers[number].error is link.session.ended


def test_a_rename_and_a_removal_by_the_server_are_noticed(link: Link) -> None:
    assert link.session.welcome
    own = link.session.welcome.session
    link.server.announce({"method": "renamed", "room": "lobby", "old": "bot", "nick": "bot2", "session": own})
    link.server.announce({"method": "left", "room": "lobby", "nick": "bot2", "session": own, "reason": "removed"})
    link.pump()
    assert link.session.nick == "bot2"
    assert link.session.rooms == []


def test_a_later_program_resumes_where_an_earlier_one_has_ended(link: Link) -> None:
    link.server.say("one")
    link.pump()
    assert link.texts() == ["one"]
    saved = link.session.resume
    link.lose()
    link.server.say("two")
    later = Link(link.server, resume=saved).start()
    assert later.session.welcome
    assert later.session.welcome.resumed
    assert later.texts() == ["two"]
    assert Link(nick="new").session.resume is None


def test_events_that_the_program_has_not_taken_are_not_in_the_state_to_resume(link: Link) -> None:
    link.server.say("one")
    link.server.tell("bot", "first")
    link.server.say("two")
    link.server.tell("bot", "second")
    link.pump()
    taken = [link.session.next_event() for _ in range(2)]
    saved = link.session.resume
    assert saved
    assert (saved.rooms, saved.told) == ({"lobby": 1}, 1)
    later = Link(link.server, resume=saved).start()
    assert [getattr(event, "text", None) for event in (*taken, *later.events())] == ["one", "first", "two", "second"]


# Bytes cut anywhere


def cuts(data: bytes, sizes: Iterator[int]) -> Iterator[bytes]:
    while data:
        size = next(sizes)
        yield data[:size]
        data = data[size:]


@given(st.lists(st.integers(1, 40), min_size=1))
def test_events_do_not_depend_on_where_bytes_are_cut(sizes: list[int]) -> None:
    def endless() -> Iterator[int]:
        while True:
            yield from sizes

    link = Link()
    link.server.say("old ☕")
    link.connect()
    link.send()
    for text in ("one", "zwei ü", "three"):
        link.server.say(text)
    link.server.hide("four")
    output = bytes(link.live.output).replace(b"\n", b"\r\n")
    link.live.output.clear()
    for piece in cuts(output, endless()):
        link.session.receive(piece)
    assert link.texts() == ["one", "zwei ü", "three", "four"]


@given(STEPS)
def test_whatever_is_lost_each_line_is_said_once_and_comes_once_in_order(steps: list[tuple[str, Any]]) -> None:
    server = FakeServer()
    server.max_replay = 3
    server.max_page_bytes = 400
    check(steps, server)
