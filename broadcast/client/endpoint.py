"""The endpoint of the server, which the client connects to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.abstract import isIPv6Address
from twisted.internet.endpoints import HostnameEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint

from broadcast.client.address import UNIX

if TYPE_CHECKING:
    from twisted.internet.interfaces import IStreamClientEndpoint


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
