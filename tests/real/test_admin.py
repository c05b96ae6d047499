"""The administrator's command, the real server, and the people in its rooms."""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from pytest_twisted import ensureDeferred

from broadcast.server.administration import encode_request
from tests.real.programs import Program, Programs, Server

SECRET = "correct horse battery"
ADMIN = (sys.executable, "-m", "broadcast.admin")
NOBODY = 65534


class Office:
    """An administrator of servers on the folder *data*."""

    def __init__(self, programs: Programs, data: Path) -> None:
        self.programs = programs
        self.data = data
        self.ran: list[Program] = []

    async def serve(self) -> Server:
        """Start a server, and wait until it answers the administrator."""
        server = await self.programs.server("--data", str(self.data), "--limits", "off")
        await (await self.programs.talker(server.port)).until("Welcome")
        self.ran.append(server.program)
        return server

    async def run(self, *arguments: str, typed: str = "") -> tuple[int | None, str]:
        """Run a command, and return its exit status and its output."""
        program = self.programs.run(*ADMIN, "--data", str(self.data), *arguments)
        self.ran.append(program)
        program.write(typed)
        program.close_input()
        status = await program.end()
        return status, program.text()

    async def succeed(self, *arguments: str, typed: str = "") -> str:
        """Do the same with a command that succeeds."""
        status, text = await self.run(*arguments, typed=typed)
        assert status == 0, text
        return text


@pytest.fixture
def office(programs: Programs, tmp_path: Path) -> Office:
    return Office(programs, tmp_path / "data")


@ensureDeferred
async def test_accounts_are_changed_while_the_server_runs_after_it_was_killed_and_again(
    office: Office, programs: Programs
) -> None:
    server = await office.serve()
    ann, bob = await programs.talkers(server.port, "ann", "bob")
    assert await office.succeed("add", "ann", typed=f"{SECRET}\n") == "ann is registered.\n"
    await ann.until(" * ann is now ann2.\r\n")
    await bob.until(" * ann is now ann2.\r\n")
    assert "ann   -" in await office.succeed("accounts")
    socket_file = office.data / "admin.sock"
    assert socket_file.stat().st_mode & 0o777 == 0o600
    assert office.data.stat().st_mode & 0o777 == 0o700
    await server.program.stop()
    assert socket_file.exists()
    assert await office.succeed("role", "ann", "operator") == "ann is an operator.\n"
    assert await office.succeed("verify") == "lobby: 0 lines\nThe journal is intact.\n"
    server = await office.serve()
    assert "ann   operator" in await office.succeed("accounts")
    assert await office.succeed("rename", "ann", "zoe") == "ann is now zoe.\n"
    assert await office.succeed("passwd", "zoe", typed=f"{SECRET} 2\n") == "zoe has a new password.\n"
    await server.program.stop("TERM")
    assert not socket_file.exists()
    assert await office.succeed("remove", "zoe") == "The account zoe is removed.\n"
    trail = [line.split()[2] for line in (await office.succeed("audit")).splitlines()[1:]]
    assert trail == ["add", "role", "rename", "passwd", "remove"]
    assert sorted(path.name for path in office.data.iterdir()) == ["journal.last", "journal.sqlite", "lock"]
    for path in office.data.iterdir():
        assert path.stat().st_mode & 0o077 == 0
        assert SECRET.encode() not in path.read_bytes()
    for program in office.ran:
        assert SECRET not in program.text()


@ensureDeferred
async def test_a_second_server_or_an_offline_change_waits_for_the_first_one(office: Office) -> None:
    server = await office.serve()
    (office.data / "admin.sock").unlink()
    status, text = await office.run("add", "ann", typed=f"{SECRET}\n")
    assert status == 3
    assert f"a server has {office.data} open, but does not answer: there is no" in text
    assert await office.succeed("accounts") == "NAME  ROLE  CREATED  LAST USED\n"
    await server.program.stop("TERM")
    assert await office.succeed("add", "ann", typed=f"{SECRET}\n") == "ann is registered.\n"


