"""The system's own probes, and what it tells of a connection: on real sockets, for only they show it."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from time import monotonic, sleep

import pytest

from broadcast.net.tcp_info import (
    TCP_RTO_MAX_MS,
    TCP_RXT_CONNDROPTIME,
    KeepalivePolicy,
    keep_alive,
    read_tcp_info,
    tcp_socket,
)
from broadcast.server.config import GONE_LIMIT, PROBE_LIMIT

SECONDS = 60
"""How long the system may take for what takes it microseconds."""
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")


class Pair:
    """Two ends of a TCP connection."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.far = socket.create_connection(server.getsockname())
            self.near, _ = server.accept()


@pytest.fixture
def pair() -> Iterator[Pair]:
    """One, that ends with the test."""
    pair = Pair()
    with pair.near, pair.far:
        yield pair


class Noted(socket.socket):
    """A socket that only notes what is set."""

    def __init__(self, fault: OSError | None = None) -> None:
        super().__init__()
        self.options: dict[tuple[int, int], object] = {}
        self.fault = fault

    def setsockopt(self, level: int, option: int, value: object) -> None:  # type: ignore[override]  # one form of it
        if self.fault is not None:
            raise self.fault
        self.options[level, option] = value


# How long


@pytest.mark.parametrize(
    ("probe", "gone", "keepalive"),
    [(60, 150, (60, 16, 5)), (1, 3, (1, 1, 1)), (1, 2, (1, 1, 1)), (10, 20, (10, 1, 5)), (60, 61, (60, 1, 1))],
)
def test_keepalives_begin_after_the_probe_and_end_before_the_peer_is_gone(
    probe: int, gone: int, keepalive: tuple[int, int, int]
) -> None:
    patience = KeepalivePolicy(probe, gone)
    assert patience.keepalive == keepalive


@pytest.mark.parametrize("probe", [1, 2, 59, 60, PROBE_LIMIT])
@pytest.mark.parametrize("more", [1, 2, 3, 10, 100, GONE_LIMIT - PROBE_LIMIT])
def test_every_patience_that_can_be_chosen_is_one_that_the_system_takes(probe: int, more: int) -> None:
    patience = KeepalivePolicy(probe, probe + more)
    idle, interval, count = patience.keepalive
    assert idle + interval * count <= patience.gone
    assert 0 < patience.sweep_interval < patience.dead_after < patience.gone
    assert patience.sweep_interval * 4 <= probe, "who is to be probed is not kept waiting for long"
    with socket.socket() as connection:
        keep_alive(connection, patience)
        if sys.platform == "linux":
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == idle
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == interval
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == count
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0


# The system's probes


def test_on_linux_a_peer_whose_buffer_is_full_is_asked_often_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    pauses = []
    for gone in (2, 150, GONE_LIMIT):
        with Noted() as connection:
            keep_alive(connection, KeepalivePolicy(1, gone))
            pauses.append(connection.options[socket.IPPROTO_TCP, TCP_RTO_MAX_MS])
            assert connection.options[socket.SOL_SOCKET, socket.SO_KEEPALIVE] == 1
    assert pauses == [1000, 50_000, 120_000]


def test_on_macos_data_is_not_sent_again_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delattr(socket, "TCP_KEEPIDLE", raising=False)
    monkeypatch.setattr(socket, "TCP_KEEPALIVE", 0x10, raising=False)
    with Noted() as connection:
        keep_alive(connection, KeepalivePolicy(60, 150))
    assert connection.options[socket.IPPROTO_TCP, 0x10] == 60
    assert connection.options[socket.IPPROTO_TCP, TCP_RXT_CONNDROPTIME] == 150
    assert (socket.IPPROTO_TCP, TCP_RTO_MAX_MS) not in connection.options


def test_a_system_that_has_less_does_with_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "other")
    for option in ("TCP_KEEPIDLE", "TCP_KEEPALIVE", "TCP_KEEPINTVL", "TCP_KEEPCNT"):
        monkeypatch.delattr(socket, option, raising=False)
    with Noted() as connection:
        keep_alive(connection, KeepalivePolicy(60, 150))
    assert connection.options == {(socket.SOL_SOCKET, socket.SO_KEEPALIVE): 1}


def test_a_connection_that_has_just_been_reset_is_left_alone() -> None:
    with Noted(OSError("reset")) as connection:
        keep_alive(connection, KeepalivePolicy(60, 150))
    assert connection.options == {}


# What the system tells


def eventually(pair: Pair, sent: int, received: int) -> bool:
    """Whether the near end comes to have sent and received at least so many segments."""
    until = monotonic() + SECONDS
    while monotonic() < until:
        seen = read_tcp_info(pair.near)
        assert seen is not None
        if seen.sent >= sent and seen.received >= received:
            return True
        sleep(0.001)
    return False


@linux
def test_segments_that_go_and_come_are_counted(pair: Pair) -> None:
    before = read_tcp_info(pair.near)
    assert before is not None
    for _ in range(10):
        pair.near.send(b"x")
        pair.far.recv(1)
        pair.far.send(b"y")
        pair.near.recv(1)
    assert eventually(pair, before.sent + 10, before.received + 10)
    after = read_tcp_info(pair.near)
    assert after is not None
    assert after.sent - before.sent < 100, "these are no numbers of segments"
    assert after.received - before.received < 100
    assert not after.closed


@linux
def test_a_question_for_room_is_a_segment_and_so_is_its_answer(pair: Pair) -> None:
    pair.near.setblocking(False)
    while True:
        try:
            pair.near.send(b"x" * 65536)
        except BlockingIOError:
            break
    full = read_tcp_info(pair.near)
    assert full is not None
    assert eventually(pair, full.sent + 2, full.received + 2)


@linux
def test_a_connection_that_was_reset_is_closed_although_nobody_has_read_it(pair: Pair) -> None:
    pair.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    pair.far.close()
    until = monotonic() + SECONDS
    while not (seen := read_tcp_info(pair.near)) or not seen.closed:
        assert monotonic() < until


def test_nothing_is_told_of_a_socket_that_is_closed(pair: Pair) -> None:
    pair.near.close()
    assert read_tcp_info(pair.near) is None


def test_nothing_is_told_by_other_systems(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert read_tcp_info(pair.near) is None


def test_nothing_is_told_by_a_system_that_is_too_old() -> None:
    class Old(socket.socket):
        def getsockopt(self, level: int, option: int, length: int = 0) -> bytes:  # type: ignore[override]  # likewise
            return b"\1" * 104

    with Old() as connection:
        assert read_tcp_info(connection) is None


# Which socket


class Layer:
    """A transport with a handle, above another one."""

    def __init__(self, handle: object, transport: object = None) -> None:
        self.getHandle = lambda: handle
        self.transport = transport


def test_the_socket_is_found_beneath_whatever_lies_over_it(pair: Pair) -> None:
    encrypted = object()
    assert tcp_socket(Layer(pair.near)) is pair.near
    assert tcp_socket(Layer(encrypted, Layer(pair.near))) is pair.near


def test_there_may_be_none() -> None:
    with socket.socket(socket.AF_UNIX) as local:
        assert tcp_socket(Layer(local)) is None
    assert tcp_socket(Layer(None)) is None
    assert tcp_socket(object()) is None
    assert tcp_socket(None) is None
