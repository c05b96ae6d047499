"""A TLS connection of ``--send`` on real sockets."""

from __future__ import annotations

import _socket
import select
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from time import monotonic

import pytest

from broadcast.client.batch.exchange import Connection, Lost
from broadcast.client.batch.secure_socket import SecureSocket, secure
from broadcast.client.certificates import CertificateError
from broadcast.client.tls import PLAIN, Trust
from tests.client.tls_servers import Identity

PATIENCE = 30
OTHER = "SHA256:" + "a1" * 32


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        yield listener


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return Identity(tmp_path)


class Server(Thread):
    """A server that serves each of *count* connections with *serve*, if the handshake succeeds."""

    def __init__(
        self, listener: socket.socket, identity: Identity, serve: Callable[[ssl.SSLSocket], object], count: int = 1
    ) -> None:
        super().__init__(daemon=True)
        self._listener = listener
        self._context = identity.context()
        self._serve = serve
        self._count = count
        self.start()

    def run(self) -> None:
        for _ in range(self._count):
            plain, _ = self._listener.accept()
            plain.settimeout(PATIENCE)
            try:
                with self._context.wrap_socket(plain, server_side=True) as connection:
                    self._serve(connection)
            except OSError:  # the client does not trust the certificate
                continue

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, *_error: object) -> None:
        self.join(PATIENCE)
        assert not self.is_alive()


def connect(listener: socket.socket, trust: Trust) -> SecureSocket:
    def make() -> _socket.socket:
        plain = _socket.socket()
        plain.connect(listener.getsockname())
        return plain

    return secure(make, trust, monotonic() + PATIENCE)


def test_lines_pass_in_both_directions(listener: socket.socket, identity: Identity) -> None:
    ends: list[bytes] = []

    def serve(connection: ssl.SSLSocket) -> None:
        connection.sendall(connection.recv(100).upper())
        connection.sendall(b"x" * 100_000)
        ends.append(connection.recv(100))

    with Server(listener, identity, serve):
        client = connect(listener, Trust("localhost", [identity.fingerprint]))
        client.setblocking(False)
        assert client.send(b"hello") == 5
        received = b""
        while len(received) < 100_005:
            ready, _, _ = select.select([client.fileno()], [], [], PATIENCE)
            assert ready, "no record waits without the descriptor"
            try:
                received += client.recv(65536)
            except BlockingIOError:
                continue
        assert received == b"HELLO" + b"x" * 100_000
        client.close()
    assert ends == [b""], "the server has seen the end of TLS"


def test_a_buffer_that_is_full_is_not_an_error(listener: socket.socket, identity: Identity) -> None:
    sizes: list[int] = []
    full = Event()

    def serve(connection: ssl.SSLSocket) -> None:
        full.wait(PATIENCE)
        size = 0
        while piece := connection.recv(65536):
            size += len(piece)
        sizes.append(size)

    sent = 0
    client = None
    with Server(listener, identity, serve):
        client = connect(listener, Trust("localhost", [identity.fingerprint]))
        client.setblocking(False)
        unsent = bytearray(b"x" * 20_000_000)
        while unsent:
            try:
                count = client.send(unsent)
                del unsent[:count]
                sent += count
            except BlockingIOError:
                full.set()
                select.select([], [client.fileno()], [], PATIENCE)
        client.close()
    assert full.is_set()
    assert sizes == [sent]


def test_an_unknown_key_is_read_on_a_second_connection(listener: socket.socket, identity: Identity) -> None:
    received: list[bytes] = []
    with (
        Server(listener, identity, lambda connection: received.append(connection.recv(100)), count=2),
        pytest.raises(CertificateError) as error,
    ):
        connect(listener, Trust("localhost"))
    assert (error.value.problem, error.value.fingerprint) == ("is self-signed", identity.fingerprint)
    assert not b"".join(received)


def test_another_key_is_refused_before_anything_is_sent(listener: socket.socket, identity: Identity) -> None:
    received: list[bytes] = []
    with (
        Server(listener, identity, lambda connection: received.append(connection.recv(100))),
        pytest.raises(CertificateError) as error,
    ):
        connect(listener, Trust("localhost", [OTHER]))
    assert error.value.known == (OTHER,)
    assert not b"".join(received)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"Welcome.\r\nNickname: ", PLAIN),
        (b"", "the server closed the connection"),
        (None, "the server does not answer"),
    ],
)
def test_a_failed_handshake_is_a_lost_connection(listener: socket.socket, answer: bytes | None, reason: str) -> None:
    def serve() -> None:
        connection, _ = listener.accept()
        with connection, suppress(ConnectionError):
            if answer is None:
                connection.recv(100_000)
            else:
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
            while connection.recv(100_000):
                pass

    deadline = monotonic() + (0 if answer is None else PATIENCE)
    thread = Thread(target=serve, daemon=True)
    thread.start()
    with pytest.raises(Lost) as lost:
        Connection("127.0.0.1", listener.getsockname()[1], deadline, Trust("127.0.0.1"))
    assert str(lost.value) == reason
    thread.join(PATIENCE)


def test_bytes_that_are_no_tls_end_the_connection(listener: socket.socket, identity: Identity) -> None:
    def serve(connection: ssl.SSLSocket) -> None:
        socket.socket.sendall(connection, b"no TLS at all")
        connection.recv(100)

    with Server(listener, identity, serve):
        client = connect(listener, Trust("localhost", [identity.fingerprint]))
        with pytest.raises(ConnectionAbortedError):
            client.recv(65536)
        client.close()
