"""The TLS connection of a pipe: ``ssl.SSLObject`` between a transport and a protocol.

Twisted's own TLS needs pyOpenSSL, which the client does not depend on.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.protocol import Protocol, connectionDone

from broadcast.client.certificates import CertificateError
from broadcast.client.tls import Trust, describe

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
    from twisted.python.failure import Failure

HANDSHAKE_SECONDS: Final = 30
"""The time limit of a handshake."""
_CHUNK: Final = 65536


class TlsError(Exception):
    """The connection has failed because of TLS. The text is the reason."""


async def connect_tls(
    endpoint: IStreamClientEndpoint, make: Callable[[], Protocol], trust: Trust, clock: IReactorTime
) -> None:
    """Connect the protocol that *make* returns, over TLS.

    Raise ``CertificateError`` if the certificate is not trusted, ``TlsError``, or an error of the endpoint.
    """
    try:
        await _attempt(endpoint, make, trust, clock)
    except ssl.SSLCertVerificationError as error:
        trust.refused(error)
        await _attempt(endpoint, make, trust, clock)


async def _attempt(
    endpoint: IStreamClientEndpoint, make: Callable[[], Protocol], trust: Trust, clock: IReactorTime
) -> None:
    connection = await connectProtocol(endpoint, TlsProtocol(make, trust))  # type: ignore[no-untyped-call]  # Twisted's own is not annotated
    timer = clock.callLater(HANDSHAKE_SECONDS, connection.give_up)
    try:
        await connection.established
    finally:
        if timer.active():
            timer.cancel()


class TlsProtocol(Protocol):
    """A TLS connection. After the handshake, it is the transport of the protocol that *make* returns.

    The transport does the rest, such as the flow control.
    """

    def __init__(self, make: Callable[[], Protocol], trust: Trust) -> None:
        self.established: Deferred[None] = Deferred()
        """Fires after the handshake, or fails."""
        self._make = make
        self._trust = trust
        self._inner: Protocol | None = None
        self._is_lost = False
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        try:
            self._tls = trust.make_context().wrap_bio(self._incoming, self._outgoing, server_hostname=trust.hostname)
        except ValueError:
            raise TlsError("there is no such host") from None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- any method of the transport
        """Return a method of the transport."""
        return getattr(self.transport, name)

    # Calls of the transport

    def connectionMade(self) -> None:
        """Begin the handshake."""
        self._shake_hands()

    def dataReceived(self, data: bytes) -> None:
        """Continue the handshake, or pass plain bytes on."""
        self._incoming.write(data)
        if self._inner is None:
            self._shake_hands()
        if self._inner is not None:
            self._read(self._inner)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Report the end."""
        self._is_lost = True
        if self._inner is not None:
            self._inner.connectionLost(reason)
        self._fail(TlsError("the server closed the connection"))

    def give_up(self) -> None:
        """End a handshake that takes too long."""
        self._fail(TlsError("the server does not answer"))

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
            self._trust.check(self._tls)
        except ssl.SSLWantReadError:
            self._flush()
        except (ssl.SSLCertVerificationError, CertificateError) as error:
            self._fail(error)
        except ssl.SSLError as error:
            self._fail(TlsError(describe(error)))
        else:
            self._flush()
            self._inner = self._make()
            self._inner.makeConnection(self)  # type: ignore[no-untyped-call]  # the same
            self.established.callback(None)

    def _fail(self, error: Exception) -> None:
        """End the handshake because of *error*, unless it has ended."""
        if not self.established.called:
            self.established.errback(error)
            self._flush()  # the reason for the server
            self.loseConnection()

    def _read(self, inner: Protocol) -> None:
        try:
            while not self._is_lost:
                if not (data := self._tls.read(_CHUNK)):
                    self.loseConnection()
                    break
                inner.dataReceived(data)
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError:
            self.abortConnection()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._plain.write(self._outgoing.read())

    @property
    def _plain(self) -> Any:  # noqa: ANN401 -- no interface has all
        return self.transport

    # Calls of the inner protocol

    def write(self, data: bytes) -> None:
        """Send *data*, at most one record of TLS at a time."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._tls.write(rest) :]
        self._flush()

    def loseConnection(self) -> None:
        """Tell the server that this is the end, and close when everything is sent."""
        with suppress(ssl.SSLError):  # the answer of the server is not awaited
            self._tls.unwrap()
        self._flush()
        self._plain.loseConnection()
