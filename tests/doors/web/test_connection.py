"""One connection of HTTP: requests in any pieces, replies in their order, and deadlines; all in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from email.utils import parsedate_to_datetime
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import pytest
from twisted.internet.address import IPv4Address
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from broadcast.core.limits import DEFAULTS
from broadcast.doors.web.connection import EVENTS_PER_TURN, HEADER_SECONDS, KEEPALIVE_SECONDS, STALL_SECONDS
from broadcast.doors.web.exchange import BODY_BYTES, BODY_SECONDS
from broadcast.doors.web.headers import SECURITY_HEADERS
from broadcast.doors.web.http import respond_text
from broadcast.doors.web.origins import TrustedProxies
from broadcast.doors.web.parser import MAX_HEADER_LINES
from broadcast.doors.web.requests import HEADER_BYTES
from broadcast.net.connections import MAX_REJECTED
from tests.doors.web.browsers import DirectHttpWorld, HttpClient, HttpWorld, answer_path, cut, request_bytes
from tests.harness import NOON, ROOM_FOR_OUTPUT, is_read_from

if TYPE_CHECKING:
    from twisted.logger import ILogObserver, LogEvent

    from broadcast.doors.web.http import Reply, Request

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


class Receiver:
    """A receiver of a body that records what happens."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.is_finished = self.is_lost = False

    def data_received(self, data: bytes) -> None:
        assert not self.is_finished
        self.data += data

    def finished(self) -> None:
        assert not self.is_lost
        self.is_finished = True

    def lost(self) -> None:
        assert not self.is_finished
        assert not self.is_lost
        self.is_lost = True


def leave_unanswered(request: Request, reply: Reply) -> None:
    """Answer later."""


def read_into(receiver: Receiver) -> Callable[[Request, Reply], None]:
    """Return a handler that only reads the body."""

    def handle(request: Request, _reply: Reply) -> None:
        request.body.read_into(receiver)

    return handle


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


# Requests that no proxy should see differently

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
AMBIGUOUS = {
    "both lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both lengths, reversed": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n"
    b"0\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
    "list of lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 5\r\n\r\nabcd",
    "length with a sign": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd",
    "negative length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "length in hexadecimal": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x4\r\n\r\nabcd",
    "length with an underscore": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\nabcd",
    "length of thousands of digits": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "chunked in 1.0": b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "another coding": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "identity": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
    "chunked with a letter of another script": b"POST / HTTP/1.1\r\nHost: a\r\n"
    b"Transfer-Encoding: chun\xe2\x84\xaaed\r\n\r\n",
    "blank before the colon": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 4\r\n\r\nabcd",
    "blank before the name": b"POST / HTTP/1.1\r\n Host: a\r\nContent-Length: 4\r\n\r\nabcd",
    "header without a name": GET + b": a\r\n\r\n",
    "header without a colon": GET + b"Transfer-Encoding\r\n\r\n",
    "NUL in a value": GET + b"X: a\0b\r\n\r\n",
    "CR in a value": GET + b"X: a\rContent-Length: 4\r\n\r\n",
    "control character in a name": GET + b"X\x01: a\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": GET + b"Host: b\r\n\r\n",
    "no path": b"GET HTTP/1.1\r\nHost: a\r\n\r\n",
    "two blanks": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a tab": b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "path without a slash": b"GET x HTTP/1.1\r\nHost: a\r\n\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "tunnel": b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    "another scheme": b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "address that cannot be parsed": b"GET http://[a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "other version": b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "version 0.9": b"GET /\r\n",
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "PROXY header": b"PROXY TCP4 203.0.113.7 127.0.0.1 1 2\r\n" + GET + b"\r\n",
}


