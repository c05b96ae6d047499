"""A program joins a room with a snapshot, and its notifications continue that until it leaves."""

from __future__ import annotations

from broadcast.core.settings import Settings
from tests.doors.jsonrpc.programs import Program, ProgramWorld, seqs


def test_snapshot_has_the_first_200_members_and_their_count(world: ProgramWorld) -> None:
    world.join(*(f"bot{number:03}" for number in range(205)))
    lobby = world.program("zed").welcome["rooms"]["lobby"]
    assert lobby["count"] == 206
    assert [member["nick"] for member in lobby["members"]] == [f"bot{number:03}" for number in range(200)]


def test_fixed_rooms_are_the_only_ones() -> None:
    world = ProgramWorld(Settings(version="0.0", fixed_rooms=("kitchen",)))
    world.settle()
    ann = world.program("ann")
    assert ann.fail("join", room="attic") == (1004, "no-such-room")
    assert ann.call("join", room="Kitchen")["room"] == "kitchen"
    assert world.open_program().fail("hello", protocol=1, nick="bob", rooms=["attic"]) == (1004, "no-such-room")


def test_join_after_a_number_continues_there(ann: Program, bob: Program) -> None:
    ann.call("join", room="kitchen")
    ann.say(*map(str, range(1, 31)), room="kitchen")
    joined = bob.call("join", room="kitchen", after=27)
    assert (seqs(joined), joined["more"], joined["last"]) == ([28, 29, 30], False, 30)
    bob.call("leave", room="kitchen")
    assert bob.fail("join", room="kitchen", after=31) == (1010, "ahead")
    assert seqs(bob.call("join", room="kitchen", after=30)) == []
    bob.call("leave", room="kitchen")
    joined = bob.call("join", room="kitchen")
    assert (seqs(joined), joined["more"]) == ([*range(11, 31)], True)
    assert bob.fail("join", room="kitchen", after=31) == (1010, "ahead")


def test_more_than_a_thousand_events_are_cut_with_a_gap(ann: Program, bob: Program) -> None:
    ann.call("join", room="kitchen")
    ann.say(*map(str, range(1, 1031)), room="kitchen")
    joined = bob.call("join", room="kitchen", after=5)
    gap, *events = joined["events"]
    assert gap == {"method": "gap", "room": "kitchen", "first": 6, "last": 30}
    assert seqs({"events": events}) == [*range(31, 1031)]
    assert joined["more"] is True


def test_join_of_a_room_one_is_in_begins_anew(ann: Program, bob: Program) -> None:
    ann.say("one")
    bob.put("join", {"room": "lobby", "after": 0})
    ann.put("say", {"room": "lobby", "text": "two"}, notify=True)
    ann.world.settle()
    messages = bob.read()
    seen = []
    for message in messages:
        if "result" in message:
            seen += [event["text"] for event in message["result"]["events"]]
        else:
            seen.append(message["params"]["text"])
    assert sorted(set(seen)) == ["one", "two"]
    ann.say("three")
    assert bob.texts() == ["three"]


def test_session_is_in_fifty_rooms_at_most(ann: Program) -> None:
    for number in range(49):
        ann.call("join", room=f"r{number}")
    assert ann.fail("join", room="r49") == (1004, "room-refused")
    ann.call("leave", room="r0")
    ann.call("join", room="r49")


def test_leave_is_refused_outside_of_the_room(ann: Program) -> None:
    assert ann.fail("leave", room="kitchen") == (1005, "not-in-room")
    assert ann.fail("leave", room="lobby", reason="x" * 5000) == (1008, "too-long")
    assert ann.call("leave", room="lobby") == {}
    assert ann.fail("say", room="lobby", text="x") == (1005, "not-in-room")


def test_program_that_is_away_is_away_in_each_room_that_it_joins(ann: Program, bob: Program) -> None:
    bob.call("away", reason="lunch")
    ann.call("join", room="kitchen")
    ann.read()
    bob.call("join", room="kitchen")
    events = [(event["method"], event.get("reason")) for event in ann.events()]
    assert events == [("joined", None), ("away", "lunch")]


def test_session_that_ends_while_it_leaves_a_room_leaves_each_room_once(world: ProgramWorld, ann: Program) -> None:
    ann.call("join", room="kitchen")
    ann.call("join", room="attic")
    bot = world.program("bot", rooms=["lobby", "kitchen", "attic"], grace=0)
    ann.read()
    bot.put("leave", {"room": "kitchen"})
    bot.vanish()
    assert sorted(event["room"] for event in ann.events()) == ["attic", "kitchen", "lobby"]
    assert len(world.sessions._all) == 1


def test_events_of_a_room_wait_for_the_response_to_join_even_if_that_waits_for_others(
    world: ProgramWorld, ann: Program
) -> None:
    ann.put("say", {"room": "lobby", "text": "hi"})
    ann.put("join", {"room": "lobby"})  # the response has the state before the line
    world.settle()
    say, join, said = ann.read()
    assert say["result"]["seq"] == 1
    assert join["result"]["last"] == 0
    assert said["params"]["seq"] == 1


def test_room_that_is_joined_twice_at_once_continues_the_second_snapshot(world: ProgramWorld, ann: Program) -> None:
    ann.put("say", {"room": "lobby", "text": "hi"})
    ann.put("join", {"room": "lobby"})
    ann.put("join", {"room": "lobby"})
    world.settle()
    *responses, said = ann.read()
    assert [response["result"].get("last") for response in responses] == [None, 0, 0]
    assert said["params"]["seq"] == 1
