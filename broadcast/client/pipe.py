"""Not on a terminal: lines of the standard input are sent as they are, what arrives is written out unchanged.

The end of the input leaves, and waits for everything that is still to come. Nothing is sent again after the connection
was lost: nobody could know which of the lines had been said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

from broadcast.client.console import Console
from broadcast.client.status import DONE, unread, unwritten
from broadcast.client.visitor import Ended, Visitor

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProducer, IProtocol, IReactorTime

    from broadcast.client.stdio import Stdio


class Pipe(Visitor):
    """The standard input and output, connected to *server*."""

    def __init__(
        self,
        server: str,
        nicks: Iterator[str],
        clock: IReactorTime,
        attach: Callable[[IProtocol], Stdio],
        ended: Ended,
    ) -> None:
        super().__init__(server, nicks, clock, ended)
        self._whole = True
        self._console = Console(self, attach)
        self._told = ended
        self._ended = self._close

    def connectionMade(self) -> None:
        """Neither side is read faster than the other is written to."""
        super().connectionMade()
        self._console.stdio.registerProducer(self.stream, streaming=True)

    def came(self, data: bytes) -> None:
        """Write it out."""
        self._console.stdio.write(data)

    def arrived(self) -> None:
        """Begin to read: before this, a line would have been taken for a nickname."""
        self.stream.registerProducer(cast("IProducer", self._console.stdio), streaming=True)
        self._console.stdio.resumeProducing()

    def typed(self, data: bytes) -> None:
        """Send it."""
        self._whole = data.endswith((b"\n", b"\r"))
        self.stream.write(data)

    def typed_all(self) -> None:
        """Leave: what was sent before is said and answered."""
        if (error := self._console.unreadable) is not None:
            self.finish(*unread(error))
        self.stream.unregisterProducer()
        self.stream.write(b"quit\r\n" if self._whole else b"\r\nquit\r\n")

    def unread(self, error: OSError) -> None:
        """End: without a word where nobody reads, as other filters do."""
        self.finish(*unwritten(error))
        if self.connected:
            self.hang_up()

    def broke(self, why: str) -> tuple[int, str]:
        """All is well once the server has said goodbye."""
        return (DONE, "") if self.goodbye else super().broke(why)

    def _close(self, status: int, why: str) -> None:
        def closed() -> None:
            failure = self._console.failure
            if status != DONE or failure is None or isinstance(failure, BrokenPipeError):
                self._told(status, why)
            else:
                # The last words are missing.
                self._told(*unwritten(failure))

        self._console.close(closed)
