"""The database of a server is away for a while: authors are told, all else goes on, and the server recovers by itself.

The server is a process of its own, and the faults are real. ``BROADCAST_LONG=1`` adds some.
"""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from benchmarks.processes import free_port
from tests.faults.databases import FAULTS, OURS, RARE_FAULTS, Fault, Relay, terminate
from tests.postgres import PASSWORD, SHARED, PostgresServer
from tests.real.programs import PATIENCE, Programs, Server, Talker

LONG = bool(os.environ.get("BROADCAST_LONG"))
LINES = 300


@pytest_twisted.async_yield_fixture
async def relay(programs: Programs, postgres: PostgresServer, postgres_url: str) -> AsyncIterator[Relay]:
    relay = Relay(programs.reactor, postgres.port)
    yield relay
    await relay.stop()


class Author:
    """A person who says lines with receipts, and notes which are stored and which are rejected."""

    def __init__(self, talker: Talker) -> None:
        self.talker = talker
        self.stored: dict[int, str] = {}
        self.rejections: set[str] = set()
        self._waiting: list[str] = []

    @property
    def waits(self) -> bool:
        """Whether a line has no answer yet."""
        self._take()
        return bool(self._waiting)

    def say(self, text: str) -> None:
        """Say *text*, without waiting for the answer."""
        self._waiting.append(text)
        self.talker.say(text)

    def _take(self) -> None:
        """Take in the answers, which come in the order of the lines."""
        lines, end, rest = self.talker.seen.rpartition(b"\r\n")
        self.talker.seen = rest
        for line in (lines + end).decode().splitlines():
            if receipt := re.fullmatch(r"-> #(\d+)", line):
                assert int(receipt[1]) not in self.stored
                self.stored[int(receipt[1])] = self._waiting.pop(0)
            elif line.startswith("-> Error: not kept: "):
                self.rejections.add(line.removeprefix("-> Error: not kept: "))
                self._waiting.pop(0)

    async def answered(self) -> None:
        """Wait until all lines have an answer."""
        await self.talker.when(lambda: not self.waits)


async def start(programs: Programs, postgres: PostgresServer, relay: Relay) -> tuple[Server, int]:
    """Start a server behind *relay*. Return it and the port of its health check."""
    port = free_port()
    url = postgres.tcp_url(port=relay.number)
    options = ("--journal", url, "--node", "one", "--limits", "off", "--metrics", str(port))
    return await programs.server(*options, environment={"PGPASSWORD": PASSWORD}), port


async def author(programs: Programs, server: Server, nick: str) -> Author:
    talker = await programs.talker(server.port, nick)
    talker.say("/receipts on")
    await talker.until("-> receipts are on.\r\n")
    return Author(talker)


async def until_health_is(programs: Programs, port: int, is_right: Callable[[str], bool]) -> None:
    """Wait until the answer of ``/healthz`` is right."""

    def ask() -> str:
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            answer = b""
            while data := connection.recv(4096):
                answer += data
        head, _, body = answer.decode().partition("\r\n\r\n")
        return f"{head.split()[1]} {body.strip()}"

    end = programs.clock.seconds() + PATIENCE
    while not is_right(answer := await deferToThread(ask)):
        assert programs.clock.seconds() < end, answer
        await deferLater(programs.clock, 0.05)


def stored_lines(postgres: PostgresServer) -> list[tuple[int, str, str]]:
    """Return number, author and text of all lines, whose numbers must be dense."""
    lines = postgres.execute("SELECT seq, nick, text FROM broadcast.history ORDER BY seq", database=SHARED)
    assert [seq for seq, _, _ in lines] == [*range(1, len(lines) + 1)]
    return lines


