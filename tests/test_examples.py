"""The bots in ``examples/`` and in the documentation, each in a process of its own."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import textwrap
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import broadcast
from tests.client.protocol.fake_server import FakeServer, Port, Refusal
from tests.client.test_aio import PATIENCE, until, with_port

CHECKOUT = Path(broadcast.__file__).parent.parent
EXAMPLES = CHECKOUT / "examples"
PAGE = CHECKOUT / "docs" / "bots.rst"


@asynccontextmanager
async def running(example: str | Path, *arguments: object) -> AsyncIterator[Process]:
    """Run an example. At the end, it stops in good order."""
    command = [sys.executable, str(EXAMPLES / example), *map(str, arguments)]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT, cwd=CHECKOUT)
    try:
        yield process
        if process.returncode is None:
            process.terminate()
        output, _ = await process.communicate()
        assert process.returncode in (0, -signal.SIGKILL, -signal.SIGINT), output.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def texts(server: FakeServer, room: str = "lobby") -> list[str]:
    return [line["text"] for line in server.lines.get(room, ())]


def is_here(port: Port, nick: str) -> Callable[[], bool]:
    return lambda: any(session.nick == nick for session in port.server.sessions.values())


@with_port
async def test_the_echo_bot_repeats_lines_and_private_messages_but_not_itself(port: Port) -> None:
    async with running("echo_bot.py", "127.0.0.1", "lobby", "kitchen", "--port", port.number):
        await until(is_here(port, "echo"))
        port.say("hello", "!echo hello")
        port.say("!echo !echo soup", room="kitchen")
        await until(lambda: len(texts(port.server)) == 3 and len(texts(port.server, "kitchen")) == 2)
        port.server.tell("echo", "psst")
        port.flush()
        await until(lambda: port.server.calls[-1][0] == "tell")
        assert texts(port.server) == ["hello", "!echo hello", "hello"]
        assert texts(port.server, "kitchen") == ["!echo !echo soup", "!echo soup"]
        assert port.server.calls[-1][1]["text"] == "psst"
    assert not port.server.sessions


@with_port
async def test_the_bridge_repeats_lines_in_the_other_room_but_not_its_own(port: Port) -> None:
    async with running("bridge.py", "127.0.0.1", "lobby", "kitchen", "--port", port.number):
        await until(is_here(port, "bridge"))
        port.say("hello")
        port.server.store("emoted", "kitchen", "waves", "bob")
        port.flush()
        await until(lambda: len(texts(port.server)) == len(texts(port.server, "kitchen")) == 2)
        port.say("x" * 4096)
        await until(lambda: len(texts(port.server, "kitchen")) == 3)
        assert texts(port.server)[:2] == ["hello", "* bob waves"]
        assert texts(port.server, "kitchen")[:2] == ["waves", "<ann> hello"]
        assert texts(port.server, "kitchen")[2].startswith("<ann> xxx")


@with_port
async def test_a_bridge_that_is_killed_at_any_moment_repeats_each_line_once(port: Port, tmp_path: Path) -> None:
    arguments = ("127.0.0.1", "lobby", "kitchen", "--port", port.number, "--state", tmp_path / "state.json")
    said = 0

    def say(count: int) -> None:
        nonlocal said
        port.say(*[f"line {said + index}" for index in range(count)])
        said += count

    for _ in range(3):
        async with running("bridge.py", *arguments) as process:
            await until(is_here(port, "bridge"))
            say(5)
            await until(lambda: len(texts(port.server, "kitchen")) > said - 4)
            process.kill()
            await process.wait()
            await until(lambda: not port.connections)
        port.server.lose_sessions()
        say(1)
    async with running("bridge.py", *arguments):
        await until(lambda: len(texts(port.server, "kitchen")) >= said)
    assert texts(port.server, "kitchen") == [f"<ann> line {number}" for number in range(said)]
    assert texts(port.server) == [f"line {number}" for number in range(said)]


async def post(port: int, body: str, *headers: str, length: object = None) -> tuple[int, dict[str, object]]:
    """Return the status and the content of an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    length = len(body.encode()) if length is None else length
    lines = ["POST / HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {length}", *headers]
    writer.write("\r\n".join([*lines, "", body]).encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, content = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(content)


@with_port
async def test_the_webhook_answers_when_the_line_is_stored_and_says_repeated_requests_once(port: Port) -> None:
    async with running("webhook.py", "127.0.0.1", "--port", port.number, "--listen", 0) as process:
        assert process.stdout
        number = int((await process.stdout.readline()).decode().rpartition(":")[2].strip(" /\n"))
        key = "Idempotency-Key: build 1207 ☃"
        assert await post(number, "the build has failed", key) == (200, {"seq": 1})
        assert await post(number, "the build has failed", key) == (200, {"seq": 1})
        assert await post(number, "once more") == (200, {"seq": 2})
        status, content = await post(number, "another text", key)
        assert (status, content) == (409, {"error": "This is refused: uid-reused."})
        port.abort()
        assert await post(number, "after a lost connection") == (200, {"seq": 3})
        for code, status in ((1001, 503), (1008, 413), (1009, 400)):
            port.server.fails["say"] = Refusal(code, "reason")
            assert (await post(number, "x"))[0] == status
        assert (await post(number, "", length=100_000))[0] == 413
        assert (await post(number, "", length="unknown"))[0] == 411
    assert texts(port.server) == ["the build has failed", "once more", "after a lost connection"]


async def failure_of(example: str, *arguments: object) -> str:
    """Return the output of an example that cannot go on."""
    command = [sys.executable, str(EXAMPLES / example), *map(str, arguments)]
    ended = await asyncio.to_thread(
        subprocess.run, command, stdout=PIPE, stderr=STDOUT, cwd=CHECKOUT, text=True, timeout=PATIENCE
    )
    assert ended.returncode == 1
    return ended.stdout


@pytest.mark.parametrize("arguments", [("echo_bot.py",), ("bridge.py", "lobby", "kitchen"), ("webhook.py",)])
@with_port
async def test_an_example_that_cannot_connect_says_why_in_one_line(port: Port, arguments: tuple[str, ...]) -> None:
    example, *rooms = arguments
    port.server.fails["hello"] = Refusal(1003, "nick-refused", why="reserved")
    given = ("127.0.0.1", *rooms, "--port", port.number)
    assert await failure_of(example, *given) == f"{example}: This is refused: nick-refused.\n"
    port.close()
    reason = f"no connection to 127.0.0.1 port {port.number}: Connection refused"
    assert await failure_of(example, *given) == f"{example}: {reason}\n"


@with_port
async def test_a_webhook_whose_port_is_taken_says_so_in_one_line(port: Port) -> None:
    output = await failure_of("webhook.py", "127.0.0.1", "--port", port.number, "--listen", port.number)
    assert re.fullmatch(r"webhook\.py: .*Address already in use\n", output)
    assert not port.server.sessions


@with_port
async def test_an_example_that_a_shell_started_in_the_background_stops_on_sigterm(port: Port) -> None:
    examples = {
        "echo": ["echo_bot.py", "127.0.0.1"],
        "bridge": ["bridge.py", "127.0.0.1", "lobby", "kitchen"],
        "webhook": ["webhook.py", "127.0.0.1", "--listen", "0"],
    }
    for nick, (example, *arguments) in examples.items():
        program = [sys.executable, str(EXAMPLES / example), *arguments, "--port", str(port.number)]
        # A shell without job control starts background programs with SIGINT ignored.
        command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *program]
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT, cwd=CHECKOUT)
        try:
            await until(is_here(port, nick))
            if nick != "echo":
                assert process.stdout
                await process.stdout.readline()  # the program knows by now that it is connected
            process.terminate()
            async with asyncio.timeout(20):
                await process.communicate()
            assert process.returncode == 0
            assert not is_here(port, nick)()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def documented(index: int, port: Port, folder: Path) -> Path:
    """Return a file with a program of the documentation that connects to *port*."""
    blocks = re.findall(r"code-block:: python\n\n((?: {4}.*\n|\n)+)", PAGE.read_text())
    program = textwrap.dedent(blocks[index])
    assert '"localhost"' in program
    file = folder / f"program{index}.py"
    file.write_text(program.replace('"localhost"', f'"127.0.0.1", {port.number}'))
    return file


@with_port
async def test_the_documented_bot_tells_the_time(port: Port, tmp_path: Path) -> None:
    async with running(documented(0, port, tmp_path)) as process:
        await until(is_here(port, "clock"))
        port.say("hello", "!time")
        await until(lambda: len(texts(port.server)) == 3)
        process.send_signal(signal.SIGINT)
        await process.wait()
    assert not port.server.sessions


@with_port
async def test_the_documented_scripts_say_their_lines_once(port: Port, tmp_path: Path) -> None:
    for index in (1, 2):
        async with running(documented(index, port, tmp_path)) as process:
            assert process.stdout
            output = await process.stdout.read()
            assert await process.wait() == 0, output
    assert texts(port.server) == ["the nightly build has failed", "build 1207 has failed"]
