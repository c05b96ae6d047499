"""Keepalive options and TCP counters, on real sockets because only the system can show them."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic, sleep

import pytest

from broadcast.net.tcp_info import (
    TCP_RTO_MAX_MS,
    TCP_RXT_CONNDROPTIME,
    KeepalivePolicy,
    TcpInfo,
    keep_alive,
    read_tcp_info,
    seconds_unanswered,
    tcp_socket,
)
from broadcast.server.validators import GONE_LIMIT, PROBE_LIMIT
from tests.platforms import needs_unix_sockets

TIMEOUT = 60
"""Seconds after which a test gives up waiting for the system, which usually takes microseconds."""
TCP = socket.IPPROTO_TCP
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports TCP counters")


class Pair:
    """The two ends of a TCP connection."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.far = socket.create_connection(server.getsockname())
            self.near, _ = server.accept()


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    with pair.near, pair.far:
        yield pair


class RecordingSocket(socket.socket):
    """A socket that records options instead of setting them, or raises *error*."""

    def __init__(self, error: OSError | None = None) -> None:
        super().__init__()
        self.options: dict[tuple[int, int], object] = {}
        self.error = error

    def setsockopt(self, level: int, option: int, value: object) -> None:  # type: ignore[override]  # one form of it
        if self.error is not None:
            raise self.error
        self.options[level, option] = value


def recorded_options(policy: KeepalivePolicy, error: OSError | None = None) -> dict[tuple[int, int], object]:
    """Return the options that ``keep_alive`` sets."""
    with RecordingSocket(error) as connection:
        keep_alive(connection, policy)
        return connection.options


# Keepalive options


@pytest.mark.parametrize(
    ("probe", "gone", "keepalive"),
    [(60, 150, (60, 16, 5)), (1, 3, (1, 1, 1)), (1, 2, (1, 1, 1)), (10, 20, (10, 1, 5)), (60, 61, (60, 1, 1))],
)
def test_policy_starts_keepalives_after_the_probe_interval(
    probe: int, gone: int, keepalive: tuple[int, int, int]
) -> None:
    assert KeepalivePolicy(probe, gone).keepalive == keepalive


@pytest.mark.parametrize("probe", [1, 2, 59, 60, PROBE_LIMIT])
@pytest.mark.parametrize("more", [1, 2, 3, 10, 100, GONE_LIMIT - PROBE_LIMIT])
def test_system_accepts_every_policy_that_can_be_configured(probe: int, more: int) -> None:
    policy = KeepalivePolicy(probe, probe + more)
    idle, interval, count = policy.keepalive
    assert idle + interval * count <= policy.gone
    assert 0 < policy.sweep_interval < policy.dead_after < policy.gone
    assert policy.sweep_interval * 4 <= probe, "a probe that is due is not delayed for long"
    with socket.socket() as connection:
        keep_alive(connection, policy)
        if sys.platform == "linux":
            options = socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT
            assert [connection.getsockopt(TCP, option) for option in options] == [idle, interval, count, 0]


def test_linux_limits_the_interval_of_window_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for gone, milliseconds in ((2, 1000), (150, 50_000), (GONE_LIMIT, 120_000)):
        options = recorded_options(KeepalivePolicy(1, gone))
        assert options[TCP, TCP_RTO_MAX_MS] == milliseconds
        assert options[socket.SOL_SOCKET, socket.SO_KEEPALIVE] == 1


def test_macos_limits_the_time_of_retransmissions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delattr(socket, "TCP_KEEPIDLE", raising=False)
    monkeypatch.setattr(socket, "TCP_KEEPALIVE", 0x10, raising=False)
    options = recorded_options(KeepalivePolicy(60, 150))
    assert options[TCP, 0x10] == 60
    assert options[TCP, TCP_RXT_CONNDROPTIME] == 150
    assert (TCP, TCP_RTO_MAX_MS) not in options


def test_missing_options_and_reset_connections_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    assert recorded_options(KeepalivePolicy(60, 150), OSError("reset")) == {}
    monkeypatch.setattr(sys, "platform", "other")
    for option in ("TCP_KEEPIDLE", "TCP_KEEPALIVE", "TCP_KEEPINTVL", "TCP_KEEPCNT"):
        monkeypatch.delattr(socket, option, raising=False)
    assert recorded_options(KeepalivePolicy(60, 150)) == {(socket.SOL_SOCKET, socket.SO_KEEPALIVE): 1}


# TCP counters


def tcp_info(pair: Pair) -> TcpInfo:
    info = read_tcp_info(pair.near)
    assert info is not None
    return info


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = monotonic() + TIMEOUT
    while not condition():
        assert monotonic() < deadline
        sleep(0.001)


