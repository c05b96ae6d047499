"""Without unix sockets, the administrator and the server prove to each other that they can read a file."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_twisted import ensureDeferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher

from broadcast.admin import requests
from broadcast.admin.status import UNUSABLE, AdminError
from broadcast.server.admin_access import PORT_FILE, AdminAccess
from broadcast.server.admin_socket import MAX_CONNECTIONS, AdminPort, AdminPortConnection
from broadcast.server.administration import Administration, encode_request
from tests.harness import MemoryTransport
from tests.platforms import needs_permissions

ACCESS = AdminAccess(5555, b"c" * 43, b"s" * 43)
REQUEST = encode_request("add", {"name": "eve", "password": "correct horse"})
ANSWER = b'{"jsonrpc":"2.0","id":1,"result":"done"}\n'


class AnsweringAdministration:
    """An administration that answers each request at once."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def handle(self, line: bytes, on_answer: Callable[[bytes], object]) -> None:
        self.lines.append(line)
        on_answer(ANSWER)


class HandledTransport(MemoryTransport):
    """A transport that has a socket, as far as the admin port knows."""

    def getHandle(self) -> None:  # noqa: N802 -- Twisted's name
        return None


class Desk:
    """An admin port in memory, and connections to it."""

    def __init__(self) -> None:
        self.administration = AnsweringAdministration()
        self.port = AdminPort(Path(), cast(Administration, self.administration), Clock())
        self.port._access = ACCESS

    def connect(self) -> tuple[AdminPortConnection, HandledTransport]:
        connection, transport = self.port.buildProtocol(None), HandledTransport()
        connection.makeConnection(transport)  # type: ignore[no-untyped-call]
        return connection, transport


@given(st.lists(st.integers(0, len(ACCESS.client_secret) + len(REQUEST)), max_size=5))
def test_secret_opens_the_way_for_one_request_however_it_is_cut(cuts: list[int]) -> None:
    desk = Desk()
    connection, transport = desk.connect()
    data = ACCESS.client_secret + b"\n" + REQUEST
    edges = [0, *sorted(cuts), len(data)]
    for start, end in pairwise(edges):
        connection.dataReceived(data[start:end])
    assert desk.administration.lines == [REQUEST[:-1]]
    assert transport.sent == ACCESS.server_secret + b"\n" + ANSWER
    assert transport.closed


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        REQUEST,
        ACCESS.server_secret + b"\n",
        ACCESS.client_secret[:-1] + b"\n",
        ACCESS.client_secret + b"x",
        ACCESS.client_secret + b"\r\n",
        b"x" * 10_000,
    ],
)
def test_connection_without_the_secret_is_closed_and_learns_nothing(line: bytes) -> None:
    desk = Desk()
    connection, transport = desk.connect()
    connection.dataReceived(line)
    assert b"This is not the secret in admin.port." in transport.sent
    assert ACCESS.server_secret not in transport.sent
    assert transport.closed
    connection.dataReceived(ACCESS.client_secret + b"\n" + REQUEST)
    assert desk.administration.lines == []


def test_too_many_connections_are_closed() -> None:
    desk = Desk()
    for _ in range(MAX_CONNECTIONS):
        assert not desk.connect()[1].closed
    _connection, transport = desk.connect()
    assert b"16 connections, which is its limit" in transport.sent
    assert transport.closed


def test_secrets_are_not_shown() -> None:
    assert repr(ACCESS) == "AdminAccess(port=5555)"


class Listening:
    """An admin port in *folder* at the reactor of pytest-twisted."""

    def __init__(self, folder: Path) -> None:
        from twisted.internet import reactor  # noqa: PLC0415 -- the one that pytest-twisted has installed

        self.administration = AnsweringAdministration()
        self.port = AdminPort(folder, cast(Administration, self.administration), reactor)
        self.path = folder / PORT_FILE
        self.log: list[str] = []

    def start(self) -> None:
        observer = cast(ILogObserver, self._observe)
        globalLogPublisher.addObserver(observer)
        try:
            self.port.start()
        finally:
            globalLogPublisher.removeObserver(observer)

    def _observe(self, event: LogEvent) -> None:
        if event.get("log_namespace") == "broadcast.server.admin_socket.AdminPort":
            self.log.append(formatEvent(event))


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Listening]:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    listening = Listening(folder)
    yield listening
    listening.port.stop()