@pytest.mark.parametrize("kind", [*FAULTS, *RARE_FAULTS * LONG])
@ensureDeferred
async def test_lines_are_refused_while_the_database_is_away_and_all_else_goes_on(
    programs: Programs, postgres: PostgresServer, relay: Relay, kind: Callable[[PostgresServer, Relay], Fault]
) -> None:
    server, health = await start(programs, postgres, relay)
    ann, dan = await author(programs, server, "ann"), await author(programs, server, "dan")
    bob, carol = await programs.talkers(server.port, "bob", "carol")
    ann.say("before")
    await ann.answered()
    fault = kind(postgres, relay)
    try:
        begun = deferToThread(fault.begin)
        ann.say("its outcome may be unknown")
        await begun
        while not dan.rejections:
            dan.say("perhaps stored at first")
            await deferLater(programs.clock, 0.3)
            assert dan.waits or dan.rejections or len(dan.stored) < 100, "the fault prevents nothing"
        await until_health_is(
            programs, health, lambda answer: answer in {f"503 nothing is kept: {why}" for why in fault.reasons}
        )
        carol.say("/msg bob psst", "quit")
        await bob.until("[carol] psst\r\n * carol left.\r\n")
    finally:
        await deferToThread(fault.end)
    await until_health_is(programs, health, lambda answer: answer == "200 ok")
    await ann.answered()
    await dan.answered()
    ann.say("after")
    await ann.answered()
    await bob.until("ann: after\r\n")
    assert "after" in ann.stored.values()
    assert ann.rejections | dan.rejections <= fault.reasons
    confirmed = {seq: ("ann", text) for seq, text in ann.stored.items()} | {
        seq: ("dan", text) for seq, text in dan.stored.items()
    }
    assert {seq: (nick, text) for seq, nick, text in stored_lines(postgres)} == confirmed
    read = re.findall(r"^((?:ann|dan): .*)$", bob.text(), re.MULTILINE)
    assert read == [f"{nick}: {text}" for _, (nick, text) in sorted(confirmed.items())]
    assert server.program.text().count("What is said is kept again.") == 1
    assert "Traceback" not in server.program.text()
    assert PASSWORD not in server.program.text()


@ensureDeferred
async def test_each_line_is_stored_once_although_its_connection_to_the_database_ends(
    programs: Programs, postgres: PostgresServer, relay: Relay
) -> None:
    server, _ = await start(programs, postgres, relay)
    authors = [await author(programs, server, nick) for nick in ("ann", "dan")]
    for ends in range(6):
        for each in authors:
            for number in range(LINES // 6):
                each.say(f"line {ends}.{number}")
        if ends % 2:
            relay.drop_silenced()
        else:
            await deferToThread(terminate, postgres)
        await deferLater(programs.clock, 0.1 * ends)
    for each in authors:
        await each.answered()
    confirmed = {(seq, each.talker.nick, text) for each in authors for seq, text in each.stored.items()}
    assert {*stored_lines(postgres)} == confirmed
    assert not authors[0].rejections | authors[1].rejections, "a lost connection alone refuses no line"
    for each in authors:
        assert [*each.stored.values()] == [f"line {ends}.{number}" for ends in range(6) for number in range(LINES // 6)]


@ensureDeferred
async def test_stopped_process_of_the_database_that_holds_no_lock_is_replaced(
    programs: Programs, postgres: PostgresServer, relay: Relay
) -> None:
    server, health = await start(programs, postgres, relay)
    ann = await author(programs, server, "ann")
    stopped = [pid for (pid,) in postgres.execute(OURS)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        ann.say("hello")
        await ann.answered()
        await until_health_is(programs, health, lambda answer: answer == "200 ok")
        assert not ann.rejections
        ann.talker.say("/history")
        await ann.talker.until("ann: hello\r\n")
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


@ensureDeferred
async def test_slow_database_delays_lines_and_nothing_else(
    programs: Programs, postgres: PostgresServer, relay: Relay
) -> None:
    server, health = await start(programs, postgres, relay)
    ann, bob = await author(programs, server, "ann"), await programs.talker(server.port, "bob")
    postgres.execute(
        """
        CREATE FUNCTION broadcast.wait() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$;
        CREATE TRIGGER wait AFTER INSERT ON broadcast.lines EXECUTE FUNCTION broadcast.wait();
    """,
        database=SHARED,
    )
    try:
        for number in range(3):
            ann.say(f"line {number}")
            bob.say("/ping")
            await bob.until("-> pong")
            assert ann.waits, "nothing waits for the database but the line"
            bob.seen = b""
            await ann.answered()
        await until_health_is(programs, health, lambda answer: answer == "200 ok")
        assert not ann.rejections
    finally:
        postgres.execute("DROP FUNCTION broadcast.wait CASCADE", database=SHARED)
