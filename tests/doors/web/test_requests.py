"""A request that a proxy could see differently is an error, and nothing after it is read."""

from __future__ import annotations

import pytest

from tests.doors.web.browsers import (
    DirectHttpWorld,
    HttpClient,
    HttpWorld,
    Receiver,
    cut,
    read_into,
    request_bytes,
)
from tests.harness import is_read_from


@pytest.fixture(params=[HttpWorld, DirectHttpWorld])
def world(request: pytest.FixtureRequest) -> HttpWorld:
    """A server, over each kind of writer."""
    world: HttpWorld = request.param()
    return world


@pytest.fixture
def client(world: HttpWorld) -> HttpClient:
    """A client that has sent nothing yet."""
    return world.client()


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
