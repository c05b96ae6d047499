"""A header has limits, and a long input lets other clients go first."""

from __future__ import annotations

from itertools import pairwise

import pytest

from broadcast.doors.web.connection import EVENTS_PER_TURN
from broadcast.doors.web.parser import MAX_HEADER_LINES
from broadcast.doors.web.requests import HEADER_BYTES
from tests.doors.web.browsers import (
    DirectHttpWorld,
    HttpClient,
    HttpWorld,
    Receiver,
    read_into,
    request_bytes,
)


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
