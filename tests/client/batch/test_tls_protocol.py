"""The TLS connection of a pipe, against a server in memory."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, DNSLookupError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from broadcast.client.batch.tls_protocol import HANDSHAKE_SECONDS, TlsError, connect_tls
from broadcast.client.certificates import CertificateError
from broadcast.client.tls import PLAIN, Trust
from tests.client.tls_servers import Identity, Server

OTHER = "SHA256:" + "a1" * 32


class Inner(Protocol):
    """A protocol that records its calls."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.lost: Failure | None = None
        self.on_data: Callable[[], object] = lambda: None

    @property
    def outer(self) -> Any:  # noqa: ANN401 -- no interface has all methods
        return self.transport

    def dataReceived(self, data: bytes) -> None:
        self.received.append(data)
        self.on_data()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert self.lost is None
        self.lost = reason


class Endpoint:
    """An endpoint whose connections the test makes."""

    def __init__(self) -> None:
        self.connections: list[Any] = []
        self.transports: list[Any] = []

    def connect(self, factory: Any) -> Deferred[Any]:  # noqa: ANN401 -- as Twisted's
        protocol = factory.buildProtocol(None)
        self.connections.append(protocol)
        self.transports.append(StringTransport())  # type: ignore[no-untyped-call]  # Twisted's own is not annotated
        protocol.makeConnection(self.transports[-1])
        connected: Deferred[Any] = Deferred()
        connected.callback(protocol)
        return connected


class Play:
    """An attempt to connect, with *known* keys, to a server with this *identity*."""

    def __init__(self, identity: Identity, *known: str) -> None:
        self.identity = identity
        self.clock = Clock()
        self.endpoint = Endpoint()
        self.inners: list[Inner] = []
        self.server = Server(identity)
        self.failures: list[BaseException | None] = []
        attempt = connect_tls(cast(Any, self.endpoint), self.make, Trust("localhost", known), cast(Any, self.clock))
        Deferred.fromCoroutine(attempt).addErrback(self.failed)

    def failed(self, failure: Failure) -> None:
        self.failures.append(failure.value)

    def make(self) -> Inner:
        self.inners.append(Inner())
        return self.inners[-1]

    @property
    def inner(self) -> Inner:
        [inner] = self.inners
        return inner

    @property
    def client(self) -> Any:  # noqa: ANN401 -- the fake endpoint does not know its type
        return self.endpoint.connections[-1]

    @property
    def transport(self) -> Any:  # noqa: ANN401 -- the same
        return self.endpoint.transports[-1]

    def written(self) -> bytes:
        data = cast(bytes, self.transport.value())
        self.transport.clear()
        return data

    def exchange(self) -> None:
        """Pass bytes until both sides have nothing to say."""
        while data := self.written():
            before = self.client
            if answer := self.server.receive(data):
                self.client.dataReceived(answer)
            if self.client is not before:  # a second connection
                self.server = Server(self.identity)

    def lose(self) -> None:
        self.client.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]  # Twisted's own is not annotated


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return Identity(tmp_path)


@pytest.fixture
def play(identity: Identity) -> Play:
    """Return an open connection."""
    play = Play(identity, identity.fingerprint)
    play.exchange()
    assert play.inner.transport is play.client
    return play


def test_bytes_pass_in_both_directions(play: Play) -> None:
    assert play.clock.getDelayedCalls() == []
    large = bytes(range(256)) * 1000
    play.inner.outer.write(large)
    play.exchange()
    assert play.server.received == large
    sent = play.server.send(large)
    for start in range(0, len(sent), 997):
        play.client.dataReceived(sent[start : start + 997])
    assert b"".join(play.inner.received) == large
    play.inner.outer.write(b"")
    assert play.written() == b""


def test_a_first_line_in_the_last_bytes_of_the_handshake_is_not_lost(identity: Identity) -> None:
    play = Play(identity, identity.fingerprint)
    play.server = Server(identity, maximum_version=ssl.TLSVersion.TLSv1_2)
    play.client.dataReceived(play.server.receive(play.written()))
    last = play.server.receive(play.written())
    play.client.dataReceived(last + play.server.send(b"Welcome.\r\nNickname: "))
    assert play.inner.received == [b"Welcome.\r\nNickname: "]


