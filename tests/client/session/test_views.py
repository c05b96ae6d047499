"""Each room and each private conversation has a view, with the lines that the user has not seen."""

from __future__ import annotations

import pytest

from broadcast.client.protocol import errors, events, requests
from broadcast.client.session.entries import PrivateLine
from tests.client.session.fakes import NOW, Talk, as_text, entries, join


def test_lines_after_join_are_said_in_the_room() -> None:
    here = Talk()
    here.talk.submit("/join kitchen\nhello")
    assert here.talk.current.name == "lobby"
    here.server.answer(requests.Room("kitchen"))
    assert here.talk.current.name == "kitchen"
    assert here.server.requests == [requests.Say("kitchen", "hello", "own-2")]
    assert here.front.switches == [0]


def test_lines_after_a_refused_join_are_not_said() -> None:
    here = Talk()
    here.talk.submit("/join secret\nhello\n/topic cats\n/uptime")
    here.server.answer(error=errors.RoomRejected(1004, "you may not enter secret."))
    assert here.front.texts == [
        "> /join secret",
        "! you may not enter secret.",
        "Not said: hello (/join secret has failed.)",
        "> /topic cats",
        "! /join secret has failed.",
    ]
    assert here.server.requests == [requests.Command("lobby", "/uptime")]


def test_a_new_room_has_the_lines_that_come_while_an_earlier_line_waits() -> None:
    here = Talk()
    here.talk.submit("hello\n/join kitchen")
    here.server.answer(requests.Room("kitchen"), index=1)
    here.said("hi", room="kitchen")
    here.store()
    assert here.talk.current.name == "kitchen"
    assert entries(here, "kitchen") == ["* You are in kitchen. Nobody else is here.", "bob: hi"]


def test_a_view_that_the_user_selects_meanwhile_stays() -> None:
    here = Talk("lobby", "hall")
    here.talk.submit("/join kitchen")
    here.talk.select(here.talk.views[1])
    here.talk.submit("hello")
    here.server.answer(requests.Room("kitchen"))
    assert here.talk.current.name == "hall"
    assert here.server.requests == [requests.Say("hall", "hello", "own-2")]
    assert [view.name for view in here.talk.views] == ["lobby", "hall", "kitchen"]


def test_other_rooms_count_what_is_unread() -> None:
    here = Talk("lobby", "hall")
    here.said("hi", room="hall")
    here.said("hi Ann!", room="hall")
    here.talk.handle(events.Joined("hall", "eve", "s-eve"))
    hall = here.talk.views[1]
    assert (hall.unread, hall.mentions, here.front.texts) == (2, 1, [])
    assert [(view.name, as_text(entry)) for view, entry in here.front.alerts] == [("hall", "bob: hi Ann!")]
    here.talk.next_unread()
    assert here.talk.current is hall
    assert (hall.unread, hall.mentions, here.front.switches) == (0, 0, [3])


def test_the_next_unread_view_is_one_that_needs_the_user() -> None:
    here = Talk("lobby", "hall", "kitchen")
    here.said("hi", room="hall")
    here.said("hi ann", room="kitchen")
    here.talk.next_unread()
    assert here.talk.current.name == "kitchen"
    here.talk.next_unread()
    assert here.talk.current.name == "hall"
    here.talk.next_unread()
    assert here.talk.current.name == "hall"


def test_views_are_stepped_through_in_a_circle() -> None:
    here = Talk("lobby", "hall")
    here.talk.step(-1)
    assert here.talk.current.name == "hall"
    here.talk.step(1)
    assert here.talk.current.name == "lobby"


def test_lines_from_before_the_user_came_are_not_unread_and_do_not_ring() -> None:
    here = Talk()
    join(here, "kitchen")
    here.talk.step(-1)
    here.last["kitchen"] = 6
    here.said("ann?", room="kitchen")
    assert (here.talk.views[1].unread, here.front.alerts) == (0, [])
    here.said("ann!", room="kitchen")
    assert (here.talk.views[1].unread, len(here.front.alerts)) == (1, 1)


def test_views_keep_their_numbers_when_another_one_opens() -> None:
    here = Talk()
    here.talk.submit("/msg bob\n/join hall")
    here.server.answer(requests.Room("hall"))
    assert [view.title for view in here.talk.views] == ["lobby", "@bob", "hall"]
    here.talk.select(here.talk.views[1])
    here.talk.submit("/leave")
    assert [view.title for view in here.talk.views] == ["lobby", "hall"]


