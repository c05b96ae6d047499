"""The installed client and accounts: a password is typed once, is never shown, and is left behind nowhere.

The story is that of ann, who registers, leaves, and comes back through the other door, over a restart and over a crash.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred

from tests.real.programs import Programs
from tests.real.terminals import CLIENT, CTRL_C, CTRL_D, ENTER, UP, Terminal, client

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")

LONG = bool(os.environ.get("BROADCAST_LONG"))
SECRET, OTHER = "hunter2hunter2", "battery staple"


async def enter(terminal: Terminal, *answers: tuple[str, str]) -> None:
    """Wait for each prompt, and answer it."""
    for prompt, answer in answers:
        await terminal.until_true(lambda prompt=prompt: terminal.model.shown[-2:-1] == [prompt], prompt)  # type: ignore[misc]
        terminal.write(answer + ENTER)


async def leave(terminal: Terminal) -> None:
    terminal.write(CTRL_D)
    assert await terminal.end() == 0
    assert terminal.settings() == terminal.before
    assert SECRET not in terminal.text()
    terminal.close()


def traces(folder: Path, *secrets: str) -> list[str]:
    """Return the files in *folder* that hold one of *secrets*."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [str(path) for path in files if any(secret.encode() in path.read_bytes() for secret in secrets)]


@pytest.mark.parametrize("end", ["TERM", "KILL"] if LONG else ["KILL"])
@ensureDeferred
async def test_ann_registers_and_comes_back_through_both_doors(programs: Programs, tmp_path: Path, end: str) -> None:
    options = ("--data", str(tmp_path / "data"))
    server = await programs.server(*options)
    address = server.port
    ann = client(programs, address, "--nick", "ann", "--no-times")
    await ann.shows("You are ann.")
    ann.write("/register" + ENTER)
    await enter(ann, ("Password:", SECRET), ("Once more:", SECRET))
    await ann.shows("-> ann is registered: from now on, it needs the password. You are logged in.")

    await server.program.stop(end)
    await ann.shows("no connection")
    server = await programs.server(*options, port=f"tcp:{address}:interface=127.0.0.1")
    ann.write("said after the restart" + ENTER)
    await ann.shows("ann: said after the restart", " ann · ")
    assert not any("Password" in line for line in ann.model.everything[-6:]), "the reconnect asks nothing"
    ann.write(UP)
    await ann.shows_line("> said after the restart")
    ann.write(UP)
    await ann.shows_line("> /register")
    ann.write(CTRL_C)
    await leave(ann)

    person = await programs.talker(address)
    person.say("ann")
    await person.until("Password: ")
    person.say(SECRET)
    await person.until("You are ann.")

    thief = client(programs, address, "--nick", "ann", "--no-times")
    await enter(thief, ("Password:", "/help"))
    await thief.shows("-> Error: No command works here.")
    await enter(thief, ("Password:", OTHER))
    await thief.shows("-> Error: Wrong password. An empty line goes back to the nickname.")
    await enter(thief, ("Password:", ""))
    await thief.shows("Nickname (")
    thief.write("thief" + ENTER)
    await thief.shows("You are thief.")
    await leave(thief)

    ann = client(programs, address, "--nick", "ann", "--no-times")
    await enter(ann, ("Password:", SECRET))
    await ann.shows("You are ann.")
    await person.until("ann has logged in on another connection.")
    await leave(ann)
    await server.program.stop("TERM")
    assert traces(tmp_path, SECRET, OTHER) == []
    assert SECRET not in server.program.text()


@ensureDeferred
async def test_a_simple_terminal_does_not_show_what_is_typed(programs: Programs, tmp_path: Path) -> None:
    server = await programs.server("--data", str(tmp_path / "data"))
    ann = client(programs, server.port, "--nick", "ann", TERM="dumb")
    await ann.until("You are ann.")
    ann.write("/register\n")
    await ann.until("Password: ")
    ann.write(f"{SECRET}\n")
    await ann.until("Once more: ")
    ann.write(f"{SECRET}\n")
    await ann.until("ann is registered")
    ann.write("quit\n")
    assert await ann.end() == 0
    assert SECRET not in ann.text()
    assert ann.settings() == ann.before
    ann.close()


@ensureDeferred
async def test_a_pipe_and_a_sent_text_take_the_password_from_a_file(programs: Programs, tmp_path: Path) -> None:
    server = await programs.server("--data", str(tmp_path / "data"))
    password = tmp_path / "password"
    password.write_text(f"{SECRET}\n")
    password.chmod(0o600)
    person = await programs.talker(server.port, "ann")
    person.say("/register")
    await person.until("Password: ")
    person.say(SECRET)
    await person.until("Once more: ")
    person.say(SECRET)
    await person.until("ann is registered")
    person.say("quit")
    await person.lost

    def start(*options: str) -> tuple[str, ...]:
        return (*CLIENT, f"127.0.0.1:{server.port}", "--nick", "ann", *options)

    sent = programs.run(*start("--send", "by a script", "--password-file", str(password)))
    assert await sent.end() == 0
    pipe = programs.run(*start("--password-file", str(password)))
    pipe.write("by a pipe\n")
    pipe.close_input()
    assert await pipe.end() == 0
    assert "ann: by a script" in pipe.text()
    assert "\ufffd" not in pipe.text()
    for options in (["--send", "not said"], []):
        refused = programs.run(*start(*options))
        assert await refused.end() == 3
        assert "--password-file FILE gives it." in refused.text()
    password.chmod(0o644)
    for options in (["--send", "not said"], []):
        refused = programs.run(*start("--password-file", str(password), *options))
        assert await refused.end() == 1
        assert "other users have access to it: chmod 600" in refused.text()
    password.chmod(0o600)
    password.write_text(f"{OTHER}\n")
    for options in (["--send", "not said"], []):
        refused = programs.run(*start("--password-file", str(password), *options))
        assert await refused.end() == 3
        assert "rong password." in refused.text()
    await server.program.stop("TERM")
    assert traces(tmp_path / "data", SECRET) == []
