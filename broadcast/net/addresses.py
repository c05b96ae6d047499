"""The addresses of peers: for the limits, and as text for the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.address import IPv4Address, IPv6Address

from broadcast.core.sanitize import sanitize

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress


def peer_ip(address: IAddress) -> str | None:
    """The IP address that somebody came from; None where there is none, as on a local socket."""
    return address.host if isinstance(address, IPv4Address | IPv6Address) else None


def format_peer(address: IAddress) -> str:
    """Where somebody came from, as one line for the log, whatever the address holds."""
    match address:
        case IPv4Address(host=host, port=port) | IPv6Address(host=host, port=port):
            if "." in host:
                host = host.removeprefix("::ffff:")  # IPv4 on a socket for both; a firewall knows it without this
            return f"{sanitize(host)} port {port}"
        case _:
            return "a local socket"
