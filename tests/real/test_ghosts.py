"""A nickname whose connection has stopped answering is taken back at once from the same address."""

from __future__ import annotations

from time import monotonic

from pytest_twisted import ensureDeferred
from twisted.internet.task import deferLater

from tests.real.networks import NEAR, Networks
from tests.real.programs import TWISTD, Programs, found

PORT, OLD_PORT = "5555", "40404"
IN_TIME = 60
"""Seconds. By default, the server disconnects a client after 150 seconds without an answer."""


@ensureDeferred
async def test_nickname_of_a_connection_that_does_not_answer_is_taken_back(
    programs: Programs, networks: Networks
) -> None:
    nc = found("nc.openbsd")
    server = networks.near(TWISTD, "-n", "--pidfile=", "broadcast", "--ephemeral", "--port", PORT, "--interface", NEAR)
    await server.until(f"Listening on {NEAR}")
    ann = networks.near(nc, NEAR, PORT)
    ann.write("ann\n")
    await ann.until("You are ann.")
    bob = networks.far(nc, "-p", OLD_PORT, NEAR, PORT)
    bob.write("bob\n")
    await bob.until("You are bob.")
    await networks.drop_from_far(OLD_PORT)
    ann.write("are you there?\n")
    began = monotonic()
    again = networks.far(nc, NEAR, PORT)
    tries = 0
    while "You are bob." not in again.text():
        assert monotonic() - began < IN_TIME
        again.write("bob\n")
        tries += 1
        await deferLater(programs.clock, 4)
    assert tries > 2
    assert again.text().count("bob is taken.") == tries - 1
    await ann.until(" * bob left: connection lost\r\n * bob joined.\r\n")
    ann.write("/names\n")
    await ann.until("-> 2 here: ann, bob\r\n")
