"""A soak of several servers with one database: servers are killed in turn, and the database is restarted twice."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Any

from tests.browser.people import Program as Probe
from tests.postgres import SHARED, PostgresServer, find_programs
from tests.real.cluster import Node
from tests.real.cluster_world import LEASE_SECONDS, Balancer, Servers
from tests.soak.model import Unexplained
from tests.soak.people import World
from tests.soak.programs import GRACE, MEAN_BYTES, Crew, Row
from tests.soak.run import PATIENCE, SoakError, percentile

MIN_FAULT_SECONDS = 15.0
"""Minimum time from one fault to the next one."""
FAULT_SECONDS_PER_PROGRAM = 0.03
"""Time from one fault to the next one, for each program. All programs must come back in this time."""
MIN_ARRIVAL_SECONDS = 5.0
"""Minimum time over which the arrivals of the programs are spread, in seconds."""
ARRIVAL_SECONDS_PER_PROGRAM = 0.01
"""The same for each program. If all arrived together, this process would not answer for seconds."""
SETTLED_SECONDS = 60.0
"""Time after which all servers must show the same people, once nobody comes or goes."""
_ROWS = """
SELECT name, seq, kind, nick, text, to_hex(session), uid
FROM broadcast.lines JOIN broadcast.rooms ON rooms.id = lines.room ORDER BY name, seq
"""
_PROBLEM = re.compile(r"Traceback|Unhandled|Exception|never retrieved|Fatal|#critical")


class ClusterSoak:
    """One run of *nodes* servers with so many *programs*, in *folder*. It reports its progress on stderr."""

    def __init__(self, nodes: int, programs: int, seconds: float, seed: int, folder: Path) -> None:
        installed = find_programs()
        if installed is None:
            raise SoakError("PostgreSQL is not installed")
        self._seconds = seconds
        self._fault_seconds = max(MIN_FAULT_SECONDS, programs * FAULT_SECONDS_PER_PROGRAM)
        self._random = Random(seed)  # noqa: S311 -- their choices are no secret
        self._postgres = PostgresServer(installed)
        self._balancer = Balancer(self._random, MEAN_BYTES)
        names = " ".join(f"node{number}" for number in range(1, nodes + 1))
        self._servers = Servers(folder, self._balancer, self._postgres, names, "--grace", str(GRACE))
        self._world = World(self._random, 0)
        self._crew = Crew(self._world, programs, self._balancer)
        self._problem: BaseException | None = None
        self._gaps: dict[str, list[float]] = {}
        """Seconds from each fault until the next line was confirmed, by its kind."""
        self.rows: dict[str, str] = {}
        """The measurements, by their names."""

    async def run(self) -> list[str]:
        """Run everything. Return what is wrong; the first entry is the first difference."""
        world, crew = self._world, self._crew
        world.loop.set_exception_handler(self._fail)
        wrong: list[str] = []
        try:
            await self._servers.start()
            self._progress(f"{len(self._servers.nodes)} servers run")
            await crew.arrive(max(MIN_ARRIVAL_SECONDS, len(crew.programs) * ARRIVAL_SECONDS_PER_PROGRAM))
            await self._fail_in_turn()
            self._progress("winding down")
            crew.begin_to_leave()
            await self._wait(lambda: crew.at_rest, crew.explain_unrest)
            await self._compare_people()
            await crew.leave()
            await self._servers.end(signal.SIGTERM)
        except (Unexplained, SoakError) as error:
            wrong.append(str(error))
        finally:
            await self._servers.end(signal.SIGKILL)
            rows = [Row(*row) for row in self._postgres.execute(_ROWS, database=SHARED)]
            self._postgres.close()
        if not wrong and (difference := crew.ledger.compare(rows)):
            wrong.append(difference)
        for node in self._servers.nodes:
            lines = enumerate(node.output().splitlines(), 1)
            wrong += [f"line {at} of the log of {node.name}: {line}" for at, line in lines if _PROBLEM.search(line)]
        counts = {name: f"{count:,}" for name, count in sorted(world.counts.items())}
        self.rows = {"lines in the journal": f"{len(rows):,}", **counts, **self.rows}
        for kind, seconds in self._gaps.items():
            shown = f"median {percentile(seconds, 0.5):.1f} s, worst {max(seconds):.1f} s, of {len(seconds)}"
            self.rows[f"time without a confirmed line after: {kind}"] = shown
        return wrong

    def log_tail(self) -> str:
        """Return the ends of the logs of all servers."""
        return "\n".join(
            f"{node.name}: {line}" for node in self._servers.nodes for line in node.output().splitlines()[-10:]
        )

    async def _fail_in_turn(self) -> None:
        """Let one server after the other fail, each time in another way, and the database twice."""
        servers, loop = self._servers, self._world.loop
        end = loop.time() + self._seconds
        restarts = [end - 2 * self._seconds / 3, end - self._seconds / 3]
        number = 0
        while loop.time() < end - self._fault_seconds / 2:
            await self._pause(min(self._fault_seconds, self._seconds / 4))
            node = servers.nodes[number % len(servers.nodes)]
            if restarts and loop.time() >= restarts[0]:
                restarts.pop(0)
                self._crew.database_changes += 1
                if restarts:
                    await self._measure("restart of the database", servers.restart_database(1.0))
                else:
                    await self._measure("kill -9 of the database", servers.kill_database(1.0))
                self._crew.database_changes += 1
            elif number // len(servers.nodes) % 3 == 0:
                await self._measure("kill -9 of a server", servers.restart(node, signal.SIGKILL, 2.0))
                number += 1
            elif number // len(servers.nodes) % 3 == 1:
                await self._measure("restart of a server", servers.restart(node, signal.SIGTERM))
                number += 1
            else:
                await self._measure("a server that stands still", servers.suspend(node, LEASE_SECONDS + 4))
                number += 1
        await self._pause(max(end - loop.time(), MIN_FAULT_SECONDS))

    async def _measure(self, kind: str, fault: Any) -> None:  # noqa: ANN401 -- a coroutine
        """Wait for *fault*, and note for how long no line was confirmed."""
        ledger, loop = self._crew.ledger, self._world.loop
        self._progress(kind)
        happening = asyncio.ensure_future(fault)
        began = last = loop.time()
        longest, seen = 0.0, sum(ledger.last.values())
        try:
            while not happening.done() or last == began or loop.time() - began < 5:
                await asyncio.sleep(0.02)
                self._check()
                if (now := sum(ledger.last.values())) != seen:
                    longest, last, seen = max(longest, loop.time() - last), loop.time(), now
                elif loop.time() - last > PATIENCE:
                    raise SoakError(f"nothing is confirmed any more after: {kind}")
        finally:
            await happening  # the database must run at the end
        self._gaps.setdefault(kind, []).append(longest)

    async def _compare_people(self) -> None:
        """Compare the people of all rooms on all servers."""
        end = self._world.loop.time() + SETTLED_SECONDS
        began = self._world.loop.time()
        while True:
            shown = [await asyncio.to_thread(list_people, node, self._crew.rooms) for node in self._servers.nodes]
            if all(each == shown[0] and each for each in shown):
                break
            if self._world.loop.time() > end:
                raise SoakError(f"the servers show different people: {explain(shown, self._crew.rooms)}")
            await asyncio.sleep(0.5)
        people = sum(map(len, shown[0].values()))
        took = self._world.loop.time() - began
        self.rows["people of all rooms that are the same on all servers"] = f"{people:,}, after {took:.1f} s"

    async def _pause(self, seconds: float) -> None:
        end = self._world.loop.time() + seconds
        await self._wait(lambda: self._world.loop.time() >= end)

    async def _wait(self, done: Callable[[], bool], explain: Callable[[], str] | None = None) -> None:
        """Wait until *done*. With *explain*, which returns why it is not, raise ``SoakError`` after ``PATIENCE``."""
        end = self._world.loop.time() + PATIENCE
        while not done():
            self._check()
            if explain is not None and self._world.loop.time() > end:
                raise SoakError(explain())
            await asyncio.sleep(0.05)

    def _check(self) -> None:
        if self._problem is not None:
            raise self._problem

    def _fail(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Note the first error of a callback."""
        self._problem = self._problem or context.get("exception") or SoakError(context["message"])

    def _progress(self, text: str) -> None:
        counts = self._world.counts
        resumed, anew = counts["sessions that were resumed"], counts["sessions that began anew"]
        sys.stderr.write(
            f"soak: {text}; {counts['lines confirmed to programs']:,} lines are confirmed, "
            f"{resumed:,} sessions were resumed, {anew:,} began anew\n"
        )
        sys.stderr.flush()