@ensureDeferred
async def test_administrator_reaches_the_server(listening: Listening) -> None:
    listening.start()
    assert await deferToThread(requests._ask_port, listening.path, REQUEST) == ANSWER
    assert listening.administration.lines == [REQUEST[:-1]]
    assert listening.log == []


@needs_permissions
def test_file_is_for_its_owner_only(listening: Listening) -> None:
    before = os.umask(0)
    listening.start()
    os.umask(before)
    assert stat.S_IMODE(listening.path.stat().st_mode) == 0o600


def test_file_is_removed_at_the_end(listening: Listening) -> None:
    listening.start()
    listening.port.stop()
    assert list(listening.path.parent.iterdir()) == []


def test_file_of_a_killed_server_is_replaced(listening: Listening) -> None:
    ACCESS.write(listening.path)
    listening.start()
    assert listening.log == []
    access = AdminAccess.read(listening.path)
    assert not {access.client_secret, access.server_secret} & {ACCESS.client_secret, ACCESS.server_secret}


def test_another_file_stays_and_the_log_says_so(listening: Listening) -> None:
    listening.path.write_text("precious")
    listening.start()
    (line,) = listening.log
    assert line.endswith("cannot be created (it is not the file of a server: move it away).")
    listening.port.stop()
    assert listening.path.read_text() == "precious"


def test_port_closes_if_the_file_cannot_be_written(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    ports: list[int] = []

    def fail(access: AdminAccess, _path: Path) -> None:
        ports.append(access.port)
        raise OSError(None, "the disk is full")

    monkeypatch.setattr(AdminAccess, "write", fail)
    listening.start()
    assert "cannot be created (the disk is full)" in listening.log[0]
    with socket.socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect(("127.0.0.1", ports[0]))


def impostor(listener: socket.socket, answer: bytes) -> tuple[Thread, bytearray]:
    """Answer the first line of one connection with *answer*. Return the thread, and all that it receives."""
    received = bytearray()

    def run() -> None:
        connection, _ = listener.accept()
        with connection:
            received.extend(connection.recv(1000))
            connection.sendall(answer)
            while data := connection.recv(1000):
                received.extend(data)

    thread = Thread(target=run, daemon=True)
    thread.start()
    return thread, received


@pytest.mark.parametrize("answer", [b"", b"\n", ACCESS.client_secret + b"\n", ANSWER])
def test_program_that_has_taken_the_port_receives_no_request(
    tmp_path: Path, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "START_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        access = AdminAccess(listener.getsockname()[1])
        access.write(tmp_path / PORT_FILE)
        thread, received = impostor(listener, answer)
        with pytest.raises(requests._NoServer, match=r"^no server answers at port"):
            requests._ask_port(tmp_path / PORT_FILE, REQUEST)
        thread.join()
    assert received == access.client_secret + b"\n"


def test_port_without_a_server_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        access = AdminAccess(listener.getsockname()[1])
    access.write(tmp_path / PORT_FILE)
    with pytest.raises(requests._NoServer, match=f"^no server answers at port {access.port}"):
        requests._ask_port(tmp_path / PORT_FILE, REQUEST)


def test_file_that_is_another_is_named(tmp_path: Path) -> None:
    (tmp_path / PORT_FILE).write_text("precious")
    with pytest.raises(requests._NoServer, match="is not the file of a server"):
        requests._ask_port(tmp_path / PORT_FILE, REQUEST)


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / PORT_FILE).mkdir()
    with pytest.raises(AdminError, match="run this command as the user of the server") as error:
        requests._ask_port(tmp_path / PORT_FILE, REQUEST)
    assert error.value.status == UNUSABLE
