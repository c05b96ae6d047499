"""Any bytes, cut anywhere: an HTTP connection answers or closes, and the cuts make no difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from broadcast.doors.web.http import respond_text
from tests.doors.web.browsers import HttpWorld, parse_response, request_bytes
from tests.harness import logged

if TYPE_CHECKING:
    from broadcast.doors.web.http import Reply, Request

PARTS = [
    *(b"GET ", b"PUT ", b"/", b"/a", b" HTTP/1.1", b" HTTP/1.0", b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";"),
    *(b"Host: a", b"Content-Length: 3", b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Expect: 100-continue"),
    *(b"Connection: close", b"Connection: keep-alive", b"Upgrade: websocket", b"abc", b"3", b"0", b"\xff", b"x" * 5000),
]
REQUESTS = [
    request_bytes(target="/get"),
    request_bytes("HEAD", "/head"),
    request_bytes("PUT", "/put", b"abc" * 100),
    request_bytes("PUT", "/chunks", transfer_encoding="chunked") + b"3\r\nabc\r\n1;x=y\r\nd\r\n0\r\n\r\n",
    request_bytes("PUT", "/none", transfer_encoding="chunked") + b"0\r\n\r\n",
    request_bytes(target="/close", connection="close"),
    b"GET /old HTTP/1.0\r\n\r\n",
]


class Echo:
    """A receiver that replies with the length of the body."""

    def __init__(self, request: Request, reply: Reply) -> None:
        self.data = b""
        self._request = request
        self._reply = reply
        request.body.read_into(self)

    def data_received(self, data: bytes) -> None:
        self.data += data

    def finished(self) -> None:
        respond_text(self._reply, 200, f"{self._request.method} {self._request.path} {self.data.decode('latin-1')}")

    def lost(self) -> None:
        self.data = b""


def echo(request: Request, reply: Reply) -> None:
    """Reply with the request."""
    Echo(request, reply)


def answers(data: bytes, cuts: list[int]) -> tuple[bytes, bool]:
    """Send *data*, cut at *cuts*. Return all replies, and whether the connection has ended."""
    world = HttpWorld()
    world.answer = echo
    client = world.client()
    start = 0
    with logged():
        for end in [*sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]:
            if start < end:
                client.put(data[start:end])
                world.settle()
            start = end
    return client.rest(), client.has_ended()


@given(st.lists(st.sampled_from(PARTS), max_size=30).map(b"".join), st.lists(st.integers(1, 300), max_size=5))
def test_any_bytes_are_answered_or_awaited_and_nothing_fails(data: bytes, cuts: list[int]) -> None:
    replies, has_ended = answers(data, cuts)
    assert (replies, has_ended) == answers(data, []), "the cuts make a difference"
    assert b"Internal" not in replies


@given(st.lists(st.sampled_from(REQUESTS), max_size=6), st.lists(st.integers(1, 2000), max_size=10))
def test_requests_are_answered_in_their_order_wherever_they_are_cut(requests: list[bytes], cuts: list[int]) -> None:
    replies, has_ended = answers(b"".join(requests), cuts)
    for request in requests:
        method, target = request.split(b" ")[:2]
        response, replies = parse_response(replies, method.decode())
        assert response.status == 200
        if method != b"HEAD":
            assert response.text.startswith(f"{method.decode()} {target.decode()} ")
        if "connection" in response.headers:
            break
    else:
        assert not has_ended
    assert replies == b""
