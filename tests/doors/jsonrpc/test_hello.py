"""hello succeeds as a whole or changes nothing."""

from __future__ import annotations

import pytest

from broadcast.core.limits import Limits
from broadcast.core.settings import Settings
from tests.doors.jsonrpc.programs import Program, ProgramWorld
from tests.harness import NOON


def test_every_other_method_needs_hello_first(world: ProgramWorld) -> None:
    bot = world.open_program()
    for method, params in (
        ("join", {"room": "lobby"}),
        ("say", {"room": "lobby", "text": "hi"}),
        ("ping", {}),
        ("quit", {}),
        ("rooms", {}),
        ("nope", {}),
        ("say", {}),
        ("say", {"room": 5, "text": "x"}),
    ):
        assert bot.fail(method, **params) == (1002, "hello-first")
    bot.notify("say", room="lobby", text="hi")
    assert bot.refusals() == [{"method": "say", "code": 1002}]
    bot.hello("bot")
    assert bot.fail("hello", protocol=1, nick="bot2") == (-32600, None)


@pytest.mark.parametrize(
    ("params", "code", "reason"),
    [
        ({"protocol": 2}, 1013, "protocol"),
        ({"protocol": "1"}, -32602, None),
        ({"nick": "ann"}, 1003, "nick-refused"),
        ({"nick": "root"}, 1003, "nick-refused"),
        ({"nick": "x" * 25}, 1003, "nick-refused"),
        ({"nick": "a b"}, 1003, "nick-refused"),
        ({"nick": "b\u001bob"}, 1003, "nick-refused"),
        ({"nick": ""}, 1003, "nick-refused"),
        ({"rooms": ["lobby", "no room"]}, 1004, "room-refused"),
        ({"rooms": ["kitchen", "x" * 33]}, 1004, "room-refused"),
        ({"rooms": [str(number) for number in range(51)]}, 1004, "room-refused"),
        ({"resume": {"token": "x", "journal": "another", "rooms": {}}}, 1010, "other-journal"),
    ],
    ids=str,
)
def test_refused_hello_changes_nothing(
    world: ProgramWorld, ann: Program, params: dict[str, object], code: int, reason: str | None
) -> None:
    bot = world.open_program()
    hello = {"protocol": 1, "nick": "bot", "rooms": ["lobby", "kitchen"]}
    assert bot.fail("hello", **(hello | params)) == (code, reason)
    assert ann.events() == []
    assert [*world.hub.rooms] == ["lobby"]
    assert len(world.hub.people.members) == 1
    bot.hello("bot", rooms=["kitchen", "lobby"])
    assert bot.welcome["rooms"].keys() == {"kitchen", "lobby"}
    assert [event["method"] for event in ann.events()] == ["joined"]


def test_why_of_a_refused_nickname_is_a_word(world: ProgramWorld, ann: Program) -> None:
    bot = world.open_program()
    for nick, why in (("ann", "taken"), ("root", "reserved"), ("x" * 25, "too-long"), ("a b", "characters")):
        error = bot.request("hello", protocol=1, nick=nick)["error"]
        assert error["data"] == {"reason": "nick-refused", "why": why}


def test_versions_that_the_server_speaks_are_in_the_error(world: ProgramWorld) -> None:
    error = world.open_program().request("hello", protocol=7, nick="bot")["error"]
    assert error["data"] == {"reason": "protocol", "supported": [1]}


def test_nickname_is_needed_without_a_valid_token(world: ProgramWorld) -> None:
    bot = world.open_program()
    assert bot.fail("hello", protocol=1) == (-32602, None)


def test_tenth_failed_hello_closes(world: ProgramWorld, ann: Program) -> None:
    bot = world.open_program()
    for wrong in ({"nick": "ann"}, {"nick": 5}, {"protocol": 2}) * 3:
        bot.fail("hello", **({"protocol": 1, "nick": "bot"} | wrong))
    assert not bot.is_closed()
    bot.put("hello", {"protocol": 1, "nick": "ann"})
    world.settle()
    error, goodbye = bot.read()
    assert error["error"]["code"] == 1003
    assert goodbye["params"]["reconnect"] is False
    assert bot.is_closed()