@ensureDeferred
async def test_lines_are_exported_and_copied_while_people_talk(office: Office, programs: Programs) -> None:
    server = await office.serve()
    ann, bob = await programs.talkers(server.port, "ann", "bob")
    ann.say(*(f"line {number}" for number in range(3000)))
    await bob.lines_seen(100)
    copy = office.data.parent / "copy"
    await office.succeed("backup", str(copy))
    lines = [json.loads(line) for line in (await office.succeed("export", "--json")).splitlines()]
    assert [line["text"] for line in lines] == [f"line {number}" for number in range(len(lines))]
    assert [line["seq"] for line in lines] == [*range(1, len(lines) + 1)]
    assert len(lines) >= 100
    assert "The journal is intact.\n" in await office.succeed("verify", str(copy))
    assert "The journal is intact.\n" in await office.succeed("verify")
    await bob.until("line 2999")


def exchange(path: Path, data: bytes) -> bytes:
    """Send *data* to the admin socket, end the output, and return all that comes back."""
    received = b""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(path))
        with suppress(BrokenPipeError, ConnectionResetError):  # the server may answer first
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            while chunk := client.recv(65536):
                received += chunk
    return received


@ensureDeferred
async def test_garbage_at_the_admin_socket_does_no_harm(office: Office, programs: Programs) -> None:
    server = await office.serve()
    (ann,) = await programs.talkers(server.port, "ann")
    path, random = office.data / "admin.sock", Random(16)  # noqa: S311 -- input for a test
    for _ in range(200):
        exchange(path, random.randbytes(random.choice((0, 1, 10, 1000, 100_000))))
    exchange(path, b"x" * 10_000_000)
    exchange(path, encode_request("remove", {"name": "ann"})[:-1])
    idle = []
    for _ in range(40):
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(path))
        idle.append(client)
    ann.say("still here", "/receipts on", "and now")
    await ann.until("-> #2")
    for client in idle:
        client.close()
    while "its limit" in (answer := json.loads(exchange(path, b"{}\n"))["error"]["message"]):
        pass  # the server has not noticed yet that they are closed
    assert answer.startswith("This is no request: ")
    assert await office.succeed("add", "bob", typed=f"{SECRET}\n") == "bob is registered.\n"
    assert "Traceback" not in server.program.text()


def as_nobody(path: Path, data: bytes) -> bytes:
    """Do the same as ``exchange`` in a process of another user."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(writing, exchange(path, data))
        except OSError as error:
            os.write(writing, str(error.strerror).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        received = pipe.read()
    os.waitpid(child, 0)
    return received


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can act as another user")
@ensureDeferred
async def test_other_users_reach_nothing(office: Office) -> None:
    await office.serve()
    path = office.data / "admin.sock"
    request = encode_request("add", {"name": "eve", "password": SECRET})
    for parent in office.data.parents:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(0o711)
    assert as_nobody(path, request) == b"Permission denied"
    office.data.chmod(0o755)
    assert as_nobody(path, request) == b"Permission denied"
    path.chmod(0o666)
    answer = json.loads(as_nobody(path, request))
    assert answer["error"]["message"] == "Only the user of the server may do this, or root."
    assert await office.succeed("accounts") == "NAME  ROLE  CREATED  LAST USED\n"


@ensureDeferred
async def test_a_password_is_asked_for_twice_on_a_terminal_and_never_shown(office: Office, programs: Programs) -> None:
    await office.serve()
    program = programs.run(*ADMIN, "--data", str(office.data), "add", "ann", pty=True)
    await program.until("Password: ")
    program.write(f"{SECRET}\n")
    await program.until("Once more: ")
    program.write(f"{SECRET}\n")
    assert await program.end() == 0
    assert program.text().split("\n") == ["Password: ", "Once more: ", "ann is registered.", ""]
    cancelled = programs.run(*ADMIN, "--data", str(office.data), "add", "bob", pty=True)
    await cancelled.until("Password: ")
    cancelled.write("\3")
    assert await cancelled.end() == 130
    assert "Traceback" not in cancelled.text()
