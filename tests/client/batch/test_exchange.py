"""A connection of ``--send`` on real sockets."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from broadcast.client.batch import exchange
from broadcast.client.batch.exchange import Connection, Lost
from tests.platforms import needs_unix_sockets

PATIENCE = 30


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def connect(listener: socket.socket, host: str = "127.0.0.1") -> Connection:
    return Connection(host, listener.getsockname()[1], monotonic() + PATIENCE)


def test_requests_and_answers_are_exchanged(listener: socket.socket) -> None:
    connection = connect(listener)
    server, _ = listener.accept()
    with server:
        assert connection.request(1, "say", {"text": "é"})
        connection.wait(monotonic())
        assert server.recv(1000) == b'{"jsonrpc": "2.0", "id": 1, "method": "say", "params": {"text": "\xc3\xa9"}}\n'
        server.sendall(b'Welcome.\r\nNickname: \r\n{"method": "said"}\n{"id": 1, "result": {}}\n{"id"')
        while not connection.answers:
            connection.wait(monotonic() + PATIENCE)
        assert connection.answers == [{"id": 1, "result": {}}]
    connection.close()


def test_a_request_that_does_not_fit_into_the_socket_is_sent_later(listener: socket.socket) -> None:
    connection = connect(listener)
    server, _ = listener.accept()
    with server:
        count = 300
        for number in range(count):
            assert connection.request(number, "say", {"text": "x" * 16_000})
        received = b""
        while received.count(b"\n") < count:
            connection.wait(monotonic())
            server.settimeout(0.01)
            try:
                received += server.recv(1_000_000)
            except TimeoutError:
                continue
        assert not connection.request(0, "say", {"text": "x" * 17_000})
    connection.close()


def test_the_end_of_a_connection_has_the_servers_reason(listener: socket.socket) -> None:
    connection = connect(listener)
    server, _ = listener.accept()
    with server:
        server.sendall(b'{"method": "goodbye", "params": {"reason": "Down.", "reconnect": true, "after": 3}}\n')
    connection.request(1, "ping", {})
    while not connection._goodbye:
        connection.wait(monotonic() + PATIENCE)
    with pytest.raises(Lost, match=r"^Down$") as lost:
        connection.wait(monotonic() + PATIENCE)
    assert (lost.value.after, lost.value.is_final) == (3, False)
    connection.close()


def test_a_reset_is_a_lost_connection(listener: socket.socket) -> None:
    connection = connect(listener)
    server, _ = listener.accept()
    server.sendall(b"{}\n")
    connection.wait(monotonic() + PATIENCE)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    server.close()
    with pytest.raises(Lost, match="reset" if os.name != "nt" else "reset|forcibly|closed"):
        connection.wait(monotonic() + PATIENCE)
    connection.close()


def test_all_addresses_of_a_host_are_tried(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    number = listener.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as other:
        closed = other.getsockname()[1]
    found: list[Any] = [
        (socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("::1", closed, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", closed)),
        (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", number)),
    ]
    monkeypatch.setattr(exchange, "_look_up", lambda *_: found)
    connect(listener, "there").close()
    del found[-1]
    with pytest.raises(Lost, match="refused"):
        connect(listener, "there")


class Deaf:
    """A socket that nobody answers."""

    timeout = 0.0

    def __init__(self, *_: object) -> None:
        """Do nothing."""

    def settimeout(self, seconds: float) -> None:
        type(self).timeout = seconds

    def connect(self, _address: object) -> None:
        raise TimeoutError

    def close(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize(("left", "timeout"), [(0, 0.1), (10, 10), (100, exchange.CONNECT_SECONDS)])
def test_an_attempt_to_connect_has_a_time_limit(monkeypatch: pytest.MonkeyPatch, left: float, timeout: float) -> None:
    monkeypatch.setattr("_socket.socket", Deaf)
    monkeypatch.setattr(exchange, "monotonic", lambda: 1000.0)
    with pytest.raises(Lost, match="it does not answer"):
        Connection("127.0.0.1", 1, 1000 + left)
    assert Deaf.timeout == timeout


@needs_unix_sockets
def test_a_unix_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "chat"))
        listener.listen()
        Connection(f"unix:{tmp_path / 'chat'}", 0, monotonic() + PATIENCE).close()
    with pytest.raises(Lost, match="No such file"):
        Connection(f"unix:{tmp_path / 'nothing'}", 0, monotonic() + PATIENCE)


@pytest.mark.parametrize("ignored", [False, True])
def test_signals_end_the_client_while_a_name_is_looked_up(monkeypatch: pytest.MonkeyPatch, ignored: bool) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN) if ignored else signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def look_up(*_: object) -> list[Any]:
        seen.append(signal.getsignal(signal.SIGTERM))
        raise socket.gaierror

    monkeypatch.setattr("_socket.getaddrinfo", look_up)
    try:
        with pytest.raises(Lost, match="there is no such host"):
            Connection("there", 1, monotonic())
        assert seen == [signal.SIG_IGN if ignored else signal.SIG_DFL]
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("host", ["x" * 300, "é" * 300, "a..b"])
def test_what_is_no_name_is_no_host(host: str) -> None:
    with pytest.raises(Lost, match="there is no such host"):
        Connection(host, 1, monotonic())