def test_no_hello_in_time_closes(world: ProgramWorld) -> None:
    bot = world.open_program()
    bot.fail("ping")
    world.clock.advance(59)
    assert not bot.is_closed()
    world.clock.advance(1)
    assert bot.events() == [{"method": "goodbye", "reason": "No hello in 60 seconds.", "reconnect": False, "after": 0}]
    assert bot.is_closed()
    bot.hang_up()
    assert len(world.connections) == 0


def test_hello_that_takes_long_does_not_time_out(world: ProgramWorld) -> None:
    bot = world.open_program()
    id_ = bot.put("hello", {"protocol": 1, "nick": "bot"})
    world.clock.advance(61)
    world.settle()
    assert bot.response(id_)["result"]["nick"] == "bot"
    assert not bot.is_closed()


def test_rooms_are_joined_by_folded_names_and_once(world: ProgramWorld) -> None:
    bot = world.program("bot", rooms=["Kitchen", "kitchen", "lobby"])
    assert [*bot.welcome["rooms"]] == ["kitchen", "lobby"]
    nobody = world.program("nobody", rooms=[])
    assert nobody.welcome["rooms"] == {}
    assert nobody.call("rooms") == [
        {"room": "kitchen", "members": 1, "last": 0, "topic": None},
        {"room": "lobby", "members": 1, "last": 0, "topic": None},
    ]
    assert nobody.call("quit") == {}


def test_message_of_the_day_and_limits_are_those_of_the_server() -> None:
    limits = Limits(paste_lines=7, lines_per_second=3.5, line_bytes=512)
    world = ProgramWorld(Settings(name="Chat", version="1.2", motd=("hello", "", "world")), limits=limits)
    bot = world.program("bot")
    assert (bot.welcome["server"], bot.welcome["version"], bot.welcome["motd"]) == ("Chat", "1.2", "hello\n\nworld")
    bounds = bot.welcome["limits"]
    assert (bounds["lines_at_once"], bounds["lines_per_second"], bounds["line_bytes"]) == (7, 3.5, 512)


@pytest.mark.parametrize(("asked", "given"), [(0, 0), (5, 5), (1e9, 60), (60.5, 60)])
def test_grace_is_at_most_that_of_the_server(world: ProgramWorld, asked: float, given: float) -> None:
    assert world.program("bot", grace=asked).welcome["grace"] == given


def test_replay_has_the_last_lines_and_says_whether_there_are_older_ones(world: ProgramWorld, ann: Program) -> None:
    for number in range(1, 31):
        ann.call("say", room="lobby", text=f"{number}", uid=f"u{number}")
    for replay, first in ((None, 11), (0, 31), (5, 26), (30, 1), (1000, 1)):
        bot = world.program(f"bot{replay}", **({} if replay is None else {"replay": replay}))
        lobby = bot.welcome["rooms"]["lobby"]
        assert [event["seq"] for event in lobby["events"]] == [*range(first, 31)]
        assert lobby["last"] == 30
        assert lobby["more"] is (first > 1)
        if lobby["events"]:
            event = lobby["events"][-1]
            assert (event["method"], event["text"], event["uid"], event["at"]) == ("said", "30", "u30", NOON)


def test_hello_that_was_not_answered_leaves_no_session(world: ProgramWorld, ann: Program) -> None:
    bot = world.open_program()
    bot.put("hello", {"protocol": 1, "nick": "bot"})
    bot.vanish()
    assert [event["method"] for event in ann.events()] == ["joined", "left"]
    assert len(world.hub.people.members) == 1


def test_hello_as_a_notification_begins_a_session_that_cannot_be_resumed(world: ProgramWorld, ann: Program) -> None:
    bot = world.open_program()
    bot.notify("hello", protocol=1, nick="bot")
    bot.notify("say", room="lobby", text="hi")
    assert bot.texts() == ["hi"]
    bot.vanish()
    assert [event["method"] for event in ann.events()] == ["joined", "said", "left"]


def test_room_that_opens_stays_open_for_the_second_program_if_the_first_one_is_refused(
    world: ProgramWorld, ann: Program
) -> None:
    first, second = world.open_program(), world.open_program()
    for program, nick in ((first, "ann"), (second, "bob")):
        program.put("hello", {"protocol": 1, "nick": nick, "rooms": ["kitchen"]})
    world.settle()
    assert second.call("say", room="kitchen", text="hi")["seq"] == 1
    assert [room["room"] for room in ann.call("rooms")] == ["kitchen", "lobby"]
    assert second.call("leave", room="kitchen") == {}
