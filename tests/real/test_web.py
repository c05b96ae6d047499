"""The web page on real sockets: curl, a reverse proxy in front, and the end of the server."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred

from benchmarks.processes import free_port
from tests.real.programs import Programs, Server, found

PAGE = "<!doctype html>"
HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 75s
    timeout server 75s
    timeout tunnel 180s

frontend web
    bind 127.0.0.1:{front}
    option forwardfor
    http-request set-header X-Forwarded-Proto https
    default_backend page

backend page
    server page 127.0.0.1:{back}
"""
"""The configuration in docs/web.rst, without a certificate."""
JOIN = """
import json, sys
from websockets.sync.client import connect

url, nick = sys.argv[1:]
forged = {"X-Forwarded-For": "203.0.113.66"}
with connect(url, additional_headers=forged, source_address=("127.0.0.2", 0), proxy=None) as page:
    hello = {"protocol": 1, "nick": nick}
    page.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "hello", "params": hello}))
    print(page.recv(), flush=True)
    sys.stdin.readline()
"""
"""A program that joins through a WebSocket, from another address of this machine, and lies about it."""


async def web_port(server: Server) -> int:
    """Return the port of the page, from the address in the log."""
    await server.program.until("The page is at http")
    listening = re.search(rb"The page is at https?://localhost:(\d+)/", server.program.output)
    assert listening is not None, server.program.text()
    return int(listening[1])


async def curl(programs: Programs, *arguments: str) -> str:
    """Return the output of curl, which has to succeed."""
    program = programs.run(found("curl"), "--silent", "--show-error", "--max-time", "60", *arguments)
    status = await program.end()
    assert status == 0, program.text()
    return program.text()


@ensureDeferred
async def test_curl_gets_the_page_in_every_way(programs: Programs, tmp_path: Path) -> None:
    server = await programs.server("--ephemeral", "--web", "0", "--web", "unix:web.sock:mode=600")
    url = f"http://localhost:{await web_port(server)}"
    page = await curl(programs, f"{url}/")
    assert page.startswith(PAGE)
    for way in (["--compressed"], ["--http1.0"], ["--http2"], ["-H", "Expect: 100-continue"]):
        assert await curl(programs, *way, f"{url}/") == page, way
    assert await curl(programs, "--unix-socket", "web.sock", "http://localhost/") == page
    assert (tmp_path / "web.sock").stat().st_mode & 0o777 == 0o600
    head = await curl(programs, "--head", f"{url}/")
    assert head.startswith("HTTP/1.1 200 OK\n")
    assert f"Content-Length: {len(page.encode())}\n" in head
    both = await curl(programs, f"{url}/", f"{url}/app.js", "--write-out", "%{num_connects}")
    assert re.search(r"1.*0$", both, re.DOTALL), "the second request uses the connection of the first"
    await curl(programs, "--etag-save", "etag", f"{url}/")
    again = await curl(programs, "--etag-compare", "etag", "--write-out", "%{http_code}", f"{url}/")
    assert again == "304"
    assert (await curl(programs, "--data", "x=y", f"{url}/")).startswith("This address allows GET, HEAD only.")
    assert (await curl(programs, f"{url}/a/b")).startswith("There is nothing at this address.")
    assert (await curl(programs, "-H", "Host: evil.example", f"{url}/")).startswith("This server does not answer")


@ensureDeferred
async def test_curl_gets_the_page_with_https(programs: Programs) -> None:
    server = await programs.server("--ephemeral", "--web-tls", "0")
    port = await web_port(server)
    assert (await curl(programs, "--insecure", f"https://localhost:{port}/")).startswith(PAGE)
    assert (await curl(programs, f"http://localhost:{port}/")) == (
        "This port speaks https: write https:// before the address of the page.\n"
    )


@ensureDeferred
async def test_reverse_proxy_says_where_people_come_from(programs: Programs, tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux has all addresses of 127.0.0.0/8")
    haproxy = found("haproxy")
    server = await programs.server(
        *("--ephemeral", "--web", "0", "--trusted-proxy", "127.0.0.1", "--web-path", "/chat"),
        *("--web-url", "https://chat.example.com/chat/", "--web-hsts"),
    )
    await server.program.until("The page is at https://chat.example.com/chat/, listening on 127.0.0.1 port ")
    listening = re.search(rb"The page is at .*? 127\.0\.0\.1 port (\d+)", server.program.output)
    assert listening is not None
    front = free_port()
    (tmp_path / "haproxy.cfg").write_text(HAPROXY.format(front=front, back=int(listening[1])))
    proxy = programs.run(haproxy, "-f", "haproxy.cfg")
    try:
        retry = ("--retry", "20", "--retry-connrefused", "--retry-delay", "1")
        name = ("-H", "Host: chat.example.com", f"http://127.0.0.1:{front}/chat")
        page = await curl(programs, *retry, "--location", "--include", "--write-out", "%{num_redirects}", *name)
        assert "Strict-Transport-Security: max-age=31536000" in page or "strict-transport-security" in page
        assert page.endswith("1")
        person = programs.run(sys.executable, "-c", JOIN, f"ws://127.0.0.1:{front}/chat/ws", "ann")
        await person.until('"nick":"ann"')
        await server.program.until("ann joined from 127.0.0.2 port ")
        person.write("\n")
        assert await person.end() == 0
        assert b"203.0.113.66" not in server.program.output
    finally:
        await proxy.stop("TERM")


@ensureDeferred
async def test_server_ends_at_once_beside_connections_that_wait(programs: Programs) -> None:
    server = await programs.server("--ephemeral", "--web", "0")
    port = await web_port(server)
    silent = await programs.talker(port)
    begun = await programs.talker(port)
    begun.tcp.write(b"GET / HTTP/1.1\r\n")
    idle = await programs.talker(port)
    idle.tcp.write(b"GET /app.js HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await idle.until("200 OK")
    server.program.process.signalProcess("TERM")
    await server.program.end()
    for talker in (silent, begun, idle):
        await talker.lost
    assert "Aborting" not in server.program.text()
    assert "Traceback" not in server.program.text()
