"""The network between a server and the database is cut. Nothing answers, not even with a reset."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from time import monotonic

from pytest_twisted import async_yield_fixture, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from tests.postgres import OWNER, SHARED, PostgresServer
from tests.real.networks import FAR, Networks
from tests.real.programs import TWISTD, Program, Programs, found

CUT_SECONDS = 20
"""Duration of a cut. It is twice that of a lease."""
SOON = 30
"""Maximum number of seconds for what takes up to 10 on an idle machine."""
DATABASE_PORT, PORT, HEALTH_PORT = "5432", "5555", "9001"
HERE = "127.0.0.1"
AWAY = "503 nothing is kept: the database cannot be reached"


class Machine:
    """A machine that runs a server, and people on it. *run* starts a program there."""

    def __init__(self, networks: Networks, name: str) -> None:
        self.name = name
        self.run = networks.near if name == "near" else networks.far
        self.server: Program | None = None

    async def start(self, database: str) -> None:
        """Start the server with the journal on the machine *database*, and wait until it listens."""
        url = f"postgresql://{OWNER}@{database}:{DATABASE_PORT}/{SHARED}"
        options = ("--journal", url, "--data", self.name, "--node", self.name, "--limits", "off")
        ports = ("--port", PORT, "--interface", HERE, "--metrics", HEALTH_PORT)
        self.server = self.run(TWISTD, "-n", "--pidfile=", "broadcast", *ports, *options)
        await self.server.until(f"The name of this server there is {self.name}.")

    async def stop(self) -> None:
        """Kill the server, and with it the connections of socat, which would outlive it."""
        if self.server is not None:
            await self.server.stop()

    @property
    def log(self) -> str:
        """What the server has logged."""
        return "" if self.server is None else self.server.text()

    async def person(self, nick: str) -> Program:
        """Let a person come."""
        person = self.run(found("nc.openbsd"), HERE, PORT)
        person.write(f"{nick}\n")
        await person.until(f"You are {nick}.")
        return person

    async def health(self) -> str:
        """Return status and text of ``/healthz``."""
        curl = self.run(found("curl"), "-s", "-w", "%{http_code}", f"http://{HERE}:{HEALTH_PORT}/healthz")
        assert await curl.end() == 0, curl.text()
        text, _, status = curl.text().rpartition("\n")
        return f"{status} {text}"


@dataclass
class Site:
    """Two machines. The database is on the far one, the server on the near one has people."""

    networks: Networks
    clock: IReactorTime
    near: Machine
    far: Machine

    async def sleep_until(self, seconds: float) -> None:
        """Wait until this time of the monotonic clock."""
        await deferLater(self.clock, max(0.0, seconds - monotonic()))

    async def until_health_is(self, wanted: str) -> None:
        """Wait until the near server's health is *wanted*, for ``SOON`` at most."""
        end = monotonic() + SOON
        while (health := await self.near.health()) != wanted:
            assert monotonic() < end, f"{health}, not {wanted}: {self.near.log}"
            await self.sleep_until(monotonic() + 0.1)


@async_yield_fixture
async def site(
    programs: Programs, networks: Networks, postgres: PostgresServer, postgres_url: str
) -> AsyncIterator[Site]:
    """The machines, with a server on the near one."""
    socat = found("socat")
    # A socket in the file system can be reached from all networks.
    socket = programs.folder / "database"
    programs.run(socat, f"UNIX-LISTEN:{socket},fork", f"UNIX-CONNECT:{postgres.folder}/.s.PGSQL.{postgres.port}")
    keepalive = "keepalive,keepidle=1,keepintvl=1,keepcnt=5"  # without it, connections that were cut would stay
    networks.far(socat, f"TCP-LISTEN:{DATABASE_PORT},fork,{keepalive}", f"UNIX-CONNECT:{socket}")
    await networks.far("sh", "-c", f"until ss -Hltn | grep -q :{DATABASE_PORT}; do sleep 0.05; done").end()
    site = Site(networks, programs.clock, Machine(networks, "near"), Machine(networks, "far"))
    await site.near.start(FAR)
    yield site
    await networks.mend()
    for machine in (site.near, site.far):
        await machine.stop()


@ensureDeferred
async def test_people_stay_connected_during_a_cut_and_everything_goes_on_after_it(site: Site) -> None:
    ann, bob = [await site.near.person(nick) for nick in ("ann", "bob")]
    ann.write("before\n")
    await bob.until("ann: before\r\n")
    await site.networks.cut()
    end = monotonic() + CUT_SECONDS
    ann.write("in doubt\n")
    await site.until_health_is(AWAY)
    bob.write("during\n")
    await bob.until("-> Error: not kept: the database cannot be reached")
    bob.write("/msg ann psst\n")
    await ann.until("[bob] psst\r\n")
    await site.sleep_until(end)
    assert "ann: in doubt" not in bob.text(), "nobody has stored it"
    assert "not kept" not in ann.text(), "the server cannot know that yet"
    await site.networks.mend()
    await site.until_health_is("200 ok")
    await bob.until("ann: in doubt\r\n")
    bob.write("after\n/history\n")
    await ann.until("bob: after\r\n")
    await bob.until("-> #3 ")
    assert re.findall(r"-> #(\d+) \[[^]]+\] (.*)\n", bob.text())[:2] == [("1", "ann: before"), ("2", "ann: in doubt")]
    for person in (ann, bob):
        assert "left" not in person.text()


@ensureDeferred
async def test_people_of_a_server_that_is_cut_off_have_left_and_come_back(site: Site) -> None:
    await site.far.start(HERE)
    ann, bob = [await site.near.person(nick) for nick in ("ann", "bob")]
    carol = await site.far.person("carol")
    ann.write("before\n")
    await carol.until("ann: before\r\n")
    await site.networks.cut()
    end = monotonic() + CUT_SECONDS
    ann.write("in doubt\n")
    await site.until_health_is(AWAY)
    for nick in ("ann", "bob"):
        await carol.until(f" * {nick} left: connection lost\r\n")
    assert monotonic() < end, "they have left during the cut"
    carol.write("during\n/history\n")
    await carol.until("carol: during\r\n")
    for person in (ann, bob):
        person.write("/ping\n")
        await person.until("-> pong\r\n")
    await site.sleep_until(end)
    await site.networks.mend()
    for person in (ann, bob):
        await person.until("This server starts anew. Connect again")
    await ann.until("-> Error: not kept: this server has lost its lease")
    await site.until_health_is("200 ok")
    again = await site.near.person("ann")
    await carol.until(" * ann joined.\r\n")
    again.write("after\n")
    await carol.until("ann: after\r\n")
    assert "in doubt" not in carol.text()
    assert "Traceback" not in site.near.log + site.far.log
