"""Addresses of clients, for the limits, for the log, and for the decision what a client may do."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import ISSLTransport

from broadcast.core.limits import find_source
from broadcast.core.sanitize import sanitize
from broadcast.core.source import Source

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress

    from broadcast.net.writers import StreamTransport

_LOCAL: Final = "a local socket"


def peer_ip(address: IAddress) -> str | None:
    """Return the IP address of a client, None if it has none, as on a local socket."""
    return address.host if isinstance(address, IPv4Address | IPv6Address) else None


def source_of(transport: StreamTransport) -> Source:
    """Return the origin of the connection over *transport*. A connection that a proxy forwards is never local.

    If the proxy does not give the address of the client, there is none: that of the proxy is no origin.
    """
    is_forwarded = getattr(transport, "is_forwarded", False)
    is_known = getattr(transport, "is_address_known", True)
    host = peer_ip(transport.getPeer()) if is_known else None
    is_local = not is_forwarded and (host is None or is_loopback(host))
    return Source(host, is_local, ISSLTransport.providedBy(transport))


def is_loopback(host: str) -> bool:
    """Return whether the IP address *host* is one of this machine only."""
    try:
        address = ip_address(host)
    except ValueError:
        return False  # a zone may hold any characters
    mapped = address.ipv4_mapped if address.version == 6 else None
    return (mapped or address).is_loopback


def format_peer(address: IAddress) -> str:
    """Return *address* as one line for the log, whatever characters it holds."""
    if isinstance(address, IPv4Address | IPv6Address):
        return f"{_format_host(address.host)} port {address.port}"
    return _LOCAL


def format_source(address: IAddress) -> str:
    """Return the part of *address* that one client cannot change, as one line for the log."""
    host = peer_ip(address)
    if host is None:
        return _LOCAL
    source = find_source(host)
    return _format_host(host) if source is None else sanitize(str(source))  # a zone may hold any characters


def _format_host(host: str) -> str:
    if "." in host:
        host = host.removeprefix("::ffff:")  # IPv4 on a dual-stack socket; firewalls use the plain form
    return sanitize(host)
