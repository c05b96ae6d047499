"""Each line is stored once and read once, whatever happens to the server and to the connections."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from random import Random

import pytest

from tests.postgres import PostgresServer
from tests.real.exactly_once import Bot, Person, Program, running, until

LONG = bool(os.environ.get("BROADCAST_LONG"))
KILLS = 10 if LONG else 5
"""Number of moments at which one server is killed."""
SERVERS = 20 if LONG else 2
OTHERS = 5 if LONG else 1
"""Number of servers that end in good order, and of those whose connections are cut."""
CUTS = 1000 if LONG else 100
"""Number of connections that are cut."""
CLIENTS = Program, Program, Bot, Person


def some_messages(random: Random) -> int:
    """Return the number of messages up to the next fault: often the clients are still coming back."""
    return random.choice((random.randrange(1, 20), random.randrange(1, 3000)))


@pytest.mark.parametrize(
    ("seed", "how"),
    [
        *((seed, signal.SIGKILL) for seed in range(SERVERS)),
        *((seed, signal.SIGTERM) for seed in range(OTHERS)),
    ],
)
def test_each_line_comes_once_although_the_server_ends_at_any_moment(
    tmp_path: Path, seed: int, how: signal.Signals
) -> None:
    random = Random(seed)  # noqa: S311 -- when to end it is no secret

    async def story() -> None:
        async with running(tmp_path, random, CLIENTS) as world:
            for _ in range(KILLS):
                await world.messages(some_messages(random))
                await world.server.end(how)
                await world.server.start()
            await world.messages(1000)

    asyncio.run(story())


@pytest.mark.parametrize("seed", range(OTHERS))
def test_each_line_comes_once_although_connections_end_at_any_byte(tmp_path: Path, seed: int) -> None:
    random = Random(seed)  # noqa: S311 -- when to cut them is no secret

    async def story() -> None:
        async with running(tmp_path, random, CLIENTS) as world:
            world.relay.cuts_connections = True
            for cuts in range(10, CUTS + 1, 10):
                await until(lambda cuts=cuts: world.relay.cuts >= cuts)  # type: ignore[misc]  # it does not know the default
            world.relay.cuts_connections = False
        assert sum(client.resumed for client in world.clients if isinstance(client, Program)) > CUTS // 20

    asyncio.run(story())


@pytest.mark.parametrize("seed", range(SERVERS // 4))
def test_each_line_comes_once_although_the_database_is_killed_at_any_moment(
    tmp_path: Path, postgres: PostgresServer, postgres_url: str, seed: int
) -> None:
    random = Random(seed)  # noqa: S311 -- when to kill it is no secret

    async def story() -> None:
        async with running(tmp_path, random, CLIENTS, postgres) as world:
            for number in range(KILLS):
                await world.messages(some_messages(random))
                if number % 3 == 2:
                    await world.server.end(signal.SIGKILL)
                    await world.server.start()
                else:
                    await asyncio.to_thread(postgres.kill)
                    await asyncio.to_thread(postgres.start)
            await world.messages(1000)

    asyncio.run(story())
