"""Whoever vanishes without a word is gone in time, whatever was under way; whoever only does not read stays."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator

import pytest
from pytest_twisted import async_yield_fixture, ensureDeferred
from twisted.internet.task import deferLater

from tests.real.networks import NEAR, Networks, why_not
from tests.real.programs import TWISTD, Program, Programs, found

PROBE, GONE = 1, 3
"""In seconds. Without a heartbeat the system takes 15 minutes to two hours."""
OPTIONS = ("--ephemeral", "--limits", "off", "--probe", str(PROBE), "--gone", str(GONE))
PORT = "5555"
LINES = 300
"""So many lines of a kilobyte are more than what the systems hold on their way."""


class House:
    """A server on the near machine, ann beside it, and bob on the far one."""

    def __init__(self, networks: Networks, ann: Program, bob: Program) -> None:
        self.networks = networks
        self.ann = ann
        self.bob = bob


@pytest.fixture
def networks(programs: Programs) -> Networks:
    """Two machines, where such things are allowed."""
    for program in ("unshare", "nsenter", "ip"):
        found(program)
    if reason := why_not():
        pytest.skip(reason)
    return Networks(programs)


@async_yield_fixture
async def house(networks: Networks) -> AsyncIterator[House]:
    """One, after everybody has been introduced."""
    await networks.build()
    nc = found("nc.openbsd")
    listen = ("--port", PORT, "--interface", NEAR)
    server = networks.near(TWISTD, "-n", "--pidfile=", "broadcast", *listen, *OPTIONS)
    await server.until(f"Listening on {NEAR}")
    people = []
    for run, nick in ((networks.near, "ann"), (networks.far, "bob")):
        person = run(nc, NEAR, PORT)
        person.write(f"{nick}\n")
        await person.until(f"You are {nick}.")
        people.append(person)
    await people[0].until(" * bob joined.")
    yield House(networks, *people)


async def wait(programs: Programs, seconds: float) -> None:
    """Let so much time pass."""
    await deferLater(programs.clock, seconds, lambda: None)


@ensureDeferred
async def test_client_that_vanishes_in_silence_has_left_in_time(house: House, programs: Programs) -> None:
    await wait(programs, PROBE)  # until bob's system has acknowledged the welcome
    await house.networks.vanish()
    await house.ann.until(" * bob left: connection lost\r\n")


@ensureDeferred
async def test_client_that_vanishes_with_data_in_flight_has_left_in_time(house: House) -> None:
    await house.networks.vanish()
    house.ann.write("are you there?\n")
    await house.ann.until(" * bob left: connection lost\r\n")


@ensureDeferred
async def test_client_that_vanishes_without_reading_has_left_in_time(house: House, programs: Programs) -> None:
    house.bob.process.signalProcess("STOP")
    house.ann.write(f"{'x' * 1000}\n" * LINES + "/ping\n")
    await house.ann.until("-> pong\r\n")
    await wait(programs, GONE)
    assert " * bob left" not in house.ann.text()
    await house.networks.vanish()
    await house.ann.until(" * bob left: connection lost\r\n")


@ensureDeferred
async def test_client_that_does_not_read_stays_and_reads_on_later(house: House, programs: Programs) -> None:
    house.bob.process.signalProcess("STOP")
    house.ann.write(f"{'x' * 1000}\n" * LINES + "/ping\n")
    await house.ann.until("-> pong\r\n")
    await wait(programs, 2 * GONE)
    house.ann.write("still there?\n")
    house.bob.process.signalProcess(signal.SIGCONT)
    await house.bob.until("ann: still there?\r\n")
    assert " * bob left" not in house.ann.text()
    assert house.bob.text().count("x" * 1000) == LINES


@ensureDeferred
async def test_idle_client_stays(programs: Programs) -> None:
    server = await programs.server(*OPTIONS)
    ann, bob = [await programs.talker(server.port, nick) for nick in ("ann", "bob")]
    await wait(programs, 2 * GONE)
    bob.say("hello")
    await ann.until("bob: hello\r\n")
    assert b" * bob left" not in ann.seen
