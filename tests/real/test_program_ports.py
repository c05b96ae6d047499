"""A program on each kind of port of the installed server, and after a crash of the server."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from pytest_twisted import ensureDeferred

from tests.real.programs import Programs
from tests.real.test_tls import self_signed

CLIENT = r"""
import json, socket, ssl, sys

kind, where, nick, *requests = sys.argv[1:]
if kind == "unix":
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(where)
else:
    connection = socket.create_connection(("127.0.0.1", int(where)))
if kind == "tls":
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = context.wrap_socket(connection)
if kind == "haproxy":
    connection.sendall(b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 5555\r\n")
hello = {"protocol": 1, "nick": nick, "grace": 0}
requests = [["hello", hello], *map(json.loads, requests), ["quit", {}]]
for number, (method, params) in enumerate(requests):
    request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    connection.sendall(json.dumps(request).encode() + b"\n")
for line in connection.makefile("rb"):
    if line.startswith(b"{"):
        message = json.loads(line)
        if "id" in message and message["id"] not in (0, len(requests) - 1):
            print(json.dumps(message.get("result", message.get("error"))))
print("end")
"""
SAY = '["say", {"room": "lobby", "text": "hi from %s", "uid": "%s"}]'


@ensureDeferred
async def test_programs_speak_on_every_kind_of_port(programs: Programs, tmp_path: Path) -> None:
    pem, path = tmp_path / "certificate.pem", tmp_path / "chat.sock"
    pem.write_bytes(self_signed())
    tls = f"ssl:0:privateKey={pem}:certKey={pem}:interface=127.0.0.1"
    ports = [f"unix:{path}", tls, "haproxy:tcp:0:interface=127.0.0.1"]
    server = await programs.server("--ephemeral", *(word for port in ports for word in ("--port", port)))
    await server.program.until("Nothing is kept")
    ann = await programs.talker(server.port, "ann")
    tcp, ssl_port, haproxy = re.findall(rb"127\.0\.0\.1 port (\d+)", server.program.output)
    kinds = {"tcp": tcp.decode(), "unix": str(path), "tls": ssl_port.decode(), "haproxy": haproxy.decode()}
    for seq, (kind, where) in enumerate(kinds.items(), 1):
        client = programs.run(sys.executable, "-c", CLIENT, kind, where, f"bot-{kind}", SAY % (kind, kind))
        assert await client.end() == 0
        assert re.fullmatch(rf'\{{"seq": {seq}, "at": [0-9.]+\}}\nend\n', client.text())
        await ann.until(f"bot-{kind}: hi from {kind}\r\n * bot-{kind} left.\r\n")
    await server.program.until("bot-haproxy joined from 192.0.2.7 port 56324")
    await server.program.until("bot-haproxy left")


@ensureDeferred
async def test_line_with_a_uid_is_stored_once_across_a_crash(programs: Programs) -> None:
    results = []
    lines: list[str] = []
    """The session of the line in the history."""
    for _ in range(2):
        server = await programs.server()
        requests = (SAY % ("us", "u-1"), '["history", {"room": "lobby", "last": 5}]')
        client = programs.run(sys.executable, "-c", CLIENT, "tcp", str(server.port), "bot", *requests)
        assert await client.end() == 0
        results.append(client.text().splitlines()[0])
        assert client.text().count("hi from us") == 1
        lines += re.findall(r'"session": "([^"]*)", "text": "hi from us"', client.text())
        await server.program.stop("KILL")
    assert results[0] == results[1]
    assert lines[0] == lines[1] != ""
