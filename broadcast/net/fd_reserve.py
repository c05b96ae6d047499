"""What becomes of those who knock when the process is out of file descriptors: a line, and a closed connection.

``accept`` fails then, and whoever knocked stays in the queue, so that the socket stays readable: a reactor would ask
again at once, for ever. Twisted keeps a descriptor in reserve for that. But who is closed with it is told nothing, and
where the reserve is gone, because something else took it meanwhile, it asks for ever all the same.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.tcp import Port
from twisted.logger import Logger

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorTime

    from broadcast.net.endpoints import Listener

MAX_REJECTED_PER_ACCEPT: Final = 100
"""So many are turned away before the others have their turn."""
PAUSE_SECONDS: Final = 1.0
"""How long nobody is asked in where even the reserve does not help."""
LOG_SECONDS: Final = 10.0
"""It is in the log once in so long: the log is no place to fill."""

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Of this process, of the machine, and what else some systems say (accept(2))."""


class FdReserveListener:
    """The same *place*; whoever there is no descriptor for reads *line* there, and is closed."""

    def __init__(self, place: Listener, line: bytes, clock: IReactorTime) -> None:
        self._place = place
        self._line = line
        self._clock = clock

    def listen(self, factory: IProtocolFactory) -> Deferred[Sequence[IListeningPort]]:
        """Listen for *factory*."""
        return self._place.listen(factory).addCallback(self._guard)

    def describe(self, ports: Sequence[IListeningPort]) -> str:
        """Where, as a line for the log."""
        return self._place.describe(ports)

    def _guard(self, ports: Sequence[IListeningPort]) -> Sequence[IListeningPort]:
        for port in ports:
            if isinstance(port, Port):
                install_fd_reserve(port, self._line, self._clock)
        return ports


def install_fd_reserve(port: Port, line: bytes, clock: IReactorTime) -> None:
    """Give the listening *port* a ``Door`` for its socket, which is the same for the system and the reactor."""

    def rest() -> None:
        port.stopReading()  # type: ignore[no-untyped-call]
        clock.callLater(PAUSE_SECONDS, go_on)

    def go_on() -> None:
        if port.connected and not port.disconnecting:
            port.startReading()  # type: ignore[no-untyped-call]

    door = ReserveSocket(port.socket.detach(), line, rest, clock.seconds)
    port.socket = door
    port.fileno = door.fileno  # type: ignore[method-assign]  # as Twisted does


class ReserveSocket(socket.socket):
    """A listening socket that always says that nobody waits, where there is no descriptor for who does.

    It is the socket with the number *descriptor*. Whoever waits then is accepted with a descriptor that is held in
    reserve, reads *line*, and is closed. Where that is gone too, *rest* is called, which is to stop asking for a while.
    *now* tells seconds that never go back.
    """

    _log = Logger()

    def __init__(self, descriptor: int, line: bytes, rest: Callable[[], None], now: Callable[[], float]) -> None:
        super().__init__(fileno=descriptor)
        self.setblocking(False)
        self._line = line
        self._pause_accepting = rest
        self._now = now
        self._rejected = 0
        self._silent_until = 0.0
        self._reserve: int | None = None
        self._take_reserve()

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection; raises ``BlockingIOError`` where none waits, or there is no descriptor for it."""
        try:
            accepted = super().accept()
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            self._release_reserve()
            try:
                self._reject_waiting()
            finally:
                self._take_reserve()
            self._log_exhaustion(error)
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
        self._take_reserve()
        return accepted

    def close(self) -> None:
        """Close it, and give up the reserve."""
        self._release_reserve()
        super().close()

    def _reject_waiting(self) -> None:
        """Tell those who wait, and close."""
        try:
            for _ in range(MAX_REJECTED_PER_ACCEPT):
                connection, _address = super().accept()
                with connection:
                    self._rejected += 1
                    _send_and_shut_down(connection, self._line)
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._pause_accepting()

    def _take_reserve(self) -> None:
        if self._reserve is None:
            with suppress(OSError):  # something else was quicker; the next time, perhaps
                self._reserve = os.open(os.devnull, os.O_RDONLY)

    def _release_reserve(self) -> None:
        reserve, self._reserve = self._reserve, None
        if reserve is not None:
            os.close(reserve)

    def _log_exhaustion(self, error: OSError) -> None:
        if self._now() >= self._silent_until:
            self._silent_until = self._now() + LOG_SECONDS
            self._log.warn(
                "Nobody can be let in: {why}. Turned away: {count}.", why=error.strerror, count=self._rejected
            )
            self._rejected = 0


def _send_and_shut_down(connection: socket.socket, line: bytes) -> None:
    """Send *line*, whatever the other side does."""
    with suppress(OSError):
        connection.setblocking(False)
        connection.send(line)
        connection.shutdown(socket.SHUT_WR)
        # To close with unread input would be a reset, which may take the line with it (RFC 2525, 2.17).
        connection.recv(65536)
