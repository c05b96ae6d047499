"""The service manager is notified on a datagram socket. A real socket stands in for it."""

from __future__ import annotations

import errno
import os
import re
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from broadcast.server.sd_notify import MAX_WATCHDOG_SECONDS, SdNotifier
from tests.harness import logged

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such service managers")

ABSTRACT = f"@broadcast-{os.getpid()}"
WATCHDOG = {"WATCHDOG_USEC": "20000000"}
NOT_CONNECTED = "0 connected."


class FakeManager:
    """A service manager's socket, and notifiers that use it. The address is abstract if it begins with ``@``."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.clock = Clock()
        self.notifiers: list[SdNotifier] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)

    def notifier(self, watchdog: dict[str, str] | None = None, address: str | None = None) -> SdNotifier:
        """Return a notifier, by default with the address of this manager. It is stopped at the end of the test."""
        environment = {"NOTIFY_SOCKET": self.address if address is None else address, **(watchdog or {})}
        self.notifiers.append(SdNotifier(environment, self.clock))
        return self.notifiers[-1]

    def received(self) -> list[str]:
        """Return the datagrams received since the last call. A datagram arrives at once."""
        datagrams: list[str] = []
        while True:
            try:
                datagrams.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return datagrams

    @property
    def has_timer(self) -> bool:
        return bool(self.clock.getDelayedCalls())


@pytest.fixture(params=["notify"])
def manager(request: pytest.FixtureRequest) -> Iterator[FakeManager]:
    name: str = request.param
    with tempfile.TemporaryDirectory() as folder:  # tmp_path is too long for the 100 bytes of a socket's path
        manager = FakeManager(name if name.startswith("@") else f"{folder}/{name}")
        yield manager
        for notifier in manager.notifiers:
            notifier.stopping("Going down.")
        manager.socket.close()


@pytest.mark.parametrize("manager", ["notify", ABSTRACT], ids=["path", "abstract"], indirect=True)
def test_manager_is_notified_of_start_and_stop(manager: FakeManager) -> None:
    notifier = manager.notifier()
    notifier.ready(lambda: NOT_CONNECTED)
    assert manager.received() == ["READY=1"]
    assert not manager.has_timer
    notifier.stopping("Going down: 3 connected.")
    assert manager.received() == ["STOPPING=1\nSTATUS=Going down: 3 connected."]


def test_manager_is_notified_of_a_reload_unless_the_server_stops(manager: FakeManager) -> None:
    notifier = manager.notifier()
    notifier.ready(lambda: NOT_CONNECTED)
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    notifier.reloaded()
    _, reloading, ready = manager.received()
    found = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", reloading)
    assert found is not None
    assert before <= int(found[1]) <= time.monotonic_ns() // 1000
    assert ready == "READY=1"
    notifier.stopping("Going down.")
    manager.received()
    notifier.reloading()
    notifier.reloaded()
    assert manager.received() == []


def test_watchdog_is_notified_twice_per_interval_until_the_stop(
    manager: FakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected = 0
    notifier = manager.notifier({**WATCHDOG, "WATCHDOG_PID": str(os.getpid())})
    assert manager.received() == []
    notifier.ready(lambda: f"{connected} connected.")
    assert manager.received() == ["READY=1", "WATCHDOG=1\nSTATUS=0 connected."]
    connected = 2
    manager.clock.advance(9.9)
    assert manager.received() == []
    manager.clock.advance(0.1)
    assert manager.received() == ["WATCHDOG=1\nSTATUS=2 connected."]

    def fail(*_arguments: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:  # no free descriptor: the watchdog must not restart a full server
        patch.setattr(socket, "socket", fail)
        manager.clock.advance(10)
    assert manager.received() == ["WATCHDOG=1\nSTATUS=2 connected."]
    notifier.stopping("Going down.")
    manager.clock.advance(10)
    assert manager.received() == ["STOPPING=1\nSTATUS=Going down."]
    assert not manager.has_timer


def test_long_watchdog_interval_is_limited_to_keep_the_status_current(manager: FakeManager) -> None:
    manager.notifier({"WATCHDOG_USEC": "18446744073709551615"}).ready(lambda: NOT_CONNECTED)
    assert [call.getTime() for call in manager.clock.getDelayedCalls()] == [MAX_WATCHDOG_SECONDS]


@pytest.mark.parametrize(
    "watchdog",
    [
        {**WATCHDOG, "WATCHDOG_PID": "1"},
        *({"WATCHDOG_USEC": value} for value in ("0", "", "soon", "²")),
        pytest.param({"WATCHDOG_PID": str(os.getpid())}, id="this process, but no number"),
    ],
    ids=repr,
)
def test_watchdog_needs_a_number_and_this_process(manager: FakeManager, watchdog: dict[str, str]) -> None:
    manager.notifier(watchdog).ready(lambda: NOT_CONNECTED)
    assert manager.received() == ["READY=1"]
    assert not manager.has_timer


@pytest.mark.parametrize("address", ["", "notify", "vsock:2:5555"])
def test_unusable_address_disables_notifications(manager: FakeManager, address: str) -> None:
    notifier = manager.notifier(WATCHDOG, address)
    with logged() as events:
        notifier.ready(lambda: NOT_CONNECTED)
        notifier.stopping("Going down.")
    assert events == []
    assert not manager.has_timer


def test_unreachable_manager_is_logged_once(manager: FakeManager, tmp_path: Path) -> None:
    notifier = manager.notifier(WATCHDOG, str(tmp_path / "gone"))
    with logged() as events:
        notifier.ready(lambda: NOT_CONNECTED)
        manager.clock.advance(10)
        notifier.stopping("Going down.")
    (event,) = events
    assert event["log_format"].format(**event) == (
        "Cannot notify the service manager of READY=1: No such file or directory. Check the socket in NOTIFY_SOCKET."
    )


def test_manager_that_does_not_read_does_not_block_the_reactor(manager: FakeManager) -> None:
    """A blocking notification would never return."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as other:
        with suppress(BlockingIOError):
            while True:
                other.sendto(b"X", manager.address)
        with logged() as events:
            manager.notifier().ready(lambda: NOT_CONNECTED)
        assert len(events) == 1
