"""Rejection of connections while the process is out of file descriptors: a line, then a close.

``accept`` fails in that state and the connection remains in the queue. The socket stays readable, so a reactor would
call ``accept`` again at once, for ever. Twisted holds one descriptor in reserve for this case, but closes the
connection without a line. If other code has taken the reserve meanwhile, Twisted still loops for ever.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger

from broadcast.net.connection_log import RejectionLog
from broadcast.net.endpoints import pause_accepting

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime
    from twisted.internet.tcp import Port

MAX_REJECTED_PER_ACCEPT: Final = 100
"""Maximum number of connections that one call of ``accept`` rejects, before other work has its turn."""
PAUSE_SECONDS: Final = 1.0
"""Pause before the next ``accept`` if it fails even with the reserve, in seconds."""

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors of accept(2) without a free descriptor in the process or the system. Some systems report a lack of memory."""


def install_fd_reserve(port: Port, line: bytes, clock: IReactorTime) -> None:
    """Replace the socket of the listening *port* by a ``ReserveSocket`` with the same descriptor."""
    pause = partial(pause_accepting, port, PAUSE_SECONDS, clock)
    port.socket = ReserveSocket(port.socket.detach(), line, pause, clock)
    port.fileno = port.socket.fileno  # type: ignore[method-assign]  # as Twisted does


class ReserveSocket(socket.socket):
    """A listening socket that rejects connections while there are no descriptors for them.

    It takes over *descriptor*, and holds another one in reserve. If ``accept`` finds no free descriptor, it releases
    the reserve and uses it to accept the waiting connections one by one, send *line* and close them. Then it reports an
    empty queue. If even that fails, it calls *pause*, which stops calls of ``accept`` for a while.
    """

    _log = Logger()

    def __init__(self, descriptor: int, line: bytes, pause: Callable[[], None], clock: IReactorTime) -> None:
        super().__init__(fileno=descriptor)
        self.setblocking(False)
        self._line = line
        self._pause = pause
        self._rejection_log = RejectionLog(
            clock, self._log.warn, "Cannot accept connections: {why}. Rejected: {count}."
        )
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
                count = self._reject_waiting()
            finally:
                self._take_reserve()
            self._rejection_log.record(str(error.strerror), count)
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
        self._take_reserve()
        return accepted

    def close(self) -> None:
        """Close the socket and the reserve."""
        self._release_reserve()
        super().close()

    def _reject_waiting(self) -> int:
        """Send the line to the waiting connections and close them. Return their number."""
        count = 0
        try:
            while count < MAX_REJECTED_PER_ACCEPT:
                connection, _address = super().accept()
                with connection:
                    count += 1
                    _send_and_shut_down(connection, self._line)
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._pause()
        return count

    def _take_reserve(self) -> None:
        if self._reserve is None:
            with suppress(OSError):  # other code took the descriptor; the next accept tries again
                self._reserve = os.open(os.devnull, os.O_RDONLY)

    def _release_reserve(self) -> None:
        reserve, self._reserve = self._reserve, None
        if reserve is not None:
            os.close(reserve)


def _send_and_shut_down(connection: socket.socket, line: bytes) -> None:
    """Send *line* and shut down, without waiting for the other side."""
    with suppress(OSError):
        connection.setblocking(False)
        connection.send(line)
        connection.shutdown(socket.SHUT_WR)
        # A close with unread input would send a reset, which can discard the line (RFC 2525, 2.17).
        connection.recv(65536)
