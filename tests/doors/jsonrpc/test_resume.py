"""A program that comes back has missed nothing, and nobody has noticed that it was away."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any
from weakref import ref

import pytest
from twisted.internet.address import IPv4Address
from twisted.logger import Logger, LogPublisher

from broadcast.core.limits import Limits
from broadcast.doors.jsonrpc.protocol import ProgramConnection
from broadcast.doors.jsonrpc.sessions import Sessions
from broadcast.doors.line.protocol import BroadcastProtocol
from tests.doors.jsonrpc.programs import GRACE, Program, ProgramWorld


def come_back(program: Program, **resume: object) -> Program:
    """Return a program on another connection, which has resumed the session of *program*."""
    back = program.world.open_program()  # type: ignore[attr-defined]
    assert isinstance(back, Program)
    back.welcome = back.call("hello", protocol=1, resume=program.resume | resume)
    return back


def texts_of(welcome: dict[str, Any], room: str = "lobby") -> list[str]:
    """Return the texts of the events of a room in the result of ``hello``."""
    return [event["text"] for event in welcome["rooms"][room]["events"]]


@pytest.mark.parametrize("lost", [True, False], ids=["lost", "alive"])
def test_session_goes_on_with_every_line_and_without_leaving(
    world: ProgramWorld, ann: Program, bob: Program, lost: bool
) -> None:
    bob.call("away", reason="lunch")
    ann.read()
    if lost:
        bob.vanish()
    ann.say("one", "two")
    ann.read()
    back = come_back(bob)
    assert back.welcome["resumed"] is True
    for member in ("nick", "session", "token", "journal"):
        assert back.welcome[member] == bob.welcome[member]
    assert texts_of(back.welcome) == ["one", "two"]
    lobby = back.welcome["rooms"]["lobby"]
    assert (lobby["last"], lobby["more"], lobby["count"]) == (2, False, 2)
    assert [member["away"] for member in lobby["members"]] == [None, "lunch"]
    assert ann.events() == []
    ann.say("three")
    back.say("four")
    assert back.texts() == ann.texts() == ["three", "four"]
    if not lost:
        assert bob.events()[-1] == {
            "method": "goodbye",
            "reason": "resumed elsewhere",
            "reconnect": False,
            "after": 0,
        }
        assert bob.is_closed()
        bob.hang_up()
    assert len(world.connections) == 2
    assert (world.connections.accepted_count, world.connections.resumed_count) == (3, 1)


def test_session_leaves_after_its_grace(world: ProgramWorld, ann: Program, bob: Program) -> None:
    bob.vanish()
    world.clock.advance(GRACE - 1)
    world.settle()
    assert ann.events() == []
    world.clock.advance(1)
    world.settle()
    (left,) = [event for event in ann.events() if event["method"] != "ping"]
    assert (left["method"], left["reason"]) == ("left", "connection lost")
    back = world.open_program()
    assert back.fail("hello", protocol=1, resume=bob.resume) == (-32602, None)
    back.hello("bob", resume=bob.resume | {"attempt": 2})
    assert back.welcome["resumed"] is False
    assert back.welcome["token"] != bob.welcome["token"]


@pytest.mark.parametrize("clean", [True, False])
def test_session_without_grace_leaves_at_once(world: ProgramWorld, ann: Program, clean: bool) -> None:
    bot = world.program("bot", grace=0)
    bot.vanish(clean=clean)
    assert [event.get("reason") for event in ann.events()] == [None, None if clean else "connection lost"]


def test_session_survives_a_connection_that_is_lost_before_the_result_of_a_resuming_hello(
    world: ProgramWorld, ann: Program, bob: Program
) -> None:
    bob.vanish()
    ann.say(*map(str, range(world.hub.settings.replay + 1)))  # more than the room has in memory
    ann.read()
    again = world.open_program()
    again.put("hello", {"protocol": 1, "resume": bob.resume})
    again.vanish()
    assert come_back(bob, attempt=2).welcome["resumed"] is True
    assert ann.events() == []


def test_private_messages_are_kept_for_the_next_connection(ann: Program, bob: Program) -> None:
    ann.call("tell", to="bob", text="one")
    bob.vanish()
    for number in range(2, 5):
        assert ann.call("tell", to="bob", text=f"{number}") == {}
    back = come_back(bob, told=1)
    assert [(event["id"], event["text"]) for event in back.events()] == [(2, "2"), (3, "3"), (4, "4")]
    back.vanish()
    for number in range(5, 300):
        ann.call("tell", to="bob", text=f"{number}")
    again = come_back(bob, told=4, attempt=2)
    assert [event["id"] for event in again.events()] == [*range(100, 300)]


def test_private_message_never_precedes_the_result_of_hello(world: ProgramWorld, ann: Program, bob: Program) -> None:
    ann.call("say", room="lobby", text="x")
    for back, params in (
        (world.open_program(), {"resume": bob.resume}),
        (world.open_program(), {"nick": "carol", "replay": 5}),
    ):
        back.put("hello", {"protocol": 1, **params})
        for _ in range(10):
            ann.put("tell", {"to": params.get("nick", "bob"), "text": "psst"})
            world.turn()
        world.settle()
        first, *rest = [message for message in back.read() if message.get("method") not in {"joined", "said"}]
        assert "result" in first
        ids = [message["params"]["id"] for message in rest]
        assert ids == [*range(1, len(ids) + 1)]
        assert ids
    ann.read()


def test_requests_that_follow_hello_at_once_see_its_rooms(world: ProgramWorld, ann: Program) -> None:
    ann.call("say", room="lobby", text="one")
    bot = world.open_program()
    ids = [
        bot.put("hello", {"protocol": 1, "nick": "bot", "replay": 5}),
        bot.put("join", {"room": "lobby", "after": 0}),
        bot.put("say", {"room": "lobby", "text": "two"}),
    ]
    world.settle()
    messages = bot.read()
    assert [message["id"] for message in messages if "id" in message] == ids
    assert [message["params"]["text"] for message in messages if message.get("method") == "said"] == ["two"]


def test_late_attempt_is_refused(world: ProgramWorld, bob: Program) -> None:
    bob.vanish()
    come_back(bob, attempt=3)
    for attempt in (1, 3):
        late = world.open_program()
        assert late.fail("hello", protocol=1, resume=bob.resume | {"attempt": attempt}) == (1013, "stale")
        assert not late.is_closed()
    come_back(bob, attempt=4)


def test_refused_attempt_is_not_used_up(world: ProgramWorld, ann: Program, bob: Program) -> None:
    bob.vanish()
    back = world.open_program()
    ahead = bob.resume | {"rooms": {"lobby": 1}, "attempt": 5}
    assert back.fail("hello", protocol=1, grace=0, resume=ahead) == (1010, "ahead")
    back.welcome = back.call("hello", protocol=1, resume=bob.resume | {"attempt": 1})
    assert (back.welcome["resumed"], back.welcome["grace"]) == (True, GRACE)


def test_grace_can_be_changed_when_the_session_goes_on(world: ProgramWorld, ann: Program, bob: Program) -> None:
    back = bob
    for attempt, (grace, given) in enumerate([(5, 5), (None, 5), (1e9, GRACE), (0, 0)], 1):
        back = world.open_program()
        params = {} if grace is None else {"grace": grace}
        back.welcome = back.call("hello", protocol=1, resume=bob.resume | {"attempt": attempt}, **params)
        assert back.welcome["grace"] == given
    back.vanish()
    assert [event["method"] for event in ann.events()] == ["left"]


def test_wrong_numbers_are_refused_and_change_nothing(world: ProgramWorld, ann: Program, bob: Program) -> None:
    bob.vanish()
    back = world.open_program()
    resume = bob.resume
    for wrong, reason in (
        ({"attempt": 1, "journal": "another"}, "other-journal"),
        ({"attempt": 2, "rooms": {"lobby": 1}}, "ahead"),
        ({"attempt": 3, "rooms": {"lobby": 1}, "token": "unknown"}, "ahead"),
    ):
        assert back.fail("hello", protocol=1, nick="eve", resume={**resume, **wrong}) == (1010, reason)
    assert ann.events() == []
    assert come_back(bob, attempt=3).welcome["nick"] == "bob"


def test_unknown_token_begins_a_session_that_has_missed_nothing(world: ProgramWorld, ann: Program) -> None:
    ann.say(*map(str, range(1, 31)))
    resume = {"token": "unknown", "journal": world.journal.id, "rooms": {"LOBBY": 2, "attic": 0}}
    bot = world.open_program()
    bot.hello("bot", rooms=["lobby", "kitchen"], resume=resume)
    assert bot.welcome["resumed"] is False
    assert bot.welcome["rooms"].keys() == {"lobby", "kitchen"}
    assert texts_of(bot.welcome) == [*map(str, range(3, 31))]


def test_more_than_a_thousand_missed_lines_become_a_gap(ann: Program, bob: Program) -> None:
    bob.vanish()
    ann.say(*map(str, range(1, 1011)))
    back = come_back(bob)
    gap, *events = back.welcome["rooms"]["lobby"]["events"]
    assert gap == {"method": "gap", "room": "lobby", "first": 1, "last": 10}
    assert [event["seq"] for event in events] == [*range(11, 1011)]
    assert back.welcome["rooms"]["lobby"]["more"] is True


def test_rooms_share_the_maximum_of_a_message(world: ProgramWorld, ann: Program) -> None:
    """Each quoted character takes two bytes, and the program checks the length of each message."""
    rooms = [f"r{number}" for number in range(10)]
    bot = world.program("bot", rooms=rooms)
    bot.vanish()
    for room in rooms:
        ann.call("join", room=room)
        ann.say(*['"' * 4000] * 10, room=room)
    back = come_back(bot)
    assert back.welcome["rooms"].keys() == {*rooms}
    for room, snapshot in back.welcome["rooms"].items():
        gap, *events = snapshot["events"]
        assert 1 <= len(events) < 10
        assert gap == {"method": "gap", "room": room, "first": 1, "last": events[0]["seq"] - 1}
        assert events[-1]["seq"] == snapshot["last"] == 10


@pytest.mark.parametrize("busy", [1, 2])
def test_rooms_leave_the_space_that_they_do_not_need_to_others(world: ProgramWorld, ann: Program, busy: int) -> None:
    rooms = [f"r{number}" for number in range(10)]
    bot = world.program("bot", rooms=rooms)
    bot.vanish()
    for room in rooms[:busy]:
        ann.call("join", room=room)
        ann.say(*['"' * 4000] * 40, room=room)
    ann.say("hi", room="lobby")
    back = come_back(bot)
    assert [*back.welcome["rooms"]] == rooms
    for number, snapshot in enumerate(back.welcome["rooms"].values()):
        events = [event for event in snapshot["events"] if event["method"] == "said"]
        assert len(events) in ({1: {29, 30, 31}, 2: {14, 15}}[busy] if number < busy else {0})
        assert snapshot["more"] is (number < busy)
        assert not events or events[-1]["seq"] == snapshot["last"] == 40
    ann.call("say", room="r0", text="hi")
    assert back.texts() == ["hi"]


def test_fifty_rooms_with_long_topics_fit_into_a_message(world: ProgramWorld, ann: Program) -> None:
    rooms = [f"r{number}" for number in range(50)]
    bot = world.program("bot", rooms=rooms)
    for room in rooms:
        bot.call("topic", room=room, text='"' * 4096)
        bot.call("say", room=room, text='"' * 4096)
    bot.call("away", reason='"' * 4096)
    assert len(come_back(bot, rooms={}).welcome["rooms"]) == 50


def test_lines_during_the_loss_are_in_the_events_or_sent_again(world: ProgramWorld, ann: Program, bob: Program) -> None:
    bob.put("say", {"room": "lobby", "text": "one", "uid": "u-1"})
    bob.person.protocol.dataReceived(b'{"jsonrpc":"2.0","id":9,"method":"say","params":{"room":"lobby","te')
    bob.vanish()
    back = come_back(bob)
    assert texts_of(back.welcome) == ["one"]
    assert back.call("say", room="lobby", text="one", uid="u-1")["seq"] == 1
    assert back.call("say", room="lobby", text="two", uid="u-2")["seq"] == 2
    assert ann.texts() == ["one", "two"]


def test_requests_that_the_old_connection_had_not_handled_are_dropped(
    world: ProgramWorld, ann: Program, bob: Program
) -> None:
    """The input of a connection waits while the room that it joins is opened."""
    bob.put("join", {"room": "kitchen"})
    bob.put("say", {"room": "lobby", "text": "late"})
    back = world.open_program()
    back.put("hello", {"protocol": 1, "resume": bob.resume})
    world.settle()
    assert "late" not in ann.texts()
    assert back.read()[0]["result"]["rooms"].keys() == {"lobby"}
    assert [*world.hub.rooms] == ["lobby"]
    back.say("hi")
    assert back.texts() == ["hi"]


@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize(
    ("method", "params"),
    [("join", {"room": "kitchen"}), ("leave", {"room": "lobby"}), ("history", {"room": "lobby", "last": 1})],
)
def test_session_moves_at_any_moment_of_a_request(
    world: ProgramWorld, ann: Program, bob: Program, turns: int, method: str, params: dict[str, object]
) -> None:
    bob.put(method, params)
    for _ in range(turns):
        world.turn()
    back = world.open_program()
    back.put("hello", {"protocol": 1, "resume": bob.resume})
    world.settle()
    (hello,) = [message for message in back.read() if "result" in message]
    rooms = {*hello["result"]["rooms"]}
    assert rooms - {"kitchen"} == ({"lobby"} if method != "leave" else rooms & {"lobby"})
    ann.call("join", room="kitchen")
    for room in ("lobby", "kitchen"):
        ann.call("say", room=room, text=room)
    assert {*back.texts()} == rooms - ({"lobby"} if method == "leave" else set())
    back.call("quit")
    back.hang_up()
    assert len(world.hub.people.members) == 1


def test_session_can_end_while_it_waits_for_its_next_connection(world: ProgramWorld, ann: Program) -> None:
    bot = world.program("bot")
    bot.vanish()
    session = world.sessions.find(bot.welcome["token"])
    assert session is not None
    session.end("kicked")
    world.settle()
    assert [event.get("reason") for event in ann.events()] == [None, "kicked"]
    assert not world.sessions._waiting
    world.clock.advance(GRACE)
    assert len(world.sessions._all) == 1


@pytest.mark.parametrize("turns", range(4))
def test_session_can_end_while_it_leaves_a_room(world: ProgramWorld, ann: Program, turns: int) -> None:
    bot = world.program("bot", grace=0, rooms=["lobby", "kitchen"])
    bot.put("leave", {"room": "lobby"})
    for _ in range(turns):
        world.turn()
    world.sessions.find(bot.welcome["token"]).end("kicked")  # type: ignore[union-attr]
    world.settle()
    assert [event["method"] for event in ann.events()] == ["joined", "left"]
    assert not world.sessions._all - {world.sessions.find(ann.welcome["token"])}
    assert bot.is_closed()


@pytest.mark.parametrize("turns", range(4))
def test_room_can_be_joined_again_while_the_old_connection_leaves_it(
    world: ProgramWorld, ann: Program, bob: Program, turns: int
) -> None:
    bob.put("leave", {"room": "lobby"})
    back = world.open_program()
    back.put("hello", {"protocol": 1, "resume": bob.resume})
    for _ in range(turns):
        world.turn()
    back.put("join", {"room": "lobby"})
    world.settle()
    back.read()
    ann.call("say", room="lobby", text="hi")
    assert back.texts() == ["hi"]


def test_rename_and_leave_of_others_are_in_the_snapshot(world: ProgramWorld, ann: Program, bob: Program) -> None:
    bob.vanish()
    ann.call("nick", nick="anna")
    back = come_back(bob)
    assert [member["nick"] for member in back.welcome["rooms"]["lobby"]["members"]] == ["anna", "bob"]
    assert ann.events()[0]["method"] == "renamed"
    assert back.events() == []


def test_token_is_void_after_quit(world: ProgramWorld, ann: Program, bob: Program) -> None:
    bob.call("quit")
    back = world.open_program()
    back.hello("bob", resume=bob.resume)
    assert back.welcome["resumed"] is False


def test_resumed_session_answers_private_messages_with_uids_once(ann: Program, bob: Program) -> None:
    bob.call("tell", to="ann", text="psst", uid="u-1")
    bob.vanish()
    back = come_back(bob)
    back.call("tell", to="ann", text="psst", uid="u-1")
    assert [event["text"] for event in ann.events()] == ["psst"]


def test_program_that_comes_back_while_a_batch_is_in_delivery_has_each_line_once(
    world: ProgramWorld, ann: Program, bob: Program
) -> None:
    bob.vanish()
    ann.put("say", {"room": "lobby", "text": "one"}, notify=True)
    world.deliver_in_part()
    back = world.open_program()
    back.put("hello", {"protocol": 1, "resume": bob.resume})
    ann.put("say", {"room": "lobby", "text": "two"}, notify=True)
    world.settle()
    seen: list[str] = []
    for message in back.read():
        if "result" in message:
            seen += texts_of(message["result"])
        elif message["method"] == "said":
            seen.append(message["params"]["text"])
    assert seen == ["one", "two"]


def test_session_in_its_grace_is_named_and_counts(world: ProgramWorld, ann: Program, bob: Program) -> None:
    bob.vanish()
    world.clock.advance(30)
    assert [member["idle"] for member in ann.call("members", room="lobby")["members"]] == [0, 30]
    assert world.open_program().fail("hello", protocol=1, nick="bob") == (1003, "nick-refused")


def end_by_quit(bot: Program) -> None:
    bot.call("quit")
    bot.hang_up()


def end_by_loss(bot: Program) -> None:
    bot.vanish()
    bot.world.clock.advance(GRACE)
    bot.world.settle()


def end_by_bad_lines(bot: Program) -> None:
    bot.put_lines(*"{{{{{")
    bot.world.settle()
    bot.hang_up()
    bot.world.clock.advance(GRACE)
    bot.world.settle()


def end_by_move(bot: Program) -> None:
    back = come_back(bot)
    bot.hang_up()
    end_by_quit(back)


@pytest.mark.parametrize("end", [end_by_quit, end_by_loss, end_by_bad_lines, end_by_move])
def test_session_that_is_over_is_freed_without_the_garbage_collector(
    world: ProgramWorld, ann: Program, end: Callable[[Program], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Before logging begins, Twisted holds the events, and with them the objects that have logged them.
    for cls in (ProgramConnection, Sessions, BroadcastProtocol):
        monkeypatch.setattr(cls, "_log", Logger(observer=LogPublisher()))
    bot = world.program("bot")
    for method, params in (
        ("join", {"room": "kitchen"}),
        ("say", {"room": "kitchen", "text": "x", "uid": "u-1"}),
        ("history", {"room": "lobby", "last": 5}),
        ("command", {"room": "lobby", "line": "/names"}),
    ):
        bot.call(method, **params)
    protocol = bot.person.protocol
    session = world.sessions.find(bot.welcome["token"])
    connection = bot.connection
    parts = [ref(part) for part in (protocol, session, connection, connection.peer)]
    del protocol, session, connection
    gc.collect()
    gc.disable()
    try:
        end(bot)
        del bot
        assert [part() for part in parts] == [None] * 4
    finally:
        gc.enable()


def test_sessions_in_their_grace_count_as_connections_of_their_address() -> None:
    world = ProgramWorld(limits=Limits(address_connections=2))
    address = IPv4Address("TCP", "10.0.0.7", 1)
    first, second = (world.open_program(address) for _ in range(2))
    first.hello("first")
    second.hello("second")
    first.vanish()
    second.vanish()
    back = world.open_program(address)
    error = back.request("hello", protocol=1, nick="third")["error"]
    assert (error["code"], error["data"]) == (-32600, {"reason": "too-many-connections"})
    assert error["message"] == "Too many connections from 10.0.0.7: this server takes 2 from one address."
    assert back.call("hello", protocol=1, resume=first.resume)["resumed"]
    other = world.open_program()
    assert other.call("hello", protocol=1, resume=second.resume)["resumed"]
    world.open_program(address).hello("third")
    assert not world.sessions._waiting
    back.vanish()
    world.clock.advance(GRACE)
    world.settle()
    assert not world.sessions._waiting


def test_connection_that_is_lost_before_the_answer_does_not_end_the_session(
    world: ProgramWorld, ann: Program, bob: Program
) -> None:
    bob.vanish()
    ann.say("one")
    ann.read()
    lost = world.open_program()
    lost.put("hello", {"protocol": 1, "resume": bob.resume})
    lost.vanish()
    back = come_back(bob, attempt=2)
    assert back.welcome["resumed"] is True
    assert texts_of(back.welcome) == ["one"]
    assert ann.events() == []


def test_line_that_waited_is_refused_if_the_session_has_left_the_room_on_another_connection(
    world: ProgramWorld, ann: Program, bob: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[Callable[[None], None]] = []
    monkeypatch.setattr(world.room, "load_uids", waiting.append)
    bob.put("say", {"room": "lobby", "text": "hi", "uid": "a"})
    back = come_back(bob)
    back.call("leave", room="lobby")
    ann.read()
    waiting[0](None)
    world.settle()
    assert ann.events() == []
