"""The order of lines and the bounds of memory: the inbox of a session against the fake server in memory."""

from __future__ import annotations

from broadcast.client.protocol import events, requests
from tests.client.protocol.fake_server import Refusal
from tests.client.protocol.links import Link, kinds

# Gaps


def test_missing_lines_are_read_before_newer_ones(link: Link) -> None:
    link.server.say("one")
    link.server.hide("two", "three")
    link.server.say("four")
    link.pump()
    assert link.texts() == ["one", "two", "three", "four"]
    link.server.say("five")
    link.pump()
    assert link.texts() == ["five"]


def test_lines_that_come_during_a_fill_are_read_too(link: Link) -> None:
    link.server.answers_held = []
    link.server.hide("one", "two")
    link.pump()
    link.server.say("three")
    link.pump()
    assert link.texts() == []
    ((connection, response),) = link.server.answers_held
    link.server.answers_held = None
    connection.send(response)
    link.pump()
    assert link.texts() == ["one", "two", "three"]


def test_a_fill_that_a_lost_connection_interrupts_goes_on(link: Link) -> None:
    link.server.answers_held = []
    link.server.hide("one")
    link.pump()
    link.lose()
    link.server.say("two")
    link.reconnect()
    link.server.answers_held = None
    assert link.texts() == ["one", "two"]


def test_a_fill_that_is_interrupted_is_asked_for_again(link: Link) -> None:
    link.server.answers_held = []
    link.server.max_replay = 1
    link.server.hide("one", "two", "three")
    link.pump()
    link.lose()
    link.server.answers_held = None
    link.server.tell("bot", "psst")
    link.reconnect()
    assert link.texts() == ["one", "two", "three"]
    assert link.server.calls[-2][1]["resume"]["rooms"] == {"lobby": 0}


def test_more_lines_than_a_resumed_session_gets_at_once_are_read(link: Link) -> None:
    link.server.max_replay = 10
    link.lose()
    texts = [f"line {number}" for number in range(350)]
    for text in texts:
        link.server.say(text)
    link.reconnect()
    assert link.texts() == texts


def test_long_lines_are_read_in_smaller_pages(link: Link) -> None:
    link.server.max_page_bytes = 9000
    texts = [f"{number} {'x' * 1000}" for number in range(300)]
    link.server.hide(*texts)
    link.pump()
    assert link.texts() == texts


def test_lines_that_the_journal_does_not_have_either_are_a_gap(link: Link) -> None:
    link.server.hide("one", "two", "three")
    link.server.lines["lobby"][1] = link.server.lines["lobby"][2]
    link.server.lines["lobby"][0] = link.server.lines["lobby"][2]
    link.pump()
    assert kinds(link.events()) == [events.Gap, events.Said]


def test_a_refused_history_is_a_gap(link: Link) -> None:
    link.server.fails["history"] = Refusal(1005, "not-in-room")
    link.server.hide("one", "two")
    link.pump()
    link.server.say("three")
    link.pump()
    taken = link.events()
    assert taken[0] == events.Gap("lobby", 1, 2)
    assert kinds(taken) == [events.Gap, events.Said]


def test_a_fill_of_a_room_that_was_left_is_dropped(link: Link) -> None:
    link.server.answers_held = []
    link.server.hide("one")
    link.pump()
    link.answered(requests.Leave("lobby"))
    connection, response = link.server.answers_held[0]
    connection.send(response)
    link.pump()
    assert link.events() == []


def test_repeated_lines_and_messages_are_dropped(link: Link) -> None:
    line = link.server.store("said", "lobby", "one", "ann")
    link.server.deliver("lobby", line)
    link.server.tell("bot", "psst")
    link.server.announce(link.server.sessions["token-1"].told[0])
    link.pump()
    assert kinds(link.events()) == [events.Said, events.Told]


# A program that does not take its events


def test_memory_is_bounded_and_no_line_is_lost() -> None:
    link = Link(max_events=10).start()
    before = link.session.wants_input
    for number in range(100):
        link.server.say(f"line {number}")
        link.server.announce({"method": "joined", "room": "lobby", "nick": f"n{number}", "session": "s"})
        link.server.tell("bot", "psst")
    link.pump()
    assert (before, link.session.wants_input) == (True, False)
    assert len(link.session._inbox._queue) <= 210
    taken = link.events()
    texts = [event.text for event in taken if isinstance(event, events.Said)]
    skipped = [event for event in taken if isinstance(event, events.Skipped)]
    assert sum(isinstance(event, events.Joined) for event in taken) + sum(event.count for event in skipped) == 100
    assert texts == [f"line {number}" for number in range(100)]


def test_answers_are_read_although_events_wait() -> None:
    link = Link(max_events=2).start()
    for _ in range(5):
        link.server.say("hello")
    link.pump()
    number = link.call(requests.Say("lobby", "hi"))
    while_waiting = link.session.wants_input
    link.pump()
    assert link.answers[number].result.seq == 6
    assert (while_waiting, link.session.wants_input) == (True, False)
    assert link.texts() == [*["hello"] * 5, "hi"]
