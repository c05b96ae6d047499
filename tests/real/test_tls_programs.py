"""Programs that speak TLS are full clients as they are, and the end of their input counts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pytest
from pytest_twisted import ensureDeferred

from tests.real.programs import Programs, Server, found

CLIENTS: dict[str, tuple[str, Callable[[str], Sequence[str]]]] = {
    "openssl": ("openssl", lambda port: ("s_client", "-quiet", "-no_ign_eof", "-connect", f"127.0.0.1:{port}")),
    "openssl, TLS 1.2": (
        "openssl",
        lambda port: ("s_client", "-quiet", "-no_ign_eof", "-tls1_2", "-connect", f"127.0.0.1:{port}"),
    ),
    "ncat": ("ncat", lambda port: ("--ssl", "127.0.0.1", port)),
    "socat": ("socat", lambda port: ("-", f"OPENSSL:127.0.0.1:{port},verify=0")),
    "gnutls-cli": ("gnutls-cli", lambda port: ("--insecure", "--logfile=/dev/null", "-p", port, "127.0.0.1")),
}


async def start(programs: Programs, *options: str) -> tuple[Server, int]:
    """Start a server, and return it with its port for TLS."""
    server = await programs.server("--ephemeral", "--tls", "tcp:0:interface=127.0.0.1", *options)
    await server.program.until("Nothing is kept")
    listening = re.search(rb"Listening with TLS on 127\.0\.0\.1 port (\d+)", server.program.output)
    assert listening is not None
    return server, int(listening[1])


@pytest.mark.parametrize("name", CLIENTS)
@ensureDeferred
async def test_person_with_a_program_for_tls_talks_and_quits(programs: Programs, name: str) -> None:
    program, arguments = CLIENTS[name]
    path = found(program)
    server, port = await start(programs)
    ann = await programs.talker(server.port, "ann")
    bob = programs.run(path, *arguments(str(port)))
    await bob.until("Nickname: ")
    bob.write("bob\n")
    await bob.until("You are bob.")
    bob.write("hi\n")
    await ann.until("bob: hi\r\n")
    ann.say("hello")
    await bob.until("ann: hello\r\n")
    bob.write("quit\n")
    await bob.until("Goodbye, bob.")
    await ann.until(" * bob left.\r\n")
    bob.close_input()
    assert await bob.end() == 0


@pytest.mark.parametrize("name", ["ncat", "socat", "gnutls-cli"])
@ensureDeferred
async def test_script_says_all_and_reads_every_answer(programs: Programs, name: str) -> None:
    program, arguments = CLIENTS[name]
    path = found(program)
    server, port = await start(programs)
    ann = await programs.talker(server.port, "ann")
    bob = programs.run(path, *arguments(str(port)))
    bob.write("bob\nhi\n/ping\nlast words")
    bob.close_input()
    assert await bob.end() == 0
    assert bob.text().endswith("-> pong\n * Goodbye, bob.\n")
    await ann.until(" * bob left.\r\n")
    assert ann.whole_lines()[-4:] == [" * bob joined.", "bob: hi", "bob: last words", " * bob left."]


@ensureDeferred
async def test_client_without_tls_reads_what_the_port_speaks(programs: Programs) -> None:
    server, port = await start(programs)
    bob = programs.run(found("nc.openbsd"), "-N", "127.0.0.1", str(port))
    bob.write("bob\n")
    bob.close_input()
    assert await bob.end() == 0
    assert bob.text() == (
        " * This port speaks TLS: connect with broadcast-client --tls, ncat --ssl, or openssl s_client -quiet "
        "-connect.\n"
    )
    await server.program.until("Connections refused: 1, the last one: no TLS from 127.0.0.1 port ")
