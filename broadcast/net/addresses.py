"""Addresses of clients, for the limits and for the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.address import IPv4Address, IPv6Address

from broadcast.core.sanitize import sanitize

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress


def peer_ip(address: IAddress) -> str | None:
    """Return the IP address of a client, None if it has none, as on a local socket."""
    return address.host if isinstance(address, IPv4Address | IPv6Address) else None


def format_peer(address: IAddress) -> str:
    """Return *address* as one line for the log, whatever characters it holds."""
    match address:
        case IPv4Address(host=host, port=port) | IPv6Address(host=host, port=port):
            if "." in host:
                host = host.removeprefix("::ffff:")  # IPv4 on a dual-stack socket; firewalls use the plain form
            return f"{sanitize(host)} port {port}"
        case _:
            return "a local socket"
