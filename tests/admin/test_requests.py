"""Accounts are changed in the journal itself while no server runs, and a server that does not answer is reported."""

from __future__ import annotations

import io
import os
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest

from broadcast.admin import requests
from broadcast.files.contents import Contents
from broadcast.net.unix_sockets import UNIX_FAMILY
from tests.admin.conftest import Run
from tests.admin.journals import make_journal
from tests.admin.test_backup import share
from tests.platforms import has_mode, needs_permissions, needs_unix_sockets

SECRET = b"correct horse\n"


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(SECRET)))


@pytest.fixture
def server(folder: Path) -> Iterator[socket.socket]:
    """A socket in the place of a server's."""
    if UNIX_FAMILY is None:
        pytest.skip("Windows' Python has no unix sockets")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "admin.sock"))
        listener.listen()
        yield listener


def serve(listener: socket.socket, answer: bytes) -> Thread:
    """Answer one request with *answer*."""

    def run() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(10_000)
            connection.sendall(answer)

    thread = Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_accounts_are_changed_without_a_server(run: Run, folder: Path) -> None:
    assert run("add", "zoë") == (0, "zoë is registered.\n", "")
    assert run("role", "zoë", "operator") == (0, "zoë is an operator.\n", "")
    assert run("rename", "zoë", "eve") == (0, "zoë is now eve.\n", "")
    assert run("remove", "ann") == (0, "The account ann is removed.\n", "")
    assert [line.split()[:2] for line in run("accounts").out.splitlines()[1:]] == [["bob", "-"], ["eve", "operator"]]
    actions = [line.split()[1:3] for line in run("audit").out.splitlines()[3:]]
    assert actions == [["admin", "add"], ["admin", "role"], ["admin", "rename"], ["admin", "remove"]]
    assert run("verify").status == 0
    with closing(sqlite3.connect(folder / "journal.sqlite")) as db:
        (stored,) = db.execute("SELECT password_hash FROM accounts WHERE name = 'eve'").fetchone()
    assert stored.startswith("$argon2id$")
    assert all(has_mode(path, 0o600) for path in folder.iterdir() if path.is_file())


def test_a_new_password_replaces_the_old_one(run: Run, folder: Path) -> None:
    assert run("passwd", "ann") == (0, "ann has a new password.\n", "")
    with closing(sqlite3.connect(folder / "journal.sqlite")) as db:
        (stored,) = db.execute("SELECT password_hash FROM accounts WHERE name = 'ann'").fetchone()
    assert stored.startswith("$argon2id$")


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (["add", "ann"], 1, "ann is registered already"),
        (["add", "two words"], 1, "a nickname holds only letters, digits, _, - and .\n"),
        (["remove", "eve"], 1, "eve is not registered"),
        (["rename", "ann", "bob"], 1, "bob is registered already\n"),
        (["remove", "\udcff"], 2, "a name is not valid UTF-8. --help explains."),
        (["remove"], 2, "the following arguments are required: NAME. --help explains."),
        (["role", "ann", "king"], 2, "argument ROLE: invalid choice"),
    ],
)
def test_a_rejected_change_is_one_line(run: Run, arguments: list[str], status: int, why: str) -> None:
    ended = run(*arguments)
    assert (ended.status, ended.out) == (status, "")
    assert ended.error.startswith(f"broadcast-admin: {why}")
    assert ended.error.count("\n") == 1


def test_nothing_is_created_where_there_is_no_journal(run: Run, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run("add", "ann", data=empty).status == 3
    assert list(empty.iterdir()) == []


def test_the_server_makes_the_change_if_it_runs(run: Run, server: socket.socket) -> None:
    serve(server, b'{"jsonrpc":"2.0","id":1,"result":"It is done."}\n')
    assert run("remove", "ann") == (0, "It is done.\n", "")
    serve(server, b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"no."}}\n')
    assert run("remove", "ann") == (1, "", "broadcast-admin: no\n")
    assert "ann" in run("accounts").out


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "the server has closed the connection without an answer: it may have stopped"),
        (b'{"jsonrpc"', "the server has closed the connection without an answer: it may have stopped"),
        (b"hello\n", "the server has sent an answer that this version does not know"),
        (b"[]\n", "the server has sent an answer that this version does not know"),
    ],
)
def test_an_answer_that_is_none_is_reported(run: Run, server: socket.socket, answer: bytes, why: str) -> None:
    serve(server, answer)
    assert run("remove", "ann") == (5, "", f"broadcast-admin: {why}\n")


