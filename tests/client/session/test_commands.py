"""The commands of the client: what each asks the server for, or changes here."""

from __future__ import annotations

import pytest

from broadcast.client.protocol import events, requests
from tests.client.session.fakes import NOW, Talk


def test_the_client_explains_its_own_commands_after_those_of_the_server() -> None:
    here = Talk()
    here.talk.submit("/help")
    here.server.answer(requests.Output(("/names   who is here", "/leave   moves back")))
    assert here.front.texts[1] == "-> /names   who is here"
    assert here.front.texts[2].startswith("-> /leave [ROOM [WHY]]   ")
    assert here.front.texts[3].startswith("-> /upload PATH   ")
    assert here.front.texts[4].startswith("-> /set [NAME [on/off]]   ")


@pytest.mark.parametrize("typed", ["/help set", "/help /SET", "/? set"])
def test_help_explains_a_command_of_the_client(typed: str) -> None:
    here = Talk()
    here.talk.submit(typed)
    assert here.server.requests == []
    assert here.front.texts[1].startswith("-> /set [NAME [on/off]]   ")


def test_help_of_other_commands_comes_from_the_server() -> None:
    here = Talk()
    here.talk.submit("/help names")
    here.server.answer(requests.Output(("/names   who is here",)))
    assert here.front.texts == ["> /help names", "-> /names   who is here"]


@pytest.mark.parametrize("typed", ["/topic foo", "/topic", "/names", "/who", "/slow", "/me waves"])
def test_a_command_about_a_room_is_refused_in_a_private_conversation(typed: str) -> None:
    here = Talk()
    here.talk.submit(f"/msg bob\n{typed}")
    assert here.server.requests == []
    assert "This is a private conversation with bob. Go to a room first: /join lobby." in here.front.texts[-1]


def test_a_command_about_the_server_works_in_a_private_conversation() -> None:
    here = Talk()
    here.talk.submit("/msg bob\n/uptime")
    assert here.server.requests == [requests.Command("lobby", "/uptime")]


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ("/history", "/history @bob"),
        ("/history 50", "/history @bob 50"),
        ('/search "Old  cats"', '/search @bob "Old  cats"'),
        ("/history @carol 5", "/history @carol 5"),
        ("/inbox", "/inbox"),
    ],
)
def test_history_and_search_in_a_private_conversation_are_about_it(typed: str, asked: str) -> None:
    here = Talk()
    here.talk.submit(f"/msg bob\n{typed}")
    assert here.server.requests == [requests.Command("lobby", asked)]


def test_choices_are_made_without_the_server() -> None:
    here = Talk(is_connected=False)
    here.talk.submit("/set\n/set times off\n/quiet\n/set nosuch on\n/set quiet maybe\n/timestamp on")
    assert here.choices == {"times": True, "quiet": True}
    assert [text for text in here.front.texts if not text.startswith(">")] == [
        "-> times on",
        "-> quiet off",
        "-> times off",
        "-> quiet on",
        "! There is no choice nosuch. The choices are times, quiet.",
        "! Usage: /set [NAME [on/off]].",
        "-> times on",
    ]


def test_a_choice_that_cannot_be_stored_holds_until_the_end() -> None:
    here = Talk()
    here.choices.is_stored = False
    here.talk.submit("/set times off")
    assert here.front.texts[1] == "! Client.toml cannot be written. Until you leave: times off."
    assert here.choices["times"] is False


def test_quiet_hides_who_comes_and_goes() -> None:
    here = Talk()
    here.talk.submit("/quiet on")
    here.talk.handle(events.Joined("lobby", "eve", "s-eve"))
    here.talk.handle(events.Crowd("lobby", 20, 0))
    assert here.front.texts == ["> /quiet on", "-> quiet on"]
    assert here.talk.current.count == 3


def test_an_ignored_person_stays_hidden_also_under_another_nickname() -> None:
    here = Talk()
    here.talk.submit("/ignore Bob")
    here.front.shown.clear()
    here.said("noise")
    here.talk.handle(events.Told(1, "bob", "s-bob", NOW, "noise"))
    here.talk.handle(events.TopicChanged("lobby", "bob", "s-bob", "noise"))
    here.talk.handle(events.Renamed("lobby", "bob", "rob", "s-bob"))
    here.said("noise", nick="rob")
    assert here.front.texts == ["* bob is now rob."]
    assert here.front.alerts == []
    here.talk.submit("/ignore\n/unignore ROB\n/ignore\n/ignore ann")
    assert [text for text in here.front.texts if text[0] in "-!"] == [
        "-> You ignore rob.",
        "-> You no longer ignore ROB.",
        "-> You ignore nobody.",
        "! You cannot ignore yourself.",
    ]


def test_nickname_and_away_follow_the_answers() -> None:
    here = Talk()
    here.talk.submit("/nick anna\n/away lunch")
    here.server.answer(requests.Account("Anna"))
    assert here.talk.nick == "Anna"
    here.server.answer()
    assert here.talk.away == "lunch"
    here.talk.submit("/back")
    here.server.answer()
    assert here.talk.away is None
