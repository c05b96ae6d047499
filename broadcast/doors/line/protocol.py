"""The line door: telnet, netcat and every program that reads and writes lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from zope.interface import implementer

from broadcast.core.hub import GOING_DOWN
from broadcast.core.limits import DEFAULTS, Allowance, Connections
from broadcast.core.session import LOST, Session
from broadcast.delivery.peer import StreamPeer
from broadcast.doors.line import protocol_sniffing as strangers
from broadcast.doors.line.codec import Again, LineCodec, Overlong
from broadcast.doors.line.encoder import LineWire
from broadcast.net.addresses import host, whereabouts
from broadcast.net.refusal_log import Refusals
from broadcast.net.writers import Outlet, StreamTransport

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from broadcast.core.hub import Hub
    from broadcast.core.interfaces import View, Wire
    from broadcast.core.time_slice import Soon
    from broadcast.delivery.fanout import Fanout

NOP = b"\xff\xf1"
"""Telnet's No Operation (RFC 854)."""
LINES_A_TURN = 256
"""So many lines of one peer are worked on before the others have their turn (64 KiB can hold 65,536).

A line's worth of telnet commands without a line (``framing.PIECES``) counts as one, here and in the allowance.
"""
UNHEARD_SECONDS = 150
"""So long a connection that is gone goes on saying what it had sent too fast; then nobody waits for the rest."""
REFUSED_AT_ONCE = 32
"""So many may wait for the line that says why they are refused, as over TLS those do who never end the handshake. They
are counted in no limit, so they must take fewer files than those that are not for connections."""


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
    _log = Logger()

    def connectionMade(self) -> None:
        """Open the session."""
        factory = self.factory
        self._transport = cast(StreamTransport, self.transport)
        self._codec = LineCodec()
        self._start: bytes | None = b""
        self._why: str | None = None
        self._connected = self._reading = True
        self._over = self._written = self._deferred = self._pumping = False
        self._allowance: Allowance | None = Allowance(factory.limits)
        self._pause: IDelayedCall | None = None
        self._drained: Deferred[None] | None = None
        self._came_as = ""
        self.lost: Deferred[None] = Deferred()
        """Fires when the connection is gone."""
        self.heard = True
        """Whether anything has come since the heartbeat looked last."""
        outlet = factory.outlet(self._transport)
        self._peer = StreamPeer(factory.fanout, outlet, factory.wire, self._proceed, self._end)
        self.session = Session(factory.hub, self._peer)
        self._peer.open(self.session.id)
        seconds = factory.limits.nickname_seconds
        self._deadline = factory.clock.callLater(
            seconds, self.session.turn_away, f"No nickname in {seconds:g} seconds."
        )
        factory.connections.add(self)
        self._host = host(self._transport.getPeer())
        refused = factory.admitted.enter(self._host)
        self._counted = refused is None
        if refused is None:
            self.session.greet()
        else:
            self.session.turn_away(refused)
            # At once: whoever opens too many must not hold them open. The system still delivers the line.
            factory.refused.add(self)
            if len(factory.refused) > REFUSED_AT_ONCE:
                self._transport.abortConnection()
            else:
                self._transport.loseConnection()

    # What comes in

    def dataReceived(self, data: bytes) -> None:
        """Take in a chunk."""
        self.heard = True
        if self._over:
            return
        self._codec.feed(data)
        if self._start is not None and not self.session.nick:
            self._start = (self._start + data[: strangers.ENOUGH])[: strangers.ENOUGH]
            if (introduction := strangers.unfinished(self._start)) is not None:
                self.session.turn_away(introduction)
                return
        self._pump()

    def lineReceived(self, line: bytes) -> None:
        """Hand one line, without its end, to the session."""
        if self._start is not None:
            self._start = None
            if (introduction := strangers.finished(line)) is not None:
                self.session.turn_away(introduction)
                return
        self.session.line(line.decode("utf-8", "replace"), self.factory.wall())

    def readConnectionLost(self) -> None:
        """The end of their input: everything before it counts, and what is answered still reaches them."""
        self._finish("")
        if self._over:
            self._close_if_done()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone; what they said before still counts."""
        self._connected = False
        self._peer.lose()
        self._finish("" if isinstance(reason.value, ConnectionDone) else LOST)
        self.factory.connections.discard(self)
        self.factory.refused.discard(self)
        if self._over:
            self._forget()
        else:
            self.factory.unheard.add(self)
            self._cancel_deadline()
            self._deadline = self.factory.clock.callLater(UNHEARD_SECONDS, self._give_up)
        self.lost.callback(None)

    def _give_up(self) -> None:
        """Nobody waits any longer for what they said too fast."""
        if self._pause is not None:
            self._log.info("{nick} was not heard to the end: too many lines.", nick=self.session.nick)
        self._codec = LineCodec()
        self._codec.finish()
        self._hurry()
        self._pump()

    def _finish(self, why: str) -> None:
        if self._why is None:
            self._why = why
            self._codec.finish()
        self._pump()

    def _pump(self) -> None:
        """Hand lines to the session while it is ready for them and the peer reads what it is sent."""
        if self._deferred or self._pumping or self._pause is not None:
            return
        self._pumping = True
        try:
            self._take_lines()
        finally:
            self._pumping = False
        if self._peer.full:
            self._drain()
        self._adjust()

    def _take_lines(self) -> None:
        """One after the other: who is told to proceed by what a line does goes on when that line is done."""
        lines = 0
        while self.session.ready and not self._peer.full and not self._over:
            if self._allowance is not None and (wait := self._allowance.wait(self.factory.clock.seconds())):
                self._pause = self.factory.clock.callLater(wait, self._resume)
                self.factory.slowed += 1
                break
            if lines == LINES_A_TURN:
                self._deferred = True
                self.factory.soon(self._go_on)
                break
            lines += 1
            limit = self.session.limit
            line = self._codec.take(limit)
            # In the order of what was asked, however it was cut into chunks: before what this line is answered with.
            self._peer.send(self._codec.answers())
            if line is None:
                if self._why is not None:
                    self.session.leave(self._why)
                else:
                    self._drain()
                break
            if isinstance(line, Again):
                self._spend()
            else:
                self._hand_over(line, limit)

    def _hand_over(self, line: bytes | Overlong, limit: int) -> None:
        self.factory.lines += 1
        if self.session.nick:
            self._spend()
        if isinstance(line, Overlong):
            self.session.overlong(limit)
        else:
            self.lineReceived(line)

    def _spend(self) -> None:
        """A line has been taken, or telnet commands that cost as much: with a nickname or without, they have no end."""
        if self._allowance is not None:
            self._allowance.spend(self.factory.clock.seconds())

    def _go_on(self) -> None:
        self._deferred = False
        self._pump()

    def _resume(self) -> None:
        self._pause = None
        self._pump()

    def _hurry(self) -> None:
        """Take what comes as it comes from here on."""
        self._allowance = None
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def _adjust(self) -> None:
        """Read from the peer or not, as things are now. What is over is read, and dropped, to see its end."""
        wanted = self._over or (
            self.session.ready
            and not self._peer.full
            and not self._deferred
            and self._pause is None
            and not self.factory.stopping
        )
        if self._connected and self._why is None and wanted is not self._reading:
            self._reading = wanted
            if wanted:
                self._transport.resumeProducing()
            else:
                self._transport.pauseProducing()

    # What the session tells

    def _proceed(self) -> None:
        if not self._came_as and self.session.nick:
            self._came_as = self.session.nick
            if self._connected:  # else it is that of what they have said
                self._cancel_deadline()
            self._log.info("{nick} joined from {where}", nick=self._came_as, where=self._where())
        self._pump()

    def _end(self) -> None:
        """The session is over, and everything that it says has been sent."""
        if self._over:
            return
        self._over = True
        self._cancel_deadline()
        nick, why = self.session.nick, self.session.why
        if not self._counted:
            self.factory.refusals.note(why)
            return
        # The text is put together of what it says, so that each thing is a field of its own too.
        who = "{nick}" if nick else "somebody without a nickname"
        if self._came_as and nick != self._came_as:
            who += ", who came as {came_as},"
        because = ": {why}" if why else ""
        came_as, where = self._came_as, self._where()
        self._log.info(f"{who} left{because} ({{where}})", nick=nick, came_as=came_as, why=why, where=where)
        self._drain()
        self._adjust()
        if not self._connected:
            self._forget()

    def _forget(self) -> None:
        """The connection is gone, and nothing that came over it is left to be said."""
        self._cancel_deadline()
        self._hurry()
        self.factory.unheard.discard(self)
        if self._counted:
            self._counted = False
            self.factory.admitted.leave(self._host)

    def _where(self) -> str:
        """For the log."""
        return whereabouts(self._transport.getPeer())

    def _cancel_deadline(self) -> None:
        if self._deadline.active():
            self._deadline.cancel()

    # What the heartbeat wants

    def nudge(self) -> None:
        """Let something come to a telnet that shows nothing there; netcat would show it."""
        if self._codec.negotiated and not self._peer.lagging:
            self._peer.send(NOP)

    # What the transport tells

    def writeConnectionLost(self) -> None:
        """Everything has been sent; close, if their direction is closed too."""
        self._written = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._written and self._why is not None:
            self._transport.loseConnection()

    # The end of the server

    def drain(self) -> Deferred[None]:
        """Read nothing more; fires when the session has taken every line that has come in.

        Who does not read what they are sent, and so is not listened to either, is not waited for.
        """
        self._drained = drained = Deferred[None]()
        self._hurry()
        self._pump()
        if self._over:
            self._drain()
        return drained

    def _drain(self) -> None:
        """Whatever has come in was taken."""
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.callback(None)

    def close(self) -> None:
        """Close the connection once everything is delivered; nobody is told that they left.

        Who has no nickname yet was not told in the room why.
        """
        self.session.turn_away(GOING_DOWN)
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
        clock: IReactorTime,
        soon: Soon,
        wall: Callable[[], float],
        outlet: Callable[[StreamTransport], Outlet],
    ) -> None:
        self.hub = hub
        self.fanout = fanout
        self.clock = clock
        self.wall = wall
        self.outlet = outlet
        self.soon = soon
        self.limits = hub.settings.limits
        self.admitted = Connections(self.limits)
        self.connections: set[BroadcastProtocol] = set()
        self.unheard: set[BroadcastProtocol] = set()
        """Those whose connection is gone, while what they said is still to be told."""
        self.stopping = False
        self.lines = 0
        """How many lines people have typed."""
        self.slowed = 0
        """How often nothing was read from somebody for a while, because they typed too fast."""
        self.refused: set[BroadcastProtocol] = set()
        """Those who were not let in, and are not gone yet."""
        self.refusals = Refusals(clock)
        self._wires: dict[View, Wire] = {}

    def wire(self, view: View) -> Wire:
        """The one wire of this door for *view*."""
        if view not in self._wires:
            self._wires[view] = LineWire(view, self.wall)
        return self._wires[view]

    def drain(self) -> Deferred[list[tuple[bool, None]]]:
        """Read nothing more from anybody; fires when the sessions have taken every line that has come in."""
        self.stopping = True
        return DeferredList([connection.drain() for connection in [*self.connections, *self.unheard]])

    def disconnect(self) -> Deferred[list[tuple[bool, None]]]:
        """Close every connection once everything is delivered; fires when the last one is gone."""
        connections = list(self.connections)
        for connection in connections:
            connection.close()
        return DeferredList([connection.lost for connection in connections])
