"""The network just stops, with the default settings; ``tests/real/test_silence.py`` does it with short ones."""

from __future__ import annotations

import os
import sys
from time import monotonic

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.task import deferLater

from tests.real.networks import NEAR, Networks, why_not
from tests.real.programs import TWISTD, Programs, found

PORT = "5555"
GONE = 150
"""So long, in seconds, somebody's presence may last who has gone without a word."""
LATE = 5
"""So much later may this machine be."""


@pytest.mark.skipif(not os.environ.get("BROADCAST_LONG"), reason="it takes three minutes: .ci/long runs it")
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has network namespaces")
@ensureDeferred
async def test_client_whose_network_stops_has_left_within_150_seconds(programs: Programs) -> None:
    if reason := why_not():
        pytest.skip(reason)
    networks = Networks(programs)
    await networks.build()
    nc = found("nc.openbsd")
    server = networks.near(
        *(TWISTD, "-n", "--pidfile=", "broadcast", "--ephemeral"), *("--port", PORT, "--interface", NEAR)
    )
    await server.until(f"Listening on {NEAR}")
    people = {}
    for run, nick in ((networks.near, "ann"), (networks.far, "idle"), (networks.far, "mute")):
        person = people[nick] = run(nc, NEAR, PORT)
        person.write(f"{nick}\n")
        await person.until(f"You are {nick}.")
    ann = people["ann"]
    await ann.until(" * mute joined.")
    people["mute"].process.signalProcess("STOP")
    for number in range(30):
        ann.write(f"{number} {'x' * 2000}\n")
    ann.write("/ping\n")
    await ann.until("-> pong\r\n")

    await networks.vanish()
    began = monotonic()
    while not all(f" * {nick} left: connection lost\r\n" in ann.output.decode() for nick in ("idle", "mute")):
        assert monotonic() - began < GONE + LATE
        await deferLater(programs.clock, 0.5)
    ann.write("/names\n")
    await ann.until("-> 1 here: ann\r\n")