def test_join_of_a_room_that_the_user_is_in_shows_it() -> None:
    here = Talk("lobby", "hall")
    here.talk.submit("/join hall")
    assert (here.talk.current.name, here.server.requests) == ("hall", [])


def test_leave_closes_the_room_and_shows_the_one_before() -> None:
    here = Talk()
    join(here, "kitchen")
    here.talk.submit("/leave kitchen dinner\nhello")
    assert here.server.requests == [requests.Leave("kitchen", "dinner")]
    here.talk.handle(events.Left("kitchen", "ann", "s-ann", "dinner"))
    here.server.answer()
    assert [view.name for view in here.talk.views] == ["lobby"]
    assert here.server.requests == [requests.Say("lobby", "hello", "own-3")]


def test_leave_with_a_name_leaves_that_room() -> None:
    here = Talk("lobby", "hall")
    here.talk.submit("/leave Hall\nhello")
    assert here.server.requests == [requests.Leave("hall")]
    here.server.answer()
    assert [view.title for view in here.talk.views] == ["lobby"]
    assert here.server.requests == [requests.Say("lobby", "hello", "own-2")]


def test_leave_with_an_unknown_name_leaves_nothing() -> None:
    here = Talk("lobby", "hall")
    here.talk.submit("/leave nosuch")
    assert here.server.requests == []
    assert here.front.texts == ["> /leave nosuch", "! You are not in nosuch. Usage: /leave [ROOM [WHY]]."]


def test_the_only_room_cannot_be_left() -> None:
    here = Talk()
    here.talk.submit("/leave")
    assert here.front.texts == ["> /leave", "! You are in lobby only. quit leaves the server."]


def test_members_and_their_number_follow_the_events() -> None:
    here = Talk()
    view = here.talk.current
    for _ in range(2):  # a repetition changes nothing
        here.talk.handle(events.Joined("lobby", "eve", "s-eve"))
    assert (view.count, here.talk.nicknames) == (3, ["bob", "eve"])
    for _ in range(2):
        here.talk.handle(events.Left("lobby", "bob", "s-bob", "bye"))
    here.talk.handle(events.Renamed("lobby", "eve", "eva", "s-eve"))
    assert (view.count, here.talk.nicknames) == (2, ["eva"])
    assert here.front.texts[-2:] == ["* bob left: bye", "* eve is now eva."]


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (events.Left("lobby", "bob", "s-bob"), "* bob left."),
        (events.Left("lobby", "bob", "s-bob", "kicked by ann: spam"), "* bob left: kicked by ann: spam"),
        (events.Left("lobby", "bob", "s-bob", "kicked by ann: spam", "ann"), "* bob left (kicked by ann: spam)"),
        (events.Left("lobby", "bob", "s-bob", "banned by ann", "ann"), "* bob left (banned by ann)"),
    ],
)
def test_nobody_can_imitate_the_notice_about_a_kick(event: events.Left, text: str) -> None:
    here = Talk()
    here.talk.handle(event)
    assert here.front.texts == [text]


@pytest.mark.parametrize("event", [events.Crowd("lobby", 6, 7), events.Skipped("lobby", 5), events.Gap("lobby", 2, 1)])
def test_after_events_without_names_the_members_are_requested_once(event: events.Event) -> None:
    here = Talk()
    here.talk.handle(event)
    here.talk.handle(event)
    assert here.server.requests == [requests.ListMembers("lobby", count=1000)]
    here.server.answer(requests.Members(5, (requests.Person("eve", "s-eve"),)))
    assert len(here.server.requests) == 1
    here.server.answer(requests.Members(4, (requests.Person("zoe", "s-zoe"),)))
    assert (here.server.requests, here.talk.current.count, here.talk.nicknames) == ([], 4, ["zoe"])


def test_of_a_large_room_the_client_asks_for_all_members() -> None:
    here = Talk(is_connected=False)
    room = requests.Snapshot("lobby", count=300, members=(requests.Person("bob", "s-bob"),))
    here.talk.connected(requests.Welcome("ann", "s-ann", "t", "j", rooms={"lobby": room}))
    assert here.server.requests == [requests.ListMembers("lobby", count=1000)]
    assert here.front.texts[0].startswith("* You are ann. 299 others are here: bob and 298 more. ")
    here.server.answer(error=errors.Ended("over"))
    here.talk.handle(events.Left("lobby", "eve", "s-unknown"))
    assert here.talk.current.count == 299


