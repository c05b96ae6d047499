"""A reload opens the log again and shows the new message of the day; if it cannot be read, the old one stays."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from time import monotonic, sleep
from typing import cast

from twisted.logger import capturedLogs, formatEvent

from broadcast.core.errors import StartupError
from broadcast.core.hub import Settings
from broadcast.server.log_writer import LogWriter
from broadcast.server.reload import Reloader
from broadcast.server.sd_notify import SdNotifier
from tests.harness import World

TIMEOUT = 60
"""Seconds after which a test gives up waiting for a thread."""
RELOADING = "SIGHUP: the log is reopened, and the message of the day is read again."


class Reload:
    """A reloader, and a record of its effects. Also the log writer and the notifier that it uses."""

    def __init__(self, *, has_log: bool = True) -> None:
        self.world = World(Settings(motd=("Old.",)))
        self.effects: list[str] = []
        self.motd: tuple[str, ...] = ("New.",)
        self.error = ""
        self.may_read = Event()
        self.may_read.set()
        self._soon: list[Callable[[], None]] = []
        self.reloader = Reloader(
            self.world.hub,
            self._read,
            cast(LogWriter, self) if has_log else None,
            cast(SdNotifier, self),
            self._soon.append,
        )

    def reopen(self) -> None:
        self.effects.append("log reopened")

    def reloading(self) -> None:
        self.effects.append("RELOADING")

    def reloaded(self) -> None:
        self.effects.append("READY")

    def _read(self) -> tuple[str, ...]:
        assert self.may_read.wait(TIMEOUT)
        if self.error:
            raise StartupError(self.error)
        return self.motd

    def finish(self) -> list[str]:
        """Wait for the thread, and return all effects since the last call."""
        deadline = monotonic() + TIMEOUT
        while not self._soon:
            assert monotonic() < deadline
            sleep(0.001)
        self._soon.pop()()
        effects, self.effects = self.effects, []
        return effects

    @property
    def shown(self) -> tuple[str, ...]:
        return self.world.hub.settings.motd


def test_reload_opens_the_log_and_shows_the_new_message() -> None:
    reload = Reload()
    with capturedLogs() as events:
        reload.reloader.reload()
        assert reload.shown == ("Old.",)
        assert reload.finish() == ["log reopened", "RELOADING", "READY"]
    assert [formatEvent(event) for event in events] == [RELOADING]
    assert reload.shown == ("New.",)
    person = reload.world.connect()
    assert "New." in person.read()


def test_message_stays_if_it_cannot_be_read() -> None:
    reload = Reload()
    reload.error = "--motd: cannot read motd"
    with capturedLogs() as events:
        reload.reloader.reload()
        assert reload.finish() == ["log reopened", "RELOADING", "READY"]
    assert reload.shown == ("Old.",)
    assert [formatEvent(event) for event in events] == [
        RELOADING,
        "The message of the day stays as it is: --motd: cannot read motd",
    ]


def test_second_reload_does_not_wait_for_a_file_that_cannot_be_read_now() -> None:
    reload = Reload(has_log=False)
    reload.may_read.clear()
    reload.reloader.reload()
    reload.reloader.reload()
    reload.may_read.set()
    assert reload.finish() == ["RELOADING", "READY"]
    reload.motd = ("Third.",)
    reload.reloader.reload()
    assert reload.finish() == ["RELOADING", "READY"]
    assert reload.shown == ("Third.",)
