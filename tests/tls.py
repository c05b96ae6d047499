"""The server in memory behind TLS, and clients that speak TLS without a socket."""

from __future__ import annotations

import ssl
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from broadcast.net.handshake_pacing import HandshakePacer
from broadcast.net.tls import TlsConnection, TlsFactory, server_context
from broadcast.net.writers import StreamTransport, Writer, writer_for
from tests.certificates import Pair
from tests.harness import DirectWorld, Person, SocketTransport

if TYPE_CHECKING:
    import socket

    from twisted.internet.interfaces import IAddress
    from twisted.internet.task import Clock


@cache
def localhost() -> ssl.SSLContext:
    """Return a context for the server with a self-signed certificate of localhost."""
    return context_with(Pair())


def context_with(pair: Pair) -> ssl.SSLContext:
    """Return a context for the server with the certificate of *pair*."""
    context = server_context()
    with TemporaryDirectory() as folder:
        context.load_cert_chain(*pair.write(Path(folder)))
    return context


def client_context() -> ssl.SSLContext:
    """Return a context for a client that trusts every server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class TlsClient:
    """The client's side of one connection, whose ciphertext goes into *server* and comes from *transport*."""

    def __init__(
        self,
        server: TlsConnection,
        transport: SocketTransport,
        clock: Clock,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.server = server
        self.clock = clock
        self.transport = transport
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = (context or client_context()).wrap_bio(self._incoming, self._outgoing)
        self._text = b""
        self.ended = False
        """Whether the server has sent close_notify."""

    def step(self) -> bytes:
        """Continue the handshake with what the server has sent. Return the next ciphertext of the client."""
        self._receive()
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self._outgoing.read()

    def shake_hands(self) -> None:
        """Complete the handshake."""
        while data := self.step():
            self.server.dataReceived(data)
            self.clock.advance(0)  # the pacer may have made it wait

    def encrypt(self, data: bytes) -> bytes:
        """Return the ciphertext of *data*."""
        if data:
            self.tls.write(data)
        return self._outgoing.read()

    def close_notify(self) -> bytes:
        """Return the alert that ends the client's output."""
        with suppress(ssl.SSLError):  # the server's has not come yet
            self.tls.unwrap()
        return self._outgoing.read()

    def read(self) -> bytes:
        """Return what the server has sent since the last call."""
        self.collect()
        text, self._text = self._text, b""
        return text

    def collect(self) -> None:
        """Decrypt what the server has sent."""
        self._receive()
        try:
            while piece := self.tls.read(65536):
                self._text += piece
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True

    def _receive(self) -> None:
        self._incoming.write(bytes(self.transport.sent))
        self.transport.sent.clear()


class _EncryptedProtocol:
    """The protocol of the door, as a person sees it: their input passes through TLS."""

    def __init__(self, client: TlsClient) -> None:
        self._client = client
        self._server = client.server
        self._door = cast(Any, client.server)._wrapped

    def dataReceived(self, data: bytes) -> None:
        self._client.collect()
        self._server.dataReceived(self._client.encrypt(data))

    def readConnectionLost(self) -> None:
        self._server.dataReceived(self._client.close_notify())
        self._server.readConnectionLost()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- any attribute
        if name in {"writeConnectionLost", "connectionLost"}:
            return getattr(self._server, name)
        return getattr(self._door, name)


class TlsPerson(Person):
    """A person whose client speaks TLS."""

    def __init__(self, world: TlsWorld, client: TlsClient) -> None:
        super().__init__(world, cast(Any, _EncryptedProtocol(client)), client.transport)
        self._client = client
        self.socket = client.transport.socket

    def take(self) -> bytes:
        return self._client.read()


class TlsWorld(DirectWorld):
    """A server behind TLS."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:  # noqa: ANN401 -- those of World
        super().__init__(*arguments, **settings)
        pacer = HandshakePacer(self.clock, lambda: 0.0, lambda: False)
        self.tls_factory = TlsFactory(self.factory, localhost, self.clock, self.connections.limiter, pacer)
        self.tls_factory.socket_of = fake_socket

    def writer(self, transport: StreamTransport) -> Writer:
        return writer_for(self.clock, transport)

    def open(self, address: IAddress | None = None, context: ssl.SSLContext | None = None) -> TlsClient:
        """Return a client that has not begun its handshake."""
        transport = SocketTransport(address)
        server = cast(TlsConnection, self.tls_factory.buildProtocol(transport.address))
        server.makeConnection(transport)  # type: ignore[no-untyped-call]  # Twisted's own is not annotated
        return TlsClient(server, transport, self.clock, context)

    def connect(self, address: IAddress | None = None) -> Person:
        client = self.open(address)
        client.shake_hands()
        return TlsPerson(self, client)


def fake_socket(transport: StreamTransport) -> socket.socket:
    """Return the socket of a ``SocketTransport``."""
    return cast(SocketTransport, transport).socket.handle
