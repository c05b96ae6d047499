"""The reload on SIGHUP: the log file, the message of the day and the certificate are opened at their paths again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Protocol

from twisted.logger import Logger

from broadcast.core.errors import StartupError
from broadcast.core.sanitize import sanitize

if TYPE_CHECKING:
    from broadcast.core.hub import Hub
    from broadcast.core.time_slice import CallSoon
    from broadcast.server.log_writer import LogWriter
    from broadcast.server.sd_notify import SdNotifier


class ReloadedFile(Protocol):
    """A file that can change while the server runs."""

    def read(self) -> Callable[[], None]:
        """Read the file, in any thread. The result is called in the reactor's thread, to use what was read."""


class Reloader:
    """The reload of the settings that can change while the server runs. The others need a restart.

    *read_motd* returns the lines of the message of the day, or raises ``StartupError``. *certificate* is that for TLS,
    if there is one.
    """

    _log = Logger()

    def __init__(
        self,
        hub: Hub,
        read_motd: Callable[[], tuple[str, ...]],
        log_writer: LogWriter | None,
        notifier: SdNotifier,
        call_soon: CallSoon,
        certificate: ReloadedFile | None = None,
    ) -> None:
        self._hub = hub
        self._read_motd = read_motd
        self._log_writer = log_writer
        self._notifier = notifier
        self._call_soon = call_soon
        self._certificate = certificate
        self._reading = False
        self._is_outdated = False
        """Whether a signal has come since the reading of the files began."""

    def reload(self) -> None:
        """Open the log file again, and read the files of the settings in a thread."""
        if self._log_writer is not None:
            self._log_writer.reopen()
        files = "message of the day" if self._certificate is None else "message of the day and the TLS certificate"
        verb = "is" if self._certificate is None else "are"
        self._log.info("SIGHUP: the log is reopened, and the {files} {verb} read again.", files=files, verb=verb)
        self._is_outdated = True
        if not self._reading:
            self._reading = True
            self._notifier.reloading()
            self._start()

    def _start(self) -> None:
        self._is_outdated = False
        # A daemon thread, because a file system that hangs must not prevent the end of the process.
        Thread(target=self._read_files, name="reloader", daemon=True).start()

    def _read_files(self) -> None:
        """Read all files, and use them in the reactor's thread."""
        uses = [self._read_message()]
        if self._certificate is not None:
            uses.append(self._certificate.read())
        self._call_soon(partial(self._finish, uses))

    def _read_message(self) -> Callable[[], None]:
        try:
            return partial(self._use_message, self._read_motd())
        except StartupError as error:
            return partial(self._keep_message, str(error))

    def _use_message(self, motd: tuple[str, ...]) -> None:
        self._hub.settings = replace(self._hub.settings, motd=motd)

    def _keep_message(self, error: str) -> None:
        self._log.error("The message of the day stays as it is: {why}", why=sanitize(error))

    def _finish(self, uses: Sequence[Callable[[], None]]) -> None:
        for use in uses:
            use()
        if self._is_outdated:  # the files may have changed after they were read
            self._start()
            return
        self._reading = False
        self._notifier.reloaded()
