"""The line door: telnet, netcat and all programs that read and write lines of text."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from zope.interface import implementer

from broadcast.core.errors import TooManyConnections
from broadcast.core.events import ServerNotice
from broadcast.core.hub import GOING_DOWN
from broadcast.core.limits import DEFAULTS, RateLimiter
from broadcast.core.session import CONNECTION_LOST, Session
from broadcast.delivery.peer import StreamPeer
from broadcast.doors.line.codec import LineCodec, LineTooLong, Paused
from broadcast.doors.line.encoder import LineEncoder
from broadcast.doors.line.input_gate import InputGate, PauseReason
from broadcast.doors.line.protocol_sniffing import Sniffer, sniff_first_line
from broadcast.net.addresses import format_peer, peer_ip
from broadcast.net.refusal_log import RefusalLog
from broadcast.net.writers import StreamTransport, Writer

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from broadcast.core.hub import Hub
    from broadcast.core.interfaces import Encoder, View
    from broadcast.core.limits import Lease, Limits
    from broadcast.core.time_slice import CallSoon
    from broadcast.delivery.fanout import Fanout
    from broadcast.net.connections import Connections

NOP = b"\xff\xf1"
"""Telnet's No Operation (RFC 854)."""
LINES_PER_TURN = 256
"""Maximum number of lines of one connection that are handled in one turn of the reactor; 64 KiB can hold 65,536.

``COMMANDS_PER_LINE`` telnet commands without a line count as one line, here and in the rate limit.
"""
BACKLOG_SECONDS = 150
"""Maximum time to handle the lines of a lost connection at its rate limit. Then the rest is discarded."""


class _State(Enum):
    """The life of a connection and its session.

    ::

        event              OPEN         INPUT_ENDED  LOST    CLOSING      HALF_CLOSED
        client sends EOF   INPUT_ENDED                       HALF_CLOSED  (close)
        server's EOF sent                                    HALF_CLOSED  (close)
        session is over    CLOSING      HALF_CLOSED  CLOSED
        connection lost    LOST         LOST                 CLOSED       CLOSED

    An empty field means no change. (close): the transport closes the connection, whose loss follows.
    """

    OPEN = auto()
    """The client can send lines."""
    INPUT_ENDED = auto()
    """The client has closed its direction. The lines before that, and the replies to them, are still handled."""
    LOST = auto()
    """The connection is gone. The lines received before are still handled."""
    CLOSING = auto()
    """The session is over. Input is read and dropped until its end."""
    HALF_CLOSED = auto()
    """The session is over, and one of the directions is closed."""
    CLOSED = auto()
    """The session is over, and the connection is gone."""


class _Throttle:
    """The rate limit of one connection, with the timer that calls *on_elapsed* when the next line is allowed."""

    def __init__(self, limits: Limits, clock: IReactorTime, on_elapsed: Callable[[], None]) -> None:
        self._limiter: RateLimiter | None = RateLimiter(limits)
        self._clock = clock
        self._on_elapsed: Callable[[], None] | None = on_elapsed
        self._timer: IDelayedCall | None = None

    def start_delay(self) -> bool:
        """Start the timer if the next line is not allowed yet, and return whether it was started."""
        if self._limiter is not None and (wait := self._limiter.delay(self._clock.seconds())):
            self._timer = self._clock.callLater(wait, self._elapse)
            return True
        return False

    def consume(self) -> None:
        """Count a line, or telnet commands that cost as much."""
        if self._limiter is not None:
            self._limiter.consume(self._clock.seconds())

    def lift(self) -> bool:
        """Allow all further lines at once. Return whether one was delayed."""
        self._limiter = None
        self._on_elapsed = None  # a reference cycle with the connection would delay freeing both
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        return timer is not None

    def _elapse(self) -> None:
        self._timer = None
        if self._on_elapsed is not None:
            self._on_elapsed()


