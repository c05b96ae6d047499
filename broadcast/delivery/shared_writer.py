"""The writer that several streams of one connection share. Events stay whole, and responses go first; no I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broadcast.net.writers import Writer


class SharedWriter:
    """The *writer* of a connection with several streams. Each stream has a share of it.

    While the connection does not accept everything, the shares take turns. One share is active: *writer* holds its
    rest, or its stream continues. The others accept nothing. When the rest has been sent, the next share is active.
    """

    def __init__(self, writer: Writer) -> None:
        self.send = writer.send
        self.send_failed = writer.send_failed
        self.active: Share | None = None
        """The share that has the turn; None while the connection has accepted everything."""
        self._writer = writer
        self._writing = False
        """True while the writer holds the rest of the active share, false while the stream of this share continues."""
        self._waiting: list[Share] = []
        """The shares that wait for their turn, in order."""

    def connection_lost(self) -> None:
        """Clean up after the connection. Forget all shares: reference cycles would delay freeing the streams."""
        for share in (self.active, *self._waiting):
            if share is not None:
                share.drained = None
        self.active = None
        self._waiting.clear()
        self._writer.connection_lost()

    def write_rest(self, share: Share, rest: bytes) -> None:
        """Send *rest* when *share* has the turn."""
        if self.active is None:
            self.active = share
        if self.active is share:
            self._write_rest(rest)
        else:
            share.rest = rest
            self._waiting.append(share)

    def stop_drain(self, share: Share) -> None:
        """Pass the turn on: no bytes of the stream of *share* are waiting."""
        share.drained = None
        if self.active is share:
            self.active = None
            if self._waiting:
                self._continue_next()
            else:
                self._writer.stop_drain()

    def _write_rest(self, rest: bytes) -> None:
        self._writing = True
        self._writer.write_rest(rest, self._on_drained)

    def _on_drained(self) -> None:
        if self._writing and self.active is not None:
            self._writing = False
            self._waiting.append(self.active)
            self._continue_next()

    def _continue_next(self) -> None:
        """Give the turn to the next share. If the connection accepts its rest, its stream continues at once."""
        share = next((share for share in self._waiting if share.goes_first), self._waiting[0])
        self._waiting.remove(share)
        self.active = share
        rest, share.rest = share.rest, b""
        accepted = self._offer(rest) if rest else 0
        if accepted < len(rest):
            self._write_rest(rest[accepted:])
        elif share.drained is not None:
            share.drained()

    def _offer(self, data: bytes) -> int:
        try:
            return self.send(data)
        except OSError as error:
            return self.send_failed(error)


class Share:
    """A stream's share of the *writer*: a ``net.writers.Sender``. It holds the rest of one event until its turn."""

    __slots__ = ("_writer", "drained", "goes_first", "rest")

    def __init__(self, writer: SharedWriter, *, goes_first: bool = False) -> None:
        self.goes_first = goes_first
        """Whether this share goes before all others that wait."""
        self.rest = b""
        """The rest of an event, while the share waits for its turn."""
        self.drained: Callable[[], None] | None = None
        """The function that continues the stream; None while nothing of the stream waits."""
        self._writer = writer

    def send(self, data: bytes) -> int:
        """Offer *data* to the connection, unless another share has the turn."""
        writer = self._writer
        return writer.send(data) if writer.active is None or writer.active is self else 0

    def write_rest(self, rest: bytes, drained: Callable[[], None]) -> None:
        """Send *rest*, and call *drained* when the stream can continue."""
        self.drained = drained
        self._writer.write_rest(self, rest)

    def stop_drain(self) -> None:
        """Pass the turn on: the stream has caught up."""
        self._writer.stop_drain(self)

    def send_failed(self, error: OSError) -> int:
        """Handle the *error* that a call of ``send`` has raised."""
        return self._writer.send_failed(error)
