"""HTTP in memory: a server, and clients that send any bytes and check the form of each reply."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from broadcast.doors.web.connection import HttpConnection, HttpFactory
from broadcast.doors.web.http import respond_text
from broadcast.doors.web.origins import TrustedProxies
from tests.cuts import WAYS
from tests.harness import DirectWorld, TextClient, World

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress

    from broadcast.core.errors import RejectedError
    from broadcast.core.limits import Limits
    from broadcast.doors.web.http import Reply, Request
    from tests.harness import MemoryTransport


@dataclass(frozen=True)
class Response:
    """A reply, as a client has parsed it."""

    status: int
    headers: dict[str, str]
    """Values by name in lower case. No name is repeated."""
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


def parse_response(data: bytes, method: str = "GET") -> tuple[Response, bytes]:
    """Return the first reply in *data*, which replies to a request with *method*, and the bytes after it."""
    head, end, rest = data.partition(b"\r\n\r\n")
    assert end, data
    first, *lines = head.decode("ascii").split("\r\n")
    version, status, _reason = first.split(" ", 2)
    assert version == "HTTP/1.1"
    pairs = [line.split(": ", 1) for line in lines]
    headers = {name.lower(): value for name, value in pairs}
    assert len(headers) == len(pairs), pairs
    if method == "HEAD" or int(status) in {100, 204, 304}:
        return Response(int(status), headers, b""), rest
    if headers.get("transfer-encoding") == "chunked":
        body, rest = _parse_chunks(rest)
    else:
        length = int(headers["content-length"])
        assert len(rest) >= length, "the body is not complete"
        body, rest = rest[:length], rest[length:]
    return Response(int(status), headers, body), rest


def _parse_chunks(data: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        body += data[:length]
        assert data[length : length + 2] == b"\r\n"
        data = data[length + 2 :]
        if not length:
            return body, data


def request_bytes(method: str = "GET", target: str = "/", body: bytes = b"", **headers: str | None) -> bytes:
    """Return a request. *headers* have underscores for hyphens; None is no header."""
    fields: dict[str, str | None] = {"host": "localhost:8080"}
    if body:
        fields["content-length"] = str(len(body))
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value is not None)
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode() + body


class HttpClient(TextClient):
    """The other side of an HTTP connection."""

    def __init__(self, world: World, protocol: HttpConnection, transport: MemoryTransport) -> None:
        super().__init__(world, transport)
        self.protocol = protocol
        self._received = b""
        self._gone = False

    def put(self, data: bytes) -> None:
        """Send *data* in one chunk, and run no turn."""
        self.protocol.dataReceived(data)

    def send(self, *chunks: bytes) -> None:
        """Send each chunk as soon as the server reads; then settle."""
        for chunk in chunks:
            self.world.until(lambda: self.transport.reading)
            self.protocol.dataReceived(chunk)
        self.world.settle()

    def get(self, target: str = "/", method: str = "GET", **headers: str | None) -> Response:
        """Send a request without a body, and return the reply."""
        self.send(request_bytes(method, target, b"", **headers))
        return self.response(method)

    def response(self, method: str = "GET") -> Response:
        """Return the next reply."""
        response, self._received = parse_response(self._received + self.take(), method)
        return response

    def rest(self) -> bytes:
        """Return what has arrived after the replies that were read."""
        self._received += self.take()
        return self._received

    def has_ended(self) -> bool:
        """Whether the server has closed its direction and sends nothing more."""
        return self.transport.finished

    def end_input(self) -> None:
        """Close their direction."""
        self.protocol.readConnectionLost()
        self.world.settle()

    def hang_up(self) -> None:
        """Close their direction after the server has closed its own."""
        assert self.transport.finished
        self.protocol.writeConnectionLost()
        if not self.transport.closed:
            self.protocol.readConnectionLost()
        assert self.transport.closed
        self.vanish(clean=True)

    def vanish(self, *, clean: bool = False) -> None:
        """Lose the connection; *clean* after both sides have closed it."""
        reason: Exception = ConnectionDone() if clean else ConnectionLost()
        self.protocol.connectionLost(Failure(reason))  # type: ignore[no-untyped-call]  # not annotated in Twisted
        self.world.settle()


def cut(data: bytes) -> Iterable[list[bytes]]:
    """Return *data* in the chunks of every way to cut it."""
    return [way(data) for way in WAYS.values()]


def answer_path(request: Request, reply: Reply) -> None:
    """Reply with the path of the request."""
    respond_text(reply, 200, request.path)


class HttpWorld(World):
    """A server whose clients speak HTTP. *handle* replies to their requests, by default with the path."""

    def __init__(self, limits: Limits | None = None, proxies: TrustedProxies | None = None) -> None:
        super().__init__(limits=limits)
        self.requests: list[Request] = []
        self.replies: list[Reply] = []
        self.answer: Callable[[Request, Reply], None] = answer_path
        self.http = HttpFactory(
            self._handle,
            self._refuse,
            self.connections,
            self.clock,
            self._soon.append,
            self.wall,
            self.writer,
            proxies or TrustedProxies(),
        )

    def _handle(self, request: Request, reply: Reply) -> None:
        self.requests.append(request)
        self.replies.append(reply)
        self.answer(request, reply)

    def _refuse(self, request: Request, reply: Reply, error: RejectedError) -> None:
        respond_text(reply, 503, f"{request.path} {error}")

    @property
    def paths(self) -> list[str]:
        """The paths of all requests so far."""
        return [request.path for request in self.requests]

    def client(self, address: IAddress | None = None) -> HttpClient:
        """Return a client that has sent nothing yet."""
        transport = self.transport(address)
        protocol = cast(HttpConnection, self.http.buildProtocol(transport.address))
        protocol.makeConnection(transport)  # type: ignore[no-untyped-call]  # Twisted's own is not annotated
        return HttpClient(self, protocol, transport)


class DirectHttpWorld(DirectWorld, HttpWorld):
    """A server that sends to the sockets directly."""


class Receiver:
    """A receiver of a body that records what happens."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.is_finished = self.is_lost = False

    def data_received(self, data: bytes) -> None:
        assert not self.is_finished
        self.data += data

    def finished(self) -> None:
        assert not self.is_lost
        self.is_finished = True

    def lost(self) -> None:
        assert not self.is_finished
        assert not self.is_lost
        self.is_lost = True


def leave_unanswered(request: Request, reply: Reply) -> None:
    """Answer later."""


def read_into(receiver: Receiver) -> Callable[[Request, Reply], None]:
    """Return a handler that only reads the body."""

    def handle(request: Request, _reply: Reply) -> None:
        request.body.read_into(receiver)

    return handle
