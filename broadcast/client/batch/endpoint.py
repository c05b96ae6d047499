"""The connection of a pipe to the server: its endpoint, its keepalive, and the reason why it is gone."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

from twisted.internet import error as errors
from twisted.internet.abstract import isIPv6Address
from twisted.internet.endpoints import HostnameEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint

from broadcast.client.address import UNIX
from broadcast.client.error_text import error_text
from broadcast.keepalive import set_keepalive

if TYPE_CHECKING:
    from twisted.internet.interfaces import IStreamClientEndpoint
    from twisted.python.failure import Failure

KEEPALIVE: Final = (60, 15, 4)
"""Idle time and interval in seconds, and number of probes. They detect a dead idle connection after two minutes.

There is no ``TCP_USER_TIMEOUT``, because it ends a connection whose other side does not read for that time. A server
with rate limits reads slowly. (Linux 6.18: with 120 s, it ended the connection of a pipe of 22 MB to a healthy server.)
"""


def server_endpoint(reactor: Any, host: str, port: int) -> IStreamClientEndpoint:  # noqa: ANN401 -- no interface has all
    """Return the endpoint of *host* (a name, an IP address, or ``unix:`` and a path) and *port*."""
    endpoint: IStreamClientEndpoint
    if host.startswith(UNIX):
        path = host.removeprefix(UNIX)
        endpoint = UNIXClientEndpoint(reactor, path)  # type: ignore[no-untyped-call]  # Twisted's own is not annotated
    elif "%" in host and isIPv6Address(host):
        # HostnameEndpoint would lose the zone.
        endpoint = TCP6ClientEndpoint(reactor, host, port)  # type: ignore[no-untyped-call]  # likewise
    else:
        endpoint = HostnameEndpoint(reactor, host, port)
    return endpoint


def keep_alive(transport: object) -> None:
    """Turn keepalive on, which detects that the other side of *transport* is gone without a word."""
    handle = getattr(transport, "getHandle", lambda: None)()
    if isinstance(handle, socket.socket):
        set_keepalive(handle, *KEEPALIVE)


def because(failure: Failure, done: str) -> str:
    """Return the reason of *failure* as one line for people, or *done* if the connection was closed in good order."""
    error = failure.value
    match error:
        case errors.ConnectionDone():
            return done
        case errors.DNSLookupError() | socket.gaierror():
            return "there is no such host"
        case errors.TimeoutError():
            return "it does not answer"
        case errors.ConnectError(osError=int(number)):
            return error_text(number)
        case errors.ConnectionClosed():
            return "the connection broke"
        case _:
            return " ".join(str(error).split()) or type(error).__name__
