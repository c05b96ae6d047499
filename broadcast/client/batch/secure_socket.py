"""A TLS connection of ``--send`` on a socket. ``--send`` imports this module only for TLS."""

from __future__ import annotations

import _socket
import errno
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Final

from broadcast.client.tls import Trust, describe

HANDSHAKE_SECONDS: Final = 30.0
"""The time limit of a handshake."""


class SecureSocket:
    """The methods of a socket that ``--send`` uses, on a TLS connection. They raise the errors of a socket."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._connection = connection

    def fileno(self) -> int:
        """Return the descriptor of the socket."""
        return self._connection.fileno()

    def setblocking(self, flag: bool, /) -> None:
        """Let the methods wait, or raise ``BlockingIOError``."""
        self._connection.setblocking(flag)

    def send(self, data: bytes | bytearray, /) -> int:
        """Send a part of *data*, and return its size."""
        with _errors_of_sockets():
            return self._connection.send(data)

    def recv(self, size: int, /) -> bytes:
        """Return received bytes: a whole record of TLS if *size* is at least 16 KiB.

        The rest of the input is then in the buffer of the system, and a poll of the descriptor finds it.
        """
        with _errors_of_sockets():
            return self._connection.recv(size)

    def close(self) -> None:
        """Tell the server that this is the end, and close."""
        with suppress(OSError, ValueError):
            self._connection.setblocking(False)
            self._connection.unwrap()
        self._connection.close()


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
    plain = socket.socket(fileno=raw.detach())
    plain.settimeout(max(0.1, min(HANDSHAKE_SECONDS, deadline - monotonic())))
    with plain:
        try:
            connection = trust.make_context().wrap_socket(plain, server_hostname=trust.hostname)
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
    return SecureSocket(connection)


@contextmanager
def _errors_of_sockets() -> Iterator[None]:
    try:
        yield
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        raise BlockingIOError from None
    except ssl.SSLError as error:
        raise ConnectionAbortedError(errno.ECONNABORTED, describe(error)) from None
