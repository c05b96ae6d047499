"""The bots in docs/programs.rst as they are, against the installed server."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pytest_twisted import async_yield_fixture, ensureDeferred

from tests.real.programs import Program, Programs, Server, Talker, found
from tests.real.test_websockets import web_server

DOCUMENT = Path(__file__).parents[2] / "docs" / "programs.rst"
BLOCKS = re.findall(r"\.\. code-block:: (\w+)\n\n((?:    .*\n|\n)+)", DOCUMENT.read_text("utf-8"))
BY_LIBRARY, BY_STANDARD_LIBRARY, BY_SHELL, BY_WEBSOCKET = (textwrap.dedent(text) for _, text in BLOCKS)


@async_yield_fixture
async def server(programs: Programs) -> AsyncIterator[Server]:
    """The installed server."""
    yield await programs.server()


@async_yield_fixture
async def ann(programs: Programs, server: Server) -> AsyncIterator[Talker]:
    """A person in the room."""
    yield await programs.talker(server.port, "ann")


def run(programs: Programs, server: Server, name: str, text: str, folder: Path) -> Program:
    """Run the program *text* of the document, on the port of *server*, from the file *name*."""
    path = folder / name
    text = text.replace("localhost 5555", f"127.0.0.1 {server.port}").replace(
        '"localhost", 5555', f'"127.0.0.1", {server.port}'
    )
    path.write_text(text.replace('connect("localhost", ', f'connect("127.0.0.1", {server.port}, '), "utf-8")
    return programs.run(sys.executable if name.endswith(".py") else found("sh"), str(path))


@pytest.mark.parametrize(
    ("nick", "text", "typed", "answer"),
    [("echo", BY_LIBRARY, "!echo hello", "hello"), ("counter", BY_STANDARD_LIBRARY, "!count", "1 lines")],
)
@ensureDeferred
async def test_bot_answers(  # noqa: PLR0913, PLR0917 - the fixtures, and the bot
    programs: Programs, server: Server, ann: Talker, tmp_path: Path, nick: str, text: str, typed: str, answer: str
) -> None:
    run(programs, server, f"{nick}.py", text, tmp_path)
    await ann.until(f" * {nick} joined.\r\n")
    ann.say(typed)
    await ann.until(f"{nick}: {answer}\r\n")


@ensureDeferred
async def test_script_prints_the_number_of_its_line(
    programs: Programs, server: Server, ann: Talker, tmp_path: Path
) -> None:
    found("jq")
    found("nc")
    ann.say("one", "two")
    for number in ("3", "4"):
        script = run(programs, server, "say.sh", BY_SHELL, tmp_path)
        assert await script.end() == 0
        assert script.text() == f"{number}\n"
    await ann.until(" * nightly left.\r\n")
    assert ann.text().count("nightly: the nightly build has failed") == 2


@ensureDeferred
async def test_bot_over_a_websocket_welcomes_people(programs: Programs, tmp_path: Path) -> None:
    server, port = await web_server(programs)
    text = BY_WEBSOCKET.replace("localhost:8080", f"127.0.0.1:{port}")
    tom = await programs.talker(server.port, "tom")
    run(programs, server, "welcome.py", text, tmp_path)
    await tom.until(" * doorman joined.\r\n")
    await programs.talker(server.port, "ann")
    await tom.until("doorman: Welcome, ann.\r\n")
