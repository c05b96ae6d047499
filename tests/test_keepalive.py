"""The server and the client set the same keepalive options, under the names that the system has."""

from __future__ import annotations

import socket

import pytest

from broadcast.keepalive import set_keepalive


def test_options_are_set() -> None:
    with socket.socket() as connection:
        set_keepalive(connection, 60, 15, 4)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
        values = [connection.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names]
        assert values == [60, 15, 4]


def test_macos_has_another_name_for_the_idle_time(monkeypatch: pytest.MonkeyPatch) -> None:
    number = socket.TCP_KEEPIDLE
    monkeypatch.delattr(socket, "TCP_KEEPIDLE")
    monkeypatch.setattr(socket, "TCP_KEEPALIVE", number, raising=False)
    with socket.socket() as connection:
        set_keepalive(connection, 61, 15, 4)
        assert connection.getsockopt(socket.IPPROTO_TCP, number) == 61


def test_closed_connection_is_no_error() -> None:
    connection = socket.socket()
    connection.close()
    set_keepalive(connection, 60, 15, 4)
    assert connection.fileno() == -1
