"""The admin socket answers one request of the server's own user on each connection, whatever else arrives."""

from __future__ import annotations

import gc
import json
import os
import socket
import stat
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure

from broadcast.server import admin_socket
from broadcast.server.admin_socket import ANSWER_SECONDS, MAX_CONNECTIONS, REQUEST_SECONDS, AdminConnection, AdminSocket
from broadcast.server.administration import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    MAX_REQUEST_BYTES,
    REJECTED,
    Administration,
    encode_request,
)
from tests.harness import MemoryTransport, logged
from tests.platforms import needs_unix_sockets

pytestmark = needs_unix_sockets

REQUEST = encode_request("remove", {"name": "ann"})
ANSWER = b'{"jsonrpc":"2.0","id":1,"result":"done"}\n'


class RecordingAdministration:
    """An administration that answers when the test says so."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.answers: list[Callable[[bytes], object]] = []
        self.error: Exception | None = None

    def handle(self, line: bytes, on_answer: Callable[[bytes], object]) -> None:
        self.lines.append(line)
        self.answers.append(on_answer)
        if self.error is not None:
            raise self.error


class UnixTransport(MemoryTransport):
    """A transport with a unix socket, whose other end belongs to this user."""

    def __init__(self) -> None:
        super().__init__()
        self.handle, self.other = socket.socketpair(socket.AF_UNIX)

    def getHandle(self) -> socket.socket:  # noqa: N802 -- Twisted's name
        return self.handle

    def close_sockets(self) -> None:
        self.handle.close()
        self.other.close()


class Desk:
    """An admin socket in memory, and connections to it."""

    def __init__(self, folder: Path = Path()) -> None:
        self.clock = Clock()
        self.administration = RecordingAdministration()
        self.socket = AdminSocket(folder, cast(Administration, self.administration), self.clock)
        self.transports: list[UnixTransport] = []

    def connect(self) -> tuple[AdminConnection, UnixTransport]:
        connection, transport = self.socket.buildProtocol(None), UnixTransport()
        self.transports.append(transport)
        connection.makeConnection(transport)  # type: ignore[no-untyped-call]
        return connection, transport

    def close(self) -> None:
        for transport in self.transports:
            transport.close_sockets()


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.close()


def error_of(transport: UnixTransport) -> Any:  # noqa: ANN401 -- JSON
    """Return the error that was sent before the connection was closed."""
    assert transport.closed
    assert transport.sent.count(b"\n") == 1
    return json.loads(transport.sent)["error"]


@given(st.lists(st.integers(0, len(REQUEST)), max_size=5))
def test_one_request_is_answered_however_it_is_cut(cuts: list[int]) -> None:
    desk = Desk()
    connection, transport = desk.connect()
    edges = [0, *sorted(cuts), len(REQUEST)]
    for start, end in pairwise(edges):
        connection.dataReceived(REQUEST[start:end])
    connection.dataReceived(b"ignored\n")
    assert desk.administration.lines == [REQUEST[:-1]]
    assert not transport.closed
    desk.administration.answers[0](ANSWER)
    assert transport.sent == ANSWER
    assert [transport.closed] == [True]  # mypy takes it for unchanged
    connection.connectionLost()
    assert not desk.socket.connections
    assert not desk.clock.getDelayedCalls()
    desk.close()


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_any_bytes_reach_the_administration_as_at_most_one_line(chunks: list[bytes]) -> None:
    desk = Desk()
    connection, transport = desk.connect()
    for chunk in chunks:
        connection.dataReceived(chunk)
    data = b"".join(chunks)
    assert desk.administration.lines == ([data.split(b"\n")[0]] if b"\n" in data else [])
    assert not transport.sent
    desk.close()


@pytest.mark.parametrize("size", [1, 1000, 10 * MAX_REQUEST_BYTES])
def test_a_line_without_end_is_rejected_at_the_limit(desk: Desk, size: int) -> None:
    connection, transport = desk.connect()
    sent = 0
    while not transport.closed:
        connection.dataReceived(b"x" * size)
        sent += size
        assert len(connection._buffer) <= MAX_REQUEST_BYTES
        assert sent <= MAX_REQUEST_BYTES + size
    assert error_of(transport) == {"code": INVALID_REQUEST, "message": "A request has at most 16384 bytes."}
    connection.dataReceived(b"more\n")
    assert desk.administration.lines == []


def test_a_process_of_another_user_is_rejected(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_socket, "peer_user", lambda _handle: os.geteuid() + 1)
    connection, transport = desk.connect()
    connection.dataReceived(REQUEST)
    assert error_of(transport) == {"code": REJECTED, "message": "Only the user of the server may do this, or root."}
    assert desk.administration.lines == []


def test_a_process_of_an_unknown_user_is_rejected(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_socket, "peer_user", lambda _handle: None)
    connection, transport = desk.connect()
    connection.dataReceived(REQUEST)
    assert error_of(transport)["code"] == REJECTED


def test_root_is_not_rejected(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_socket, "peer_user", lambda _handle: 0)
    connection, _transport = desk.connect()
    connection.dataReceived(REQUEST)
    assert desk.administration.lines == [REQUEST[:-1]]


def test_connections_above_the_limit_are_rejected(desk: Desk) -> None:
    others = [desk.connect() for _ in range(MAX_CONNECTIONS)]
    _connection, transport = desk.connect()
    assert "16 connections, which is its limit" in error_of(transport)["message"]
    assert not any(other.closed for _, other in others)
    _connection.connectionLost()
    others[0][0].connectionLost()
    assert not desk.connect()[1].closed


def test_a_silent_connection_and_an_answer_that_never_comes_end_in_time(desk: Desk) -> None:
    _silent, silent = desk.connect()
    asking, waiting = desk.connect()
    desk.clock.advance(REQUEST_SECONDS - 1)
    asking.dataReceived(REQUEST)
    desk.clock.advance(1)
    assert silent.aborted
    assert not waiting.aborted
    desk.clock.advance(ANSWER_SECONDS - 2)
    assert not waiting.aborted
    desk.clock.advance(1)
    assert waiting.aborted


def test_a_change_is_completed_although_the_connection_is_lost(desk: Desk) -> None:
    connection, transport = desk.connect()
    connection.dataReceived(REQUEST)
    connection.connectionLost(Failure(ConnectionLost()))  # type: ignore[no-untyped-call]
    desk.administration.answers[0](ANSWER)
    assert not transport.sent


def test_a_bug_is_logged_and_answered(desk: Desk) -> None:
    desk.administration.error = ZeroDivisionError()
    connection, transport = desk.connect()
    with pytest.raises(AssertionError, match="A request of the administrator failed"), logged():
        connection.dataReceived(REQUEST)
    assert error_of(transport)["code"] == INTERNAL_ERROR


def start(folder: Path) -> tuple[AdminSocket, list[str]]:
    """Start the socket in *folder*, and return it with the lines that it has logged."""
    from twisted.internet import reactor  # noqa: PLC0415 -- the one that pytest-twisted has installed

    started = AdminSocket(folder, cast(Administration, RecordingAdministration()), reactor)
    events: list[LogEvent] = []
    observer = cast(Any, events.append)
    globalLogPublisher.addObserver(observer)
    try:
        started.start()
    finally:
        globalLogPublisher.removeObserver(observer)
    name = f"{admin_socket.__name__}.AdminSocket"
    lines = [formatEvent(event) for event in events if event.get("log_namespace") == name]
    return started, lines


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    return folder


def test_the_socket_is_for_its_owner_only_and_is_removed_at_the_end(folder: Path) -> None:
    before = os.umask(0)
    try:
        started, lines = start(folder)
        assert os.umask(0) == 0, "the mask is restored"
    finally:
        os.umask(before)
    status = (folder / "admin.sock").stat()
    assert stat.S_ISSOCK(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert lines == []
    started.stop()
    assert list(folder.iterdir()) == []
    started.stop()


def test_the_socket_of_a_killed_server_is_replaced(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(folder / "admin.sock"))
    started, lines = start(folder)
    assert lines == []
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(folder / "admin.sock"))
    started.stop()


def test_what_the_server_has_not_made_stays_and_the_log_says_so(folder: Path) -> None:
    path = folder / "admin.sock"
    path.write_text("precious")
    started, lines = start(folder)
    (line,) = lines
    assert line.startswith(f"Accounts can only be changed while the server does not run: {path} cannot be created ")
    assert line.endswith("(it is not a socket: move it away).")
    started.stop()
    assert path.read_text() == "precious"


def test_a_socket_at_which_another_program_listens_stays(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(folder / "admin.sock"))
        other.listen()
        started, lines = start(folder)
        assert "another program listens there" in lines[0]
        started.stop()
        assert (folder / "admin.sock").exists()


def open_sockets() -> set[int]:
    """Return the descriptors of the unix sockets that are open."""
    sockets = [found for found in gc.get_objects() if type(found) is socket.socket]
    return {found.fileno() for found in sockets if found.family is socket.AF_UNIX} - {-1}


def test_a_path_that_is_too_long_is_logged(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir(mode=0o700)
    before = open_sockets()
    started, lines = start(folder)
    assert "path too long" in lines[0]
    assert open_sockets() <= before
    started.stop()


def test_a_socket_that_somebody_has_removed_is_no_problem_at_the_end(folder: Path) -> None:
    started, _lines = start(folder)
    (folder / "admin.sock").unlink()
    folder.rmdir()
    started.stop()


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o770])
def test_a_folder_that_others_can_read_is_logged_and_stays_as_it_is(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    started, lines = start(folder)
    why = f"Other users may get into {folder} (mode {mode:04o}), which holds messages and hashes of passwords"
    assert lines == [f"{why}: run chmod 700 {folder}."]
    started.stop()
    assert stat.S_IMODE(folder.stat().st_mode) == mode


def test_a_folder_of_another_user_is_logged(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(folder, 65534, 65534)
    started, lines = start(folder)
    assert lines == [f"{folder} belongs to another user (65534), who can read and replace all that is in it."]
    started.stop()
