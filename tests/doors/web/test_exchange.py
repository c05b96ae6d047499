"""The body of a request and the reply in parts: pauses, ends and faults."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from broadcast.doors.web.connection import KEEPALIVE_SECONDS, STALL_SECONDS
from broadcast.doors.web.exchange import BODY_BYTES, BODY_SECONDS
from broadcast.doors.web.http import respond_text
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
from tests.harness import ROOM_FOR_OUTPUT, is_read_from

if TYPE_CHECKING:
    from twisted.logger import ILogObserver, LogEvent

    from broadcast.doors.web.http import Reply, Request

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
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
