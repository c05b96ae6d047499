"""The certificate in use: it is loaded again when its files change, and renewed or warned about before its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from math import inf
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Final, TypeAlias

from twisted.logger import Logger

from broadcast.core.errors import StartupError
from broadcast.core.sanitize import sanitize
from broadcast.server.certificates import (
    RENEWAL_DAYS,
    SELF_SIGNED_FILE,
    Certificate,
    format_time,
    load_certificate,
    self_signed_certificate,
)

if TYPE_CHECKING:
    import ssl

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from broadcast.core.time_slice import CallSoon

CHECK_SECONDS: Final = 10
"""Interval between two looks at the files, in seconds.

Files that differ at two successive looks are still being written. So a new certificate is in use after 20 s.
"""
RENEWAL_INTERVAL: Final = timedelta(hours=1)
"""Time between two attempts to renew a self-signed certificate."""
WARNING_DAYS: Final = (30, 7, 1, 0)
"""Numbers of days before the end of the certificate at which the log has a warning."""

_Stamp: TypeAlias = tuple[tuple[int, int, int] | None, ...]
"""Inode, size and time of change of each file; None for a file that cannot be read."""


class CertificateKeeper:
    """The certificate for new connections.

    It is that in the files *cert* and *key* (see ``load_certificate``), or, if *cert* is None, the self-signed one in
    the folder *data* (see ``self_signed_certificate``). *wall_clock* returns the time in seconds since the epoch.
    """

    _log = Logger()

    def __init__(
        self,
        cert: Path | None,
        key: Path | None,
        data: Path | None,
        clock: IReactorTime,
        call_soon: CallSoon,
        wall_clock: Callable[[], float],
    ) -> None:
        self.is_given = cert is not None
        """Whether the operator has given the certificate."""
        self._load: Callable[[datetime], Certificate]
        self._files: Sequence[Path]
        if cert is not None:
            self._load = partial(load_certificate, cert, key)
            self._files = [cert] if key is None else [cert, key]
            self._name = str(cert)
        else:
            self._load = partial(self_signed_certificate, data)
            self._files = [] if data is None else [data / SELF_SIGNED_FILE]
            self._name = "(self-signed)"
        self._clock = clock
        self._call_soon = call_soon
        self._wall_clock = wall_clock
        self._certificate: Certificate | None = None
        self._loaded: _Stamp = ()
        """The files from which the certificate was loaded, or tried to."""
        self._seen: _Stamp = ()
        """The files at the last look."""
        self._warned = inf
        """The last of ``WARNING_DAYS`` that was logged."""
        self._renewal: datetime | None = None
        """The time of the last attempt to renew it."""
        self._checking = False
        self._next: IDelayedCall | None = None

    @property
    def certificate(self) -> Certificate:
        """The certificate. It is loaded at the first use, which can raise ``StartupError``."""
        if self._certificate is None:
            self._loaded = self._seen = self._look()
            self._certificate = self._load(self._now())
            self._loaded = self._seen = self._look()
        return self._certificate

    def get_context(self) -> ssl.SSLContext:
        """Return the context for a new connection."""
        return self.certificate.context

    def start(self) -> None:
        """Log the certificate, and begin to watch it. Raises ``StartupError`` if it cannot be loaded."""
        self._use(self.certificate)
        self._next = self._clock.callLater(CHECK_SECONDS, self._check)

    def stop(self) -> None:
        """Watch it no longer."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def read(self) -> Callable[[], None]:
        """Load the certificate, in any thread. The result is called in the reactor's thread, to use it."""
        self._loaded = self._look()
        try:
            return partial(self._use, self._load(self._now()))
        except StartupError as error:
            return partial(self._keep, str(error))

    def _use(self, certificate: Certificate) -> None:
        """Use *certificate* for new connections."""
        self._certificate = certificate
        self._warned = inf
        self._log.info(
            "TLS certificate {name}: valid until {until}, certificate {fingerprint}, key {key_fingerprint}",
            name=sanitize(self._name),
            until=format_time(certificate.not_after),
            fingerprint=certificate.fingerprint,
            key_fingerprint=certificate.key_fingerprint,
        )
        self._warn()

    def _keep(self, error: str) -> None:
        self._log.error("The TLS certificate stays as it is: {why}", why=sanitize(error))

    def _check(self) -> None:
        self._next = self._clock.callLater(CHECK_SECONDS, self._check)
        self._warn()
        if not self._checking:
            self._checking = True
            # A daemon thread, because a file system that hangs must not prevent the end of the process.
            Thread(target=self._check_files, name="certificate", daemon=True).start()

    def _check_files(self) -> None:
        """Load the certificate if its files have changed since, or if it is time to renew it. Runs in a thread."""
        seen, self._seen = self._seen, self._look()
        has_changed = self._seen == seen != self._loaded
        use = self.read() if has_changed or self._is_due() else _do_nothing
        self._call_soon(partial(self._end_check, use))

    def _end_check(self, use: Callable[[], None]) -> None:
        self._checking = False
        use()

    def _is_due(self) -> bool:
        """Return whether it is time to renew the certificate, and begin an attempt if it is."""
        if self.is_given or self._time_left() > timedelta(days=RENEWAL_DAYS):
            return False
        now = self._now()
        if self._renewal is not None and now - self._renewal < RENEWAL_INTERVAL:
            return False
        self._renewal = now
        return True

    def _warn(self) -> None:
        """Log that the certificate ends soon, once for each of ``WARNING_DAYS``. A self-signed one is renewed."""
        left = self._time_left()
        reached = [days for days in WARNING_DAYS if left <= timedelta(days=days)]
        if not self.is_given or not reached or reached[-1] >= self._warned:
            return
        self._warned = reached[-1]
        end = format_time(self.certificate.not_after)
        if self._warned:
            self._log.warn("The TLS certificate ends at {end}, in {days} days: renew it.", end=end, days=left.days)
        else:
            self._log.error("The TLS certificate has ended at {end}, and clients reject it: renew it.", end=end)

    def _time_left(self) -> timedelta:
        return self.certificate.not_after - self._now()

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._wall_clock(), UTC)

    def _look(self) -> _Stamp:
        return tuple(map(_stamp, self._files))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _do_nothing() -> None:
    pass
