"""Bots on the real server, also while it is killed."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path
from random import Random, SystemRandom
from tempfile import TemporaryDirectory

import pytest

from broadcast.client import aio
from broadcast.client.aio import Chat, Said, connect
from tests.client.test_aio import until
from tests.real.programs import PATIENCE, TWISTD
from tests.test_examples import post, running

MOMENTS = 200 if os.environ.get("BROADCAST_LONG") else 2
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


async def start_server(address: str, data: Path) -> Process:
    """Start a server, and wait until it takes connections."""
    options = ["-n", "--pidfile=", "broadcast", "--port", address, "--data", str(data), "--limits", "off"]
    server = await asyncio.create_subprocess_exec(TWISTD, *options, stdout=DEVNULL, stderr=DEVNULL)
    while True:
        try:
            _, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
        except OSError:
            assert server.returncode is None
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return server


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
        server = await start_server(address, tmp_path)
        async with asyncio.timeout(3 * PATIENCE), AsyncExitStack() as stack:
            chats = [await stack.enter_async_context(connect(address, nick=f"bot{index}")) for index in range(BOTS)]
            async with asyncio.TaskGroup() as group:
                saying = [group.create_task(say(chat, mine)) for chat, mine in zip(chats, texts, strict=True)]
                for chat, lines in zip(chats, seen, strict=True):
                    group.create_task(read(chat, total, lines))
                for moment in sorted(Random(seed).sample(range(total), KILLS)):  # noqa: S311 -- repeatable
                    await until(lambda moment=moment: len(seen[0]) >= moment)  # type: ignore[misc]
                    server.kill()
                    await server.wait()
                    server = await start_server(address, tmp_path)
        server.terminate()
        await server.wait()
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
        server = await start_server(address, tmp_path)
        async with (
            asyncio.timeout(3 * PATIENCE),
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
        server.terminate()
        await server.wait()
        kitchen = [(line.nick, line.text) for line in lines if line.room == "kitchen"]
        lobby = [(line.nick, line.text) for line in lines if line.room == "lobby"]
        assert sorted(kitchen) == [("ann", "!echo soup"), ("bridge", "<webhook> !echo soup"), ("echo", "soup")]
        assert lobby[0] == ("webhook", "!echo soup")
        assert sorted(lobby[1:]) == [("bridge", "<ann> !echo soup"), ("bridge", "<echo> soup")]

    asyncio.run(main())
