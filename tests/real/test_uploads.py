"""The installed ``broadcast-client --upload`` against the installed server, and connections that break."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.protocol import connectionDone
from twisted.internet.threads import deferToThread
from twisted.protocols.portforward import ProxyFactory, ProxyServer
from twisted.python.failure import Failure

from tests.real.programs import Programs, Server, found
from tests.real.test_client import CLIENT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the tests speak to a Unix shell")
DATA = os.urandom(3_000_000)


class CuttingProxy(ProxyServer):
    """The client's connection to a proxy. It ends when *cuts* of the factory are reached, in bytes of all clients.

    At each cut, the factory's *on_cut* is called.
    """

    def dataReceived(self, data: bytes) -> None:
        factory: Any = self.factory
        factory.passed += len(data)
        if factory.cuts and factory.passed >= factory.cuts[0]:
            del factory.cuts[0]
            factory.on_cut()
            cast(Any, self.transport).abortConnection()
        else:
            cast(Any, self.peer).transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        peer: Any = self.peer
        if peer is not None:
            # Twisted's waits for a server that it does not read from any more.
            peer.transport.unregisterProducer()
            peer.transport.loseConnection()


def cutting_proxy(cuts: list[int], on_cut: Callable[[], object] = lambda: None) -> Any:  # noqa: ANN401 -- has attributes
    proxy: Any = ProxyFactory("127.0.0.1", 0)
    proxy.protocol = CuttingProxy
    proxy.noisy = False
    proxy.passed, proxy.cuts, proxy.on_cut = 0, cuts, on_cut
    return proxy


async def serve(programs: Programs, url: str) -> tuple[Server, int]:
    """Start a server with a web port, whose address for others is *url*. Return it and the web port."""
    data = str(programs.folder / "data")
    server = await programs.server("--data", data, "--web", "tcp:0:interface=127.0.0.1", "--web-url", url)
    await server.program.until("The page is at ")
    listening = re.search(rb"The page is at .*port (\d+)", server.program.output)
    assert listening is not None
    return server, int(listening[1])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "my report.pdf"
    path.write_bytes(DATA)
    return path


async def download(programs: Programs, url: str) -> bytes:
    curl = programs.run(found("curl"), "-sS", "-o", "got", url)
    assert await curl.end() == 0, curl.text()
    return await deferToThread((programs.folder / "got").read_bytes)


@pytest.mark.parametrize("cuts", [[], [1, 1_000_000, 1_000_001, 2_500_000]], ids=["at once", "with cuts"])
@ensureDeferred
async def test_a_file_is_shared_whole_and_once(
    programs: Programs, listen: Callable[[Any], int], path: Path, cuts: list[int]
) -> None:
    proxy = cutting_proxy(cuts)
    server, proxy.port = await serve(programs, f"http://127.0.0.1:{listen(proxy)}/")
    bob = await programs.talker(server.port, "bob")
    shot = programs.run(str(CLIENT), f"127.0.0.1:{server.port}", "--nick", "ann", "--upload", str(path))
    assert await shot.end() == 0
    assert not cuts
    url = shot.text().strip()
    await bob.until(f" * ann shared my report.pdf (3.0 MB): {url}\r\n")
    await bob.until(" * ann left.\r\n")
    assert bob.text().count("shared") == 1
    assert await download(programs, url) == DATA


@ensureDeferred
async def test_a_file_is_shared_once_although_the_server_is_killed(
    programs: Programs, listen: Callable[[Any], int], path: Path
) -> None:
    web = cutting_proxy([1_000_000], lambda: server.program.process.signalProcess("KILL"))
    chat: Any = ProxyFactory("127.0.0.1", 0)
    chat.noisy = False
    url = f"http://127.0.0.1:{listen(web)}/"
    server, web.port = await serve(programs, url)
    chat.port = server.port
    shot = programs.run(str(CLIENT), f"127.0.0.1:{listen(chat)}", "--nick", "ann", "--upload", str(path), "--json")
    await server.program.end()
    assert not web.cuts
    server, web.port = await serve(programs, url)
    chat.port = server.port
    assert await shot.end() == 0
    shared = re.fullmatch(rf'{{"seq":1,"file":{{.*"url":"({re.escape(url)}files/[^"]+)".*}}}}\n', shot.text())
    assert shared is not None, shot.text()
    assert await download(programs, shared[1]) == DATA
    bob = await programs.talker(server.port, "bob")
    bob.say("/files", "/uptime")
    await bob.until("-> up since")
    assert bob.text().count("-> #") == 1
