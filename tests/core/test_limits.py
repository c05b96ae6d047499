"""Lines of a person and connections of an address: what is within the limits passes, what is not is told so."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.core.errors import TooManyConnections
from broadcast.core.limits import ConnectionLimiter, Limits, RateLimiter

LIMITS = Limits(paste_lines=3, lines_per_second=2)


def test_the_defaults_are_those_of_the_documentation() -> None:
    limits = Limits()
    assert (limits.line_bytes, limits.nickname_bytes, limits.nickname_seconds) == (4096, 512, 60)
    assert (limits.paste_lines, limits.lines_per_second) == (40, 2)
    assert (limits.address_connections, limits.connections, limits.linger_seconds) == (64, None, 10)
    assert (limits.replay_events, limits.replay_bytes, limits.private_queue_bytes) == (10_000, 4 << 20, 64 << 10)
    assert (limits.high_water_events, limits.high_water_bytes) == (10_000, 8 << 20)


# Lines


def taken(allowance: RateLimiter, now: float) -> int:
    """How many lines are taken at the time *now*."""
    lines = 0
    while not allowance.delay(now) and lines < 1000:
        allowance.consume(now)
        lines += 1
    return lines


def test_a_paste_passes_at_once_and_then_so_many_a_second() -> None:
    allowance = RateLimiter(LIMITS)
    assert taken(allowance, 100.0) == 3
    assert allowance.delay(100.0) == pytest.approx(0.5)
    assert [taken(allowance, 100.0 + tenth / 10) for tenth in range(1, 21)].count(1) == 4


def test_forty_lines_are_no_flood() -> None:
    assert taken(RateLimiter(Limits()), 0.0) == 40


def test_who_was_silent_for_long_may_paste_again_but_no_more_than_once() -> None:
    allowance = RateLimiter(LIMITS)
    assert taken(allowance, 0.0) == 3
    assert taken(allowance, 10_000.0) == 3


def test_after_the_wait_that_it_names_a_line_is_taken() -> None:
    allowance = RateLimiter(LIMITS)
    now = 0.1
    for _ in range(1000):
        now += allowance.delay(now)
        assert not allowance.delay(now)
        allowance.consume(now)


def test_without_a_limit_every_line_is_taken() -> None:
    assert taken(RateLimiter(LIMITS.without_client_limits()), 0.0) == 1000


@given(st.lists(st.floats(0, 5), max_size=60), st.integers(1, 10), st.sampled_from([0.5, 1, 2, 7]))
def test_never_more_than_the_paste_and_what_follows_each_second(pauses: list[float], paste: int, rate: float) -> None:
    allowance = RateLimiter(Limits(paste_lines=paste, lines_per_second=rate))
    now = spent = 0.0
    for pause in pauses:
        now += pause
        if not allowance.delay(now):
            allowance.consume(now)
            spent += 1
        assert spent <= paste + now * rate + 1e-3


# Connections


def rejection(limiter: ConnectionLimiter, host: str | None) -> str:
    """Return the reason why a connection from *host* is rejected."""
    with pytest.raises(TooManyConnections) as rejected:
        limiter.acquire(host)
    return str(rejected.value)


def test_connections_of_one_address_are_limited_until_one_is_released() -> None:
    limiter = ConnectionLimiter(Limits(address_connections=2))
    first, _second = limiter.acquire("192.0.2.1"), limiter.acquire("192.0.2.1")
    reason = rejection(limiter, "192.0.2.1")
    assert reason == "Too many connections from 192.0.2.1: this server takes 2 from one address."
    limiter.acquire("192.0.2.2")
    assert limiter.total == 3
    first.release()
    limiter.acquire("192.0.2.1")
    rejection(limiter, "192.0.2.1")


def test_lease_released_again_changes_nothing() -> None:
    limiter = ConnectionLimiter(Limits(address_connections=2))
    first, _second = limiter.acquire("192.0.2.1"), limiter.acquire("192.0.2.1")
    for _ in range(3):
        first.release()
        assert limiter.total == 1
    limiter.acquire("192.0.2.1")
    rejection(limiter, "192.0.2.1")


def test_one_ipv6_site_is_one_address() -> None:
    limiter = ConnectionLimiter(Limits(address_connections=1))
    limiter.acquire("2001:db8:0:1::1")
    reason = rejection(limiter, "2001:db8:0:1:ffff::2")
    assert reason == "Too many connections from 2001:db8:0:1::/64: this server takes 1 from one address."
    limiter.acquire("2001:db8:0:2::1")


def test_on_a_link_without_a_router_each_address_counts_for_itself() -> None:
    limiter = ConnectionLimiter(Limits(address_connections=1))
    limiter.acquire("fe80::1%eth0")
    limiter.acquire("fe80::2%eth0")
    rejection(limiter, "fe80::2%eth0")


def test_an_ipv4_address_is_the_same_on_an_ipv6_socket() -> None:
    limiter = ConnectionLimiter(Limits(address_connections=1))
    lease = limiter.acquire("192.0.2.1")
    rejection(limiter, "::ffff:192.0.2.1")
    lease.release()
    limiter.acquire("::ffff:192.0.2.1")
    rejection(limiter, "192.0.2.1")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", None, "not an address"])
def test_this_machine_is_not_limited(host: str | None) -> None:
    limiter = ConnectionLimiter(Limits(address_connections=1))
    leases = [limiter.acquire(host) for _ in range(5)]
    leases[0].release()
    assert limiter.total == 4


def test_full_server_rejects_every_address() -> None:
    limiter = ConnectionLimiter(Limits(connections=2))
    lease = limiter.acquire("127.0.0.1")
    limiter.acquire("192.0.2.1")
    assert rejection(limiter, None) == "This server is full. Try again later."
    lease.release()
    limiter.acquire(None)


def test_lifted_are_the_limits_on_people_and_addresses_alone() -> None:
    lifted = Limits(connections=5, address_connections=1).without_client_limits()
    assert (lifted.lines_per_second, lifted.address_connections) == (inf, None)
    assert (lifted.connections, lifted.line_bytes, lifted.private_queue_bytes) == (5, 4096, 64 << 10)


def test_released_addresses_are_forgotten() -> None:
    limiter = ConnectionLimiter(Limits())
    for number in range(100):
        limiter.acquire(f"192.0.2.{number}").release()
    assert not limiter._counts
