"""WebSockets in memory: programs whose messages are held against docs/openrpc.json, and clients that send any bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import OPEN
from websockets.uri import WebSocketURI

from broadcast.core.source import Source
from broadcast.doors.web.http import Refusal, Request
from broadcast.doors.web.websocket import WebSocketConnection, open_websocket
from tests.doors.jsonrpc.programs import DirectProgramWorld, Program, ProgramWorld
from tests.fuzz.websocket import masked
from tests.harness import TextClient

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress

    from broadcast.doors.jsonrpc.protocol import ProgramConnection
    from broadcast.doors.web.http import Body
    from broadcast.net.writers import StreamTransport
    from tests.harness import MemoryTransport, Person, World

HANDSHAKE: Final = {
    b"host": b"127.0.0.1:8080",
    b"connection": b"keep-alive, Upgrade",
    b"upgrade": b"websocket",
    b"sec-websocket-key": b"dGhlIHNhbXBsZSBub25jZQ==",
    b"sec-websocket-version": b"13",
    b"sec-websocket-protocol": b"broadcast.v1",
    b"sec-websocket-extensions": b"permessage-deflate; client_max_window_bits",
}
"""The header of a browser."""
MASK: Final = b"\x12\x34\x56\x78"


def upgrade_request(**changes: bytes | None) -> Request:
    """Return the request of a browser, with *changes* of the header: underscores are hyphens, None is no field."""
    fields = HANDSHAKE | {name.replace("_", "-").encode(): value for name, value in changes.items()}
    headers = {name: value for name, value in fields.items() if value is not None}
    return Request("GET", "/ws", "", headers, Source(), False, cast("Body", None))


def frame(
    opcode: int, payload: bytes | str = b"", *, fin: bool = True, rsv: int = 0, mask: bytes | None = MASK, size: int = 0
) -> bytes:
    """Return a frame of a client. Any field may be wrong. *size* is its minimum form of a length: 126 or 127."""
    data = payload.encode() if isinstance(payload, str) else payload
    length = len(data)
    first = bytes(((0x80 if fin else 0) | rsv << 4 | opcode,))
    flag = 0x80 if mask is not None else 0
    if length < 126 and not size:
        head = bytes((flag | length,))
    elif length < 65536 and size < 127:
        head = bytes((flag | 126,)) + length.to_bytes(2, "big")
    else:
        head = bytes((flag | 127,)) + length.to_bytes(8, "big")
    if mask is not None and any(mask):
        data = masked(data, mask)
    return first + head + (mask or b"") + data


def text(payload: bytes | str, **fields: Any) -> bytes:  # noqa: ANN401 - those of frame
    """Return a text frame of a client."""
    return frame(Opcode.TEXT, payload, **fields)


class _HttpConnection:
    """The connection before the handshake, as it is registered."""

    heard_from = True
    must_answer = False

    def __init__(self, transport: StreamTransport) -> None:
        self.transport = transport

    def send_noop(self) -> None: ...

    def send_shutdown_notice(self) -> None: ...

    def discard_backlog(self) -> None: ...

    def close(self) -> None: ...

    def drain(self) -> Deferred[None]:
        return Deferred()


class WebSocketClient(TextClient):
    """The other side of a WebSocket. It parses what arrives, and sends any bytes."""

    def __init__(self, world: World, protocol: WebSocketConnection, transport: MemoryTransport) -> None:
        super().__init__(world, transport)
        self.protocol = protocol
        self.response = b""
        """The answer to the handshake."""
        self.frames: list[Frame] = []
        """The frames that have arrived."""
        self._parser = ClientProtocol(WebSocketURI(False, "localhost", 80, "/", ""), state=OPEN, max_size=None)

    def put(self, data: bytes | str) -> None:
        """Send *data*, whole lines with a message for each, and run no turn."""
        raw = data.encode() if isinstance(data, str) else data
        self.put_frames(b"".join(text(line) for line in raw.split(b"\n")[:-1]))

    def put_frames(self, data: bytes) -> None:
        """Send *data*, any bytes, and run no turn."""
        self.protocol.dataReceived(data)

    def send_frames(self, data: bytes, cuts: Iterable[int] = ()) -> None:
        """Send *data*, cut into chunks at *cuts*, each as soon as the server reads; then settle."""
        start = 0
        for end in [*sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]:
            self.world.until(lambda: self.transport.reading)
            self.protocol.dataReceived(data[start:end])
            start = end
        self.world.settle()

    def take_frames(self) -> list[Frame]:
        """Return the frames that arrived since the last call."""
        data = self.take()
        if not self.response:
            self.response, _, data = data.partition(b"\r\n\r\n")
        if data:
            self._parser.receive_data(data)
        frames = [event for event in self._parser.events_received() if isinstance(event, Frame)]
        assert self._parser.parser_exc is None, self._parser.parser_exc
        for arrived in frames:
            assert arrived.fin
            assert arrived.opcode in {Opcode.TEXT, Opcode.PING, Opcode.PONG, Opcode.CLOSE}
            assert not arrived.data or arrived.opcode is not Opcode.TEXT or b"\n" not in arrived.data
        self.frames += frames
        return frames

    def payloads(self, opcode: Opcode) -> list[bytes]:
        """Return the payloads of all frames with *opcode* that have arrived."""
        self.take_frames()
        return [bytes(arrived.data) for arrived in self.frames if arrived.opcode is opcode]

    def closing(self) -> Close | None:
        """Return the close frame that has arrived, if one has. It must be the last frame."""
        closes = self.payloads(Opcode.CLOSE)
        assert len(closes) <= 1
        if not closes:
            return None
        assert self.frames[-1].opcode is Opcode.CLOSE, "a frame follows the close frame"
        return Close.parse(closes[0])

    def end_input(self) -> None:
        """Close their direction without a close frame. The server closes its own when it has answered."""
        self.protocol.readConnectionLost()
        self.world.settle()
        if self.transport.finished:
            self.protocol.writeConnectionLost()
            assert self.transport.closed
            self.vanish(clean=True)

    def hang_up(self) -> None:
        """Close their direction after the server has closed its own."""
        assert self.transport.finished
        self.protocol.writeConnectionLost()
        self.protocol.readConnectionLost()
        assert self.transport.closed
        self.vanish(clean=True)

    def vanish(self, *, clean: bool = False) -> None:
        """Lose the connection; *clean* after both sides have closed it."""
        reason: Exception = ConnectionDone() if clean else ConnectionLost()
        self.protocol.connectionLost(Failure(reason))  # type: ignore[no-untyped-call]  # not annotated in Twisted
        self.world.settle()


class WebSocketProgram(Program):
    """A program with one connection over a WebSocket."""

    def __init__(self, world: World, client: WebSocketClient) -> None:
        super().__init__(world, cast("Person", client))
        self.client = client
        self._seen = 0
        """Number of frames that have been seen."""

    @property
    def connection(self) -> ProgramConnection:
        """The connection, as the server has it."""
        return self.client.protocol

    def _receive(self) -> None:
        self.client.take_frames()
        seen, self._seen = self._seen, len(self.client.frames)
        for arrived in self.client.frames[seen:]:
            if arrived.opcode is Opcode.TEXT:
                self._unread.append(self.checker.check(bytes(arrived.data)))


class WebSockets(ProgramWorld):
    """A server whose programs come over WebSockets. Mixed into a world of programs."""

    def upgrade(self, request: Request | None = None, address: IAddress | None = None) -> WebSocketConnection | Refusal:
        """Send *request*, by default a valid one, and return the result."""
        transport = self.transport(address)
        http = _HttpConnection(transport)
        self.connections.add(http)
        request = request or upgrade_request()
        opened = open_websocket(self.context, request, transport, self.writer(transport))
        if isinstance(opened, Refusal):
            self.connections.remove(http)
        else:
            self.connections.replace(http, opened)
        return opened

    def websocket(self, request: Request | None = None, address: IAddress | None = None) -> WebSocketClient:
        """Return a client whose handshake has succeeded."""
        opened = self.upgrade(request, address)
        assert isinstance(opened, WebSocketConnection), opened
        return WebSocketClient(self, opened, cast("MemoryTransport", opened.transport))

    def open_program(self, address: IAddress | None = None) -> WebSocketProgram:
        """Return a program that has sent nothing yet."""
        return WebSocketProgram(self, self.websocket(None, address))

    def line_program(self, nick: str, **params: object) -> Program:
        """Return a program at the line port that has said hello."""
        program = self.open_line_program()
        program.hello(nick, **params)
        return program

    def open_line_program(self) -> Program:
        """Return a program at the line port that has sent nothing yet."""
        return super().open_program()


class WebSocketWorld(WebSockets):
    """A server whose programs come over WebSockets, over a transport with a buffer."""


class DirectWebSocketWorld(WebSockets, DirectProgramWorld):
    """A server whose programs come over WebSockets. It sends to the sockets directly."""
