"""The reload on SIGHUP: the log file and the message of the day are read from their paths again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING

from twisted.logger import Logger

from broadcast.core.errors import StartupError
from broadcast.core.sanitize import sanitize

if TYPE_CHECKING:
    from broadcast.core.hub import Hub
    from broadcast.core.time_slice import CallSoon
    from broadcast.server.log_writer import LogWriter
    from broadcast.server.sd_notify import SdNotifier


class Reloader:
    """The reload of the settings that can change while the server runs. The others need a restart.

    *read_motd* returns the lines of the message of the day, or raises ``StartupError``.
    """

    _log = Logger()

    def __init__(
        self,
        hub: Hub,
        read_motd: Callable[[], tuple[str, ...]],
        log_writer: LogWriter | None,
        notifier: SdNotifier,
        call_soon: CallSoon,
    ) -> None:
        self._hub = hub
        self._read_motd = read_motd
        self._log_writer = log_writer
        self._notifier = notifier
        self._call_soon = call_soon
        self._reading = False

    def reload(self) -> None:
        """Open the log file again, and read the files of the settings in a thread."""
        if self._log_writer is not None:
            self._log_writer.reopen()
        self._log.info("SIGHUP: the log is reopened, and the message of the day is read again.")
        if not self._reading:
            self._reading = True
            self._notifier.reloading()
            # A daemon thread, because a file system that hangs must not prevent the end of the process.
            Thread(target=self._read_files, name="reloader", daemon=True).start()

    def _read_files(self) -> None:
        """Read all files, and apply them in the reactor's thread."""
        try:
            apply = partial(self._apply, self._read_motd())
        except StartupError as error:
            apply = partial(self._keep, str(error))
        self._call_soon(apply)

    def _apply(self, motd: tuple[str, ...]) -> None:
        self._hub.settings = replace(self._hub.settings, motd=motd)
        self._finish()

    def _keep(self, error: str) -> None:
        self._log.error("The message of the day stays as it is: {why}", why=sanitize(error))
        self._finish()

    def _finish(self) -> None:
        self._reading = False
        self._notifier.reloaded()
