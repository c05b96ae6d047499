"""The line door: telnet, netcat and every program that reads and writes lines."""

from __future__ import annotations

from collections.abc import Callable
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
from broadcast.doors.line import protocol_sniffing as strangers
from broadcast.doors.line.codec import LineCodec, LineTooLong, Paused
from broadcast.doors.line.encoder import LineEncoder
from broadcast.net.addresses import format_peer, peer_ip
from broadcast.net.refusal_log import RefusalLog
from broadcast.net.writers import StreamTransport, Writer

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from broadcast.core.hub import Hub
    from broadcast.core.interfaces import Encoder, View
    from broadcast.core.limits import Lease
    from broadcast.core.time_slice import CallSoon
    from broadcast.delivery.fanout import Fanout
    from broadcast.net.connections import Connections

NOP = b"\xff\xf1"
"""Telnet's No Operation (RFC 854)."""
LINES_PER_TURN = 256
"""So many lines of one peer are worked on before the others have their turn (64 KiB can hold 65,536).

A line's worth of telnet commands without a line (``framing.PIECES``) counts as one, here and in the allowance.
"""
BACKLOG_SECONDS = 150
"""So long a connection that is gone goes on saying what it had sent too fast; then nobody waits for the rest."""


@implementer(IHalfCloseableProtocol)
class BroadcastProtocol(LineReceiver):
    """One connection: bytes to lines, lines to a session.

    The lines of a chunk are taken out one at a time, each when the session is ready for it; until then nothing more is
    read. (``LineReceiver.dataReceived`` would wait for CRLF, and is quadratic in the number of lines of a chunk.)

    While the peer does not read what it is sent for itself, nothing is read from it either; and who says more than the
    limits allow is read more slowly. What they sent before the connection was lost is said at the same pace.
    """

    MAX_LENGTH = DEFAULTS.line_bytes
    factory: BroadcastFactory
    transport: StreamTransport  # type: ignore[assignment]  # there is one while Twisted calls this
    _log = Logger()

    def connectionMade(self) -> None:
        """Open the session."""
        factory = self.factory
        self._codec = LineCodec()
        self._sniff_buffer: bytes | None = b""
        self._eof_reason: str | None = None
        self._connected = self._reading = True
        self._session_over = self._eof_sent = self._turn_pending = self._pumping = False
        self._rate_limiter: RateLimiter | None = RateLimiter(factory.limits)
        self._throttle_timer: IDelayedCall | None = None
        self._drained: Deferred[None] | None = None
        self._joined_as = ""
        self.lost: Deferred[None] = Deferred()
        """Fires when the connection is gone."""
        self.heard_from = True
        """Whether anything has come since the heartbeat looked last."""
        outlet = factory.writer_for(self.transport)
        self._peer = StreamPeer(factory.fanout, outlet, factory.encoder_for, self._ready_for_line, self._session_ended)
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

    # What comes in

    def dataReceived(self, data: bytes) -> None:
        """Take in a chunk."""
        self.heard_from = True
        if self._session_over:
            return
        self._codec.receive_data(data)
        if self._sniff_buffer is not None and not self.session.nick:
            self._sniff_buffer = (self._sniff_buffer + data[: strangers.PREFIX_BYTES])[: strangers.PREFIX_BYTES]
            if (introduction := strangers.sniff_prefix(self._sniff_buffer)) is not None:
                self.session.reject(introduction)
                return
        self._process_input()

    def lineReceived(self, line: bytes) -> None:
        """Hand one line, without its end, to the session."""
        if self._sniff_buffer is not None:
            self._sniff_buffer = None
            if (introduction := strangers.sniff_first_line(line)) is not None:
                self.session.reject(introduction)
                return
        self.session.line(line.decode("utf-8", "replace"), self.factory.wall_clock())

    def readConnectionLost(self) -> None:
        """The end of their input: everything before it counts, and what is answered still reaches them."""
        self._finish("")
        if self._session_over:
            self._close_if_done()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone; what they said before still counts."""
        self._connected = False
        self._peer.connection_lost()
        self._finish("" if isinstance(reason.value, ConnectionDone) else CONNECTION_LOST)
        self.factory.connections.remove(self)
        if self._session_over:
            self._release()
        else:
            self.factory.connections.add_backlogged(self)
            self._cancel_deadline()
            self._deadline = self.factory.clock.callLater(BACKLOG_SECONDS, self._discard_backlog)
        self.lost.callback(None)

    def _discard_backlog(self) -> None:
        """Nobody waits any longer for what they said too fast."""
        if self._throttle_timer is not None:
            self._log.info("{nick} was not heard to the end: too many lines.", nick=self.session.nick)
        self._codec = LineCodec()
        self._codec.receive_eof()
        self._lift_throttle()
        self._process_input()

    def _finish(self, why: str) -> None:
        if self._eof_reason is None:
            self._eof_reason = why
            self._codec.receive_eof()
        self._process_input()

    def _process_input(self) -> None:
        """Hand lines to the session while it is ready for them and the peer reads what it is sent."""
        if self._turn_pending or self._pumping or self._throttle_timer is not None:
            return
        self._pumping = True
        try:
            self._take_lines()
        finally:
            self._pumping = False
        if self._peer.congested:
            self._notify_drained()
        self._update_reading()

    def _take_lines(self) -> None:
        """One after the other: who is told to proceed by what a line does goes on when that line is done."""
        lines = 0
        while self.session.ready and not self._peer.congested and not self._session_over:
            if self._rate_limiter is not None and (wait := self._rate_limiter.delay(self.factory.clock.seconds())):
                self._throttle_timer = self.factory.clock.callLater(wait, self._resume)
                self.factory.connections.throttle_count += 1
                break
            if lines == LINES_PER_TURN:
                self._turn_pending = True
                self.factory.call_soon(self._go_on)
                break
            lines += 1
            limit = self.session.max_line_bytes
            line = self._codec.next_line(limit)
            # In the order of what was asked, however it was cut into chunks: before what this line is answered with.
            self._peer.send_bytes(self._codec.data_to_send())
            if line is None:
                if self._eof_reason is not None:
                    self.session.leave(self._eof_reason)
                else:
                    self._notify_drained()
                break
            if isinstance(line, Paused):
                self._consume_rate()
            else:
                self._hand_over(line, limit)

    def _hand_over(self, line: bytes | LineTooLong, limit: int) -> None:
        self.factory.connections.lines_received += 1
        if self.session.nick:
            self._consume_rate()
        if isinstance(line, LineTooLong):
            self.session.line_too_long(limit)
        else:
            self.lineReceived(line)

    def _consume_rate(self) -> None:
        """A line has been taken, or telnet commands that cost as much: with a nickname or without, they have no end."""
        if self._rate_limiter is not None:
            self._rate_limiter.consume(self.factory.clock.seconds())

    def _go_on(self) -> None:
        self._turn_pending = False
        self._process_input()

    def _resume(self) -> None:
        self._throttle_timer = None
        self._process_input()

    def _lift_throttle(self) -> None:
        """Take what comes as it comes from here on."""
        self._rate_limiter = None
        if self._throttle_timer is not None:
            self._throttle_timer.cancel()
            self._throttle_timer = None

    def _update_reading(self) -> None:
        """Read from the peer or not, as things are now. What is over is read, and dropped, to see its end."""
        wanted = self._session_over or (
            self.session.ready
            and not self._peer.congested
            and not self._turn_pending
            and self._throttle_timer is None
            and not self.factory.connections.stopping
        )
        if self._connected and self._eof_reason is None and wanted is not self._reading:
            self._reading = wanted
            if wanted:
                self.transport.resumeProducing()
            else:
                self.transport.pauseProducing()

    # What the session tells

    def _ready_for_line(self) -> None:
        if not self._joined_as and self.session.nick:
            self._joined_as = self.session.nick
            if self._connected:  # else it is that of what they have said
                self._cancel_deadline()
            self._log.info("{nick} joined from {where}", nick=self._joined_as, where=self._where())
        self._process_input()

    def _session_ended(self) -> None:
        """The session is over, and everything that it says has been sent."""
        if self._session_over:
            return
        self._session_over = True
        self._cancel_deadline()
        nick, why = self.session.nick, self.session.leave_reason
        if self._lease is None:
            self.factory.refusal_log.record(why)
            return
        # The text is put together of what it says, so that each thing is a field of its own too.
        who = "{nick}" if nick else "somebody without a nickname"
        if self._joined_as and nick != self._joined_as:
            who += ", who came as {came_as},"
        because = ": {why}" if why else ""
        came_as, where = self._joined_as, self._where()
        self._log.info(f"{who} left{because} ({{where}})", nick=nick, came_as=came_as, why=why, where=where)
        self._notify_drained()
        self._update_reading()
        if not self._connected:
            self._release()

    def _release(self) -> None:
        """The connection is gone, and nothing that came over it is left to be said."""
        self._cancel_deadline()
        self._lift_throttle()
        self.factory.connections.remove_backlogged(self)
        if self._lease is not None:
            self._lease.release()

    def _where(self) -> str:
        """For the log."""
        return format_peer(self.transport.getPeer())

    def _cancel_deadline(self) -> None:
        if self._deadline.active():
            self._deadline.cancel()

    # What the heartbeat wants

    def send_noop(self) -> None:
        """Let something come to a telnet that shows nothing there; netcat would show it."""
        if self._codec.negotiated and not self._peer.lagging:
            self._peer.send_bytes(NOP)

    # What the transport tells

    def writeConnectionLost(self) -> None:
        """Everything has been sent; close, if their direction is closed too."""
        self._eof_sent = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._eof_sent and self._eof_reason is not None:
            self.transport.loseConnection()

    # The end of the server

    def drain(self) -> Deferred[None]:
        """Read nothing more; fires when the session has taken every line that has come in.

        Who does not read what they are sent, and so is not listened to either, is not waited for.
        """
        self._drained = drained = Deferred[None]()
        self._lift_throttle()
        self._process_input()
        if self._session_over:
            self._notify_drained()
        return drained

    def _notify_drained(self) -> None:
        """Whatever has come in was taken."""
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.callback(None)

    def send_shutdown_notice(self) -> None:
        """Send the notice to a client that has a nickname. Other clients receive it when the connection closes."""
        if self.session.nick:
            self._peer.send(ServerNotice(GOING_DOWN))

    def close(self) -> None:
        """Close the connection once everything is delivered; nobody is told that they left.

        Who has no nickname yet was not told in the room why.
        """
        self.session.reject(GOING_DOWN)
        self._peer.close()


class BroadcastFactory(Factory):
    """Makes the protocols of the line door, and holds the connected ones.

    *clock* is for deadlines, and goes steadily. *soon* runs a function in a later turn of the reactor
    (``reactor.callFromThread``), *wall* tells the time of day, in seconds since the epoch, which may jump, *outlet*
    makes the outlet of a connection.
    """

    protocol = BroadcastProtocol  # type: ignore[assignment]  # its factory is typed closer than Twisted's protocols'
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
        self.wall_clock = wall_clock
        self.writer_for = writer_for
        self.call_soon = call_soon
        self.limits = hub.settings.limits
        self.refusal_log = RefusalLog(clock)
        self._encoders: dict[View, Encoder] = {}

    def encoder_for(self, view: View) -> Encoder:
        """The one wire of this door for *view*."""
        if view not in self._encoders:
            self._encoders[view] = LineEncoder(view, self.wall_clock)
        return self._encoders[view]
