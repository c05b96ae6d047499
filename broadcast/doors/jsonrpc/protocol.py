"""The door for programs: the protocol of one connection, and the objects that all connections share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, cast
from weakref import proxy

from twisted.internet.protocol import connectionDone
from twisted.logger import Logger

from broadcast.core.errors import RejectedError
from broadcast.delivery.multi_room_peer import MultiRoomPeer
from broadcast.doors.jsonrpc.encoder import encode_notification
from broadcast.doors.jsonrpc.errors import Code, RpcError, explain_rejection, refusal
from broadcast.doors.jsonrpc.framing import LineDecoder, LineSplitter, LineTooLong
from broadcast.doors.jsonrpc.hello import Hello
from broadcast.doors.jsonrpc.messages import MAX_REQUEST_BYTES, Empty, HelloParams, HelloResult
from broadcast.doors.jsonrpc.methods import HANDLERS
from broadcast.doors.jsonrpc.notifications import Goodbye
from broadcast.doors.jsonrpc.requests import BadRequest, Request, decode_params, decode_request, find_uid
from broadcast.doors.jsonrpc.responses import Call, Responses, encode_error, internal_error
from broadcast.net.addresses import source_of
from broadcast.net.input_loop import InputLoop
from broadcast.net.stream_connection import State, StreamConnection

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IDelayedCall
    from twisted.python.failure import Failure

    from broadcast.core.events import Notice
    from broadcast.core.room import Room
    from broadcast.core.source import Source
    from broadcast.delivery.subscriber import Registry
    from broadcast.doors.jsonrpc.encoder import RoomEncoder
    from broadcast.doors.jsonrpc.session import ProgramSession
    from broadcast.doors.jsonrpc.sessions import Sessions
    from broadcast.net.connections import Connection as LineConnection
    from broadcast.net.connections import Connections
    from broadcast.net.writers import StreamTransport, Writer

MAX_FAILED_HELLOS: Final = 10
"""Number of failed ``hello`` requests after which the connection closes."""
MAX_BAD_LINES: Final = 5
"""Number of lines in a row after which the connection closes, if each is too long or no JSON."""
RECONNECT_SECONDS: Final = 1.0
"""Minimum time after which clients connect again when the server goes down, in seconds."""
RECONNECTS_PER_SECOND: Final = 500
"""Number of clients that connect again in each second after that."""
PING_SECONDS: Final = 60.0
"""Time without output after which the client is sent a ``ping``, in seconds."""
PING: Final = encode_notification(Empty())


class DoorContext(NamedTuple):
    """The objects that all connections of programs share. *random* returns numbers from 0 to below 1."""

    sessions: Sessions
    connections: Connections
    random: Callable[[], float]
    encode_notice: Callable[[Notice], bytes]
    """Returns a notice as a line of the line protocol."""


class ProgramConnection(StreamConnection):
    """One connection of a program: it turns bytes into requests, executes them, and sends the responses.

    ``InputLoop`` asks for one line at a time. *greeting* is sent together with the first output. The input is plain
    lines, unless *decoder* makes lines of it.
    """

    peer: MultiRoomPeer
    _log = Logger()

    def __init__(
        self,
        context: DoorContext,
        transport: StreamTransport,
        writer: Writer,
        greeting: bytes = b"",
        decoder: LineDecoder | None = None,
    ) -> None:
        sessions = context.sessions
        self.transport = transport
        self.sessions = sessions
        self.encode_notice = context.encode_notice
        self.ready = True
        """Whether the next request can be handled."""
        registry = cast("Registry", sessions.hub.lobby.publisher)  # a fan-out is both
        self.peer = MultiRoomPeer(registry, writer, self._run_input)
        self._greeting = greeting
        """Bytes to send before the first output."""
        self._context = context
        self._connections = context.connections
        self._has_shutdown_notice = False
        """Whether the client has been sent the notice that the server is going down."""
        self._session: ProgramSession | None = None
        self._decoder = decoder or LineSplitter(MAX_REQUEST_BYTES)
        self._responses = Responses(self.send, self._check_end)
        self._last_output = 0.0
        """Time of the last line for this client alone, in seconds of the clock."""
        self._failed_hellos = 0
        self._bad_lines = 0
        self._input = InputLoop(proxy(self), transport, context.connections, sessions.clock, sessions.call_soon, self)
        seconds = sessions.hub.settings.limits.nickname_seconds
        self._timer: IDelayedCall | None = sessions.clock.callLater(seconds, self._end_without_hello, seconds)
        """The end of the time for ``hello``; after ``hello``, the next check of the output."""

    @property
    def session(self) -> ProgramSession:
        """The session, which exists only after ``hello``."""
        assert self._session is not None
        return self._session

    # Input

    def dataReceived(self, data: bytes) -> None:
        """Handle a chunk of bytes."""
        self.heard_from = True
        if self._state is State.OPEN:
            self._decoder.receive_data(data)
            self._input.run()

    def handle_line(self) -> bool:
        """Handle the next line, and return whether there was one."""
        line = self._decoder.next_line()
        if line is None:
            self._check_end()
            return False
        self._connections.lines_received += 1
        self._input.consume()
        if isinstance(line, LineTooLong):
            limit = MAX_REQUEST_BYTES
            self._refuse_line(None, refusal("too-long", f"A line holds at most {limit} bytes.", limit=limit))
            self._count_bad_line()
        elif line:
            self._handle_request(line)
        return True

    def _handle_request(self, line: bytes) -> None:
        try:
            request = decode_request(line)
        except BadRequest as error:
            self._refuse_line(error.id, error)
            if error.code == Code.PARSE_ERROR:
                self._count_bad_line()
            return
        self._bad_lines = 0
        call = self._responses.begin(request.id, request.method)
        try:
            self._execute(call, request)
        except RpcError as error:
            if not call.is_request:
                call.uid = find_uid(request)
            self._fail(call, error)
        except RejectedError as error:
            self.sessions.hub.rejections[error.kind] += 1
            self._fail(call, explain_rejection(error))
        except Exception:  # noqa: BLE001 - the fault of one request must not close the connection
            self._log.failure("A request of a program failed: {method}.", method=request.method[:64])
            if call.response is None:
                call.fail(internal_error())

    def _fail(self, call: Call, error: RpcError) -> None:
        """Send *error*. The tenth failure of ``hello`` closes the connection."""
        call.fail(error)
        if call.method == "hello" and self._session is None:
            self._failed_hellos += 1
            if self._failed_hellos == MAX_FAILED_HELLOS:
                self._end_for(f"{MAX_FAILED_HELLOS} attempts to say hello failed.")

    def _execute(self, call: Call, request: Request) -> None:
        if self._session is None and request.method != "hello":
            raise refusal("hello-first", "Say hello first.")
        params = decode_params(request)
        if isinstance(params, HelloParams):
            self._hello(call, params)
        else:
            self.session.private.confirm()
            if request.method != "ping":
                self.session.member.last_active = self.sessions.wall_clock()
            HANDLERS[request.method](self, call, params)
            backlog = self.sessions.hub.backlog
            if backlog.above_high_water and self.ready:
                self.pause()
                backlog.when_below_low_water(self.resume)

    def _refuse_line(self, id_: int | str | None, error: RpcError) -> None:
        if id_ is None:
            self.send(encode_error(None, error))
        else:
            self._responses.begin(id_, "").fail(error)

    def _count_bad_line(self) -> None:
        self._bad_lines += 1
        if self._bad_lines == MAX_BAD_LINES:
            self._end_for(f"{MAX_BAD_LINES} lines in a row were too long or no JSON.")

    @property
    def buffered_bytes(self) -> int:
        """Number of bytes that wait to be decoded."""
        return self._decoder.buffered_bytes

    def notify_queue(self) -> None:
        """Do nothing: a program knows the limits."""

    def pause(self) -> None:
        """Handle no further request until ``resume``."""
        self.ready = False

    def resume(self) -> None:
        """Handle the next request."""
        self.ready = True
        self._run_input()

    def _run_input(self) -> None:
        self._input.run()

    # Output

    def encoder_for(self, room: Room) -> RoomEncoder:
        """Return the encoder for the stream of *room* to the client."""
        return self.sessions.room_views.encoder_for(room)

    @property
    def address(self) -> IAddress:
        """The address of the client."""
        return self.transport.getPeer()

    @property
    def source(self) -> Source:
        """The origin of the connection."""
        return source_of(self.transport)

    def send(self, line: bytes) -> None:
        """Append *line* to the responses. It may also be several lines, or none."""
        self._last_output = self.sessions.clock.seconds()
        if self._greeting:
            line = self._greeting + line
            self._greeting = b""
        self.peer.send_bytes(line)

    def _check_output(self) -> None:
        """Send a ``ping`` if the client has been sent nothing for ``PING_SECONDS``."""
        now = self.sessions.clock.seconds()
        rooms = self.sessions.hub.rooms_of(self.session.member)
        last_output = max([self._last_output, *(self.encoder_for(room).last_output for room in rooms)])
        if now - last_output >= PING_SECONDS:
            last_output = now
            if not self.peer.congested:
                self.send(PING)
        self._timer = self.sessions.clock.callLater(last_output + PING_SECONDS - now, self._check_output)

    # hello

    def _hello(self, call: Call, params: HelloParams) -> None:
        if self._session is not None:
            raise RpcError(Code.INVALID_REQUEST, "You have said hello already.")
        if self._connections.stopping:
            raise refusal("going-down", self._connections.last_line)

        def greet(result: HelloResult) -> None:
            self._connections.resumed_count += result.resumed
            if call.is_request and not self.is_gone:
                self.session.has_client_token = True
            call.succeed(result)
            self._timer = self.sessions.clock.callLater(PING_SECONDS, self._check_output)

        hello = Hello(self.sessions, self, params, self._set_session, greet, partial(self._fail, call))
        hello.sends_token = call.is_request
        hello.run()

    def _set_session(self, session: ProgramSession) -> None:
        self._stop_timers()  # hello cannot fail any more, even if the result takes long
        self._session = session
        self.peer.bind_session(session.id)

    def _stop_timers(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    # The end

    @property
    def _input_ended(self) -> bool:
        """Whether the client sends no more lines, although the connection is not gone."""
        return self._state is State.INPUT_ENDED

    def _check_end(self) -> None:
        """End the connection if its input has ended and every request was handled and answered."""
        if not self.ready or self._decoder.buffered_bytes:
            return
        if self.is_gone or (self._input_ended and self._responses.idle):
            if self._session is not None:
                self._session.private.confirm()
            self._end()

    def _end(self, *last_lines: bytes) -> None:
        """Deliver everything and then *last_lines*, and close. The session waits for the next connection."""
        reason = self._end_reason
        if self._end_session():
            self._input.end()
            self._leave_session(reason)
            if self._greeting:
                self.send(b"")
            self.peer.close(*last_lines)
            self._release_if_gone()

    def _leave_session(self, reason: str) -> None:
        session, self._session = self._session, None
        if session is not None:
            if not session.has_client_token:
                session.end(reason)
            session.connection_ended(self, reason)

    def session_ended(self) -> None:
        """Close, because the session has left its rooms."""
        self._end()

    def session_taken(self, reason: str, *, reconnect: bool = False) -> None:
        """Close because of *reason*, without an end of the session. Requests that were not handled are dropped."""
        self._session = None
        self._end_for(reason, reconnect=reconnect)

    def _end_without_hello(self, seconds: float) -> None:
        """End because ``hello`` has not come in *seconds*, unless the server is still handling it."""
        if self.ready:
            self._end_for(f"No hello in {seconds:g} seconds.")
        else:
            self._timer = self.sessions.clock.callLater(seconds, self._end_without_hello, seconds)

    def _end_for(self, reason: str, *, reconnect: bool = False) -> None:
        self._end(_encode_goodbye(reason, reconnect=reconnect))

    def discard_backlog(self) -> None:
        """Discard the input that is still queued behind the rate limit."""
        self._end()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Handle the loss of the connection. The requests before it are still handled."""
        self._responses.close()
        if self._session is not None:
            self._session.private.hold(is_away=True)
        super().connectionLost(reason)

    def _receive_eof(self) -> None:
        self._decoder.receive_eof()

    def _release(self) -> None:
        super()._release()
        self._responses.close()  # drops calls from after the loss; a reference cycle would delay freeing both

    # Calls of the server

    def send_noop(self) -> None:
        """Do nothing: the ``ping`` of this protocol does not depend on the input."""

    def send_shutdown_notice(self) -> None:
        """Send the notice that the server ends all visits, past the streams of the rooms."""
        self.send(self._take_shutdown_notice())

    def _take_shutdown_notice(self) -> bytes:
        """Return the notice, or no bytes if the client has it."""
        if self._has_shutdown_notice:
            return b""
        self._has_shutdown_notice = True
        spread = len(self._connections) / RECONNECTS_PER_SECOND
        after = RECONNECT_SECONDS + self._context.random() * spread
        return _encode_goodbye(self._connections.last_line, reconnect=True, after=round(after, 3))

    def close(self) -> None:
        """Close the connection once everything is delivered. The rooms receive no notice of it."""
        session, self._session = self._session, None  # so that the session does not leave its rooms
        if session is not None:
            session.connection = None  # a request that still waits for lines must not continue on this connection
        self._end(self._take_shutdown_notice())


def _encode_goodbye(reason: str, *, reconnect: bool, after: float = 0.0) -> bytes:
    return encode_notification(Goodbye(reason=reason, reconnect=reconnect, after=after))


def take_over(context: DoorContext, connection: LineConnection, writer: Writer, greeting: bytes) -> ProgramConnection:
    """Return the successor of *connection*, whose client speaks the program protocol.

    It sends through *writer*, and begins with *greeting*, the text for people that has not been sent yet.
    """
    successor = ProgramConnection(context, connection.transport, writer, greeting)
    context.connections.replace(connection, successor)
    return successor
