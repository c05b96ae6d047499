"""The server runs out of file descriptors, because something else has taken them: present clients talk on."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from time import monotonic

import pytest
from pytest_twisted import async_yield_fixture, ensureDeferred
from twisted.internet.task import deferLater

from tests.faults.processes import Process
from tests.real.programs import Programs, Server, Talker

FULL = b" * This server is full. Try again later.\r\n"
FREE = 5
"""Number of descriptors that are free at first."""
WAITING = 20
SECONDS = 20 if os.environ.get("BROADCAST_LONG") else 3
"""Duration of the measurement of processor time."""
MOST = 0.1
"""Maximum share of a core. A busy loop takes more than this even on a busy machine."""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the limits of another process can be changed only on Linux"
)


class Room:
    """A server, and two clients that talk."""

    def __init__(self, programs: Programs, server: Server, people: list[Talker]) -> None:
        self.programs = programs
        self.port = server.port
        self.program = server.program
        self.process = Process(server.pid)
        self.people = people

    async def talk(self, about: str) -> None:
        """Let each say something, and the other read it."""
        for author, reader in (self.people, self.people[::-1]):
            author.say(f"{about}, says {author.nick}")
            await reader.until(f"{author.nick}: {about}, says {author.nick}\r\n")


@async_yield_fixture
async def room(programs: Programs) -> AsyncIterator[Room]:
    """The server before the fault; after it, everybody talks on."""
    server = await programs.server("--data", "data")
    room = Room(programs, server, await programs.talkers(server.port, "ann", "bob"))
    await room.talk("before")
    yield room
    await room.talk("afterwards")
    assert "Traceback" not in server.program.text()


@ensureDeferred
async def test_newcomers_without_a_descriptor_are_rejected_and_others_talk_on(room: Room) -> None:
    room.process.limit("NOFILE", room.process.highest_file() + 1 + FREE)
    newcomers = await room.programs.talkers(room.port, *[""] * (FREE + WAITING))
    for person in newcomers:
        await person.when(lambda person=person: person.seen.endswith((b"Nickname: ", b"\r\n")))  # type: ignore[misc]
    accepted = [person for person in newcomers if person.seen != FULL]
    assert 0 < len(accepted) <= FREE
    await room.talk("while the server is full")

    for person in accepted:
        person.say("quit")
        await person.lost
    await room.programs.talker(room.port, "carol")
    assert "Cannot accept connections: Too many open files. Rejected: " in room.program.text()


@ensureDeferred
async def test_newcomers_wait_without_load_when_the_reserve_is_gone_too(room: Room) -> None:
    room.process.limit("NOFILE", 3)
    newcomers = await room.programs.talkers(room.port, *[""] * WAITING)
    await room.talk("at first")
    worked, began = room.process.processor_seconds(), monotonic()
    await deferLater(room.programs.clock, SECONDS)
    assert (room.process.processor_seconds() - worked) / (monotonic() - began) < MOST
    assert not any(person.seen for person in newcomers)
    await room.talk("meanwhile")

    room.process.limit("NOFILE", 1000)
    for person in newcomers:
        await person.until("Nickname: ")
