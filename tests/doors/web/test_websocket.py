"""The WebSocket of the web door, in memory."""

from __future__ import annotations

from typing import Any

import pytest

from broadcast.doors.web.http import Refusal
from broadcast.doors.web.websocket import turn_away
from tests.doors.web.websockets import WebSockets, upgrade_request

PING = '{"jsonrpc":"2.0","id":%d,"method":"ping"}'
PONG = b'{"jsonrpc":"2.0","id":%d,"result":{}}'

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
    assert refusal.text.startswith(f"This is no handshake of a WebSocket: {why}")
    assert refusal.headers == (((b"Upgrade", b"websocket"),) if status == 426 else ())
    assert len(world.connections) == 0


def test_full_server_closes_with_1013() -> None:
    data = turn_away(upgrade_request(), "This server is full. Try again later.")
    assert isinstance(data, bytes)
    assert data.endswith(b"\r\n\r\n\x88\x27\x03\xf5This server is full. Try again later.")
    assert isinstance(turn_away(upgrade_request(upgrade=None), "full"), Refusal)
