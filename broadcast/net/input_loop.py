"""The loop that hands the input of one connection to its session, line by line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred

from broadcast.net.input_gate import InputGate, PauseReason
from broadcast.net.throttle import Throttle

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from broadcast.core.session import Session
    from broadcast.core.time_slice import CallSoon
    from broadcast.net.connections import Connections
    from broadcast.net.writers import StreamTransport

LINES_PER_TURN: Final = 256
"""Maximum number of lines of one connection that are handled in one turn of the reactor; 64 KiB can hold 65,536."""


class InputLoop:
    """The flow control of one connection's input. It decides when the next line is handled, and when to read more.

    A line waits while the session is busy, the client does not read its replies, or the client is above its rate limit.
    Meanwhile, the transport is not read from.

    *handle_line* hands the next line to *session* and returns whether there was one.
    """

    def __init__(
        self,
        session: Session,
        transport: StreamTransport,
        connections: Connections,
        clock: IReactorTime,
        call_soon: CallSoon,
        handle_line: Callable[[], bool],
    ) -> None:
        self._session = session
        self._peer = session.peer
        self._connections = connections
        self._call_soon = call_soon
        self._handle_line = handle_line
        self._gate = InputGate(transport)
        self._throttle = Throttle(connections.limiter.limits, clock, self._gate, self.run)
        self.consume = self._throttle.consume
        """Count a line, or input that costs as much, toward the rate limit."""
        self._running = False
        """True while lines are handled. Callbacks of the session may call ``run`` meanwhile."""
        self.ended = False
        """Whether the session is over."""
        self._drained: Deferred[None] | None = None

    def run(self) -> None:
        """Handle lines until one has to wait or none is left."""
        gate = self._gate
        if self._running or (not gate.is_open and (PauseReason.TURN_USED in gate or PauseReason.RATE_LIMITED in gate)):
            return
        self._running = True
        try:
            self._handle_lines()
        finally:
            self._running = False
        congested = self._peer.congested
        if gate.is_open and self._session.ready and not congested:
            return  # nearly always: no reason has come or gone
        if congested:
            self._notify_drained()
        gate.set(PauseReason.SESSION_BUSY, not self._session.ready)
        gate.set(PauseReason.CONGESTED, congested)
        gate.apply()

    def _handle_lines(self) -> None:
        session, peer = self._session, self._peer
        lines = 0
        # A call of ``end`` can end the connection while the session is ready.
        while session.ready and not peer.congested and not self.ended:
            if self._throttle.start_delay():
                self._connections.throttle_count += 1
                break
            if lines == LINES_PER_TURN:
                self._gate.set(PauseReason.TURN_USED)
                self._call_soon(self._start_turn)
                break
            lines += 1
            if not self._handle_line():
                self._notify_drained()
                break

    def _start_turn(self) -> None:
        self._gate.set(PauseReason.TURN_USED, False)
        self.run()

    def end_input(self) -> None:
        """Leave the transport as it is from here on: its input has ended. ``run`` handles the rest of the lines."""
        self._gate.detach()

    def end(self) -> None:
        """Handle no more lines, because the session is over. Let the transport read until its end."""
        self.ended = True
        self._handle_line = _no_line  # a reference cycle with the connection would delay freeing both
        self._throttle.lift()
        self._notify_drained()
        self._gate.open()

    def lift_throttle(self) -> bool:
        """Handle all further lines without delay. Return whether one was delayed."""
        return self._throttle.lift()

    def drain(self) -> Deferred[None]:
        """Stop reading, and lift the throttle. The result fires when all lines received before were handled.

        It also fires if the client does not read its replies, because its lines are not handled meanwhile.
        """
        self._drained = drained = Deferred[None]()
        self._gate.set(PauseReason.STOPPING)
        self._throttle.lift()
        self.run()
        if self.ended:
            self._notify_drained()
        return drained

    def _notify_drained(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.callback(None)


def _no_line() -> bool:
    return False
