"""One connection of HTTP: requests in any pieces, replies in their order, and deadlines; all in memory."""

from __future__ import annotations

from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import pytest
from twisted.internet.address import IPv4Address

from broadcast.core.limits import DEFAULTS
from broadcast.doors.web.connection import HEADER_SECONDS, KEEPALIVE_SECONDS
from broadcast.doors.web.headers import SECURITY_HEADERS
from broadcast.doors.web.http import respond_text
from broadcast.doors.web.origins import TrustedProxies
from broadcast.net.connections import MAX_REJECTED
from tests.doors.web.browsers import (
    DirectHttpWorld,
    HttpClient,
    HttpWorld,
    Receiver,
    answer_path,
    cut,
    leave_unanswered,
    read_into,
    request_bytes,
)
from tests.harness import NOON, ROOM_FOR_OUTPUT, is_read_from

if TYPE_CHECKING:
    pass

STRANGER = IPv4Address("TCP", "203.0.113.7", 50000)
LARGE = b"x" * (4 * ROOM_FOR_OUTPUT)


@pytest.fixture(params=[HttpWorld, DirectHttpWorld])
def world(request: pytest.FixtureRequest) -> HttpWorld:
    """A server, over each kind of writer."""
    world: HttpWorld = request.param()
    return world


@pytest.fixture
def client(world: HttpWorld) -> HttpClient:
    """A client that has sent nothing yet."""
    return world.client()


# Requests


def test_request_is_handled_in_whatever_pieces_it_arrives(world: HttpWorld) -> None:
    for chunks in cut(request_bytes(target="/a%20b?c=d", x_one="1")):
        client = world.client()
        client.send(*chunks)
        assert client.response().text == "/a b\n"
        assert not client.has_ended()
    for request in world.requests:
        assert (request.method, request.path, request.query) == ("GET", "/a b", "c=d")
        assert request.target == "/a%20b?c=d"
        assert request.headers == {b"host": b"localhost:8080", b"x-one": b"1"}
        assert request.source.is_local
        assert not request.is_secure


def test_repeated_headers_are_joined(world: HttpWorld, client: HttpClient) -> None:
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx-a: 2\r\n\r\n")
    assert world.requests[0].headers[b"x-a"] == b"1, 2"


def test_host_of_a_whole_address_takes_precedence(world: HttpWorld, client: HttpClient) -> None:
    client.send(b"GET http://other.example/p?q HTTP/1.1\r\nHost: a\r\n\r\n")
    request = world.requests[0]
    assert (request.path, request.query, request.headers[b"host"]) == ("/p", "q", b"other.example")


def test_every_reply_has_the_headers_that_protect_the_page(client: HttpClient) -> None:
    headers = client.get().headers
    for name, value in SECURITY_HEADERS:
        assert headers[name.decode().lower()] == value.decode()
    assert parsedate_to_datetime(headers["date"]).timestamp() == NOON
    assert "strict-transport-security" not in headers
    assert "server" not in headers


def test_handler_can_replace_a_header(world: HttpWorld, client: HttpClient) -> None:
    world.answer = lambda _request, reply: reply.respond(200, ((b"content-security-policy", b"sandbox"),), b"")
    assert client.get().headers["content-security-policy"] == "sandbox"


def test_head_has_the_length_but_not_the_body(client: HttpClient) -> None:
    response = client.get("/page", "HEAD")
    assert response.headers["content-length"] == "6"
    assert client.rest() == b""
    assert client.get("/page").text == "/page\n"


def test_reply_without_a_body_has_no_length(world: HttpWorld, client: HttpClient) -> None:
    world.answer = lambda _request, reply: reply.respond(304, ((b"ETag", b'"1"'),))
    assert "content-length" not in client.get().headers
    assert not client.has_ended()


def test_pipelined_requests_are_answered_in_their_order(client: HttpClient) -> None:
    client.send(b"".join(request_bytes(target=f"/{number}") for number in range(100)))
    assert [client.response().text for _ in range(100)] == [f"/{number}\n" for number in range(100)]
    assert client.rest() == b""


def test_pipelined_requests_let_other_clients_go_first(world: HttpWorld, client: HttpClient) -> None:
    client.put(request_bytes(target="/first") * 3)
    other = world.client()
    other.put(request_bytes(target="/other"))
    world.settle()
    assert world.paths == ["/first", "/other", "/first", "/first"]


