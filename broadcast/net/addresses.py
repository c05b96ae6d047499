"""Addresses of clients, for the limits and for the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.address import IPv4Address, IPv6Address

from broadcast.core.limits import find_source
from broadcast.core.sanitize import sanitize

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress

_LOCAL: Final = "a local socket"


def peer_ip(address: IAddress) -> str | None:
    """Return the IP address of a client, None if it has none, as on a local socket."""
    return address.host if isinstance(address, IPv4Address | IPv6Address) else None


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
