"""The life of a connection over a stream, which all doors share."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final, Protocol, cast

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import connectionDone

from broadcast.core.session import CONNECTION_LOST

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from broadcast.net.connections import Connection, Connections
    from broadcast.net.input_loop import InputLoop
    from broadcast.net.writers import StreamTransport


class State(Enum):
    """The life of a connection and its session.

    The session of a program outlives its connections. For a connection, it is over when the connection leaves it::

        event              OPEN         INPUT_ENDED  BROKEN  GONE    CLOSING      HALF_CLOSED
        client sends EOF   INPUT_ENDED                               HALF_CLOSED  (close)
        server's EOF sent                                            HALF_CLOSED  (close)
        connection breaks  BROKEN       GONE                         CLOSED       CLOSED
        connection closes  GONE         GONE                         CLOSED       CLOSED
        session is over    CLOSING      HALF_CLOSED  CLOSED  CLOSED

    An empty field means no change. (close) means that the transport closes the connection; its loss follows.
    """

    OPEN = auto()
    """The client can send lines."""
    INPUT_ENDED = auto()
    """The client has closed its direction. The lines before that, and the replies to them, are still handled."""
    BROKEN = auto()
    """The connection broke before the end of the input. The lines received before are still handled."""
    GONE = auto()
    """The connection was closed, or broke after the end of the input. The lines before are still handled."""
    CLOSING = auto()
    """The session is over. Input is read and dropped until its end."""
    HALF_CLOSED = auto()
    """The session is over, and one of the directions is closed."""
    CLOSED = auto()
    """The session is over, and the connection is gone."""


_AFTER_SESSION: Final = {
    State.OPEN: State.CLOSING,
    State.INPUT_ENDED: State.HALF_CLOSED,
    State.BROKEN: State.CLOSED,
    State.GONE: State.CLOSED,
}
"""The next state when the session is over, for each state in which it is not."""


class _Peer(Protocol):
    """The output of the connection."""

    def connection_lost(self) -> None:
        """Discard everything that waits, because the connection is gone."""

    def drop_callbacks(self) -> None:
        """Drop the callbacks, because the session is over and the connection is gone."""


class StreamConnection:
    """One connection of a door. It has the methods of a Twisted protocol for a stream transport.

    A subclass sets the attributes that have no value here. When the session is over, it calls ``_end_session``, closes
    the peer, and calls ``_release_if_gone``.
    """

    transport: StreamTransport
    peer: _Peer
    heard_from = True
    """Whether any input has arrived since the dead-peer detector set this to False."""
    _connections: Connections
    _input: InputLoop
    _state = State.OPEN

    @property
    def must_answer(self) -> bool:
        """Whether the client must answer ``send_noop``, and the server reads the answer."""
        return False

    # The parts that differ between the doors

    def _receive_eof(self) -> None:
        """End the input of the decoder."""
        raise NotImplementedError

    def _stop_timers(self) -> None:
        """Stop all timers."""
        raise NotImplementedError

    def dataReceived(self, data: bytes) -> None:
        """Handle a chunk of bytes."""
        raise NotImplementedError

    # Callbacks of the transport

    def readConnectionLost(self) -> None:
        """Handle the client's EOF. The lines before it are still handled, and the replies still reach the client."""
        if self._state is State.OPEN:
            self._state = State.INPUT_ENDED
            self._receive_eof()
            self._input.end_input()
            self._input.run()
        else:
            self._direction_closed()

    def writeConnectionLost(self) -> None:
        """Handle the end of the server's direction: everything has been sent."""
        self._direction_closed()

    def _direction_closed(self) -> None:
        if self._state is State.CLOSING:
            self._state = State.HALF_CLOSED
        elif self._state is State.HALF_CLOSED:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Handle the loss of the connection. The lines before it are still handled."""
        self._stop_timers()
        if self._state in _AFTER_SESSION:
            broken = self._state is State.OPEN and not isinstance(reason.value, ConnectionDone)
            self._state = State.BROKEN if broken else State.GONE
            self._receive_eof()
        else:
            self._state = State.CLOSED
        self._input.end_input()
        self.peer.connection_lost()
        self._input.run()
        if self._state is State.CLOSED:
            self._release()
        else:
            self._connections.move_to_backlog(cast("Connection", self))

    # The end

    @property
    def is_open(self) -> bool:
        """Whether the session is not over."""
        return self._state in _AFTER_SESSION

    @property
    def is_gone(self) -> bool:
        """Whether the connection is gone, and the session is not over."""
        return self._state is State.BROKEN or self._state is State.GONE

    @property
    def _end_reason(self) -> str:
        """The reason why a session leaves at the end of its input. It is empty unless the connection broke."""
        return CONNECTION_LOST if self._state is State.BROKEN else ""

    def _end_session(self) -> bool:
        """Enter the state after the session. Return whether the session was not over before."""
        next_state = _AFTER_SESSION.get(self._state)
        if next_state is None:
            return False
        self._state = next_state
        self._stop_timers()
        return True

    def _release_if_gone(self) -> None:
        if self._state is State.CLOSED:
            self._release()

    def _release(self) -> None:
        """Release everything that this connection holds, once it is gone and all of its input was handled."""
        self._connections.remove(cast("Connection", self))
        self.peer.drop_callbacks()

    def drain(self) -> Deferred[None]:
        """Stop reading, and handle the lines received before. See ``InputLoop.drain``."""
        return self._input.drain()
