"""A client whose network stops has left in time; a client that only does not read stays."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from time import monotonic

import pytest
from pytest_twisted import async_yield_fixture, ensureDeferred
from twisted.internet.task import deferLater

from tests.real.networks import NEAR, Networks
from tests.real.programs import PATIENCE, TWISTD, Program, Programs, found

PROBE, GONE = 1, 3
"""Seconds. Without probes the system takes 15 minutes to two hours."""
SHORT = ("--limits", "off", "--probe", str(PROBE), "--gone", str(GONE))
DEFAULT_GONE = 150
"""Seconds, with the default settings."""
LATE = 5
"""Seconds by which a busy machine may be late."""
PORT = "5555"
LINES, PADDING = 30, "x" * 2000
"""Lines that are more than the systems hold on their way."""

long = pytest.mark.skipif(not os.environ.get("BROADCAST_LONG"), reason="it takes three minutes: .ci/long runs it")


@dataclass
class Cable:
    """A server and ann on one machine, and bob on another, whose network may stop."""

    networks: Networks
    programs: Programs
    ann: Program
    bob: Program

    async def wait(self, seconds: float) -> None:
        """Let *seconds* pass."""
        await deferLater(self.programs.clock, seconds)

    async def stop_bob(self) -> None:
        """Stop bob's program, and let ann say more than the systems hold."""
        self.bob.process.signalProcess("STOP")
        self.ann.write(f"{PADDING}\n" * LINES + "/ping\n")
        await self.ann.until("-> pong\r\n")


@async_yield_fixture
async def cable(programs: Programs, networks: Networks, request: pytest.FixtureRequest) -> AsyncIterator[Cable]:
    """The machines, with everybody in the room. The parameter is the options of the server."""
    nc = found("nc.openbsd")
    listen = ("--ephemeral", "--port", PORT, "--interface", NEAR)
    server = networks.near(TWISTD, "-n", "--pidfile=", "broadcast", *listen, *getattr(request, "param", SHORT))
    await server.until(f"Listening on {NEAR}")
    people = []
    for run, nick in ((networks.near, "ann"), (networks.far, "bob")):
        person = run(nc, NEAR, PORT)
        person.write(f"{nick}\n")
        await person.until(f"You are {nick}.")
        people.append(person)
    await people[0].until(" * bob joined.")
    yield Cable(networks, programs, *people)


@pytest.mark.parametrize(
    ("cable", "state", "seconds"),
    [
        (SHORT, "in silence", PATIENCE),
        (SHORT, "with data in flight", PATIENCE),
        (SHORT, "without reading", PATIENCE),
        pytest.param((), "in silence", DEFAULT_GONE + LATE, marks=long),
        pytest.param((), "without reading", DEFAULT_GONE + LATE, marks=long),
    ],
    indirect=["cable"],
)
@ensureDeferred
async def test_client_that_vanishes_has_left_in_time(cable: Cable, state: str, seconds: float) -> None:
    if state == "in silence":
        await cable.wait(PROBE)  # until bob's system has acknowledged the welcome
    elif state == "without reading":
        await cable.stop_bob()
        await cable.wait(GONE)
        assert " * bob left" not in cable.ann.text()
    await cable.networks.vanish()
    began = monotonic()
    if state == "with data in flight":
        cable.ann.write("are you there?\n")
    while " * bob left: connection lost\n" not in cable.ann.text():
        assert monotonic() - began < seconds
        await cable.wait(0.1)
    cable.ann.write("/names\n")
    await cable.ann.until("-> 1 here: ann\r\n")


@ensureDeferred
async def test_client_that_does_not_read_stays_and_reads_on_later(cable: Cable) -> None:
    await cable.stop_bob()
    await cable.wait(2 * GONE)
    cable.ann.write("still there?\n")
    cable.bob.process.signalProcess(signal.SIGCONT)
    await cable.bob.until("ann: still there?\r\n")
    assert " * bob left" not in cable.ann.text()
    assert cable.bob.text().count(PADDING) == LINES


@ensureDeferred
async def test_idle_client_stays(programs: Programs) -> None:
    server = await programs.server("--ephemeral", *SHORT)
    ann, bob = await programs.talkers(server.port, "ann", "bob")
    await deferLater(programs.clock, 2 * GONE)
    bob.say("hello")
    await ann.until("bob: hello\r\n")
    assert b" * bob left" not in ann.seen