@pytest.mark.parametrize("request_", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_ambiguous_request_is_an_error_and_nothing_after_it_is_read(request_: bytes) -> None:
    for chunks in cut(request_):
        world = HttpWorld()
        client = world.client()
        for chunk in chunks:
            client.put(chunk)
        client.put(SMUGGLED)
        world.settle()
        response = client.response()
        assert response.status in {400, 431, 501, 505}, response
        assert response.headers["connection"] == "close"
        assert response.headers["content-security-policy"]
        assert client.rest() == b""
        assert client.has_ended()
        assert not world.requests


@pytest.mark.parametrize(
    ("size", "status"), [(b"4\n", 400), (b"+4\r\n", 400), (b" 4\r\n", 400), (b"0x4\r\n", 400), (b"4_0\r\n", 400),
                         (b"-4\r\n", 400), (b"\r\n", 400), (b"f" * 30 + b"\r\n", 400)]
)  # fmt: skip
def test_body_with_a_bad_chunk_is_an_error(size: bytes, status: int, world: HttpWorld, client: HttpClient) -> None:
    receiver = Receiver()
    world.answer = read_into(receiver)
    client.send(request_bytes("PUT", transfer_encoding="chunked") + size + b"abcd\r\n0\r\n\r\n" + SMUGGLED)
    if not receiver.is_finished:
        assert receiver.is_lost
        assert client.response().status == status
        assert client.has_ended()
    assert world.paths == ["/"]


def test_body_that_nobody_reads_is_no_request(world: HttpWorld, client: HttpClient) -> None:
    client.send(request_bytes("POST", "/a", SMUGGLED))
    response = client.response()
    assert response.text == "/a\n"
    assert response.headers["connection"] == "close"
    assert client.rest() == b""
    assert client.has_ended()
    client.send(SMUGGLED)
    assert world.paths == ["/a"]
    assert is_read_from(client), "the rest is read and dropped: a reset could destroy the reply"
    client.hang_up()


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("at", [1, 4000, HEADER_BYTES - 100])
def test_header_may_have_as_many_bytes_as_the_limit(extra: int, at: int, client: HttpClient) -> None:
    data = request_bytes(x="y" * (HEADER_BYTES + extra - len(request_bytes(x=""))))
    assert len(data) == HEADER_BYTES + extra
    client.put(data[:at])
    client.put(data[at:])
    assert client.response().status == (431 if extra else 200)
    assert client.has_ended() is bool(extra)


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("at", [1, 4000])
def test_header_may_have_as_many_lines_as_the_limit(extra: int, at: int, client: HttpClient) -> None:
    data = GET + b"a:b\r\n" * (MAX_HEADER_LINES - 2 + extra) + b"\r\n"
    client.put(data[:at])
    client.put(data[at:])
    response = client.response()
    assert response.status == (431 if extra else 200)
    client.put(GET + b"\r\n")


def test_chunks_of_a_body_let_other_clients_go_first(world: HttpWorld, client: HttpClient) -> None:
    receiver = Receiver()
    world.answer = read_into(receiver)
    count = 5 * EVENTS_PER_TURN
    client.put(request_bytes("PUT", transfer_encoding="chunked") + b"1\r\nx\r\n" * count + b"0\r\n\r\n")
    lengths = [len(receiver.data)]
    while world.turn():
        lengths.append(len(receiver.data))
    assert receiver.is_finished
    assert len(receiver.data) == count
    assert all(0 < after - before <= EVENTS_PER_TURN for before, after in pairwise([0, *lengths[:-1]]))


@pytest.mark.parametrize("chunk", [b"X-A: b\r\n", b"y" * 100, b"\r\n"], ids=["headers", "one header", "empty lines"])
def test_header_without_an_end_takes_no_more_memory_than_the_limit(chunk: bytes, client: HttpClient) -> None:
    client.put(GET if chunk != b"\r\n" else b"")
    sent = 0
    while not client.has_ended() and sent < 4 * HEADER_BYTES:
        client.put(chunk)
        sent += len(chunk)
    if chunk != b"\r\n":  # h11 drops empty lines before a request
        assert client.response().status == 431
        assert sent <= HEADER_BYTES + len(chunk)


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


# Bodies


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_body_arrives_at_its_receiver(coding: str, world: HttpWorld) -> None:
    body = bytes(range(256))
    if coding == "length":
        data = request_bytes("PUT", "/f", body)
    else:
        data = request_bytes("PUT", "/f", transfer_encoding="chunked")
        data += b"80\r\n" + body[:128] + b"\r\n80;name=value\r\n" + body[128:] + b"\r\n0\r\nTrailer: x\r\n\r\n"
    for chunks in cut(data):
        client, receiver = world.client(), Receiver()
        world.answer = read_into(receiver)
        client.send(*chunks)
        assert receiver.is_finished
        assert receiver.data == body
        assert world.requests[-1].body.length == (256 if coding == "length" else None)
        respond_text(world.replies[-1], 201, "stored")
        assert client.response().status == 201
        world.answer = answer_path
        assert client.get("/next").text == "/next\n"


def test_body_without_bytes_is_finished_at_once(world: HttpWorld, client: HttpClient) -> None:
    receiver = Receiver()
    world.answer = read_into(receiver)
    client.send(request_bytes("PUT"))
    assert receiver.is_finished
    respond_text(world.replies[0], 201, "stored")
    assert client.response().status == 201
    assert not client.has_ended()


def test_client_that_waits_may_continue_only_when_the_body_is_read(world: HttpWorld, client: HttpClient) -> None:
    world.answer = leave_unanswered
    client.send(request_bytes("PUT", content_length="4", expect="100-continue"))
    assert client.rest() == b""
    receiver = Receiver()
    world.requests[0].body.read_into(receiver)
    assert client.response().status == 100
    client.send(b"abcd")
    assert receiver.is_finished


def test_refused_body_is_not_asked_for(client: HttpClient) -> None:
    client.send(request_bytes("PUT", "/f", content_length="4", expect="100-continue"))
    response = client.response()
    assert response.status == 200
    assert response.headers["connection"] == "close"
    assert client.has_ended()


def test_paused_body_is_not_read_from_the_client(world: HttpWorld, client: HttpClient) -> None:
    receiver = Receiver()
    world.answer = read_into(receiver)
    client.send(request_bytes("PUT", content_length="100000"), b"x" * 1000)
    body = world.requests[0].body
    body.pause()
    client.put(b"x" * 60000)
    assert len(receiver.data) == 1000
    assert not is_read_from(client)
    world.clock.advance(10 * BODY_SECONDS)
    assert not client.has_ended(), "the pause is the server's own"
    body.resume()
    assert len(receiver.data) == 61000
    assert is_read_from(client)
    client.send(b"x" * 39000)
    assert receiver.is_finished


def test_receiver_may_pause_in_each_call(world: HttpWorld, client: HttpClient) -> None:
    class Slow(Receiver):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            world.requests[0].body.pause()

    receiver = Slow()
    world.answer = read_into(receiver)
    chunks = b"".join(b"1\r\n%c\r\n" % letter for letter in b"abc") + b"0\r\n\r\n"
    client.send(request_bytes("PUT", transfer_encoding="chunked") + chunks)
    for length in (1, 2, 3):
        assert len(receiver.data) == length
        world.requests[0].body.resume()
    assert receiver.is_finished


def test_slow_body_is_cut(world: HttpWorld, client: HttpClient) -> None:
    receiver = Receiver()
    world.answer = read_into(receiver)
    client.send(request_bytes("PUT", content_length="1000000"))
    for _ in range(3):
        client.send(b"x" * BODY_BYTES)
        world.clock.advance(BODY_SECONDS)
        assert not client.has_ended()
    client.send(b"x" * (BODY_BYTES - 1))
    world.clock.advance(BODY_SECONDS)
    assert receiver.is_lost
    assert client.response().status == 408
    assert client.has_ended()


def test_reply_before_the_end_of_the_body_ends_the_connection(world: HttpWorld, client: HttpClient) -> None:
    receiver = Receiver()
    world.answer = read_into(receiver)
    client.send(request_bytes("PUT", content_length="100"), b"x" * 10)
    respond_text(world.replies[0], 413, "too much")
    client.send(b"x" * 90 + SMUGGLED)
    assert len(receiver.data) == 10
    assert not receiver.is_finished
    assert not receiver.is_lost
    assert client.response().headers["connection"] == "close"
    assert client.rest() == b""
    assert world.paths == ["/"]


@pytest.mark.parametrize("how", ["vanish", "end_input"])
def test_receiver_learns_that_the_body_will_not_be_complete(how: str, world: HttpWorld, client: HttpClient) -> None:
    receiver, closed = Receiver(), []
    world.answer = read_into(receiver)
    client.send(request_bytes("PUT", content_length="100"), b"x" * 10)
    world.replies[0].on_closed = lambda: closed.append(1)
    getattr(client, how)()
    assert receiver.is_lost
    assert closed == [1]
    respond_text(world.replies[0], 200, "too late")
    world.replies[0].abort()
    world.requests[0].body.resume()
    world.requests[0].body.read_into(receiver)


# Replies in parts


@pytest.mark.parametrize("length", [None, 6])
def test_reply_can_be_sent_in_parts(length: int | None, world: HttpWorld, client: HttpClient) -> None:
    world.answer = leave_unanswered
    client.send(request_bytes())
    reply = world.replies[0]
    reply.start(200, () if length is None else ((b"Content-Length", b"6"),))
    reply.write(b"abc")
    reply.write(b"def")
    reply.finish()
    assert client.response().body == b"abcdef"
    assert not client.has_ended()


def test_client_that_does_not_read_pauses_the_reply(world: HttpWorld, client: HttpClient) -> None:
    world.answer = leave_unanswered
    client.send(request_bytes())
    client.stop_reading()
    reply = world.replies[0]
    drained: list[bool] = []
    reply.on_drained = lambda: drained.append(reply.is_congested)
    reply.start(200, ((b"Content-Length", b"%d" % (len(LARGE) + 1)),))
    reply.write(LARGE)
    assert reply.is_congested
    assert not drained
    client.read_on()
    assert drained == [False]
    reply.write(b"!")
    reply.finish()
    assert client.response().body == LARGE + b"!"
    assert not client.has_ended()


def test_client_that_never_reads_is_disconnected(world: HttpWorld, client: HttpClient) -> None:
    client.stop_reading()
    world.answer = lambda _request, reply: reply.respond(200, body=LARGE)
    client.send(request_bytes())
    world.clock.advance(STALL_SECONDS - 1)
    assert not client.has_ended()
    world.clock.advance(1)
    assert client.transport.aborted
    client.vanish()
    assert not world.clock.getDelayedCalls()


def test_idle_time_begins_when_the_reply_has_been_read(world: HttpWorld, client: HttpClient) -> None:
    client.stop_reading()
    world.answer = lambda _request, reply: reply.respond(200, body=LARGE)
    client.send(request_bytes())
    world.clock.advance(KEEPALIVE_SECONDS + 1)
    client.read_on()
    world.clock.advance(KEEPALIVE_SECONDS - 1)
    assert not client.has_ended()
    world.clock.advance(1)
    assert client.has_ended()


def test_handler_learns_that_the_client_is_gone(world: HttpWorld, client: HttpClient) -> None:
    world.answer = leave_unanswered
    client.send(request_bytes())
    closed: list[int] = []
    world.replies[0].on_closed = lambda: closed.append(1)
    world.replies[0].start(200)
    client.vanish()
    assert closed == [1]
    world.replies[0].write(b"nobody reads this")
    world.replies[0].finish()
    world.replies[0].close_with(b"nor this")


def test_reply_can_be_aborted(world: HttpWorld, client: HttpClient) -> None:
    world.answer = leave_unanswered
    client.send(request_bytes())
    world.replies[0].start(200)
    world.replies[0].write(b"some")
    world.replies[0].abort()
    assert client.transport.aborted


@pytest.mark.parametrize("begun", [False, True])
def test_fault_of_a_handler_ends_its_request_alone(begun: bool, world: HttpWorld, client: HttpClient) -> None:
    def fail(request: Request, reply: Reply) -> None:
        if begun:
            reply.start(200)
        raise ZeroDivisionError

    failures: list[LogEvent] = []
    observer = cast("ILogObserver", failures.append)
    globalLogPublisher.addObserver(observer)
    try:
        world.answer = fail
        client.send(request_bytes(target="/files/secret?secret", authorization="Bearer secret"))
    finally:
        globalLogPublisher.removeObserver(observer)
    assert [event["log_level"] for event in failures] == [LogLevel.critical]
    assert formatEvent(failures[0]) == "A request failed: GET /files"
    assert "secret" not in str(failures)
    assert "Bearer" not in repr(world.requests)
    if begun:
        assert client.transport.aborted
    else:
        assert client.response().status == 500
        world.answer = answer_path
        assert client.get().status == 200


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
