"""The installed ``broadcast-client --send`` against real servers and connections that break."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.protocol import connectionDone
from twisted.protocols.portforward import ProxyClient, ProxyClientFactory, ProxyFactory, ProxyServer
from twisted.python.failure import Failure

from tests.real.programs import Programs
from tests.real.test_client import CLIENT, history, shell

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the tests speak to a Unix shell")
LINES = 5000


class CuttingClient(ProxyClient):
    """A proxy's connection to the server. It cuts both connections after *left* bytes as long as there are *cuts*."""

    def dataReceived(self, data: bytes) -> None:
        client: Any = self.peer
        proxy = client.factory
        proxy.left -= len(data)
        if proxy.left > 0 or not proxy.cuts:
            client.transport.write(data)
        else:
            client.transport.write(data[: proxy.left])
            proxy.left = proxy.cuts.pop()
            cast(Any, self.transport).abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # Twisted's waits for a client that it does not read from any more.
        client: Any = self.peer
        client.transport.unregisterProducer()
        client.transport.loseConnection()


class CuttingClientFactory(ProxyClientFactory):
    """Makes that connection."""

    noisy = False
    protocol = CuttingClient


class CuttingProxy(ProxyServer):
    """The client's connection to that proxy."""

    clientProtocolFactory = CuttingClientFactory  # noqa: N815 -- Twisted's name


def cutting_proxy(port: int, left: int, cuts: list[int]) -> Any:  # noqa: ANN401 -- with attributes of its own
    proxy: Any = ProxyFactory("127.0.0.1", port)
    proxy.protocol = CuttingProxy
    proxy.left, proxy.cuts = left, cuts
    return proxy


@pytest.mark.parametrize(
    ("command", "output", "stored"),
    [
        ("CLIENT --nick builder --send 'quit\n\n/names'", "", ["builder: quit", "builder: /names"]),
        (
            "printf 'caf\\303\\251\\n\\nb' | CLIENT --nick builder --json --send -",
            '{"seq": 1, "text": "café"}\n{"seq": 2, "text": "b"}\n',
            ["builder: café", "builder: b"],
        ),
        (
            """printf 'a\\nb\\nc\\n' | while read x; do CLIENT --nick ann --send "$x" || exit; done""",
            "",
            ["ann: a", "ann: b", "ann: c"],
        ),
        ("USER=ann CLIENT --send x", "", ["ann2: x"]),
    ],
    ids=["text", "JSON", "standard input is not read", "taken user name"],
)
@ensureDeferred
async def test_one_shot_stores_its_lines_and_prints_only_json(
    programs: Programs, command: str, output: str, stored: list[str]
) -> None:
    port = programs.room()
    if "USER" in command:
        await programs.talker(port, "ann")
    shot = shell(programs, port, command)
    assert await shot.end() == 0
    assert shot.text() == output
    assert await history(programs, port) == stored


@ensureDeferred
async def test_text_is_posted_over_a_unix_socket(programs: Programs, tmp_path: Path) -> None:
    place = f"unix:{tmp_path / 'chat.sock'}"
    server = await programs.server("--ephemeral", "--port", place)
    ann = await programs.talker(server.port, "ann")
    shot = programs.run(str(CLIENT), place, "--nick", "builder", "--send", "done")
    assert (await shot.end(), shot.text()) == (0, "")
    await ann.until("builder: done\r\n")


@ensureDeferred
async def test_ten_thousand_lines_are_stored_in_order(programs: Programs) -> None:
    port = programs.room("--limits", "off")
    shot = shell(programs, port, "seq 10000 | CLIENT --nick builder --json --send -")
    assert await shot.end() == 0
    lines = [json.loads(line) for line in shot.text().splitlines()]
    assert lines == [{"seq": number, "text": str(number)} for number in range(1, 10001)]


@ensureDeferred
async def test_each_line_is_stored_once_and_in_order_although_the_server_is_killed(
    programs: Programs, listen: Callable[[Any], int]
) -> None:
    data = programs.folder / "data"
    server = await programs.server("--data", str(data), "--limits", "off")
    proxy = cutting_proxy(server.port, 0, [])
    client = shell(programs, listen(proxy), "CLIENT --nick ann --json --send -")
    texts = [str(number) for number in range(1, LINES + 1)]
    for part in range(5):
        client.write("".join(f"{text}\n" for text in texts[part * 1000 : (part + 1) * 1000]))
        if part < 2:
            await client.when(lambda known=part * 1000 + 10: client.output.count(b"\n") > known)  # type: ignore[misc]  # mypy cannot type it
            await server.program.stop("KILL")
            server = await programs.server("--data", str(data), "--limits", "off")
            proxy.port = server.port
    client.close_input()
    assert await client.end() == 0
    assert [json.loads(line)["text"] for line in client.text().splitlines()] == texts
    with closing(sqlite3.connect(data / "journal.sqlite")) as journal:
        assert journal.execute("SELECT nick, text FROM events ORDER BY seq").fetchall() == [
            ("ann", text) for text in texts
        ]


@pytest.mark.parametrize("seed", range(100 if os.environ.get("BROADCAST_LONG") else 4))
@ensureDeferred
async def test_each_line_is_stored_once_and_in_order_wherever_connections_are_cut(
    programs: Programs, listen: Callable[[Any], int], seed: int
) -> None:
    random = Random(seed)  # noqa: S311 -- where to cut is no secret
    # The first connection gets at least the greeting and the answer to hello.
    cuts = [random.randrange(1, 9000) for _ in range(6)]
    proxy = cutting_proxy(programs.room("--limits", "off"), random.randrange(1500, 9000), cuts)
    client = shell(programs, listen(proxy), "seq 100 | CLIENT --nick ann --json --send -")
    assert await client.end() == 0
    assert [json.loads(line)["text"] for line in client.text().splitlines()] == [str(n) for n in range(1, 101)]
    assert await history(programs, proxy.port) == [f"ann: {number}" for number in range(1, 101)]
