"""Operators, mutes and bans on the JSON-RPC door."""

from __future__ import annotations

import pytest
from twisted.logger import formatEvent

from broadcast.core.settings import Settings
from tests.doors.jsonrpc.programs import Program, ProgramWorld
from tests.harness import NOON, logged
from tests.operators import address, audit, give_account, member_of

FAR = "203.0.113.7"
HOUR = 3600


def far_program(world: ProgramWorld, nick: str, host: str = FAR, **params: object) -> Program:
    """Return a program at *host* that has said hello and read everything."""
    program = world.open_program(address(host))
    program.hello(nick, **params)
    program.read()
    return program


@pytest.fixture
def ann(world: ProgramWorld) -> Program:
    """An operator on the machine of the server."""
    ann = world.program("ann")
    give_account(world, "ann", "operator")
    return ann


@pytest.fixture
def bob(world: ProgramWorld, ann: Program) -> Program:
    """A program without an account, from far away."""
    bob = far_program(world, "bob")
    ann.read()
    return bob


def command(program: Program, line: str) -> list[str]:
    lines: list[str] = program.call("command", room="lobby", line=line)["lines"]
    return lines


def fail(program: Program, line: str) -> tuple[int, str | None]:
    return program.fail("command", room="lobby", line=line)


def error_data(program: Program, method: str, **params: object) -> object:
    error = program.request(method, **params)["error"]
    return error["code"], error["data"]


def test_operators_run_their_commands_with_command(world: ProgramWorld, ann: Program, bob: Program) -> None:
    carol = world.program("carol")
    ann.read()
    assert command(ann, "/mute bob 1h") == ["bob is muted until 2026-01-15 13:00 UTC."]
    assert command(ann, "/unmute bob") == ["bob is not muted any more."]
    assert command(ann, "/slow 5s") == ["slow mode is on: each person can say one line in 5 s."]
    assert command(ann, "/slow off") == ["slow mode is off."]
    assert command(ann, "/announce tea") == ["announced in all rooms."]
    carol.read()
    assert command(ann, "/kick bob spam") == ["bob is kicked."]
    assert carol.events() == [
        {
            "method": "left",
            "room": "lobby",
            "nick": "bob",
            "session": bob.welcome["session"],
            "reason": "kicked by ann: spam",
            "by": "ann",
        }
    ]
    assert bob.is_closed()
    assert len(command(ann, "/audit")) == 6
    assert [entry[1] for entry in audit(world)] == ["mute", "unmute", "slow", "slow", "announce", "kick"]


def test_program_reads_its_new_role(world: ProgramWorld, ann: Program, bob: Program) -> None:
    give_account(world, "bob")
    command(ann, "/op bob")
    notice = {"method": "announced", "room": None, "text": "You are an operator now. /help lists your commands."}
    assert [event for event in bob.events() if event["room"] is None] == [notice]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/unmute bob", "bob is not muted."),
        ("/unban dave", "dave is not banned. /bans lists the bans."),
        ("/op dave", "dave is not registered."),
        ("/deop zoe", "zoe is no operator."),
        ("/kick dave", "dave is not here."),
        ("/ban fd00::/8", "fd00::/8 is too wide: the prefix has at least 32 bits."),
        ("/ban fd00::/x", "fd00::/x is no network. Write it as in 192.0.2.0/24 or 2001:db8::/64."),
        ("/ban ann", "You cannot do that to yourself."),
    ],
)
def test_error_that_begins_with_a_name_gets_no_capital_letter(
    world: ProgramWorld, ann: Program, bob: Program, line: str, message: str
) -> None:
    world.program("zoe")
    give_account(world, "zoe")
    assert ann.request("command", room="lobby", line=line)["error"]["message"] == message


def test_kick_voids_the_token(world: ProgramWorld, ann: Program, bob: Program) -> None:
    bob.vanish()  # within its grace, the session is here
    command(ann, "/kick bob")
    again = world.open_program(address(FAR))
    assert not again.hello("bob", resume=bob.resume)["resumed"]


