"""Streams of asyncio to a server, with the client's own check of certificates."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl as tls
import sys
from typing import Final, TypeAlias

from broadcast.client.address import UNIX
from broadcast.client.certificates import CertificateError
from broadcast.client.tls import Trust, describe

Stream: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]

CONNECT_SECONDS: Final = 30.0
WSABASEERR: Final = 10000
"""From this number on, errors are those of Windows' sockets, which ``os.strerror`` does not know."""
HAPPY_EYEBALLS_SECONDS: Final = 0.25
"""After this time, the next address of the host is tried as well, as RFC 8305 recommends."""


async def open_stream(host: str, port: int, trust: Trust | None) -> Stream:
    """Connect to *host*: a name, an IP address, or ``unix:`` and a path. With *trust*, the stream has TLS.

    Raise ``OSError`` if there is no connection, and ``CertificateError`` if the server is not trusted.
    """
    async with asyncio.timeout(CONNECT_SECONDS):
        try:
            return await _connect(host, port, trust)
        except tls.SSLCertVerificationError as error:
            assert trust is not None
            trust.refused(error)
            # The second connection reads the key of the certificate, which the error shows to the user.
            return await _connect(host, port, trust)
        except ValueError:
            raise OSError("there is no such host") from None


async def _connect(host: str, port: int, trust: Trust | None) -> Stream:
    if host.startswith(UNIX):
        if sys.platform != "win32":
            return await asyncio.open_unix_connection(host.removeprefix(UNIX))
        else:  # noqa: RET505 -- mypy would find it unreachable
            raise OSError("there are no unix sockets here")
    context, name = (trust.make_context(), trust.hostname) if trust else (None, None)
    reader, writer = await asyncio.open_connection(
        host, port, ssl=context, server_hostname=name, happy_eyeballs_delay=HAPPY_EYEBALLS_SECONDS
    )
    try:
        if trust is not None:
            trust.check(writer.get_extra_info("ssl_object"))
    except CertificateError:
        writer.transport.abort()
        raise
    return reader, writer


def describe_failure(error: OSError) -> str:
    """Return the reason of *error* without the address, which asyncio adds to the text of the system."""
    if isinstance(error, tls.SSLError):
        return describe(error)
    if isinstance(error, socket.gaierror):
        return "there is no such host"
    if isinstance(error, TimeoutError) and not error.errno:
        return "the server does not answer"
    # If a host has several addresses, asyncio joins the errors of all attempts in one text.
    number = error.errno or next(map(int, re.findall(r"\[Errno (\d+)\]", str(error))), 0)
    if sys.platform == "win32":
        # Python maps a number of Windows that it does not know to EINVAL, for example that of a refused connection.
        code = next(map(int, re.findall(r"\[WinError (\d+)\]", str(error))), number)
        if code != number or code >= WSABASEERR:
            import ctypes  # noqa: PLC0415 -- takes long to import

            return ctypes.FormatError(code).strip().rstrip(".")
    return os.strerror(number) if number else error.strerror or str(error) or type(error).__name__
