"""Private lines, and people that one does not want to see."""

from __future__ import annotations

import pytest

from tests.harness import Person, World
from tests.scenarios.conftest import at_once, newcomer

# /msg and /reply


@pytest.mark.parametrize("verb", ["/msg", "/m", "/tell", "/w"])
def test_msg_is_shown_to_its_recipient_alone_and_not_stored(ann: Person, bob: Person, carol: Person, verb: str) -> None:
    bob.say("before", f"{verb} ANN  psst,  you ", "after")
    assert bob.lines() == ["-> sent to ann."]
    assert ann.lines() == ["bob: before", "[bob] psst,  you", "bob: after"]
    assert carol.lines() == ["bob: before", "bob: after"]
    bob.say(f"{verb} bob note", "/history")
    assert bob.lines() == ["-> sent to bob.", "[bob] note", "-> #1 [12:00] bob: before", "-> #2 [12:00] bob: after"]


def test_msg_says_whether_its_recipient_is_away(ann: Person, bob: Person) -> None:
    for status in ("/away", "/away lunch", "/back"):
        ann.say(status)
        bob.say("/msg ann hi")
    assert bob.lines() == ["-> sent to ann, who is away.", "-> sent to ann, who is away: lunch", "-> sent to ann."]


def test_msg_reaches_a_person_who_leaves_later_in_the_batch_and_nobody_who_is_not_here(
    world: World, ann: Person, bob: Person, carol: Person
) -> None:
    at_once((ann, "/msg bob psst"), (bob, "quit"), (ann, "/msg bob again"))
    assert ann.lines() == ["-> sent to bob.", "-> Error: bob is not here.", " * bob left."]
    assert bob.lines() == ["[ann] psst", " * Goodbye, bob."]
    dave = newcomer(world)
    at_once((dave, "dave"), (carol, "/msg dave psst"))
    assert carol.lines()[1:] == ["-> Error: dave is not here.", " * dave joined."]


@pytest.mark.parametrize("verb", ["/reply", "/r"])
def test_reply_goes_to_the_last_private_sender_under_any_name(
    ann: Person, bob: Person, carol: Person, verb: str
) -> None:
    bob.say("/msg ann from bob")
    carol.say("/msg ann from carol", "/nick caro", "/away lunch")
    for person in (ann, bob, carol):
        person.read()
    ann.say(f"{verb}  you too ")
    assert ann.lines() == ["-> sent to caro, who is away: lunch"]
    assert carol.lines() == ["[ann] you too"]
    assert bob.read() == ""


@pytest.mark.parametrize("heir", [(), ("/nick bob",)])
def test_reply_never_goes_to_the_heir_of_a_nickname(
    ann: Person, bob: Person, carol: Person, heir: tuple[str, ...]
) -> None:
    bob.say("/msg ann psst")
    at_once((bob, "quit"), (carol, *heir), (ann, "/reply wait"))
    carol.say("/nick bob")
    ann.say("/reply secret")
    assert [line for line in ann.lines() if line.startswith("-> ")] == [
        "-> Error: the one who wrote to you last is not here."
    ] * 2
    assert bob.lines()[-1] == " * Goodbye, bob."
    assert "[ann]" not in carol.read()


# /ignore and /unignore


def test_ignore_hides_what_one_person_says_does_and_whispers(ann: Person, bob: Person, carol: Person) -> None:
    ann.say("/ignore BOB")
    at_once((bob, "hi", "/me waves", "/msg ann psst", "/topic shout"), (carol, "hello"))
    ann.say("/reply hm", "/unignore Bob")
    bob.say("again", "/quit tired")
    assert ann.lines() == [
        *("-> you ignore bob. /unignore bob ends that.", "carol: hello"),
        *("-> Error: nobody has written to you yet.", "-> you no longer ignore bob.", "bob: again"),
        " * bob left: tired",
    ]
    topic = " * bob set the topic: shout"
    assert bob.lines() == ["-> sent to ann.", topic, "carol: hello", " * Goodbye, bob."]
    assert carol.lines() == ["bob: hi", "** bob waves", topic, "bob: again", " * bob left: tired"]


def test_ignore_alone_lists_the_ignored_people(ann: Person, carol: Person) -> None:
    ann.say("/ignore", "/ignore bob", "/ignore carol", "/ignore", "/unignore bob", "/unignore carol", "/ignore")
    assert ann.lines() == [
        "-> you ignore nobody.",
        *(f"-> you ignore {nick}. /unignore {nick} ends that." for nick in ("bob", "carol")),
        "-> you ignore bob, carol.",
        *(f"-> you no longer ignore {nick}." for nick in ("bob", "carol")),
        "-> you ignore nobody.",
    ]


def test_ignored_person_stays_ignored_under_another_name(ann: Person, bob: Person, carol: Person) -> None:
    ann.say("/ignore bob")
    ann.read()
    at_once(
        (bob, "as bob", "/nick rob", "as rob", "/msg ann psst"),
        (carol, "/nick bob", "I am new", "/msg ann hi"),
        (bob, "/nick Rob", "/me waves"),
    )
    bob.say("still ignored")
    ann.say("/ignore")
    assert ann.lines() == [
        *(" * bob is now rob.", " * carol is now bob.", "bob: I am new", "[bob] hi", " * rob is now Rob."),
        "-> you ignore Rob.",
    ]


def test_next_person_with_an_ignored_name_is_ignored(ann: Person, bob: Person, carol: Person) -> None:
    ann.say("/ignore bob")
    bob.say("quit")
    ann.read()
    at_once((carol, "/nick bob", "hi"))
    carol.say("/nick carol", "still ignored")
    assert ann.lines() == [" * carol is now bob.", " * bob is now carol."]


def test_person_with_a_name_that_they_ignore_does_not_ignore_themselves(ann: Person, bob: Person) -> None:
    ann.say("/ignore bob", "/receipts on")
    bob.say("quit")
    ann.say("/nick bob", "hi", "/topic tea", "/nick anna", "/ignore", "/msg anna note")
    assert ann.lines()[3:] == [
        *("-> You are bob.", "-> You are anna.", "-> you ignore bob.", "-> sent to anna.", "-> #1"),
        *(" * bob set the topic: tea", "[anna] note"),
    ]
