"""Clients of several servers that share a database, and what can happen to these servers and to the database.

Each connection of a client goes to any of the servers that run, as through a balancer.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from random import Random

from tests.postgres import PostgresServer
from tests.real.cluster import Cluster, Node
from tests.real.exactly_once import Line, stored_lines
from tests.relay import Relay

LEASE_SECONDS = 10
"""Time after which the others remove a server that does not renew its lease."""
_BACKENDS = "SELECT pid FROM pg_stat_activity WHERE application_name = %s"


class Balancer(Relay):
    """A relay to any of several servers."""

    def __init__(self, random: Random, mean_bytes: int = 20_000) -> None:
        super().__init__(random, mean_bytes)
        self.targets: list[int] = []
        """The ports of the servers that take connections."""

    def choose_target(self) -> int:
        """Return the port for the next connection: that of any server, 0 if there is none."""
        return self._random.choice(self.targets) if self.targets else 0


class Servers:
    """The servers of a cluster, in an asyncio program. All of them are behind *balancer*.

    Their database is *postgres*, by default at its own URL.
    """

    may_refuse = True

    def __init__(
        self, folder: Path, balancer: Balancer, postgres: PostgresServer, names: str, *options: str, url: str = ""
    ) -> None:
        self.postgres = postgres
        self.balancer = balancer
        self.cluster = Cluster(folder, url or postgres.url(), names.split(), *options)

    @property
    def nodes(self) -> list[Node]:
        """All servers."""
        return self.cluster.nodes

    @property
    def output(self) -> bytes:
        """The output of all servers."""
        return "".join(node.output() for node in self.nodes).encode()

    async def start(self) -> None:
        """Start all servers."""
        await asyncio.to_thread(self.cluster.start)
        self.balancer.targets = [node.port for node in self.nodes]

    async def end(self, number: signal.Signals) -> None:
        """End all servers that run with a signal."""
        self.balancer.targets = []
        await asyncio.gather(*(asyncio.to_thread(node.stop, number) for node in self.nodes))

    def stored(self) -> dict[str, dict[int, Line]]:
        """Return all lines of the journal by room and number."""
        return stored_lines(self.postgres)

    # Faults

    async def restart(self, node: Node, number: signal.Signals, pause: float = 0.0) -> None:
        """End *node* with a signal, and start it again after *pause*."""
        self.balancer.targets.remove(node.port)
        await asyncio.to_thread(node.stop, number)
        await asyncio.sleep(pause)
        await asyncio.to_thread(node.start)
        self.balancer.targets.append(node.port)

    async def suspend(self, node: Node, seconds: float) -> None:
        """Stop the process of *node* for a while. Its clients notice, and go to another server."""
        self.balancer.targets.remove(node.port)
        node.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds / 2)
            self.balancer.cut(node.port)
            await asyncio.sleep(seconds / 2)
        finally:
            node.signal(signal.SIGCONT)
        self.balancer.targets.append(node.port)

    async def suspend_backend(self, node: Node, random: Random, seconds: float) -> None:
        """Stop one of the processes of PostgreSQL that work for *node*."""
        pids = await asyncio.to_thread(self._backends, node)
        if pids:
            pid = random.choice(pids)
            os.kill(pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(seconds)
            finally:
                os.kill(pid, signal.SIGCONT)

    def _backends(self, node: Node) -> list[int]:
        return [pid for (pid,) in self.postgres.execute(_BACKENDS, [f"broadcast {node.name}"])]

    async def end_backends(self, node: Node) -> None:
        """End all connections of *node* to the database."""
        for pid in await asyncio.to_thread(self._backends, node):
            await asyncio.to_thread(self.postgres.execute, "SELECT pg_terminate_backend(%s, 5000)", [pid])

    async def kill_database(self, pause: float = 0.0) -> None:
        """Kill all processes of PostgreSQL, and start it again after *pause*."""
        await asyncio.to_thread(self.postgres.kill)
        try:
            await asyncio.sleep(pause)
        finally:
            await asyncio.to_thread(self.postgres.start)

    async def restart_database(self, pause: float = 0.0) -> None:
        """Shut PostgreSQL down, and start it again after *pause*."""
        await asyncio.to_thread(self.postgres.stop)
        try:
            await asyncio.sleep(pause)
        finally:
            await asyncio.to_thread(self.postgres.start)