@implementer(IHalfCloseableProtocol)
class BroadcastProtocol(LineReceiver):
    """One connection: it turns bytes into lines and hands them to its session.

    The lines of a chunk are handed over one at a time, each when the session is ready for it. Until then, nothing more
    is read. ``LineReceiver.dataReceived`` is not used: it waits for CRLF, and its time is quadratic in the number of
    lines of a chunk.

    Reading also pauses while the client does not read its replies, and while it is above its rate limit. Lines that
    were received before the connection was lost are handled at the same rate.
    """

    MAX_LENGTH = DEFAULTS.line_bytes
    factory: BroadcastFactory
    transport: StreamTransport  # type: ignore[assignment]  # set before Twisted calls any method
    _log = Logger()

    def connectionMade(self) -> None:
        """Start the session, or reject the connection."""
        factory = self.factory
        self._state = _State.OPEN
        self._codec = LineCodec()
        self._sniffer: Sniffer | None = Sniffer()
        """None once the first line is complete."""
        self._gate = InputGate(self.transport)
        self._throttle = _Throttle(factory.limits, factory.clock, self._end_delay)
        self._processing = False
        """True while lines are handed to the session. Callbacks of the session may arrive meanwhile."""
        self._leave_reason = ""
        """The reason to leave with, after the last line."""
        self._drained: Deferred[None] | None = None
        self._joined_as = ""
        """The first nickname."""
        self.lost: Deferred[None] = Deferred()
        """Fires when the connection is gone."""
        self.heard_from = True
        """Whether any input has arrived since the dead-peer detector last reset this."""
        writer = factory.writer_for(self.transport)
        self._peer = StreamPeer(factory.fanout, writer, factory.encoder_for, self._ready_for_line, self._session_ended)
        self.session = Session(factory.hub, self._peer)
        self._peer.bind_session(self.session.id)
        seconds = factory.limits.nickname_seconds
        self._deadline = factory.clock.callLater(seconds, self.session.reject, f"No nickname in {seconds:g} seconds.")
        factory.connections.add(self)
        self._lease: Lease | None = None
        try:
            self._lease = factory.connections.limiter.acquire(peer_ip(self.transport.getPeer()))
        except TooManyConnections as error:
            self.session.reject(str(error))
            factory.connections.disconnect_rejected(self)
        else:
            self.session.start()

    # Input

    def dataReceived(self, data: bytes) -> None:
        """Handle a chunk of bytes."""
        self.heard_from = True
        if self._state is not _State.OPEN:
            return
        self._codec.receive_data(data)
        if self._sniffer is not None and (reason := self._sniffer.sniff_data(data)) is not None:
            self.session.reject(reason)
            return
        self._process_input()

    def lineReceived(self, line: bytes) -> None:
        """Hand one line, without its end, to the session."""
        if self._sniffer is not None:
            self._sniffer = None
            if (reason := sniff_first_line(line)) is not None:
                self.session.reject(reason)
                return
        self.session.line(line.decode("utf-8", "replace"), self.factory.wall_clock())

    def _process_input(self) -> None:
        """Hand lines to the session while it is ready for them and the client reads the replies."""
        gate = self._gate
        if self._processing or PauseReason.TURN_USED in gate or PauseReason.RATE_LIMITED in gate:
            return
        self._processing = True
        try:
            self._hand_over_lines()
        finally:
            self._processing = False
        if self._peer.congested:
            self._notify_drained()
        if self._state is _State.OPEN:
            gate.set(PauseReason.SESSION_BUSY, not self.session.ready)
            gate.set(PauseReason.CONGESTED, self._peer.congested)
            gate.apply()

    def _hand_over_lines(self) -> None:
        lines = 0
        # The state is checked too, because close() ends the connection while the session may be ready.
        while self.session.ready and not self._peer.congested and self._state in _WITH_SESSION:
            if self._throttle.start_delay():
                self._gate.set(PauseReason.RATE_LIMITED)
                self.factory.connections.throttle_count += 1
                break
            if lines == LINES_PER_TURN:
                self._gate.set(PauseReason.TURN_USED)
                self.factory.call_soon(self._start_turn)
                break
            lines += 1
            max_bytes = self.session.max_line_bytes
            line = self._codec.next_line(max_bytes)
            # Telnet replies go first, so that all replies have the order of the requests, however the input is cut.
            self._peer.send_bytes(self._codec.data_to_send())
            if line is None:
                if self._state is _State.OPEN:
                    self._notify_drained()
                else:
                    self.session.leave(self._leave_reason)
                break
            if isinstance(line, Paused):
                # An endless run of telnet commands is limited even before there is a nickname.
                self._throttle.consume()
            else:
                self._hand_over(line, max_bytes)

    def _hand_over(self, line: bytes | LineTooLong, max_bytes: int) -> None:
        self.factory.connections.lines_received += 1
        if self.session.nick:
            self._throttle.consume()
        if isinstance(line, LineTooLong):
            self.session.line_too_long(max_bytes)
        else:
            self.lineReceived(line)

    def _start_turn(self) -> None:
        self._gate.set(PauseReason.TURN_USED, False)
        self._process_input()

    def _end_delay(self) -> None:
        self._gate.set(PauseReason.RATE_LIMITED, False)
        self._process_input()

    def _lift_throttle(self) -> bool:
        """Handle all further lines without delay. Return whether one was delayed."""
        self._gate.set(PauseReason.RATE_LIMITED, False)
        return self._throttle.lift()

    # Callbacks of the session

    @property
    def _session_over(self) -> bool:
        return self._state not in _WITH_SESSION

    def _ready_for_line(self) -> None:
        if not self._joined_as and self.session.nick:
            self._joined_as = self.session.nick
            if self._state is not _State.LOST:  # once it is lost, the deadline is that of the backlog
                self._cancel_deadline()
            self._log.info("{nick} joined from {where}", nick=self._joined_as, where=self._where())
        self._process_input()

    def _session_ended(self) -> None:
        """Close the connection: the session is over, and everything for the client was sent or queued."""
        next_state = _AFTER_SESSION.get(self._state)
        if next_state is None:
            return
        self._state = next_state
        self._cancel_deadline()
        if self._lease is None:
            self.factory.refusal_log.record(self.session.leave_reason)
            return
        self._log_leaving()
        self._notify_drained()
        if next_state is _State.CLOSING:
            self._gate.open()
        elif next_state is _State.CLOSED:
            self._release()

    def _log_leaving(self) -> None:
        # The message is a format string, so that a JSON log has the values in fields of their own.
        nick, first_nick, reason = self.session.nick, self._joined_as, self.session.leave_reason
        subject = "{nick}" if nick else "somebody without a nickname"
        if first_nick and nick != first_nick:
            subject += ", who came as {came_as},"
        message = f"{subject} left{': {why}' if reason else ''} ({{where}})"
        self._log.info(message, nick=nick, came_as=first_nick, why=reason, where=self._where())

    # Callbacks of the transport

    def readConnectionLost(self) -> None:
        """Handle the client's EOF. The lines before it are still handled, and the replies still reach the client."""
        if self._state is _State.OPEN:
            self._state = _State.INPUT_ENDED
            self._codec.receive_eof()
            self._process_input()
        else:
            self._direction_closed()

    def writeConnectionLost(self) -> None:
        """Handle the end of the server's direction: everything has been sent."""
        self._direction_closed()

    def _direction_closed(self) -> None:
        if self._state is _State.CLOSING:
            self._state = _State.HALF_CLOSED
        elif self._state is _State.HALF_CLOSED:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Handle the loss of the connection. The lines before it are still handled."""
        if self._state is _State.OPEN:
            self._codec.receive_eof()
            if not isinstance(reason.value, ConnectionDone):
                self._leave_reason = CONNECTION_LOST
        self._state = _State.CLOSED if self._session_over else _State.LOST
        self._peer.connection_lost()
        self._process_input()
        self.factory.connections.remove(self)
        if self._state is _State.LOST:
            self.factory.connections.add_backlogged(self)
            self._cancel_deadline()
            self._deadline = self.factory.clock.callLater(BACKLOG_SECONDS, self._discard_backlog)
        else:
            self._release()
        self.lost.callback(None)

    def _discard_backlog(self) -> None:
        """Discard the input that is still queued behind the rate limit."""
        if self._lift_throttle():
            self._log.info("{nick} was not heard to the end: too many lines.", nick=self.session.nick)
        self._codec = LineCodec()
        self._codec.receive_eof()
        self._process_input()

    def _release(self) -> None:
        """Release everything that this connection holds, once it is gone and all of its input was handled."""
        self._cancel_deadline()
        self._lift_throttle()
        self.factory.connections.remove_backlogged(self)
        self._peer.release()
        if self._lease is not None:
            self._lease.release()

    def _cancel_deadline(self) -> None:
        if self._deadline.active():
            self._deadline.cancel()

    def _where(self) -> str:
        return format_peer(self.transport.getPeer())

    # Calls of the server

    def send_noop(self) -> None:
        """Send a NOP to a telnet client, which does not display it. netcat would."""
        if self._codec.negotiated and not self._peer.lagging:
            self._peer.send_bytes(NOP)

    def drain(self) -> Deferred[None]:
        """Stop reading. The result fires when all lines received before were handled.

        It also fires if the client does not read its replies, because its lines are not handled meanwhile.
        """
        self._drained = drained = Deferred[None]()
        self._gate.set(PauseReason.STOPPING)
        self._lift_throttle()
        self._process_input()
        if self._session_over:
            self._notify_drained()
        return drained

    def _notify_drained(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.callback(None)

    def send_shutdown_notice(self) -> None:
        """Send the notice to a client that has a nickname. ``close`` sends it to the others."""
        if self.session.nick:
            self._peer.send(ServerNotice(GOING_DOWN))

    def close(self) -> None:
        """Close the connection once everything is delivered. The room receives no notice of it.

        A client without a nickname receives the notice now, because it does not receive that of the room.
        """
        self.session.reject(GOING_DOWN)
        self._peer.close()


_WITH_SESSION = (_State.OPEN, _State.INPUT_ENDED, _State.LOST)
_AFTER_SESSION = {
    _State.OPEN: _State.CLOSING,
    _State.INPUT_ENDED: _State.HALF_CLOSED,
    _State.LOST: _State.CLOSED,
}


class BroadcastFactory(Factory):
    """Makes the protocols of the line door, and their encoders.

    *clock* is monotonic, for deadlines. *call_soon* runs a function in a later turn of the reactor
    (``reactor.callFromThread``). *wall_clock* returns the time of day in seconds since the epoch, which may jump.
    *writer_for* makes the writer of a connection.
    """

    protocol = BroadcastProtocol  # type: ignore[assignment]  # its factory has a narrower type than in Twisted
    noisy = False

    def __init__(
        self,
        hub: Hub,
        fanout: Fanout,
        connections: Connections,
        clock: IReactorTime,
        call_soon: CallSoon,
        wall_clock: Callable[[], float],
        writer_for: Callable[[StreamTransport], Writer],
    ) -> None:
        self.hub = hub
        self.fanout = fanout
        self.connections = connections
        self.clock = clock
        self.call_soon = call_soon
        self.wall_clock = wall_clock
        self.writer_for = writer_for
        self.limits = hub.settings.limits
        self.refusal_log = RefusalLog(clock)
        self._encoders: dict[View, Encoder] = {}

    def encoder_for(self, view: View) -> Encoder:
        """Return the encoder for *view*, the same one each time: subscribers with one encoder share its bytes."""
        if view not in self._encoders:
            self._encoders[view] = LineEncoder(view, self.wall_clock)
        return self._encoders[view]
