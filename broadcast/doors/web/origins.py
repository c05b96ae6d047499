"""The names of this server in requests, and the addresses of clients behind proxies; no I/O."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from broadcast.core.source import Source

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

_Address: TypeAlias = IPv4Address | IPv6Address

UNIX: Final = "unix"
"""Stands for all clients of unix sockets among the trusted proxies."""
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_host: Final = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[^][:/?#@\s]+)(?::(?P<port>[0-9]{1,5})?)?", re.IGNORECASE)
"""The value of the header Host (RFC 9110, section 7.2)."""
_hop: Final = re.compile(r"\[(?P<v6>[^]]+)\](?::[0-9]+)?|(?P<v4>[0-9.]+):[0-9]+|(?P<bare>\S+)")
"""One address in ``X-Forwarded-For``. Some proxies add the port."""


class Origin(NamedTuple):
    """The scheme, host and port of a page (RFC 6454)."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """Return the form that browsers send."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + f":{self.port}" * (self.port != _DEFAULT_PORTS[self.scheme])


def parse_origin(text: str) -> Origin | None:
    """Return the origin *text*, as in ``https://chat.example.com``. None if it is none, as ``null``."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    is_plain = not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
    if not parts.hostname or not is_plain or parts.scheme not in _DEFAULT_PORTS:
        return None
    return Origin(parts.scheme, parts.hostname.rstrip("."), port or _DEFAULT_PORTS[parts.scheme])


def _parse_host(host: str, scheme: str) -> Origin | None:
    """Return the origin of a page with *scheme* at *host*, the value of the header. None if it is not valid."""
    match = _host.fullmatch(host)
    if match is None:
        return None
    return Origin(scheme, match["name"].strip("[]").rstrip(".").lower(), int(match["port"] or _DEFAULT_PORTS[scheme]))


def parse_address(text: str) -> _Address | None:
    """Return the IP address *text*, IPv4 if it is mapped to IPv6. None if it is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


class Origins:
    """The origins whose pages may use this server: *texts*, and pages that this server has sent.

    *machine* is the name of this machine.
    """

    def __init__(self, texts: Iterable[str] = (), machine: str = "") -> None:
        self._origins = frozenset(origin for text in texts if (origin := parse_origin(text)) is not None)
        machine = machine.lower()
        short = machine.partition(".")[0]
        names = {"localhost", machine, short, f"{short}.local"} if machine else {"localhost"}
        self._names = frozenset(names | {origin.host for origin in self._origins})

    def is_host_allowed(self, host: str) -> bool:
        """Return whether *host*, the header of a request, is an IP address, or a name of this server.

        With DNS rebinding, a foreign page reaches this server under the page's own name.
        """
        origin = _parse_host(host, "http")
        return origin is not None and (origin.host in self._names or parse_address(origin.host) is not None)

    def is_origin_allowed(self, origin: str, host: str, is_secure: bool) -> bool:
        """Return whether a page of *origin* may send a request to *host*. Both are headers of the request."""
        parsed = parse_origin(origin)
        if parsed is None:
            return False
        return parsed in self._origins or parsed == _parse_host(host, "https" if is_secure else "http")


class TrustedProxies:
    """The reverse proxies whose headers are believed: *texts* are addresses, networks, or ``UNIX``."""

    def __init__(self, texts: Collection[str] = ()) -> None:
        self._networks = tuple(ip_network(text, strict=False) for text in texts if text != UNIX)
        self._unix = UNIX in texts

    def is_trusted(self, host: str | None) -> bool:
        """Return whether *host*, None for a unix socket, is a trusted proxy."""
        if host is None:
            return self._unix
        address = parse_address(host)
        return address is not None and any(address in network for network in self._networks)

    def find_source(self, peer: Source, headers: Mapping[bytes, bytes]) -> Source:
        """Return the origin of a request with *headers*, which has come over a connection from *peer*.

        It is the last address in ``X-Forwarded-For`` that is not a trusted proxy's. If a proxy does not give it, the
        address is None: that of the proxy is no origin.
        """
        if not self.is_trusted(peer.address):
            return peer
        scheme = headers.get(b"x-forwarded-proto", b"").rpartition(b",")[2].strip().lower()
        address = self._find_address(headers.get(b"x-forwarded-for", b"").decode("latin-1"))
        return Source(address, is_local=False, is_encrypted=scheme == b"https")

    def _find_address(self, forwarded_for: str) -> str | None:
        found: _Address | None = None
        for hop in reversed(forwarded_for.split(",")):
            match = _hop.fullmatch(hop.strip())
            found = None if match is None else parse_address(match["v6"] or match["v4"] or match["bare"])
            if found is None or not self.is_trusted(str(found)):
                break
        return None if found is None else str(found)
