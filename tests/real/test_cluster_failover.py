"""The database of several servers fails over to its standby, and servers are upgraded one by one. Nothing is lost."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from broadcast.client.protocol.events import Reconnected
from broadcast.client.sync import connect
from broadcast.journals.postgres.journal import LINES_LOST
from tests.browser.people import Person, Program
from tests.postgres import OWNER, SHARED, PostgresServer, need_postgres, wait_for
from tests.real import exactly_once
from tests.real.cluster import Cluster
from tests.real.cluster_world import Balancer, Servers
from tests.real.exactly_once import Bot, World, crowded

CLIENTS = exactly_once.Program, exactly_once.Program, Bot, exactly_once.Person
_LEFT = "SELECT event ->> 2 FROM broadcast.stream WHERE event ->> 0 = 'left'"
"""The nicknames of all that were seen leaving. People at the line door take another one for each visit."""


@pytest.fixture
def pair() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A database, and its standby, which is asynchronous."""
    primary = PostgresServer(need_postgres())
    standby = PostgresServer(primary.programs, primary)
    yield primary, standby
    standby.close()
    primary.close()


def url_of(*servers: PostgresServer) -> str:
    """Return the URL of the database on the one of *servers* that accepts changes."""
    hosts, ports = ",".join(str(each.folder) for each in servers), ",".join(str(each.port) for each in servers)
    return f"postgresql://{OWNER}@/{SHARED}?host={hosts}&port={ports}"


def change(server: PostgresServer, setting: str, value: str) -> None:
    """Change a setting of a server that runs."""
    server.execute(f"ALTER SYSTEM SET {setting} = '{value}'")
    server.execute("SELECT pg_reload_conf()")


def stop_receiving(primary: PostgresServer, standby: PostgresServer) -> None:
    """Let *standby* receive nothing that *primary* stores from now on."""
    stored = primary.execute("SELECT pg_current_wal_lsn()")[0][0]
    received = f"SELECT pg_last_wal_replay_lsn() >= '{stored}'"
    wait_for(lambda: standby.execute(received)[0][0], "the standby does not receive what is stored")
    change(standby, "primary_conninfo", "")
    wait_for(lambda: not standby.execute("SELECT FROM pg_stat_wal_receiver"), "the standby still receives")


def test_nothing_that_was_confirmed_is_lost_when_the_standby_takes_over(
    tmp_path: Path, pair: tuple[PostgresServer, PostgresServer]
) -> None:
    primary, standby = pair
    change(primary, "synchronous_standby_names", "*")
    random = Random(1)  # noqa: S311 -- what they say is no secret

    async def story() -> None:
        balancer = Balancer(random)
        servers = Servers(tmp_path, balancer, primary, "one two three", url=url_of(primary, standby))
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


def test_everybody_starts_anew_when_a_standby_that_lacks_lines_takes_over(
    tmp_path: Path, pair: tuple[PostgresServer, PostgresServer]
) -> None:
    primary, standby = pair
    cluster = Cluster(tmp_path, url_of(primary, standby), ("one", "two"))
    try:
        cluster.start()
        one, two = cluster.nodes
        with ExitStack() as stack:
            ann = stack.enter_context(Person(one.port, "ann"))
            bob = Program(two.port, "bob")
            stack.callback(bob.close)
            robot = stack.enter_context(connect("127.0.0.1", two.port, nick="robot"))
            assert [bob.call("say", room="lobby", text=text)["seq"] for text in ("one", "two")] == [1, 2]
            stop_receiving(primary, standby)
            assert [bob.call("say", room="lobby", text=text)["seq"] for text in ("lost", "lost too")] == [3, 4]
            ann.until("bob: lost too\r\n")
            primary.kill()
            standby.execute("SELECT pg_promote()")
            goodbye = bob.until(lambda each: each["method"] == "goodbye")["params"]
            assert goodbye["reconnect"]
            ann.until("Connect again")
            for node in cluster.nodes:
                node.wait()
            resume = {key: bob.welcome[key] for key in ("token", "journal")} | {"rooms": {"lobby": 4}}
            with pytest.raises(AssertionError, match="other-journal"):
                Program(one.port, "bob", resume=resume)
            back = Program(one.port, "bob")
            stack.callback(back.close)
            assert back.welcome["journal"] != bob.welcome["journal"]
            assert back.welcome["rooms"]["lobby"]["last"] == 2
            assert Reconnected(resumed=False, same_journal=False) in robot
            assert robot.say("three") == 3
            back.said("three")
        logs = [node.output() for node in cluster.nodes]
        assert [log.count("and this server starts anew.") for log in logs] == [1, 1]
        assert any(LINES_LOST.format("lobby") in log for log in logs), (
            "the others learn from the database that they end"
        )
        assert cluster.problems() == []
    finally:
        cluster.stop()


def test_everybody_starts_anew_although_a_new_server_has_filled_the_lost_numbers(
    tmp_path: Path, pair: tuple[PostgresServer, PostgresServer]
) -> None:
    primary, standby = pair
    cluster = Cluster(tmp_path, url_of(primary, standby), ("one", "two"))
    one, two = cluster.nodes
    try:
        one.start()
        with ExitStack() as stack:
            ann = stack.enter_context(Person(one.port, "ann"))
            ann.say("kept", "/history")
            ann.until("ann: kept\r\n")
            stop_receiving(primary, standby)
            ann.say("lost", "/history")
            ann.until("ann: lost\r\n")
            one.signal(signal.SIGSTOP)
            primary.kill()
            standby.execute("SELECT pg_promote()")
            two.start()
            bob = Program(two.port, "bob")
            stack.callback(bob.close)
            assert [bob.call("say", room="lobby", text=text)["seq"] for text in ("new", "new too")] == [2, 3]
            one.signal(signal.SIGCONT)
            ann.until("Connect again")
            assert bob.until(lambda each: each["method"] == "goodbye")["params"]["reconnect"]
        assert LINES_LOST.format("lobby") in one.output()
        assert cluster.problems() == []
    finally:
        cluster.stop()


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
            resumed = sum(client.resumed for client in world.clients if isinstance(client, exactly_once.Program))
            assert resumed, "no session went on at another server"

    asyncio.run(story())
