"""A client whose machine gets another address goes on as before: nobody else notices, and each line is said once."""

from __future__ import annotations

import sys

import pytest
from pytest_twisted import async_fixture, ensureDeferred

from tests.real.networks import NEAR, Networks
from tests.real.programs import TWISTD, Program, Programs, found
from tests.real.terminals import CLIENT, CTRL_D, ENTER, terminal

PORT = "5555"
SERVER = f"{NEAR}:{PORT}"
SHORTENED = """
from broadcast.client import __main__ as client
from broadcast.client.batch import send
from broadcast.client.protocol import session
session.SILENCE_SECONDS = send.ANSWER_SECONDS = 4.0
raise SystemExit(client.main())
"""
IMPATIENT = (sys.executable, "-c", SHORTENED)
"""The client with shorter limits of a server's silence. They are 100 seconds, and 20 with ``--send``."""

both_ways = pytest.mark.parametrize(
    ("client", "is_closed"), [(CLIENT, True), (IMPATIENT, False)], ids=["closed by the system", "silent"]
)


@async_fixture
async def bob(programs: Programs, networks: Networks) -> Program:
    """A person on the server's machine."""
    server = networks.near(TWISTD, "-n", "--pidfile=", "broadcast", "--ephemeral", "--port", PORT, "--interface", NEAR)
    await server.until(f"Listening on {NEAR}")
    bob = networks.near(found("nc.openbsd"), NEAR, PORT)
    bob.write("bob\n")
    await bob.until("You are bob.")
    return bob


@both_ways
@ensureDeferred
async def test_terminal_goes_on_from_the_new_address(
    programs: Programs, networks: Networks, bob: Program, client: tuple[str, ...], is_closed: bool
) -> None:
    ann = terminal(programs, *networks.on_far, *client, SERVER, "--nick", "ann", "--no-times")
    await ann.shows("You are ann.", " ann · ")
    ann.write("one" + ENTER)
    await ann.shows_line("ann: one")
    await networks.drop_to_far()
    ann.write("two" + ENTER)
    await bob.until("ann: two\r\n")
    await networks.change_address()
    ann.write("three" + ENTER)
    await ann.until_true(lambda: bool({"\u2026 three", "ann: three"} & set(ann.model.shown)), "the typed line")
    if is_closed:
        await networks.close_far()
    await ann.shows("ann: two", "ann: three", " ann · lobby · 2 here")
    bob.write("hello\n")
    await ann.shows_line("bob: hello")
    ann.write(CTRL_D)
    assert await ann.end() == 0
    ann.close()
    await bob.until(" * ann left")
    assert bob.text().partition(" * ann joined.\n")[2] == "ann: one\nann: two\nann: three\n * ann left.\n"
    everything = "\n".join(ann.model.everything)
    for line in ("ann: one", "ann: two", "ann: three", "bob: hello"):
        assert everything.count(line) == 1, line


@both_ways
@ensureDeferred
async def test_sent_lines_go_on_from_the_new_address(
    networks: Networks, bob: Program, client: tuple[str, ...], is_closed: bool
) -> None:
    ann = networks.far(*client, SERVER, "--nick", "ann", "--json", "--send", "-")
    ann.write("one\n")
    await ann.until('"one"}\n')
    await networks.drop_to_far()
    ann.write("two\n")
    await bob.until("ann: two\r\n")
    await networks.change_address()
    ann.write("three\n")
    ann.close_input()
    if is_closed:
        await networks.close_far()
    assert await ann.end() == 0
    assert ann.text() == "".join(
        f'{{"seq": {seq}, "text": "{text}"}}\n' for seq, text in enumerate(("one", "two", "three"), 1)
    )
    await bob.until(" * ann left")
    assert bob.text().partition(" * ann joined.\n")[2] == "ann: one\nann: two\nann: three\n * ann left.\n"
