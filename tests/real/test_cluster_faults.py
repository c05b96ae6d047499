"""Several servers and their database fail at random moments: each line is stored once, and read once by everybody.

``BROADCAST_LONG=1`` adds rounds, and faults that take long.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import TypeAlias

import pytest

from tests.browser.people import Program as Probe
from tests.postgres import PostgresServer
from tests.real.cluster_world import LEASE_SECONDS, Balancer, Servers
from tests.real.exactly_once import ROOMS, Bot, Person, Program, World, crowded
from tests.real.programs import PATIENCE

LONG = bool(os.environ.get("BROADCAST_LONG"))
ROUNDS = int(os.environ.get("BROADCAST_ROUNDS") or (10 if LONG else 1))
"""Number of runs with random faults."""
FAULTS = 10 if LONG else 4
"""Number of faults in each of them."""
CLIENTS = Program, Program, Program, Bot, Person
GRACE = 5
Fault: TypeAlias = Callable[[Servers, Random], Awaitable[None]]


async def kill_server(servers: Servers, random: Random) -> None:
    await servers.restart(random.choice(servers.nodes), signal.SIGKILL, random.choice((0, 0, 1)))


async def stop_server(servers: Servers, random: Random) -> None:
    await servers.restart(random.choice(servers.nodes), signal.SIGTERM)


async def kill_database(servers: Servers, random: Random) -> None:
    await servers.kill_database(random.choice((0, 0, 2)))


async def restart_database(servers: Servers, random: Random) -> None:
    await servers.restart_database(random.choice((0, 0, 2)))


async def suspend_backend(servers: Servers, random: Random) -> None:
    await servers.suspend_backend(random.choice(servers.nodes), random, random.choice((0.5, 8)))


async def end_backends(servers: Servers, random: Random) -> None:
    await servers.end_backends(random.choice(servers.nodes))


async def suspend_server(servers: Servers, random: Random) -> None:
    servers.balancer.delay = 0.05
    await servers.suspend(random.choice(servers.nodes), LEASE_SECONDS + 4)
    servers.balancer.delay = 0.0


async def suspend_server_shortly(servers: Servers, random: Random) -> None:
    await servers.suspend(random.choice(servers.nodes), random.choice((0.2, 3)))


SHORT_FAULTS: list[Fault] = [kill_server, stop_server, kill_database, end_backends]
LONG_FAULTS: list[Fault] = [restart_database, suspend_backend, suspend_server, suspend_server_shortly]


async def everybody_is_known(world: World[Servers]) -> None:
    """Wait until each server knows all clients, and nobody else."""

    def ask(port: int) -> list[str]:
        with suppress(AssertionError, OSError), closing(Probe(port, f"probe{port}", "empty")) as probe:
            members = probe.call("join", room=ROOMS[0], replay=0)["members"]
            return sorted(each["nick"] for each in members if not each["nick"].startswith("probe"))
        return []  # it takes nobody at the moment

    for node in world.server.nodes:
        end = asyncio.get_running_loop().time() + PATIENCE
        while True:
            seen = await asyncio.to_thread(ask, node.port)
            expected = sorted(client.current_nick for client in world.clients)
            if seen == expected:
                break
            assert asyncio.get_running_loop().time() < end, f"{node.name} shows {seen}, but {expected} are there"
            await asyncio.sleep(0.2)


def run(postgres: PostgresServer, folder: Path, seed: int, faults: list[Fault], names: str = "one two three") -> None:
    """Let clients talk while *faults* happen."""
    random = Random(seed)  # noqa: S311 -- when to kill is no secret

    async def story() -> None:
        balancer = Balancer(random)
        servers = Servers(folder, balancer, postgres, names, "--grace", str(GRACE))
        world = World(random, balancer, servers)
        async with crowded(world, CLIENTS):
            for fault in faults:
                await world.messages(random.choice((random.randrange(1, 20), random.randrange(1, 3000))))
                await fault(servers, random)
            await world.messages(1000)
            await everybody_is_known(world)

    asyncio.run(story())


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_each_line_comes_once_whatever_fails(
    tmp_path: Path, postgres: PostgresServer, postgres_url: str, seed: int
) -> None:
    kinds = SHORT_FAULTS + LONG_FAULTS * LONG
    run(postgres, tmp_path, seed, Random(seed).choices(kinds, k=FAULTS))  # noqa: S311 -- as above


@pytest.mark.parametrize("fault", SHORT_FAULTS + LONG_FAULTS if LONG else [kill_server, kill_database, suspend_server])
def test_each_line_comes_once_although(
    tmp_path: Path, postgres: PostgresServer, postgres_url: str, fault: Fault
) -> None:
    run(postgres, tmp_path, 1, [fault])
