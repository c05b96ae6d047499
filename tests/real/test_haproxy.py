"""Scripts behind a proxy, on real sockets: their address is known, their end of input counts, bursts go straight."""

from __future__ import annotations

import re
import socket
import struct

import pytest
from pytest_twisted import ensureDeferred

from tests.real.programs import PATIENCE, Programs, found

TEXT = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 5555\r\n"
BINARY = b"\r\n\r\n\0\r\nQUIT\n" + struct.pack(
    "!BBH4s4sHH", 0x21, 0x11, 12, bytes((192, 0, 2, 7)), bytes((198, 51, 100, 1)), 56324, 5555
)


@pytest.mark.parametrize("header", [TEXT, BINARY], ids=["version 1", "version 2"])
@ensureDeferred
async def test_script_behind_a_proxy_says_all_and_reads_every_answer(programs: Programs, header: bytes) -> None:
    nc = found("nc.openbsd")
    server = await programs.server("--ephemeral", "--port", "haproxy:tcp:0:interface=127.0.0.1")
    await server.program.until("Nothing is kept")
    ann = await programs.talker(server.port, "ann")
    direct, proxied = map(int, re.findall(rb"127\.0\.0\.1 port (\d+)", server.program.output))
    assert direct == server.port
    bob = programs.run(nc, "-N", "127.0.0.1", str(proxied))
    bob.process.write(header + b"bob\nhi\n/ping\nlast words")
    bob.close_input()
    assert await bob.end() == 0
    assert bob.text().startswith("Welcome to Broadcast.\nNickname:  * You are bob.")
    assert bob.text().endswith("-> pong\n * Goodbye, bob.\n")
    await ann.until(" * bob left.\r\n")
    assert ann.whole_lines()[-4:] == [" * bob joined.", "bob: hi", "bob: last words", " * bob left."]
    await server.program.until("bob joined from 192.0.2.7 port 56324")


@ensureDeferred
async def test_client_without_the_proxy_header_is_rejected_with_a_line(programs: Programs) -> None:
    nc = found("nc.openbsd")
    server = await programs.server("--ephemeral", "--port", "haproxy:tcp:0:interface=127.0.0.1")
    await server.program.until("Nothing is kept")
    _, proxied = map(int, re.findall(rb"127\.0\.0\.1 port (\d+)", server.program.output))
    bob = programs.run(nc, "-N", "127.0.0.1", str(proxied))
    bob.write("bob\n")
    await bob.until(" * This port is for a proxy, which says first where you are: connect to the proxy.\r\n")
    with socket.create_connection(("127.0.0.1", proxied), timeout=PATIENCE) as silent:
        silent.sendall(BINARY[:10])
        silent.shutdown(socket.SHUT_WR)
        bob.close_input()
        await bob.end()
        assert silent.recv(1) == b""
