"""A TLS connection of ``--send`` on a socket. ``--send`` imports this module only for TLS."""

from __future__ import annotations

import _socket
import errno
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from broadcast.client.tls import Trust, describe

if TYPE_CHECKING:
    from typing_extensions import Buffer

HANDSHAKE_SECONDS: Final = 30.0


class SecureSocket(ssl.SSLSocket):
    """A TLS connection whose methods raise the errors of a socket."""

    def send(self, data: Buffer, flags: int = 0) -> int:
        """Send a part of *data*, and return its size."""
        with _errors_of_sockets():
            return super().send(data, flags)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Return received bytes: a whole record of TLS if *buflen* is at least 16 KiB.

        The rest of the input is then in the buffer of the system, and a poll of the descriptor finds it.
        """
        with _errors_of_sockets():
            return super().recv(buflen, flags)

    def close(self) -> None:
        """Tell the server that this is the end, and close."""
        with suppress(OSError, ValueError):
            self.setblocking(False)
            self.unwrap()
        super().close()


def secure(connect: Callable[[], _socket.socket], trust: Trust, deadline: float) -> SecureSocket:
    """Return a TLS connection on a socket that *connect* makes, before *deadline* on the clock ``time.monotonic``.

    Raise ``CertificateError`` if the certificate is not trusted, and ``OSError`` with a reason for people.
    """
    try:
        return _handshake(connect(), trust, deadline)
    except ssl.SSLCertVerificationError as error:
        trust.refused(error)
    return _handshake(connect(), trust, deadline)


def _handshake(raw: _socket.socket, trust: Trust, deadline: float) -> SecureSocket:
    context = trust.make_context()
    context.sslsocket_class = SecureSocket
    plain = socket.socket(fileno=raw.detach())
    plain.settimeout(max(0.1, min(HANDSHAKE_SECONDS, deadline - monotonic())))
    with plain:
        try:
            connection = context.wrap_socket(plain, server_hostname=trust.hostname)
        except ssl.SSLCertVerificationError:
            raise
        except TimeoutError:
            raise OSError(errno.ETIMEDOUT, "the server does not answer") from None
        except ssl.SSLError as error:
            raise OSError(errno.EPROTO, describe(error)) from None
    try:
        trust.check(connection)
    except BaseException:
        connection.close()
        raise
    return cast(SecureSocket, connection)


@contextmanager
def _errors_of_sockets() -> Iterator[None]:
    try:
        yield
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        raise BlockingIOError from None
    except ssl.SSLError as error:
        raise ConnectionAbortedError(errno.ECONNABORTED, describe(error)) from None
