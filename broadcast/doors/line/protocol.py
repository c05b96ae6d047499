"""The line door: telnet, netcat and all other clients that read and write lines of text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias, cast
from weakref import proxy

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from zope.interface import implementer

from broadcast.core.errors import Banned, TooManyConnections
from broadcast.core.events import CommandReply, ServerNotice
from broadcast.core.interfaces import View
from broadcast.core.limits import DEFAULTS
from broadcast.core.session import CONNECTION_LOST, Session, greeting
from broadcast.delivery.peer import StreamPeer
from broadcast.doors.line.codec import LineCodec, LineTooLong, Paused
from broadcast.doors.line.encoder import SHOW_INPUT, LineEncoder, format_queue
from broadcast.doors.line.newcomer import Newcomer
from broadcast.net.addresses import format_source, peer_ip, source_of
from broadcast.net.connection_log import RejectionLog, VisitLog
from broadcast.net.input_loop import InputLoop
from broadcast.net.stream_connection import State, StreamConnection
from broadcast.net.tcp_info import seconds_unanswered
from broadcast.net.writers import StreamTransport, Writer, peek_byte

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from broadcast.core.hub import Hub
    from broadcast.core.interfaces import Encoder
    from broadcast.core.membership import Link
    from broadcast.core.settings import Settings
    from broadcast.core.time_slice import CallSoon
    from broadcast.delivery.subscriber import Registry
    from broadcast.net.connections import Connections

GHOST_SECONDS: Final = 10
"""Time without an acknowledgement of data after which the nickname can be taken over from the same address."""
NOP = b"\xff\xf1"
"""Telnet's No Operation (RFC 854)."""
_LINE_END = b"\r\n"
"""The end of the prompt for a nickname, if the client speaks the program protocol."""
_JSON_START = b"{"
"""The first byte of a client that speaks the program protocol. No nickname begins with it."""


HandOver: TypeAlias = "Callable[[BroadcastProtocol, Writer, bytes], StreamConnection]"
"""Makes the successor of a connection, registers it in its place, and gives it the writer.

The successor sends the bytes before its own first output.
"""


