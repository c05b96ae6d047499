"""telnet, nc, ncat and the client in the documents as they are, against the installed server."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pytest_twisted import async_yield_fixture, ensureDeferred

from tests.real.programs import Program, Programs, Server, Talker, found

CHECKOUT = Path(__file__).parents[2]
NC, NC_N, NCAT = "nc.openbsd 127.0.0.1", "nc.openbsd -N 127.0.0.1", "ncat 127.0.0.1"
WELCOME = (
    "Welcome to Broadcast. Type a nickname and press Enter.\n"
    "Nickname:  * You are bob. 1 other is here: ann. /help lists the commands, quit leaves.\n"
)


@async_yield_fixture
async def server(programs: Programs) -> AsyncIterator[Server]:
    """The installed server."""
    yield await programs.server()


@async_yield_fixture
async def ann(programs: Programs, server: Server) -> AsyncIterator[Talker]:
    """The first person in the room."""
    yield await programs.talker(server.port, "ann")


async def join(programs: Programs, program: str, port: int, nick: str) -> Program:
    """Return *program* on a terminal of its own, after it has joined as *nick*."""
    person = programs.run(found(program), "127.0.0.1", str(port), pty=True)
    await person.until("Nickname: ")
    person.write(f"{nick}\n")
    await person.until(f"You are {nick}.")
    return person


@pytest.mark.parametrize(
    ("script", "typed", "said", "answers"),
    [
        *[(script, r"bob\nhello\n/names\nquit\n", ["hello"], "-> 2 here: ann, bob\n") for script in (NC, NC_N, NCAT)],
        *[(script, r"bob\nhello\nlast words", ["hello", "last words"], "") for script in (NC_N, NCAT)],
    ],
)
@ensureDeferred
async def test_script_says_all_and_reads_every_answer(
    programs: Programs, server: Server, ann: Talker, script: str, typed: str, said: list[str], answers: str
) -> None:
    found(script.split(maxsplit=1)[0])
    bob = programs.run("/bin/sh", "-c", f"printf '{typed}' | {script} {server.port}")
    await ann.until(" * bob left.\r\n")
    assert await bob.end() == 0
    assert ann.whole_lines()[-2 - len(said) :] == [" * bob joined.", *(f"bob: {text}" for text in said), " * bob left."]
    assert bob.text() == f"{WELCOME}{answers} * Goodbye, bob.\n"


@ensureDeferred
async def test_plain_nc_without_quit_says_all_and_stays_until_killed(
    programs: Programs, server: Server, ann: Talker
) -> None:
    """Plain nc does not close the connection at the end of its input, so that the server cannot see that end."""
    bob = programs.run(found("nc.openbsd"), "127.0.0.1", str(server.port))
    bob.write("bob\nhello\n")
    bob.close_input()
    await ann.until("bob: hello\r\n")
    await bob.until("You are bob.")
    await bob.stop("TERM")
    await ann.until(" * bob left.\r\n")


@ensureDeferred
async def test_lines_of_telnet_nc_and_ncat_are_replayed_after_kill_9(programs: Programs, tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    server = await programs.server("--data", data)
    programs_in_use = ("telnet", "nc.openbsd", "ncat")
    people = [await join(programs, program, server.port, f"p{at}") for at, program in enumerate(programs_in_use)]
    for at, person in enumerate(people):
        person.write(f"hello from {programs_in_use[at]}\n")
        await people[at - 1].until(f"p{at}: hello from {programs_in_use[at]}")
    await server.program.stop("KILL")

    again = await programs.server("--data", data)
    dave = await join(programs, "nc.openbsd", again.port, "dave")
    await dave.until("hello from ncat")
    lines = [line.partition("] ")[2] for line in dave.text().splitlines()[-3:]]
    assert lines == [f"p{at}: hello from {program}" for at, program in enumerate(programs_in_use)]


@ensureDeferred
async def test_telnet_reads_on_after_an_interrupt(programs: Programs, server: Server) -> None:
    """After Ctrl-C, telnet discards all input until the server has answered its timing mark."""
    ann = await join(programs, "telnet", server.port, "ann")
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
async def test_localhost_works_whichever_address_comes_first(programs: Programs, server: Server) -> None:
    for program in ("telnet", "nc.openbsd", "ncat"):
        person = programs.run(found(program), "localhost", str(server.port), pty=True)
        await person.until("Nickname: ")
        person.write("quit\n")
        await person.until(" * Goodbye.")


@pytest.mark.parametrize("lines", [80, 41])
@ensureDeferred
async def test_person_who_pastes_in_netcat_reads_how_many_lines_wait(
    programs: Programs, server: Server, ann: Talker, lines: int
) -> None:
    """Netcat sends each line of a terminal on its own, so the server sees the paste in pieces."""
    bob = await join(programs, "nc.openbsd", server.port, "bob")
    bob.write("line\n" * lines)
    what = "40 lines are waiting; they are" if lines == 80 else "1 line is waiting; lines are"
    await bob.until(f"-> {what} said two a second.")
    assert bob.text().count("waiting") == 1
    await ann.until("bob: line\r\n")


@pytest.mark.parametrize("end", ["\x04", "\x1dsend eof\n"], ids=["Ctrl-D", "send eof"])
@ensureDeferred
async def test_telnet_that_ends_its_input_leaves(programs: Programs, end: str) -> None:
    port = programs.room()
    bob = await programs.talker(port, "bob")
    ann = await join(programs, "telnet", port, "ann")
    ann.write(end)
    await bob.until(" * ann left.\r\n")
    await ann.until(" * Goodbye, ann.")
    await ann.end()


@pytest.mark.parametrize("typed", ["quit\n", ""], ids=["quit", "the end of the input"])
@ensureDeferred
async def test_client_in_the_documents_talks_until_it_leaves(programs: Programs, typed: str) -> None:
    page = CHECKOUT.joinpath("docs", "scripts.rst").read_text("utf-8")
    (code,) = re.findall(r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", page, re.MULTILINE)
    assert len(re.findall("^.+$", code, re.MULTILINE)) <= 10
    programs.folder.joinpath("chat.py").write_text(textwrap.dedent(code), "utf-8")
    port = programs.room()
    ann = await programs.talker(port, "ann")
    bob = programs.run(sys.executable, "chat.py", "127.0.0.1", str(port))
    bob.write("bob\n\xe4 first line\n")
    await ann.until("bob: \xe4 first line\r\n")
    ann.say("hello \u20ac")
    await bob.until("ann: hello \u20ac\n")
    bob.write(f"last line\n{typed}")
    if not typed:
        bob.close_input()
    assert await bob.end() == 0
    await ann.until("bob: last line\r\n * bob left.\r\n")
    assert bob.text().endswith(" * Goodbye, bob.\n")
