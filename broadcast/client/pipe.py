"""The client without a terminal: it sends the standard input, and writes the server's output, both unchanged.

At the end of the input, the client leaves, and waits for the rest of the server's output. After a lost connection it
sends nothing again, because it cannot know which lines were said.
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
        """Pause the server while the output is full."""
        super().connectionMade()
        self._console.stdio.registerProducer(self.stream, streaming=True)

    def came(self, data: bytes) -> None:
        """Write *data* to the output."""
        self._console.stdio.write(data)

    def arrived(self) -> None:
        """Begin to read. Before the arrival, the server would take a line for a nickname."""
        self.stream.registerProducer(cast("IProducer", self._console.stdio), streaming=True)
        self._console.stdio.resumeProducing()

    def typed(self, data: bytes) -> None:
        """Send *data*."""
        self._whole = data.endswith((b"\n", b"\r"))
        self.stream.write(data)

    def typed_all(self) -> None:
        """Leave. The server answers all earlier lines first."""
        if (error := self._console.unreadable) is not None:
            self.finish(*unread(error))
        self.stream.unregisterProducer()
        self.stream.write(b"quit\r\n" if self._whole else b"\r\nquit\r\n")

    def unread(self, error: OSError) -> None:
        """End. If nobody reads the output, end without a message, like other filters."""
        self.finish(*unwritten(error))
        if self.connected:
            self.hang_up()

    def broke(self, why: str) -> tuple[int, str]:
        """Return success if the server has said goodbye."""
        return (DONE, "") if self.goodbye else super().broke(why)

    def _close(self, status: int, why: str) -> None:
        def closed() -> None:
            failure = self._console.failure
            if status != DONE or failure is None or isinstance(failure, BrokenPipeError):
                self._told(status, why)
            else:
                # The end of the output is missing.
                self._told(*unwritten(failure))

        self._console.close(closed)