def wait_for_segments(pair: Pair, sent: int, received: int) -> None:
    """Wait until the near end has sent and received at least so many segments."""
    wait_until(lambda: tcp_info(pair).sent >= sent and tcp_info(pair).received >= received)


@linux
def test_segments_in_both_directions_are_counted(pair: Pair) -> None:
    before = tcp_info(pair)
    for _ in range(10):
        pair.near.send(b"x")
        pair.far.recv(1)
        pair.far.send(b"y")
        pair.near.recv(1)
    wait_for_segments(pair, before.sent + 10, before.received + 10)
    after = tcp_info(pair)
    assert after.sent - before.sent < 100, "this is no number of segments"
    assert after.received - before.received < 100
    assert not after.closed


@linux
def test_window_probe_and_its_answer_are_counted(pair: Pair) -> None:
    pair.near.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            pair.near.send(b"x" * 65536)
    full = tcp_info(pair)
    wait_for_segments(pair, full.sent + 2, full.received + 2)


@linux
def test_reset_connection_is_closed_although_nobody_has_read_it(pair: Pair) -> None:
    pair.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    pair.far.close()
    wait_until(lambda: (info := read_tcp_info(pair.near)) is not None and info.closed)


def test_no_counters_for_closed_sockets_old_kernels_and_other_systems(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SocketOfOldKernel(socket.socket):
        def getsockopt(self, level: int, option: int, length: int = 0) -> bytes:  # type: ignore[override]  # likewise
            return b"\1" * 104

    with SocketOfOldKernel() as connection:
        assert read_tcp_info(connection) is None
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "darwin")
        assert read_tcp_info(pair.near) is None
    pair.near.close()
    assert read_tcp_info(pair.near) is None


class Layer:
    """A transport with a handle, perhaps on top of another transport."""

    def __init__(self, handle: object, transport: object = None) -> None:
        self.getHandle = lambda: handle
        self.transport = transport


@needs_unix_sockets
def test_tcp_socket_is_found_below_other_layers(pair: Pair) -> None:
    encrypted = object()
    assert tcp_socket(Layer(pair.near)) is pair.near
    assert tcp_socket(Layer(encrypted, Layer(pair.near))) is pair.near
    with socket.socket(socket.AF_UNIX) as local:
        for transport in (Layer(local), Layer(None), object(), None):
            assert tcp_socket(transport) is None


# Data without an acknowledgement


class FixedInfo(socket.socket):
    """A socket of which the system tells these numbers."""

    def __init__(self, info: bytes) -> None:
        super().__init__()
        self._info = info

    def getsockopt(self, _level: int, _option: int, size: int = 0) -> bytes:  # type: ignore[override]  # one form
        return self._info[:size]

    def getHandle(self) -> socket.socket:  # noqa: N802 -- Twisted's name
        return self


def info_with(retransmits: int, backoff: int, rto: float, unacked: int, last_sent: float, last_ack: float) -> bytes:
    """Return a ``struct tcp_info`` with these fields; times are in seconds."""
    info = bytearray(232)
    info[2], info[4] = retransmits, backoff
    fields = {8: rto * 1e6, 24: unacked, 44: last_sent * 1e3, 56: last_ack * 1e3}
    for offset, value in fields.items():
        info[offset : offset + 4] = int(value).to_bytes(4, sys.byteorder)
    return bytes(info)


@linux
@pytest.mark.parametrize(
    ("info", "seconds"),
    [
        (info_with(0, 0, 0.2, 0, 99, 99), 0.0),
        (info_with(0, 0, 0.2, 3, 0.1, 99), 0.0),
        (info_with(0, 3, 1.6, 0, 1, 1), 0.0),
        (info_with(1, 1, 0.4, 1, 0.1, 99), 0.3),
        (info_with(6, 6, 12.8, 1, 2, 99), 14.6),
        (info_with(6, 6, 12.8, 1, 2, 5), 5.0),
        (b"short", 0.0),
    ],
    ids=["nothing in flight", "just sent", "probes", "one retransmission", "six", "answered meanwhile", "old system"],
)
def test_time_without_an_acknowledgement_is_read_from_the_retransmissions(info: bytes, seconds: float) -> None:
    with FixedInfo(info) as connection:
        assert seconds_unanswered(connection) == pytest.approx(seconds)


def test_peer_that_answers_is_never_unanswered(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    class Transport:
        def getHandle(self) -> socket.socket:  # noqa: N802 -- Twisted's name
            return pair.near

    pair.near.send(b"hi")
    assert seconds_unanswered(Transport()) == 0.0
    assert seconds_unanswered(object()) == 0.0
    pair.near.close()
    assert seconds_unanswered(Transport()) == 0.0
    monkeypatch.setattr(sys, "platform", "darwin")
    assert seconds_unanswered(Transport()) == 0.0
