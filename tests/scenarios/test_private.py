"""PROTOCOL.md, "Commands": private lines, and whom one does not want to hear."""

from __future__ import annotations

import pytest

from tests.harness import World

# /msg and /reply


@pytest.mark.parametrize("verb", ["/msg", "/m", "/tell", "/w"])
def test_msg_is_private_and_says_whom_it_went_to(world: World, verb: str) -> None:
    ann, bob, carol = world.join("ann", "bob", "carol")
    ann.read()
    bob.read()
    bob.say(f"{verb} ANN  psst,  you ")
    assert bob.lines() == ["-> sent to ann."]
    assert ann.lines() == ["[bob] psst,  you"]
    assert carol.read() == ""


def test_msg_tells_who_is_away(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.say("/away")
    bob.say("/msg ann one")
    ann.say("/away lunch")
    bob.say("/msg ann two")
    ann.say("/back")
    bob.say("/msg ann three")
    assert bob.lines() == ["-> sent to ann, who is away.", "-> sent to ann, who is away: lunch", "-> sent to ann."]


@pytest.mark.parametrize("name", ["zoe", "x" * 24])
def test_msg_is_refused_for_who_is_not_here(world: World, name: str) -> None:
    (ann,) = world.join("ann")
    ann.say(f"/msg {name} hi")
    assert ann.lines() == [f"-> Error: {name} is not here."]


def test_private_lines_are_not_kept(world: World) -> None:
    ann, _bob = world.join("ann", "bob")
    ann.read()
    ann.say("/msg bob psst", "/history")
    assert ann.lines() == ["-> sent to bob.", "-> nothing was said yet."]


def test_msg_to_oneself_comes_back(world: World) -> None:
    (ann,) = world.join("ann")
    ann.say("/msg ann note")
    assert ann.lines() == ["-> sent to ann.", "[ann] note"]


def test_a_whisper_reaches_somebody_who_leaves_in_the_same_burst(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    ann.put("/msg bob psst\r\n")
    bob.put("quit\r\n")
    world.settle()
    assert ann.lines() == ["-> sent to bob.", " * bob left."]
    assert bob.lines() == ["[ann] psst", " * Goodbye, bob."]


def test_a_whisper_to_somebody_who_is_leaving_is_refused(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    bob.put("quit\r\n")
    ann.put("/msg bob psst\r\n")
    world.settle()
    assert ann.lines() == ["-> Error: bob is not here.", " * bob left."]
    assert bob.lines() == [" * Goodbye, bob."]


def test_a_whisper_to_a_newcomer_is_refused_until_the_room_has_them(world: World) -> None:
    (ann,) = world.join("ann")
    bob = world.connect()
    bob.put("bob\r\n")
    ann.put("/msg bob psst\r\n")
    world.settle()
    assert ann.lines() == ["-> Error: bob is not here.", " * bob joined."]


@pytest.mark.parametrize("verb", ["/reply", "/r"])
def test_reply_goes_to_whoever_wrote_last(world: World, verb: str) -> None:
    ann, bob, carol = world.join("ann", "bob", "carol")
    bob.say("/msg ann from bob")
    carol.say("/msg ann from carol")
    bob.read()
    carol.read()
    ann.read()
    ann.say(f"{verb}  you too ")
    assert ann.lines() == ["-> sent to carol."]
    assert carol.lines() == ["[ann] you too"]
    assert bob.read() == ""


def test_reply_finds_who_has_another_name_by_now_and_tells_that_they_are_away(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    bob.say("/msg ann psst", "/nick rob", "/away lunch")
    ann.read()
    bob.read()
    ann.say("/reply yes?")
    assert ann.lines() == ["-> sent to rob, who is away: lunch"]
    assert bob.lines() == ["[ann] yes?"]


def test_reply_is_refused_when_nobody_wrote_yet(world: World) -> None:
    (ann,) = world.join("ann")
    ann.say("/reply hello?")
    assert ann.lines() == ["-> Error: nobody has written to you yet."]


def test_reply_never_goes_to_somebody_else_who_took_the_name(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    bob.say("/msg ann psst", "quit")
    (heir,) = world.join("bob")
    ann.read()
    ann.say("/reply secret")
    assert ann.lines() == ["-> Error: the one who wrote to you last is not here."]
    assert heir.read() == ""


@pytest.mark.parametrize("heir", [False, True])
def test_reply_to_somebody_who_is_leaving_is_refused(world: World, heir: bool) -> None:
    ann, bob, carol = world.join("ann", "bob", "carol")
    bob.say("/msg ann psst")
    ann.read()
    bob.put("quit\r\n")
    if heir:
        carol.put("/nick bob\r\n")
    ann.put("/reply wait\r\n")
    world.settle()
    assert ann.lines()[0] == "-> Error: the one who wrote to you last is not here."
    assert bob.lines()[-1] == " * Goodbye, bob."
    assert "wait" not in carol.read()


# /ignore, /unignore


def test_ignore_hides_what_somebody_says_does_and_whispers(world: World) -> None:
    ann, bob, carol = world.join("ann", "bob", "carol")
    ann.read()
    ann.say("/ignore BOB")
    bob.put("hi\r\n/me waves\r\n/msg ann psst\r\n")
    carol.put("hello\r\n")
    world.settle()
    ann.say("/reply hm", "/unignore Bob")
    bob.say("again", "/quit tired")
    assert ann.lines() == [
        "-> you ignore bob. /unignore bob ends that.",
        "carol: hello",
        "-> Error: nobody has written to you yet.",
        "-> you no longer ignore bob.",
        "bob: again",
        " * bob left: tired",
    ]
    assert bob.lines()[0] == "-> sent to ann."


def test_others_see_what_one_ignores(world: World) -> None:
    ann, bob, carol = world.join("ann", "bob", "carol")
    ann.say("/ignore bob")
    bob.say("hi")
    assert carol.lines() == ["bob: hi"]


def test_ignore_lists(world: World) -> None:
    ann, _bob, _carol = world.join("ann", "bob", "carol")
    ann.read()
    ann.say("/ignore", "/ignore bob", "/ignore carol", "/ignore", "/unignore bob", "/unignore carol", "/ignore")
    assert ann.lines() == [
        "-> you ignore nobody.",
        "-> you ignore bob. /unignore bob ends that.",
        "-> you ignore carol. /unignore carol ends that.",
        "-> you ignore bob, carol.",
        "-> you no longer ignore bob.",
        "-> you no longer ignore carol.",
        "-> you ignore nobody.",
    ]


def test_ignore_refuses_oneself_and_who_is_not_here(world: World) -> None:
    (ann,) = world.join("ann")
    ann.say("/ignore Ann", "/ignore zoe", "/unignore zoe", "/ignore")
    assert ann.lines() == [
        "-> Error: you cannot ignore yourself.",
        "-> Error: zoe is not here.",
        "-> Error: you do not ignore zoe.",
        "-> you ignore nobody.",
    ]


def test_who_is_ignored_stays_ignored_under_another_name(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    ann.say("/ignore bob")
    bob.say("/nick rob")
    bob.say("hi")
    ann.say("/ignore")
    assert ann.lines() == ["-> you ignore bob. /unignore bob ends that.", " * bob is now rob.", "-> you ignore rob."]


def test_who_is_ignored_stays_ignored_in_the_burst_of_the_rename(world: World) -> None:
    ann, bob, carol = world.join("ann", "bob", "carol")
    ann.say("/ignore bob")
    ann.read()
    bob.put("as bob\r\n/nick rob\r\nas rob\r\n/msg ann psst\r\n")
    carol.put("/nick bob\r\nI am new\r\n/msg ann hi\r\n")
    bob.put("/nick Rob\r\n/me waves\r\n")
    world.settle()
    assert ann.lines() == [
        " * bob is now rob.",
        " * carol is now bob.",
        "bob: I am new",
        "[bob] hi",
        " * rob is now Rob.",
    ]


def test_an_ignored_name_is_ignored_whoever_takes_it(world: World) -> None:
    ann, bob, carol = world.join("ann", "bob", "carol")
    ann.say("/ignore bob")
    bob.say("quit")
    ann.read()
    carol.put("/nick bob\r\nhi\r\n")
    world.settle()
    carol.say("/nick carol", "still ignored")
    assert ann.lines() == [" * carol is now bob.", " * bob is now carol."]


def test_who_takes_a_name_that_they_ignore_does_not_ignore_themselves(world: World) -> None:
    ann, bob = world.join("ann", "bob")
    ann.read()
    ann.say("/ignore bob", "/receipts on")
    bob.say("quit")
    ann.say("/nick bob", "hi", "/nick anna", "/ignore", "/msg anna note")
    assert ann.lines() == [
        "-> you ignore bob. /unignore bob ends that.",
        "-> receipts are on.",
        " * bob left.",
        "-> You are bob.",
        "-> You are anna.",
        "-> you ignore bob.",
        "-> sent to anna.",
        "-> #1",
        "[anna] note",
    ]
