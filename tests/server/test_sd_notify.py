"""What the service manager is told, on a real datagram socket in its place."""

from __future__ import annotations

import errno
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import pytest
from twisted.internet.task import Clock

from broadcast.server.sd_notify import MAX_WATCHDOG_SECONDS, SdNotifier
from tests.harness import logged

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there are no such service managers elsewhere")


class FakeManager:
    """A service manager's socket; *name* is its place in the abstract namespace where it begins with ``@``."""

    def __init__(self, name: str) -> None:
        self.environment = {"NOTIFY_SOCKET": name}
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(f"\0{name[1:]}" if name.startswith("@") else name)

    def told(self) -> list[str]:
        """What has come since the last look; a datagram is there at once."""
        datagrams: list[str] = []
        while True:
            try:
                datagrams.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return datagrams


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def listening() -> Iterator[Callable[[str], FakeManager]]:
    """Managers that listen."""
    made: list[FakeManager] = []
    with tempfile.TemporaryDirectory() as folder:  # a socket's path holds about 100 bytes, too few for tmp_path

        def listen(name: str) -> FakeManager:
            made.append(FakeManager(name if name.startswith("@") else f"{folder}/{name}"))
            return made[-1]

        yield listen
        for manager in made:
            manager.socket.close()


Managed: TypeAlias = Callable[[dict[str, str]], SdNotifier]


@pytest.fixture
def managed(clock: Clock) -> Iterator[Managed]:
    """What an environment tells of; its end comes with the test's."""
    made: list[SdNotifier] = []

    def manage(environment: dict[str, str]) -> SdNotifier:
        made.append(SdNotifier(environment, clock))
        return made[-1]

    yield manage
    for manager in made:
        manager.stopping("Going down.")


def nobody() -> str:
    return "0 connected."


@pytest.mark.parametrize("name", ["notify", f"@broadcast-{os.getpid()}"], ids=["a path", "an abstract name"])
def test_it_is_told_of_the_start_and_of_the_end(
    listening: Callable[[str], FakeManager], managed: Managed, clock: Clock, name: str
) -> None:
    there = listening(name)
    manager = managed(there.environment)
    manager.ready(nobody)
    assert there.told() == ["READY=1"]
    assert clock.getDelayedCalls() == []
    manager.stopping("Going down: 3 connected.")
    assert there.told() == ["STOPPING=1\nSTATUS=Going down: 3 connected."]


def test_a_watchdog_is_shown_a_sign_of_life_twice_as_often_as_it_asks(
    listening: Callable[[str], FakeManager], managed: Managed, clock: Clock
) -> None:
    there = listening("notify")
    people = 0
    manager = managed({**there.environment, "WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())})
    assert there.told() == []
    manager.ready(lambda: f"{people} connected.")
    assert there.told() == ["READY=1", "WATCHDOG=1\nSTATUS=0 connected."]
    people = 2
    clock.advance(9.9)
    assert there.told() == []
    clock.advance(0.1)
    assert there.told() == ["WATCHDOG=1\nSTATUS=2 connected."]
    clock.advance(10)
    assert len(there.told()) == 1
    manager.stopping("Going down.")
    clock.advance(10)
    assert there.told() == ["STOPPING=1\nSTATUS=Going down."]
    assert clock.getDelayedCalls() == []


def test_the_status_does_not_grow_old_before_a_patient_watchdog(
    listening: Callable[[str], FakeManager], managed: Managed, clock: Clock
) -> None:
    there = listening("notify")
    managed({**there.environment, "WATCHDOG_USEC": "18446744073709551615"}).ready(nobody)
    assert [call.getTime() for call in clock.getDelayedCalls()] == [MAX_WATCHDOG_SECONDS]


@pytest.mark.parametrize(
    "watchdog",
    [
        {"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": ""},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "²"},
        pytest.param({"WATCHDOG_PID": str(os.getpid())}, id="this process, but no number"),
    ],
    ids=repr,
)
def test_there_is_no_watchdog_unless_it_asks_this_process_for_a_number(
    listening: Callable[[str], FakeManager], managed: Managed, clock: Clock, watchdog: dict[str, str]
) -> None:
    there = listening("notify")
    managed({**there.environment, **watchdog}).ready(nobody)
    assert there.told() == ["READY=1"]
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("given", ["", "notify", "vsock:2:5555"])
def test_where_there_is_no_manager_nothing_happens(managed: Managed, clock: Clock, given: str) -> None:
    manager = managed({"NOTIFY_SOCKET": given, "WATCHDOG_USEC": "20000000"})
    with logged() as events:
        manager.ready(nobody)
        manager.stopping("Going down.")
    assert events == []
    assert clock.getDelayedCalls() == []


def test_a_manager_that_cannot_be_told_is_named_once_in_the_log(tmp_path: Path, managed: Managed, clock: Clock) -> None:
    manager = managed({"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "20000000"})
    with logged() as events:
        manager.ready(nobody)
        clock.advance(10)
        manager.stopping("Going down.")
    (event,) = events
    assert event["log_format"].format(**event) == (
        "Cannot notify the service manager of READY=1: No such file or directory. Check the socket in NOTIFY_SOCKET."
    )


def test_a_manager_that_does_not_read_does_not_hold_the_reactor(
    listening: Callable[[str], FakeManager], managed: Managed, clock: Clock
) -> None:
    """Else this would never end."""
    there = listening("notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as other:
        with suppress(BlockingIOError):
            while True:
                other.sendto(b"X", there.environment["NOTIFY_SOCKET"])
        with logged() as events:
            managed(there.environment).ready(nobody)
        assert len(events) == 1


def test_who_is_out_of_file_descriptors_still_shows_signs_of_life(
    listening: Callable[[str], FakeManager], managed: Managed, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a watchdog would restart the server because many people have come."""
    there = listening("notify")
    manager = managed({**there.environment, "WATCHDOG_USEC": "20000000"})
    manager.ready(nobody)
    there.told()

    def refuse(*_arguments: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(socket, "socket", refuse)
    clock.advance(10)
    assert there.told() == ["WATCHDOG=1\nSTATUS=0 connected."]
