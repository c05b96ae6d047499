"""A reload opens the log again and shows the new message of the day; if it cannot be read, the old one stays."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Event
from time import monotonic, sleep
from typing import cast

from twisted.logger import Logger, capturedLogs, formatEvent

from broadcast.core.errors import StartupError
from broadcast.core.settings import Settings
from broadcast.server.log_writer import LogWriter
from broadcast.server.reload import ReloadedFile, Reloader
from broadcast.server.sd_notify import SdNotifier
from tests.harness import World

TIMEOUT = 60
"""Seconds after which a test gives up waiting for a thread."""
RELOADING = "SIGHUP: the log is reopened, and the message of the day is read again."
RELOADING_WITH_TLS = "SIGHUP: the log is reopened, and the message of the day and the TLS certificate are read again."


class Reload:
    """A reloader, and a record of its effects. Also the log writer and the notifier that it uses."""

    def __init__(self, *, has_log: bool = True, certificate: ReloadedFile | None = None) -> None:
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
            certificate,
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

    def wait(self) -> None:
        """Wait until the thread has read the files."""
        deadline = monotonic() + TIMEOUT
        while not self._soon:
            assert monotonic() < deadline
            sleep(0.001)

    def finish(self) -> list[str]:
        """Wait for the thread, use what it has read, and return all effects since the last call."""
        self.wait()
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
    assert reload.shown == ("Old.",)
    reload.may_read.set()
    assert reload.finish() == ["RELOADING"]
    assert reload.finish() == ["READY"]
    reload.motd = ("Third.",)
    reload.reloader.reload()
    assert reload.finish() == ["RELOADING", "READY"]
    assert reload.shown == ("Third.",)


def test_files_that_change_while_they_are_read_are_read_again_after_the_next_signal() -> None:
    reload = Reload(has_log=False)
    reload.reloader.reload()
    reload.wait()
    reload.motd = ("Third.",)
    reload.reloader.reload()
    assert reload.finish() == ["RELOADING"]
    assert reload.shown == ("New.",)
    assert reload.finish() == ["READY"]
    assert reload.shown == ("Third.",)


class CertificateFile:
    """A certificate that is logged when it is read."""

    _log = Logger()

    def read(self) -> Callable[[], None]:
        return partial(self._log.error, "The TLS certificate stays as it is: broken")


def test_reload_says_that_it_reads_the_certificate_and_has_its_result_at_once() -> None:
    reload = Reload(certificate=CertificateFile())
    with capturedLogs() as events:
        reload.reloader.reload()
        reload.finish()
    assert [formatEvent(event) for event in events] == [
        RELOADING_WITH_TLS,
        "The TLS certificate stays as it is: broken",
    ]
