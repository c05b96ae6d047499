"""The loop that hands the input of one connection to its session, line by line."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final, Protocol
from weakref import proxy

from twisted.internet.defer import Deferred

from broadcast.core.limits import RateLimiter
from broadcast.net.input_gate import InputGate, PauseReason

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from broadcast.core.time_slice import CallSoon
    from broadcast.net.connections import Connections
    from broadcast.net.writers import StreamTransport

LINES_PER_TURN: Final = 256
"""Maximum number of lines of one connection that are handled in one turn of the reactor; 64 KiB can hold 65,536."""
READ_AHEAD_BYTES: Final = 16 * 1024
"""Number of buffered bytes from which a connection above its rate limit is not read from.

Up to there, the server reads on, so that it knows how many lines wait and whether more will come.
"""
NOTICE_SECONDS: Final = 0.25
"""Delay of the notice about lines that wait, in seconds. The rest of a paste arrives in that time, or its end."""


class _Peer(Protocol):
    """The output of a session."""

    @property
    def congested(self) -> bool:
        """Whether the client reads so slowly that nothing more should be queued for it alone."""


class LineConsumer(Protocol):
    """The session, as the loop sees it."""

    @property
    def ready(self) -> bool:
        """Whether the session accepts the next line."""

    @property
    def peer(self) -> _Peer:
        """The output of the session."""


class LineSource(Protocol):
    """The door's side of the loop: a decoder of lines."""

    @property
    def buffered_bytes(self) -> int:
        """Number of bytes that were received and not decoded yet."""

    def handle_line(self) -> bool:
        """Hand the next line to the session. Return whether there was one."""

    def notify_queue(self) -> None:
        """Tell the client how many lines wait for its rate limit, if any do. Called at most once per queue."""


class InputLoop:
    """The flow control of one connection's input. It decides when the next line is handled, and when to read more.

    A line waits while *session* is busy, the client does not read its replies, or the client is above its rate limit.
    """

    def __init__(
        self,
        session: LineConsumer,
        transport: StreamTransport,
        connections: Connections,
        clock: IReactorTime,
        call_soon: CallSoon,
        source: LineSource,
    ) -> None:
        self._session = session
        self._peer = session.peer
        self._connections = connections
        self._clock = clock
        self._call_soon = call_soon
        self._source = proxy(source)  # it owns this loop; a reference cycle would delay freeing both
        self._gate = InputGate(transport)
        limits = connections.limiter.limits
        rate = limits.lines_per_second
        self._limiter = RateLimiter(limits.paste_lines, rate) if rate < inf else None
        self._delay: IDelayedCall | None = None
        """The end of the time for which the next line waits for the rate limit; None while it does not wait."""
        self._notice: IDelayedCall | None = None
        """The notice about the lines that wait for the rate limit, sent or not; None while there are no such lines."""
        self._running = False
        """True while lines are handled. Callbacks of the session may call ``run`` meanwhile."""
        self.ended = False
        """Whether the session is over."""
        self._drained: Deferred[None] | None = None

    @property
    def is_reading(self) -> bool:
        """Whether nothing keeps the server from reading."""
        return self._gate.is_open

    def run(self) -> None:
        """Handle lines until one has to wait or none is left."""
        gate = self._gate
        if self._running or (not gate.is_open and PauseReason.TURN_USED in gate):
            return
        if self._delay is not None:
            self._limit_read_ahead()
            gate.apply()
            return
        self._running = True
        try:
            self._handle_lines()
        finally:
            self._running = False
        if self.ended:
            return  # the source may be freed by now
        congested = self._peer.congested
        if gate.is_open and self._session.ready and not congested:
            return  # nearly always: no reason has come or gone
        if congested:
            self._notify_drained()
        # Most clients send nothing before the reply. A pause only once they do saves two system calls for each reply.
        gate.set(PauseReason.SESSION_BUSY, not self._session.ready and self._source.buffered_bytes > 0)
        gate.set(PauseReason.CONGESTED, congested)
        gate.apply()

    def _handle_lines(self) -> None:
        session, peer, handle_line = self._session, self._peer, self._source.handle_line
        lines = 0
        # A call of ``end`` can end the connection while the session is ready.
        while session.ready and not peer.congested and not self.ended:
            if self._limiter is not None and (wait := self._limiter.delay(self._clock.seconds())):
                self._start_delay(wait)
                break
            if lines == LINES_PER_TURN:
                self._gate.set(PauseReason.TURN_USED)
                self._call_soon(self._start_turn)
                break
            lines += 1
            if not handle_line():
                self._cancel_notice()
                self._notify_drained()
                break

    def consume(self) -> None:
        """Count a line, or input that costs as much, toward the rate limit."""
        if self._limiter is not None:
            self._limiter.consume(self._clock.seconds())

    def _start_delay(self, seconds: float) -> None:
        self._connections.throttle_count += 1
        self._limit_read_ahead()
        self._delay = self._clock.callLater(seconds, self._end_delay)
        if self._notice is None:
            self._notice = self._clock.callLater(NOTICE_SECONDS, self._source.notify_queue)

    def _limit_read_ahead(self) -> None:
        self._gate.set(PauseReason.RATE_LIMITED, self._source.buffered_bytes >= READ_AHEAD_BYTES)

    def _end_delay(self) -> None:
        self._delay = None
        self._gate.set(PauseReason.RATE_LIMITED, False)
        self.run()

    def _cancel_notice(self) -> None:
        notice, self._notice = self._notice, None
        if notice is not None and notice.active():
            notice.cancel()

    def _start_turn(self) -> None:
        if not self.ended:
            self._gate.set(PauseReason.TURN_USED, False)
            self.run()

    def end_input(self) -> None:
        """Leave the transport as it is from here on: its input has ended. ``run`` handles the rest of the lines."""
        self._gate.detach()

    def end(self) -> None:
        """Handle no more lines, because the session is over. Let the transport read until its end."""
        self.ended = True
        self.lift_throttle()
        self._cancel_notice()
        self._notify_drained()
        self._gate.open()

    def lift_throttle(self) -> bool:
        """Handle all further lines without delay. Return whether one was delayed."""
        self._gate.set(PauseReason.RATE_LIMITED, False)
        self._limiter = None
        delay, self._delay = self._delay, None
        if delay is not None:
            delay.cancel()
        return delay is not None

    def drain(self) -> Deferred[None]:
        """Stop reading, and lift the throttle. The result fires when all lines received before were handled.

        It also fires if the client does not read its replies, because its lines are not handled meanwhile.
        """
        self._drained = drained = Deferred[None]()
        self._gate.set(PauseReason.STOPPING)
        self.lift_throttle()
        self.run()
        if self.ended:
            self._notify_drained()
        return drained

    def _notify_drained(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.callback(None)