def test_topics_are_shown_and_known() -> None:
    here = Talk()
    here.talk.handle(events.TopicChanged("lobby", "bob", "s-bob", "cats"))
    here.talk.submit("/topic")
    here.talk.handle(events.TopicChanged("lobby", "bob", "s-bob", None))
    here.talk.submit("/topic")
    assert here.front.texts == [
        "* bob set the topic: cats",
        "> /topic",
        "-> Topic: cats",
        "* bob removed the topic.",
        "> /topic",
        "-> There is no topic. /topic TEXT sets one.",
    ]
    here.talk.submit("/topic dogs\n/topic")
    here.server.answer()
    assert here.front.texts[-1] == "-> Topic: dogs"


def test_a_private_line_is_shown_at_once_and_kept_in_its_conversation() -> None:
    here = Talk()
    here.talk.handle(events.Told(1, "bob", "s-bob", NOW, "psst"))
    assert here.front.texts == ["[bob] psst"]
    assert entries(here, "@bob") == ["[bob] psst"]
    assert here.talk.views[1].unread == 1
    assert len(here.front.alerts) == 1
    here.talk.submit("/reply what?")
    here.server.answer(requests.Delivered(away="lunch"))
    assert here.front.texts[1:] == ["[-> bob] what?", "* bob is away: lunch"]
    assert entries(here, "@bob") == ["[bob] psst", "[-> bob] what?", "* bob is away: lunch"]


def test_private_lines_that_have_waited_are_unread_and_have_their_times() -> None:
    here = Talk()
    here.talk.handle(events.Told(1, "bob", "", NOW - 86400, "psst"))
    here.talk.handle(events.Told(2, "carol", "", NOW - 3600, "tea?"))
    here.talk.handle(events.Told(3, "bob", "s-bob", NOW, "are you there?"))
    bob, carol = here.talk.views[1:]
    assert [(view.title, view.unread) for view in (bob, carol)] == [("@bob", 2), ("@carol", 1)]
    assert [entry.at for entry in bob.entries if isinstance(entry, PrivateLine)] == [NOW - 86400, NOW]
    assert len(here.front.alerts) == 3


def test_a_private_line_to_somebody_who_is_not_here_says_so() -> None:
    here = Talk()
    here.talk.submit("/msg bob psst")
    here.server.answer(requests.Delivered(kept=True))
    assert here.front.texts == ["[-> bob] psst", "* bob is not here, and receives this at the next login."]


def test_lines_in_a_private_conversation_are_told() -> None:
    here = Talk()
    here.talk.submit("/msg bob\nhi\nyou there?")
    assert here.talk.current.title == "@bob"
    assert here.server.requests[0] == requests.Tell("bob", "hi", "own-2")
    here.server.answer(requests.Delivered())
    assert here.front.texts[-1] == "[-> bob] hi"
    assert here.server.requests == [requests.Tell("bob", "you there?", "own-3")]


def test_a_private_conversation_follows_a_rename_and_can_be_closed() -> None:
    here = Talk()
    here.talk.submit("/msg bob")
    here.talk.handle(events.Told(1, "bob", "s-bob", NOW, "psst"))
    assert here.talk.current.unread == 0
    here.talk.handle(events.Renamed("lobby", "bob", "rob", "s-bob"))
    assert here.talk.nicknames[0] == "rob"
    here.talk.submit("/reply what?")
    assert here.server.requests == [requests.Tell("rob", "what?", "own-2")]
    here.server.answer(requests.Delivered())
    here.talk.submit("/leave")
    assert [view.title for view in here.talk.views] == ["lobby"]
    assert here.talk.current.title == "lobby"


def test_a_private_line_that_perhaps_arrived_says_so() -> None:
    here = Talk()
    here.talk.submit("/msg bob hi")
    here.server.answer(error=errors.Unconfirmed("the server has lost the session"))
    [entry] = here.front.shown
    assert as_text(entry) == "Not said: /msg bob hi (The server has lost the session.)"
    assert not entry.is_certain  # type: ignore[union-attr]  # it is a Refused
