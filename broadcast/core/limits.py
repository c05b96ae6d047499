"""How much anybody may take: the limits, and the counting of lines and connections; no clock, no sockets.

Nobody is disconnected for having much to say, and nothing of it is dropped: past the allowance their input is read
more slowly.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from math import inf
from typing import Final, TypeAlias

SERVER_FULL: Final = "This server is full. Try again later."
"""What those read who come when there is no room for another connection."""
_ROUNDING = 1e-6
"""Seconds: a timer that was set for the rest of a wait is not to find that a trillionth of it is left."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Every limit with its default (HARDENING); each is an option of the same name."""

    line_bytes: int = 4096
    """The longest line, in bytes without its end; and the most that is held of an unfinished one (PROTOCOL)."""
    nickname_bytes: int = 512
    """The same before the nickname."""
    nickname_seconds: float = 60
    """The time to a nickname."""
    paste_lines: int = 40
    """So many lines one person may send at once."""
    lines_per_second: float = 2
    """So many follow each second; infinite: as they come."""
    address_connections: int | None = 64
    """Connections of one address, or IPv6 network of 64 bits; None: any number."""
    connections: int | None = None
    """Connections in all; None: any number."""
    linger_seconds: float = 10
    """How long a closing connection may take to read what it was sent."""
    replay_events: int = 10_000
    replay_bytes: int = 4 * 1024 * 1024
    """So much of the room's stream is kept in memory for those who lag."""
    private_queue_bytes: int = 64 * 1024
    """So many bytes of answers and private lines wait for one reader."""
    high_water_events: int = 10_000
    high_water_bytes: int = 8 * 1024 * 1024
    """Past so much that was not kept and told yet, those who write are to wait; bytes of text, roughly."""

    def without_client_limits(self) -> Limits:
        """Without those on people and addresses: for a room of trusted programs."""
        return replace(self, lines_per_second=inf, address_connections=None)


DEFAULTS: Final = Limits()


class RateLimiter:
    """The lines of one person: so many at once, then so many a second (a token bucket, counted as a time)."""

    __slots__ = ("_burst_tolerance", "_emission_interval", "_theoretical_arrival")

    def __init__(self, limits: Limits) -> None:
        self._emission_interval = 1 / limits.lines_per_second
        self._burst_tolerance = (limits.paste_lines - 1) * self._emission_interval
        self._theoretical_arrival = -inf
        """When the allowance is whole again."""

    def delay(self, now: float) -> float:
        """How many seconds it is until another line may be taken; 0.0 where it may be now."""
        wait = self._theoretical_arrival - now - self._burst_tolerance
        return wait if wait > _ROUNDING else 0.0

    def consume(self, now: float) -> None:
        """A line was taken at the time *now*, in seconds of a clock that never goes back."""
        self._theoretical_arrival = max(self._theoretical_arrival, now) + self._emission_interval


_Source: TypeAlias = IPv4Address | IPv6Address | IPv6Network


class ConnectionLimiter:
    """How many connections there are, in all and of each address. What comes from this machine counts in all only."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._counts: Counter[_Source] = Counter()
        self.total = 0

    def acquire(self, host: str | None) -> str | None:
        """Count a connection from *host*, an IP address, or None for a local socket; why it must not be, if so.

        What was refused is not counted, and is not to ``leave``.
        """
        most, each = self.limits.connections, self.limits.address_connections
        if most is not None and self.total >= most:
            return SERVER_FULL
        source = _source(host)
        if source is not None:
            if each is not None and self._counts[source] >= each:
                return f"Too many connections from {source}: this server takes {each} from one address."
            self._counts[source] += 1
        self.total += 1
        return None

    def release(self, host: str | None) -> None:
        """The connection from *host* is over."""
        self.total -= 1
        source = _source(host)
        if source is not None:
            self._counts[source] -= 1
            if not self._counts[source]:
                del self._counts[source]


def _source(host: str | None) -> _Source | None:
    """What *host* is counted as: one IPv4 address, or the network of 64 bits that a site has; None: not counted."""
    if host is None:
        return None
    try:
        address = ip_address(host)
    except ValueError:
        return None  # what a proxy made of a local socket
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return None
    if isinstance(address, IPv4Address) or address.is_link_local:
        # Everybody on a link shares its network of 64 bits.
        return address
    return IPv6Network((int(address), 64), strict=False)
