"""The installed client and the settings file of its user."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest
from pytest_twisted import ensureDeferred

from tests.real.programs import Programs
from tests.real.terminals import CLIENT, CTRL_D, ENTER, terminal

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")


def write(programs: Programs, text: str) -> None:
    """Write the settings file."""
    file = programs.folder / "config" / "broadcast" / "client.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def read(programs: Programs) -> str:
    """Return the text of the settings file."""
    return (programs.folder / "config" / "broadcast" / "client.toml").read_text()


def work(port: int) -> str:
    """Return the settings of a server."""
    return f'[servers.work]\naddress = "127.0.0.1:{port}"\nnick = "ann"\nrooms = ["kitchen"]\n'


@ensureDeferred
async def test_a_name_stands_for_a_server_its_nickname_and_its_rooms(programs: Programs) -> None:
    port = programs.room()
    bob = await programs.talker(port, "bob")
    bob.say("/join kitchen")
    await bob.until("You are in kitchen")
    write(programs, work(port))
    ann = terminal(programs, *CLIENT, "work")
    await ann.shows(" ann · kitchen · ")
    sender = programs.run(*CLIENT, "work", "--nick", "builder", "--send", "built")
    await bob.until("builder: built\r\n")
    assert (await sender.end(), sender.text()) == (0, "")
    await ann.shows("builder: built")
    ann.write(CTRL_D)
    assert await ann.end() == 0


@ensureDeferred
async def test_set_changes_the_conversation_and_the_file(programs: Programs) -> None:
    port = programs.room()
    bob = await programs.talker(port, "bob")
    write(programs, f"# mine\n{work(port)}")
    ann = terminal(programs, *CLIENT, "work", "--no-bell")
    await ann.shows(" ann · kitchen · ")
    ann.write(f"/set times off{ENTER}/set{ENTER}")
    await ann.shows("times off", "bell off")
    ann.write(f"hi{ENTER}")
    await ann.shows_line("ann: hi")
    assert read(programs) == f"times = false\n# mine\n{work(port)}"
    ann.write(CTRL_D)
    assert await ann.end() == 0
    bob.say("quit")


@pytest.mark.parametrize("options", [[], ["--send", "hi"]])
@ensureDeferred
async def test_an_error_in_the_file_is_one_line_and_status_1(programs: Programs, options: Sequence[str]) -> None:
    text = "[servers.work]\naddress = chat\n"
    write(programs, text)
    ann = terminal(programs, *CLIENT, "work", *options, columns=200)
    assert await ann.end() == 1
    (shown,) = ann.model.shown
    assert shown.startswith("broadcast-client: ")
    assert shown.endswith("client.toml: Invalid value (at line 2, column 11). Correct the file, or move it away")
    assert read(programs) == text


@ensureDeferred
async def test_a_pipe_joins_the_first_room_of_a_server_with_a_name(programs: Programs) -> None:
    write(programs, work(programs.room()))
    pipe = programs.run("/bin/sh", "-c", f"{CLIENT[0]} -m broadcast.client work </dev/null")
    assert await pipe.end() == 0
    assert pipe.text().endswith("\n * You are in kitchen. Nobody else is here.\n * Goodbye, ann.\n")