def test_later_request_waits_for_the_reply_to_the_first(world: HttpWorld, client: HttpClient) -> None:
    world.answer = leave_unanswered
    client.send(request_bytes(target="/1") + request_bytes(target="/2"))
    assert world.paths == ["/1"]
    respond_text(world.replies[0], 200, "one")
    world.settle()
    assert world.paths == ["/1", "/2"]
    assert client.response().text == "one\n"


def test_client_that_sends_ahead_is_not_read_from(world: HttpWorld, client: HttpClient) -> None:
    world.answer = leave_unanswered
    client.send(request_bytes(target="/1") + request_bytes(target="/2") * 1000)
    assert not is_read_from(client)
    world.answer = answer_path
    respond_text(world.replies[0], 200, "one")
    world.settle()
    assert is_read_from(client)
    assert len(world.paths) == 1001


def test_client_that_does_not_read_replies_sends_no_further_requests(world: HttpWorld, client: HttpClient) -> None:
    world.answer = lambda _request, reply: reply.respond(200, body=LARGE)
    client.stop_reading()
    client.send(request_bytes() * 1000)
    assert len(world.requests) == 1
    assert not is_read_from(client)
    client.stop_reading(2 * len(LARGE))
    client.read_on(2 * len(LARGE))
    world.settle()
    assert 1 < len(world.requests) < 5


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_connection_closes_if_the_client_asks_for_it(version: str, client: HttpClient) -> None:
    close = "Connection: close\r\n" if version == "1.1" else ""
    client.send(f"GET /a HTTP/{version}\r\nHost: a\r\n{close}\r\n".encode())
    response = client.response()
    assert response.text == "/a\n"
    assert response.headers["connection"] == "close"
    assert client.has_ended()
    client.hang_up()


def test_client_that_ends_its_input_receives_the_reply(world: HttpWorld, client: HttpClient) -> None:
    world.answer = leave_unanswered
    client.send(request_bytes())
    client.end_input()
    respond_text(world.replies[0], 200, "late")
    assert client.response().text == "late\n"
    assert client.has_ended()
    client.protocol.writeConnectionLost()
    assert client.transport.closed


def test_end_of_input_without_a_request_closes(client: HttpClient) -> None:
    client.end_input()
    assert client.has_ended()
    assert client.rest() == b""


def test_end_of_input_within_a_request_is_an_error(world: HttpWorld, client: HttpClient) -> None:
    client.send(request_bytes()[:-2])
    client.end_input()
    assert client.response().status == 400
    assert client.has_ended()
    assert not world.requests


# Deadlines


def test_whole_header_has_one_deadline_however_often_bytes_arrive(world: HttpWorld, client: HttpClient) -> None:
    data = request_bytes(x="y" * 100)
    for second in range(HEADER_SECONDS - 1):
        client.put(data[second : second + 1])
        world.clock.advance(1)
        assert not client.has_ended()
    client.put(data[second + 1 : second + 2])
    world.clock.advance(1)
    assert client.response().status == 408
    assert client.has_ended()


def test_deadline_of_a_later_request_begins_with_its_first_byte(world: HttpWorld, client: HttpClient) -> None:
    client.get()
    world.clock.advance(KEEPALIVE_SECONDS - 1)
    client.put(b"G")
    for _ in range(HEADER_SECONDS - 1):
        world.clock.advance(1)
        assert not client.has_ended()
    world.clock.advance(1)
    assert client.response().status == 408
    assert client.has_ended()


def test_connection_without_another_request_closes_silently(world: HttpWorld, client: HttpClient) -> None:
    client.get()
    world.clock.advance(KEEPALIVE_SECONDS - 1)
    assert not client.has_ended()
    world.clock.advance(1)
    assert client.has_ended()
    assert client.rest() == b""
    client.hang_up()
    assert not world.clock.getDelayedCalls()


def test_client_that_waits_for_a_greeting_reads_what_this_port_is(world: HttpWorld, client: HttpClient) -> None:
    world.http.describe_port = lambda: "This is another port."
    world.clock.advance(HEADER_SECONDS - 1)
    assert not client.has_ended()
    world.clock.advance(1)
    response = client.response()
    assert (response.status, response.body) == (408, b"This is another port.\n")
    assert client.has_ended()


@pytest.mark.parametrize(
    "line", [b"ann\n", b"\n", b"hi there\r\n", b'{"jsonrpc": "2.0"}\n', b"GET\n", b"SSH-2.0-x\r\n"]
)
def test_client_with_lines_of_text_reads_at_once_what_this_port_is(world: HttpWorld, line: bytes) -> None:
    world.http.describe_port = lambda: "This is another port."
    for chunks in cut(line):
        client = world.client()
        client.send(*chunks)
        assert client.rest() == b"This is another port.\r\n"
        assert client.has_ended()
        client.send(b"more\n")
        client.hang_up()
    assert world.requests == []
    assert not world.clock.getDelayedCalls()