@implementer(IHalfCloseableProtocol)
class BroadcastProtocol(StreamConnection, LineReceiver):
    """One connection: it turns bytes into lines and hands them to its session.

    ``InputLoop`` asks for one line at a time and decides when the transport is read from. Lines that were received
    before the connection was lost are handled at the same rate. ``LineReceiver.dataReceived`` is not used: it waits for
    CRLF, and its time is quadratic in the number of lines of a chunk.
    """

    MAX_LENGTH = DEFAULTS.line_bytes
    factory: BroadcastFactory
    transport: StreamTransport  # type: ignore[assignment]  # set before Twisted calls any method
    peer: StreamPeer
    _log = Logger()

    def connectionMade(self) -> None:
        """Start the session, or reject the connection."""
        factory = self.factory
        self._connections = factory.connections
        self._newcomer: Newcomer | None = None
        """The checks of a new client; None once it has sent a line to the room."""
        self._successor: StreamConnection | None = None
        """The protocol that has taken over the connection. The state is CLOSING then; ``dataReceived`` relies on it."""
        writer = factory.writer_for(self.transport)
        try:
            factory.connections.add(self)
        except (Banned, TooManyConnections) as error:
            self._open_session(writer)
            self._reject(error)
            return
        if factory.hand_over is not None and factory.peek_byte(self.transport) == _JSON_START:
            self._state = State.CLOSING
            self._successor = factory.hand_over(self, writer, factory.encode_greeting() + _LINE_END)
            return
        self._open_session(writer)
        seconds = factory.limits.nickname_seconds
        session = self.session
        self._newcomer = Newcomer(
            self._codec, factory.clock, seconds, session.is_logging_in, session.reject, self._reply
        )
        session.start()

    def _open_session(self, writer: Writer) -> None:
        factory = self.factory
        self._codec = LineCodec()
        lobby = cast("Registry", factory.hub.lobby.publisher)
        self.peer = StreamPeer(lobby, writer, factory.encoder_for, self._ready_for_line, self._session_ended)
        source = source_of(self.transport)
        # The session refers to this connection weakly: a reference cycle would delay freeing both.
        self.session = Session(factory.hub, self.peer, source, proxy(self))
        self.peer.bind_session(self.session.id)
        self._input = InputLoop(
            self.session, self.transport, factory.connections, factory.clock, factory.call_soon, self
        )

    def _reject(self, error: Banned | TooManyConnections) -> None:
        """Disconnect the client, because the number of connections is at its limit, or the address is banned."""
        self._state = State.CLOSING
        self._input.end()
        text = str(error)
        reason = text[:1].upper() + text[1:]
        self.session.reject(reason, error.kind)
        is_banned = isinstance(error, Banned)
        source = format_source(self.transport.getPeer())
        self.factory.rejection_log.record(f"{source} is banned" if is_banned else reason)
        self.factory.connections.disconnect_rejected(self)

    # Input

    def dataReceived(self, data: bytes) -> None:
        """Handle a chunk of bytes."""
        self.heard_from = True
        if self._state is not State.OPEN:
            if self._successor is not None:
                self._successor.dataReceived(data)
            return
        self._codec.receive_data(data)
        if self._newcomer is None:
            self._input.run()
        else:
            self._receive_from_newcomer(self._newcomer, data)

    def _receive_from_newcomer(self, newcomer: Newcomer, data: bytes) -> None:
        if newcomer.is_new and data.startswith(_JSON_START) and self.factory.hand_over is not None:
            self._hand_over(self.factory.hand_over, data)
        elif (reason := newcomer.sniff_data(data)) is not None:
            self.session.reject(reason)
        elif not newcomer.undecided:
            self._input.run()
            self._watch_line_end()

    def _hand_over(self, hand_over: HandOver, data: bytes) -> None:
        """Hand the connection over to the door for programs. *data* is all that the client has sent."""
        self._stop_timers()
        self._newcomer = None
        self._state = State.CLOSING
        self._input.end()
        writer = self.peer.take_writer()
        if writer is None:  # the client does not read, and a part of a long greeting waits
            self.transport.abortConnection()
        else:
            self._successor = hand_over(self, writer, _LINE_END)
            del self._codec, self.peer, self._input, self.session  # to free 2 KiB
            self._successor.dataReceived(data)

    def _watch_line_end(self) -> None:
        if self._newcomer is not None and self._state is State.OPEN:
            self._newcomer.watch_line_end()

    def lineReceived(self, line: bytes) -> None:
        """Hand one line, without its end, to the session."""
        if self._newcomer is not None:
            if self._newcomer.joined:
                self._newcomer.stop()
                self._newcomer = None
            elif self.session.is_asking_password:
                pass  # a password may look like a line of another protocol
            elif (reason := self._newcomer.sniff_line(line)) is not None:
                self.session.reject(reason)
                return
        self.session.line(line.decode("utf-8", "replace"), self.factory.wall_clock())

    def handle_line(self) -> bool:
        """Hand the next line to the session, and return whether there was one. After the last line, leave."""
        session = self.session
        max_bytes = session.max_line_bytes
        line = self._codec.next_line(max_bytes)
        # Telnet replies go first, so that all replies have the order of the requests, however the input is cut.
        if replies := self._codec.data_to_send():
            if session.has_asked_password:
                # A DO ECHO is no request then, but the answer to the server's WILL. A WONT would show the password.
                replies = replies.replace(SHOW_INPUT, b"")
            self.peer.send_bytes(replies)
        if line is None:
            if self._state is not State.OPEN or self._codec.ended:
                session.leave(self._end_reason)
            return False
        if isinstance(line, Paused):
            # The rate limit also holds for telnet commands, even before there is a nickname. All commands that the
            # codec handles at a time count as one line.
            self._input.consume()
            return True
        self._connections.lines_received += 1
        if session.first_nick or session.is_asking_password:
            self._input.consume()
        if isinstance(line, LineTooLong):
            session.line_too_long(max_bytes)
        else:
            self.lineReceived(line)
        return True

    @property
    def buffered_bytes(self) -> int:
        """Number of bytes that wait in the codec."""
        return self._codec.buffered_bytes

    def notify_queue(self) -> None:
        """Tell the client how many lines wait for its rate limit, unless it has ended its input."""
        lines = self._codec.count_lines()
        if lines and self.session.nick and self._state is State.OPEN:
            self._reply(format_queue(lines, self.factory.limits.lines_per_second))

    def _reply(self, text: str) -> None:
        self.peer.send(CommandReply(text))

    # Callbacks of the session

    def _ready_for_line(self) -> None:
        if self._newcomer is not None and not self._newcomer.joined and self.session.nick:
            self._newcomer.join()
            self.factory.visit_log.write_join(self._log, self.transport.getPeer(), self.session.nick)
        self._input.run()
        self._watch_line_end()

    def _session_ended(self) -> None:
        """Close the connection: the session is over, and everything for the client was sent or queued."""
        if self._end_session():
            session = self.session
            removed_by = session.member.removed_by if session.nick else ""
            peer, reason = self.transport.getPeer(), session.leave_reason
            self.factory.visit_log.write_leave(self._log, peer, session.nick, session.first_nick, reason, removed_by)
            self._input.end()
            self._release_if_gone()

    # Callbacks of the transport

    def readConnectionLost(self) -> None:
        """Handle the client's EOF. The lines before it are still handled, and the replies still reach the client."""
        if self._successor is not None:
            self._successor.readConnectionLost()
        else:
            super().readConnectionLost()

    def writeConnectionLost(self) -> None:
        """Handle the end of the server's direction: everything has been sent."""
        if self._successor is not None:
            self._successor.writeConnectionLost()
        else:
            super().writeConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Handle the loss of the connection. The lines before it are still handled."""
        if self._successor is not None:
            self._successor.connectionLost(reason)
        else:
            self.session.connection_lost()
            super().connectionLost(reason)

    def _receive_eof(self) -> None:
        self._codec.receive_eof()

    def discard_backlog(self) -> None:
        """Discard the input that is still queued behind the rate limit."""
        if self._input.lift_throttle():
            kind, message = "visit not heard to the end", "{nick} was not heard to the end: too many lines."
            self.factory.visit_log.write(self._log, self.transport.getPeer(), kind, message, nick=self.session.nick)
        self._codec = LineCodec()
        self._codec.receive_eof()
        self._input.run()

    def _release(self) -> None:
        super()._release()
        self._newcomer = None  # it refers to this connection; a reference cycle would delay freeing both

    def _stop_timers(self) -> None:
        if self._newcomer is not None:
            self._newcomer.stop()

    # Calls about the nickname

    def has_replaced(self, other: Link) -> bool:
        """Return whether *other* is dead and comes from the same address; see ``core.membership.Link``."""
        address = peer_ip(self.transport.getPeer())
        return isinstance(other, BroadcastProtocol) and address is not None and other.is_replaced_from(address)

    def is_replaced_from(self, address: str) -> bool:
        """Return whether this connection is dead and comes from *address*; see ``core.membership.Link``."""
        seconds = self.factory.seconds_unanswered(self.transport)
        return address == peer_ip(self.transport.getPeer()) and seconds >= GHOST_SECONDS

    def end(self) -> None:
        """Leave and disconnect, because the client has connected again."""
        self.session.leave(CONNECTION_LOST)
        self.transport.abortConnection()

    # Calls of the server

    def send_noop(self) -> None:
        """Send a NOP to a telnet client, which does not display it. netcat would display it."""
        if self._codec.negotiated and not self.peer.lagging:
            self.peer.send_bytes(NOP)

    def send_shutdown_notice(self) -> None:
        """Send the notice to a client that has a nickname. ``close`` sends it to the others."""
        if self.session.nick:
            self.peer.send(ServerNotice(self._connections.last_line))

    def close(self) -> None:
        """Close the connection once everything is delivered. The room receives no notice of it.

        A client without a nickname receives the notice now, because it does not receive that of the room.
        """
        self.session.reject(self._connections.last_line)
        self.peer.close()


class BroadcastFactory(Factory):
    """The factory of the line door's protocols, and of their encoders.

    *clock* is monotonic, for deadlines. *call_soon* runs a function in a later turn of the reactor
    (``reactor.callFromThread``). *wall_clock* returns the time of day in seconds since the epoch, which may jump.
    *writer_for* makes the writer of a connection.
    """

    protocol = BroadcastProtocol  # type: ignore[assignment]  # its factory has a narrower type than in Twisted
    noisy = False

    def __init__(
        self,
        hub: Hub,
        connections: Connections,
        clock: IReactorTime,
        call_soon: CallSoon,
        wall_clock: Callable[[], float],
        writer_for: Callable[[StreamTransport], Writer],
    ) -> None:
        self.hub = hub
        self.connections = connections
        self.clock = clock
        self.call_soon = call_soon
        self.wall_clock = wall_clock
        self.writer_for = writer_for
        self.hand_over: HandOver | None = None
        """Hands over a connection whose input begins like JSON; None if the server has no door for programs."""
        self.peek_byte: Callable[[StreamTransport], bytes] = peek_byte
        """Returns the first byte that a client has sent already; empty if none is known."""
        self.seconds_unanswered: Callable[[object], float] = seconds_unanswered
        """Returns the time for which a client has not acknowledged data, in seconds; 0.0 if it is not known."""
        self.limits = hub.settings.limits
        self.rejection_log = RejectionLog(clock)
        self.visit_log = VisitLog(clock)
        self._encoders: dict[View, Encoder] = {}
        self._greeting: tuple[Settings | None, bytes] = None, b""
        """The encoded greeting, and the settings to which it belongs."""

    def encoder_for(self, view: View) -> Encoder:
        """Return the encoder for *view*, the same one each time: subscribers with one encoder share its bytes."""
        if view not in self._encoders:
            self._encoders[view] = LineEncoder(view, self.wall_clock, file_url=self.hub.file_url)
        return self._encoders[view]

    def encode_greeting(self) -> bytes:
        """Return the greeting for a new connection, as a session sends it."""
        settings, encoded = self._greeting
        if settings is not self.hub.settings:
            settings = self.hub.settings
            encoded = b"".join(map(self.encoder_for(View()).encode, greeting(settings)))
            self._greeting = settings, encoded
        return encoded
