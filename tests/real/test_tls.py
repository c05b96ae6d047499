"""Over a real TLS connection, a reader who stops and goes on gets everything in order, whole and once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any, TypeAlias, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL
from pytest_twisted import ensureDeferred
from twisted.internet import ssl
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from broadcast.core.events import CommandReply, Event, Message, PrivateMessage, Receipt
from broadcast.core.interfaces import Batch, Override
from broadcast.delivery.fanout import Fanout
from broadcast.delivery.subscriber import Subscriber
from broadcast.net.writers import TransportWriter, writer_for
from tests.delivery.subscribers import PlainEncoder
from tests.real.programs import PATIENCE, Given, Programs, connect_narrow

ANN = 7
"""The reader's session."""
Reactor: TypeAlias = Any
"""No interface has all that the reactors have."""


@implementer(IOpenSSLClientConnectionCreator)
class Contexts:
    """Where both sides have their TLS from: a self-signed certificate in *folder*, which the other side trusts."""

    def __init__(self, folder: Path) -> None:
        self._pem = folder / "certificate.pem"
        self._pem.write_bytes(self_signed())

    def server(self) -> ssl.DefaultOpenSSLContextFactory:
        return ssl.DefaultOpenSSLContextFactory(  # type: ignore[no-untyped-call]  # Twisted's own is not annotated
            str(self._pem), str(self._pem), sslmethod=SSL.TLS_SERVER_METHOD
        )

    def clientConnectionForTLS(self, tls: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: N802 -- Twisted's name
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.load_verify_locations(str(self._pem))
        context.set_verify(SSL.VERIFY_PEER)
        return SSL.Connection(context, None)


def self_signed() -> bytes:
    """A certificate and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM) + secret


class Hall:
    """A fan-out with one reader, on the server's side of a TLS connection."""

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        self.fanout = Fanout(reactor.callFromThread, monotonic)
        self.wire = PlainEncoder()
        self.came: Deferred[Subscriber] = Deferred()
        self.left: Deferred[None] = Deferred()
        self.last = 0
        self.expected: list[str] = []

    async def tell(self, *what: str | Event) -> None:
        """Tell a burst, and wait until the reader was offered it: texts are lines of others, other events their own."""
        events: list[Event] = []
        edits: list[Override] = []
        last = self.last
        for event in what:
            if isinstance(event, PrivateMessage):
                edits.append((len(events), event))
                self.expected.append(f"[{event.text}]")
            elif not isinstance(event, str):
                self.last += 1
                edits.append((len(events), Receipt(self.last)))
                self.expected.append(f"#{self.last}")
            else:
                self.last += 1
                self.expected.append(event)
            events.append(Message(1, "eve", event, 0.0, self.last) if isinstance(event, str) else event)
        told: Deferred[None] = Deferred()

        then = iter([lambda: told.callback(None)])
        self.fanout.publish(Batch(events, {ANN: edits} if edits else {}, last), then)
        await told
        await deferLater(self.reactor, 0)

    def show(self, reader: Subscriber, text: str) -> None:
        """Answer the reader."""
        self.expected.append(text)
        reader.send([self.wire.encode(CommandReply(text))])


class ServerSide(Protocol):
    """Where the reader's bytes go."""

    def __init__(self, hall: Hall) -> None:
        self.hall = hall

    def connectionMade(self) -> None:
        outlet = writer_for(self.hall.reactor, self.transport)  # type: ignore[arg-type]  # typed as less than it is
        assert isinstance(outlet, TransportWriter)
        self.reader = Subscriber(self.hall.fanout, outlet, self.hall.wire, lambda: None)
        self.reader.session = ANN
        self.reader.subscribe(self.hall.wire)
        self.hall.came.callback(self.reader)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reader.connection_lost()
        self.hall.left.callback(None)


class OtherSide(Protocol):
    """Reads, or does not, what comes."""

    def __init__(self, contexts: Contexts) -> None:
        self.seen = b""
        self._contexts = contexts
        self.ended: Deferred[None] = Deferred()
        """Fires when the last line is "end"."""

    def connectionMade(self) -> None:
        transport: Any = self.transport  # its interface lacks what tells that this is the client
        transport.startTLS(self._contexts, normal=False)

    def dataReceived(self, data: bytes) -> None:
        self.seen += data
        if self.seen.endswith(b"\nend\n"):
            self.ended.callback(None)

    def stop(self) -> None:
        cast(IPushProducer, self.transport).pauseProducing()

    def go_on(self) -> None:
        cast(IPushProducer, self.transport).resumeProducing()

    def close(self) -> None:
        cast(ITCPTransport, self.transport).abortConnection()


async def all_sorts(hall: Hall, reader: Subscriber, number: int) -> None:
    """A burst of all that a reader may be told, and an answer."""
    texts: Sequence[str | Event] = [f"line {number} " + "x" * 500, f"öäü {number}"]
    if number % 3 == 0:
        texts = [*texts, Message(ANN, "ann", "own", 0.0, hall.last + 3), f"behind {number}"]
    if number % 5 == 0:
        texts = [PrivateMessage(1, "eve", ANN, f"psst {number}"), *texts]
    await hall.tell(*texts)
    if number % 7 == 0:
        hall.show(reader, f"answer {number}")


@ensureDeferred
async def test_tls_client_that_stops_reading_gets_everything_in_order(programs: Programs, tmp_path: Path) -> None:
    reactor: Reactor = programs.reactor
    contexts = Contexts(tmp_path)
    hall = Hall(reactor)
    port = reactor.listenSSL(0, Given(ServerSide(hall)), contexts.server(), interface="127.0.0.1")
    other = OtherSide(contexts)
    try:
        connect_narrow(reactor, port.getHost().port, other)
        reader = await hall.came
        await hall.tell("hello")
        number = waited = 0
        for _ in range(3):
            other.stop()
            behind = 0
            while behind < 100:  # the system goes on taking some for a while
                number += 1
                assert number < 10_000
                await all_sorts(hall, reader, number)
                behind = behind + 1 if reader.lagging else 0
                waited += bool(reader._queue)
            other.go_on()
            for _ in range(20):
                number += 1
                await all_sorts(hall, reader, number)
        assert waited
        hall.show(reader, "end")
        await other.ended.addTimeout(PATIENCE, reactor)
        assert other.seen.decode().split("\n")[:-1] == hall.expected
        assert not reader.lagging
    finally:
        other.close()
        await hall.left
        await port.stopListening()
