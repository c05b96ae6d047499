"""telnet, nc and ncat as they are, against the installed server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred

from tests.real.programs import Program, Programs, found

SCRIPTS = {
    "nc": ("nc.openbsd", "127.0.0.1"),
    "nc -N": ("nc.openbsd", "-N", "127.0.0.1"),
    "ncat": ("ncat", "127.0.0.1"),
}
"""Programs that read lines from a pipe and post them."""


async def netcat(programs: Programs, port: int) -> Program:
    """Return a netcat that is in the room as ann."""
    reader = programs.run(found("nc.openbsd"), "127.0.0.1", str(port))
    reader.write("ann\n")
    await reader.until("You are ann.")
    return reader


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
@ensureDeferred
async def test_script_with_quit_says_all_and_reads_every_answer(programs: Programs, script: Sequence[str]) -> None:
    found(script[0])
    server = await programs.server()
    reader = await netcat(programs, server.port)
    bob = programs.run("/bin/sh", "-c", f"printf 'bob\\nhello\\n/names\\nquit\\n' | {' '.join(script)} {server.port}")
    await reader.until(" * bob left.\r\n")
    assert await bob.end() == 0
    assert " * bob joined.\nbob: hello\n * bob left.\n" in reader.text()
    assert bob.text() == (
        "Welcome to Broadcast. Type a nickname and press Enter.\n"
        "Nickname:  * You are bob. 1 other is here: ann. /help lists the commands, quit leaves.\n"
        "-> 2 here: ann, bob\n * Goodbye, bob.\n"
    )


@pytest.mark.parametrize("script", [SCRIPTS["nc -N"], SCRIPTS["ncat"]], ids=["nc -N", "ncat"])
@ensureDeferred
async def test_script_without_quit_says_all_and_reads_every_answer(programs: Programs, script: Sequence[str]) -> None:
    found(script[0])
    server = await programs.server()
    reader = await netcat(programs, server.port)
    bob = programs.run("/bin/sh", "-c", f"printf 'bob\\nhello\\nlast words' | {' '.join(script)} {server.port}")
    await reader.until(" * bob left.\r\n")
    assert await bob.end() == 0
    assert " * bob joined.\nbob: hello\nbob: last words\n * bob left.\n" in reader.text()
    assert bob.text().endswith(" * Goodbye, bob.\n")


@ensureDeferred
async def test_plain_nc_without_quit_says_all_and_stays_until_killed(programs: Programs) -> None:
    """Plain nc keeps the connection open at the end of its input: the server cannot know that there was one."""
    server = await programs.server()
    reader = await netcat(programs, server.port)
    bob = programs.run(found("nc.openbsd"), "127.0.0.1", str(server.port))
    bob.write("bob\nhello\n")
    bob.close_input()
    await reader.until("bob: hello\r\n")
    await bob.until("You are bob.")
    await bob.stop("TERM")
    await reader.until(" * bob left.\r\n")


@ensureDeferred
async def test_lines_of_telnet_nc_and_ncat_are_replayed_after_kill_9(programs: Programs, tmp_path: Path) -> None:
    telnet, nc, ncat = found("telnet"), found("nc.openbsd"), found("ncat")
    data = str(tmp_path / "data")
    server = await programs.server("--data", data)
    ann = programs.run(telnet, "127.0.0.1", str(server.port), pty=True)
    await ann.until("Nickname: ")
    ann.write("ann\n")
    await ann.until("You are ann. Nobody else is here.")
    bob = programs.run(nc, "127.0.0.1", str(server.port), pty=True)
    bob.write("bob\n")
    await bob.until("You are bob. 1 other is here: ann.")
    carol = programs.run(ncat, "127.0.0.1", str(server.port), pty=True)
    carol.write("carol\n")
    await carol.until("You are carol. 2 others are here: ann, bob.")
    ann.write("hello from telnet\n")
    await bob.until("ann: hello from telnet")
    bob.write("hello from nc\n")
    await carol.until("bob: hello from nc")
    carol.write("/me waves from ncat\n")
    await ann.until("** carol waves from ncat")
    await server.program.stop("KILL")

    again = await programs.server("--data", data)
    dave = programs.run(nc, "127.0.0.1", str(again.port))
    dave.write("dave\n")
    await dave.until("waves from ncat")
    lines = dave.text().splitlines()[-3:]
    assert [line.partition("] ")[2] for line in lines] == [
        "ann: hello from telnet",
        "bob: hello from nc",
        "** carol waves from ncat",
    ]


@ensureDeferred
async def test_telnet_reads_on_after_an_interrupt(programs: Programs) -> None:
    """After Ctrl-C telnet throws away what comes, until its timing mark has been answered."""
    telnet = found("telnet")
    server = await programs.server()
    ann = programs.run(telnet, "127.0.0.1", str(server.port), pty=True)
    await ann.until("Nickname: ")
    ann.write("ann\n")
    await ann.until("You are ann.")
    ann.write("\x1d")
    await ann.until("telnet> ")
    ann.write("send ip\n")
    ann.write("\x1d")
    ann.write("send ayt\n")
    await ann.until("[yes]")
    ann.write("/ping\n")
    await ann.until("-> pong")
    ann.write("quit\n")
    assert await ann.end() in (0, 1)
    assert " * Goodbye, ann." in ann.text()


@ensureDeferred
async def test_localhost_works_whichever_address_comes_first(programs: Programs) -> None:
    server = await programs.server()
    for client in (found("telnet"), found("nc.openbsd"), found("ncat")):
        visitor = programs.run(client, "localhost", str(server.port), pty=True)
        await visitor.until("Nickname: ")
        visitor.write("quit\n")
        await visitor.until(" * Goodbye.")
