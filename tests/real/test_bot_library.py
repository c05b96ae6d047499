"""Bots on the real server, also while it is killed."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from random import Random, SystemRandom
from tempfile import TemporaryDirectory

import pytest

from broadcast.client import aio
from broadcast.client.aio import Chat, Said, connect
from tests.client.test_aio import until
from tests.real.programs import PATIENCE, TWISTD
from tests.test_examples import post, running

MOMENTS = 200 if os.environ.get("BROADCAST_LONG") else 1
BOTS = 3
LINES = 150
LINES_AT_ONCE = 10
KILLS = 2


class Hurried(SystemRandom):
    """Chance with short delays."""

    def random(self) -> float:
        return super().random() / 20


@pytest.fixture
def address() -> Iterator[str]:
    """Return the address of a unix socket, whose path must be short."""
    with TemporaryDirectory() as folder:
        yield f"unix:{folder}/chat"


@asynccontextmanager
async def server_at(address: str, data: Path) -> AsyncIterator[Process]:
    """Run a server that takes connections. At the end, it stops in good order, unless the test has failed."""
    options = ["-n", "--pidfile=", "broadcast", "--port", address, "--data", str(data), "--limits", "off"]
    server = await asyncio.create_subprocess_exec(TWISTD, *options, stdout=DEVNULL, stderr=DEVNULL)
    try:
        while not await takes_connections(address):
            assert server.returncode is None
            await asyncio.sleep(0.01)
        yield server
        if server.returncode is None:
            server.terminate()
            await server.wait()
    finally:
        if server.returncode is None:
            server.kill()
            await server.wait()


async def takes_connections(address: str) -> bool:
    """Return whether a server listens at *address*."""
    try:
        _, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
    except OSError:
        return False
    writer.close()
    return True


async def read(chat: Chat, count: int, lines: list[Said]) -> None:
    """Append the lines that come to *lines*, until it has so many."""
    while len(lines) < count:
        event = await anext(chat)
        if isinstance(event, Said):
            lines.append(event)


async def say(chat: Chat, texts: Sequence[str]) -> list[int]:
    """Say all lines, a few at once, and return their numbers."""
    numbers: list[int] = []
    for start in range(0, len(texts), LINES_AT_ONCE):
        numbers += await asyncio.gather(*[chat.say(text) for text in texts[start : start + LINES_AT_ONCE]])
    return numbers


@pytest.mark.parametrize("seed", range(MOMENTS))
def test_each_line_is_stored_once_and_comes_once_although_the_server_is_killed(
    seed: int, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aio, "_random", Hurried)
    total = BOTS * LINES
    seen: list[list[Said]] = [[] for _ in range(BOTS)]
    texts = [[f"line {number} of bot{index}" for number in range(LINES)] for index in range(BOTS)]

    async def main() -> list[list[int]]:
        async with asyncio.timeout(3 * PATIENCE), AsyncExitStack() as servers, AsyncExitStack() as stack:
            server = await servers.enter_async_context(server_at(address, tmp_path))
            chats = [await stack.enter_async_context(connect(address, nick=f"bot{index}")) for index in range(BOTS)]
            async with asyncio.TaskGroup() as group:
                saying = [group.create_task(say(chat, mine)) for chat, mine in zip(chats, texts, strict=True)]
                for chat, lines in zip(chats, seen, strict=True):
                    group.create_task(read(chat, total, lines))
                for moment in sorted(Random(seed).sample(range(total), KILLS)):  # noqa: S311 -- repeatable
                    await until(lambda moment=moment: len(seen[0]) >= moment)  # type: ignore[misc]
                    server.kill()
                    await server.wait()
                    server = await servers.enter_async_context(server_at(address, tmp_path))
        return [task.result() for task in saying]

    numbers = asyncio.run(main())
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as journal:
        stored = journal.execute("SELECT seq, nick, text FROM lines WHERE room = 'lobby' ORDER BY seq").fetchall()
    assert [seq for seq, _, _ in stored] == list(range(1, total + 1))
    for index in range(BOTS):
        assert [(line.seq, line.nick, line.text) for line in seen[index]] == stored
        mine = [(seq, text) for seq, nick, text in stored if nick == f"bot{index}"]
        assert mine == list(zip(numbers[index], texts[index], strict=True))


def test_the_examples_work_together(address: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            asyncio.timeout(3 * PATIENCE),
            server_at(address, tmp_path),
            running("echo_bot.py", address, "kitchen"),
            running("bridge.py", address, "lobby", "kitchen") as bridge,
            running("webhook.py", address, "lobby", "--listen", 0) as webhook,
            connect(address, nick="ann", rooms=["kitchen", "lobby"]) as ann,
        ):
            assert bridge.stdout
            assert webhook.stdout
            await bridge.stdout.readline()
            while "echo" not in [person.nick for person in await ann.members("kitchen")]:
                await asyncio.sleep(0.05)
            port = int((await webhook.stdout.readline()).decode().rpartition(":")[2].strip(" /\n"))
            for _ in range(2):
                assert await post(port, "!echo soup", "Idempotency-Key: 1") == (200, {"seq": 1})
            await ann.say("!echo soup")
            lines: list[Said] = []
            await read(ann, 6, lines)
        kitchen = [(line.nick, line.text) for line in lines if line.room == "kitchen"]
        lobby = [(line.nick, line.text) for line in lines if line.room == "lobby"]
        assert sorted(kitchen) == [("ann", "!echo soup"), ("bridge", "<webhook> !echo soup"), ("echo", "soup")]
        assert lobby[0] == ("webhook", "!echo soup")
        assert sorted(lobby[1:]) == [("bridge", "<ann> !echo soup"), ("bridge", "<echo> soup")]

    asyncio.run(main())
