"""Rooms: a person is in one room at a time, and reads and names only what belongs to it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broadcast.core.limits import DEFAULTS
from broadcast.core.settings import Settings
from tests.harness import Person, World, is_read_from
from tests.scenarios.conftest import Opens, at_once


def arrival(room: str, others: str = "Nobody else is here.") -> str:
    return f" * You are in {room}. {others}"


@pytest.fixture
def kitchen(world: World, ann: Person, bob: Person, carol: Person) -> tuple[Person, Person, Person]:
    """Ann and Bob in the kitchen, Carol in the lobby."""
    ann.say("/join kitchen")
    bob.say("/join kitchen")
    for person in (ann, bob, carol):
        person.read()
    return ann, bob, carol


# /join and /leave


def test_join_moves_to_another_room_and_leave_moves_back(ann: Person, bob: Person) -> None:
    bob.say("hello")
    ann.read()
    ann.say("/join kitchen")
    assert ann.lines() == [arrival("kitchen")]
    assert bob.lines() == [" * ann left: to kitchen"]
    ann.say("hi")
    bob.say("anybody?")
    assert (ann.read(), bob.read()) == ("", "")
    bob.say("/join kitchen")
    assert bob.lines() == [arrival("kitchen", "1 other is here: ann."), "[12:00] ann: hi"]
    assert ann.lines() == [" * bob joined."]
    ann.say("/leave")
    assert bob.lines() == [" * ann left: to lobby"]
    assert ann.lines() == [arrival("lobby"), "[12:00] bob: hello", "[12:00] bob: anybody?"]


@pytest.mark.parametrize("typed", ["kitchen", "KITCHEN", "  Kitchen "])
def test_room_names_have_no_case(kitchen: tuple[Person, Person, Person], typed: str) -> None:
    ann, _, carol = kitchen
    carol.say(f"/join {typed}")
    assert carol.lines() == [arrival("kitchen", "2 others are here: ann, bob.")]
    assert ann.lines() == [" * carol joined."]


@pytest.mark.parametrize("typed", ["a b", "x" * 33, "küche", "#kitchen", "kitchen.", "-" * 33, "a\u0131"], ids=ascii)
def test_other_characters_and_long_names_are_refused(ann: Person, bob: Person, typed: str) -> None:
    ann.say(f"/join {typed}")
    assert ann.lines() == ["-> Error: a room's name has 1 to 32 of a-z, 0-9, _ and -."]
    ann.say("hi")
    assert bob.lines() == ["ann: hi"]


def test_longest_name_and_all_characters_are_taken(ann: Person) -> None:
    name = "abcdefghijklmnopqrstuvwxyz_-0189"
    ann.say(f"/join {name.upper()}")
    assert ann.lines() == [arrival(name)]


def test_join_of_the_own_room_and_leave_of_the_first_room_are_refused(ann: Person, bob: Person) -> None:
    ann.say("/join lobby", "/leave", "/join kitchen", "/join Kitchen")
    assert ann.lines() == [
        "-> Error: you are in lobby already.",
        "-> Error: you are in lobby. quit leaves the server.",
        arrival("kitchen"),
        "-> Error: you are in kitchen already.",
    ]
    assert bob.lines() == [" * ann left: to kitchen"]


def test_first_room_has_the_name_that_the_operator_chose(open_world: Opens) -> None:
    ann, bob = open_world(Settings(lobby="hall")).join("ann", "bob")
    ann.say("/leave", "/join lobby")
    bob.say("/join lobby")
    assert ann.lines() == [
        "-> Error: you are in hall. quit leaves the server.",
        arrival("lobby"),
        " * bob joined.",
    ]
    ann.say("/leave", "/rooms")
    assert ann.lines() == [arrival("hall"), "-> hall: 1 here (you are in it)", "-> lobby: 1 here"]


def test_lines_of_one_paste_are_said_in_the_rooms_between_which_they_stand(world: World) -> None:
    ann, bob, carol = world.join("ann", "bob", "carol")
    bob.say("/join kitchen")
    ann.read()
    carol.read()
    ann.say(
        "/receipts on", "one", "/me waves", "/join kitchen", "two", "/leave", "three", "/history 1", "/names", "quit"
    )
    assert ann.lines() == [
        *("-> receipts are on.", "-> #1", "-> #2"),
        *(arrival("kitchen", "1 other is here: bob."), "-> #1"),
        *(arrival("lobby", "1 other is here: carol."), "[12:00] ann: one", "[12:00] ** ann waves"),
        *("-> #3", "-> #3 [12:00] ann: three", "-> 2 here: carol, ann", " * Goodbye, ann."),
    ]
    assert carol.lines() == [
        *("ann: one", "** ann waves", " * ann left: to kitchen"),
        *(" * ann joined.", "ann: three", " * ann left."),
    ]
    assert bob.lines()[1:] == [" * ann joined.", "ann: two", " * ann left: to lobby"]


def test_everything_about_a_room_is_about_the_room_that_one_is_in(kitchen: tuple[Person, Person, Person]) -> None:
    ann, bob, carol = kitchen
    carol.say("soup in the lobby")
    ann.say("soup in the kitchen", "/names", "/history", "/search soup", "/uptime")
    carol.say("/names", "/history", "/search soup")
    assert ann.lines()[:3] == [
        "-> 2 here: ann, bob",
        *["-> #1 [12:00] ann: soup in the kitchen"] * 2,
    ]
    assert carol.lines() == ["-> 1 here: carol", *["-> #1 [12:00] carol: soup in the lobby"] * 2]
    assert bob.lines() == ["ann: soup in the kitchen"]


def test_views_and_receipts_follow_the_person(kitchen: tuple[Person, Person, Person]) -> None:
    ann, bob, carol = kitchen
    ann.say("/timestamp", "/quiet", "/receipts", "/join lobby")
    ann.read()
    carol.say("hi")
    bob.say("/leave")
    ann.say("hi")
    assert ann.lines() == ["[12:00] carol: hi", "-> #2"]


def test_six_people_who_move_at_once_are_counted(world: World) -> None:
    *people, gus = world.join("ann", "bob", "cat", "dan", "eve", "fay", "gus")
    at_once(*((person, "/join kitchen") for person in people))
    assert gus.lines() == [" * 6 people left."]
    for person in people:
        assert person.lines()[0].startswith(arrival("kitchen", "5 others are here: "))


# /rooms and /topic


def test_rooms_are_listed_with_the_largest_first(world: World, ann: Person, bob: Person, carol: Person) -> None:
    ann.say("/join kitchen", "/topic what to eat")
    bob.say("/join attic")
    carol.say("/join kitchen")
    (dave,) = world.join("dave")
    dave.say("/rooms")
    assert dave.lines() == [
        "-> kitchen: 2 here: what to eat",
        "-> attic: 1 here",
        "-> lobby: 1 here (you are in it)",
    ]
    bob.say("/leave")
    dave.read()
    dave.say("/topic roofs", "/rooms")
    assert dave.lines()[1:] == ["-> kitchen: 2 here: what to eat", "-> lobby: 2 here (you are in it): roofs"]


def test_fifty_rooms_are_listed_and_the_others_counted(world: World) -> None:
    people = world.join(*(f"p{number}" for number in range(57)))
    for number, person in enumerate(people[1:], 1):
        person.say(f"/join room-{number:02}")
    people[0].read()
    people[0].say("/rooms")
    rooms = people[0].lines()
    assert rooms[0] == "-> lobby: 1 here (you are in it)"
    assert rooms[-2:] == ["-> room-49: 1 here", "-> and 7 more."]


def test_topic_is_set_shown_and_read_on_arrival(world: World, ann: Person, bob: Person) -> None:
    ann.say("/topic")
    assert ann.lines() == ["-> there is no topic. /topic TEXT sets one."]
    ann.say("/topic  what to eat ")
    assert ann.lines() == bob.lines() == [" * ann set the topic: what to eat"]
    bob.say("/topic", "hello", "/join kitchen", "/topic")
    bob.read()
    (carol,) = world.join("carol")
    person = world.connect()
    person.read()
    person.say("dave")
    assert person.lines() == [
        " * You are dave. 2 others are here: ann, carol. /help lists the commands, quit leaves.",
        " * Topic: what to eat",
        "[12:00] bob: hello",
    ]
    bob.say("/leave", "/topic")
    assert bob.lines() == [
        arrival("lobby", "3 others are here: ann, carol, dave."),
        " * Topic: what to eat",
        "[12:00] bob: hello",
        "-> Topic: what to eat",
    ]
    assert carol.lines()


def test_topic_of_an_empty_room_stays(ann: Person) -> None:
    ann.say("/join kitchen", "/topic what to eat", "soup", "/leave", "/rooms")
    assert ann.lines()[-1] == "-> lobby: 1 here (you are in it)"
    ann.say("/join kitchen")
    assert ann.lines() == [arrival("kitchen"), " * Topic: what to eat", "[12:00] ann: soup"]


# Which rooms there are


def test_fixed_rooms_are_open_from_the_start_and_no_other_can_be_opened(open_world: Opens) -> None:
    world = open_world(Settings(fixed_rooms=("kitchen", "attic", "lobby")))
    world.settle()
    (ann,) = world.join("ann")
    ann.say("/rooms", "/join cellar", "/join attic", "/join kitchen", "/leave", "/rooms")
    assert ann.lines() == [
        *("-> lobby: 1 here (you are in it)", "-> attic: 0 here", "-> kitchen: 0 here"),
        "-> Error: there is no room cellar. /rooms lists the rooms of this server.",
        *(arrival("attic"), arrival("kitchen"), arrival("lobby")),
        *("-> lobby: 1 here (you are in it)", "-> attic: 0 here", "-> kitchen: 0 here"),
    ]


def test_number_of_open_rooms_is_limited(open_world: Opens) -> None:
    ann, bob = open_world(limits=replace(DEFAULTS, rooms=2)).join("ann", "bob")
    ann.say("/join kitchen", "/join attic")
    refused = "-> Error: this server has 2 open rooms, which is its limit. /rooms lists them."
    assert ann.lines() == [arrival("kitchen"), refused]
    bob.say("/join attic", "/join kitchen", "/leave")
    ann.read()
    ann.say("/leave", "/join attic")
    assert bob.lines()[1:3] == [refused, arrival("kitchen", "1 other is here: ann.")]
    assert ann.lines() == [arrival("lobby", "1 other is here: bob."), arrival("attic")]


# Private messages, away, ignore and nicknames belong to the server


def test_private_messages_reach_every_room(kitchen: tuple[Person, Person, Person]) -> None:
    ann, bob, carol = kitchen
    carol.say("/msg ann psst")
    ann.say("/reply what?", "/away lunch")
    carol.say("/msg ann never mind", "/away")
    assert ann.lines() == ["[carol] psst", "-> sent to carol.", "-> You are away: lunch", "[carol] never mind"]
    assert carol.lines() == [
        *("-> sent to ann.", "[ann] what?", "-> sent to ann, who is away: lunch", "-> You are away."),
    ]
    assert bob.read() == ""


def test_nickname_is_taken_in_every_room(kitchen: tuple[Person, Person, Person]) -> None:
    ann, bob, carol = kitchen
    carol.say("/nick ann", "/nick caro")
    assert carol.lines() == ["-> Error: ann is taken.", "-> You are caro."]
    assert (ann.read(), bob.read()) == ("", "")
    ann.say("/msg caro hi")
    assert ann.lines() == ["-> sent to caro."]


def test_ignored_person_is_hidden_in_every_room(kitchen: tuple[Person, Person, Person]) -> None:
    ann, bob, carol = kitchen
    ann.say("/ignore carol", "/leave")
    ann.read()
    carol.say("hi")
    carol.say("/nick caro", "/msg ann psst", "hi again")
    assert ann.lines() == [" * carol is now caro."]
    carol.say("/join kitchen", "/nick cara")
    ann.read()
    ann.say("/join kitchen", "/ignore")
    carol.say("hi", "/msg ann psst")
    assert ann.lines() == [
        arrival("kitchen", "2 others are here: bob, cara."),
        "-> you ignore cara.",
    ]
    ann.say("/unignore cara")
    carol.say("hi", "/msg ann psst")
    assert ann.lines() == ["-> you no longer ignore cara.", "cara: hi", "[cara] psst"]
    assert bob.lines()


def test_private_messages_of_a_move_are_neither_lost_nor_reordered(world: World, ann: Person, bob: Person) -> None:
    (carol,) = world.join("carol")
    ann.say("/join kitchen")
    bob.read()
    carol.read()
    at_once(
        (carol, "/msg bob one"),
        (bob, "/join kitchen"),
        (carol, "/msg bob two"),
        (ann, "/msg bob three", "/msg bob four"),
        (carol, "/msg bob five"),
    )
    private = [line for line in bob.lines() if line.startswith("[")]
    assert private == ["[carol] one", "[carol] two", "[ann] three", "[ann] four", "[carol] five"]
    assert world.hub.people.find("bob").private_in_flight == 0


# Slow readers, and connections that end


def test_slow_reader_who_moves_reads_everything_in_order_later(world: World, ann: Person, bob: Person) -> None:
    ann.stop_reading()
    bob.say(*["x" * 4000] * 20, "one")
    ann.say("/join kitchen", "two", "/leave", "three", "/names")
    bob.say("four")
    for _ in range(9):
        ann.read_on()
        world.settle()
    lines = [line for line in ann.lines() if len(line) < 100]
    assert lines[:2] == ["bob: one", arrival("kitchen")]
    assert lines[2] == arrival("lobby", "1 other is here: bob.")
    assert lines[-1] == "-> 2 here: bob, ann"
    assert is_read_from(ann)
    assert bob.lines() == [" * ann left: to kitchen", " * ann joined.", "ann: three"]


@pytest.mark.parametrize("turns", range(6))
def test_connection_lost_in_the_middle_of_a_move_leaves_no_trace(world: World, turns: int) -> None:
    ann, bob, carol = world.join("ann", "bob", "carol")
    carol.say("/join kitchen")
    bob.read()
    ann.put("/join kitchen\r\nstill here\r\n")
    for _ in range(turns):
        world.turn()
    ann.vanish()
    assert bob.lines()[-1] == " * ann left: to kitchen"
    assert carol.lines()[-3:] == [" * ann joined.", "ann: still here", " * ann left: connection lost"]
    assert not world.hub.lobby.members.keys() - {bob.protocol.session.id}
    assert len(world.connections) == 2