def test_flow_control_is_that_of_the_transport(play: Play) -> None:
    producer = StringTransport()  # type: ignore[no-untyped-call]  # Twisted's own is not annotated
    play.inner.outer.registerProducer(producer, True)
    assert play.transport.producer is producer
    play.inner.outer.unregisterProducer()
    play.inner.outer.pauseProducing()
    assert play.transport.producerState == "paused"
    play.inner.outer.resumeProducing()
    assert play.transport.producerState == "producing"


def test_both_ends_of_a_connection_are_in_good_order(play: Play) -> None:
    play.inner.outer.write(b"quit\r\n")
    play.inner.outer.loseConnection()
    assert play.transport.disconnecting
    play.exchange()
    assert (play.server.received, play.server.has_ended) == (b"quit\r\n", True)
    play.lose()
    assert play.inner.lost is not None


def test_the_end_of_the_server_comes_after_its_last_line(play: Play) -> None:
    play.client.dataReceived(play.server.send(b"Goodbye.\r\n") + play.server.close())
    assert play.inner.received == [b"Goodbye.\r\n"]
    assert play.transport.disconnecting
    play.lose()
    assert play.inner.lost is not None
    assert play.inner.lost.check(ConnectionDone)  # type: ignore[no-untyped-call]  # Twisted's own is not annotated


def test_nothing_arrives_after_the_end(play: Play) -> None:
    play.inner.on_data = play.lose
    play.client.dataReceived(play.server.send(b"a") + play.server.send(b"b"))
    assert play.inner.received == [b"a"]


def test_bytes_that_were_changed_on_their_way_abort_the_connection(play: Play) -> None:
    sent = bytearray(play.server.send(b"hello"))
    sent[-1] ^= 1
    play.client.dataReceived(bytes(sent))
    assert play.inner.received == []
    assert play.transport.disconnected


def test_an_unknown_key_is_read_on_a_second_connection(identity: Identity) -> None:
    play = Play(identity)
    first = play.transport
    play.client.dataReceived(play.server.receive(play.written()))
    assert first.disconnecting
    play.server = Server(identity)
    play.exchange()
    [error] = play.failures
    assert isinstance(error, CertificateError)
    assert (error.problem, error.fingerprint) == ("is self-signed", identity.fingerprint)
    assert len(play.endpoint.connections) == 2
    assert play.transport.disconnecting
    play.lose()
    assert (play.inners, play.server.received) == ([], b"")
    assert play.clock.getDelayedCalls() == []


def test_another_key_is_refused_before_anything_is_sent(identity: Identity) -> None:
    play = Play(identity, OTHER)
    play.exchange()
    [error] = play.failures
    assert isinstance(error, CertificateError)
    assert (error.fingerprint, error.known) == (identity.fingerprint, (OTHER,))
    assert (play.inners, play.server.received) == ([], b"")
    assert len(play.endpoint.connections) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(b"Welcome.\r\nNickname: ", PLAIN), (b"", "the server closed the connection")],
)
def test_a_failed_handshake_has_its_reason(identity: Identity, answer: bytes, reason: str) -> None:
    play = Play(identity)
    if answer:
        play.client.dataReceived(answer)
        assert play.transport.disconnecting
    play.lose()
    [error] = play.failures
    assert (type(error), str(error)) == (TlsError, reason)
    assert play.clock.getDelayedCalls() == []


def test_a_handshake_has_a_time_limit(identity: Identity) -> None:
    play = Play(identity)
    play.clock.advance(HANDSHAKE_SECONDS)
    [error] = play.failures
    assert (type(error), str(error)) == (TlsError, "the server does not answer")
    assert play.transport.disconnecting


def test_an_error_of_the_endpoint_passes() -> None:
    class Nobody:
        def connect(self, _factory: object) -> Deferred[Any]:
            refused: Deferred[Any] = Deferred()
            refused.errback(DNSLookupError())
            return refused

    failures: list[Any] = []
    attempt = connect_tls(cast(Any, Nobody()), Inner, Trust("localhost"), cast(Any, Clock()))
    Deferred.fromCoroutine(attempt).addErrback(failures.append)
    assert [failure.type for failure in failures] == [DNSLookupError]


def test_a_name_that_no_certificate_can_have_is_no_host() -> None:
    failures: list[Any] = []
    attempt = connect_tls(cast(Any, Endpoint()), Inner, Trust(".localhost"), cast(Any, Clock()))
    Deferred.fromCoroutine(attempt).addErrback(failures.append)
    assert [str(failure.value) for failure in failures] == ["there is no such host"]
