"""Limits, and the counters that enforce them for lines and connections; no clock and no sockets.

A client that sends too many lines stays connected and loses none of them. Its input is read more slowly.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from itertools import islice
from math import inf
from typing import Final, TypeAlias

from broadcast.core.errors import TooManyConnections

SERVER_FULL: Final = "This server is full. Try again later."
"""The reason that a client receives if the server is at its limit of connections."""
ARRIVALS_AT_ONCE: Final = 64
"""Minimum number of connections that an address may open at once; more if it may have more connections."""
MAX_ARRIVALS: Final = 10_000
"""Maximum number of addresses whose rate of new connections is known. The least recently used ones are forgotten."""
FILES_PER_HOUR: Final = 20
"""Maximum number of files that a person may share in an hour."""
_MIN_DELAY = 1e-6
"""Minimum delay, in seconds. After a timer has fired, rounding can leave a rest of a trillionth of a second."""


@dataclass(frozen=True, slots=True)
class Limits:
    """All limits with their defaults; each is an option of the command line."""

    line_bytes: int = 4096
    """Maximum length of a line in bytes, without its end; also the buffer for an unfinished line."""
    nickname_bytes: int = 512
    """Maximum length of a line before the client has a nickname, in bytes."""
    nickname_seconds: float = 60
    """Time to choose a nickname."""
    paste_lines: int = 40
    """Maximum number of lines that a client may send at once: the size of the token bucket."""
    lines_per_second: float = 2
    """Number of lines per second that a client may send when the bucket is empty; infinite for no limit."""
    grace_seconds: float = 60
    """Time for which the session of a program remains after its connection was lost."""
    address_connections: int | None = 64
    """Maximum number of connections from one IPv4 address or IPv6 network of 64 bits; None for no limit."""
    address_connection_rate: float = 20
    """Number of new connections per second from one of these, after ``ARRIVALS_AT_ONCE`` at once; may be infinite."""
    connections: int | None = None
    """Maximum number of connections in total; None for no limit."""
    rooms: int = 1_000
    """Maximum number of open rooms. A room without members is not open."""
    linger_seconds: float = 10
    """Time for the client of a closing connection to receive the rest."""
    replay_events: int = 10_000
    """Maximum number of events in the replay buffer."""
    replay_bytes: int = 4 * 1024 * 1024
    """Maximum number of bytes in the replay buffer."""
    private_queue_bytes: int = 64 * 1024
    """Size of the queue of replies and private messages at which a subscriber is congested, in bytes."""
    high_water_events: int = 10_000
    """Number of events not yet stored and delivered at which the room pauses the authors."""
    high_water_bytes: int = 8 * 1024 * 1024
    """Size of the text of such events at which the room pauses the authors, in bytes. A character counts as one."""

    file_bytes: int = 25 * 1024 * 1024
    """Maximum size of a file that people share, in bytes."""
    files_total: int = 1024 * 1024 * 1024
    """Maximum size of all files together, in bytes; 0 for no files. Past it, the oldest ones of the uploader go."""
    file_days: int = 30
    """Number of days after which a file is removed."""

    @property
    def files_per_hour(self) -> int | None:
        """Maximum number of files that a person may share in an hour; None for no limit, as for lines."""
        return None if self.lines_per_second == inf else FILES_PER_HOUR

    def without_client_limits(self) -> Limits:
        """Return the limits without those on single clients and addresses, for a room of trusted programs."""
        return replace(self, lines_per_second=inf, address_connections=None, address_connection_rate=inf)


DEFAULTS: Final = Limits()


class RateLimiter:
    """A token bucket, implemented as GCRA with a single time as its state.

    It allows *size* lines (or connections) at once, and *rate* a second when the bucket is empty; *rate* may be
    infinite. Times are seconds of a monotonic clock.
    """

    __slots__ = ("_emission_interval", "_theoretical_arrival", "_tolerance")

    def __init__(self, size: int, rate: float) -> None:
        self._emission_interval = 1 / rate
        self._tolerance = (size - 1) * self._emission_interval
        self._theoretical_arrival = -inf
        """Time at which the bucket is full again."""

    def delay(self, now: float) -> float:
        """Return the seconds until the next line is allowed, 0.0 if it is allowed now."""
        wait = self._theoretical_arrival - now - self._tolerance
        return wait if wait > _MIN_DELAY else 0.0

    def consume(self, now: float) -> None:
        """Count a line at the time *now*."""
        self._theoretical_arrival = max(self._theoretical_arrival, now) + self._emission_interval

    def is_full(self, now: float) -> bool:
        """Return whether the bucket is full, as that of a new client."""
        return self._theoretical_arrival <= now


_Source: TypeAlias = IPv4Address | IPv6Address | IPv6Network


class Lease:
    """One connection from *source*, counted by *limiter*. It counts until ``release``."""

    __slots__ = ("_limiter", "_source")

    def __init__(self, limiter: ConnectionLimiter, source: _Source | None) -> None:
        self._limiter: ConnectionLimiter | None = limiter
        self._source = source

    def release(self) -> None:
        """Stop counting the connection. Further calls have no effect."""
        limiter, self._limiter = self._limiter, None
        if limiter is not None:
            limiter.release(self._source)


class ConnectionLimiter:
    """A limit on the number of connections, in total and from each address, and on the rate of new ones from each.

    Connections from this machine count toward the total only. Times are seconds of a monotonic clock.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.total = 0
        """Number of connections that hold a lease."""
        self._counts: Counter[_Source] = Counter()
        self._arrivals: dict[_Source, RateLimiter] = {}
        """The token buckets for new connections that are not full, the least recently used first."""

    def acquire(self, host: str | None, now: float) -> Lease:
        """Count a connection from *host* at the time *now* until its lease is released. Raises ``TooManyConnections``.

        *host* is an IP address, or None for a local socket.
        """
        total_limit, address_limit = self.limits.connections, self.limits.address_connections
        if total_limit is not None and self.total >= total_limit:
            raise TooManyConnections(SERVER_FULL)
        source = find_source(host)
        if source is not None:
            if address_limit is not None:
                if self._counts[source] >= address_limit:
                    raise _too_many(source, address_limit)
                self._count_arrival(source, max(address_limit, ARRIVALS_AT_ONCE), now)
            self._counts[source] += 1
        self.total += 1
        return Lease(self, source)

    def check(self, host: str | None, waiting: int, waiting_in_total: int) -> None:
        """Check a new session on a connection that holds a lease. Raises ``TooManyConnections``.

        Sessions that wait for their next connection count like connections: *waiting* ones from *host*, and
        *waiting_in_total*. They do not count in ``acquire``, because the new connection may be that of such a session.
        """
        total_limit, address_limit = self.limits.connections, self.limits.address_connections
        if total_limit is not None and self.total + waiting_in_total > total_limit:
            raise TooManyConnections(SERVER_FULL)
        source = find_source(host)
        if source is not None and address_limit is not None and self._counts[source] + waiting > address_limit:
            raise _too_many(source, address_limit)

    def _count_arrival(self, source: _Source, at_once: int, now: float) -> None:
        """Count a new connection from *source*. Raises ``TooManyConnections`` if its token bucket is empty."""
        arrivals, rate = self._arrivals, self.limits.address_connection_rate
        limiter = arrivals.pop(source) if source in arrivals else RateLimiter(at_once, rate)
        arrivals[source] = limiter
        is_rejected = limiter.delay(now) > 0
        if not is_rejected:
            limiter.consume(now)
        # Each arrival adds one entry at most, so removing two of them forgets all addresses in time.
        for oldest in list(islice(arrivals, 2)):
            if arrivals[oldest].is_full(now) or len(arrivals) > MAX_ARRIVALS:
                del arrivals[oldest]
        if is_rejected:
            raise TooManyConnections(
                f"Too many new connections from {source}: this server takes {rate:g} a second from one address."
            )

    def release(self, source: _Source | None) -> None:
        """Stop counting a connection from *source*, whose lease has ended."""
        self.total -= 1
        if source is not None:
            self._counts[source] -= 1
            if not self._counts[source]:
                del self._counts[source]


def _too_many(source: _Source, limit: int) -> TooManyConnections:
    return TooManyConnections(f"Too many connections from {source}: this server takes {limit} from one address.")


@lru_cache(1024)
def find_source(host: str | None) -> _Source | None:
    """Return the IPv4 address or IPv6 network under which *host* is counted, or None if only the total counts it."""
    if host is None:
        return None
    try:
        address = ip_address(host)
    except ValueError:
        return None  # the name of a local socket, reported by a proxy
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return None
    if isinstance(address, IPv4Address) or address.is_link_local:
        # All machines on a link share its network of 64 bits.
        return address
    return IPv6Network((int(address), 64), strict=False)
