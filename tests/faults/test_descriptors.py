"""The server runs out of file descriptors, because something else has taken them: who is in talks on."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from time import monotonic

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.task import deferLater

from tests.faults.crowds import Crowd, Process
from tests.real.programs import Programs, Server, Talker

FULL = " * This server is full. Try again later.\r\n"
SPARE = 5
"""So many descriptors are left at first."""
WAITING = 20
SECONDS = 20 if os.environ.get("BROADCAST_LONG") else 3
"""How long the processor's time is measured."""
MOST = 0.1
"""Of a core. Asked for is less than half of one; but on a busy machine who spins does not get a whole one either."""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the limits of another process can be changed only on Linux"
)


def limit_files(server: Server, most: int) -> None:
    """Let *server* open no file whose number would be *most* or more."""
    if sys.platform == "linux":  # for mypy, elsewhere
        import resource  # noqa: PLC0415 -- not on every system

        hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (most, hard))


async def they_talk(ann: Talker, bob: Talker, about: str) -> None:
    """Both say something, and read it."""
    ann.say(about)
    await bob.until(f"ann: {about}\r\n")
    bob.say(f"{about}, yes")
    await ann.until(f"bob: {about}, yes\r\n")


@ensureDeferred
async def test_newcomers_without_a_descriptor_are_rejected_and_others_talk_on(
    programs: Programs, crowd: Callable[[int], Crowd]
) -> None:
    server = await programs.server("--data", "data")
    ann, bob = [await programs.talker(server.port, nick) for nick in ("ann", "bob")]
    await they_talk(ann, bob, "before")
    limit_files(server, Process(server.pid).highest_file() + 1 + SPARE)

    people = crowd(server.port)
    came = [people.connect() for _ in range(SPARE + WAITING)]
    for person in came:
        await people.when(lambda person=person: people.read(person).endswith((b"Nickname: ", b"\r\n")), str)  # type: ignore[misc]
    full = [person for person in came if people.seen[person] == FULL.encode()]
    assert WAITING <= len(full) < len(came)
    await they_talk(ann, bob, "while nobody can come")

    for person in came:
        if person not in full:
            person.sendall(b"quit\n")
            await people.until(person, "Goodbye.")
            person.close()
    await programs.talker(server.port, "carol")
    await they_talk(ann, bob, "afterwards")
    assert "Nobody can be let in: Too many open files. Turned away: " in server.program.text()
    assert "Traceback" not in server.program.text()


@ensureDeferred
async def test_newcomers_wait_without_load_when_the_reserve_is_gone_too(
    programs: Programs, crowd: Callable[[int], Crowd]
) -> None:
    server = await programs.server("--data", "data")
    process = Process(server.pid)
    ann, bob = [await programs.talker(server.port, nick) for nick in ("ann", "bob")]
    await they_talk(ann, bob, "before")
    limit_files(server, 3)

    people = crowd(server.port)
    came = [people.connect() for _ in range(WAITING)]
    await they_talk(ann, bob, "at first")
    worked, began = process.processor_seconds(), monotonic()
    await deferLater(programs.clock, SECONDS)
    assert (process.processor_seconds() - worked) / (monotonic() - began) < MOST
    assert not any(people.read(person) for person in came)
    await they_talk(ann, bob, "meanwhile")

    limit_files(server, 1000)
    for person in came:
        await people.until(person, "Nickname: ")
    await they_talk(ann, bob, "afterwards")
    assert "Traceback" not in server.program.text()
