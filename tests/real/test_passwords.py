"""Passwords over the line door of the installed server: no terminal shows them, and nothing keeps them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred

from tests.real.programs import Programs, Server, found
from tests.real.terminals import ENTER, terminal

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")

OLD, NEW, WRONG, LATE = "correct-horse-1", "battery-staple-2", "wrong-horse-33", "late-horse-444"


class Keyboard:
    """A program on a terminal, and somebody who types what it asks for."""

    def __init__(self, programs: Programs, program: str, port: int) -> None:
        self.terminal = terminal(programs, found(program), "127.0.0.1", str(port))
        self._read = 0
        """Number of bytes of output that were waited for."""

    async def type(self, prompt: str, text: str) -> None:
        """Wait until *prompt* is written, after everything that was waited for before. Then type *text* and Enter."""
        await self.reads(prompt)
        self.terminal.write(text + ENTER)

    async def reads(self, text: str) -> None:
        """Wait until *text* is written, after everything that was waited for before."""
        output = self.terminal
        await output.when(lambda: text.encode() in output.output[self._read :])
        self._read = output.output.index(text.encode(), self._read) + len(text)

    async def end(self) -> str:
        """Wait until the program ends, and return everything that its terminal has shown."""
        await self.terminal.end()
        self.terminal.close()
        return self.terminal.text()


async def registered(programs: Programs, port: int, program: str, mode: str = "") -> Keyboard:
    """Return *program*, which telnet's *mode* is for, after its user has registered as ann."""
    ann = Keyboard(programs, program, port)
    await ann.type("Nickname: ", "ann")
    await ann.reads("You are ann.")
    if mode:
        ann.terminal.write("\x1d")
        await ann.type("telnet> ", f"mode {mode}")
    ann.terminal.write(f"/register{ENTER}")
    await ann.type("Password: ", OLD)
    await ann.type("Once more: ", OLD)
    await ann.reads("-> ann is registered")
    return ann


@pytest.mark.parametrize("mode", ["", "line", "character"])
@ensureDeferred
async def test_telnet_shows_no_password_and_all_other_lines(programs: Programs, port: int, mode: str) -> None:
    ann = await registered(programs, port, "telnet", mode)
    ann.terminal.write(f"hello{ENTER}/passwd{ENTER}")
    await ann.type("Old password: ", WRONG)
    await ann.reads("-> Error: wrong password.")
    await ann.type("Old password: ", OLD)
    await ann.type("New password: ", f"{NEW}x\x7f")
    await ann.type("Once more: ", "")
    await ann.type("-> Nothing was changed.", "quit")
    shown = await ann.end()
    assert " * Goodbye, ann." in shown
    assert not any(password in shown for password in (OLD, NEW, WRONG))
    assert "Password: \nOnce more: \n-> ann is registered" in shown
    if mode != "character":
        assert all(f"\n{line}\n" in shown for line in ("/register", "hello", "/passwd", "quit"))


@ensureDeferred
async def test_netcat_knows_no_echo_and_logs_in(programs: Programs, port: int) -> None:
    ann = await registered(programs, port, "nc.openbsd")
    bob = Keyboard(programs, "nc.openbsd", port)
    await bob.type("Nickname: ", "ann")
    await bob.type("Password: ", OLD)
    await bob.reads("You are ann.")
    bob.terminal.write(f"quit{ENTER}")
    assert "ann has logged in on another connection." in await ann.end()
    assert OLD in await bob.end()


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def about_process(pid: int) -> bytes:
    """Return the arguments and the environment of a process."""
    return b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is a part of Linux")
@pytest.mark.parametrize("log_format", ["text", "json"])
@ensureDeferred
async def test_nothing_that_a_session_leaves_behind_holds_a_password(
    programs: Programs, tmp_path: Path, log_format: str
) -> None:
    data = tmp_path / "data"
    server: Server = await programs.server("--data", str(data), "--log-format", log_format, "--limits", "off")
    ann, thief = await programs.talkers(server.port, "ann", "")
    bob = await programs.talker(server.port, "bob")
    ann.say(
        f"/register {OLD}", f"  /register {OLD}", f"/register\u00a0{OLD}", "/register", OLD, NEW, OLD, OLD, OLD, "hi"
    )
    await bob.until("ann: hi\r\n")
    thief.say(f"/login ann {OLD}", "ann", WRONG, LATE, "", LATE, WRONG, "/login ann", WRONG)
    await thief.until(" * Goodbye.\r\n")
    ann.say("/passwd", OLD, NEW, NEW, NEW, OLD, f"/drop {NEW}", "/drop", WRONG, f"{NEW}\0", "", WRONG, "bye")
    await bob.until("ann: bye\r\n")
    owner = await programs.talker(server.port)
    owner.tcp.write(f"ann\n{NEW}".encode())
    owner.tcp.loseWriteConnection()
    await bob.until("ann joined.")
    process = about_process(server.pid)
    others = bob.seen
    await server.program.stop("TERM")
    left = everything_in(tmp_path) + server.program.output + process + others
    for password in (OLD, NEW, WRONG, LATE):
        assert password.encode() not in left
        assert password.encode().hex().encode() not in left
    assert b"$argon2id$" in left
    assert b"ann: bye" in others
