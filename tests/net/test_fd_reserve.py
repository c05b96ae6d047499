"""The descriptor reserve rejects clients with a message while no descriptor is free, or pauses the port."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, cast

import pytest
from twisted.internet.interfaces import IListeningPort, IReactorTCP
from twisted.internet.protocol import ServerFactory
from twisted.internet.task import Clock
from twisted.internet.tcp import Port
from twisted.logger import capturedLogs, formatEvent

from broadcast.net import fd_reserve
from broadcast.net.endpoints import close_now
from broadcast.net.fd_reserve import PAUSE_SECONDS, ReserveSocket, install_fd_reserve

resource = pytest.importorskip("resource", reason="Windows has no limits of resources")
FULL = b" * This server is full.\r\n"
TIMEOUT = 60
LIMIT = 1024


@contextmanager
def no_free_descriptor(*, drain_reserve_of: ReserveSocket | None = None) -> Iterator[None]:
    """Open files until this process has no descriptor left, and also use up the reserve of a socket."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(LIMIT, soft), hard))
    try:
        with suppress(OSError):
            while True:
                opened.append(os.open(os.devnull, os.O_RDONLY))
        if drain_reserve_of is not None:
            drain_reserve_of._release_reserve()
            opened.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Listening:
    """A ``ReserveSocket`` and its clients."""

    def __init__(self) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.address = listening.getsockname()
        self.pauses = 0
        self.clock = Clock()
        self.socket = ReserveSocket(listening.detach(), FULL, self._pause, self.clock)
        self._clients: list[socket.socket] = []

    def _pause(self) -> None:
        self.pauses += 1

    def connect(self, data: bytes = b"") -> socket.socket:
        """Return a client that has sent *data*."""
        client = socket.create_connection(self.address, TIMEOUT)
        self._clients.append(client)
        client.sendall(data)
        return client

    def accept_none(self) -> None:
        """Check that ``accept`` returns no connection."""
        with pytest.raises(BlockingIOError) as caught:
            self.socket.accept()
        assert caught.value.errno == errno.EAGAIN

    def accept(self) -> None:
        """Check that ``accept`` returns a connection."""
        accepted, _address = self.socket.accept()
        accepted.close()

    def close(self) -> None:
        self.socket.close()
        for client in self._clients:
            client.close()


@pytest.fixture
def listening() -> Iterator[Listening]:
    with closing(Listening()) as listening:
        yield listening


def read_all(client: socket.socket) -> bytes:
    """Return what *client* reads until the end of the stream. A reset fails the test."""
    with client.makefile("rb") as file:
        return file.read()


def test_clients_are_rejected_with_a_message_while_no_descriptor_is_free(listening: Listening) -> None:
    listening.accept_none()
    listening.connect()
    listening.accept()
    listening.accept_none()

    gone = listening.connect(b"ann")
    gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    gone.close()  # resets the connection before it is rejected
    clients = [listening.connect(), listening.connect(b"ann\r\nhello\r\n"), listening.connect()]
    with no_free_descriptor():
        listening.accept_none()
    assert [read_all(client) for client in clients] == [FULL] * 3
    assert listening.pauses == 0
    listening.connect()
    listening.accept()


def test_reserve_is_used_again_for_each_accept(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    clients = [listening.connect(), listening.connect()]
    monkeypatch.setattr(fd_reserve, "MAX_REJECTED_PER_ACCEPT", 1)
    with no_free_descriptor():
        for _ in range(3):
            listening.accept_none()
    assert [read_all(client) for client in clients] == [FULL] * 2
    assert listening.pauses == 0


def test_lost_reserve_pauses_the_port_until_it_is_restored(listening: Listening) -> None:
    listening.connect()
    with no_free_descriptor(drain_reserve_of=listening.socket):
        listening.accept_none()
        assert listening.pauses == 1
        listening.accept_none()
        assert listening.pauses == 2
    listening.accept()
    client = listening.connect()
    with no_free_descriptor():
        listening.accept_none()
    assert read_all(client) == FULL


def test_rejections_are_logged_with_their_number_and_the_reason(listening: Listening) -> None:
    for _ in range(2):
        listening.connect()
    with capturedLogs() as events, no_free_descriptor():
        listening.accept_none()
    assert [formatEvent(event) for event in events] == ["Cannot accept connections: Too many open files. Rejected: 2."]


def test_closed_socket_releases_the_reserve_and_raises_other_errors() -> None:
    with closing(Listening()) as listening:
        reserve = listening.socket._reserve
        assert reserve is not None
        os.fstat(reserve)
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(reserve)
    with pytest.raises(OSError, match="descriptor") as caught:
        listening.socket.accept()
    assert caught.value.errno == errno.EBADF


# On a port of the reactor


class CountingFactory(ServerFactory):
    """Counts connections."""

    noisy = False

    def __init__(self) -> None:
        self.connections = 0

    def buildProtocol(self, address: object) -> None:
        self.connections += 1


@pytest.fixture
def port() -> Iterator[Any]:
    from twisted.internet import reactor  # noqa: PLC0415 -- the one that pytest-twisted has installed

    port = cast(IReactorTCP, reactor).listenTCP(0, CountingFactory(), interface="127.0.0.1")
    assert isinstance(port, Port)
    yield port
    if port.connected:
        close_now([cast(IListeningPort, port)])


def is_reading(port: Any) -> bool:  # noqa: ANN401 -- Twisted's Port is not annotated
    return port in port.reactor.getReaders()


def connect(port: Any) -> socket.socket:  # noqa: ANN401 -- likewise
    return socket.create_connection(port.socket.getsockname(), TIMEOUT)


def test_guarded_port_accepts_with_the_same_descriptor_and_address(port: Any) -> None:  # noqa: ANN401 -- likewise
    before = port.fileno(), port.getHost()
    install_fd_reserve(port, FULL, Clock())
    assert (port.fileno(), port.getHost()) == before
    assert is_reading(port)
    with connect(port):
        port.doRead()
    assert port.factory.connections == 1


@pytest.mark.parametrize("closed", [False, True])
def test_guarded_port_resumes_after_a_pause_unless_it_was_closed(port: Any, *, closed: bool) -> None:  # noqa: ANN401 -- likewise
    clock = Clock()
    install_fd_reserve(port, FULL, clock)
    with connect(port):
        with no_free_descriptor(drain_reserve_of=port.socket):
            port.doRead()
        assert not is_reading(port)
        if closed:
            close_now([port])
        clock.advance(PAUSE_SECONDS)
        assert is_reading(port) is not closed
        if not closed:
            port.doRead()
            assert port.factory.connections == 1