def list_people(node: Node, rooms: Sequence[str]) -> dict[str, list[str]]:
    """Return the nicknames in each of *rooms*, as *node* shows them. Without a session there, return no room."""
    people = {}
    with suppress(AssertionError, OSError), closing(Probe(node.port, f"probe-{node.name}", "probes")) as probe:
        for room in rooms:
            probe.call("join", room=room, replay=0)
            members = probe.call("members", room=room, count=1000)["members"]
            people[room] = sorted(each["nick"] for each in members if not each["nick"].startswith("probe-"))
            probe.call("leave", room=room)  # nobody may be in more than 50 rooms
        probe.call("quit")
        return people
    return {}


def explain(shown: Sequence[dict[str, list[str]]], rooms: Sequence[str]) -> str:
    """Describe the first ten people whom only some of the servers show: nickname, room, and numbers of these servers.

    *shown* has the people of each server by room, as ``list_people`` returns them.
    """
    differences = []
    for room in rooms:
        lists = [set(each.get(room, ())) for each in shown]
        for nick in sorted(lists[0].union(*lists) - lists[0].intersection(*lists)):
            servers = [number for number, people in enumerate(lists, 1) if nick in people]
            differences.append(f"{nick} in {room} on {servers}")
    return "; ".join(differences[:10]) or "there are none"
