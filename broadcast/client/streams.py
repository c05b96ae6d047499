"""Streams of asyncio to a server, with the client's own check of certificates."""

from __future__ import annotations

import asyncio
import socket
import ssl as tls
import sys
from typing import Final, TypeAlias

from broadcast.client.address import UNIX
from broadcast.client.certificates import CertificateError
from broadcast.client.error_text import error_text
from broadcast.client.tls import Trust, describe

Stream: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]

HAPPY_EYEBALLS_SECONDS: Final = 0.25
"""After this delay, the next address of the host is tried as well, as RFC 8305 recommends."""


async def open_stream(host: str, port: int, trust: Trust | None) -> Stream:
    """Connect to *host*: a name, an IP address, or ``unix:`` and a path. With *trust*, the stream has TLS.

    Raise ``OSError`` if there is no connection, and ``CertificateError`` if the server is not trusted.
    """
    if trust is None:
        return await _connect(host, port)
    try:
        return await _handshake(host, port, trust)
    except tls.SSLCertVerificationError as error:
        trust.refused(error)
    except ValueError:
        raise OSError("there is no such host") from None
    return await _handshake(host, port, trust)


async def _connect(host: str, port: int) -> Stream:
    if not host.startswith(UNIX):
        return await asyncio.open_connection(host, port, happy_eyeballs_delay=HAPPY_EYEBALLS_SECONDS)
    if sys.platform != "win32":
        return await asyncio.open_unix_connection(host.removeprefix(UNIX))
    else:  # noqa: RET505 -- mypy would find it unreachable
        raise OSError("there are no unix sockets here")


async def _handshake(host: str, port: int, trust: Trust) -> Stream:
    reader, writer = await asyncio.open_connection(
        host,
        port,
        ssl=trust.make_context(),
        server_hostname=trust.hostname,
        happy_eyeballs_delay=HAPPY_EYEBALLS_SECONDS,
    )
    try:
        trust.check(writer.get_extra_info("ssl_object"))
    except CertificateError:
        writer.transport.abort()
        raise
    return reader, writer


def describe_failure(error: OSError) -> str:
    """Return the reason of a failure. asyncio replaces the system's sentence by one with the address."""
    if isinstance(error, tls.SSLError):
        return describe(error)
    if error.errno and not isinstance(error, socket.gaierror):
        return error_text(error.errno)
    return error.strerror or str(error) or type(error).__name__
