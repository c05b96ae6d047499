"""A connection of HTTP that another protocol takes over: the WebSocket, or one that this test has made."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHalfCloseableProtocol, ISSLTransport
from twisted.internet.protocol import Protocol, connectionDone
from zope.interface import implementer

from broadcast.core.limits import DEFAULTS
from broadcast.doors.web.http import Refusal
from broadcast.doors.web.origins import TrustedProxies
from broadcast.net.addresses import source_of
from tests.doors.web.browsers import DirectHttpWorld, HttpClient, HttpWorld, answer_path, request_bytes
from tests.harness import ROOM_FOR_OUTPUT, is_read_from

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from broadcast.doors.web.http import Reply, Request
    from broadcast.net.connections import Connection
    from broadcast.net.writers import StreamTransport, Writer

PROXY = "203.0.113.7"
LARGE = b"x" * (4 * ROOM_FOR_OUTPUT)


@pytest.fixture(params=[HttpWorld, DirectHttpWorld])
def world(request: pytest.FixtureRequest) -> HttpWorld:
    """A server, over each kind of writer."""
    world: HttpWorld = request.param()
    return world


@implementer(IHalfCloseableProtocol)
class Echo(Protocol):
    """A protocol that records what happens to it."""

    heard_from = True

    def __init__(self, transport: StreamTransport, writer: Writer) -> None:
        self.transport = transport  # type: ignore[assignment]  # as the doors' protocols do
        self.writer = writer
        self.data = b""
        self.calls: list[str] = []

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        self.writer.send(data)

    def readConnectionLost(self) -> None:
        self.calls.append("readConnectionLost")

    def writeConnectionLost(self) -> None:
        self.calls.append("writeConnectionLost")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.calls.append("connectionLost")


class Opener:
    """A handler that hands the connection over to an ``Echo``."""

    def __init__(self) -> None:
        self.opened: list[Echo] = []

    def __call__(self, request: Request, reply: Reply) -> None:
        if request.path == "/echo":
            reply.hand_over(self._open)
        else:
            reply.respond(200, body=LARGE)

    def _open(self, transport: StreamTransport, writer: Writer) -> Connection | Refusal:
        self.opened.append(Echo(transport, writer))
        return cast("Connection", self.opened[-1])


@pytest.fixture
def opener(world: HttpWorld) -> Opener:
    """The handler of all requests."""
    opener = Opener()
    world.answer = opener
    return opener


def echo(client: HttpClient) -> None:
    """Let the connection of *client* be handed over."""
    client.send(request_bytes(target="/echo", connection="Upgrade", upgrade="echo"))


def test_bytes_after_the_request_belong_to_the_successor(world: HttpWorld, opener: Opener) -> None:
    client = world.client()
    client.send(request_bytes(target="/echo", connection="Upgrade", upgrade="echo") + b"GET / HTTP/1.1\r\n")
    client.send(b"more")
    assert opener.opened[0].data == client.rest() == b"GET / HTTP/1.1\r\nmore"
    client.end_input()
    client.protocol.writeConnectionLost()
    client.vanish()
    assert opener.opened[0].calls == ["readConnectionLost", "writeConnectionLost", "connectionLost"]


def test_successor_takes_the_place_in_the_registry(world: HttpWorld, opener: Opener) -> None:
    client = world.client()
    echo(client)
    successor = cast("Connection", opener.opened[0])
    assert list(world.connections) == [successor]
    assert world.connections.limiter.total == 1
    world.connections.remove(successor)
    assert world.connections.limiter.total == 0


def test_successor_has_no_deadlines_of_http(world: HttpWorld, opener: Opener) -> None:
    echo(world.client())
    assert not world.clock.getDelayedCalls()


def test_connection_can_be_handed_over_after_other_requests(world: HttpWorld, opener: Opener) -> None:
    client = world.client()
    assert client.get().body == LARGE
    echo(client)
    client.send(b"hello")
    assert client.rest() == b"hello"


def test_connection_is_handed_over_only_when_earlier_replies_are_sent(world: HttpWorld, opener: Opener) -> None:
    client = world.client()
    client.stop_reading()
    client.send(request_bytes() + request_bytes(target="/echo", connection="Upgrade", upgrade="echo") + b"hello")
    assert not opener.opened
    client.read_on()
    world.settle()
    assert opener.opened[0].data == b"hello"
    assert client.response().body == LARGE
    assert client.rest() == b"hello"
    assert is_read_from(client)


def test_refusal_is_a_reply_and_http_goes_on(world: HttpWorld) -> None:
    world.answer = lambda _request, reply: reply.hand_over(lambda *_: Refusal(426, "No.", ((b"Upgrade", b"echo"),)))
    client = world.client()
    response = client.get()
    assert (response.status, response.text, response.headers["upgrade"]) == (426, "No.\n", "echo")
    world.answer = answer_path
    assert client.get("/next").text == "/next\n"


def test_client_that_is_read_slowly_is_read_again_by_the_successor(world: HttpWorld, opener: Opener) -> None:
    client = world.client()
    client.put(request_bytes(target="/echo", connection="Upgrade", upgrade="echo") + b"x" * 50000)
    assert is_read_from(client)
    assert len(opener.opened[0].data) == 50000


def test_end_of_input_before_the_hand_over_reaches_the_successor(world: HttpWorld, opener: Opener) -> None:
    client = world.client()
    world.answer = lambda _request, reply: world.replies.append(reply)
    client.send(request_bytes(target="/echo"))
    client.end_input()
    opener(world.requests[0], world.replies[0])
    assert opener.opened[0].calls == ["readConnectionLost"]


@pytest.mark.parametrize("given", ["198.51.100.9", "2001:db8::9", None])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_successor_behind_a_proxy_sees_the_client(given: str | None, scheme: str) -> None:
    world = HttpWorld(proxies=TrustedProxies([PROXY]))
    world.answer = opener = Opener()
    client = world.client(IPv4Address("TCP", PROXY, 50000))
    client.get("/", x_forwarded_for="192.0.2.77")  # of another client of the proxy
    client.send(request_bytes(target="/echo", x_forwarded_for=given, x_forwarded_proto=scheme))
    transport = cast("StreamTransport", opener.opened[0].transport)
    source = source_of(transport)
    assert source.address == given
    assert not source.is_local
    assert source.is_encrypted is ISSLTransport.providedBy(transport) is (scheme == "https")
    kind = IPv6Address if given and ":" in given else IPv4Address
    assert transport.getPeer() == kind("TCP", given or PROXY, 50000)


def test_refused_request_behind_a_proxy_counts_for_nobody() -> None:
    world = HttpWorld(replace(DEFAULTS, address_connections=1), TrustedProxies([PROXY]))
    world.answer = lambda _request, reply: reply.hand_over(lambda *_: Refusal(400, "No."))
    clients = [world.client(IPv4Address("TCP", PROXY, port)) for port in range(2)]
    for client in clients:
        client.send(request_bytes(target="/echo", x_forwarded_for="198.51.100.9"))
        assert client.response().text.startswith("No.")
    assert world.connections.limiter.total == 2


def test_successor_behind_a_proxy_counts_for_the_client() -> None:
    world = HttpWorld(replace(DEFAULTS, address_connections=1), TrustedProxies([PROXY]))
    world.answer = opener = Opener()
    clients = [world.client(IPv4Address("TCP", PROXY, port)) for port in range(3)]
    for client, address in zip(clients, ["198.51.100.9", "198.51.100.9", "198.51.100.10"], strict=True):
        client.send(request_bytes(target="/echo", x_forwarded_for=address))
    assert clients[1].response().text.startswith("/echo Too many connections from 198.51.100.9")
    assert not clients[1].has_ended()
    assert len(opener.opened) == 2
    assert world.connections.limiter.total == 3
    for client in clients:
        client.vanish()
    for successor in opener.opened:
        world.connections.remove(cast("Connection", successor))
    assert world.connections.limiter.total == 0