def test_kick_closes_the_connection_for_good(ann: Program, bob: Program) -> None:
    command(ann, "/kick bob spam")
    goodbye = {"method": "goodbye", "reason": "You were kicked by ann: spam", "reconnect": False, "after": 0.0}
    assert bob.events()[-1] == goodbye
    assert bob.is_closed()


def test_nobody_can_look_kicked_in_the_log(world: ProgramWorld, ann: Program, bob: Program) -> None:
    carol = world.program("carol")
    with logged() as events:
        carol.call("quit", reason="kicked by ann: spam")
        command(ann, "/kick bob spam")
    imitated, kicked = (event for event in events if "came_as" in event)
    assert formatEvent(imitated).startswith("carol left: kicked by ann: spam (")
    assert "by" not in imitated
    assert formatEvent(kicked).startswith("bob left (kicked by ann: spam) (")
    assert kicked["by"] == "ann"


def test_others_are_not_permitted(ann: Program, bob: Program) -> None:
    for line in ("/kick ann", "/bans", "/help kick"):
        assert fail(bob, line) == (1024, "not-permitted")
    assert not any(line.startswith("/kick") for line in command(bob, "/help"))
    assert any(line.startswith("/kick") for line in command(ann, "/help"))
    assert fail(ann, "/kick") == (-32602, None)
    assert fail(ann, "/kick zoe") == (1006, "not-here")


def test_muted_programs_send_no_text(world: ProgramWorld, ann: Program, bob: Program) -> None:
    command(ann, "/mute bob 1h")
    bob.read()
    ann.read()
    muted = 1025, {"reason": "muted", "until": NOON + HOUR}
    assert error_data(bob, "say", room="lobby", text="hi") == muted
    assert error_data(bob, "say", room="lobby", text="hi", uid="u1") == muted
    assert error_data(bob, "emote", room="lobby", text="waves") == muted
    assert error_data(bob, "tell", to="ann", text="psst") == muted
    assert error_data(bob, "topic", room="lobby", text="spam") == muted
    assert error_data(bob, "topic", room="lobby", text=None) == muted
    assert error_data(bob, "nick", nick="spam") == muted
    assert error_data(bob, "away", reason="spam") == muted
    assert error_data(bob, "join", room="spam") == muted
    bob.notify("say", room="lobby", text="hi", uid="u2")
    assert bob.refusals() == [{"uid": "u2", "method": "say", "code": 1025}]
    assert ann.read() == []
    bob.call("away", reason="")
    bob.call("away", reason=None)
    assert [event["method"] for event in ann.events()] == ["away", "away"]
    bob.call("leave", room="lobby", reason="a last word")
    assert ann.events()[0]["reason"] is None
    bob.call("join", room="lobby")
    bob.call("quit", reason="a last word")
    assert [event.get("reason") for event in ann.events()] == [None, None]


def test_muted_for_ever_has_no_end(ann: Program, bob: Program) -> None:
    command(ann, "/mute bob")
    assert error_data(bob, "say", room="lobby", text="hi") == (1025, {"reason": "muted", "until": None})


def test_line_that_was_stored_before_is_answered_to_muted_programs(
    world: ProgramWorld, ann: Program, bob: Program
) -> None:
    stored = bob.call("say", room="lobby", text="hi", uid="u1")
    command(ann, "/mute bob")
    assert bob.call("say", room="lobby", text="hi", uid="u1") == stored
    told = bob.request("tell", to="ann", text="hi", uid="t1")
    assert told["error"]["code"] == 1025
    command(ann, "/unmute bob")
    assert bob.call("tell", to="ann", text="hi", uid="t1") == {}
    command(ann, "/mute bob")
    assert bob.call("tell", to="ann", text="hi", uid="t1") == {}
    assert world.room.last_seq == 1


def test_slow_mode_refuses_lines_but_answers_repetitions(world: ProgramWorld, ann: Program, bob: Program) -> None:
    command(ann, "/slow 5s")
    bob.read()
    ann.read()
    stored = bob.call("say", room="lobby", text="one", uid="u1")
    assert error_data(bob, "emote", room="lobby", text="two") == (1025, {"reason": "muted", "until": NOON + 5})
    assert bob.call("say", room="lobby", text="one", uid="u1") == stored
    world.clock.advance(5)
    bob.say("two")
    ann.say("a", "b")
    assert ann.texts() == ["one", "two", "a", "b"]


