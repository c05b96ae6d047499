"""The limits on lines a second and on connections."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.core.errors import TooManyConnections
from broadcast.core.limits import ARRIVALS_AT_ONCE, MAX_ARRIVALS, ConnectionLimiter, Limits, RateLimiter

LIMITS = Limits(paste_lines=3, lines_per_second=2)


def test_defaults_are_those_of_the_documentation() -> None:
    limits = Limits()
    assert (limits.line_bytes, limits.nickname_bytes, limits.nickname_seconds) == (4096, 512, 60)
    assert (limits.paste_lines, limits.lines_per_second) == (40, 2)
    assert (limits.address_connections, limits.connections, limits.linger_seconds) == (64, None, 10)
    assert (limits.replay_events, limits.replay_bytes, limits.private_queue_bytes) == (10_000, 4 << 20, 64 << 10)
    assert (limits.high_water_events, limits.high_water_bytes) == (10_000, 8 << 20)


def test_only_the_limits_on_people_and_addresses_can_be_lifted() -> None:
    lifted = Limits(connections=5, address_connections=1).without_client_limits()
    assert (lifted.lines_per_second, lifted.address_connections) == (inf, None)
    assert (lifted.connections, lifted.line_bytes, lifted.private_queue_bytes) == (5, 4096, 64 << 10)


# Lines


def take(limiter: RateLimiter, now: float) -> int:
    """Return how many lines, at most 1,000, are accepted at the time *now*."""
    lines = 0
    while not limiter.delay(now) and lines < 1000:
        limiter.consume(now)
        lines += 1
    return lines


def test_paste_is_accepted_at_once_and_then_a_number_of_lines_a_second() -> None:
    limiter = RateLimiter(3, 2)
    assert take(limiter, 100.0) == 3
    assert limiter.delay(100.0) == pytest.approx(0.5)
    assert [take(limiter, 100.0 + tenth / 10) for tenth in range(1, 21)].count(1) == 4
    assert take(limiter, 10_000.0) == 3  # a long silence earns one paste, not many
    assert take(RateLimiter(40, 2), 0.0) == 40
    assert take(RateLimiter(3, inf), 0.0) == 1000


def test_line_is_accepted_after_the_delay() -> None:
    limiter = RateLimiter(3, 2)
    now = 0.1
    for _ in range(1000):
        now += limiter.delay(now)
        assert not limiter.delay(now)
        limiter.consume(now)


@given(st.lists(st.floats(0, 5), max_size=60), st.integers(1, 10), st.sampled_from([0.5, 1, 2, 7]))
def test_lines_never_exceed_the_paste_and_the_rate(pauses: list[float], paste: int, rate: float) -> None:
    limiter = RateLimiter(paste, rate)
    now = accepted = 0.0
    for pause in pauses:
        now += pause
        if not limiter.delay(now):
            limiter.consume(now)
            accepted += 1
        assert accepted <= paste + now * rate + 1e-3


# Connections


def rejection(limiter: ConnectionLimiter, host: str | None, now: float = 0.0) -> str:
    """Return the reason why a connection from *host* is rejected."""
    with pytest.raises(TooManyConnections) as rejected:
        limiter.acquire(host, now)
    return str(rejected.value)


def test_connections_of_one_address_are_limited_until_one_is_released() -> None:
    """A lease that is released again changes nothing."""
    limiter = ConnectionLimiter(Limits(address_connections=2))
    first, _second = limiter.acquire("192.0.2.1", 0.0), limiter.acquire("192.0.2.1", 0.0)
    reason = rejection(limiter, "192.0.2.1")
    assert reason == "Too many connections from 192.0.2.1: this server takes 2 from one address."
    limiter.acquire("192.0.2.2", 0.0)
    assert limiter.total == 3
    for _ in range(3):
        first.release()
        assert limiter.total == 2
    limiter.acquire("192.0.2.1", 0.0)
    rejection(limiter, "192.0.2.1")


@pytest.mark.parametrize(
    ("first", "same", "other", "shown"),
    [
        pytest.param("2001:db8:0:1::1", "2001:db8:0:1:f::2", "2001:db8:0:2::1", "2001:db8:0:1::/64", id="IPv6 network"),
        pytest.param("fe80::1%eth0", "fe80::1%eth0", "fe80::2%eth0", "fe80::1%eth0", id="link-local"),
        pytest.param("fe80::1%eth0", "fe80::1%eth0", "fe80::1%eth1", "fe80::1%eth0", id="link-local on two networks"),
        pytest.param("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2", "192.0.2.1", id="IPv4 on an IPv6 socket"),
    ],
)
def test_addresses_of_one_client_count_together(first: str, same: str, other: str, shown: str) -> None:
    limiter = ConnectionLimiter(Limits(address_connections=1))
    lease = limiter.acquire(first, 0.0)
    reason = rejection(limiter, same)
    assert reason == f"Too many connections from {shown}: this server takes 1 from one address."
    limiter.acquire(other, 0.0)
    lease.release()
    limiter.acquire(same, 0.0).release()
    limiter.acquire(first, 0.0)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", None, "not an address"])
def test_this_machine_is_not_limited(host: str | None) -> None:
    limiter = ConnectionLimiter(Limits(address_connections=1))
    leases = [limiter.acquire(host, 0.0) for _ in range(5)]
    leases[0].release()
    assert limiter.total == 4


def test_full_server_rejects_every_address() -> None:
    limiter = ConnectionLimiter(Limits(connections=2))
    lease = limiter.acquire("127.0.0.1", 0.0)
    limiter.acquire("192.0.2.1", 0.0)
    assert rejection(limiter, None) == "This server is full. Try again later."
    lease.release()
    limiter.acquire(None, 0.0)


def test_released_addresses_are_forgotten() -> None:
    limiter = ConnectionLimiter(Limits())
    for number in range(100):
        limiter.acquire(f"192.0.2.{number}", 0.0).release()
    assert not limiter._counts


def test_new_connections_of_one_address_are_limited_to_a_rate() -> None:
    """Rejected attempts and connections that were released again count alike: only the accepted ones, each once."""
    limiter = ConnectionLimiter(Limits(address_connections=1, address_connection_rate=2))
    for _ in range(ARRIVALS_AT_ONCE):
        limiter.acquire("192.0.2.1", 0.0).release()
    for _ in range(2):
        assert rejection(limiter, "192.0.2.1", 0.49) == (
            "Too many new connections from 192.0.2.1: this server takes 2 a second from one address."
        )
    limiter.acquire("192.0.2.2", 0.49)
    limiter.acquire("192.0.2.1", 0.5).release()
    assert rejection(limiter, "192.0.2.1", 0.6)
    for _ in range(ARRIVALS_AT_ONCE):
        limiter.acquire("192.0.2.1", 100.0).release()
    assert rejection(limiter, "192.0.2.1", 100.0)
    assert limiter.total == 1


def test_address_that_may_have_many_connections_may_open_them_at_once() -> None:
    limiter = ConnectionLimiter(Limits(address_connections=100))
    leases = [limiter.acquire("192.0.2.1", 0.0) for _ in range(100)]
    leases.pop().release()
    assert "new connections" in rejection(limiter, "192.0.2.1")


def test_few_addresses_are_remembered_for_their_rate() -> None:
    limiter = ConnectionLimiter(Limits(address_connection_rate=1))
    for number in range(100):
        limiter.acquire(f"192.0.2.{number}", 2.0 * number).release()
        assert len(limiter._arrivals) <= 2
    for number in range(MAX_ARRIVALS + 100):
        limiter.acquire(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1000.0).release()
    assert len(limiter._arrivals) == MAX_ARRIVALS


def test_without_client_limits_an_address_connects_as_often_as_it_likes() -> None:
    limiter = ConnectionLimiter(Limits().without_client_limits())
    for _ in range(2 * ARRIVALS_AT_ONCE):
        limiter.acquire("192.0.2.1", 0.0)
    assert limiter.total == 2 * ARRIVALS_AT_ONCE


def test_sessions_that_wait_count_like_connections_but_refuse_none() -> None:
    limiter = ConnectionLimiter(Limits(address_connections=3, connections=5))
    limiter.acquire("10.0.0.1", 0.0)
    limiter.check("10.0.0.1", 2, 4)
    limiter.check("127.0.0.1", 9, 4)
    with pytest.raises(TooManyConnections, match=r"10\.0\.0\.1: this server takes 3 "):
        limiter.check("10.0.0.1", 3, 4)
    with pytest.raises(TooManyConnections, match="full"):
        limiter.check("10.0.0.1", 2, 5)
    ConnectionLimiter(Limits(address_connections=None)).check("10.0.0.1", 1000, 1000)
