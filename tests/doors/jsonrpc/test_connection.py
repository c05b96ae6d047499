"""Connections of programs: flow control, bad input, keepalive, and the end."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from broadcast.core.limits import DEFAULTS, Limits
from broadcast.delivery.replay_buffer import ReplayBuffer
from broadcast.doors.jsonrpc.catalogue import METHODS
from broadcast.doors.jsonrpc.messages import MAX_REQUEST_BYTES
from tests.doors.jsonrpc.programs import DirectProgramWorld, Program, ProgramWorld
from tests.harness import is_read_from

SAY = '{"jsonrpc":"2.0","id":%d,"method":"say","params":{"room":"lobby","text":"%d"}}'

NOTIFICATION = '{"jsonrpc":"2.0","method":"say","params":{"room":"lobby","text":"%d"}}'


def reads(program: Program) -> bool:
    """Return whether the server reads from *program*."""
    return is_read_from(program.person)


def codes(program: Program) -> list[int]:
    """Return the codes of the errors without an id, since the last call."""
    return [message["error"]["code"] for message in program.read() if "error" in message]


def encode_request(method: str, params: dict[str, object], id_: int) -> bytes:
    """Return a request."""
    return json.dumps({"jsonrpc": "2.0", "id": id_, "method": method, "params": params}).encode()


# Bad lines


def test_five_bad_lines_in_a_row_close(world: ProgramWorld, ann: Program) -> None:
    for _ in range(2):
        ann.put_lines("{", "hello", "x" * (MAX_REQUEST_BYTES + 1), b"\xff")
        ann.put_lines('{"jsonrpc":"2.0","method":"ping"}')
        world.settle()
        assert codes(ann) == [-32700, -32700, 1008, -32700]
    ann.put_lines("{", "{", "", "{", '{"jsonrpc":"2.0","id":null,"method":"ping"}', "[]")
    world.settle()
    assert codes(ann) == [-32700] * 3 + [-32600] * 2
    ann.put_lines("{", "{")
    world.settle()
    *errors, goodbye = ann.read()
    assert len(errors) == 2
    assert (goodbye["method"], goodbye["params"]["reconnect"]) == ("goodbye", False)
    assert ann.is_closed()


def test_line_of_the_maximum_is_a_request_and_a_longer_one_is_not(ann: Program) -> None:
    line = SAY % (7, 7)
    ann.checker.pending[7] = "say"
    ann.put_lines(line[:-1] + " " * (MAX_REQUEST_BYTES - len(line)) + "}")
    ann.put_lines(line[:-1] + " " * (MAX_REQUEST_BYTES - len(line) + 1) + "}")
    ann.put_lines("[" * MAX_REQUEST_BYTES)
    ann.world.settle()
    error = [message for message in ann.read() if "error" in message]
    assert [message["error"]["code"] for message in error] == [1008, -32700]
    assert error[0]["error"]["data"]["limit"] == MAX_REQUEST_BYTES


def test_first_line_can_be_as_long_as_any_other(world: ProgramWorld) -> None:
    bot = world.open_program()
    bot.checker.pending[1] = "hello"
    hello = {"jsonrpc": "2.0", "id": 1, "method": "hello", "params": {"protocol": 1, "nick": "bot"}}
    line = json.dumps(hello)
    line = line[:-1] + " " * (MAX_REQUEST_BYTES - len(line)) + "}\r\n"
    for byte in line.encode():
        bot.person.put(bytes([byte]))
    world.settle()
    assert bot.response(1)["result"]["nick"] == "bot"


def test_endless_line_takes_no_more_memory_than_its_maximum(ann: Program) -> None:
    for _ in range(100):
        ann.person.put(b"x" * 65536)
        assert ann.connection.buffered_bytes <= MAX_REQUEST_BYTES + 1
    ann.put_lines("", '{"jsonrpc":"2.0","id":null}')
    assert codes(ann) == [1008, -32600]


@pytest.mark.parametrize("junk", [b"{}", b"{\n", b"{" * 600, b"{" + b"\n" * 65536, b"{\0\xff\xfd\x01", b'{"a":"\x7f'])
def test_junk_that_begins_like_json_has_an_error(world: ProgramWorld, junk: bytes) -> None:
    bot = world.open_program()
    bot.person.put(junk)
    bot.person.put(b"\n")
    world.settle()
    assert codes(bot)[0] in {-32700, -32600}


def test_only_the_very_first_byte_counts(world: ProgramWorld) -> None:
    for first in ("\r\n{", "bot\r\n{", " {", "\xff\xf1{"):
        person = world.connect()
        person.say(first + '"jsonrpc":"2.0","id":1,"method":"ping"}')
        assert "jsonrpc" not in person.read()
        assert person.protocol._successor is None
        person.vanish()
        world.settle()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    st.lists(
        st.binary(max_size=40)
        | st.builds(
            lambda method, params, id_: json.dumps(
                {"jsonrpc": "2.0", "id": id_, "method": method, "params": params}
            ).encode(),
            st.sampled_from([*METHODS]),
            st.dictionaries(
                st.sampled_from(
                    ["room", "text", "uid", "nick", "to", "line", "words", "last", "reason", "after", "count"]
                ),
                st.sampled_from(["lobby", "kitchen", "x", "/names", None, 1, 5, -1, "bob", ""]),
            ),
            st.integers(0, 10**6),
        ),
        max_size=30,
    ),
    st.lists(st.integers(0, 2000)),
)
def test_any_input_is_answered_and_nothing_fails(lines: list[bytes], cuts: list[int]) -> None:
    world = ProgramWorld()
    ann, bob = world.programs("ann", "bob")
    for line in lines:
        with_id = line.startswith(b'{"jsonrpc"')
        if with_id:
            message = json.loads(line)
            if message["id"] in ann.checker.pending:
                continue
            ann.checker.note_request(message)
        ann.person.send(line + b"\n", cuts)
    world.settle()
    for message in ann.read():
        assert "error" not in message or message["error"]["code"] != -32603
    bob.read()
    ann.vanish()
    world.clock.advance(100)
    world.settle()
    assert len(world.hub.people.members) == 1


# Rate limit and back-pressure


def test_requests_above_the_rate_wait_and_none_is_lost() -> None:
    world = ProgramWorld(limits=Limits(paste_lines=5, lines_per_second=2))
    bot = world.program("bot")
    for number in range(20):
        bot.put("say", {"room": "lobby", "text": f"{number}"}, notify=True)
    world.settle()
    assert bot.texts() == ["0", "1", "2", "3"]
    for number in range(4, 20):
        world.clock.advance(0.5)
        world.settle()
        assert bot.texts() == [f"{number}"]


def test_program_that_does_not_read_is_not_read_from(world: ProgramWorld, ann: Program) -> None:
    for _ in range(20):
        ann.call("say", room="lobby", text="x" * 4000)
    ann.read()
    ann.transport.takes = False
    sent = 0
    while reads(ann):
        ann.put("history", {"room": "lobby", "last": 20})
        world.settle()
        sent += 1
        assert sent < 10
    waiting = ann.put("ping")
    ann.transport.take_again()
    world.settle()
    assert reads(ann)
    ann._receive()
    assert ann.response(waiting) == {"result": {}}


def test_program_that_does_not_read_misses_lines_and_is_told_which(world: ProgramWorld) -> None:
    world = type(world)(replay_buffer=ReplayBuffer(max_bytes=200_000))
    ann, bob = world.programs("ann", "bob")
    ann.transport.takes = False
    for number in range(1, 201):
        bob.put("say", {"room": "lobby", "text": f"{number} " + "x" * 4000}, notify=True)
        world.settle()
    ann.transport.take_again()
    world.settle()
    events = ann.events()
    (gap,) = [event for event in events if event["method"] == "gap"]
    seen = [event["seq"] for event in events if event["method"] == "said"]
    assert seen == [*range(1, gap["first"]), *range(gap["last"] + 1, 201)]
    assert gap["room"] == "lobby"


def test_program_that_misses_only_notices_without_a_number_is_sent_an_empty_crowd() -> None:
    world = DirectProgramWorld(replay_buffer=ReplayBuffer(max_events=2))
    ann, bob = world.programs("ann", "bob")
    ann.read()
    ann.transport.takes = False
    for number in range(1, 8):
        bob.call("nick", nick=f"bob{number}")
    ann.transport.take_again()
    world.settle()
    events = ann.events()
    assert {"method": "crowd", "room": "lobby", "joined": 0, "left": 0} in events
    assert len(events) < 8
    members = ann.call("members", room="lobby")["members"]
    assert [member["nick"] for member in members] == ["ann", "bob7"]


def test_others_have_their_turn_while_one_sends_hundreds_of_requests(ann: Program, bob: Program) -> None:
    ann.put_lines(*(NOTIFICATION % number for number in range(700)))
    assert not reads(ann)
    bob.put("say", {"room": "lobby", "text": "hi"}, notify=True)
    bob.world.settle()
    texts = bob.texts()
    assert texts.index("hi") < 700
    assert len(texts) == 701
    assert reads(ann)


def test_author_waits_while_too_much_is_not_stored() -> None:
    world = ProgramWorld(limits=replace(DEFAULTS.without_client_limits(), high_water_events=20))
    ann, bob = world.programs("ann", "bob")
    ann.put_lines(*(NOTIFICATION % number for number in range(100)))
    assert not reads(ann)
    assert ann.connection.buffered_bytes > 5000
    world.settle()
    assert reads(ann)
    assert bob.texts() == [*map(str, range(100))]


# Keepalive


def test_ping_is_sent_after_a_minute_without_output(world: ProgramWorld, ann: Program, bob: Program) -> None:
    world.clock.advance(59)
    assert ann.events() == bob.events() == []
    world.clock.advance(1)
    assert ann.events() == bob.events() == [{"method": "ping"}]
    world.clock.advance(50)
    bob.notify("say", room="lobby", text="hi")
    ann.read()
    bob.read()
    for _ in range(59):
        world.clock.advance(1)
        assert ann.events() == bob.events() == []
    world.clock.advance(1)
    assert ann.events() == bob.events() == [{"method": "ping"}]
    bob.call("tell", to="ann", text="psst")
    world.clock.advance(59)
    assert [event["method"] for event in ann.events()] == ["told"]
    ann.connection.send_noop()
    assert ann.events() == []


def test_history_of_others_is_no_output(world: ProgramWorld, ann: Program, bob: Program) -> None:
    for _ in range(5):
        bob.call("history", room="lobby", last=1)
        world.clock.advance(15)
    assert {"method": "ping"} in ann.events()


def test_program_that_does_not_read_gets_no_pings(world: ProgramWorld, ann: Program) -> None:
    ann.transport.takes = False
    while not ann.connection.peer.congested:
        ann.put("command", {"room": "lobby", "line": "/help"})
        world.settle()
    ann.checker.pending.clear()
    before = len(ann.transport.held)
    for _ in range(1000):
        world.clock.advance(15)
    assert len(ann.transport.held) == before


# The end


def test_end_of_input_is_after_everything_was_answered(world: ProgramWorld, ann: Program, bob: Program) -> None:
    id_ = bob.put("say", {"room": "lobby", "text": "hi"})
    bob.put("history", {"room": "lobby", "last": 5})
    bob.person.put('{"jsonrpc":"2.0","method":"say","params":{"room":"lobby","text":"unfinished"}}')
    bob.person.end_input()
    assert bob.response(id_)["result"]["seq"] == 1
    assert [message["id"] for message in bob.read() if "id" in message] == [id_ + 1]
    assert ann.texts() == ["hi", "unfinished"]
    assert len(world.connections) == 1
    world.clock.advance(60)
    world.settle()
    assert ("left", "connection lost") in [(event["method"], event.get("reason")) for event in ann.events()]


def test_end_of_input_without_grace_is_a_leave(world: ProgramWorld, ann: Program) -> None:
    bot = world.program("bot", grace=0)
    bot.person.end_input()
    assert [event.get("reason", "") for event in ann.events()] == ["", None]


def test_requests_before_the_loss_are_handled_at_the_same_rate() -> None:
    world = ProgramWorld(limits=Limits(paste_lines=3, lines_per_second=1))
    ann, bob = world.programs("ann", "bob")
    for number in range(6):
        bob.put("say", {"room": "lobby", "text": f"{number}"}, notify=True)
    bob.vanish()
    for _ in range(6):
        world.clock.advance(1)
        world.settle()
    assert ann.texts() == [*map(str, range(6))]
    assert len(world.connections) == 1
    world.clock.advance(60)
    world.settle()
    assert len(world.hub.people.members) == 1


def test_backlog_is_discarded_when_the_session_moves() -> None:
    world = ProgramWorld(limits=Limits(paste_lines=3, lines_per_second=1))
    ann, bob = world.programs("ann", "bob")
    for number in range(6):
        bob.put("say", {"room": "lobby", "text": f"{number}"}, notify=True)
    bob.vanish()
    back = world.open_program()
    back.call("hello", protocol=1, resume=bob.resume)
    world.clock.advance(30)
    world.settle()
    assert ann.texts() == ["0", "1"]
    assert not world.connections._backlog


def test_backlog_is_discarded_in_time() -> None:
    world = ProgramWorld(limits=Limits(paste_lines=1, lines_per_second=0.02))
    world.clock.advance(100)
    bob = world.program("bob")
    for number in range(6):
        bob.put("say", {"room": "lobby", "text": f"{number}"}, notify=True)
    bob.vanish()
    for _ in range(151):
        world.clock.advance(1)
        world.settle()
    assert not world.connections._backlog
    for _ in range(61):
        world.clock.advance(1)
        world.settle()
    assert not world.hub.people.members


def test_input_after_the_end_is_ignored(world: ProgramWorld, ann: Program, bob: Program) -> None:
    bob.call("quit")
    bob.put("say", {"room": "lobby", "text": "hi"})
    bob.hang_up()
    assert ann.texts() == []


def test_quit_without_rooms_closes(world: ProgramWorld) -> None:
    bot = world.program("bot", rooms=[])
    assert bot.call("quit") == {}
    assert bot.is_closed()
    bot.hang_up()
    assert not world.hub.people.members
    assert len(world.connections) == 0


def test_requests_after_quit_are_not_handled(world: ProgramWorld, ann: Program, bob: Program) -> None:
    bob.put("quit", {})
    bob.put("say", {"room": "lobby", "text": "hi"})
    world.settle()
    assert ann.texts() == []
    assert bob.is_closed()


# Shutdown


def test_server_handles_what_it_has_read_then_says_goodbye(world: ProgramWorld, ann: Program, bob: Program) -> None:
    ids = [bob.put("say", {"room": "lobby", "text": f"{number}"}) for number in range(300)]
    drained = cast("Deferred[object]", world.connections.drain())
    world.settle()
    assert drained.called
    stranger = world.open_program()
    assert stranger.fail("hello", protocol=1, nick="eve") == (1011, "going-down")
    world.hub.close(lambda: None)
    world.settle()
    world.connections.disconnect()
    world.settle()
    for program in (ann, bob):
        messages = program.read()
        assert [message["id"] for message in messages if "id" in message] == (ids if program is bob else [])
        *_, announced, goodbye = [message for message in messages if "method" in message]
        assert announced["params"] == {"room": "lobby", "text": "The server is going down."}
        assert goodbye["method"] == "goodbye"
        assert goodbye["params"]["reason"] == "The server is going down."
        assert goodbye["params"]["reconnect"] is True
        assert 1 <= goodbye["params"]["after"] < 2
        assert program.is_closed()
        program.hang_up()
    assert stranger.events()[-1]["method"] == "goodbye"


def test_goodbye_is_sent_once_if_the_journal_is_stuck(world: ProgramWorld, ann: Program) -> None:
    connection = ann.connection
    connection.send_shutdown_notice()
    connection.close()
    connection.close()
    assert [event["method"] for event in ann.events()] == ["goodbye"]
    ann.hang_up()


def test_fault_of_a_method_is_logged_and_answered(ann: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ann.world.hub, "rename", lambda *_: 1 / 0)
    error = ann.request("nick", nick="x")["error"]
    assert error["code"] == -32603
    assert ann.call("ping") == {}