def test_only_the_first_line_tells_that_a_client_speaks_no_http(client: HttpClient) -> None:
    client.get()
    client.send(b"hi there\n\n")
    assert client.response().status == 400


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", b"GET /\r\n\r\n", b"G\xc3\x89T / HTTP/1.1\r\n\r\n"]
)
def test_other_first_lines_are_errors_of_http(client: HttpClient, data: bytes) -> None:
    client.send(data)
    assert client.response().status == 400


def test_connection_without_a_request_leaves_no_timer(world: HttpWorld, client: HttpClient) -> None:
    world.clock.advance(HEADER_SECONDS)
    client.hang_up()
    assert not world.clock.getDelayedCalls()


def test_client_that_does_not_close_is_disconnected(world: HttpWorld, client: HttpClient) -> None:
    world.clock.advance(HEADER_SECONDS)
    world.clock.advance(DEFAULTS.linger_seconds)
    assert client.transport.aborted


def test_handler_has_as_much_time_as_it_takes(world: HttpWorld, client: HttpClient) -> None:
    world.answer = leave_unanswered
    client.send(request_bytes())
    world.clock.advance(3600)
    assert not client.has_ended()
    respond_text(world.replies[0], 200, "late")
    assert client.response().text == "late\n"


# Limits


def test_connection_above_a_limit_receives_the_reason(world: HttpWorld) -> None:
    world.connections.limiter.limits = replace(DEFAULTS, connections=1)
    client, other = world.client(), world.client()
    response = other.get("/a")
    assert (response.status, response.text) == (503, "/a This server is full. Try again later.\n")
    assert other.has_ended()
    other.hang_up()
    assert len(world.connections) == 1
    assert client.get().status == 200
    client.vanish()
    assert world.client().get().status == 200


def test_connections_above_a_limit_cannot_be_many(world: HttpWorld) -> None:
    world.connections.limiter.limits = replace(DEFAULTS, connections=0)
    clients = [world.client() for _ in range(MAX_REJECTED + 1)]
    assert [client.transport.aborted for client in clients] == [False] * MAX_REJECTED + [True]


def test_connections_count_from_their_first_byte_to_their_end(world: HttpWorld, client: HttpClient) -> None:
    assert len(world.connections) == world.connections.limiter.total == 1
    client.get()
    client.vanish()
    assert len(world.connections) == world.connections.limiter.total == 0


def test_connections_of_a_trusted_proxy_count_toward_the_total_only() -> None:
    limits = replace(DEFAULTS, address_connections=1)
    proxies = TrustedProxies(["203.0.113.7"])
    world = HttpWorld(limits, proxies)
    clients = [world.client(STRANGER) for _ in range(3)]
    for client in clients:
        response = client.get(x_forwarded_for="198.51.100.1", x_forwarded_proto="https")
        assert response.status == 200
    assert world.requests[0].source.address == "198.51.100.1"
    assert world.requests[0].is_secure
    assert world.connections.limiter.total == 3


# Shutdown


def test_next_request_is_refused_while_the_server_goes_down(world: HttpWorld, client: HttpClient) -> None:
    client.get()
    world.connections.drain()
    assert client.get().status == 503
    assert client.has_ended()
    assert len(world.requests) == 1


def test_connections_without_a_request_close_when_the_server_goes_down(world: HttpWorld, client: HttpClient) -> None:
    closed = world.connections.disconnect()
    assert client.has_ended()
    client.hang_up()
    assert closed.called


def test_reply_is_completed_before_the_server_goes_down(world: HttpWorld, client: HttpClient) -> None:
    world.answer = leave_unanswered
    client.send(request_bytes())
    world.connections.drain()
    world.connections.disconnect()
    assert not client.has_ended()
    respond_text(world.replies[0], 200, "the last")
    response = client.response()
    assert response.text == "the last\n"
    assert response.headers["connection"] == "close"
    assert client.has_ended()


def test_upload_is_cut_when_the_server_goes_down(world: HttpWorld, client: HttpClient) -> None:
    receiver = Receiver()
    world.answer = read_into(receiver)
    client.send(request_bytes("PUT", content_length="100"), b"x" * 10)
    world.connections.disconnect()
    assert receiver.is_lost
    assert client.response().status == 503
    assert client.has_ended()
