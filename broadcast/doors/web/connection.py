"""One connection of HTTP/1.1: h11 under a Twisted protocol. One request is handled at a time."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from enum import Enum, auto
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

import h11
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.tcp import Connection as TcpConnection
from twisted.logger import Logger
from zope.interface import implementer

from broadcast.core.errors import Banned, RejectedError, TooManyConnections
from broadcast.core.sanitize import sanitize
from broadcast.doors.web.exchange import BODY_BYTES, BODY_SECONDS, Exchange
from broadcast.doors.web.headers import HSTS, SECURITY_HEADERS, merge_headers
from broadcast.doors.web.http import PLAIN_TEXT, Refusal, respond_text
from broadcast.doors.web.parser import NotHttp, RequestParser
from broadcast.doors.web.requests import HEADER_BYTES, BadRequest, read_request
from broadcast.net.addresses import format_source, source_of
from broadcast.net.connection_log import RejectionLog
from broadcast.net.proxy_protocol import ProxiedTransport

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from broadcast.core.source import Source
    from broadcast.core.time_slice import CallSoon
    from broadcast.doors.web.http import Headers, OpenProtocol, Reply, Request
    from broadcast.doors.web.origins import TrustedProxies
    from broadcast.net.connections import Connections
    from broadcast.net.writers import StreamTransport, Writer

HEADER_SECONDS: Final = 10
"""Time for all bytes of a request without its body, in seconds."""
KEEPALIVE_SECONDS: Final = 60
"""Time without a request after which the connection closes, in seconds."""
EVENTS_PER_TURN: Final = 64
"""Maximum number of parts of a body that are handled in one turn of the reactor."""
MAX_SHOWN_CHARS: Final = 64
"""Maximum length of the name of a request in the log."""
STALL_SECONDS: Final = 120
"""Time in which a client has to read what the server has sent, in seconds."""


class _State(Enum):
    """The life of a connection.

    IDLE -> HANDLING -> IDLE, for each request; HANDLING -> HANDED_OVER; from all but HANDED_OVER -> CLOSING.
    """

    IDLE = auto()
    """The next request has not arrived completely."""
    HANDLING = auto()
    """A handler has a request."""
    HANDED_OVER = auto()
    """The successor has the connection."""
    CLOSING = auto()
    """All replies are sent or in the buffer of the transport. Input is read and dropped."""


def _forward(transport: StreamTransport, source: Source) -> StreamTransport:
    """Return *transport*, whose peer is a proxy, with the address and the encryption of *source*, its client."""
    peer = None
    if source.address is not None:
        kind = IPv6Address if ":" in source.address else IPv4Address
        peer = kind("TCP", source.address, getattr(transport.getPeer(), "port", 0))
    return cast("StreamTransport", ProxiedTransport(transport, peer, source.is_encrypted))


@implementer(IHalfCloseableProtocol)
class HttpConnection(Protocol):
    """One connection of a client. It hands each request to the site, and sends the replies in their order."""

    factory: HttpFactory
    transport: StreamTransport  # type: ignore[assignment]  # set before Twisted calls any method
    heard_from = True
    """Whether any input has arrived since the dead-peer detector set this to False."""
    must_answer = False
    """Whether the client must answer ``send_noop``: HTTP has no such bytes."""
    _log = Logger()

    def connectionMade(self) -> None:
        """Count the connection. One above a limit may send one request, and receives the reason."""
        factory = self.factory
        self._writer: Writer = factory.writer_for(self.transport)
        self._parser = RequestParser()
        self._http = self._parser.http
        self._state = _State.IDLE
        self._exchange: Exchange | None = None
        self._peer: Source = source_of(self.transport)
        self._is_proxy = factory.proxies.is_trusted(self._peer.address)
        self._refusal: RejectedError | None = None
        self._request: Request | None = None
        self._successor: Protocol | None = None
        self.is_congested = False
        """Whether the transport holds bytes that the client has not read."""
        self._is_running = False
        self._waits_for_turn = False
        """True until the next turn of the reactor, which handles more input."""
        self._has_part = False
        """Whether a part of the next request has arrived."""
        self._is_reading = True
        self._ended_directions = 0
        self._stall_timer: IDelayedCall | None = None
        self._timer: IDelayedCall | None = None
        """The deadline of the header, of the next request, or of a part of the body."""
        try:
            factory.connections.add(self, is_proxy=self._is_proxy)
        except (Banned, TooManyConnections) as error:
            self._reject_connection(error)
        self._set_timer(HEADER_SECONDS, self._time_out)

    def _reject_connection(self, error: RejectedError) -> None:
        self._refusal = error
        is_banned = isinstance(error, Banned)
        source = format_source(self.transport.getPeer())
        self.factory.rejection_log.record(f"{source} is banned" if is_banned else str(error))
        self.factory.connections.hold_rejected(self)

    def _set_timer(self, seconds: float, function: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self.factory.clock.callLater(seconds, function)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    # Input

    def dataReceived(self, data: bytes) -> None:
        """Handle a chunk of bytes."""
        self.heard_from = True
        if self._successor is not None:
            self._successor.dataReceived(data)
        elif self._state is not _State.CLOSING:
            self._parser.receive_data(data)
            self.run()

    def run(self) -> None:
        """Handle the input that has arrived, as far as it can be handled now."""
        if self._is_running:
            return
        self._is_running = True
        events = 0
        try:
            while self._can_continue() and self._handle_event():
                events += 1
                if events == EVENTS_PER_TURN:
                    self._yield_turn()
        except h11.RemoteProtocolError as error:
            self._fail(error.error_status_hint, f"{error}.")
        except NotHttp:
            self.write(f"{self.factory.describe_port()}\r\n".encode())
            self.end()
        except Exception:  # noqa: BLE001 - the fault of one request must not end the server's other work
            self._end_failed_request()
        finally:
            self._is_running = False
        self._pause_if_full()

    def _yield_turn(self) -> None:
        """Let other clients go first: a thousand requests or parts of a body can come in one chunk."""
        self._waits_for_turn = True
        self.factory.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._waits_for_turn = False
        self.run()

    def _can_continue(self) -> bool:
        if self._waits_for_turn:
            return False
        if self._state is _State.IDLE:
            return not self.is_congested
        exchange = self._exchange
        return exchange is not None and exchange.receiver is not None and not exchange.is_paused

    def _handle_event(self) -> bool:
        """Handle the next part of the input, and return whether there was one."""
        event = self._parser.next_event()
        match event:
            case h11.Request():
                self._begin(event)
            case h11.Data(data=data):
                self._receive_body(bytes(data))
            case h11.EndOfMessage():
                self._end_body()
            case h11.ConnectionClosed():
                self.end()
                return False
            case _:  # the rest has not arrived
                if self._state is _State.IDLE and not self._has_part and self._parser.buffered_bytes:
                    self._has_part = True
                    self._set_timer(HEADER_SECONDS, self._time_out)
                return False
        return True

    def _pause_if_full(self) -> None:
        """Read from the client only while few bytes wait, unless they are dropped or the successor reads them."""
        if self._state is _State.IDLE or self._state is _State.HANDLING:
            reading = self._can_continue() or self._parser.buffered_bytes <= HEADER_BYTES
        else:
            reading = True
        if reading is not self._is_reading:
            self._is_reading = reading
            if reading:
                self.transport.resumeProducing()
            else:
                self.transport.pauseProducing()

    def _begin(self, event: h11.Request) -> None:
        """Hand the request in *event* to the site."""
        self._stop_timer()
        self._has_part = False
        self._state = _State.HANDLING
        self._exchange = exchange = Exchange(self, event)
        reply: Reply = exchange
        if exchange.length == 0:
            self._http.next_event()  # the end of the request
            exchange.is_complete = True
        try:
            request = read_request(event, partial(self.factory.proxies.find_source, self._peer), exchange)
        except BadRequest as error:
            self._fail(error.status, str(error))
            return
        self._request = request
        if self._refusal is not None:
            self.factory.refuse(request, reply, self._refusal)
        elif self.factory.connections.stopping:
            respond_text(reply, 503, self.factory.connections.last_line)
        else:
            self.factory.handle(request, reply)

    def _end_failed_request(self) -> None:
        """Log the present exception. Reply that the server has failed, or close if a reply has begun.

        The log shows neither the header nor the whole path, which may hold secrets.
        """
        request, exchange = self._request, self._exchange
        where = "" if request is None else f"{request.method} /{request.path[1:].partition('/')[0]}"
        self._log.failure("A request failed: {where}", where=sanitize(where[:MAX_SHOWN_CHARS]))
        if exchange is None or exchange.is_started:
            self.transport.abortConnection()
        else:
            respond_text(exchange, 500, "The server has failed. Its log says why.")

    # The body of a request

    def start_body(self) -> None:
        """Begin to pass the body to the receiver."""
        exchange = self._exchange
        assert exchange is not None
        if exchange.is_complete:
            self._end_body()
            return
        if self._http.they_are_waiting_for_100_continue:
            self.write(self.encode(h11.InformationalResponse(status_code=100, headers=[])))
        exchange.received = 0
        self._set_timer(BODY_SECONDS, self._check_speed)
        self.run()

    def _receive_body(self, data: bytes) -> None:
        exchange = self._exchange
        assert exchange is not None
        assert exchange.receiver is not None
        exchange.received += len(data)
        exchange.receiver.data_received(data)

    def _end_body(self) -> None:
        self._stop_timer()
        exchange = self._exchange
        assert exchange is not None
        exchange.is_complete = True
        receiver, exchange.receiver = exchange.receiver, None
        assert receiver is not None
        receiver.finished()

    def _check_speed(self) -> None:
        exchange = self._exchange
        assert exchange is not None
        if exchange.received < BODY_BYTES and not exchange.is_paused:
            self._fail(408, f"The body arrives at less than {BODY_BYTES // BODY_SECONDS} bytes a second.")
            return
        exchange.received = 0
        self._set_timer(BODY_SECONDS, self._check_speed)

    # Output

    def make_header(self, status: int, headers: Headers) -> bytes:
        """Return the header of a reply."""
        factory = self.factory
        defaults: list[tuple[bytes, bytes]] = [(b"Date", formatdate(factory.wall_clock(), usegmt=True).encode())]
        defaults += SECURITY_HEADERS
        if factory.has_hsts and self._request is not None and self._request.is_secure:
            defaults.append(HSTS)
        merged = merge_headers(headers, defaults)
        if self._must_close():
            merged.append((b"Connection", b"close"))
        reason = HTTPStatus(status).phrase.encode()
        return self.encode(h11.Response(status_code=status, headers=merged, reason=reason))

    def _must_close(self) -> bool:
        """Return whether the connection closes after the reply. After an unread body, no next request can be found."""
        is_incomplete = self._exchange is None or not self._exchange.is_complete
        return is_incomplete or self._refusal is not None or self.factory.connections.stopping

    def encode(self, event: h11.Event) -> bytes:
        """Return the bytes of *event*, which is part of the reply."""
        return self._http.send(event) or b""

    def write(self, data: bytes) -> None:
        """Send *data*, or let the transport send it as soon as the client reads."""
        accepted = 0
        if not self.is_congested:
            try:
                accepted = self._writer.send(data)
            except BlockingIOError:
                pass
            except OSError as error:
                accepted = self._writer.send_failed(error)
        if accepted < len(data):
            if not self.is_congested:
                self.is_congested = True
                self._stall_timer = self.factory.clock.callLater(STALL_SECONDS, self.transport.abortConnection)
            self._writer.write_rest(data[accepted:], self._drained)

    def _drained(self) -> None:
        self._stop_stall_timer()
        self.is_congested = False
        self._writer.stop_drain()
        if self._state is _State.IDLE:
            self._wait_for_request()
        elif self._exchange is not None:
            self._exchange.on_drained()

    def _stop_stall_timer(self) -> None:
        timer, self._stall_timer = self._stall_timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def finish_exchange(self) -> None:
        """Wait for the next request, because the reply is complete, or close."""
        self._stop_timer()
        if self._must_close() or self._http.our_state is not h11.DONE:
            self.end()
            return
        self._exchange = None
        self._http.start_next_cycle()
        self._state = _State.IDLE
        self._request = None
        if self._parser.buffered_bytes:
            self._yield_turn()
        if not self.is_congested:
            self._wait_for_request()

    def _wait_for_request(self) -> None:
        self._set_timer(KEEPALIVE_SECONDS, self.end)
        self.run()

    # Another protocol

    def hand_over(self, open_protocol: OpenProtocol) -> None:
        """Hand the connection over to the result of *open_protocol*.

        Earlier replies are sent by then, as a request waits for that.
        """
        exchange, request = self._exchange, self._request
        assert exchange is not None
        assert request is not None
        reply: Reply = exchange
        connections = self.factory.connections
        transport = self.transport
        if self._is_proxy:
            host = request.source.address
            transport = _forward(transport, request.source)
            try:
                connections.count_as(self, host)
            except (Banned, TooManyConnections) as error:
                self.factory.rejection_log.record(str(error))
                self.factory.refuse(request, reply, error)
                return
        if not self._is_reading:
            self._is_reading = True
            self.transport.resumeProducing()
        result = open_protocol(transport, self._writer)
        if isinstance(result, Refusal):
            if self._is_proxy:
                connections.count_as(self, None)  # the proxy may send the next request of another client
            respond_text(reply, result.status, result.text, result.headers)
            return
        exchange.end()
        self._stop_timer()
        self._state = _State.HANDED_OVER
        self._exchange = self._request = None
        successor = self._successor = cast(Protocol, result)
        connections.replace(self, result)
        if isinstance(self.transport, TcpConnection):
            self.transport.protocol = successor
        following = self._parser.take_rest()
        del self._http, self._parser
        if following:
            successor.dataReceived(following)
        if self._ended_directions:
            cast(IHalfCloseableProtocol, successor).readConnectionLost()

    # The end

    def _time_out(self) -> None:
        if self._has_part or self._parser.buffered_bytes:
            self._fail(408, f"The request is not complete after {HEADER_SECONDS} seconds.")
        else:
            # A person with telnet waits for a greeting. A browser, which connects in advance, ignores this status.
            self._fail(408, self.factory.describe_port())

    def _fail(self, status: int, text: str) -> None:
        """Send an error, unless a reply has begun, and close."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.lose()
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = f"{text}\n".encode()
            data = self.make_header(status, (PLAIN_TEXT, (b"Content-Length", b"%d" % len(body))))
            if exchange is None or not exchange.is_head:
                data += self.encode(h11.Data(data=body))
            self.write(data + self.encode(h11.EndOfMessage()))
        self.end()

    def end(self) -> None:
        """Close the connection once everything is sent. Input is read and dropped until the client closes, too.

        A close with unread input would reset the connection, and the client could lose the reply.
        """
        if self._state is _State.CLOSING or self._state is _State.HANDED_OVER:
            return
        self._state = _State.CLOSING
        self._stop_timer()
        self._exchange = None
        self._writer.close()
        if not self._is_running:
            self._pause_if_full()

    def readConnectionLost(self) -> None:
        """Handle the end of the input. The reply to a request before it still reaches the client."""
        if self._successor is not None:
            cast(IHalfCloseableProtocol, self._successor).readConnectionLost()
        elif self._state is _State.CLOSING:
            self._count_ended_direction()
        else:
            self._ended_directions = 1
            self._parser.receive_eof()
            self.run()

    def writeConnectionLost(self) -> None:
        """Handle the end of the output: everything has been sent."""
        if self._successor is not None:
            cast(IHalfCloseableProtocol, self._successor).writeConnectionLost()
        else:
            self._count_ended_direction()

    def _count_ended_direction(self) -> None:
        self._ended_directions += 1
        if self._ended_directions >= 2:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Handle the loss of the connection."""
        self._stop_stall_timer()
        if self._successor is not None:
            self._successor.connectionLost(reason)
            return
        self._stop_timer()
        self._state = _State.CLOSING
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.lose()
        self.factory.connections.remove(self)
        self._writer.connection_lost()

    # Calls of the server

    def send_noop(self) -> None:
        """Do nothing."""

    def send_shutdown_notice(self) -> None:
        """Do nothing: the page receives it through its WebSocket."""

    def discard_backlog(self) -> None:
        """Do nothing: a connection that is gone has no backlog."""

    def drain(self) -> Deferred[None]:
        """Return at once: a request that is being handled goes on, and the next one is refused."""
        return succeed(None)

    def close(self) -> None:
        """Close once the reply is sent. An upload is cut off."""
        exchange = self._exchange
        if self._state is _State.IDLE:
            self.end()
        elif exchange is not None and exchange.receiver is not None:
            self._fail(503, self.factory.connections.last_line)


class HttpFactory(Factory):
    """The factory of HTTP connections.

    *handle* replies to a request. *refuse* replies to one on a connection above a limit, or from a banned address.
    *clock* is monotonic. *call_soon* runs a function in a later turn of the reactor. *wall_clock* returns the time of
    day. *writer_for* makes the writer of a connection. With *has_hsts*, replies over https forbid plain HTTP.
    """

    protocol = HttpConnection  # type: ignore[assignment]  # its factory has a narrower type than in Twisted
    noisy = False

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of the server that a door uses
        self,
        handle: Callable[[Request, Reply], None],
        refuse: Callable[[Request, Reply, RejectedError], None],
        connections: Connections,
        clock: IReactorTime,
        call_soon: CallSoon,
        wall_clock: Callable[[], float],
        writer_for: Callable[[StreamTransport], Writer],
        proxies: TrustedProxies,
        has_hsts: bool = False,
    ) -> None:
        self.handle = handle
        self.refuse = refuse
        self.connections = connections
        self.clock = clock
        self.call_soon = call_soon
        self.wall_clock = wall_clock
        self.writer_for = writer_for
        self.proxies = proxies
        self.has_hsts = has_hsts
        self.describe_port: Callable[[], str] = lambda: "This port speaks HTTP."
        """Returns a text for people who have connected with telnet, for example."""
        self.rejection_log = RejectionLog(clock)
