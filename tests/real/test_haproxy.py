"""Scripts behind a proxy, on real sockets: the server knows their addresses, and the end of their input counts."""

from __future__ import annotations

import re
import struct

import pytest
from pytest_twisted import ensureDeferred

from tests.real.programs import Programs, found

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
    assert bob.text().startswith("Welcome to Broadcast. Type a nickname and press Enter.\nNickname:  * You are bob.")
    assert bob.text().endswith("-> pong\n * Goodbye, bob.\n")
    await ann.until(" * bob left.\r\n")
    assert ann.whole_lines()[-4:] == [" * bob joined.", "bob: hi", "bob: last words", " * bob left."]
    await server.program.until("bob joined from 192.0.2.7 port 56324")