def test_banned_address_reads_why_and_cannot_resume(world: ProgramWorld, ann: Program, bob: Program) -> None:
    waiting = world.open_program(address(FAR))
    assert "reaches 1 person (bob) here" in command(ann, f"/ban {FAR}/32 1h spam")[0]
    assert command(ann, f"/ban {FAR}/32 1h spam") == [f"the address {FAR}/32 is banned until 2026-01-15 13:00 UTC."]
    assert bob.is_closed()
    banned = 1026, {"reason": "banned", "until": NOON + HOUR}
    assert error_data(waiting, "hello", protocol=1, nick="bob") == banned
    elsewhere = far_program(world, "carol", "198.51.100.1")
    assert error_data(waiting, "hello", protocol=1, resume=elsewhere.resume) == banned
    refused = world.connect(address(FAR))
    assert refused.lines() == [" * You are banned until 2026-01-15 13:00 UTC: spam"]


def test_banned_nickname_is_refused(world: ProgramWorld, ann: Program) -> None:
    command(ann, "/ban zoe")
    banned = 1026, {"reason": "banned", "until": None}
    assert error_data(world.open_program(), "hello", protocol=1, nick="zoe") == banned
    carol = world.program("carol")
    assert error_data(carol, "nick", nick="Zoe") == banned


def test_topics_may_be_for_operators_only() -> None:
    world = ProgramWorld(Settings(topics="operators"))
    ann, bob = world.programs("ann", "bob")
    give_account(world, "ann", "operator")
    assert bob.fail("topic", room="lobby", text="mine") == (1024, "not-permitted")
    ann.call("topic", room="lobby", text="soup")
    assert audit(world) == [("ann", "topic", "lobby", "soup")]
    assert member_of(world, "ann").receives_own


def test_permission_follows_the_connection_that_resumes(world: ProgramWorld, ann: Program) -> None:
    ann.vanish()
    far = world.open_program(address(FAR))
    far.hello("ann", resume=ann.resume)
    assert fail(far, "/bans") == (1024, "not-permitted")


@pytest.mark.parametrize("line", ["/kick bob", "/op carol", "/audit", "/bans", "/kick ann2"])
def test_operator_whose_connection_is_gone_before_the_reply_has_acted(
    world: ProgramWorld, ann: Program, bob: Program, line: str
) -> None:
    world.program("carol")
    give_account(world, "carol")
    ann.put("command", {"room": "lobby", "line": line})
    with logged():
        ann.vanish()
        world.settle()
    assert bob.is_closed() is (line == "/kick bob")
    assert member_of(world, "ann").account is not None  # within its grace


def test_program_is_kicked_while_it_says_hello_or_joins(world: ProgramWorld, ann: Program) -> None:
    for method, params in (
        ("hello", {"protocol": 1, "nick": "dave"}),
        ("join", {"room": "kitchen"}),
        ("history", {"room": "lobby", "last": 5}),
        ("say", {"room": "lobby", "text": "hi", "uid": "u1"}),
        ("quit", {}),
    ):
        program = world.open_program()
        if method != "hello":
            program.hello("dave")
        program.put(method, params)
        ann.put("command", {"room": "lobby", "line": "/kick dave"})
        with logged():
            world.settle()
        assert program.is_closed(), method
        assert world.hub.people.owner_of("dave") is None
        assert world.hub.rooms.keys() == {"lobby"}
        assert command(ann, "/ping") == ["pong"]


def test_a_command_that_is_refused_after_a_wait_has_the_error_of_one_that_is_refused_at_once(
    world: ProgramWorld, ann: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = ann.request("command", room="lobby", line="/kick zoe")["error"]
    others = world.hub.other_nodes
    monkeypatch.setattr(others, "is_certain", lambda _name: False)
    monkeypatch.setattr(others, "look_up", lambda _names, on_done: world._soon.append(on_done))
    assert ann.request("command", room="lobby", line="/kick zoe")["error"] == at_once
    assert at_once == {"code": 1006, "message": "zoe is not here.", "data": {"reason": "not-here"}}
