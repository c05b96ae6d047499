"""Over a real TLS connection, a subscriber that stops reading gets everything in order, whole and once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL
from pytest_twisted import ensureDeferred
from twisted.internet import ssl
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from broadcast.core.events import CommandReply, Event, Message, PrivateMessage, Receipt
from broadcast.core.interfaces import Batch, Override
from broadcast.delivery.dispatcher import Dispatcher
from broadcast.delivery.fanout import Fanout
from broadcast.delivery.subscriber import Subscriber
from broadcast.net.writers import TransportWriter, writer_for
from tests.delivery.subscribers import PlainEncoder
from tests.real.programs import Given, Programs, Talker, connect_narrow

ANN = 7
"""The session of the subscriber."""
Reactor: TypeAlias = Any
"""No interface has all methods of the reactors."""


@implementer(IOpenSSLClientConnectionCreator)
class Contexts:
    """The TLS contexts of both sides: a self-signed certificate in *folder*, which the client trusts."""

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
    """Return a certificate and its key, as PEM."""
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


class Room:
    """A fan-out with one subscriber, on the server's side of a TLS connection."""

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        self.fanout = Fanout(Dispatcher(reactor.callFromThread, monotonic))
        self.encoder = PlainEncoder()
        self.subscribed: Deferred[Subscriber] = Deferred()
        self.lost: Deferred[None] = Deferred()
        self.last = 0
        self.expected: list[str] = []

    async def publish(self, *batch: str | Event) -> None:
        """Publish a batch, and wait until the subscriber was offered it. Texts are others' lines, messages its own."""
        events: list[Event] = []
        overrides: list[Override] = []
        for event in batch:
            if isinstance(event, PrivateMessage):
                overrides.append((len(events), event))
                self.expected.append(f"[{event.text}]")
                events.append(event)
                continue
            self.last += 1
            if isinstance(event, str):
                self.expected.append(event)
                events.append(Message(1, "eve", event, 0.0, self.last))
            else:
                overrides.append((len(events), Receipt(self.last)))
                self.expected.append(f"#{self.last}")
                events.append(event)
        delivered: Deferred[None] = Deferred()
        self.fanout.publish(
            Batch(events, {ANN: overrides} if overrides else {}, self.last), iter([lambda: delivered.callback(None)])
        )
        await delivered
        await deferLater(self.reactor, 0)

    async def publish_all_kinds(self, number: int, subscriber: Subscriber) -> None:
        """Publish a batch of all that a subscriber may receive, and reply to it."""
        batch: list[str | Event] = [f"line {number} " + "x" * 500, f"öäü {number}"]
        if number % 3 == 0:
            batch += [Message(ANN, "ann", "own", 0.0, self.last + 3), f"behind {number}"]
        if number % 5 == 0:
            batch.insert(0, PrivateMessage(1, "eve", ANN, f"psst {number}"))
        await self.publish(*batch)
        if number % 7 == 0:
            self.reply(f"answer {number}", subscriber)

    def reply(self, text: str, subscriber: Subscriber) -> None:
        """Send the subscriber a reply."""
        self.expected.append(text)
        subscriber.send([self.encoder.encode(CommandReply(text))])


class ServerSide(Protocol):
    """The server's side of the connection."""

    def __init__(self, room: Room) -> None:
        self.room = room

    def connectionMade(self) -> None:
        writer = writer_for(self.room.reactor, self.transport)  # type: ignore[arg-type]  # typed as less than it is
        assert isinstance(writer, TransportWriter)
        self.subscriber = Subscriber(self.room.fanout, writer, self.room.encoder, lambda: None)
        self.subscriber.session = ANN
        self.subscriber.subscribe(self.room.encoder)
        self.room.subscribed.callback(self.subscriber)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.subscriber.discard()
        self.room.lost.callback(None)


class TlsClient(Talker):
    """The client's side."""

    contexts: Contexts

    def connectionMade(self) -> None:
        self.tcp.startTLS(self.contexts, normal=False)


@ensureDeferred
async def test_tls_client_that_stops_reading_gets_everything_in_order(programs: Programs, tmp_path: Path) -> None:
    reactor: Reactor = programs.reactor
    contexts = Contexts(tmp_path)
    room = Room(reactor)
    port = reactor.listenSSL(0, Given(ServerSide(room)), contexts.server(), interface="127.0.0.1")
    client = TlsClient("ann", reactor)
    client.contexts = contexts
    try:
        connect_narrow(reactor, port.getHost().port, client)
        subscriber = await room.subscribed
        await room.publish("hello")
        number = queued = 0
        for _ in range(3):
            client.stop_reading()
            lagging = 0
            while lagging < 100:  # the system still accepts some bytes for a while
                number += 1
                assert number < 10_000
                await room.publish_all_kinds(number, subscriber)
                lagging = lagging + 1 if subscriber.lagging else 0
                queued += bool(subscriber._queue)
            client.read_on()
            for _ in range(20):
                number += 1
                await room.publish_all_kinds(number, subscriber)
        assert queued
        room.reply("end", subscriber)
        await client.until("\nend\n")
        assert client.text().splitlines() == room.expected
        assert not subscriber.lagging
    finally:
        client.tcp.abortConnection()
        await room.lost
        await port.stopListening()
