"""The fixtures that the tests with real programs share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from pytest_twisted import async_fixture, async_yield_fixture
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorTCP

from tests.real.cluster import Cluster
from tests.real.networks import Networks, why_not
from tests.real.programs import Programs, Talker, found


@pytest.fixture
def port(programs: Programs) -> int:
    """The port of a server in this process."""
    return programs.room("--limits", "off")


@async_yield_fixture
async def bob(programs: Programs, port: int) -> AsyncIterator[Talker]:
    """A client in the room on a socket."""
    yield await programs.talker(port, "bob")


@async_yield_fixture
async def listen(programs: Programs) -> AsyncIterator[Callable[[Any], int]]:
    """Return a function that listens with a factory and returns the port."""
    ports: list[Any] = []

    def listen_with(factory: Any) -> int:  # noqa: ANN401 -- the types of Twisted's factories differ
        factory.noisy = False
        ports.append(cast(IReactorTCP, programs.reactor).listenTCP(0, factory, interface="127.0.0.1"))
        return int(ports[-1].getHost().port)

    yield listen_with
    for port in ports:
        await maybeDeferred(port.stopListening)


@pytest.fixture
def cluster(postgres_url: str, tmp_path: Path) -> Iterator[Cluster]:
    """Two servers with a database that is empty at first."""
    cluster = Cluster(tmp_path, postgres_url, ("one", "two"), "--grace", "60")
    try:
        cluster.start()
        yield cluster
        assert cluster.problems() == []
    finally:
        cluster.stop()


@async_fixture
async def networks(programs: Programs) -> Networks:
    """Two machines with a cable between them, where such things are allowed."""
    for program in ("unshare", "nsenter", "ip"):
        found(program)
    if reason := why_not():
        pytest.skip(reason)
    networks = Networks(programs)
    await networks.build()
    return networks
