"""Requests and replies of HTTP, as the handlers of the web door see them; no sockets."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from broadcast.core.source import Source
    from broadcast.net.connections import Connection
    from broadcast.net.writers import StreamTransport, Writer

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
"""The headers of a reply: names and values."""

_bearer: Final = re.compile(rb"Bearer +([!-~]+)", re.IGNORECASE)
PLAIN_TEXT: Final = (b"Content-Type", b"text/plain; charset=utf-8")


def plain_response(status: int, text: str) -> bytes:
    """Return all bytes of a reply for a client whose request is not read. *text* is one line without its end."""
    body = f"{text}\n"
    return (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    ).encode("ascii")


class BodyReceiver(Protocol):
    """The consumer of the body of a request."""

    def data_received(self, data: bytes) -> None:
        """Take the next part of the body."""

    def finished(self) -> None:
        """Handle the end of the body, which is complete."""

    def lost(self) -> None:
        """Handle the loss of the connection, or of its client's interest: the rest of the body will not come."""


class Body(Protocol):
    """The body of a request. If no handler reads it, the connection closes after the reply.

    The server ends a connection whose client sends less than 1 KiB/s for 30 seconds, unless the body is paused.
    """

    @property
    def length(self) -> int | None:
        """Number of bytes; None if the client does not say it beforehand (chunked)."""

    def read_into(self, receiver: BodyReceiver) -> None:
        """Pass the body to *receiver*, in this call or later ones. Sends ``100 Continue`` if the client waits for it.

        After the reply has been sent completely, nothing more is passed on, and ``lost`` is not called either.
        """

    def pause(self) -> None:
        """Stop passing on, and reading from the client, until ``resume``."""

    def resume(self) -> None:
        """Continue after ``pause``."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Its *path* is the decoded path without ``--web-path``."""

    method: str
    path: str
    query: str
    headers: dict[bytes, bytes] = field(repr=False)
    """Values by name in lower case. The values of a repeated header are joined by a comma."""
    source: Source
    """The origin of the request: behind trusted proxies, the client."""
    is_secure: bool
    """Whether the client, or the last proxy, has received the page with https."""
    body: Body
    target: str = "/"
    """The path and the query as the client has sent them."""


class Refusal(NamedTuple):
    """A reply of one line, instead of another protocol."""

    status: int
    text: str
    headers: Headers = ()


class Reply(Protocol):
    """The reply to one request. A handler calls ``respond``, or ``start``, ``write`` and ``finish``, or ``hand_over``.

    It may do so after it has returned. Every reply has the headers Date and those of ``headers.py``; a handler's own
    header replaces the one of the same name.
    """

    on_drained: Callable[[], None]
    """Called when ``is_congested`` has become false. The handler sets it."""
    on_closed: Callable[[], None]
    """Called if the client goes away before ``finish``. The handler sets it. No other call may follow."""

    @property
    def is_congested(self) -> bool:
        """Whether earlier bytes still wait for the client. A handler of a stream writes no more until ``on_drained``.

        The server ends the connection if a client does not read for two minutes.
        """

    def respond(self, status: int, headers: Headers = (), body: bytes = b"") -> None:
        """Send a complete reply. It has a Content-Length, also for HEAD, whose reply has no body."""

    def start(self, status: int, headers: Headers = ()) -> None:
        """Begin a reply whose body follows. Without a Content-Length among *headers*, it is chunked."""

    def write(self, data: bytes) -> None:
        """Send a part of the body. The reply to HEAD drops it."""

    def finish(self) -> None:
        """End the body."""

    def abort(self) -> None:
        """Close the connection at once: the body cannot be completed."""

    def hand_over(self, open_protocol: OpenProtocol) -> None:
        """Call *open_protocol*, and hand the connection over to its result.

        The result takes the place of the HTTP connection in ``Connections``. Then it receives the bytes that follow
        the request, as all later ones, through ``dataReceived``. For a ``Refusal``, HTTP goes on instead.
        """

    def close_with(self, data: bytes) -> None:
        """Send *data*, bytes of another protocol, instead of a reply, and close."""


OpenProtocol: TypeAlias = "Callable[[StreamTransport, Writer], Connection | Refusal]"
"""Returns the protocol that takes over the connection. It has the methods of a Twisted protocol that can half-close.

The transport's ``getPeer`` is the client, also behind a trusted proxy. All output goes through the writer.
"""
Handler: TypeAlias = Callable[[Request, Reply], None]


def respond_text(reply: Reply, status: int, text: str, headers: Headers = ()) -> None:
    """Send *text*, one line without its end."""
    reply.respond(status, (PLAIN_TEXT, *headers), f"{text}\n".encode())


def read_bearer(request: Request) -> str | None:
    """Return the token in the header ``Authorization: Bearer TOKEN`` of *request*, None without one."""
    match = _bearer.fullmatch(request.headers.get(b"authorization", b"").strip())
    return None if match is None else match[1].decode()


def respond_not_allowed(reply: Reply, allowed: str) -> None:
    """Refuse the method of the request. *allowed* are those that the path has, with commas."""
    respond_text(reply, 405, f"This address allows {allowed} only.", ((b"Allow", allowed.encode()),))
