"""Rejection of connections while the process is out of file descriptors: a line, then a close.

``accept`` fails in that state and the connection remains in the queue. The socket stays readable, so a reactor would
call ``accept`` again at once, for ever. Twisted holds one descriptor in reserve for this case, but closes the
connection without a line. If other code has taken the reserve meanwhile, Twisted still loops for ever.
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
"""Maximum number of connections that one call of ``accept`` rejects, before other work has its turn."""
PAUSE_SECONDS: Final = 1.0
"""Pause before the next ``accept`` if it fails even with the reserve, in seconds."""
LOG_SECONDS: Final = 10.0
"""Minimum time between two log lines, in seconds. A flood of connections must not flood the log."""

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors of accept(2) without a free descriptor in the process or the system. Some systems report a lack of memory."""


class FdReserveListener:
    """A listener that sends *line* to connections for which there is no descriptor, and closes them."""

    def __init__(self, listener: Listener, line: bytes, clock: IReactorTime) -> None:
        self._listener = listener
        self._line = line
        self._clock = clock

    def listen(self, factory: IProtocolFactory) -> Deferred[Sequence[IListeningPort]]:
        """Listen for *factory*, with a reserve on each port."""
        return self._listener.listen(factory).addCallback(self._install)

    def describe(self, ports: Sequence[IListeningPort]) -> str:
        """Return where *ports* are, as one line for the log."""
        return self._listener.describe(ports)

    def _install(self, ports: Sequence[IListeningPort]) -> Sequence[IListeningPort]:
        for port in ports:
            if isinstance(port, Port):
                install_fd_reserve(port, self._line, self._clock)
        return ports


def install_fd_reserve(port: Port, line: bytes, clock: IReactorTime) -> None:
    """Replace the socket of the listening *port* by a ``ReserveSocket`` with the same descriptor."""

    def pause() -> None:
        port.stopReading()  # type: ignore[no-untyped-call]
        clock.callLater(PAUSE_SECONDS, resume)

    def resume() -> None:
        if port.connected and not port.disconnecting:
            port.startReading()  # type: ignore[no-untyped-call]

    reserve_socket = ReserveSocket(port.socket.detach(), line, pause, clock.seconds)
    port.socket = reserve_socket
    port.fileno = reserve_socket.fileno  # type: ignore[method-assign]  # as Twisted does


class ReserveSocket(socket.socket):
    """A listening socket that rejects connections while there are no descriptors for them.

    It takes over *descriptor*, and holds another one in reserve. If ``accept`` finds no free descriptor, it releases
    the reserve and uses it to accept the waiting connections one by one, send *line* and close them. Then it reports an
    empty queue. If even that fails, it calls *pause*, which stops calls of ``accept`` for a while. *now* returns
    monotonic seconds.
    """

    _log = Logger()

    def __init__(self, descriptor: int, line: bytes, pause: Callable[[], None], now: Callable[[], float]) -> None:
        super().__init__(fileno=descriptor)
        self.setblocking(False)
        self._line = line
        self._pause = pause
        self._now = now
        self._rejected = 0
        self._silent_until = 0.0
        self._reserve: int | None = None
        self._take_reserve()

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection. Raises ``BlockingIOError`` if none waits or there is no descriptor for it."""
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
        """Close the socket and the reserve."""
        self._release_reserve()
        super().close()

    def _reject_waiting(self) -> None:
        """Send the line to the waiting connections and close them."""
        try:
            for _ in range(MAX_REJECTED_PER_ACCEPT):
                connection, _address = super().accept()
                with connection:
                    self._rejected += 1
                    _send_and_shut_down(connection, self._line)
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._pause()

    def _take_reserve(self) -> None:
        if self._reserve is None:
            with suppress(OSError):  # other code took the descriptor; the next accept tries again
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
    """Send *line* and shut down, without waiting for the other side."""
    with suppress(OSError):
        connection.setblocking(False)
        connection.send(line)
        connection.shutdown(socket.SHUT_WR)
        # A close with unread input would send a reset, which can discard the line (RFC 2525, 2.17).
        connection.recv(65536)
