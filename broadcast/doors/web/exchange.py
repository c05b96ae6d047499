"""One request that is being handled: its body and its reply, over a connection of h11."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

import h11

from broadcast.doors.web.requests import body_length

if TYPE_CHECKING:
    from broadcast.doors.web.http import BodyReceiver, Headers, OpenProtocol
    from broadcast.net.writers import StreamTransport

BODY_SECONDS: Final = 30
"""Period over which the speed of a body is measured, in seconds."""
BODY_BYTES: Final = BODY_SECONDS * 1024
"""Minimum number of bytes of a body in that period."""


class _Connection(Protocol):
    """The connection that a request has come over."""

    @property
    def transport(self) -> StreamTransport:
        """Twisted's transport."""

    @property
    def is_congested(self) -> bool:
        """Whether the transport holds bytes that the client has not read."""

    def run(self) -> None:
        """Handle the input that has arrived, as far as it can be handled now."""

    def start_body(self) -> None:
        """Begin to pass the body to the receiver."""

    def make_header(self, status: int, headers: Headers) -> bytes:
        """Return the header of a reply."""

    def encode(self, event: h11.Event) -> bytes:
        """Return the bytes of *event*, which is part of the reply."""

    def write(self, data: bytes) -> None:
        """Send *data*."""

    def finish_exchange(self) -> None:
        """Go on after the end of a reply."""

    def hand_over(self, open_protocol: OpenProtocol) -> None:
        """Hand the connection over to the result of *open_protocol*."""

    def end(self) -> None:
        """Close the connection once everything is sent."""


def _ignore() -> None:
    pass


class Exchange:
    """A request that is being handled: the ``Body`` and the ``Reply`` of its handler; see ``http.py``."""

    def __init__(self, connection: _Connection, event: h11.Request) -> None:
        self.on_drained: Callable[[], None] = _ignore
        self.on_closed: Callable[[], None] = _ignore
        self.length = body_length(event)
        self.receiver: BodyReceiver | None = None
        self.is_paused = False
        self.received = 0
        """Number of bytes of the body since the last check of its speed."""
        self.is_started = False
        self._connection = connection
        self.is_head = event.method == b"HEAD"
        self._unsent = b""
        """The header of the reply, which is sent with the first part of the body."""
        self.is_complete = False
        """Whether all of the request has been read."""
        self._is_over = False

    # Body

    def read_into(self, receiver: BodyReceiver) -> None:
        """Pass the body to *receiver*."""
        if not self._is_over:
            self.receiver = receiver
            self._connection.start_body()

    def pause(self) -> None:
        """Stop passing on."""
        self.is_paused = True

    def resume(self) -> None:
        """Continue after ``pause``."""
        self.is_paused = False
        self.received = BODY_BYTES  # the speed is measured anew
        if not self._is_over:
            self._connection.run()

    # Reply

    @property
    def is_congested(self) -> bool:
        """Whether earlier bytes still wait for the client."""
        return self._connection.is_congested

    def respond(self, status: int, headers: Headers = (), body: bytes = b"") -> None:
        """Send a complete reply."""
        if status not in (204, 304):  # these have no body, whose length would be this
            headers = (*headers, (b"Content-Length", b"%d" % len(body)))
        self.start(status, headers)
        if body:
            self.write(body)
        self.finish()

    def start(self, status: int, headers: Headers = ()) -> None:
        """Begin a reply whose body follows."""
        if not self._is_over:
            self.is_started = True
            self._unsent = self._connection.make_header(status, headers)

    def write(self, data: bytes) -> None:
        """Send a part of the body."""
        if not self._is_over and not self.is_head:
            self._send(h11.Data(data=data))

    def finish(self) -> None:
        """End the body."""
        if not self._is_over:
            self._is_over = True
            self._send(h11.EndOfMessage())
            self._connection.finish_exchange()

    def _send(self, event: h11.Event) -> None:
        data, self._unsent = self._unsent + self._connection.encode(event), b""
        self._connection.write(data)

    def abort(self) -> None:
        """Close the connection at once."""
        if not self._is_over:
            self._is_over = True
            self._connection.transport.abortConnection()

    def hand_over(self, open_protocol: OpenProtocol) -> None:
        """Hand the connection over to the result of *open_protocol*."""
        if not self._is_over:
            self._connection.hand_over(open_protocol)

    def close_with(self, data: bytes) -> None:
        """Send *data* instead of a reply, and close."""
        if not self._is_over:
            self._is_over = True
            self._connection.write(data)
            self._connection.end()

    # Calls of the connection

    def end(self) -> None:
        """Ignore all further calls of the handler, which has handed the connection over."""
        self._is_over = True

    def lose(self) -> None:
        """Report that the client has gone away, or that its body will not be complete."""
        if not self._is_over:
            self._is_over = True
            if self.receiver is not None:
                self.receiver.lost()
            self.on_closed()