def test_a_server_that_never_answers_is_reported(
    run: Run, server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "ANSWER_SECONDS", 0.01)
    assert server.fileno()
    assert run("remove", "ann") == (5, "", "broadcast-admin: the server has not answered within 0 seconds\n")


def test_a_password_goes_to_no_process_of_another_user(
    run: Run, server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "peer_user", lambda _connection: os.geteuid() + 1)
    ended = run("add", "eve")
    assert ended.status == 3
    assert "a process of another user listens at" in ended.error
    connection, _ = server.accept()
    with connection:
        assert connection.recv(1) == b""


@needs_unix_sockets
def test_the_socket_of_a_killed_server_is_no_obstacle(run: Run, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "admin.sock"))
    assert run("remove", "ann").status == 0


@needs_unix_sockets
def test_a_server_without_a_socket_is_reported(run: Run, used_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "START_SECONDS", 0)
    why = f"there is no {used_folder / 'admin.sock'}; stop it, or start it again"
    error = f"broadcast-admin: a server has {used_folder} open, but does not answer: {why}\n"
    assert run("remove", "ann", data=used_folder) == (3, "", error)


def test_without_unix_sockets_the_missing_file_of_the_port_is_named(
    run: Run, used_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "START_SECONDS", 0)
    monkeypatch.setattr(requests, "UNIX_FAMILY", None)
    why = f"there is no {used_folder / 'admin.port'}; stop it, or start it again"
    error = f"broadcast-admin: a server has {used_folder} open, but does not answer: {why}\n"
    assert run("remove", "ann", data=used_folder) == (3, "", error)


@needs_unix_sockets
def test_a_path_that_is_too_long_for_a_socket_is_named_if_a_server_runs(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "START_SECONDS", 0)
    deep = tmp_path / ("x" * 100)
    make_journal(deep)
    assert run("remove", "ann", data=deep).status == 0
    with (deep / "lock").open() as lock:
        import fcntl  # noqa: PLC0415 -- Windows has no such module

        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = run("remove", "bob", data=deep)
    assert ended.status == 3
    assert "bytes, too many for a unix socket; stop it, or start it again" in ended.error


@needs_permissions
def test_root_acts_as_the_owner_of_the_folder(run: Run, folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can act as another user")
    for path in (folder, *folder.iterdir()):
        os.chown(path, 65534, 65534)
    (folder / "journal.last").unlink()
    (folder / "lock").unlink()
    for parent in folder.parents:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(0o711)
    assert run("remove", "ann").status == 0
    assert os.geteuid() == 0
    assert {path.stat().st_uid for path in folder.iterdir()} == {65534}


def test_a_file_is_removed_without_a_server(run: Run, folder: Path) -> None:
    name = share(folder, 1, b"one")
    share(folder, 2, b"one")
    assert run("remove-file", "secret-and-random-id-2", "not for us") == (
        0,
        "report.pdf is removed. So is 1 other share of the same content.\n",
        "",
    )
    assert list((folder / "files").iterdir()) == []
    assert "admin" in run("audit").out.splitlines()[-1]
    assert run("audit").out.splitlines()[-1].endswith("remove-file  report.pdf    not for us")
    (folder / "files" / name).write_bytes(b"a content of nobody")
    ended = run("remove-file", "secret-and-random-id-2")
    assert (ended.status, ended.error) == (
        1,
        "broadcast-admin: there is no such file, or it is no longer there. /files shows the addresses\n",
    )


def test_a_folder_of_files_that_cannot_be_used_is_reported(run: Run, folder: Path) -> None:
    (folder / "files").write_text("no folder")
    ended = run("remove-file", "secret-and-random-id-2")
    assert (ended.status, "it is a file" in ended.error) == (1, True)


def test_a_fault_of_the_disk_is_reported(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share(folder, 1, b"one")

    def fail(*_arguments: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Contents, "remove", fail)
    ended = run("remove-file", "secret-and-random-id-1")
    assert "Shared files cannot be removed: Read-only file system" in ended.error
