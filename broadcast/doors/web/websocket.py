"""WebSocket: the program protocol for browsers, with the sessions, limits and streams of the line port.

Each line is a message of one frame. A line of a room is framed once, and all clients are sent the same bytes.
"""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from twisted.internet.interfaces import IHalfCloseableProtocol
from websockets import http11
from websockets.datastructures import Headers
from websockets.exceptions import NegotiationError
from websockets.frames import Close, CloseCode
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from zope.interface import implementer

from broadcast.core.errors import Banned
from broadcast.doors.jsonrpc.protocol import DoorContext, ProgramConnection
from broadcast.doors.web.frames import (
    PING_FRAME,
    MessageDecoder,
    frame_close,
    frame_line,
    frame_lines,
)
from broadcast.doors.web.http import Refusal, respond_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broadcast.core.errors import RejectedError
    from broadcast.core.room import Room
    from broadcast.doors.jsonrpc.encoder import RoomEncoder
    from broadcast.doors.web.http import Handler, Reply, Request
    from broadcast.net.writers import StreamTransport, Writer

SUBPROTOCOL: Final = Subprotocol("broadcast.v1")


def open_websocket(
    programs: DoorContext, request: Request, transport: StreamTransport, writer: Writer
) -> WebSocketConnection | Refusal:
    """Accept *request*, and return the protocol that takes over *transport*; or return why it is not accepted.

    The caller has checked the Host and the Origin. It gives the protocol the input after the request. The source of
    *transport* is the client, also behind a proxy.
    """
    response = _shake_hands(request)
    if isinstance(response, Refusal):
        return response
    return WebSocketConnection(programs, transport, writer, response)


def websocket_handler(programs: DoorContext) -> Handler:
    """Return the handler of the path at which the WebSocket is."""

    def handle(request: Request, reply: Reply) -> None:
        reply.hand_over(partial(open_websocket, programs, request))

    return handle


def refuse_websocket(request: Request, reply: Reply, error: RejectedError) -> None:
    """Open a WebSocket and close it at once, because of *error*.

    A script in a browser learns the close code and the reason, but not the status of an HTTP response.
    """
    response = _shake_hands(request)
    if isinstance(response, Refusal):
        respond_text(reply, response.status, response.text, response.headers)
        return
    code = CloseCode.POLICY_VIOLATION if isinstance(error, Banned) else CloseCode.TRY_AGAIN_LATER
    text = str(error)
    reply.close_with(response + frame_close(Close(code, text[:1].upper() + text[1:])))


def _shake_hands(request: Request) -> bytes | Refusal:
    """Return the response that accepts *request*, or why it is not accepted.

    Extensions, such as compression, are never accepted.
    """
    protocol = ServerProtocol(subprotocols=[SUBPROTOCOL], select_subprotocol=_select_subprotocol)
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.items()]
    response = protocol.accept(http11.Request(request.target, Headers(fields), method=request.method))
    if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
        return response.serialize()
    why = f"{protocol.handshake_exc}"
    headers = ((b"Upgrade", b"websocket"),) if response.status_code == HTTPStatus.UPGRADE_REQUIRED else ()
    return Refusal(response.status_code, f"This is not a valid WebSocket handshake: {why}.", headers)


def _select_subprotocol(_protocol: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Return the subprotocol, or None if the client has not asked for any: there is only one."""
    if offered and SUBPROTOCOL not in offered:
        raise NegotiationError(f"this server speaks {SUBPROTOCOL}")
    return SUBPROTOCOL if offered else None


@implementer(IHalfCloseableProtocol)
class WebSocketConnection(ProgramConnection):
    """The connection of a program over a WebSocket. It begins with *response*, the end of the handshake."""

    def __init__(
        self,
        context: DoorContext,
        transport: StreamTransport,
        writer: Writer,
        response: bytes,
    ) -> None:
        self._messages = MessageDecoder()
        self._close = Close(CloseCode.NORMAL_CLOSURE, "")
        """The reason why the server closes the connection, unless the client has closed it."""
        super().__init__(context, transport, writer, decoder=self._messages)
        self.peer.send_bytes(response)

    def encoder_for(self, room: Room) -> RoomEncoder:
        """Return the encoder for the stream of *room* to the client."""
        return self.sessions.room_views.encoder_for(room, frame_line)

    def send(self, line: bytes) -> None:
        """Append *line* to the responses. It may also be several lines, or none."""
        super().send(frame_lines(line))

    def handle_line(self) -> bool:
        """Handle the next line, or some frames without one, and return whether there was anything.

        Such frames count as a line for the rate limit: pings have to be answered, and a message can have many
        fragments.
        """
        is_line = self._messages.decode()
        if replies := self._messages.take_replies():
            self.peer.send_bytes(replies)
        if not is_line:
            self._input.consume()
            return True
        return super().handle_line()

    # Silence

    @property
    def must_answer(self) -> bool:
        """Whether the client must answer ``send_noop``, and the server reads the answer.

        A client that does not read has not received the ping yet.
        """
        return self._input.is_reading and not self.peer.lagging

    def send_noop(self) -> None:
        """Send a ping, which the client answers with a pong."""
        if not self.peer.lagging:
            self.peer.send_bytes(PING_FRAME)

    # The end

    @property
    def _input_ended(self) -> bool:
        """Whether the client sends no more lines: it has closed the WebSocket, or violated its protocol."""
        return self._messages.close is not None or super()._input_ended

    def _end(self, *last_lines: bytes) -> None:
        """Deliver everything, then *last_lines* and a close frame, and close."""
        close = self._messages.close or self._close
        super()._end(*map(frame_lines, last_lines), frame_close(close))

    def _end_for(self, reason: str, *, reconnect: bool = False) -> None:
        self._close = Close(CloseCode.GOING_AWAY if reconnect else CloseCode.POLICY_VIOLATION, reason)
        super()._end_for(reason, reconnect=reconnect)

    def close(self) -> None:
        """Close the connection once everything is delivered, because the server ends all visits."""
        self._close = Close(CloseCode.GOING_AWAY, self._connections.last_line)
        super().close()
