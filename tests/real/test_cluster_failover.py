"""The database of several servers fails over to its standby, and servers are upgraded one by one. Nothing is lost."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.postgres import OWNER, SHARED, PostgresServer, need_postgres
from tests.real.cluster_world import Balancer, Servers
from tests.real.exactly_once import Bot, Person, Program, World, crowded

CLIENTS = Program, Program, Bot, Person
_LEFT = "SELECT event ->> 2 FROM broadcast.stream WHERE event ->> 0 = 'left'"
"""The nicknames of all that were seen leaving. People at the line door take another one for each visit."""


@pytest.fixture
def pair() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A database, and its synchronous standby."""
    primary = PostgresServer(need_postgres())
    standby = PostgresServer(primary.programs, primary)
    primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.execute("SELECT pg_reload_conf()")
    yield primary, standby
    standby.close()
    primary.close()


def test_nothing_that_was_confirmed_is_lost_when_the_standby_takes_over(
    tmp_path: Path, pair: tuple[PostgresServer, PostgresServer]
) -> None:
    primary, standby = pair
    hosts, ports = f"{primary.folder},{standby.folder}", f"{primary.port},{standby.port}"
    random = Random(1)  # noqa: S311 -- what they say is no secret

    async def story() -> None:
        balancer = Balancer(random)
        url = f"postgresql://{OWNER}@/{SHARED}?host={hosts}&port={ports}"
        servers = Servers(tmp_path, balancer, primary, "one two three", url=url)
        world = World(random, balancer, servers)
        async with crowded(world, CLIENTS):
            await world.messages(2000)
            await asyncio.to_thread(primary.kill)
            await asyncio.to_thread(standby.execute, "SELECT pg_promote()")
            servers.postgres = standby
            await world.messages(2000)
            for node in servers.nodes:
                await asyncio.to_thread(node.wait)

    asyncio.run(story())


def test_servers_are_replaced_one_by_one_while_people_talk(
    tmp_path: Path, postgres: PostgresServer, postgres_url: str
) -> None:
    random = Random(1)  # noqa: S311 -- what they say is no secret

    async def story() -> None:
        balancer = Balancer(random)
        servers = Servers(tmp_path, balancer, postgres, "one two three")
        world = World(random, balancer, servers)
        async with crowded(world, CLIENTS):
            await world.messages(1000)
            for node in servers.nodes:
                await servers.restart(node, signal.SIGTERM)
                await world.messages(1000)
            left = postgres.execute(_LEFT, database=SHARED)
            assert {nick for (nick,) in left}.isdisjoint(client.nick for client in world.clients), "nobody has seen it"
            resumed = sum(client.resumed for client in world.clients if isinstance(client, Program))
            assert resumed, "no session went on at another server"

    asyncio.run(story())
