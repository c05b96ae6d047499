"""The WebSocket of the web door, in memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import pytest
from websockets.frames import Close, Opcode

from broadcast.core.errors import Banned, RejectedError, TooManyConnections
from broadcast.core.limits import SERVER_FULL, Limits
from broadcast.delivery.replay_buffer import ReplayBuffer
from broadcast.doors.jsonrpc.encoder import RoomEncoder
from broadcast.doors.jsonrpc.messages import MAX_REQUEST_BYTES
from broadcast.doors.jsonrpc.protocol import MAX_BAD_LINES
from broadcast.doors.web.frames import MAX_MESSAGE_BYTES, MAX_REASON_BYTES, frame_close
from broadcast.doors.web.http import Refusal
from broadcast.doors.web.websocket import refuse_websocket
from tests.doors.web.cases import CASES, Case, fragments, request
from tests.doors.web.websockets import (
    DirectWebSocketWorld,
    WebSocketClient,
    WebSocketProgram,
    WebSockets,
    WebSocketWorld,
    frame,
    text,
    upgrade_request,
)
from tests.harness import Counted, is_read_from

if TYPE_CHECKING:
    from broadcast.doors.web.http import Headers, Reply
    from tests.doors.jsonrpc.programs import Program


def open_programs(world: WebSockets, *nicks: str) -> list[WebSocketProgram]:
    """Return programs that have said hello and read everything."""
    return [cast(WebSocketProgram, program) for program in world.programs(*nicks)]


def answered(client: WebSocketClient) -> list[int]:
    """Return the ids of the requests that have been answered."""
    return [json.loads(payload)["id"] for payload in client.payloads(Opcode.TEXT)]


# The handshake


def test_handshake_of_a_browser_is_accepted_without_compression(world: WebSockets) -> None:
    client = world.websocket()
    client.take_frames()
    status, *fields = client.response.decode().split("\r\n")
    assert status == "HTTP/1.1 101 Switching Protocols"
    headers = dict(field.split(": ", 1) for field in fields)
    assert headers.pop("Date")
    assert headers == {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",  # RFC 6455, section 1.3
        "Sec-WebSocket-Protocol": "broadcast.v1",
    }


def test_nothing_is_sent_before_the_client_speaks(world: WebSockets) -> None:
    assert world.websocket().take_frames() == []


def test_subprotocol_is_one_of_several_or_none(world: WebSockets) -> None:
    several = world.websocket(upgrade_request(sec_websocket_protocol=b"chat, broadcast.v1"))
    several.take_frames()
    assert several.response.endswith(b"\r\nSec-WebSocket-Protocol: broadcast.v1")
    none = world.websocket(upgrade_request(sec_websocket_protocol=None))
    none.take_frames()
    assert b"Sec-WebSocket-Protocol" not in none.response


@pytest.mark.parametrize(
    ("changes", "status", "why"),
    [
        ({"sec_websocket_protocol": b"broadcast.v2"}, 400, "this server speaks broadcast.v1"),
        ({"sec_websocket_version": b"8"}, 400, "invalid Sec-WebSocket-Version header: 8"),
        ({"sec_websocket_version": None}, 400, "missing Sec-WebSocket-Version header"),
        ({"sec_websocket_key": None}, 400, "missing Sec-WebSocket-Key header"),
        ({"sec_websocket_key": b"c2hvcnQ="}, 400, "invalid Sec-WebSocket-Key header: c2hvcnQ="),
        ({"sec_websocket_key": b"a, b"}, 400, "invalid Sec-WebSocket-Key header: a, b"),
        ({"upgrade": None}, 426, "missing Upgrade header"),
        ({"upgrade": b"h2c"}, 426, "invalid Upgrade header: h2c"),
        ({"connection": b"keep-alive"}, 426, "invalid Connection header: keep-alive"),
        ({"connection": b"\xff"}, 400, "invalid Connection header"),
    ],
)
def test_other_handshakes_are_refused(world: WebSockets, changes: dict[str, Any], status: int, why: str) -> None:
    refusal = world.upgrade(upgrade_request(**changes))
    assert isinstance(refusal, Refusal)
    assert refusal.status == status
    assert refusal.text.startswith(f"This is not a valid WebSocket handshake: {why}")
    assert refusal.headers == (((b"Upgrade", b"websocket"),) if status == 426 else ())
    assert len(world.connections) == 0


class FakeReply:
    """A reply that records how it ends."""

    status = 0
    sent = b""

    def respond(self, status: int, _headers: Headers = (), _body: bytes = b"") -> None:
        self.status = status

    def close_with(self, data: bytes) -> None:
        self.sent = data


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (TooManyConnections(SERVER_FULL), b"\x88\x27\x03\xf5This server is full. Try again later."),
        (Banned("you are banned", None), b"\x88\x10\x03\xf0You are banned"),
    ],
)
def test_refused_client_receives_a_close_code(error: RejectedError, end: bytes) -> None:
    reply = FakeReply()
    refuse_websocket(upgrade_request(), cast("Reply", reply), error)
    header, _, data = reply.sent.partition(b"\r\n\r\n")
    assert header.startswith(b"HTTP/1.1 101 ")
    assert data == end
    refuse_websocket(upgrade_request(upgrade=None), cast("Reply", reply), error)
    assert reply.status == 426


# Frames


@pytest.fixture(scope="module")
def server() -> WebSockets:
    """A server for all cases, because each takes only one connection of it."""
    return WebSocketWorld()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case_of_autobahn(server: WebSockets, case: Case) -> None:
    for chop in (len(case.sent), 512, 7, 1):
        client = server.websocket()
        client.send_frames(case.sent, range(chop, min(len(case.sent), 2_000), chop))
        assert answered(client) == case.answers
        assert client.payloads(Opcode.PONG) == [*case.pongs]
        closing = client.closing()
        assert (closing and closing.code) == case.close
        assert client.transport.finished is (case.close is not None)
        if case.close is None:
            client.send_frames(frame(Opcode.CLOSE))
            assert client.closing() == Close(1005, "")
        client.hang_up()
        assert len(server.connections) == 0


def test_answer_to_a_close_frame_has_its_reason(world: WebSockets) -> None:
    client = world.websocket()
    client.send_frames(frame(Opcode.CLOSE, b"\x0f\xa0Bye."))
    assert client.closing() == Close(4000, "Bye.")


@pytest.mark.parametrize("size", [MAX_MESSAGE_BYTES + 1, MAX_MESSAGE_BYTES + 1000])
def test_reason_names_the_limit_of_a_message(world: WebSockets, size: int) -> None:
    client = world.websocket()
    client.send_frames(text(b" " * size))
    assert client.closing() == Close(1009, "A message holds at most 65536 bytes.")


def test_line_that_is_too_long_is_refused_and_the_next_one_is_not(world: WebSockets) -> None:
    client = world.websocket()
    client.send_frames(text(request(1, size=MAX_REQUEST_BYTES + 1) + b"\r\n" + request(2) + b"\r\n"))
    assert answered(client) == [None, 2]
    refused = json.loads(client.payloads(Opcode.TEXT)[0])["error"]
    assert (refused["code"], refused["data"]["limit"]) == (1008, MAX_REQUEST_BYTES)


def test_lines_that_are_no_json_close_with_1008(world: WebSockets) -> None:
    client = world.websocket()
    client.send_frames(text("{\n" * MAX_BAD_LINES))
    *errors, goodbye = map(json.loads, client.payloads(Opcode.TEXT))
    assert [error["error"]["code"] for error in errors] == [-32700] * MAX_BAD_LINES
    assert client.closing() == Close(1008, goodbye["params"]["reason"])


def test_long_reason_is_cut_between_characters() -> None:
    assert frame_close(Close(1008, "é" * 100))[4:] == ("é" * (MAX_REASON_BYTES // 2)).encode()


def test_endless_fragments_take_little_memory(world: WebSockets) -> None:
    client = world.websocket()
    client.put_frames(frame(Opcode.TEXT, fin=False))
    messages = client.protocol._messages
    for _ in range(20):
        client.put_frames(frame(Opcode.CONT, fin=False) * 1000)
        world.settle()
        assert messages.buffered_bytes == 0
        assert len(messages._message) == 0
    for _ in range(MAX_MESSAGE_BYTES // 1000 + 1):
        client.put_frames(frame(Opcode.CONT, b" " * 1000, fin=False))
        world.settle()
        assert len(messages._message) <= MAX_MESSAGE_BYTES
    assert cast(Close, client.closing()).code == 1009


def test_unfinished_message_is_none_at_the_end_of_the_input(world: WebSockets) -> None:
    client = world.websocket()
    client.put_frames(text(request(1)) + frame(Opcode.TEXT, request(2), fin=False))
    client.end_input()
    assert answered(client) == [1]
    assert client.closing() == Close(1000, "")


# Limits


def test_frames_without_a_line_count_toward_the_rate_limit() -> None:
    world = WebSocketWorld(limits=Limits(paste_lines=3, lines_per_second=1))
    for junk, at_once in ((frame(Opcode.PING), 3), (frame(Opcode.PONG), 3), (text(""), 3)):
        client = world.websocket()
        for _ in range(at_once):
            client.put_frames(junk)
        client.send_frames(text(request(1)))
        assert answered(client) == []
        world.clock.advance(1)
        world.settle()
        assert answered(client) == [1]


def test_flood_of_pings_is_read_more_slowly() -> None:
    world = WebSocketWorld(limits=Limits(paste_lines=3, lines_per_second=1))
    client = world.websocket()
    while is_read_from(client):
        client.put_frames(frame(Opcode.PING) * 100)
        world.settle()
        assert client.protocol.buffered_bytes < 32 * 1024
    assert len(client.payloads(Opcode.PONG)) < 3 * 100
    assert not client.protocol.must_answer
    for _ in range(600):
        world.clock.advance(1)
        world.settle()
    assert is_read_from(client)
    assert client.protocol.must_answer


def test_client_that_reads_no_pongs_is_not_read_from() -> None:
    world = WebSocketWorld()
    client = world.websocket()
    client.stop_reading()
    for _ in range(1000):
        if is_read_from(client):
            client.put_frames(frame(Opcode.PING, b"x" * 125) * 100)
            world.settle()
    assert not is_read_from(client)
    client.read_on()
    world.settle()
    assert is_read_from(client)
    assert set(client.payloads(Opcode.PONG)) == {b"x" * 125}


def test_tiny_frames_take_several_turns() -> None:
    world = WebSocketWorld()
    client = world.websocket()
    client.put_frames(frame(Opcode.PING) * 60_000 + text(request(1)))
    assert answered(client) == []
    world.settle()
    assert answered(client) == [1]


# Silence


def test_silent_client_is_sent_a_ping(world: WebSockets) -> None:
    client = world.websocket()
    client.protocol.heard_from = False
    client.protocol.send_noop()
    assert client.payloads(Opcode.PING) == [b""]
    assert client.protocol.must_answer
    client.put_frames(frame(Opcode.PONG))
    assert client.protocol.heard_from


def test_client_that_does_not_read_is_sent_no_ping(world: WebSockets) -> None:
    ann, bob = open_programs(world, "ann", "bob")
    ann.client.stop_reading()
    while ann.connection.must_answer:
        bob.say("x" * 1000)
    for _ in range(5):
        ann.connection.send_noop()
    ann.client.read_on()
    world.settle()
    assert ann.client.payloads(Opcode.PING) == []
    assert ann.connection.must_answer


# Delivery


def test_people_and_programs_of_all_doors_are_in_one_room(world: WebSockets) -> None:
    (tom,) = world.join("tom")
    bot = world.line_program("bot")
    (ann,) = open_programs(world, "ann")
    tom.read()
    bot.read()
    ann.say("hi")
    assert tom.lines() == ["ann: hi"]
    said = bot.read()
    assert [message["params"]["text"] for message in said if message["method"] == "said"] == ["hi"]
    assert ann.read() == [message for message in said if message["method"] == "said"]
    tom.say("hello")
    assert ann.texts() == bot.texts() == ["hello"]


def test_event_is_framed_once_for_all(world: WebSockets, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = open_programs(world, "ann", "bob", "cy")
    encode = Counted(RoomEncoder._members)
    monkeypatch.setattr(RoomEncoder, "_members", lambda *arguments: encode(*arguments))  # noqa: PLW0108 - a method
    programs[0].say("one", "two")
    for program in programs:
        assert program.texts() == ["one", "two"]
    assert encode.calls == 2


def test_lines_in_one_response_are_a_message_each(world: WebSockets) -> None:
    ann, bob = open_programs(world, "ann", "bob")
    ann.vanish()
    for number in range(3):
        bob.call("tell", to="ann", text=f"{number}")
    again = world.open_program()
    again.call("hello", protocol=1, resume=ann.resume)
    assert [event["text"] for event in again.events()] == ["0", "1", "2"]


@pytest.mark.parametrize("size", [1, 7, 100, 1000])
@pytest.mark.parametrize("kind", [WebSocketWorld, DirectWebSocketWorld])
def test_slow_reader_receives_whole_frames(kind: type[WebSockets], size: int) -> None:
    world = kind()
    ann, bob = open_programs(world, "ann", "bob")
    bob.client.stop_reading()
    for number in range(20):
        ann.say(f"{number}" * 50)
        bob.client.put_frames(frame(Opcode.PING, b"%d" % number) + text(request(number + 1)))
        bob.client.read_on(size)
        world.settle()
        bob.client.take_frames()
    while bob.connection.peer.lagging:
        bob.client.read_on(size)
        world.settle()
        bob.client.take_frames()
    bob.client.read_on()
    world.settle()
    texts = [json.loads(payload) for payload in bob.client.payloads(Opcode.TEXT)]
    assert [event["params"]["seq"] for event in texts if event.get("method") == "said"] == list(range(1, 21))
    assert [event["id"] for event in texts if "id" in event][1:] == list(range(1, 21))
    assert bob.client.payloads(Opcode.PONG) == [b"%d" % number for number in range(20)]


def test_reader_far_behind_receives_a_gap(world: WebSockets) -> None:
    world = type(world)(replay_buffer=ReplayBuffer(max_bytes=200_000))
    ann, bob = open_programs(world, "ann", "bob")
    bob.client.stop_reading()
    for _ in range(10):
        ann.say(*["x" * 4000] * 20)
    bob.client.read_on()
    world.settle()
    while bob.connection.peer.lagging:
        bob.client.read_on()
        world.settle()
    events = bob.events()
    assert "gap" in [event["method"] for event in events]
    assert events[-1]["seq"] == 200


# Resuming


@pytest.mark.parametrize("to_web", [True, False])
@pytest.mark.parametrize("lost", [True, False])
def test_session_moves_between_the_doors(world: WebSockets, to_web: bool, lost: bool) -> None:
    (eve,) = open_programs(world, "eve")
    ann: Program = world.line_program("ann") if to_web else world.program("ann")
    eve.read()
    ann.read()
    resume = ann.resume
    if lost:
        ann.vanish()
    eve.say("while away")
    again: Program = world.open_program() if to_web else world.open_line_program()
    result = again.call("hello", protocol=1, resume=resume)
    assert result["resumed"]
    assert (result["nick"], result["session"]) == ("ann", ann.welcome["session"])
    assert [event["text"] for event in result["rooms"]["lobby"]["events"]] == ["while away"]
    assert eve.texts() == ["while away"]
    if not lost:
        assert ann.events()[-1] == {
            "method": "goodbye",
            "reason": "resumed elsewhere",
            "reconnect": False,
            "after": 0,
        }
        assert ann.is_closed()
    again.say("back")
    assert eve.texts() == ["back"]


# The end


def test_codes_of_the_close_frame(world: WebSockets) -> None:
    ann, bob, cy, dora = open_programs(world, "ann", "bob", "cy", "dora")
    ann.call("quit")
    assert ann.client.closing() == Close(1000, "")
    again = world.open_program()
    again.call("hello", protocol=1, resume=bob.resume)
    assert bob.client.closing() == Close(1008, "resumed elsewhere")
    dora.connection.session_taken("moved", reconnect=True)
    world.settle()
    assert dora.client.closing() == Close(1001, "moved")
    world.connections.disconnect()
    world.settle()
    assert cy.client.closing() == Close(1001, "The server is going down.")
    assert cy.events()[-1]["method"] == "goodbye"
    for program in (ann, bob, cy, dora, again):
        program.hang_up()
    assert len(world.connections) == 0


def test_client_that_says_no_hello_is_closed_with_1008(world: WebSockets) -> None:
    client = world.websocket()
    world.clock.advance(60)
    world.settle()
    assert client.closing() == Close(1008, "No hello in 60 seconds.")


def test_close_frame_is_a_lost_connection_and_the_session_waits(world: WebSockets) -> None:
    ann, bob = open_programs(world, "ann", "bob")
    id_ = ann.put("say", {"room": "lobby", "text": "last words"})
    ann.client.send_frames(frame(Opcode.CLOSE, b"\x03\xe9"))
    assert "result" in ann.response(id_)
    assert ann.client.closing() == Close(1001, "")
    ann.hang_up()
    assert bob.texts() == ["last words"]
    again = world.open_program()
    assert again.call("hello", protocol=1, resume=ann.resume)["resumed"]
    assert bob.events() == []


def test_client_that_never_closes_is_aborted(world: WebSockets) -> None:
    client = world.websocket()
    client.send_frames(frame(Opcode.TEXT, b"", mask=None))
    assert cast(Close, client.closing()).code == 1002
    assert not client.transport.closed
    client.send_frames(text(request(1)))
    world.clock.advance(10)
    assert client.transport.aborted
    client.vanish()
    assert len(world.connections) == 0


def test_requests_before_a_violation_are_answered_first(world: WebSockets) -> None:
    ann, bob = open_programs(world, "ann", "bob")
    id_ = ann.put("history", {"room": "lobby", "last": 5})
    ann.checker.pending[7] = "ping"
    ann.client.send_frames(text(request(7)) + fragments([b"", b"\xff"]))
    assert "result" in ann.response(id_)
    assert [message["id"] for message in ann.read()] == [7]
    assert ann.client.closing() == Close(1007, "The text is no UTF-8.")
    assert bob.connection.is_open
